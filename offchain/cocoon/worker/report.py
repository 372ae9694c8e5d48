"""`cocoon worker status`: one worker, from proven chain state and its own books."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from pytoniq_core import Address

from ..agent.config import AgentConfig
from ..agent.errors import JournalInUse
from ..chain.base import Chain
from ..chain.wallet import format_ton
from ..deployment import Deployment
from ..errors import CocoonError
from ..fees import Fees
from ..signer.client import SignerClient
from ..signer.errors import SignerError
from .attention import Advice, advise
from .books import Books, open_books
from .earnings import read_earnings
from .facts import WorkerFacts, read_channel_facts, read_worker_facts
from .local_server import ask_books

__all__ = ["ChannelStatus", "Report", "make_report"]


@dataclass(frozen=True, slots=True)
class ChannelStatus:
    """A channel that vouchers came over and the chain still has. claimable_nano: what the best voucher adds to what was
    claimed, within the deposit; is_worth_it: whether claiming costs less than a hundredth of it.
    """

    escrow: str
    epoch: int
    promised_nano: int
    claimed_nano: int
    deposit_nano: int
    claimable_nano: int
    is_worth_it: bool
    end: int


@dataclass(frozen=True, slots=True)
class Report:
    """keys_current: whether the signer here has the keys that the chain knows; None if no signer answers. books: None
    before the agent's first start, or while it can't be asked; books_problem says why.
    """

    facts: WorkerFacts
    is_running: bool
    keys_current: bool | None
    books: Books | None
    books_problem: str | None
    channels: tuple[ChannelStatus, ...]
    received_nano: int
    other_payouts_nano: int
    advice: tuple[Advice, ...]

    def to_json(self) -> dict[str, Any]:
        facts = asdict(self.facts)
        for name in ("worker", "owner", "operator", "payout"):
            facts[name] = getattr(self.facts, name).to_str(is_user_friendly=False)
        facts["status"] = self.facts.status.name.lower()
        facts["lease_left_sec"] = self.facts.lease_end - self.facts.time
        for name in ("measurement", "approved", "session_key"):
            facts[name] = f"{facts[name]:064x}"
        facts["models"] = {f"{model:064x}": asdict(terms) for model, terms in self.facts.models.items()}
        return {
            **facts,
            "running": self.is_running,
            "keys_current": self.keys_current,
            "journal": None if self.books is None else self.books.to_json(),
            "journal_problem": self.books_problem,
            "channels": [asdict(channel) for channel in self.channels],
            "received_nano": self.received_nano,
            "other_payouts_nano": self.other_payouts_nano,
            "attention": [asdict(one) for one in self.advice],
        }

    def lines(self) -> list[str]:
        facts, left = self.facts, self.facts.lease_end - self.facts.time
        keys = {True: "current", False: "others than the signer's here", None: "no signer answers here"}
        found = [
            f"worker      {facts.index} ({facts.worker.to_str()}), {facts.status.name.lower()}",
            f"agent       {'running' if self.is_running else 'not running'}; keys {keys[self.keys_current]}",
            f"stake       {format_ton(facts.stake_nano)}, bond {format_ton(facts.bond_nano)}",
            f"lease       {_left(left)}" if facts.session_key else "lease       none: not attested yet",
            f"measurement {facts.approved:064x} ({_standing(facts)})",
            f"operator    {facts.operator.to_str(is_bounceable=False)}, {format_ton(facts.operator_nano)}",
            f"payout      {facts.payout.to_str(is_bounceable=False)}, received {format_ton(self.received_nano)}",
        ]
        for model, terms in facts.models.items():
            found.append(
                f"offer       {model:064x}: prompt {format_ton(terms.prompt_nano)}, completion "
                f"{format_ton(terms.completion_nano)} per million tokens"
            )
        found.append(
            f"forced jobs {facts.open_jobs} open of {facts.forced_slots}; {facts.jobs} in all, {facts.misses} missed, "
            f"{facts.rejections} rejected, {facts.key_losses} lost with their key"
        )
        if self.books is not None:
            streamed = sum(channel.earned_nano for channel in self.books.channels)
            forced = format_ton(self.books.forced_nano)
            found.append(f"earned      {forced} with forced jobs, {format_ton(streamed)} with streams")
            found += [f"open job    {what}: {state}, due at {until}" for what, state, until in self.books.open_jobs]
        elif self.books_problem is not None:
            found.append(f"journal     {self.books_problem}")
        found += [
            f"channel     {one.escrow}: {format_ton(one.claimable_nano)} claimable of {format_ton(one.promised_nano)} "
            f"promised{'' if one.is_worth_it else ' (fees above 1 %: claimed later)'}"
            for one in self.channels
        ]
        found += [f"{one.urgency.upper():<11} {one.problem}: {one.remedy}" for one in self.advice]
        return found if self.advice else [*found, "all is well"]


async def make_report(chain: Chain, config: AgentConfig, metrics: str | None) -> Report:
    """metrics: where a running agent serves them. WorkerCommandError if there is no such worker."""
    deployment, wallet = Deployment(config.registry), config.wallet()
    facts = await read_worker_facts(chain, deployment, config.worker_index, wallet)
    own_key = await _signer_key(config)
    books, is_running, problem = await _books(config, metrics)
    channels = () if books is None else await _channels(chain, books)
    escrows = () if books is None else books.escrows
    earned = await read_earnings(chain, facts.payout, config.data_dir / "earnings.json")
    own = wallet.address.to_str(is_user_friendly=False)
    return Report(
        facts,
        is_running,
        None if own_key is None else own_key == facts.session_key,
        books,
        problem,
        channels,
        earned.received(escrows),
        earned.others(escrows),
        tuple(advise(facts, is_running=is_running, own_key=own_key, own_operator=own)),
    )


async def _signer_key(config: AgentConfig) -> int | None:
    client = SignerClient(config.socket)
    try:
        return (await client.identity()).session_key
    except SignerError:
        return None
    finally:
        await client.close()


async def _books(config: AgentConfig, metrics: str | None) -> tuple[Books | None, bool, str | None]:
    """(the books, whether the agent runs, why there are none)."""
    try:
        books = await open_books(config.data_dir)
        return books, False, None if books is not None else "none: the agent has never run"
    except JournalInUse as error:
        if metrics is None:
            return None, True, str(error)
    except CocoonError as error:
        return None, False, str(error)
    try:
        return await ask_books(metrics, config.registry.to_str(is_user_friendly=False), config.worker_index), True, None
    except CocoonError as error:
        return None, True, str(error)


async def _channels(chain: Chain, books: Books) -> tuple[ChannelStatus, ...]:
    cost = (await Fees.of(chain)).claim()
    found = []
    for one in books.channels:
        facts = await read_channel_facts(chain, Address(one.escrow))
        if facts is None or facts.epoch != one.epoch:
            continue
        claimable = max(0, min(one.promised_nano, facts.deposit_nano) - facts.claimed_nano)
        found.append(
            ChannelStatus(
                one.escrow,
                one.epoch,
                one.promised_nano,
                facts.claimed_nano,
                facts.deposit_nano,
                claimable,
                claimable >= 100 * cost,
                facts.end,
            )
        )
    return tuple(found)


def _standing(facts: WorkerFacts) -> str:
    return "denied" if facts.is_denied else "listed" if facts.is_listed else "not listed"


def _left(seconds: int) -> str:
    return "has ended" if seconds <= 0 else f"{seconds // 86400} days {seconds % 86400 // 3600} h left"
