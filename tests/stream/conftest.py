"""A worker and a client with a channel between them; what is on the chain is simply there."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from agent_world import LocalSigner
from pairs import Pair, Tamper

from cocoon.agent.serving import StreamSettings
from cocoon.agent.sessions import ServedSession
from cocoon.bench.null_kernel import NullKernel
from cocoon.bench.stage import ChannelStage
from cocoon.client.store import ClientStore
from cocoon.signer.keys import SignerKeys
from cocoon.stream.frames import Frame


@pytest.fixture
def kernel(request: pytest.FixtureRequest) -> NullKernel:
    made: NullKernel = getattr(request, "param", NullKernel)()
    return made


@pytest.fixture
def settings() -> StreamSettings:
    return StreamSettings(patience_sec=0.3)


@pytest.fixture
async def stage(tmp_path: Path, kernel: NullKernel, settings: StreamSettings) -> ChannelStage:
    made = ChannelStage(LocalSigner(SignerKeys()), kernel, tmp_path, settings=settings)
    await made.publish()
    return made


@pytest.fixture
async def store(stage: ChannelStage, tmp_path: Path) -> AsyncIterator[ClientStore]:
    with ClientStore(tmp_path / "client.sqlite") as made:
        await stage.remember_key(made)
        yield made


@pytest.fixture
async def pair(stage: ChannelStage, store: ClientStore) -> AsyncIterator[Pair]:
    async with stage.serving() as (server, url):
        made = Pair(stage, stage.signer.keys, store, server, url)  # type: ignore[attr-defined]
        yield made
        for fast in made.connected:
            await fast.close()


@pytest.fixture
def tamper(monkeypatch: pytest.MonkeyPatch) -> Callable[[Tamper], None]:
    """Makes the worker send something else than it would."""

    def install(change: Tamper) -> None:
        original: Callable[[ServedSession, Frame], Awaitable[None]] = ServedSession.send

        async def send(self: ServedSession, frame: Frame) -> None:
            for changed in change(frame):
                await original(self, changed)

        monkeypatch.setattr(ServedSession, "send", send)

    return install
