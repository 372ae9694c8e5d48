"""A quote before the contracts themselves, in the official executor, on a chain made for it.

Attestation is deployed with a policy, the collateral is posted to it in the messages anybody would send, and its
get-methods judge the quote: exactly what a Worker's quote meets, except that nobody asks whom the quote was made for
and how old it is. A refusal carries the contract's exit code.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .collateral import Collateral
from .errors import QuoteMalformed
from .pcs import TcbStatus
from .quote import Quote
from .rehearsal_stage import STATUS_REFUSED, AttestationCode, Judgement, Refusal, Refused, Stage, Step, refusal
from .trust import TrustedRoot, trusted_root

__all__ = ["Rehearsal", "rehearse"]


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """What happened. `judgement` is there if the quote is genuine, whether or not its status is accepted.

    `quote_value_nano` is the least a Worker must attach to a quote; what is left of it comes back.
    """

    root: TrustedRoot
    steps: tuple[Step, ...]
    judgement: Judgement | None
    refusal: Refusal | None
    quote_value_nano: int

    @property
    def accepted(self) -> bool:
        return self.refusal is None and self.judgement is not None


def rehearse(
    quote: Quote,
    collateral: Collateral,
    at: int,
    *,
    allow_simulated_tee: bool = False,
    accepted: Sequence[TcbStatus] = (TcbStatus.UP_TO_DATE,),
    code: AttestationCode | None = None,
) -> Rehearsal:
    """What the chain would say at `at` (unix seconds), under a policy that accepts these TCB statuses.

    SimulatedTeeRefused if the quote's root is not Intel's and that is not allowed; EvidenceMalformed if its chain is no
    PCK chain; ContractsError without compiled contracts. Anything that is wrong with the evidence is a refusal.
    """
    chain = quote.signature_data.pck_chain
    if len(chain) != 3 or chain[-1].issuer != chain[-1].subject:
        raise QuoteMalformed("the quote's chain is not PCK certificate, CA and root")
    root = trusted_root(chain[-1], allow_simulated_tee=allow_simulated_tee)
    stage = Stage(code or AttestationCode.committed(), root, at, accepted)
    judgement: Judgement | None = None
    reason: Refusal | None = None
    try:
        stage.post_collateral(chain[1], collateral)
        judgement = stage.judge(quote, collateral)
        if judgement.tcb_status not in accepted:
            raise Refused(refusal("policy", STATUS_REFUSED, str(judgement.tcb_status)))
    except Refused as refused:
        reason = refused.refusal
    return Rehearsal(root, tuple(stage.steps), judgement, reason, stage.quote_value_nano())
