"""A network's rules out of a JSON file, held to the bounds that the contracts enforce on every later change.

A Registry's first rules come with its StateInit, which no code checks: this is where they are checked. The bounds are
those of `contracts/common/policy.tolk`, and a test compares the two.
"""

from __future__ import annotations

import json
import re
from dataclasses import fields, replace
from typing import Any

from pytoniq_core import Address

from .attestation.trust import TrustedRoot
from .chain.networks import NetworkName
from .crypto.ed25519 import is_sound
from .deployment import Rules
from .errors import DeployError
from .wire.attestation import TcbStatusCode

__all__ = ["check_for_network", "check_rules", "parse_address", "parse_rules", "rules_to_json"]

BPS = 10_000
BPS_MAX_REWARD = 2000
MAX_UNBONDING_SEC = 180 * 86400
MAX_LEASE_SEC = 366 * 86400
MAX_BLOCK_AGE = 1600
SEPT_VE_DISABLE = 0x0000001000000000
NEVER_REQUIRED = 0xFF00000000000000 | 0x0000002000000000 | 0x00FFFF0FFFFFFF7F  # debug group, MIGRATABLE, reserved
MIN_VOLUME_BURN_BPS = 10
MAX_REBUILDERS = 16
MAX_LISTED = 32
_KEY = re.compile("[0-9a-fA-F]{64}")
_ROOT = re.compile("[0-9a-fA-F]{128}")


def parse_rules(text: str, owner: Address) -> Rules:
    """Rules for `owner` with what the JSON object `text` overrides. DeployError if unknown or out of bounds."""
    try:
        given = json.loads(text, object_pairs_hook=_without_repeats)
    except (ValueError, RecursionError) as error:
        raise DeployError(f"the rules are no JSON: {error}") from error
    if not isinstance(given, dict):
        raise DeployError('the rules must be a JSON object such as {"min_stake_nano": 10000000000}')
    known = {field.name: field for field in fields(Rules)}
    changes: dict[str, Any] = {}
    for name, value in given.items():
        if name not in known:
            raise DeployError(f"there is no rule {name}; known are {', '.join(known)}")
        if name == "owner":
            changes[name] = parse_address(value, "the rules' owner")
        elif name in ("rebuilders", "measurements"):
            changes[name] = _parse_numbers(name, value)
        elif name == "attestation_root":
            if not isinstance(value, str) or not _ROOT.fullmatch(value):
                raise DeployError(f"rule {name} must be a P-256 key, x then y, of 128 hex digits, not {value!r}")
            changes[name] = bytes.fromhex(value)
        elif name == "accepted_statuses":
            changes[name] = _parse_statuses(value)
        else:
            if not isinstance(value, int) or isinstance(value, bool):
                raise DeployError(f"rule {name} must be a whole number, not {value!r}")
            changes[name] = value
    rules = replace(Rules(owner=owner), **changes)
    if problems := check_rules(rules):
        raise DeployError("these rules are out of bounds: " + "; ".join(problems))
    return rules


def _parse_numbers(name: str, value: object) -> tuple[int, ...]:
    """Ed25519 public keys or measurements as 64 hex digits each."""
    if not isinstance(value, list) or not all(isinstance(key, str) and _KEY.fullmatch(key) for key in value):
        raise DeployError(f"rule {name} must be a list of 64 hex digits each, not {value!r}")
    return tuple(int(key, 16) for key in value)


def _parse_statuses(value: object) -> tuple[str, ...]:
    known = [status.name for status in TcbStatusCode if status is not TcbStatusCode.REVOKED]
    if not isinstance(value, list) or not value or not all(name in known for name in value):
        raise DeployError(f"rule accepted_statuses must be a list of some of {', '.join(known)}, not {value!r}")
    return tuple(value)


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """JSON lets the last of several values win; who wrote two meant one of them."""
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise DeployError(f"rule {name} is given twice; leave one")
        found[name] = value
    return found


def rules_to_json(rules: Rules) -> dict[str, Any]:
    """The inverse of `parse_rules`."""
    document = {field.name: getattr(rules, field.name) for field in fields(Rules)}
    document["owner"] = rules.owner.to_str(is_user_friendly=False)
    document["attestation_root"] = rules.attestation_root.hex()
    document["accepted_statuses"] = list(rules.accepted_statuses)
    document["measurements"] = [f"{measurement:064x}" for measurement in rules.measurements]
    document["rebuilders"] = [f"{key:064x}" for key in rules.rebuilders]
    return document


