"""What stands against each attack of part A (and some of part B): the piece of source whose removal the attack needs.

`without` gives the contract compiled with that piece replaced.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import test_attestation_attacks as attestation
import test_channel_attacks as channel
import test_network_attacks as network

from cocoon.contracts_build import ENTRYPOINTS, contracts_dir, load, sources
from cocoon_sandbox.executor import Executor

__all__ = ["GUARDS", "Guard"]


@dataclass(frozen=True, slots=True)
class Guard:
    """With `text` of `file` replaced by `instead`, `attack` succeeds."""

    id: str
    contract: str
    file: str
    text: str
    instead: str
    attack: Callable[..., None]
    arguments: dict[str, Any] = field(default_factory=dict)

    def without(self, executor: Executor) -> str:
        """The text of `build/<contract>.json` without the guard."""
        from cocoon_sandbox.boc import count_cells

        files = sources(contracts_dir())
        assert files[self.file].count(self.text) == 1, f"{self.file} has changed: find the guard of {self.id} again"
        files[self.file] = files[self.file].replace(self.text, self.instead)
        compiled = executor.compile_tolk(ENTRYPOINTS[self.contract], files)
        cells, bits = count_cells(compiled.code)
        genuine = load(self.contract)
        assert compiled.code.hash != genuine.hash, f"the guard of {self.id} makes no difference"
        return type(genuine)(self.contract, genuine.compiler, compiled.code, cells, bits).to_json()


GUARDS = (
    Guard(
        "A.1", "Escrow", "escrow/opening.tolk",
        "    assert (st.status == EscrowStatus.Active) throw EscrowError.NotActive;\n    val creditNano",
        "    val creditNano",
        channel.test_top_up_while_closing_is_withdrawn_by_nobody_twice,
    ),
    Guard(
        "A.2", "Escrow", "escrow/closing.tolk",
        "    assert (caller.sender == client) throw EscrowError.NotClient;\n", "",
        channel.test_close_by_a_stranger_leaves_the_workers_voucher_good,
    ),
    Guard(
        "A.3", "Escrow", "escrow/vouchers.tolk",
        "isSignatureValid(statement, msg.signature as slice, st.clientKey)", "st.clientKey != 0",
        channel.test_claim_by_an_operators_key_finds_no_pool_to_pay_from,
    ),
    Guard(
        "A.4", "Escrow", "escrow/vouchers.tolk",
        "min(msg.cumulativeNano, st.depositNano) - st.claimedNano", "msg.cumulativeNano - st.claimedNano",
        channel.test_claim_above_the_deposit_leaves_the_jobs_money_whole,
    ),
    Guard(
        "A.5", "Escrow", "escrow/jobs.tolk",
        "    assert (feeNano <= st.jobMaxFeeNano) throw EscrowError.FeeAboveMax;\n", "",
        channel.test_deliver_above_the_declared_maximum_takes_nothing,
    ),
    Guard(
        "A.6", "Escrow", "escrow/closing.tolk",
        "assert (status != JobStatus.Open) throw", "assert (status == JobStatus.None) throw",
        channel.test_refund_when_everybody_else_is_gone_is_complete,
    ),
    Guard(
        "A.7", "Escrow", "escrow/closing.tolk",
        "    if (payNano > 0) {\n", "    if (payNano < 0) {\n",
        channel.test_close_cooperatively_pays_the_worker_before_the_account_goes,
    ),
    Guard(
        "A.8", "Escrow", "escrow/vouchers.tolk",
        "payOutWithRest(binding.payout, payNano);", "payOutWithRest(caller.sender, payNano);",
        channel.test_claim_with_unsigned_fields_changed_still_pays_the_worker,
    ),
    Guard(
        "A.9", "Escrow", "escrow/Escrow.tolk",
        "            payOutAllAndDestroy(identity.client, PAID_REFUND);\n", "",
        channel.test_open_a_worker_that_does_not_exist_returns_the_deposit,
    ),
    Guard(
        "A.10", "Escrow", "escrow/vouchers.tolk",
        "!= EscrowStatus.Opening) throw EscrowError.NotActive;\n    assert (caller.valueNano >= claimFees())",
        "== EscrowStatus.Active) throw EscrowError.NotActive;\n    assert (caller.valueNano >= claimFees())",
        channel.test_claim_after_the_signer_has_turned_away_is_paid,
    ),
    Guard(
        "A.11", "Worker", "worker/attesting.tolk",
        "    people.attestSeq += 1;\n",
        "    people.attestSeq += 1;\n    st.status = WorkerStatus.Active;\n    st.leaseEnd = 0xFFFFFFFF;\n",
        network.test_open_worker_that_attested_nothing_returns_the_deposit,
    ),
    Guard(
        "A.12", "Registry", "registry/governance.tolk",
        "    assert (blockchain.now() >= proposal.executableAt) throw RegistryError.TooEarly;\n", "",
        network.test_change_of_power_in_one_step_is_refused_and_reaches_no_money,
    ),
    Guard(
        "A.13", "Worker", "worker/stake.tolk",
        "    assert ((st.unbondAt != 0) & (st.status != WorkerStatus.Closed)) throw WorkerError.NotUnbonding;\n",
        "    assert (caller.sender == st.registry) throw WorkerError.NotUnbonding;\n",
        network.test_registry_that_answers_nobody_keeps_no_ones_money,
    ),
    Guard(
        "A.14", "Escrow", "escrow/vouchers.tolk",
        "caller.valueNano - gasFee(GAS_ESCROW_CLAIM) - paymentFee()", "0",
        channel.test_claim_by_a_stranger_gives_the_stranger_its_change_and_closing_leaves_no_coin,
    ),
    Guard(
        "A.15", "Worker", "worker/binding.tolk",
        " | (offered.floorFeeNano > accepted.floorFeeNano)", "",
        network.test_offer_dearer_than_accepted_binds_nobody_and_changes_no_channel,
        {"field": "floor_fee_nano"},
    ),
    Guard(
        "A.16", "Escrow", "escrow/Escrow.tolk",
        "fun onInternalMessage(in: InMessage) {",
        'fun accept(): void asm "ACCEPT"\nfun onExternalMessage(inMsg: slice) {\n    accept();\n}\n'
        "fun onInternalMessage(in: InMessage) {",
        network.test_external_messages_replayed_cost_no_contract_anything,
    ),
    Guard(
        "A.17", "Escrow", "escrow/vouchers.tolk",
        "assert (msg.keyEpoch <= binding.keyEpoch)", "assert (msg.keyEpoch == binding.keyEpoch)",
        network.test_key_lost_with_its_machine_costs_the_worker_no_earnings,
    ),
    Guard(
        "A.18", "Escrow", "escrow/fees.tolk",
        "    return gasFee(GAS_WORKER_SETTLE);\n", "    return 1;\n",
        network.test_every_message_between_contracts_has_the_gas_it_needs,
    ),
    Guard(
        "A.19", "Escrow", "escrow/fees.tolk",
        "return storageFee(termSec + RENT_MARGIN_SEC,", "return storageFee(termSec * 0,",
        network.test_resting_channel_costs_rent_and_no_message,
    ),
    Guard(
        "A.20", "Worker", "worker/attesting.tolk",
        "    assert (caller.sender == calculateAttestationAddress(policy.children.load(), st.registry)) throw"
        " WorkerError.NotAttestation;\n    var people", "    var people",
        attestation.test_stolen_hot_wallet_brings_in_no_key_to_be_slashed_for,
    ),
    Guard(
        "A.20", "Worker", "worker/attesting.tolk",
        "(platform.keys.hash() == people.awaited!.hash()) & ", "",
        attestation.test_stolen_hot_wallet_cannot_approve_a_program_that_signs_twice,
    ),
    Guard(
        "A.21", "Worker", "worker/attesting.tolk",
        "    if ((people.awaited != null) & (msg.attestSeq == people.attestSeq)) {\n",
        "    people.awaited = platform.keys;\n    if (msg.attestSeq == people.attestSeq) {\n",
        attestation.test_replaced_attestation_brings_in_no_key_that_nobody_asked_for,
    ),
    Guard(
        "B.9", "Escrow", "common/fees.tolk",
        ".send(SEND_MODE_PAY_FEES_SEPARATELY | SEND_MODE_BOUNCE_ON_ACTION_FAIL);",
        ".send(SEND_MODE_PAY_FEES_SEPARATELY | SEND_MODE_IGNORE_ERRORS);",
        channel.test_expire_unaffordable_refund_keeps_the_job_until_the_money_is_there,
    ),
    Guard(
        "B.19", "Escrow", "escrow/closing.tolk",
        "    assert (status != JobStatus.Open) throw EscrowError.JobOpen;\n", "",
        channel.test_close_or_destroy_while_a_job_is_open_refused,
    ),
)  # fmt: skip
