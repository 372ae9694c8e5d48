"""The P-256 check against everything a prover could try. Nothing here knows Attestation: the check stands alone."""

from __future__ import annotations

import hashlib
import random
import re
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, utils
from enclaves import probe
from pytoniq_core import Address, Cell, begin_cell

from cocoon.attestation.p256 import GENERATOR, H0, B, Hint, N, P, add, is_on_curve, make_hint, multiply, slope
from cocoon.contracts_build import contracts_dir
from cocoon_sandbox.config import network_config
from cocoon_sandbox.executor import Executor

SCALAR, POINT, KEY, MISMATCH = 510, 511, 512, 999
FORGED = 500


class Signed:
    """A signature by a key of ours over a digest."""

    def __init__(self, message: bytes, secret: int = 7) -> None:
        self.secret = secret
        key = ec.derive_private_key(secret, ec.SECP256R1())
        self.digest = hashlib.sha256(message).digest()
        self.r, self.s = utils.decode_dss_signature(key.sign(message, ec.ECDSA(hashes.SHA256())))
        point = multiply(secret, GENERATOR)
        assert point is not None
        self.point = point

    @property
    def key(self) -> bytes:
        return pair(*self.point)

    @property
    def signature(self) -> bytes:
        return pair(self.r, self.s)

    @property
    def hint(self) -> Hint:
        return make_hint(self.digest, self.signature, self.key)


def pair(first: int, second: int) -> bytes:
    return first.to_bytes(32) + second.to_bytes(32)


@pytest.fixture(scope="module")
def signed() -> Signed:
    return Signed(b"a message")


def check(digest: bytes | int, key: bytes, signature: bytes, hint: Hint | Cell) -> int:
    """Exit code of the check: 0 if it accepts."""
    cell = hint
    if isinstance(hint, Hint):
        cell = begin_cell().store_uint(hint.c, 256).store_uint(hint.c_x, 256).store_uint(hint.slope, 256).end_cell()
    number = digest if isinstance(digest, int) else int.from_bytes(digest)
    done = Executor.shared().run_getter(
        config=network_config(), code=probe("p256_probe.tolk"), data=Cell.empty(), address=Address((0, bytes(32))),
        balance=10**9, now=1_700_000_000, method="check",
        stack=[number, int.from_bytes(key[:32]), int.from_bytes(key[32:]),
               begin_cell().store_bytes(signature).end_cell().begin_parse(), cell],
    )  # fmt: skip
    return 0 if done.exit_code == 1 else done.exit_code


def test_check_signature_with_its_hint_is_accepted(signed: Signed) -> None:
    assert check(signed.digest, signed.key, signed.signature, signed.hint) == 0


