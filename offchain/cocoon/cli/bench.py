"""`cocoon bench`: what operations cost."""

from __future__ import annotations

import json
from pathlib import Path

import click

from ..kernels.errors import KernelError

__all__ = ["bench"]

_PRECISIONS = ["f32", "bf16", "int8"]


@click.group()
def bench() -> None:
    """Measurements."""


@bench.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
@click.option("--snapshot", is_flag=True, help="Write tests/contracts/gas.json, which the tests hold the contracts to.")
@click.option("--markdown", is_flag=True, help="The text of docs/fees.md.")
def gas(as_json: bool, snapshot: bool, markdown: bool) -> None:
    """Gas, fees and least values of every operation, in the official executor at today's prices."""
    from rich.console import Console
    from rich.table import Table

    from ..bench.fees_page import render
    from ..bench.gas import code_sizes, measure
    from ..bench.rent import measure_rent
    from ..bench.scenario import sandbox_prices
    from ..contracts_build import contracts_dir

    operations = measure()
    if snapshot:
        path = contracts_dir().parent / "tests" / "contracts" / "gas.json"
        path.write_text(json.dumps({o.name: o.gas for o in operations}, indent=1) + "\n")
    if markdown:
        click.echo(render(operations, measure_rent(), sandbox_prices()), nl=False)
        return
    if as_json:
        document = {
            "operations": [o.to_json() for o in operations],
            "code": code_sizes(),
            "rent": [rent.to_json() for rent in measure_rent()],
        }
        click.echo(json.dumps(document, indent=2))
        return
    table = Table(
        box=None,
        pad_edge=False,
        title="Every operation, attached exactly the least value it takes",
        title_justify="left",
    )
    columns = ("operation", "gas", "transactions", "fees, TON", "least value, TON", "goal", "existing network")
    for name in columns:
        table.add_column(name, justify="left" if name == "operation" else "right")
    for o in operations:
        goal, existing = "", ""
        if o.goal:
            within = o.total_gas <= o.goal.gas and (
                o.goal.transactions is None or o.transactions <= o.goal.transactions
            )
            goal = f"{'meets' if within else 'misses'} {o.goal.gas:,}"
            if o.goal.existing_gas:
                ratio = o.total_gas / o.goal.existing_gas
                existing = f"{o.goal.existing_gas:,} in {o.goal.existing_transactions}  ({ratio:.2f}x)"
        least = f"{o.least_value_nano / 1e9:.6f}" if o.least_value_nano is not None else ""
        table.add_row(
            o.name, f"{o.total_gas:,}", str(o.transactions), f"{o.fees_nano / 1e9:.6f}", least, goal, existing
        )
    Console(width=128).print(table)


@bench.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
@click.option("--transactions", default=10_000, show_default=True, type=click.IntRange(16), help="How many to run.")
def sandbox(as_json: bool, transactions: int) -> None:
    """The local network against plain @ton/sandbox: transfers, requests with proofs, blocks, memory (minutes)."""
    from ..bench.sandbox import measure

    figures = measure(transactions, lambda line: click.echo(line, err=True))
    if as_json:
        click.echo(json.dumps(figures, indent=2))
        return
    transfers, requests, memory = figures["transfers"], figures["requests"], figures["memory"]
    for name, label in (("ton_sandbox_in_node", "@ton/sandbox in Node"), ("ledger", "ledger"), ("network", "network")):
        click.echo(f"transfers, {label:<20} {transfers[name]['per_second']:>8} transactions/s")
    click.echo(f"network against Node             {transfers['network_to_node']:>8} x")
    for depth in (1, 16):
        rate = requests[f"account_state_per_second_depth_{depth}"]
        click.echo(f"account states, proven, depth {depth:<2}  {rate:>8} requests/s of {requests['accounts']} accounts")
    click.echo(f"get-method                       {requests['getter_ms']['median']:>8} ms")
    for accounts, taken in figures["empty_block_ms"].items():
        click.echo(f"empty round, {accounts:>6} accounts      {taken['median']:>8} ms")
    click.echo(f"start: command {figures['start_s']['command']} s, in process {figures['start_s']['in_process']} s")
    for count, network, executor in zip(*memory.values(), strict=True):
        click.echo(f"memory after {count:>6} transactions: {network} MiB, executor {executor} MiB")


