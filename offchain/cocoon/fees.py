"""Least values to attach to a message, computed as the contracts compute them.

The formulas are the contracts' own: the `const` and one-line `fun ...(): int` declarations of `contracts/*/fees.tolk`
are extracted at build time into `contracts/build/constants.json` and evaluated here over the network's proven prices.
So a constant that is tuned in a contract needs no second edit, and no get-method (whose result a lite server could
forge) is asked. Amounts are nanoTON, times seconds.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Self

from pytoniq_core import Cell

from .chain.base import Chain
from .chain.cells import Reader, Unreadable, items
from .errors import ChainError, CocoonError

__all__ = ["PRICE_PARAMS", "Fees", "FeesError", "Formulas", "Prices", "extract_constants"]

PRICE_PARAMS = (18, 21, 25)
_CONST = re.compile(r"^const (\w+)(?:: \w+)? = ([^\"\n]+?)(?:\s*//.*)?$", re.MULTILINE)
_FUNCTION = re.compile(r"^fun (\w+)\(([^)]*)\): int \{\s*return ([^;]+);\s*\}", re.MULTILINE)
_CHECKOUT = Path(__file__).parents[2] / "contracts"
_PACKAGED = Path(__file__).parent / "_contracts"


class FeesError(CocoonError):
    """The contracts' fee formulas are missing or not what this version can evaluate."""


@dataclass(frozen=True, slots=True)
class Prices:
    """Basechain prices of a network, config parameters 18, 21 and 25."""

    storage_bit: int
    storage_cell: int
    flat_gas_limit: int
    flat_gas_price: int
    gas_price: int
    lump: int
    forward_bit: int
    forward_cell: int

    @classmethod
    def from_config(cls, params: Mapping[int, Cell]) -> Self:
        """Read the three parameters; the newest storage prices count. ChainError if one is missing or malformed."""
        try:
            _, storage = list(items(params[18], 32))[-1]
            storage.expect(0xCC, 8, "storage price")
            storage.skip(32)
            bit, cell = storage.uint(64), storage.uint(64)
            gas = Reader(params[21])
            gas.expect(0xD1, 8, "gas price")
            flat_limit, flat_price = gas.uint(64), gas.uint(64)
            if gas.uint(8) not in (0xDD, 0xDE):
                raise Unreadable("not a gas price")
            gas_price = gas.uint(64)
            forward = Reader(params[25])
            forward.expect(0xEA, 8, "forward price")
            lump, per_bit, per_cell = forward.uint(64), forward.uint(64), forward.uint(64)
            return cls(bit, cell, flat_limit, flat_price, gas_price, lump, per_bit, per_cell)
        except (KeyError, IndexError, Unreadable) as error:
            raise ChainError(f"the network's configuration has no usable prices ({error})") from error

    @classmethod
    async def of(cls, chain: Chain) -> Self:
        """The proven prices of `chain`."""
        return cls.from_config(await chain.config(PRICE_PARAMS))

    def gas_fee(self, gas: int) -> int:
        if gas <= self.flat_gas_limit:
            return self.flat_gas_price
        return self.flat_gas_price + _ceil_shift((gas - self.flat_gas_limit) * self.gas_price)

    def forward_fee(self, bits: int, cells: int) -> int:
        return self.lump + _ceil_shift(bits * self.forward_bit + cells * self.forward_cell)

    def storage_fee(self, seconds: int, bits: int, cells: int) -> int:
        return _ceil_shift((bits * self.storage_bit + cells * self.storage_cell) * seconds)


