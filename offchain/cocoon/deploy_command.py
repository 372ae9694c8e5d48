"""The command line of deploy.py."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
from pytoniq_core import Address, Cell

from .attestation.trust import TrustedRoot, banner
from .chain.base import ChainTransaction
from .chain.boc import parse_roots, to_boc
from .chain.delivery import WalletOrder, deliver
from .chain.lite import LiteChain
from .chain.networks import NetworkName, check_network, load_global_config
from .chain.trace import trace
from .chain.wallet import Wallet, format_ton, needed_nano
from .deploying import MAINNET_PRICES, Plan, PlannedContract, missing, plan, planned_in, verify
from .deployment import Rules
from .errors import CocoonError, DeployError, LyingServer
from .fees import Prices
from .rules import check_for_network, parse_rules, rules_to_json

__all__ = ["main"]

_OFFLINE_VALID_SEC = 3600


@dataclass(frozen=True, slots=True)
class Request:
    """What the command line asks for."""

    network: NetworkName
    global_config: Path | None
    mnemonic_file: Path | None
    rules: Path | None
    offline: Path | None
    send: Path | None
    seqno: int | None
    valid_until: int | None
    yes: bool
    dry_run: bool
    as_json: bool
    trust_build: bool
    allow_simulated_tee: bool


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--network", type=click.Choice([name.value for name in NetworkName]), required=True)
@click.option(
    "--global-config", type=click.Path(path_type=Path), help="The network's configuration (a sandbox writes one)."
)
@click.option(
    "--mnemonic-file", type=click.Path(path_type=Path), help="The wallet's 24 words; else env COCOON_MNEMONIC."
)
@click.option("--rules", type=click.Path(path_type=Path), help="JSON that overrides the default rules.")
@click.option("--offline", type=click.Path(path_type=Path), help="Write the signed message here, touch no network.")
@click.option("--seqno", type=int, help="Seqno of the wallet's next message (with --offline; 0: not deployed yet).")
@click.option("--valid-until", type=int, help="Unix time at which that message expires (default: in an hour).")
@click.option("--send", type=click.Path(path_type=Path), help="Send what --offline wrote.")
@click.option("--yes", is_flag=True, help="Don't ask.")
@click.option("--dry-run", is_flag=True, help="Show the plan and stop.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object (needs --yes or --dry-run).")
@click.option("--trust-build", is_flag=True, help="Deploy contracts/build as committed, without recompiling.")
@click.option("--allow-simulated-tee", is_flag=True, help="Accept another root than Intel's: nothing is confidential.")
def main(network: str, **options: Any) -> None:
    """Deploy Cocoon's Registry, Slashing and Attestation contracts."""
    request = Request(network=NetworkName(network), **options)
    try:
        result = asyncio.run(_run(request))
    except CocoonError as error:
        if request.as_json:
            print(json.dumps({"error": str(error)}))
        print(f"deploy: {error}", file=sys.stderr)
        raise SystemExit(1) from error
    if request.as_json:
        print(json.dumps(result, indent=2))


async def _run(request: Request) -> dict[str, Any]:
    _check_options(request)
    if request.send is not None:
        return await _send_signed(request, _read_signed(request.send))
    _check_build(request)
    wallet = _wallet(request)
    rules = _rules(request, wallet)
    check_for_network(rules, request.network, allow_simulated_tee=request.allow_simulated_tee)
    if request.offline is not None:
        return _sign_offline(request, request.offline, wallet, rules)
    return await _deploy(request, wallet, rules)


async def _deploy(request: Request, wallet: Wallet, rules: Rules) -> dict[str, Any]:
    config = load_global_config(request.network, request.global_config)
    async with await LiteChain.open(config) as chain:
        check_network(request.network, chain.global_id)
        wanted = plan(rules, await Prices.of(chain))
        todo = await missing(chain, wanted)
        account = await chain.account(wallet.address)
        _show_plan(request, wallet.address, wanted, todo, rules, account.balance)
        result = _result(request, wallet.address, wanted, rules)
        if request.dry_run:
            return result
        transactions: list[ChainTransaction] = []
        if todo.transfers():
            _confirm(request, f"send {format_ton(todo.total_nano)} from this wallet")
            sent = await wallet.send_all(chain, todo.transfers())
            transactions = await trace(chain, sent)
        await verify(chain, [contract for contract in wanted.contracts if _is_fresh(contract, todo)])
        await verify(chain, wanted.contracts, data_too=False)
        return _done(request, result, transactions, wanted.contracts)


