"""From options, answers and defaults to choices; the owner's wallet is made or read here, and nowhere else."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pytoniq_core import Address

from ..agent.config import DEFAULT_TERMS
from ..agent.platform import AttestationSettings
from ..amounts import parse_ton, ton_text
from ..chain.lite import LiteChain
from ..chain.networks import NetworkName, load_global_config
from ..chain.wallet import Wallet
from ..errors import WalletError
from ..kernels.shelf import SHELF
from ..rules import parse_address
from ..wire.common import ModelTerms, Policy
from ..wire.registry import RegistryStorage
from .choices import Choices
from .directory import WorkerDirectory, write_secret
from .errors import SetupFailed
from .ports import free_ports
from .sandbox import SEED, ensure_market, sandbox_config

__all__ = ["Answers", "Ask", "gather"]

type Ask = Callable[[str, str | None], str]

_OPERATOR_NANO = 2 * 10**9
_PRICES = {
    "prompt_price": "prompt_nano", "cached_price": "cached_nano", "completion_price": "completion_nano",
    "floor_fee": "floor_fee_nano",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Answers:
    """owner: its wallet, where its key is to be used here. sandbox: whose faucet pays."""

    choices: Choices
    owner: Wallet | None
    sandbox: Path | None


async def gather(directory: WorkerDirectory, options: Mapping[str, Any], ask: Ask) -> Answers:
    """options: of the command line, None where not given. ask: (name, default) -> answer.

    What an earlier run of the set-up in this directory has chosen is the default. SetupFailed, or what reading a
    network or a wallet raises.
    """
    earlier = directory.load()
    gathering = _Gathering(directory, options, ask, None if earlier is None else earlier.choices)
    network, config_file = gathering.network()
    async with await LiteChain.open(load_global_config(network, config_file)) as chain:
        if gathering.sandbox is not None and options["registry"] is None:
            registry = (await ensure_market(chain, gathering.sandbox)).registry
        else:
            registry = gathering.registry()
        data = (await chain.account(registry)).data
    if data is None:
        raise SetupFailed(f"there is no registry {registry.to_str()} on {network}: check its address")
    owner, address = gathering.owner()
    policy = RegistryStorage.from_cell(data).policy
    return Answers(gathering.choices(network, config_file, registry, address, policy), owner, gathering.sandbox)


class _Gathering:
    def __init__(self, directory: WorkerDirectory, options: Mapping[str, Any], ask: Ask, saved: Choices | None) -> None:
        self._directory, self._options, self._ask, self._saved = directory, options, ask, saved
        self.sandbox: Path | None = options["sandbox_dir"] if options["sandbox"] else None

    def network(self) -> tuple[NetworkName, Path | None]:
        """(which one, the file with its configuration)."""
        options, saved = self._options, self._saved
        if self.sandbox is not None:
            return NetworkName.SANDBOX, sandbox_config(self.sandbox)
        said = options["network"] or self._ask("network", None if saved is None else saved.network.value)
        if said not in list(NetworkName):
            raise SetupFailed(f"there is no network {said!r}: say {', '.join(NetworkName)}")
        network = NetworkName(said)
        given: Path | None = options["global_config"]
        if given is None and saved is not None and saved.network == network and saved.global_config is not None:
            given = Path(saved.global_config)
        if given is None and network is NetworkName.SANDBOX:
            given = sandbox_config(options["sandbox_dir"])
        return network, None if given is None else given.absolute()

    def registry(self) -> Address:
        default = None if self._saved is None else self._saved.registry.to_str(is_user_friendly=False)
        return parse_address(self._options["registry"] or self._ask("registry", default), "the registry")

    def owner(self) -> tuple[Wallet | None, Address]:
        """(the owner's wallet, if its key is to be used here; its address)."""
        options, saved = self._options, self._saved
        if sum(options[name] is not None for name in ("owner_mnemonic_file", "new_owner", "owner")) > 1:
            raise SetupFailed("say only one of --owner-mnemonic-file, --new-owner and --owner")
        if options["owner"] is not None:
            return None, parse_address(options["owner"], "the owner's address")
        path: Path | None = options["owner_mnemonic_file"] or options["new_owner"]
        is_new = options["new_owner"] is not None
        if path is None and self.sandbox is not None:
            self._directory.create()
            path, is_new = self._directory.owner_words, True  # play money: the directory may keep it
        if path is None:
            said = self._ask("owner", None if saved is None else saved.owner.to_str(is_bounceable=False))
            return None, parse_address(said, "the owner's address")
        if is_new and not path.exists():
            write_secret(path, Wallet.new_mnemonic() + "\n")
        try:
            wallet = Wallet.from_mnemonic(path.read_text())
        except (OSError, UnicodeDecodeError) as error:
            raise WalletError(f"{path} can't be read: {error}") from error
        return wallet, wallet.address

    def choices(
        self, network: NetworkName, config_file: Path | None, registry: Address, owner: Address, policy: Policy
    ) -> Choices:
        options, saved = self._options, self._saved
        payout = owner if saved is None else saved.payout
        said = options["payout"] or self._ask("payout", payout.to_str(is_bounceable=False))
        model = options["model"] or self._ask("model", next(iter(SHELF)) if saved is None else saved.model)
        listen, endpoint = self._reachable()
        return Choices(
            network=network,
            registry=registry,
            owner=owner,
            payout=parse_address(said, "the payout address"),
            stake_nano=self._amount("stake", policy.min_stake_nano if saved is None else saved.stake_nano),
            bond_nano=self._amount("bond", policy.min_bond_nano if saved is None else saved.bond_nano),
            operator_nano=self._amount("operator_ton", _OPERATOR_NANO if saved is None else saved.operator_nano),
            model=str(Path(model).absolute()) if Path(model).is_dir() else model,
            metrics=options["metrics"] or (self._port(0) if saved is None else saved.metrics),
            global_config=None if config_file is None else str(config_file),
            model_id=options["model_id"] or (saved.model_id if saved else None),
            listen=listen,
            endpoint=endpoint,
            forced_slots=self._whole("forced_slots", 2 if saved is None else saved.forced_slots),
            terms=self._terms(DEFAULT_TERMS if saved is None else saved.terms),
            attestation=self._attestation(),
        )

    def _terms(self, default: ModelTerms) -> ModelTerms:
        found = {field: self._amount(name, getattr(default, field)) for name, field in _PRICES.items()}
        return replace(default, **found, min_duration_sec=self._whole("min_duration", default.min_duration_sec))

    def _reachable(self) -> tuple[str | None, str]:
        """(listen, endpoint)."""
        options, saved = self._options, self._saved
        listen: str = options["listen"] or (saved.listen or "" if saved else "")
        endpoint: str = options["endpoint"] or (saved.endpoint if saved else "")
        if self.sandbox is not None:
            listen = listen or self._port(1)
            return listen, endpoint or f"http://{listen}"
        listen = listen or self._ask("listen", "")
        return listen or None, endpoint or (self._ask("endpoint", "") if listen else "")

    def _attestation(self) -> AttestationSettings:
        options, saved, is_local = self._options, self._saved, self.sandbox is not None
        if saved is not None and options["evidence"] is None and options["seed"] is None:
            return saved.attestation
        source = options["evidence"] or ("simulated" if is_local else "configfs")
        seed = options["seed"] or (SEED if is_local and source == "simulated" else "")
        allowed = options["allow_simulated_tee"] or is_local
        return AttestationSettings(source=source, seed=seed, allow_simulated_tee=allowed)

    def _amount(self, name: str, default: int) -> int:
        given: int | None = self._options[name]
        if given is not None:
            return given
        try:
            return parse_ton(self._ask(name.replace("_", "-"), ton_text(default)))
        except ValueError as error:
            raise SetupFailed(f"{name}: {error}") from error

    def _whole(self, name: str, default: int) -> int:
        given: int | None = self._options[name]
        return default if given is None else given

    def _port(self, number: int) -> str:
        return f"127.0.0.1:{free_ports(self._directory.path, number + 1)[number]}"
