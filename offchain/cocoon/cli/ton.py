"""Amounts on the command line."""

from __future__ import annotations

import click

from ..amounts import parse_ton

__all__ = ["Ton"]


class Ton(click.ParamType[int]):
    """TON with up to nine decimals, as nanoTON."""

    name = "TON"

    def __init__(self, *, least: int = 0) -> None:
        """least: nanoTON."""
        self._least = least

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        try:
            nano = parse_ton(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)
        if nano < self._least:
            self.fail(f"{value} is too little: give at least {self._least / 1e9:.9f} TON", param, ctx)
        return nano
