"""The market as a state machine against the real executor: see `machine` for the actors and `laws` for the rules.

HYPOTHESIS_PROFILE=long runs it for hours with fresh randomness; the normal profile takes the same path on every
machine.
"""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings
from machine import Market

_CHECKS = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]
_PROFILES = {
    "normal": settings(
        max_examples=60,
        stateful_step_count=40,
        deadline=None,
        derandomize=True,
        database=None,
        print_blob=False,
        suppress_health_check=_CHECKS,
    ),
    "long": settings(
        max_examples=20_000,
        stateful_step_count=120,
        deadline=None,
        print_blob=False,
        suppress_health_check=_CHECKS,
    ),
}


class TestMarket(Market.TestCase):
    """P-2, P-3, P-4, P-5, P-6, E-1, E-2, E-3, E-5, E-6, E-7, W-1, W-2, W-3, W-6, W-7, W-11, W-12, S-1, S-2, S-3,
    A.1, A.4, A.7, A.9, B.6, B.20."""

    settings = _PROFILES[os.environ.get("HYPOTHESIS_PROFILE", "normal")]