def _is_fresh(contract: PlannedContract, todo: Plan) -> bool:
    """Whether its data must be exactly the planned one: it was deployed just now, or has just got its policy."""
    deployed = any(contract.address == one.address for one in todo.contracts)
    return deployed or (contract.name == "Attestation" and bool(todo.sync_nano))


def _sign_offline(request: Request, path: Path, wallet: Wallet, rules: Rules) -> dict[str, Any]:
    if request.seqno is None:
        raise DeployError(
            "--offline needs --seqno: the wallet's next one (0 if it is not deployed), as an explorer shows it"
        )
    now = int(time.time())
    valid_until = now + _OFFLINE_VALID_SEC if request.valid_until is None else request.valid_until
    if valid_until <= now:
        raise DeployError(f"--valid-until {valid_until} ({_utc(valid_until)}) has passed; give a later time")
    wanted = plan(rules, MAINNET_PRICES)
    _show_plan(request, wallet.address, wanted, wanted, rules, None)
    if request.dry_run:
        return _result(request, wallet.address, wanted, rules)
    _confirm(request, "sign this")
    message = wallet.sign_all(wanted.transfers(), seqno=request.seqno, valid_until=valid_until)
    _write(path, to_boc(message))
    _say(
        request,
        f"wrote {path}: valid until {_utc(valid_until)}. Carry it to a machine with a network and run --send {path}",
    )
    return {**_result(request, wallet.address, wanted, rules), "file": str(path), "valid_until": valid_until}


def _read_signed(path: Path) -> Cell:
    try:
        roots = parse_roots(path.read_bytes(), str(path))
    except OSError as error:
        raise DeployError(f"{path} can't be read: {error}") from error
    except LyingServer as error:
        raise DeployError(f"{path} holds no signed deployment; make one with --offline") from error
    if len(roots) != 1:
        raise DeployError(f"{path} holds no signed deployment; make one with --offline")
    return roots[0]


async def _send_signed(request: Request, message: Cell) -> dict[str, Any]:
    wallet, wanted = planned_in(message)
    order = WalletOrder.of(message)
    config = load_global_config(request.network, request.global_config)
    async with await LiteChain.open(config) as chain:
        check_network(request.network, chain.global_id)
        account = await chain.account(wallet)
        _show_plan(request, wallet, wanted, await missing(chain, wanted), None, account.balance)
        _say(request, f"signed with seqno {order.seqno}, valid until {_utc(order.valid_until)}")
        result = _result(request, wallet, wanted, None)
        if request.dry_run:
            return result
        if account.balance < (needed := needed_nano(wanted.transfers())):
            raise DeployError(
                f"the wallet holds {format_ton(account.balance)} and needs {format_ton(needed)} (fees included); "
                f"send it more and try again"
            )
        _confirm(request, "send it")
        transactions = await trace(chain, await deliver(chain, message))
        await verify(chain, wanted.contracts)
        return _done(request, result, transactions, wanted.contracts)


# ---- input ----


def _check_options(request: Request) -> None:
    """Refuse what would be ignored or asked of nobody."""
    if request.as_json and not (request.yes or request.dry_run):
        raise DeployError("--json asks no questions; add --yes or --dry-run")
    if request.offline is not None and request.send is not None:
        raise DeployError("--offline signs on one machine, --send sends on another; give one of them")
    if request.offline is None and (request.seqno is not None or request.valid_until is not None):
        raise DeployError("--seqno and --valid-until are for --offline; otherwise the chain says")


def _check_build(request: Request) -> None:
    """Refuse to deploy code that is not what the sources compile to."""
    if request.trust_build:
        return
    from cocoon_sandbox.errors import SandboxError

    from .contracts_build import check

    try:
        differences = check()
    except (ImportError, SandboxError) as error:
        raise DeployError(
            f"the build can't be checked here ({error}); install cocoon[sandbox], or say --trust-build to deploy "
            f"contracts/build as committed"
        ) from error
    if differences:
        raise DeployError("contracts/build is not what the sources compile to: " + "; ".join(differences))


