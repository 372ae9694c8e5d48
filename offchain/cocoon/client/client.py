"""The client: opens channels to workers, and finds its channels again after a restart."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from pytoniq_core import Address

from ..chain.base import Chain, ChainTransaction
from ..chain.trace import trace
from ..chain.wallet import Wallet, format_ton
from ..crypto.ed25519 import public_key
from ..deployment import Deployment
from ..errors import ClientError, CocoonError, MessageRefused, WalletError
from ..fees import Fees
from ..wire.common import ModelTerms, PaymentReason
from ..wire.escrow import BindConfirmed, BindRefusal, BindRefused, OpenEscrow
from .channel import Channel
from .reading import enum_name, messages_to, paid, succeeded
from .store import ClientStore, StoredChannel
from .trust import NetworkTrust, check_network
from .workers import read_worker

__all__ = ["BindFailed", "Client"]


class BindFailed(ClientError):
    """The worker or the registry refused the channel. `refund_nano` of what was sent came back; the rest were fees.

    `unanswered`: the channel, if nothing shows that it was refused. It may be bound yet; if not, `cancel_open` it after
    its deadline.
    """

    def __init__(
        self, message: str, reason: BindRefusal | None, refund_nano: int, unanswered: Channel | None = None
    ) -> None:
        super().__init__(message)
        self.reason = reason
        self.refund_nano = refund_nano
        self.unanswered = unanswered


class Client:
    """Acts for the owner of `wallet` on the network of `chain`.

    `store` is the file that channel keys and response secrets are kept in; None keeps them in memory only. A network
    that trusts another root than Intel's is refused unless `allow_simulated_tee`: nothing is confidential there.
    """

    def __init__(
        self,
        chain: Chain,
        wallet: Wallet,
        deployment: Deployment,
        store: Path | None = None,
        *,
        allow_simulated_tee: bool = False,
    ) -> None:
        self.chain = chain
        self.wallet = wallet
        self.deployment = deployment
        self.store = ClientStore(store)
        self.allow_simulated_tee = allow_simulated_tee

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the store. Channels stay open on the chain."""
        self.store.close()

    async def open(
        self,
        worker_index: int,
        *,
        deposit: int,
        model_id: int,
        term: int,
        max_prices: ModelTerms,
        accepted_measurement: int | None = None,
    ) -> Channel:
        """Open a channel with `deposit` nanoTON for `term` seconds, and wait until the worker is bound to it.

        `max_prices` bounds what the worker may charge (its `min_duration_sec`: the longest minimum accepted). The
        worker must run something on the network's list, or exactly `accepted_measurement`. SimulatedTeeRefused or
        ClientError before anything is sent if its keys can't be trusted; BindFailed, with the refund, if the worker or
        the registry refuses, or with the channel as `unanswered` once it is sent and not known to have ended.
        """
        if deposit <= 0 or term <= 0:
            raise ClientError(f"a channel needs a deposit and a term above 0, not {deposit} nanoTON for {term} s")
        if not 0 <= worker_index < 1 << 64:
            raise ClientError(f"there is no worker {worker_index}; indices are whole numbers from 0")
        worker = self.deployment.worker(worker_index)
        await self.check_worker(worker, accepted_measurement)
        key, salt = Ed25519PrivateKey.generate(), secrets.randbits(63)
        escrow = self.deployment.escrow(self.wallet.address, worker, salt)
        stored = StoredChannel(escrow, self.deployment.registry, worker, salt, key.private_bytes_raw())
        self.store.add_channel(stored)
        body = OpenEscrow(
            secrets.randbits(64), public_key(key), deposit, model_id, term, accepted_measurement, max_prices
        )
        value = deposit + (await Fees.of(self.chain)).open(term)
        init = self.deployment.escrow_state_init(self.wallet.address, worker, salt)
        try:
            sent = await self.wallet.send(self.chain, escrow, value, body.to_cell(), state_init=init)
            return await self._opened(stored, value, await trace(self.chain, sent))
        except (WalletError, MessageRefused, BindFailed):
            raise
        except (CocoonError, OSError, TimeoutError) as error:
            message = f"it is not known what became of the channel: {error}; look again later"
            raise BindFailed(message, None, 0, Channel(self, stored)) from error

    async def _opened(self, stored: StoredChannel, value: int, caused: Sequence[ChainTransaction]) -> Channel:
        """The channel, if what opening it caused shows that it is bound. BindFailed."""
        escrow = stored.escrow
        if any(True for _ in messages_to(caused, escrow, BindConfirmed)):
            channel = Channel(self, stored, tuple(caused))
            if (await channel.state()).binding is not None:
                return channel
        refund = paid(caused, self.wallet.address, PaymentReason.REFUND, sender=escrow)
        back = f"{format_ton(refund)} of {format_ton(value)} came back"
        for _, refused in messages_to(caused, escrow, BindRefused):
            self.store.forget_channel(escrow)
            reason = BindRefusal(refused.reason) if refused.reason in list(BindRefusal) else None
            raise BindFailed(
                f"the channel was refused: {enum_name(BindRefusal, refused.reason)}; {back}", reason, refund
            )
        if not await Channel(self, stored).is_open():
            self.store.forget_channel(escrow)
            own = next((item for item in caused if item.account == escrow), None)
            code = "" if own is None or succeeded(own) else f" (exit code {own.exit_code}, see docs/errors.md)"
            raise BindFailed(f"the channel could not be opened{code}; {back}", None, refund)
        raise BindFailed(
            "the handshake was not answered; cancel_open takes the deposit back after its deadline",
            None, 0, Channel(self, stored),
        )  # fmt: skip

    async def channels(self) -> list[Channel]:
        """Channels of this store that are still open on the chain."""
        found = [
            Channel(self, stored) for stored in self.store.channels() if stored.registry == self.deployment.registry
        ]
        return [channel for channel in found if await channel.is_open()]

    def channel(self, escrow: Address) -> Channel:
        """One of this store's channels. ClientError if it is not among them."""
        return Channel(self, self.store.channel(escrow))

    async def check_network(self) -> NetworkTrust:
        """SimulatedTeeRefused or ClientError if the network's verdicts about enclaves can't be believed."""
        return await check_network(self.chain, self.deployment, allow_simulated_tee=self.allow_simulated_tee)

    async def check_worker(self, worker: Address, accepted_measurement: int | None = None) -> None:
        """ClientError unless the worker's present keys may be given a prompt; what `check_network` raises."""
        trust = await self.check_network()
        state = await read_worker(self.chain, worker)
        trust.check_worker(state, await self.chain.time(), accepted_measurement)
