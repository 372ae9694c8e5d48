"""The two ledgers against each other, in every order of events: nobody risks more than a quantum, and all is paid."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from cocoon.stream.payee import PayeeLedger
from cocoon.stream.payer import Overcharged, PayerLedger

_DEPOSIT = 100_000


class TwoLedgers(RuleBasedStateMachine):
    """A client and a worker with a wire between them that delays, and loses everything when the connection breaks.

    Tokens cost `price`; a stream has a prompt and a length. Either side may stop at any time.
    """

    @initialize(quantum=st.integers(1, 3000), credit=st.integers(0, 3000), price=st.integers(1, 40))
    def begin(self, quantum: int, credit: int, price: int) -> None:
        self.quantum, self.credit, self.price = quantum, credit, price
        self.payer = PayerLedger(deposit=_DEPOSIT, quantum=quantum)
        self.payee = PayeeLedger(credit=credit)
        self.vouchers: list[int] = []  # on the wire to the worker
        self.pieces: list[tuple[int, int, bool]] = []  # on the wire to the client: stream, cost, last
        self.waiting: dict[int, tuple[int, int]] = {}  # asked for, not admitted: prompt, length
        self.running: dict[int, list[int]] = {}  # prompt, length, made, allowed
        self.asked = 0

    @rule(prompt=st.integers(0, 200), length=st.integers(1, 60), spare=st.integers(0, 500))
    def ask(self, prompt: int, length: int, spare: int) -> None:
        most = prompt + length * self.price + spare
        if most > self.payer.available:
            return
        self.asked += 1
        self.payer.open(self.asked, most)
        self.waiting[self.asked] = (prompt, length)

    @rule()
    def pay(self) -> None:
        due = self.payer.due()
        if due is not None:
            self.payer.promise(due)
            self.vouchers.append(due)

    @rule()
    def pay_on_request(self) -> None:
        if self.payer.target > self.payer.promised:
            self.payer.promise(self.payer.target)
            self.vouchers.append(self.payer.promised)

    @rule()
    def receive_voucher(self) -> None:
        if self.vouchers:
            self.payee.pay(self.vouchers.pop(0))

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def admit(self, data: st.DataObject) -> None:
        stream = data.draw(st.sampled_from(sorted(self.waiting)))
        prompt, length = self.waiting[stream]
        if self.payee.admit(stream, prompt, self.price):
            del self.waiting[stream]
            self.running[stream] = [prompt, length, 0, 1]

    @precondition(lambda self: self.running)
    @rule(data=st.data(), more=st.integers(1, 40))
    def allow(self, data: st.DataObject, more: int) -> None:
        """Tokens are allowed ahead of being made."""
        stream = data.draw(st.sampled_from(sorted(self.running)))
        prompt, length, _made, allowed = self.running[stream]
        wanted = min(length, allowed + more)
        if self.payee.extend(stream, prompt + wanted * self.price):
            self.running[stream][3] = wanted

    @precondition(lambda self: self.running)
    @rule(data=st.data())
    def work(self, data: st.DataObject) -> None:
        stream = data.draw(st.sampled_from(sorted(self.running)))
        prompt, length, made, allowed = self.running[stream]
        if made == allowed:
            return
        cost = prompt + (made + 1) * self.price
        self.payee.meter(stream, cost)
        self.running[stream][2] += 1
        self.pieces.append((stream, cost, False))
        if made + 1 == length:
            del self.running[stream]
            self.payee.settle(stream, cost)
            self.pieces.append((stream, cost, True))

    @rule()
    def receive_piece(self) -> None:
        if self.pieces:
            stream, cost, last = self.pieces.pop(0)
            if last:
                self.payer.settle(stream, cost)
            else:
                self.payer.meter(stream, cost)

    @rule()
    def connection_breaks(self) -> None:
        """Everything on the wire is lost; both sides count on from what they know."""
        for stream in list(self.payer._running):
            self.payer.drop(stream)
        for stream in self.running:
            self.payee.drop(stream)
        self.running.clear()
        self.waiting.clear()
        self.pieces.clear()
        self.vouchers = [self.payer.promised] if self.payer.promised else []  # sent again at the next hello

    @invariant()
    def client_risks_a_quantum(self) -> None:
        assert self.payer.promised <= self.payer.verified + self.quantum
        assert self.payer.promised <= _DEPOSIT

    @invariant()
    def worker_risks_its_credit(self) -> None:
        assert self.payee.earned <= self.payee.reserved <= self.payee.paid + self.credit
        assert self.payee.paid <= self.payer.promised

    @invariant()
    def client_counts_nothing_that_was_not_made(self) -> None:
        assert self.payer.verified <= self.payee.earned


TestTwoLedgers = TwoLedgers.TestCase
TestTwoLedgers.settings = settings(max_examples=60, stateful_step_count=60, deadline=None)


@given(
    st.integers(1, 1000), st.integers(0, 1000), st.lists(st.tuples(st.integers(0, 300), st.integers(1, 40)), max_size=6)
)
def test_patient_honest_sides_always_finish_when_prompts_fit_the_quantum(
    quantum: int, credit: int, streams: list[tuple[int, int]]
) -> None:
    """Liveness: with a wire that delivers, whatever is asked for is made and paid, in any company."""
    price = 3
    payer, payee = PayerLedger(deposit=10**6, quantum=quantum + 2 * price), PayeeLedger(credit=credit)
    left = {}
    for number, (prompt, length) in enumerate(streams):
        prompt = min(prompt, quantum)
        payer.open(number, prompt + length * price)
        left[number] = (prompt, length)
    running: dict[int, int] = {}
    for _ in range(20_000):
        if not left:
            break
        if payer.target > payer.promised:
            payer.promise(payer.target)
            payee.pay(payer.promised)
        for number, (prompt, length) in list(left.items()):
            if number not in running:
                if payee.admit(number, prompt, price):
                    running[number] = 0
                continue
            cost = prompt + (running[number] + 1) * price
            if payee.extend(number, cost):
                running[number] += 1
                payee.meter(number, cost)
                payer.meter(number, cost)
                if running[number] == length:
                    payee.settle(number, cost)
                    payer.settle(number, cost)
                    del left[number]
    assert not left
    assert payer.verified == payee.earned == sum(min(p, quantum) + n * price for p, n in streams)


def test_meter_beyond_what_a_request_may_cost_is_an_overcharge() -> None:
    ledger = PayerLedger(deposit=1000, quantum=100)
    ledger.open(1, 50)
    with pytest.raises(Overcharged):
        ledger.meter(1, 51)
    with pytest.raises(Overcharged):
        ledger.settle(1, 51)


def test_promise_beyond_a_quantum_is_a_defect() -> None:
    ledger = PayerLedger(deposit=1000, quantum=100)
    with pytest.raises(ValueError, match="defect"):
        ledger.promise(101)


def test_due_is_silent_while_half_of_the_quantum_is_left() -> None:
    ledger = PayerLedger(deposit=1000, quantum=100)
    ledger.open(1, 500)
    assert ledger.due() == 100
    ledger.promise(100)
    ledger.meter(1, 50)
    assert ledger.due() is None
    ledger.meter(1, 51)
    assert ledger.due() == 151


def test_prompt_is_admitted_only_when_it_is_paid_for_in_advance() -> None:
    """However much credit there is: credit is for answers."""
    ledger = PayeeLedger(credit=10**6)
    assert not ledger.admit(1, 0, 1)
    ledger.pay(99)
    assert not ledger.admit(1, 100, 1)
    ledger.pay(100)
    assert ledger.admit(1, 100, 1)


def test_tokens_allowed_to_one_stream_are_not_allowed_to_another() -> None:
    """Two streams share one credit, whether or not the work that was allowed has been done yet."""
    ledger = PayeeLedger(credit=10)
    ledger.pay(100)
    assert ledger.admit(1, 0, 1)
    assert ledger.admit(2, 0, 1)
    assert ledger.extend(1, 100)
    assert not ledger.extend(2, 11)
    assert ledger.extend(2, 10)