@dataclass(frozen=True, slots=True)
class Formulas:
    """Constants by name, and functions as (parameter names, expression)."""

    constants: Mapping[str, int]
    functions: Mapping[str, tuple[tuple[str, ...], str]]

    @classmethod
    def from_sources(cls, root: Path) -> Self:
        """Read every `fees.tolk` below `root`. FeesError if one says something that can't be evaluated here."""
        constants: dict[str, int] = {}
        functions: dict[str, tuple[tuple[str, ...], str]] = {}
        paths = sorted(root.rglob("fees.tolk"))
        if not paths:
            raise FeesError(f"there are no fees.tolk below {root}; run this in a checkout of the repository")
        for path in paths:
            text = path.read_text()
            for name, value in _CONST.findall(text):
                if "(" not in value:
                    constants[name] = _evaluate(value, constants, path)
            for name, parameters, value in _FUNCTION.findall(text):
                names = tuple(part.split(":")[0].strip() for part in parameters.split(",") if part.strip())
                functions[name] = (names, " ".join(value.split()))
        return cls(constants, functions)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Parse `to_json` output."""
        try:
            document = json.loads(text)
            given = document["functions"].items()
            functions = {name: (tuple(item["parameters"]), str(item["value"])) for name, item in given}
            return cls({name: int(value) for name, value in document["constants"].items()}, functions)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise FeesError(f"constants.json is malformed ({error}); run `cocoon contracts build`") from error

    def to_json(self) -> str:
        """The canonical text of `contracts/build/constants.json`."""
        functions = {
            name: {"parameters": list(names), "value": value} for name, (names, value) in self.functions.items()
        }
        document = {"constants": dict(sorted(self.constants.items())), "functions": dict(sorted(functions.items()))}
        return json.dumps(document, indent=2) + "\n"

    @classmethod
    def load(cls) -> Formulas:
        """The built formulas, of the checkout or the installed package."""
        return _load()


def extract_constants(root: Path) -> dict[str, int]:
    """The integer constants of every `fees.tolk` below `root`."""
    return dict(Formulas.from_sources(root).constants)


class Fees:
    """What each operation needs at `prices`; named as the contracts' getters list them."""

    def __init__(self, prices: Prices, formulas: Formulas | None = None) -> None:
        self._prices = prices
        self._formulas = formulas or Formulas.load()

    @classmethod
    async def of(cls, chain: Chain) -> Self:
        """Fees at the proven prices of `chain`."""
        return cls(await Prices.of(chain))

    def constant(self, name: str) -> int:
        """A constant of the contracts' fee files, for instance MAX_REQUEST_CELLS."""
        try:
            return self._formulas.constants[name]
        except KeyError:
            raise FeesError(f"the contracts have no constant {name}; run `cocoon contracts build`") from None

    def call(self, function: str, *arguments: int) -> int:
        """Value of a function of the contracts' fee files."""
        prices = self._prices
        match function, arguments:
            case "gasFee", (gas,):
                return prices.gas_fee(gas)
            case "forwardFee", (bits, cells):
                return prices.forward_fee(bits, cells)
            case "storageFee", (seconds, bits, cells):
                return prices.storage_fee(seconds, bits, cells)
        if function not in self._formulas.functions:
            raise FeesError(f"the contracts have no fee formula {function}; run `cocoon contracts build`")
        names, expression = self._formulas.functions[function]
        if len(names) != len(arguments):
            raise FeesError(f"{function} takes {len(names)} arguments, not {len(arguments)}")
        scope = {**self._formulas.constants, **dict(zip(names, arguments, strict=True))}
        return _Evaluator(scope, self.call, function).value(ast.parse(expression, mode="eval").body)

    # ---- Escrow ----

    def open(self, term_sec: int) -> int:
        """Beyond the deposit."""
        return self.call("openFees", term_sec)

    def top_up(self) -> int:
        """Beyond the credit."""
        return self.call("topUpFees")

    def post_job(self) -> int:
        """Beyond the maximum fee; what the job does not use comes back with its outcome."""
        return self.call("postingFees") + self.call("settlementFees")

    def end_job(self) -> int:
        """DeliverJob, RejectJob, ExpireJob; comes back from the job's money."""
        return self._prices.gas_fee(self.constant("GAS_ESCROW_SETTLE"))

    def claim(self) -> int:
        return self.call("claimFees")

    def close(self) -> int:
        """FinishClose, CloseCooperative, ReleaseChannel."""
        return self.call("closeFees")

    def begin_close(self) -> int:
        """The rest comes back."""
        return self.call("beginCloseFees")

    def retry_report(self) -> int:
        return self.call("retryFees")

    def rebind(self) -> int:
        return self.call("rebindFees")

    def count_volume(self) -> int:
        """Beyond what is burned."""
        return self.call("countFees")

    # ---- Registry, Worker, Slashing ----

    def register(self) -> int:
        """Beyond stake and bond."""
        return self.call("registrationFees")

    def sync_policy(self) -> int:
        return self.call("syncFees")

    def govern(self) -> int:
        return self.call("governanceFees")

    def manage_worker(self) -> int:
        """Any message of a worker's operator or owner."""
        return self.call("manageFees")

    def attest(self) -> int:
        """All the way to the verdict; the rest comes back with it."""
        return self.call("attestFees")

    # ---- Attestation ----

    def sync_attestation(self) -> int:
        return self.call("syncAttestationFees")

    def post_collateral(self, cells: int) -> int:
        """PostCertificate, PostCrl, PostQeIdentity with a document of so many cells."""
        return self.call("postFees", cells)

    def post_tcb_info(self, cells: int) -> int:
        return self.call("postTcbFees", cells)

    def submit_evidence(self) -> int:
        return self.call("evidenceFees")


class _Evaluator:
    """Sums and products of integers, names and calls; anything else is refused."""

    def __init__(self, scope: Mapping[str, int], call: Any, where: str) -> None:
        self._scope = scope
        self._call = call
        self._where = where

    def value(self, node: ast.expr) -> int:
        match node:
            case ast.Constant(value=int(number)):
                return number
            case ast.Name(id=name) if name in self._scope:
                return self._scope[name]
            case ast.BinOp(left=left, op=ast.Add(), right=right):
                return self.value(left) + self.value(right)
            case ast.BinOp(left=left, op=ast.Sub(), right=right):
                return self.value(left) - self.value(right)
            case ast.BinOp(left=left, op=ast.Mult(), right=right):
                return self.value(left) * self.value(right)
            case ast.Call(func=ast.Name(id=name), args=arguments, keywords=[]) if self._call is not None:
                result: int = self._call(name, *(self.value(argument) for argument in arguments))
                return result
        text = ast.unparse(node)
        raise FeesError(f"{self._where} uses `{text}`, which can't be evaluated off chain; simplify it there")


def _evaluate(expression: str, scope: Mapping[str, int], path: Path) -> int:
    try:
        body = ast.parse(expression, mode="eval").body
    except SyntaxError as error:
        raise FeesError(f"{path}: `{expression}` can't be evaluated off chain; simplify it there") from error
    return _Evaluator(scope, None, str(path)).value(body)


@cache
def _load() -> Formulas:
    for directory in (_CHECKOUT / "build", _PACKAGED):
        path = directory / "constants.json"
        if path.is_file():
            return Formulas.from_json(path.read_text())
    return Formulas.from_sources(_CHECKOUT)


def _ceil_shift(value: int) -> int:
    """Prices are in 1/65536 nanoTON; every fee is rounded up."""
    return -(-value >> 16)
