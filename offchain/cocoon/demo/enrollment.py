"""What an agent's wallet sent to have its worker's keys attested, and what came of it: all read from the chain."""

from __future__ import annotations

from dataclasses import dataclass

from pytoniq_core import Address

from ..chain.base import Chain, ChainMessage, ChainTransaction
from ..chain.trace import find_caused, trace
from ..client.reading import messages_to
from ..deployment import Deployment
from ..wire.attestation import QuoteVerified
from ..wire.codec import read_body
from ..wire.worker import Attest
from .stage import DemoFailed

__all__ = ["Enrollment", "Sent", "read_enrollment"]

_ALL = 1 << 20


@dataclass(frozen=True, slots=True)
class Sent:
    """A message of the operator's wallet, and the transactions it caused.

    cost_nano: what was attached and did not come back, that is gas, forwarding, and of documents some weeks of rent.
    """

    transactions: tuple[ChainTransaction, ...]
    cost_nano: int

    @property
    def gas(self) -> int:
        return sum(transaction.gas_used for transaction in self.transactions)


@dataclass(frozen=True, slots=True)
class Enrollment:
    """Each document that was posted, the quote, and the verdict on it."""

    documents: tuple[Sent, ...]
    quote: Sent
    verdict: QuoteVerified


async def read_enrollment(chain: Chain, operator: Address, deployment: Deployment, worker: Address) -> Enrollment:
    """DemoFailed if the quote was not verified."""
    documents: list[Sent] = []
    for transaction in await chain.transactions(operator, limit=_ALL):
        for message in transaction.out_msgs:
            if message.dst == deployment.attestation:
                documents.append(await _follow(chain, message))
            elif message.dst == worker and read_body(message.body, Attest) is not None:
                quote = await _follow(chain, message)
                for _, verdict in messages_to(quote.transactions, worker, QuoteVerified):
                    return Enrollment(tuple(documents), quote, verdict)
    raise DemoFailed("the chain did not verify the agent's quote")


async def _follow(chain: Chain, message: ChainMessage) -> Sent:
    """All that `message` caused, but for the change on its arrival at the wallet."""
    found = await trace(chain, await find_caused(chain, message))
    back = sum(out.value for done in found for out in done.out_msgs if out.dst == message.src)
    return Sent(tuple(done for done in found if done.account != message.src), message.value - back)
