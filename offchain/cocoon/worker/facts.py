"""What the chain proves about a worker, at one look."""

from __future__ import annotations

from dataclasses import dataclass

from pytoniq_core import Address

from ..chain.base import Chain
from ..chain.wallet import Wallet
from ..deployment import Deployment
from ..errors import WireError
from ..fees import Fees
from ..wire.common import ModelTerms
from ..wire.escrow import EscrowStorage
from ..wire.registry import RegistryStorage
from ..wire.worker import WorkerStatus, WorkerStorage
from .errors import WorkerCommandError

__all__ = ["ChannelFacts", "WorkerFacts", "read_channel_facts", "read_worker_facts"]


@dataclass(frozen=True, slots=True)
class WorkerFacts:
    """Amounts in nanoTON, times in unix seconds. time: of the block. measurement: of the keys in force, 0 before the
    first; approved: by the owner. attest_nano: what one renewal of the lease takes at most.
    """

    time: int
    index: int
    worker: Address
    owner: Address
    operator: Address
    payout: Address
    status: WorkerStatus
    stake_nano: int
    bond_nano: int
    min_stake_nano: int
    min_bond_nano: int
    lease_end: int
    key_epoch: int
    session_key: int
    measurement: int
    approved: int
    is_listed: bool
    is_denied: bool
    forced_slots: int
    models: dict[int, ModelTerms]
    open_jobs: int
    jobs: int
    misses: int
    rejections: int
    key_losses: int
    volume_nano: int
    operator_nano: int
    attest_nano: int


@dataclass(frozen=True, slots=True)
class ChannelFacts:
    """One escrow of this worker's. end: until when it serves; 0 if it is not bound."""

    deposit_nano: int
    claimed_nano: int
    epoch: int
    end: int


async def read_worker_facts(chain: Chain, deployment: Deployment, index: int, wallet: Wallet | None) -> WorkerFacts:
    """wallet: the operator's, if its key is here. WorkerCommandError if there is no such worker."""
    address = deployment.worker(index)
    account, registry = await chain.account(address), await chain.account(deployment.registry)
    if account.data is None or not account.data.refs or registry.data is None:
        raise WorkerCommandError(
            f"worker {index} is not registered on this network (it is {account.status}): run `cocoon worker init`"
        )
    try:
        state, network = WorkerStorage.from_cell(account.data), RegistryStorage.from_cell(registry.data)
    except WireError as error:
        raise WorkerCommandError(f"this release can't read worker {index} ({error}): update") from error
    people, listed = state.people, network.measurements
    operator = people.operator_wallet if wallet is None else wallet.address
    return WorkerFacts(
        time=await chain.time(),
        index=index,
        worker=address,
        owner=people.owner,
        operator=people.operator_wallet,
        payout=people.payout,
        status=WorkerStatus(state.status),
        stake_nano=state.stake_nano,
        bond_nano=state.bond_nano,
        min_stake_nano=state.policy.min_stake_nano,
        min_bond_nano=state.policy.min_bond_nano,
        lease_end=state.lease_end,
        key_epoch=state.key_epoch,
        session_key=people.keys.session_key,
        measurement=people.keys.measurement,
        approved=people.slashable.measurement,
        is_listed=people.slashable.measurement in listed.listed,
        is_denied=people.slashable.measurement in listed.denied,
        forced_slots=state.forced_slots,
        models=dict(state.models),
        open_jobs=len(state.open_jobs),
        jobs=state.jobs,
        misses=state.misses,
        rejections=state.rejections,
        key_losses=state.key_losses,
        volume_nano=state.volume_nano,
        operator_nano=(await chain.account(operator)).balance,
        attest_nano=(await Fees.of(chain)).attest(),
    )


async def read_channel_facts(chain: Chain, escrow: Address) -> ChannelFacts | None:
    """None once it is closed."""
    data = (await chain.account(escrow)).data
    if data is None or not data.refs:
        return None
    found = EscrowStorage.from_cell(data)
    end = 0 if found.binding is None else found.binding.channel_end
    return ChannelFacts(found.deposit_nano, found.claimed_nano, found.epoch, end)
