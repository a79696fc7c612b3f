"""The ledger against a model of it: reserve, settle, crash, reopen, run out; in any order.

A crash is what the disk holds at that moment: the files are copied, and a new ledger opens the copy
while the old one is never closed.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from treadle.errors import BudgetError, StoreError
from treadle.machinery.ledger import COUNTS, Ledger, Limits, Reservation

Open = tuple[contextlib.AbstractContextManager[Reservation], Reservation]
LIMITS = st.one_of(st.none(), st.integers(0, 300))
SHARES = st.floats(0, 1)


class LedgerMachine(RuleBasedStateMachine):
    """A ledger beside what it should say."""

    def __init__(self) -> None:
        super().__init__()
        memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
        self.root = Path(tempfile.mkdtemp(prefix="treadle-ledger-", dir=memory))
        self.sessions, self.now, self.seconds = 0, 0.0, 0.0
        self.reserved: list[Open] = []
        self.settled = 0
        self.tasks: list[str] = []
        self.decided: list[int] = []
        self.limits = Limits(tokens=200, minutes=30)
        self.ceiling = 200
        self.open()

    def open(self) -> None:
        self.path = self.root / f"{self.sessions}" / "ledger.sqlite"
        self.ledger = Ledger(self.path, self.limits, clock=lambda: self.now)
        self.settled += sum(reservation.tokens for _, reservation in self.reserved)
        self.reserved = []
        self.seconds = self.ledger.seconds
        limit = self.limits.tokens
        # A limit may be set below what is already spent: then nothing more fits.
        self.ceiling = 10**9 if limit is None else max(limit, self.settled)

    @property
    def expected(self) -> int:
        return self.settled + sum(reservation.tokens for _, reservation in self.reserved)

    @rule(tokens=st.integers(0, 60))
    def reserve(self, tokens: int) -> None:
        context = self.ledger.reserve("task", tokens)
        limit = self.limits.tokens
        if limit is not None and self.expected + tokens > limit:
            with pytest.raises(BudgetError):
                context.__enter__()
        else:
            self.reserved.append((context, context.__enter__()))

    @precondition(lambda self: self.limits.tokens is not None)
    @rule(more=st.integers(0, 1))
    def reserve_all_that_is_left(self, more: int) -> None:
        self.reserve(max(0, (self.limits.tokens or 0) - self.expected) + more)

    @precondition(lambda self: self.reserved)
    @rule(data=st.data(), share=SHARES)
    def settle(self, data: st.DataObject, share: float) -> None:
        context, reservation = self.pick(data)
        used = int(reservation.tokens * share)
        reservation.settle(used)
        context.__exit__(None, None, None)
        self.settled += used

    @precondition(lambda self: self.reserved)
    @rule(data=st.data())
    def interrupt(self, data: st.DataObject) -> None:
        context, reservation = self.pick(data)
        assert not context.__exit__(KeyboardInterrupt, KeyboardInterrupt(), None)
        self.settled += reservation.tokens

    @precondition(lambda self: self.reserved)
    @rule(data=st.data(), share=SHARES)
    def interrupt_after_settling(self, data: st.DataObject, share: float) -> None:
        context, reservation = self.pick(data)
        used = int(reservation.tokens * share)
        reservation.settle(used)
        assert not context.__exit__(KeyboardInterrupt, KeyboardInterrupt(), None)
        self.settled += used

    @precondition(lambda self: self.reserved)
    @rule(data=st.data())
    def end_without_settling(self, data: st.DataObject) -> None:
        context, reservation = self.pick(data)
        context.__exit__(None, None, None)
        self.settled += reservation.tokens

    def pick(self, data: st.DataObject) -> Open:
        return self.reserved.pop(data.draw(st.integers(0, len(self.reserved) - 1)))

    @rule(tokens=st.integers(max_value=-1))
    def refuse_nonsense(self, tokens: int) -> None:
        with pytest.raises(StoreError, match="bug in the op"):
            self.ledger.reserve("task", tokens).__enter__()

    @rule(name=st.sampled_from("abc"))
    def record(self, name: str) -> None:
        self.ledger.record("stage", name, {**dict.fromkeys(COUNTS, 0), "rows_in": 2}, 1.0)
        self.tasks.append(name)

    @rule(number=st.integers())
    def decide(self, number: int) -> None:
        self.ledger.decide("look", {"number": number})
        self.decided.append(number)

    @rule(seconds=st.floats(0, 400))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def set_the_clock_back(self) -> None:
        self.now -= 86_400

    @rule()
    def check(self) -> None:
        minutes = self.limits.minutes
        if minutes is not None and self.ledger.seconds >= minutes * 60:
            with pytest.raises(BudgetError):
                self.ledger.check()
        else:
            self.ledger.check()

    @rule(tokens=LIMITS, minutes=st.one_of(st.none(), st.integers(1, 60)))
    def crash(self, tokens: int | None, minutes: int | None) -> None:
        after = self.root / str(self.sessions + 1)
        after.mkdir()
        for path in self.path.parent.glob("*.sqlite*"):
            if not path.name.endswith("-shm"):  # shared memory dies with the process
                shutil.copy(path, after / path.name)
        spent = self.ledger.seconds
        self.sessions, self.limits = self.sessions + 1, Limits(tokens=tokens, minutes=minutes)
        self.open()
        assert self.ledger.seconds <= spent

    @rule(tokens=LIMITS, minutes=st.one_of(st.none(), st.integers(1, 60)))
    def reopen(self, tokens: int | None, minutes: int | None) -> None:
        spent = self.ledger.seconds
        self.ledger.close()
        self.limits = Limits(tokens=tokens, minutes=minutes)
        self.open()
        assert self.ledger.seconds == pytest.approx(spent)

    @invariant()
    def tokens_are_as_expected_and_never_over_the_limit(self) -> None:
        assert self.ledger.tokens == self.expected
        assert self.ledger.tokens <= self.ceiling

    @invariant()
    def nothing_written_down_is_lost(self) -> None:
        assert [d["number"] for d in self.ledger.decisions("look")] == self.decided
        names = set(self.tasks)
        rows = [(c["tasks"], c["rows"], c["seconds"]) for c in self.ledger.costs()]
        assert rows == ([(len(names), 2 * len(names), float(len(self.tasks)))] if names else [])

    @invariant()
    def time_never_runs_backwards(self) -> None:
        assert self.ledger.seconds >= self.seconds
        self.seconds = self.ledger.seconds

    def teardown(self) -> None:
        self.ledger.close()
        shutil.rmtree(self.root)


CHECKS = [HealthCheck.too_slow, HealthCheck.filter_too_much]
TestLedger = LedgerMachine.TestCase
TestLedger.settings = settings(
    max_examples=20, stateful_step_count=30, deadline=None, suppress_health_check=CHECKS
)


@pytest.mark.slow
class TestLedgerAtLength(LedgerMachine.TestCase):
    """Ten thousand steps."""

    settings = settings(
        max_examples=200, stateful_step_count=50, deadline=None, suppress_health_check=CHECKS
    )
