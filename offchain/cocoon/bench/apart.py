"""Worker and gateway under measurement, each a process of its own, as they are in earnest."""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from ..agent.compute import Limits
from ..agent.engine_kernel import EngineKernel
from ..agent.kernel import StreamKernel
from ..agent.serving import StreamSettings
from ..client.channel import Channel
from ..client.store import ClientStore
from ..garbage import search_rarely
from ..signer.launch import ensure_signer
from ..wire.escrow import Binding
from .hop import gateway_serving
from .null_kernel import NullKernel
from .stage import ChannelStage

__all__ = ["Scenery", "far_gateway", "far_worker"]

_DEPOSIT = 10**13
_CLIENT_SALT, _GATEWAY_SALT = 7, 8
_START_SEC = 300.0


@dataclass(frozen=True)
class Scenery:
    """What every process makes the same channels from. model: of the shelf; None: the kernel that costs nothing."""

    directory: Path
    model: str | None = None
    slots: int = 1
    client_seed: bytes = field(default_factory=lambda: Ed25519PrivateKey.generate().private_bytes_raw())

    @contextlib.asynccontextmanager
    async def stage(self, kernel: StreamKernel) -> AsyncIterator[tuple[ChannelStage, ChannelStage]]:
        """(the client's channel, the gateway's) over one chain, bound to the signer's keys."""
        signer = await ensure_signer(self.directory / "signer" / "signer.sock")
        try:
            key = Ed25519PrivateKey.from_private_bytes(self.client_seed)
            settings, limits = StreamSettings(patience_sec=60), Limits(max_tokens=4096)
            first = ChannelStage(
                signer, kernel, self.directory, _DEPOSIT,
                settings=settings, limits=limits, client_key=key, salt=_CLIENT_SALT,
            )  # fmt: skip
            second = ChannelStage(
                signer, kernel, self.directory, _DEPOSIT,
                settings=settings, limits=limits, client_key=key, salt=_GATEWAY_SALT, chain=first.chain,
            )  # fmt: skip
            yield first, second
        finally:
            await signer.close()

    @contextlib.asynccontextmanager
    async def channel(self, kernel: StreamKernel, *, gateway: bool) -> AsyncIterator[tuple[Channel, Binding]]:
        """The client's side of one of the channels, with a store of its own."""
        async with self.stage(kernel) as both:
            stage = both[gateway]
            binding = (await stage.publish()).binding
            assert binding is not None  # it is published active
            with ClientStore(self.directory / f"{'gateway' if gateway else 'client'}-store.sqlite") as store:
                await stage.remember_key(store)
                yield stage.channel(store), binding

    def load(self) -> StreamKernel:
        """A kernel of this process's own."""
        if self.model is None:
            return NullKernel()
        from ..kernels.fetch import compiled_dir
        from ..kernels.sandboxed.host import KernelHost
        from ..kernels.sandboxed.process import Order
        from ..kernels.shelf import find_bundle

        shelved = find_bundle(self.model, slots=self.slots)
        order = Order(shelved.folder, shelved.build_id, compiled=compiled_dir(), strict=sys.platform == "linux")
        host = KernelHost(order)
        host.load()
        return EngineKernel(host)


def far_worker(scenery: Scenery) -> AbstractAsyncContextManager[str]:
    """Its endpoint's URL."""
    return _apart(_serve_worker, scenery)


def far_gateway(scenery: Scenery, model_id: bytes, url: str) -> AbstractAsyncContextManager[str]:
    """(base URL, API key) with a space between: a gateway that asks the worker at `url`."""
    return _apart(_serve_gateway, scenery, model_id, url)


type _Serve = Callable[..., Awaitable[None]]
type _Told = Callable[[str], None]


# Both do what `cocoon worker` and `cocoon gateway` do before they serve.
async def _serve_worker(told: _Told, ended: Awaitable[None], scenery: Scenery) -> None:
    kernel = await asyncio.to_thread(scenery.load)
    try:
        async with scenery.stage(kernel) as both:
            for stage in both:
                await stage.publish()
            async with both[0].serving() as (_, url):
                search_rarely()
                told(url)
                await ended
    finally:
        if isinstance(kernel, EngineKernel):
            kernel.close()


class _Named(NullKernel):
    """Stands for the worker's kernel where only its name counts."""

    def __init__(self, model_id: bytes) -> None:
        super().__init__(int.from_bytes(model_id, "big"))


async def _serve_gateway(told: _Told, ended: Awaitable[None], scenery: Scenery, model_id: bytes, url: str) -> None:
    async with (
        scenery.channel(_Named(model_id), gateway=True) as (channel, binding),
        gateway_serving(channel, binding, url, scenery.directory) as (base_url, key),
    ):
        search_rarely()
        told(f"{base_url} {key}")
        await ended


@contextlib.asynccontextmanager
async def _apart(serve: _Serve, *arguments: object) -> AsyncIterator[str]:
    """What `serve` tells once it is up, in a process that ends with the context."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_run, args=(theirs, serve, arguments), daemon=True)
    process.start()
    theirs.close()
    try:
        if not await asyncio.to_thread(ours.poll, _START_SEC):
            raise TimeoutError(f"{serve.__name__} did not come up")
        yield await asyncio.to_thread(ours.recv)
    finally:
        ours.close()
        await asyncio.to_thread(process.join, 10)
        process.kill()


def _run(pipe: Connection, serve: _Serve, arguments: tuple[object, ...]) -> None:
    async def main() -> None:
        ended = asyncio.ensure_future(asyncio.to_thread(_until_closed, pipe))
        await serve(pipe.send, ended, *arguments)

    asyncio.run(main())


def _until_closed(pipe: Connection) -> None:
    with contextlib.suppress(EOFError):
        pipe.recv()
