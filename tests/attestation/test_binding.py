"""The 64 bytes this side puts into a quote are the ones the contract expects of the worker that sends it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
from evidence_samples import TIME, intel, machine, published
from pytoniq_core import Address

from cocoon.attestation.pcs import TcbStatus
from cocoon.attestation.platform import guest_report
from cocoon.attestation.rehearsal_stage import AttestationCode, Stage
from cocoon.attestation.report_data import MasterBlock, ReportData
from cocoon.attestation.trust import TrustedRoot
from cocoon.attestation.witness import measurement, quote_evidence
from cocoon.chain.blockid import BlockId
from cocoon.wire.attestation import QuoteVerified, VerifyQuote
from cocoon_sandbox.blocks.previous import previous_blocks
from cocoon_sandbox.treasury import Treasury

LAST, SHARD = 5_350, 1 << 63
SESSION_KEY, HPKE_KEY_HASH, GPU_DIGEST = 11, 22, 33
VALUE = 10**9


def _block(seqno: int) -> BlockId:
    return BlockId(-1, SHARD, seqno, bytes([seqno % 251]) * 32, bytes([seqno % 241]) * 32)


def _master_block(seqno: int) -> MasterBlock:
    found = _block(seqno)
    return MasterBlock(seqno, found.root_hash, found.file_hash)


@dataclass
class World:
    """A stage that has its collateral, and the worker the quotes are for."""

    stage: Stage
    worker: Treasury

    @property
    def data(self) -> ReportData:
        """What a quote for this worker says, naming the newest block."""
        return ReportData(
            global_id=-217,
            registry=self.stage.registry.address,
            worker=self.worker.address,
            attest_seq=7,
            session_key=SESSION_KEY,
            hpke_key_hash=HPKE_KEY_HASH,
            gpu_evidence_digest=GPU_DIGEST,
            block=_master_block(LAST),
        )

    def send(self, data: ReportData, sender: Treasury | None = None) -> tuple[QuoteVerified | None, int | None]:
        """The verdict, and the first exit code that is not 0."""
        quote = machine().quote(guest_report(data.to_bytes()))
        number = published().tcb_info.tcb_evaluation_data_number
        evidence = quote_evidence(quote, number, data.block.seqno)
        body = VerifyQuote(7, SESSION_KEY, HPKE_KEY_HASH, GPU_DIGEST, evidence).to_cell()
        done = (sender or self.worker).send(self.stage.ledger, self.stage.attestation, VALUE, body)
        sent = [message for transaction in done for message in transaction.out_msgs]
        verdicts = [message for message in sent if message.opcode == 0xC0C00220]
        codes = [transaction.exit_code for transaction in done if transaction.exit_code]
        return QuoteVerified.from_cell(verdicts[0].body) if verdicts else None, codes[0] if codes else None


@pytest.fixture
def world(attestation_code: AttestationCode) -> World:
    stage = Stage(attestation_code, TrustedRoot(intel().root.public_key), TIME, (TcbStatus.UP_TO_DATE,))
    stage.ledger.prev_blocks = previous_blocks(_block(LAST), _block(1), _block)
    stage.post_collateral(intel().platform_ca, intel().publish(published()))
    return World(stage, stage.ledger.treasury("worker"))


def test_verify_quote_bound_by_this_side_is_accepted_by_the_contract(world: World) -> None:
    verdict, code = world.send(world.data)
    assert code is None
    assert verdict is not None
    quote = machine().quote(guest_report(world.data.to_bytes()))
    keys = verdict.platform.keys
    assert (keys.session_key, keys.hpke_key_hash) == (SESSION_KEY, HPKE_KEY_HASH)
    assert keys.measurement == int.from_bytes(measurement(quote))
    assert verdict.platform.gpu_evidence_digest == GPU_DIGEST
    assert verdict.attest_seq == 7


@pytest.mark.parametrize("seqno", [LAST - 15, 5_300])
def test_verify_quote_that_names_an_older_block_shown_is_accepted(world: World, seqno: int) -> None:
    verdict, code = world.send(replace(world.data, block=_master_block(seqno)))
    assert code is None
    assert verdict is not None


def _elsewhere(data: ReportData) -> list[ReportData]:
    return [
        replace(data, global_id=-239),
        replace(data, registry=Address((0, bytes(32)))),
        replace(data, attest_seq=8),
        replace(data, session_key=12),
        replace(data, hpke_key_hash=23),
        replace(data, gpu_evidence_digest=0),
        replace(data, block=replace(data.block, root_hash=bytes(32))),
        replace(data, block=replace(data.block, file_hash=bytes(32))),
    ]


def test_verify_quote_bound_to_anything_else_is_refused(world: World) -> None:
    for data in _elsewhere(world.data):
        verdict, code = world.send(data)
        assert (verdict, code) == (None, 521)


def test_verify_quote_sent_by_another_worker_is_refused(world: World) -> None:
    verdict, code = world.send(world.data, world.stage.ledger.treasury("another worker"))
    assert (verdict, code) == (None, 521)


@pytest.mark.parametrize("seqno", [LAST - 16, LAST + 1, 5_200])
def test_verify_quote_that_names_a_block_too_old_or_not_shown_is_refused(world: World, seqno: int) -> None:
    verdict, code = world.send(replace(world.data, block=_master_block(seqno)))
    assert (verdict, code) == (None, 522)
