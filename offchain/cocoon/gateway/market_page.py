"""What the page shows of the market: facts, channels, flows, proofs, as plain JSON."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from pytoniq_core import Address

from ..chain.base import Chain
from ..client.reading import succeeded
from ..decoding import decode_body
from ..deployment import Deployment
from .choice import reputation
from .facts import Facts, WorkerFacts
from .flows import Flow, FlowWatcher
from .held import Held
from .market import Market
from .pool import ChannelPool
from .receipts import Proof
from .verify import check_offline, check_on_chain, missing, verdict

__all__ = ["MarketPage"]

_ESCROW_TRANSACTIONS = 200
_SHOWN_FLOWS = 60
_BURNED = Address((0, bytes(32)))


class MarketPage:
    """A `PageData`. wallet_nano is kept fresh by whoever runs the gateway."""

    def __init__(
        self,
        chain: Chain,
        deployment: Deployment,
        market: Market,
        pool: ChannelPool,
        wallet: Address,
        names: Mapping[int, str],
    ) -> None:
        self._chain, self._deployment, self._market, self._pool, self._wallet = chain, deployment, market, pool, wallet
        self._model_names = names
        self.flow_watcher: FlowWatcher | None = None
        self.wallet_nano: int | None = None
        self.stale_sec = market.settings.stale_sec

    def facts_age(self) -> float | None:
        facts = self._market.facts
        return None if facts is None else time.time() - facts.read_at

    def network(self) -> dict[str, Any]:
        facts = self._market.facts
        return {
            "global_id": self._chain.global_id,
            "registry": _name(self._deployment.registry),
            "time": None if facts is None else facts.time,
            "refused": self._market.refused,
        }

    def workers(self) -> list[dict[str, Any]]:
        facts = self._market.facts
        return [] if facts is None else [self._worker(worker, facts) for worker in facts.workers]

    def channels(self) -> dict[str, Any]:
        limits = self._pool.limits
        return {
            "wallet": {
                "address": _name(self._wallet),
                "nano": None if self.wallet_nano is None else str(self.wallet_nano),
            },
            "locked_nano": str(self._pool.locked_nano),
            "most_locked_nano": str(limits.most_locked_nano),
            "most_channels": limits.most_channels,
            "channels": [_channel(held) for held in self._pool.channels],
        }

    def flows(self) -> list[dict[str, Any]]:
        if self.flow_watcher is None:
            return []
        names = self.accounts()
        return [_flow(flow, names) for flow in list(self.flow_watcher.flows)[: -_SHOWN_FLOWS - 1 : -1]]

    def gauges(self) -> tuple[int, int, int | None]:
        return len(self._pool.channels), self._pool.locked_nano, self.wallet_nano

    async def prove(self, proof: Proof) -> dict[str, Any]:
        checks = [*check_offline(proof), *await check_on_chain(proof, self._chain, registry=self._deployment.registry)]
        holds = verdict(checks)
        found = await self._chain.transactions(proof.channel.escrow, limit=_ESCROW_TRANSACTIONS)
        transactions = [
            {
                "hash": item.hash.hex(),
                "lt": str(item.lt),
                "time": item.now,
                "what": "" if item.in_msg is None else next(iter(decode_body(item.in_msg.body) or {"message": 0})),
                "ok": succeeded(item),
            }
            for item in found
        ]
        return {
            "checks": [asdict(check) | {"title": _TITLES.get(check.name, check.name)} for check in checks],
            "holds": holds,
            "missing": missing(checks) if holds is None else None,
            "transactions": transactions,
        }

    def accounts(self) -> dict[Address, str]:
        """Every account that has a name here."""
        named = {_BURNED: "burned"}
        facts = self._market.facts
        for worker in () if facts is None else facts.workers:
            named[worker.owner] = f"owner of worker {worker.index}"
        for held in self._pool.channels:
            named[held.binding.payout] = f"payout of worker {held.worker_index}"
        return named | self.watched()

    def watched(self) -> dict[Address, str]:
        """Those whose money is looked at."""
        named = {self._deployment.registry: "Registry", self._wallet: "this gateway's wallet"}
        for held in self._pool.channels:
            named[held.channel.address] = f"channel to worker {held.worker_index}"
        facts = self._market.facts
        for worker in () if facts is None else facts.workers:
            named[worker.address] = f"worker {worker.index}"
        return named

    def _worker(self, worker: WorkerFacts, facts: Facts) -> dict[str, Any]:
        seen, state = self._market.experiences.get(worker.index), worker.state
        return {
            "index": worker.index,
            "address": _name(worker.address),
            "owner": _name(worker.owner),
            "status": worker.status_name,
            "stake_nano": str(state.stake_nano),
            "bond_nano": str(state.bond_nano),
            "measurement": f"{worker.measurement:064x}" if worker.measurement else None,
            "measurement_state": _measurement_state(worker.measurement, facts),
            "tcb_date": state.people.tcb_date or None,
            "lease_end": state.lease_end,
            "key_epoch": worker.key_epoch,
            "jobs": state.jobs,
            "misses": state.misses,
            "rejections": state.rejections,
            "key_losses": state.key_losses,
            "volume_nano": str(state.volume_nano),
            "reputation": round(reputation(worker), 4),
            "endpoint": worker.endpoint or worker.announced,
            "reported": worker.index in self._market.reported,
            "load": 0 if seen is None else seen.in_flight,
            "ttft_sec": None if seen is None else seen.ttft_sec,
            "answers": 0 if seen is None else seen.answers,
            "failures": 0 if seen is None else seen.failures,
            "models": [
                {
                    "model_id": f"{model:064x}",
                    "name": self._model_names.get(model),
                    "terms": {name: str(value) for name, value in asdict(terms).items()},
                    "left_out": self._market.why_not(worker, model),
                }
                for model, terms in worker.models.items()
            ],
        }


_TITLES = {
    "signature": "Signed by the worker", "domain": "Made for this channel", "usage": "Token counts committed",
    "fee": "Price as agreed", "worker": "Worker's address", "channel": "Channel on the chain",
    "session key": "Worker's key", "measurement": "What code ran", "network": "Network",
}  # fmt: skip


def _measurement_state(measurement: int, facts: Facts) -> str:
    if measurement == 0:
        return "none"
    known = facts.trust.measurements
    if measurement in known.denied:
        return "denied"
    return "listed" if measurement in known.listed else "unlisted"


def _channel(held: Held) -> dict[str, Any]:
    return {
        "escrow": _name(held.channel.address),
        "worker": held.worker_index,
        "model_id": f"{held.model_id:064x}",
        "deposit_nano": str(held.deposit_nano),
        "claimed_nano": str(held.claimed_nano),
        "available_nano": str(max(0, held.available_nano)),
        "reserved_nano": str(held.reserved_nano),
        "streams": held.streams,
        "connected": held.fast is not None and held.fast.alive,
        "state": "open" if held.usable else "closing",
        "ends": held.binding.channel_end if held.usable else held.closing_until,
        "opened_by": held.opened_by,
    }


def _flow(flow: Flow, names: Mapping[Address, str]) -> dict[str, Any]:
    return {
        "lt": str(flow.lt),
        "time": flow.time,
        "transaction": flow.transaction,
        "from": _end(flow.source, names),
        "to": _end(flow.destination, names),
        "nano": str(flow.nano),
        "what": flow.what,
        "failed": flow.failed,
    }


def _end(address: Address | None, names: Mapping[Address, str]) -> dict[str, str | None]:
    if address is None:
        return {"address": None, "name": None}
    return {"address": _name(address), "name": names.get(address)}


def _name(address: Address) -> str:
    name: str = address.to_str(is_user_friendly=False)
    return name