@pytest.mark.parametrize("secret", [1, 2, 3, N - 1, N // 2])
def test_check_signature_of_notable_key_is_accepted(secret: int) -> None:
    made = Signed(b"another", secret)
    assert check(made.digest, made.key, made.signature, made.hint) == 0


def test_check_signature_with_complementary_s_is_accepted(signed: Signed) -> None:
    """(r, -s) is the same signature to every verifier: nothing may depend on which of the two it is."""
    assert check(signed.digest, signed.key, pair(signed.r, N - signed.s), signed.hint) == 0


def test_check_digest_above_the_order_is_reduced(signed: Signed) -> None:
    """SHA-256 may exceed n; ECDSA takes it modulo n, and so do the hints."""
    digest = int.from_bytes(signed.digest) % N
    if digest + N >= 1 << 256:  # a nonce of ours makes a signature over a small digest instead
        digest = 5
    nonce = 12345
    point = multiply(nonce, GENERATOR)
    assert point is not None
    r = point[0] % N
    s = pow(nonce, -1, N) * (digest + r * signed.secret) % N
    above = digest + N
    hint = make_hint(above.to_bytes(32), pair(r, s), signed.key)
    assert check(above, signed.key, pair(r, s), hint) == 0


def test_check_other_digest_is_refused(signed: Signed) -> None:
    other = hashlib.sha256(b"another message").digest()
    assert check(other, signed.key, signed.signature, signed.hint) == SCALAR
    assert check(other, signed.key, signed.signature, make_hint(other, signed.signature, signed.key)) == MISMATCH


def test_check_negated_digest_is_refused(signed: Signed) -> None:
    """A form that asks about a multiple of Q instead of G would accept -e as well as e."""
    negated = (-int.from_bytes(signed.digest)) % N
    hint = make_hint(negated.to_bytes(32), signed.signature, signed.key)
    assert check(negated, signed.key, signed.signature, hint) == MISMATCH


def test_check_negated_key_is_refused(signed: Signed) -> None:
    key = pair(signed.point[0], P - signed.point[1])
    assert check(signed.digest, key, signed.signature, signed.hint) == POINT
    assert check(signed.digest, key, signed.signature, make_hint(signed.digest, signed.signature, key)) == MISMATCH


@pytest.mark.parametrize("change", [(1, 0), (0, 1), (-1, 0), (0, -1)])
def test_check_altered_signature_is_refused(signed: Signed, change: tuple[int, int]) -> None:
    altered = pair(signed.r + change[0], signed.s + change[1])
    assert check(signed.digest, signed.key, altered, signed.hint) in (SCALAR, MISMATCH)
    assert check(signed.digest, signed.key, altered, make_hint(signed.digest, altered, signed.key)) == MISMATCH


@pytest.mark.parametrize("s", [0, N, N + 1, (1 << 256) - 1])
def test_check_s_out_of_range_is_refused(signed: Signed, s: int) -> None:
    assert check(signed.digest, signed.key, pair(signed.r, s), signed.hint) == MISMATCH


@pytest.mark.parametrize("r", [0, N, (1 << 256) - 1])
def test_check_r_out_of_range_is_refused(signed: Signed, r: int) -> None:
    """With r = 0 (mod n) the first equation fixes the digest; for that digest the oracle itself must refuse."""
    digest = H0 if r % N == 0 else (H0 + signed.hint.c * r) % N
    assert check(digest, signed.key, pair(r, signed.s), signed.hint) == MISMATCH


def test_check_r_plus_order_is_refused(signed: Signed) -> None:
    """r + n is the same scalar in every equation, but no signature."""
    for message in range(200):
        made = Signed(b"small r %d" % message)
        if made.r + N < 1 << 256:
            break
    else:
        made = signed  # r below 2^224 is rare: use an r that wraps the other way
        assert check(made.digest, made.key, pair((made.r + N) % (1 << 256), made.s), made.hint) == SCALAR
        return
    assert check(made.digest, made.key, pair(made.r + N, made.s), made.hint) == MISMATCH


def challenge(digest: int, key: bytes, signature: bytes) -> int:
    """The hash of the message about which the oracle is asked for C: bound to all that the forger could choose."""
    message = hashlib.sha256(digest.to_bytes(32) + key + signature).digest()
    return int.from_bytes(hashlib.sha256(message).digest())


def wrong_root(digest: int, r: int, h: int, key: tuple[int, int]) -> Hint:
    """The hint whose C is -(2 H/Gx + c) G: the oracle's answer for H fits it as well as c G."""
    c = (digest - H0) * pow(r, -1, N) % N
    point = multiply(-(2 * h * pow(GENERATOR[0], -1, N) + c) % N, GENERATOR)
    assert point is not None
    return Hint(c, point[0], slope(key, point))


def digest_behind(digest: int, r: int, h: int) -> int:
    """The digest over which (r, s) must hold for the wrong root of H to pass for `digest`; and the other way round."""
    return (2 * H0 - digest - 2 * r * h * pow(GENERATOR[0], -1, N)) % N


def test_check_hint_of_wrong_root_is_refused(signed: Signed) -> None:
    """The first answer fits it, and then the signature does not hold."""
    digest = int.from_bytes(signed.digest)
    h = challenge(digest, signed.key, signed.signature)
    hint = wrong_root(digest, signed.r, h, signed.point)
    assert check(digest, signed.key, signed.signature, hint) == MISMATCH
    assert check(digest, signed.key, signed.signature, wrong_root(digest, signed.r, H0, signed.point)) == POINT


def test_check_forgery_through_wrong_root_for_another_digest_is_refused(signed: Signed) -> None:
    """For one H the forger computes which digest his signature would pass for; but that digest has another H."""
    digest = int.from_bytes(signed.digest)
    for h in (H0, challenge(digest, signed.key, signed.signature)):
        target = digest_behind(digest, signed.r, h)
        hint = wrong_root(target, signed.r, h, signed.point)
        assert check(target, signed.key, signed.signature, hint) == POINT


@pytest.mark.parametrize("free", ["s", "Q"])
def test_check_forgery_through_wrong_root_with_own_key_is_refused(signed: Signed, free: str) -> None:
    """Digest and r first; then a signature, or a key, that would do for the digest behind: H follows each of them."""
    nonce = 4711
    commitment = multiply(nonce, GENERATOR)
    assert commitment is not None
    r, target = commitment[0] % N, int.from_bytes(signed.digest)
    h = challenge(target, signed.key, pair(r, 1))
    behind = digest_behind(target, r, h)
    secret, s = signed.secret, pow(nonce, -1, N) * (behind + r * signed.secret) % N
    if free == "Q":
        secret, s = (nonce - behind) * pow(r, -1, N) % N, 1
    key = multiply(secret, GENERATOR)
    assert key is not None
    assert check(behind, pair(*key), pair(r, s), make_hint(behind.to_bytes(32), pair(r, s), pair(*key))) == 0
    assert check(target, pair(*key), pair(r, s), wrong_root(target, r, h, key)) == POINT


def test_check_point_equal_to_key_is_refused(signed: Signed) -> None:
    """Q + C needs two points of different x. The digest is chosen so that C = Q, which the slope cannot express."""
    digest = (H0 + signed.secret * signed.r) % N
    for given in (0, 1, signed.hint.slope):
        hint = Hint(signed.secret, signed.point[0], given)
        assert check(digest, signed.key, signed.signature, hint) == POINT


def test_check_off_curve_point_of_right_parity_is_refused(signed: Signed) -> None:
    """The oracle sees only x and parity of C: an altered slope keeps both half of the time, and would move P."""
    tried = 0
    for step in range(1, 8):
        hint = replace(signed.hint, slope=(signed.hint.slope + step) % P)
        assert check(signed.digest, signed.key, signed.signature, hint) == POINT
        tried += 1
    assert tried == 7


@pytest.mark.parametrize("key", [(0, 0), (0, 1), (1, 1), (P - 1, P - 1), (5, 0)])
def test_check_off_curve_key_is_refused(signed: Signed, key: tuple[int, int]) -> None:
    """There are no points of small order on P-256; what is not on it has no order at all."""
    assert not is_on_curve(key)
    c_point = multiply(signed.hint.c, GENERATOR)
    assert c_point is not None
    hint = Hint(signed.hint.c, c_point[0], slope(key, c_point))
    assert check(signed.digest, pair(*key), signed.signature, hint) == KEY


def test_check_unreduced_key_is_refused() -> None:
    """x + p names the same point; no verifier takes it. Points with x below 2^256 - p are rare: 5 is one."""
    x = next(x for x in range(1, 100) if pow(x**3 - 3 * x + B, (P - 1) // 2, P) == 1)
    y = pow(x**3 - 3 * x + B, (P + 1) // 4, P)
    assert is_on_curve((x, y))
    r = 3
    digest = H0 + 11 * r
    commitment = multiply(11, GENERATOR)
    assert commitment is not None
    for key in ((x + P, y), (x, y + P)):
        if max(key) >= 1 << 256:
            continue
        hint = Hint(11, commitment[0], slope((x, y), commitment))
        assert check(digest % N, pair(*key), pair(r, 1), hint) == KEY


def test_check_unreduced_point_is_refused(signed: Signed) -> None:
    """C's x must be reduced as well: the oracle refuses the encoding."""
    c = 1
    while True:
        commitment = multiply(c, GENERATOR)
        assert commitment is not None
        if commitment[0] + P < 1 << 256:
            break
        c += 1
        if c == 50:
            commitment = (5, 0)  # none is that small among the first: any unreduced x will do
            break
    hint = Hint(signed.hint.c, commitment[0] + P, signed.hint.slope)
    assert check(signed.digest, signed.key, signed.signature, hint) == POINT


def test_check_hint_of_another_signature_is_refused(signed: Signed) -> None:
    stale = Signed(b"yesterday's message").hint
    assert check(signed.digest, signed.key, signed.signature, stale) == SCALAR


@pytest.mark.parametrize("name", ["c", "c_x", "slope"])
def test_check_altered_hint_is_refused(signed: Signed, name: str) -> None:
    """Each scalar equation has its own refusal."""
    hint = replace(signed.hint, **{name: getattr(signed.hint, name) ^ 1})
    assert check(signed.digest, signed.key, signed.signature, hint) == (SCALAR if name == "c" else POINT)


def test_check_scalar_congruent_to_the_right_one_is_accepted_only_as_such(signed: Signed) -> None:
    """c and c + n say the same; both stand for the same point."""
    if signed.hint.c + N < 1 << 256:
        assert check(signed.digest, signed.key, signed.signature, replace(signed.hint, c=signed.hint.c + N)) == 0
    assert check(signed.digest, signed.key, signed.signature, replace(signed.hint, c=(signed.hint.c + 1) % N)) == SCALAR


def test_check_hint_with_trailing_data_is_refused(signed: Signed) -> None:
    hint = signed.hint
    cell = begin_cell().store_uint(hint.c, 256).store_uint(hint.c_x, 256).store_uint(hint.slope, 256).store_bit(0)
    assert check(signed.digest, signed.key, signed.signature, cell.end_cell()) == 9


def test_check_forged_hints_are_all_refused(signed: Signed) -> None:
    """500 hints that satisfy as many equations as a forger without a signature can, over a digest nobody signed."""
    chance = random.Random(5)
    wanted = hashlib.sha256(b"what the forger wants signed").digest()
    for number in range(FORGED):
        r, s = (chance.randrange(1, N), chance.randrange(1, N)) if number % 2 else (signed.r, signed.s)
        c = (int.from_bytes(wanted) - H0) * pow(r, -1, N) % N
        match number % 4:
            case 0:  # everything is right but the signature
                point = multiply(c, GENERATOR)
            case 1:  # a point of known logarithm that is another
                point = multiply(chance.randrange(1, N), GENERATOR)
            case 2:  # the difference that would make Q + C a point of our own
                own = multiply(chance.randrange(1, N), GENERATOR)
                point = add(own, (signed.point[0], P - signed.point[1]))
            case _:  # -C
                right = multiply(c, GENERATOR)
                assert right is not None
                point = (right[0], P - right[1])
        assert point is not None
        hint = Hint(c, point[0], slope(signed.point, point))
        found = check(wanted, signed.key, pair(r, s), hint)
        assert found == (MISMATCH if number % 4 == 0 else POINT), (number, found)


def test_constants_in_the_source_are_those_of_the_curve() -> None:
    source = (contracts_dir() / "attestation" / "p256.tolk").read_text()
    numbers = {int(found) for found in re.findall(r"\b\d{60,}\b", source)}
    assert numbers == {H0, N, B, GENERATOR[0]}
    assert {int(found, 16) for found in re.findall(r"x\{([0-9a-f]{64})\}", source)} == {GENERATOR[0]}
    assert {int(found, 16) for found in re.findall(r"= (0x[0-9a-f]{60,})", source)} == {P, B}
    assert N < P
    assert is_on_curve(GENERATOR)
    assert multiply(N - 1, GENERATOR) == (GENERATOR[0], P - GENERATOR[1])
    assert GENERATOR[0] + N > P  # so that x = Gx (mod n) says x = Gx
