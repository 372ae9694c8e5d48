"""Everything slow that happens once per machine, shown as it happens: Node packages, weights, compiled programs."""

from __future__ import annotations

from importlib.util import find_spec

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from ..kernels.progress import Progress as Step
from ..kernels.progress import ProgressCallback
from ..kernels.shelf import find_bundle
from .stage import DemoFailed

__all__ = ["EMBEDDER", "MODEL", "prepare"]

MODEL = "smollm2-135m-instruct"
EMBEDDER = "all-minilm-l6-v2"


def prepare(console: Console) -> None:
    """Install the executor's packages, fetch the models and build their bundles, with a bar for each step."""
    from cocoon_sandbox.executor import Executor

    if find_spec("openai") is None:
        raise DemoFailed("the demo asks by OpenAI's SDK, which is not installed: pip install 'cocoon[demo]'")
    columns = (
        TextColumn("  {task.description:<36}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f}%"),
        TimeElapsedColumn(),
    )
    console.print("[bold]Preparing[/bold] (downloads are cached outside the repository)")
    with Progress(*columns, console=console) as bars:
        node = bars.add_task("TON executor", total=None)
        Executor.shared()
        bars.update(node, total=1, completed=1)
        for model in (MODEL, EMBEDDER):
            find_bundle(model, _shown(bars, model))


def _shown(bars: Progress, name: str) -> ProgressCallback:
    tasks: dict[str, TaskID] = {}

    def show(step: Step) -> None:
        if step.phase not in tasks:
            tasks[step.phase] = bars.add_task(f"{name}: {step.phase}", total=step.total)
        bars.update(tasks[step.phase], total=step.total, completed=step.done)

    return show