@bench.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
@click.option("--precision", "precisions", multiple=True, type=click.Choice(_PRECISIONS), help="Repeatable.")
@click.option("--streams", multiple=True, type=click.IntRange(1, 64), help="Answers at once. Repeatable.")
@click.option("--full", is_flag=True, help="Five times as many rounds.")
@click.option("--peers/--no-peers", default=True, help="Other engines beside ours (installs them on first use).")
@click.option("--peer-python", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Runs the peers.")
@click.option("--device", type=click.Choice(["cuda"]), help="A Llama-shaped model on a graphics card, by its bounds.")
def inference(
    as_json: bool,
    precisions: tuple[str, ...],
    streams: tuple[int, ...],
    full: bool,
    peers: bool,
    peer_python: Path | None,
    device: str | None,
) -> None:
    """The engine on SmolLM2-135M beside llama.cpp and transformers: decode and prefill rates, distance from f32."""
    from ..bench.inference import FULL, QUICK, measure
    from ..bench.peers import PEERS

    if device is not None:
        from ..bench.card import measure_card, need_card

        try:
            need_card()
        except KernelError as error:
            raise click.ClickException(str(error)) from error
        counts, rounds = streams or (1, 4, 8, 16), FULL if full else QUICK
        found = measure_card(streams=counts, rounds=rounds, progress=lambda line: click.echo(line, err=True))
        click.echo(json.dumps(found, indent=2))
        return
    figures = measure(
        precisions=precisions or ("f32", "bf16", "int8"),
        streams=streams or (1, 4, 8, 16),
        rounds=FULL if full else QUICK,
        kinds=PEERS if peers else (),
        python=peer_python,
        progress=lambda line: click.echo(line, err=True),
    )
    if as_json:
        click.echo(json.dumps(figures, indent=2))
        return
    for title in ("decode_tokens_per_s", "prefill_tokens_per_s", "first_token_ms", "bandwidth_fraction"):
        click.echo(title.replace("_", " "))
        _show(figures[title])
    for what, table in figures["ratio_to_best_peer"].items():
        if table:
            click.echo(f"{what}: ratio to the best peer")
            _show(table)
    for name, found in figures["distance"].items():
        click.echo(f"{name} against f32: " + ", ".join(f"{what} {value}" for what, value in found.items()))
    for name, reason in figures["absent"].items():
        click.echo(f"{name} is not among the peers: {reason}")
    load = " to ".join(map(str, figures["load_average"]))
    click.echo(f"memory: {figures['bandwidth_gb_per_s']} GB/s on {figures['device']}; load average {load}")


@bench.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
@click.option("--model", default="smollm2-135m-instruct", show_default=True, help="A model on the shelf.")
@click.option("--streams", multiple=True, type=click.IntRange(1, 64), help="Answers at once. Repeatable.")
@click.option("--tokens", default=48, show_default=True, type=click.IntRange(2, 1024), help="Of each answer.")
@click.option("--protocol-only", is_flag=True, help="Only the ceiling, with a kernel that costs nothing.")
def overhead(as_json: bool, model: str, streams: tuple[int, ...], tokens: int, protocol_only: bool) -> None:
    """The fast path, and a gateway before it, against the engine alone; and their ceilings in requests/s."""
    from ..bench.overhead import measure

    counts = () if protocol_only else streams or (1, 8, 32)
    figures = measure(model, counts, tokens, progress=lambda line: click.echo(line, err=True))
    if as_json:
        click.echo(json.dumps(figures, indent=2))
        return
    ceiling = figures["null_kernel"]
    click.echo(f"protocol alone: {ceiling['requests_per_s']} requests/s, {ceiling['at_once']} at once")
    click.echo(f"first token, protocol alone: {ceiling['first_token_ms_alone_p50']} ms at p50")
    hop = ceiling["gateway"]
    click.echo(f"behind a gateway: {hop['requests_per_s']} requests/s, {hop['first_token_ms_alone_p50']} ms at p50")
    for count, row in figures.get("streams", {}).items():
        click.echo(f"{count} streams: " + ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in row.items()))


def _show(table: dict[str, dict[str, object]]) -> None:
    for name, row in table.items():
        click.echo(f"  {name:<18}" + "".join(f"{count:>4}: {value:>9}" for count, value in row.items()))


@bench.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
@click.option("--requests", default=1000, show_default=True, type=click.IntRange(1), help="Served over the channel.")
@click.option("--claims", default=4, show_default=True, type=click.IntRange(0, 64), help="Of the worker on the way.")
def settlement(as_json: bool, requests: int, claims: int) -> None:
    """What a request costs on the chain: a channel opened, claimed from and closed, shared by its requests."""
    from ..bench.existing import EXISTING_SETTLEMENT_NANO
    from ..bench.settlement import measure

    found = measure(requests, claims, lambda line: click.echo(line, err=True))
    if as_json:
        click.echo(json.dumps(found.to_json(), indent=2))
        return
    click.echo(
        f"{found.requests:,} requests, {found.transactions} transactions of all wallets and contracts "
        f"(open, {found.claims} claims, close)"
    )
    for title, whole, each in (
        (f"today, {found.gas_price_nano:.1f} nanoTON a gas unit", found.cost_nano, found.per_request_nano),
        ("at 400 nanoTON a gas unit", found.cost_at_400_nano, found.per_request_at_400_nano),
    ):
        click.echo(f"{title:<36} {whole / 1e9:.6f} TON in all, {each / 1e9:.9f} TON a request")
    click.echo(
        f"existing network, one settlement     {EXISTING_SETTLEMENT_NANO / 1e9:.6f} TON at 400: "
        f"{found.cheaper_by:,.0f} times as much; {'meets' if found.meets_goal else 'misses'} the goal of 100"
    )