def check_rules(rules: Rules) -> list[str]:
    """What is wrong with `rules`, a clause each; empty if a contract would accept them as a policy."""
    problems = []
    for field in fields(Rules):
        value = getattr(rules, field.name)
        if isinstance(value, bool) or not isinstance(value, int):
            continue
        bits = 64 if field.name.endswith(("_nano", "_attributes")) else 16 if field.name.endswith("_bps") else 32
        if not 0 <= value < 1 << bits:
            problems.append(f"{field.name} {value} does not fit {bits} bits")
    bounds: tuple[tuple[bool, str], ...] = (
        (rules.miss_client_bps <= BPS_MAX_REWARD, f"miss_client_bps is above {BPS_MAX_REWARD}"),
        (
            rules.slash_reporter_bps + rules.slash_client_bps <= BPS_MAX_REWARD,
            f"slash_reporter_bps and slash_client_bps together are above {BPS_MAX_REWARD}",
        ),
        (rules.min_bond_nano >= rules.miss_penalty_nano, "min_bond_nano is below miss_penalty_nano"),
        (rules.miss_penalty_nano > 0, "miss_penalty_nano must not be 0"),
        (
            rules.key_loss_nano <= rules.miss_penalty_nano * rules.miss_client_bps // BPS,
            "key_loss_nano is above the client's share of miss_penalty_nano",
        ),
        (
            MIN_VOLUME_BURN_BPS <= rules.volume_burn_bps <= BPS,
            f"volume_burn_bps is not between {MIN_VOLUME_BURN_BPS} and {BPS}",
        ),
        (rules.notice_sec <= rules.max_term_sec, "notice_sec is above max_term_sec"),
        (rules.dispute_sec > 0, "dispute_sec must not be 0"),
        (rules.max_term_sec > 0, "max_term_sec must not be 0"),
        (rules.lease_sec > 0, "lease_sec must not be 0"),
        (rules.max_block_age <= MAX_BLOCK_AGE, f"max_block_age is above {MAX_BLOCK_AGE}"),
        (
            not rules.forbidden_attributes & (rules.required_attributes | SEPT_VE_DISABLE),
            "forbidden_attributes forbid what is required (SEPT_VE_DISABLE always is)",
        ),
        (not rules.required_attributes & NEVER_REQUIRED, "required_attributes demand what every TD must do without"),
        (rules.lease_sec <= MAX_LEASE_SEC, f"lease_sec is above {MAX_LEASE_SEC}"),
        (rules.unbonding_sec <= MAX_UNBONDING_SEC, f"unbonding_sec is above {MAX_UNBONDING_SEC}"),
        (
            rules.unbonding_sec >= rules.max_term_sec + rules.dispute_sec + rules.grace_sec + rules.evidence_sec,
            "unbonding_sec is below max_term_sec + dispute_sec + grace_sec + evidence_sec",
        ),
    )
    bounds += (
        (len(rules.measurements) <= MAX_LISTED, f"there are more than {MAX_LISTED} measurements"),
        (len(set(rules.measurements)) == len(rules.measurements), "a measurement is named twice"),
        (0 not in rules.measurements, "no enclave has the measurement 0"),
    )
    problems += [clause for holds, clause in bounds if not holds]
    if rules.rebuilders:
        problems += _check_rebuilders(rules)
    return problems


def _check_rebuilders(rules: Rules) -> list[str]:
    count = len(rules.rebuilders)
    checks = (
        (count <= MAX_REBUILDERS, f"there are more than {MAX_REBUILDERS} rebuilders"),
        (len(set(rules.rebuilders)) == count, "a rebuilder is named twice"),
        (all(is_sound(key) for key in rules.rebuilders), "a rebuilder's key is of small order"),
        (
            rules.rebuild_threshold <= count < 2 * rules.rebuild_threshold,
            f"rebuild_threshold {rules.rebuild_threshold} is not more than half of {count} rebuilders, and at most all",
        ),
    )
    return [clause for holds, clause in checks if not holds]


def check_for_network(rules: Rules, network: NetworkName, *, allow_simulated_tee: bool) -> None:
    """DeployError if rules meant for development are to go to a network where others would rely on them."""
    if network is NetworkName.SANDBOX:
        return
    if TrustedRoot(rules.attestation_root).simulated and not allow_simulated_tee:
        raise DeployError(
            f"attestation_root is not Intel's: on {network} whoever holds its key could have any program pass for an "
            f"enclave, and read every prompt. Leave it out of --rules, or say --allow-simulated-tee"
        )
    if rules.change_delay_sec == 0:
        raise DeployError(
            f"change_delay_sec is 0: on {network} a change must wait for all to see it; set it in --rules"
        )


def parse_address(text: object, what: str) -> Address:
    """A basechain address in any of its usual forms. DeployError if it is none."""
    try:
        address = Address(str(text))
    except Exception as error:
        raise DeployError(f"{what} {text!r} is no TON address") from error
    if len(address.hash_part) != 32:
        raise DeployError(f"{what} {text!r} is no TON address: its account id has not 64 hex digits")
    if address.wc != 0:
        raise DeployError(f"{what} {text!r} is in workchain {address.wc}; the contracts live in workchain 0")
    return address
