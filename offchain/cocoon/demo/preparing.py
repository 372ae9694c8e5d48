"""Everything slow that happens once per machine, shown as it happens: Node packages, weights, compiled programs."""

from __future__ import annotations

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from ..kernels.engine import Engine
from ..kernels.progress import Progress as Step

__all__ = ["prepare"]


def prepare(console: Console) -> None:
    """Install the executor's packages and fetch, check and compile the model, with a bar for each step."""
    from cocoon_sandbox.executor import Executor

    columns = (
        TextColumn("  {task.description:<28}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f}%"),
        TimeElapsedColumn(),
    )
    console.print("[bold]Preparing[/bold] (downloads are cached outside the repository)")
    with Progress(*columns, console=console) as bars:
        node = bars.add_task("TON executor", total=None)
        Executor.shared()
        bars.update(node, total=1, completed=1)
        tasks: dict[str, TaskID] = {}

        def show(step: Step) -> None:
            if step.phase not in tasks:
                tasks[step.phase] = bars.add_task(f"model: {step.phase}", total=step.total)
            bars.update(tasks[step.phase], total=step.total, completed=step.done)

        Engine().load(show)
