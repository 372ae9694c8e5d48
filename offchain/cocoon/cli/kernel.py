"""`cocoon kernel`: make, look at, and try kernel bundles."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from ..kernels.builders.blueprint import Blueprint
    from ..kernels.progress import ProgressCallback

__all__ = ["kernel"]

_EXAMPLE = re.compile(r"([A-Za-z_]\w*)=(f32|f16|bf16|i32|i8|u8|bool)\[([\d,]*)\]\Z")
_PRECISIONS = ["f32", "bf16", "int8"]
_FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)


@click.group()
def kernel() -> None:
    """Kernel bundles: content-addressed models that any worker can run."""


@kernel.command()
@click.argument("source")
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option(
    "--precision", "precisions", multiple=True, type=click.Choice(["f32", "bf16", "int8"]), help="Repeatable."
)
@click.option("--slots", default=8, show_default=True, type=click.IntRange(1, 1024), help="Answers computed at once.")
@click.option("--capacity", type=click.IntRange(1), help="Tokens of a slot; the model's context if not given.")
@click.option(
    "--chunk", default=64, show_default=True, type=click.IntRange(1, 4096), help="Tokens a prefill step reads."
)
@click.option(
    "--parts", default=1, show_default=True, type=click.IntRange(1, 256), help="How many devices may share a layer."
)
@click.option("--name", help="The model's name; the source's if not given.")
@click.option("--licence", help="An SPDX expression; needed where the source names none.")
@click.option(
    "--example", "examples", multiple=True, help="For module:function, an input such as x=f32[2,3]; repeatable."
)
@click.option("--add", is_flag=True, help="Add builds to BUNDLE, which must be the same model, instead of making it.")
def build(
    source: str,
    bundle: Path,
    precisions: tuple[str, ...],
    slots: int,
    capacity: int | None,
    chunk: int,
    parts: int,
    name: str | None,
    licence: str | None,
    examples: tuple[str, ...],
    add: bool,
) -> None:
    """Make BUNDLE out of SOURCE: a GGUF file, a Hugging Face folder (Llama, Qwen2, Qwen3, BERT), or module:function."""
    from ..kernels.builders.blueprint import BuildOptions
    from ..kernels.builders.pack import add_build, write_bundle
    from ..kernels.bundle.loader import MANIFEST
    from ..kernels.engine.runtime import FolderCache
    from ..kernels.fetch import compiled_dir

    if add and not (bundle / MANIFEST).is_file():
        raise click.UsageError(f"{bundle} is no bundle to add to: leave --add out to make it")
    options = [
        BuildOptions(precision, slots, capacity, chunk, parts)  # type: ignore[arg-type]
        for precision in dict.fromkeys(precisions or ("f32",))
    ]
    with _bars() as show:
        blueprint = _blueprint(source, name, licence, examples, show)
        cache = FolderCache(compiled_dir())
        if add:
            for option in options:
                manifest = add_build(blueprint, option, bundle, show, cache=cache)
        else:
            manifest = write_bundle(blueprint, options, bundle, show, cache=cache)
    click.echo(f"model {manifest.model_id.hex()}")
    for made in manifest.builds:
        click.echo(f"build {made.id[:12]}: {made.precision}, {made.slots} slots of {made.capacity} tokens")


@kernel.command()
@click.argument("bundle", type=_FOLDER)
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def inspect(bundle: Path, as_json: bool) -> None:
    """Check BUNDLE as a worker would, programs included, and say what it is.

    What it is, is read here; programs are parsed where they can do no harm, in a confined process.
    """
    from ..kernels.bundle.loader import open_bundle, parts_of
    from ..kernels.sandboxed.process import KernelProcess, Order

    with _bars() as show:
        opened = open_bundle(bundle, progress=show)
        strict = sys.platform == "linux"
        KernelProcess(Order(bundle, expected=opened.model_id, strict=strict, audit=True), show).close()
    core = opened.core
    found: dict[str, Any] = {
        "model_id": opened.model_id.hex(),
        "name": core.name,
        "kind": core.kind,
        "licence": core.licence,
        "weights_bytes": core.weights.bytes,
        "inputs": [f"{tensor.name} {tensor.dtype}{list(tensor.dims)}" for tensor in core.inputs],
        "outputs": [f"{tensor.name} {tensor.dtype}{list(tensor.dims)}" for tensor in core.outputs],
        "builds": [
            {
                "id": made.id,
                "precision": made.precision,
                "platforms": list(made.platforms),
                "exporter": made.exporter,
                "slots": made.slots,
                "capacity": made.capacity,
                "parts": parts_of(opened, made),
                "parameter_bytes": sum(opened.parameter(made, name).size_bytes for name in made.parameters),
                "state_bytes": sum(tensor.size_bytes for tensor in made.state),
                "programs": [f"{p.role} {p.sha256[:12]} ({p.bytes} bytes)" for p in made.programs],
            }
            for made in opened.manifest.builds
        ],
    }
    if as_json:
        click.echo(json.dumps(found, indent=2))
        return
    for key, value in found.items():
        if key != "builds":
            click.echo(f"{key.replace('_', ' '):14}  {', '.join(value) if isinstance(value, list) else value}")
    for made in found["builds"]:
        click.echo(f"build {made['id'][:12]}")
        for key, value in made.items():
            text = ", ".join(map(str, value)) if isinstance(value, list) else value
            click.echo(f"  {key.replace('_', ' '):16}  {text}")


@kernel.command()
@click.argument("bundle", type=_FOLDER)
@click.argument("texts", nargs=-1, required=True)
@click.option("--build", "build_id", help="The beginning of a build's id; the first build if not given.")
@click.option("--max-tokens", default=128, show_default=True, type=click.IntRange(1))
@click.option("--temperature", default=0.0, show_default=True)
@click.option("--top-p", default=1.0, show_default=True)
@click.option("--top-k", default=0, show_default=True, help="0 keeps all.")
@click.option("--seed", default=0, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def run(
    bundle: Path,
    texts: tuple[str, ...],
    build_id: str | None,
    max_tokens: int,
    temperature: float,
    top_p: float,
    top_k: int,
    seed: int,
    as_json: bool,
) -> None:
    """Run BUNDLE on TEXTS, in the same confined process as a worker: one answer each, or one vector each."""
    from ..kernels.engine.sampling import Sampling
    from ..kernels.fetch import compiled_dir
    from ..kernels.sandboxed.host import KernelHost
    from ..kernels.sandboxed.process import Order

    sampling = Sampling(temperature, top_p, seed, top_k)
    host = KernelHost(Order(bundle, build_id, compiled=compiled_dir(), strict=sys.platform == "linux"))
    with _bars() as show:
        host.load(show)
    try:
        found: list[dict[str, Any]] = []
        if host.about["kind"] == "map":
            arrays, tokens = host.map_texts(texts)
            found = [{name: rows[i].tolist() for name, rows in arrays.items()} for i in range(len(texts))]
            if not as_json:
                for text, values in zip(texts, found, strict=True):
                    click.echo(f"{text}: {values}")
                click.echo(f"{tokens} tokens", err=True)
        for text in texts if host.about["kind"] == "generate" else ():
            generation = host.generate(text, max_tokens=max_tokens, sampling=sampling)
            for token in generation:
                if not as_json:
                    click.echo(token.text, nl=False)
            done = generation.finish() if generation.completion is None else generation.completion
            found.append(
                {
                    "text": done.text,
                    "finish_reason": done.finish_reason,
                    "prompt_tokens": done.prompt_tokens,
                    "completion_tokens": done.completion_tokens,
                }
            )
            if not as_json:
                click.echo(f"\n[{done.finish_reason}; {done.prompt_tokens} + {done.completion_tokens} tokens]")
        if as_json:
            about = {name: host.about[name] for name in ("model_id", "build", "precision", "device", "enforced")}
            click.echo(json.dumps({**about, "results": found}, indent=2))
    finally:
        host.close()


@kernel.command()
@click.argument("model_id")
@click.option("--mirror", "mirrors", multiple=True, required=True, help="An http(s) address. Repeatable.")
@click.option("--build", "build_id", help="The id (64 hex digits) of the only build to accept.")
def fetch(model_id: str, mirrors: tuple[str, ...], build_id: str | None) -> None:
    """Get the bundle with MODEL_ID (64 hex digits) from mirrors, and print its folder.

    With --build, no mirror is trusted: weights, tokenizer and programs are those that the two ids name. Without it,
    the mirror chooses the programs, and so the answers; the golden vectors catch mistakes, not malice.
    """
    from ..kernels.bundle.store import fetch_bundle
    from ..kernels.fetch import cache_dir

    wanted = _id(model_id, "MODEL_ID")
    only = None if build_id is None else _id(build_id, "--build")
    with _bars() as show:
        folder = fetch_bundle(wanted, cache_dir() / "bundles", mirrors, progress=show, build=only)
    click.echo(folder)


def _id(text: str, what: str) -> bytes:
    try:
        found = bytes.fromhex(text)
    except ValueError:
        found = b""
    if len(found) != 32:
        raise click.BadParameter("write 64 hex digits", param_hint=what)
    return found


def _blueprint(
    source: str, name: str | None, licence: str | None, examples: tuple[str, ...], show: ProgressCallback
) -> Blueprint:
    path = Path(source)
    if path.is_file():
        from ..kernels.builders.gguf import blueprint_from_gguf

        return blueprint_from_gguf(path, name=name, licence=licence, progress=show)
    if licence is None:
        raise click.UsageError("say which licence the model has: --licence Apache-2.0")
    if path.is_dir():
        from ..kernels.builders.huggingface import blueprint_from_folder

        return blueprint_from_folder(path, name=name, licence=licence)
    if ":" not in source:
        raise click.UsageError(f"{source} is neither a file nor a folder, nor module:function")
    from ..kernels.builders.function import blueprint_from_function, load_function

    sys.path.insert(0, str(Path.cwd()))
    function = load_function(source)
    made = dict(_example(text) for text in examples)
    return blueprint_from_function(function, made, name=name or source.partition(":")[2], licence=licence)


def _example(text: str) -> tuple[str, Any]:
    """x=f32[2,3] -> ("x", numbers that are all different)."""
    import numpy as np

    from ..kernels.bundle.safetensors import NUMPY

    found = _EXAMPLE.match(text)
    if found is None:
        raise click.UsageError(f"{text!r} is no example input: write name=dtype[dims], such as x=f32[2,3]")
    shape = tuple(int(dim) for dim in found[3].split(",") if dim)
    numbers = np.random.default_rng(1).standard_normal(shape) * (1 if "f" in found[2] else 10)
    return found[1], np.asarray(numbers).astype(NUMPY[found[2]])


@contextmanager
def _bars() -> Iterator[ProgressCallback]:
    """A bar for each phase, on standard error."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    from ..kernels.progress import Progress as Step

    columns = (TextColumn("  {task.description:<10}"), BarColumn(), TextColumn("{task.percentage:>3.0f}%"))
    with Progress(*columns, TimeElapsedColumn(), console=Console(stderr=True), transient=True) as bars:
        tasks: dict[str, Any] = {}

        def show(step: Step) -> None:
            if step.phase not in tasks:
                tasks[step.phase] = bars.add_task(step.phase, total=step.total)
            bars.update(tasks[step.phase], total=step.total, completed=step.done)

        yield show
