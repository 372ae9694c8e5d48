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

from .chain.networks import NetworkName
from .crypto.ed25519 import is_sound
from .deployment import Rules
from .errors import DeployError

__all__ = ["check_for_network", "check_rules", "parse_address", "parse_rules", "rules_to_json"]

BPS = 10_000
BPS_MAX_REWARD = 2000
MAX_UNBONDING_SEC = 180 * 86400
MAX_LEASE_SEC = 366 * 86400
MIN_VOLUME_BURN_BPS = 10
MAX_REBUILDERS = 16
_KEY = re.compile("[0-9a-fA-F]{64}")


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
        elif name == "rebuilders":
            changes[name] = _parse_keys(value)
        elif name == "attestation_required":
            if not isinstance(value, bool):
                raise DeployError(f"rule {name} must be true or false, not {value!r}")
            changes[name] = value
        else:
            if not isinstance(value, int) or isinstance(value, bool):
                raise DeployError(f"rule {name} must be a whole number, not {value!r}")
            changes[name] = value
    rules = replace(Rules(owner=owner), **changes)
    if problems := check_rules(rules):
        raise DeployError("these rules are out of bounds: " + "; ".join(problems))
    return rules


def _parse_keys(value: object) -> tuple[int, ...]:
    """Ed25519 public keys as 64 hex digits each."""
    if not isinstance(value, list) or not all(isinstance(key, str) and _KEY.fullmatch(key) for key in value):
        raise DeployError(f"rule rebuilders must be a list of public keys of 64 hex digits each, not {value!r}")
    return tuple(int(key, 16) for key in value)


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
    document["rebuilders"] = [f"{key:064x}" for key in rules.rebuilders]
    return document


def check_rules(rules: Rules) -> list[str]:
    """What is wrong with `rules`, a clause each; empty if a contract would accept them as a policy."""
    problems = []
    for field in fields(Rules):
        value = getattr(rules, field.name)
        if isinstance(value, bool) or not isinstance(value, int):
            continue
        bits = 64 if field.name.endswith("_nano") else 16 if field.name.endswith("_bps") else 32
        if not 0 <= value < 1 << bits:
            problems.append(f"{field.name} {value} does not fit {bits} bits")
    bounds = (
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
        (rules.lease_sec <= MAX_LEASE_SEC, f"lease_sec is above {MAX_LEASE_SEC}"),
        (rules.unbonding_sec <= MAX_UNBONDING_SEC, f"unbonding_sec is above {MAX_UNBONDING_SEC}"),
        (
            rules.unbonding_sec >= rules.max_term_sec + rules.dispute_sec + rules.grace_sec + rules.evidence_sec,
            "unbonding_sec is below max_term_sec + dispute_sec + grace_sec + evidence_sec",
        ),
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


def check_for_network(rules: Rules, network: NetworkName, *, unattested_understood: bool) -> None:
    """DeployError if rules meant for development are to go to a network where others would rely on them."""
    if network is NetworkName.SANDBOX:
        return
    if not rules.attestation_required and not unattested_understood:
        raise DeployError(
            f"attestation_required is false: on {network} anybody could register keys that no enclave holds, and read "
            f"every prompt. Set it in --rules, or say --i-understand-nothing-is-attested"
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