def _wallet(request: Request) -> Wallet:
    if request.mnemonic_file is not None:
        try:
            words = request.mnemonic_file.read_text()
        except (OSError, UnicodeDecodeError) as error:
            raise DeployError(f"the mnemonic can't be read: {error}; check --mnemonic-file") from error
    else:
        words = os.environ.get("COCOON_MNEMONIC", "")
    if not words.strip():
        raise DeployError(
            "there is no wallet: name a file with --mnemonic-file, or set COCOON_MNEMONIC to its 24 words"
        )
    return Wallet.from_mnemonic(words)


def _rules(request: Request, wallet: Wallet) -> Rules:
    if request.rules is None:
        return parse_rules("{}", wallet.address)
    try:
        return parse_rules(request.rules.read_text(), wallet.address)
    except (OSError, UnicodeDecodeError) as error:
        raise DeployError(f"the rules can't be read: {error}; check --rules") from error


# ---- output ----


def _show_plan(
    request: Request, wallet: Address, wanted: Plan, todo: Plan, rules: Rules | None, balance_nano: int | None
) -> None:
    _say(request, f"network   {request.network}")
    held = "" if balance_nano is None else f", holds {format_ton(balance_nano)}"
    _say(request, f"wallet    {wallet.to_str(is_bounceable=False)}{held}")
    pending = {contract.name for contract in todo.contracts}
    for contract in wanted.contracts:
        _say(request, f"{contract.name:<9} {contract.address.to_str(is_user_friendly=False)}")
        _say(request, f"          code {contract.code_hash.hex()}")
        _say(request, f"          data {contract.data_hash.hex()}")
        state = (
            f"deploy with {format_ton(contract.value_nano)} of rent" if contract.name in pending else "is there already"
        )
        _say(request, f"          {state}")
    if rules is not None:
        for name, value in rules_to_json(rules).items():
            _say(request, f"          {name} = {value}")
        if (warning := banner(TrustedRoot(rules.attestation_root))) is not None:
            _say(request, warning)
    if todo.fees_nano:
        _say(request, f"costs     {format_ton(todo.total_nano)} at most, {format_ton(todo.fees_nano)} of it fees")
        _say(
            request,
            f"needs     {format_ton(needed_nano(todo.transfers()))} in the wallet; what is not used stays there",
        )


def _confirm(request: Request, what: str) -> None:
    if not request.yes and not request.as_json and not click.confirm(f"{what}?"):
        raise DeployError("stopped; nothing was sent")


def _result(request: Request, wallet: Address, wanted: Plan, rules: Rules | None) -> dict[str, Any]:
    result: dict[str, Any] = {
        "network": request.network.value,
        "wallet": wallet.to_str(is_user_friendly=False),
        "contracts": [contract.to_json() for contract in wanted.contracts],
    }
    for contract in wanted.contracts:
        result[contract.name.lower()] = contract.address.to_str(is_user_friendly=False)
    if rules is not None:
        result["rules"] = rules_to_json(rules)
    return result


def _done(
    request: Request,
    result: dict[str, Any],
    transactions: list[ChainTransaction],
    contracts: tuple[PlannedContract, ...],
) -> dict[str, Any]:
    for transaction in transactions:
        _say(
            request,
            f"executed  {transaction.hash.hex()} gas {transaction.gas_used} "
            f"fees {format_ton(transaction.total_fees + transaction.forward_fees)}",
        )
    _say(request, f"verified  {', '.join(contract.name for contract in contracts)}: the chain holds what was planned")
    result["transactions"] = [
        {
            "account": transaction.account.to_str(is_user_friendly=False),
            "hash": transaction.hash.hex(),
            "lt": transaction.lt,
            "gas": transaction.gas_used,
            "fees_nano": transaction.total_fees,
            "forward_fees_nano": transaction.forward_fees,
        }
        for transaction in transactions
    ]
    result["verified"] = True
    return result


def _say(request: Request, line: str) -> None:
    if not request.as_json:
        print(line)


def _write(path: Path, data: bytes) -> None:
    try:
        path.write_bytes(data)
    except OSError as error:
        raise DeployError(f"{path} can't be written: {error}") from error


def _utc(unix: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(unix))
