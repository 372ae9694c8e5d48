"""Registering a worker: the owner's one message, and the index the Registry gave it."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field

from pytoniq_core import Address

from .chain.base import Chain, ChainTransaction
from .chain.trace import trace
from .chain.wallet import Wallet
from .client.reading import succeeded
from .deployment import Deployment
from .errors import CocoonError
from .fees import Fees
from .wire.codec import read_body
from .wire.common import WorkerRoles
from .wire.registry import RegisterWorker
from .wire.worker import InitWorker, WorkerStorage

__all__ = ["Registered", "RegistrationFailed", "register_worker"]


class RegistrationFailed(CocoonError):
    """The Registry did not take the worker; what was sent came back, less fees."""


@dataclass(frozen=True, slots=True)
class Registered:
    """A worker that exists: its index is read from its own first data."""

    index: int
    worker: Address
    transactions: tuple[ChainTransaction, ...] = field(repr=False)


async def register_worker(
    chain: Chain,
    owner: Wallet,
    deployment: Deployment,
    *,
    stake_nano: int,
    bond_nano: int,
    operator: Address,
    payout: Address,
    measurement: int,
) -> Registered:
    """Send RegisterWorker from `owner`, who alone can take stake and bond out again, and wait for the Worker.

    measurement: of the software the owner will run; the Worker takes keys of no other enclave.

    RegistrationFailed with the exit code if the Registry or the new Worker refused.
    """
    value = stake_nano + bond_nano + (await Fees.of(chain)).register()
    body = RegisterWorker(secrets.randbits(64), stake_nano, bond_nano, WorkerRoles(operator, payout, measurement))
    sent = await owner.send(chain, deployment.registry, value, body.to_cell())
    caused = await trace(chain, sent)
    for transaction in caused:
        message = transaction.in_msg
        if message is None or message.src != deployment.registry or read_body(message.body, InitWorker) is None:
            continue
        account = await chain.account(transaction.account)
        if succeeded(transaction) and account.data is not None:
            index = WorkerStorage.from_cell(account.data).people.index
            if deployment.worker(index) == transaction.account:
                return Registered(index, transaction.account, tuple(caused))
    codes = [item.exit_code for item in caused if not succeeded(item)]
    raise RegistrationFailed(
        f"the worker was not registered (exit codes {codes}, see docs/errors.md); the value came back"
    )
