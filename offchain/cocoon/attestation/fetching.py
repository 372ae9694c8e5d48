"""Collateral from where Intel publishes it, or from anybody who passes it on: what counts is Intel's signature.

The requests are dcap-qvl's, in the form of Intel's PCS version 4.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Protocol

import dcap_qvl

from .collateral import Collateral
from .errors import CollateralUnavailable
from .quote import Quote

__all__ = ["INTEL_PCS", "CollateralSource", "PcsService", "fetch_collateral"]

INTEL_PCS = "https://api.trustedservices.intel.com"


class CollateralSource(Protocol):
    """Whoever has the collateral of a platform."""

    async def collateral(self, raw_quote: bytes, now: int) -> Collateral:
        """What is current at `now` (unix seconds) for the platform in a quote.

        CollateralUnavailable, with what to do; QuoteMalformed.
        """
        ...


@dataclass(frozen=True, slots=True)
class PcsService:
    """Intel's service, or another with its requests: it always gives what is current."""

    service: str = INTEL_PCS

    async def collateral(self, raw_quote: bytes, now: int) -> Collateral:
        return await fetch_collateral(raw_quote, self.service)


async def fetch_collateral(raw_quote: bytes, service: str = INTEL_PCS, *, timeout_sec: float = 30) -> Collateral:
    """The current collateral of the platform in a quote.

    QuoteMalformed if it is no quote; CollateralUnavailable if the service does not answer, or not with a complete set.
    Nothing is verified yet: give it to `second_opinion` or to the chain.
    """
    Quote.parse(raw_quote)
    try:
        async with asyncio.timeout(timeout_sec):
            found = await dcap_qvl.get_collateral(service, raw_quote)
    except TimeoutError as error:
        raise CollateralUnavailable(f"{service} did not answer within {timeout_sec:g} seconds; try again") from error
    except (ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise CollateralUnavailable(f"no collateral from {service}: {reason}; try again, or another service") from error
    return Collateral.from_json(found.to_json())
