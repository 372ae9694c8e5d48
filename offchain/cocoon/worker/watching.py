"""Looking at a running worker now and then: the chain, the books, the wallet; warnings when something is to be done."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from ..agent.agent import Agent
from ..deployment import Deployment
from ..errors import CocoonError
from .attention import Advice, Urgency, advise
from .books import Books, read_books
from .counting import Tally
from .facts import WorkerFacts, read_worker_facts

__all__ = ["Look", "Observer"]

_log = logging.getLogger(__name__)
_LOOK_SEC = 5.0
_STALE_SEC = 60.0
_REPEAT_SEC = 3600.0


@dataclass(frozen=True, slots=True)
class Look:
    """What was seen; at: by this machine's monotonic clock."""

    at: float
    facts: WorkerFacts
    books: Books
    advice: tuple[Advice, ...]


@dataclass(slots=True)
class Observer:
    """Of one agent. `latest` is None before the first look; `draining` is for whoever stops the agent to set."""

    agent: Agent
    tally: Tally
    seen: Callable[[Look], None] = lambda _: None
    latest: Look | None = None
    draining: bool = False
    _warned: dict[str, float] = field(default_factory=dict)
    _fees: dict[int, int] = field(default_factory=dict)

    async def run(self) -> None:
        """Until cancelled. A network or signer that is away is what health is to tell."""
        while True:
            try:
                self.latest = await self.look()
                self._warn(self.latest)
                self.seen(self.latest)
            except CocoonError as error:
                _log.debug("no look at the worker now: %s", error)
            await asyncio.sleep(_LOOK_SEC)

    async def look(self) -> Look:
        agent = self.agent
        deployment = Deployment(agent.registry)
        facts = await read_worker_facts(agent.chain, deployment, agent.worker_index, agent.wallet)
        books = await self.books()
        own_key = (await agent.signer.identity()).session_key
        own = agent.wallet.address.to_str(is_user_friendly=False)
        return Look(
            time.monotonic(), facts, books, tuple(advise(facts, is_running=True, own_key=own_key, own_operator=own))
        )

    async def books(self) -> Books:
        if self.agent.streaming is None:
            raise ValueError("an agent made from a file has a book of vouchers")
        return await read_books(self.agent.journal, self.agent.streaming.book, self._fees)

    def health(self) -> tuple[bool, dict[str, Any]]:
        """(whether clients can be served, why or why not)."""
        latest = self.latest
        if latest is None:
            return False, {"status": "starting"}
        age = time.monotonic() - latest.at
        urgent = [one.problem for one in latest.advice if one.urgency == Urgency.NOW]
        later = [one.problem for one in latest.advice if one.urgency == Urgency.SOON]
        body = {"problems": urgent, "warnings": later, "seen_sec_ago": round(age, 1)}
        if self.draining:
            return False, {"status": "draining", **body}
        if age > _STALE_SEC:
            return False, {"status": "network or signer unreachable", **body}
        return not urgent, {"status": "in trouble" if urgent else "ok", **body}

    def _warn(self, look: Look) -> None:
        """Each problem at most once an hour; what the agent says itself while it starts is left to it."""
        now = time.monotonic()
        for one in look.advice if look.facts.session_key else ():
            if now >= self._warned.get(one.problem, float("-inf")) + _REPEAT_SEC:
                self._warned[one.problem] = now
                _log.warning("%s: %s", one.problem, one.remedy)
