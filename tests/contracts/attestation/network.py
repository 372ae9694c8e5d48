"""A whole network on an in-process ledger whose enclaves run on a simulated platform: nothing is imitated but the
hardware."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from actors import Key, blob, digest
from enclaves import HEAD, POSTER, Enclaves
from outcome import Outcome
from pytoniq_core import Cell
from world import RULES, TON, WorkerSide, World

from cocoon.attestation.witness import measurement
from cocoon.wire.worker import Attest
from cocoon_sandbox.ledger import Ledger

__all__ = ["Network"]


@dataclass
class Network:
    """`world` with its own root of evidence, and `enclaves` that make quotes under it."""

    world: World
    enclaves: Enclaves
    seqno: int = HEAD - 10

    @classmethod
    def on(cls, ledger: Ledger) -> Network:
        """Nothing is deployed yet; the enclave's measurement is allowed from the start."""
        enclaves = Enclaves.on(ledger)
        image = int.from_bytes(measurement(enclaves.quote()))
        rules = replace(
            RULES,
            measurements=(image,),
            attestation_root=enclaves.intel.root.public_key,
            accepted_statuses=("UP_TO_DATE",),
            min_evaluation_number=17,
            max_block_age=1_000,
        )
        return cls(World(ledger, rules), enclaves)

    def deploy(self) -> Network:
        """Attestation has its policy and knows no collateral."""
        self.world.deploy()
        return self

    def ready(self) -> Network:
        """Deployed, with all collateral of the platform."""
        self.deploy()
        for body in self.enclaves.collateral_messages():
            self.post(body).assert_succeeded()
        return self

    def post(self, body: Any) -> Outcome:
        """A document of Intel's, by anyone."""
        return self.world.send(POSTER, self.world.attestation, body, TON)

    def revoke_platform(self) -> None:
        """The CA publishes a list with the platform's certificate on it, and somebody posts it."""
        found, serial = self.enclaves.publication, self.enclaves.machine.pck.serial
        later = replace(found, revoked_pck=(serial,), crl_issued_at=self.world.ledger.now - 1)
        self.post(self.enclaves.collateral_messages(later)[2]).assert_succeeded()

    def request(self, side: WorkerSide, session: Key | None = None, hpke: Cell | None = None, **flaws: Any) -> Attest:
        """An Attest with a quote of the worker's enclave, about a later block than the one before, but for the `flaws`.

        These are fields of what the enclave says in its report data, or of the TD report.
        """
        self.seqno += 1
        session, hpke = session or side.session, hpke or side.hpke
        said = {
            "registry": self.world.registry,
            "worker": side.address,
            "attest_seq": side.state.people.attest_seq + 1,
            "session_key": session.public,
            "hpke_key_hash": digest(hpke),
            "seqno": self.seqno,
        }
        said |= {name: flaws.pop(name) for name in list(flaws) if name in said}
        quote = self.enclaves.quote(said=self.enclaves.statement(**said), **flaws)
        evidence = self.enclaves.evidence(quote, seqno=said["seqno"])
        return Attest(1, session.public, 0, hpke, blob("https://worker.example"), evidence)

    def attest(self, side: WorkerSide, session: Key | None = None, **flaws: Any) -> Outcome:
        """The operator's message with the least value, and all it leads to."""
        return side.by_operator(self.request(side, session, **flaws), side.attest_fees)

    def active_worker(self, name: str = "worker") -> WorkerSide:
        """A worker whose enclave was verified, with an offer."""
        worker = self.world.register(name)
        self.attest(worker).assert_succeeded()
        worker.set_offer().assert_succeeded()
        return worker
