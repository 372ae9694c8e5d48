"""QE identities: the numbers that are kept are those of the text Intel signed."""

from __future__ import annotations

from dataclasses import replace

import pytest
from collateral import issued, messages
from enclaves import NOW, Enclaves
from pytoniq_core import Builder

from cocoon.wire.attestation import PostQeIdentity

IDENTITY_FIELDS = (
    "evaluation_number",
    "issue_date",
    "next_update",
    "misc_select",
    "misc_select_mask",
    "attributes",
    "attributes_mask",
    "mr_signer",
    "isv_prod_id",
)


@pytest.mark.parametrize("name", IDENTITY_FIELDS)
def test_post_identity_numbers_that_differ_from_the_text_are_refused(enclaves: Enclaves, name: str) -> None:
    body = messages(enclaves, issued(enclaves, NOW))["identity"]
    assert isinstance(body, PostQeIdentity)
    identity = replace(body.identity, **{name: getattr(body.identity, name) ^ 1})
    written = name in ("evaluation_number", "isv_prod_id")  # the contract writes another text then
    enclaves.post(replace(body, identity=identity)).assert_refused(510 if written else 551)


@pytest.mark.parametrize("bit", [0, 16, 31, 32, 63])
def test_post_identity_levels_that_differ_from_the_text_are_refused(enclaves: Enclaves, bit: int) -> None:
    """Module, isvsvn or status of either level."""
    body = messages(enclaves, issued(enclaves, NOW))["identity"]
    bits = body.identity.levels.bits.copy()
    bits[bit] ^= 1
    levels = Builder().store_bits(bits).end_cell()
    assert enclaves.post(replace(body, identity=replace(body.identity, levels=levels))).exit_code in (5, 510, 550, 551)


def test_post_identity_with_more_or_fewer_levels_than_the_text_is_refused(enclaves: Enclaves) -> None:
    body = messages(enclaves, issued(enclaves, NOW))["identity"]
    levels = body.identity.levels.bits
    for changed in (levels[:32], levels + levels[:32]):
        cell = Builder().store_bits(changed).end_cell()
        assert enclaves.post(replace(body, identity=replace(body.identity, levels=cell))).exit_code in (9, 551)
