"""The network config: today's prices, and refusal of what the executor would silently get wrong."""

from __future__ import annotations

import pytest
from pytoniq_core import Builder

from cocoon_sandbox.config import (
    ForwardPrices,
    GasPrices,
    Prices,
    StoragePrices,
    config_param,
    network_config,
    with_params,
)
from cocoon_sandbox.errors import ConfigError


def test_network_config_has_todays_basechain_prices() -> None:
    config = network_config()
    assert Prices.from_config(config) == Prices()
    version = config_param(config, 8)
    assert version is not None
    assert version.data.hex() == "c40000000d00000000000003ee"
    assert Prices().gas.fee(1_000) == 6_667 + 60_000 + 1  # 66.67 nanoTON for each unit after the first hundred
    assert Prices().gas.fee(100) == Prices().gas.fee(0) == 6_667


def test_network_config_leaves_masterchain_gas_as_shipped() -> None:
    prices = Prices.from_config(network_config(), -1)
    assert prices.gas.price >> 16 == 10_000
    assert prices.forward.lump == 10_000_000


@pytest.mark.parametrize("version", [14, 15, -1])
def test_network_config_of_a_version_the_executor_does_not_run_is_refused(version: int) -> None:
    with pytest.raises(ConfigError, match="version"):
        network_config(version=version)


def test_with_params_of_a_version_the_executor_does_not_run_is_refused() -> None:
    param = Builder().store_uint(0xC4, 8).store_uint(14, 32).store_uint(0, 64).end_cell()
    with pytest.raises(ConfigError, match="version 13"):
        with_params(network_config(), {8: param})


def test_with_params_sets_replaces_and_removes_even_negative_numbers() -> None:
    value = Builder().store_uint(1, 8).end_cell()
    config = with_params(network_config(), {-71: value, 34: value, 31: None})
    assert config_param(config, -71) == config_param(config, 34) == value
    assert config_param(config, 31) is None
    assert with_params(config, {-71: None, 34: None, 31: config_param(network_config(), 31)}) == network_config()


def test_network_config_with_other_prices_returns_them() -> None:
    prices = Prices(
        gas=GasPrices(price=26_214_400, flat_price=40_000),
        forward=ForwardPrices(lump=400_000),
        storage=StoragePrices(bit=2),
    )
    assert Prices.from_config(network_config(prices=prices)) == prices


def test_config_param_of_a_cell_that_is_no_config_is_refused() -> None:
    with pytest.raises(ConfigError):
        config_param(Builder().store_uint(0, 4).end_cell(), 8)
