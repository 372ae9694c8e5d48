"""Putting an agent together from its configuration and running it until it is told to stop."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import logging
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..chain.lite import LiteChain
from ..chain.networks import read_global_config
from ..errors import ChainUnavailable, CocoonError
from ..garbage import search_rarely
from ..kernels.bundle.loader import MANIFEST
from ..kernels.fetch import compiled_dir
from ..kernels.progress import ProgressCallback, silent
from ..kernels.shelf import SHELF, find_bundle
from ..signer.errors import SignerError
from ..signer.launch import ensure_signer
from .agent import Agent, Pace, Streaming
from .config import AgentConfig
from .engine_kernel import EngineKernel
from .errors import SetupError
from .journal import Journal
from .kernel import Kernel
from .platform import evidence_banner, make_platform
from .texts_kernel import TextsKernel
from .upkeep import Offer
from .vouchers import VoucherBook

__all__ = ["load_kernel", "main", "run_agent"]

_log = logging.getLogger(__name__)
_FIRST_PAUSE_SEC = 0.5
_LONGEST_PAUSE_SEC = 30.0
_SIGNER_CHECK_SEC = 5.0


async def run_agent(
    config: AgentConfig, progress: ProgressCallback = silent, started: Callable[[Agent], None] | None = None
) -> None:
    """Until cancelled or drained. The signer, started if need be, goes on afterwards. Raises a CocoonError that says
    what to do.

    progress: told about fetching and compiling the model. started: gets the agent when it begins to work.
    """
    wallet, network = config.wallet(), read_global_config(config.network)
    try:
        config.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise SetupError(f"the data directory {config.data_dir} can't be made: {error}; choose another") from error
    with (
        contextlib.closing(Journal(config.data_dir / "journal.sqlite")) as journal,
        contextlib.closing(VoucherBook(config.data_dir / "vouchers.sqlite")) as book,
    ):
        kernel = await asyncio.to_thread(load_kernel, config.kernel, progress)
        signer = await ensure_signer(config.socket)
        chain = await _connect(config, network)
        platform = make_platform(config.attestation, config.endpoint, await chain.time())
        if (warning := evidence_banner(platform.evidence)) is not None:
            _log.warning("%s", warning)
        agent = Agent(
            chain=chain,
            wallet=wallet,
            signer=signer,
            journal=journal,
            kernel=kernel,
            registry=config.registry,
            worker_index=config.worker_index,
            offer=Offer(config.forced_slots, {int.from_bytes(kernel.model_id, "big"): config.terms}),
            platform=platform,
            limits=config.limits,
            pace=_pace(config, kernel),
            streaming=Streaming(book, config.listen, config.stream),
        )
        keeper = asyncio.create_task(_keep_signer(config.socket))
        if started is not None:
            started(agent)
        search_rarely()
        try:
            await agent.run()
        except BaseExceptionGroup as group:
            ours = _first(group)
            if ours is None:
                raise
            raise ours from group
        finally:
            keeper.cancel()
            await asyncio.gather(keeper, return_exceptions=True)
            await signer.close()
            await chain.close()


def _pace(config: AgentConfig, kernel: Kernel) -> Pace:
    """Forced jobs run together like everything else, as many as the engine has slots, unless the operator said."""
    if config.pace.concurrency == Pace().concurrency and isinstance(kernel, EngineKernel):
        return replace(config.pace, concurrency=kernel.slots)
    return config.pace


def load_kernel(spec: str, progress: ProgressCallback = silent) -> Kernel:
    """The kernel `spec` names, ready to run: a model on the shelf, a bundle's folder, or `module:factory`, called
    without arguments. SetupError or a KernelError.
    """
    folder = Path(spec)
    if spec in SHELF or (folder / MANIFEST).is_file():
        return _load_bundle(spec, progress)
    module, colon, factory = spec.partition(":")
    if not colon:
        raise SetupError(f"there is no kernel {spec!r}: use {', '.join(SHELF)}, a bundle's folder, or module:factory")
    try:
        made: Kernel = getattr(importlib.import_module(module), factory)()
        named = made.model_id
    except CocoonError:
        raise
    except Exception as error:  # code of somebody else's
        raise SetupError(f"the kernel {spec!r} can't be loaded: {type(error).__name__}: {error}") from error
    if not isinstance(named, bytes) or len(named) != 32:
        raise SetupError(f"the kernel {spec!r} names no model: its model_id must be 32 bytes")
    return made


def _load_bundle(spec: str, progress: ProgressCallback) -> Kernel:
    from ..kernels.sandboxed.host import KernelHost
    from ..kernels.sandboxed.process import Order

    folder, build_id = Path(spec), None
    if spec in SHELF:
        shelved = find_bundle(spec, progress)
        folder, build_id = shelved.folder, shelved.build_id
    host = KernelHost(Order(folder, build_id, compiled=compiled_dir(), strict=sys.platform == "linux"))
    host.load(progress)
    for right in host.about["enforced"]:
        _log.info("the kernel's process: %s", right)
    return EngineKernel(host) if host.about["kind"] == "generate" else TextsKernel(host)


def main(config: AgentConfig, progress: ProgressCallback = silent) -> int:
    """Runs the agent until SIGINT (at once) or SIGTERM (in order); the status for `sys.exit`."""
    try:
        asyncio.run(_until_signalled(config, progress))
    except CocoonError as error:
        _log.error("%s", error)
        return 1
    return 0


async def _until_signalled(config: AgentConfig, progress: ProgressCallback) -> None:
    agents: list[Agent] = []
    running = asyncio.create_task(run_agent(config, progress, agents.append))

    def terminate() -> None:
        """Once: end in order. Before there is an agent, and the second time: now."""
        if agents:
            _log.info("draining: no new streams; stopping when those under way have ended")
            agents.pop().drain()
        else:
            running.cancel()

    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, terminate)
    loop.add_signal_handler(signal.SIGINT, running.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await running
    _log.info("stopped; open jobs go on at the next start")


async def _keep_signer(path: Path) -> None:
    """Starts another signer when the one at `path` has died. Its keys died with it: the agent registers the new ones.

    Until then every new job would be a miss, paid for with the bond.
    """
    while True:
        await asyncio.sleep(_SIGNER_CHECK_SEC)
        try:
            await (await ensure_signer(path)).close()
        except SignerError as error:
            _log.warning("trying again in %.0f s: %s", _SIGNER_CHECK_SEC, error)


async def _connect(config: AgentConfig, network: dict[str, Any]) -> LiteChain:
    """The network, waited for."""
    pause = _FIRST_PAUSE_SEC
    while True:
        try:
            memory = config.data_dir / "blocks.json"
            return await LiteChain.open(network, stale_after_sec=config.stale_after_sec, memory=memory)
        except ChainUnavailable as error:
            _log.warning("trying again in %.1f s: %s", pause, error)
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE_SEC)


def _first(group: BaseExceptionGroup[BaseException]) -> CocoonError | None:
    """The error to tell the operator, if everything in the group is one of ours."""

    def leaves(error: BaseException) -> Iterator[BaseException]:
        if isinstance(error, BaseExceptionGroup):
            for inner in error.exceptions:
                yield from leaves(inner)
        else:
            yield error

    found = list(leaves(group))
    ours = [error for error in found if isinstance(error, CocoonError)]
    return ours[0] if len(ours) == len(found) else None
