"""Every bit of TDATTRIBUTES: what it is worth, in a report and in a policy."""

from __future__ import annotations

from enclaves import Enclaves

DEBUG, REFUSED, OUT_OF_BOUNDS = 523, 524, 503
SEPT_VE_DISABLE, MIGRATABLE = 28, 29
FREE = (30, 31, 63)  # PKS, KL, PERFMON


def number(*bits: int) -> int:
    """As contracts read it: eight bytes, the lowest bits first, as one big-endian number."""
    return int.from_bytes(sum(1 << bit for bit in bits).to_bytes(8, "little"))


def test_every_bit_of_a_report_is_judged(enclaves: Enclaves) -> None:
    """A-1: the debug group, what is reserved and migration are refused; what is free stays free."""
    expected = {bit: DEBUG if bit < 8 else REFUSED for bit in range(64)}
    expected |= dict.fromkeys((SEPT_VE_DISABLE, *FREE), 0)
    found = {}
    for bit in range(64):
        bits = {SEPT_VE_DISABLE, bit}
        quote = enclaves.quote(td_attributes=number(*bits).to_bytes(8))
        found[bit] = enclaves.verify(enclaves.evidence(quote)).exit_code
    assert found == expected
    without = enclaves.quote(td_attributes=number(*FREE).to_bytes(8))
    enclaves.verify(enclaves.evidence(without)).assert_refused(REFUSED)


def test_policy_can_require_and_forbid_what_is_free_only(enclaves: Enclaves) -> None:
    """A-3: every bit; forbidding what is refused anyway changes nothing and is allowed."""
    start = enclaves.ledger.snapshot()
    for bit in range(64):
        enclaves.ledger.restore(start)
        allowed = bit in (*FREE, SEPT_VE_DISABLE)
        code = enclaves.set_policy(version=2, required_attributes=number(bit)).exit_code
        assert code == (0 if allowed else OUT_OF_BOUNDS), bit
        enclaves.ledger.restore(start)
        code = enclaves.set_policy(version=2, forbidden_attributes=number(bit)).exit_code
        assert code == (OUT_OF_BOUNDS if bit == SEPT_VE_DISABLE else 0), bit


def test_required_and_forbidden_bits_are_judged(enclaves: Enclaves) -> None:
    """A-3."""
    for version, (required, forbidden) in enumerate(((30, 31), (63, 30), (31, 63)), 2):
        enclaves.set_policy(
            version=version, required_attributes=number(required), forbidden_attributes=number(forbidden)
        ).assert_succeeded()
        for bits, code in (((required,), 0), ((required, forbidden), REFUSED), ((), REFUSED), ((forbidden,), REFUSED)):
            quote = enclaves.quote(td_attributes=number(SEPT_VE_DISABLE, *bits).to_bytes(8))
            assert enclaves.verify(enclaves.evidence(quote)).exit_code == code, (version, bits)
