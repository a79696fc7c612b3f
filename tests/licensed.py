"""A judge in this process that knows what is right, for tests of licences: its replies are kept in a book."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from treadle.errors import BudgetError
from treadle.judge.benchmark.whole import Benchmark
from treadle.judge.figures.verdicts import UNSCORED, Verdicts
from treadle.judge.labels.people import content
from treadle.judge.pairs import Identity, Item, Pair, Score
from treadle.models.endpoint.answers import Progress

IDENTITY = Identity("http://127.0.0.1:9/v1", "knobs", "pairwise", "p", "helpful", "r")
Said = tuple[int, int, float]


def draw(*what: object) -> float:
    """A number in [0, 1) that is always the same for the same words."""
    digest = hashlib.sha256(repr(what).encode()).digest()
    return int.from_bytes(digest[:7], "big") / 2**56


@dataclass(frozen=True)
class Knobs:
    """How well it sees, and how often something else decides instead."""

    accuracy: float = 0.97
    primacy: float = 0.0
    longer: float = 0.0
    own: float = 0.0
    noise: float = 0.0
    fooled: float = 0.0
    silent: float = 0.0
    tempted: float = 0.0
    sure: bool = False


@dataclass
class KnownJudge:
    """Judges pairs of a benchmark. `book` holds what was asked; without `may_ask` nothing new is."""

    benchmark: Benchmark
    knobs: Knobs = field(default_factory=Knobs)
    identity: Identity = IDENTITY
    book: dict[tuple[str, int], Said] = field(default_factory=dict)
    may_ask: bool = True
    dies_after: int | None = None
    asked: int = 0
    scores: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._known = {
            content(pair): (name, pair)
            for name, pairs in self.benchmark.sets.items()
            for pair in pairs
        }

    def without_money(self) -> KnownJudge:
        """The same judge, which may read its book only."""
        return replace(self, may_ask=False, asked=0)

    def compare(
        self,
        pairs: Sequence[Pair],
        *,
        sample: int = 0,
        tick: Callable[[], None] = lambda: None,
        on_progress: Callable[[Progress], None] = lambda progress: None,
    ) -> Verdicts:
        said = [self._once(pair, sample) for pair in pairs]
        on_progress(Progress(calls=2 * len(pairs), done=2 * len(pairs)))
        first, second = (np.array([s[i] for s in said], dtype=np.int64) for i in (0, 1))
        sure = np.array([s[2] for s in said]) if self.knobs.sure else None
        unknown = np.full(len(pairs), UNSCORED, dtype=np.int64)
        names = tuple(pair.name for pair in pairs)
        return Verdicts(names, unknown, first, second, confidence=sure)

    def score(
        self,
        items: Sequence[Item],
        *,
        sample: int = 0,
        tick: Callable[[], None] = lambda: None,
        on_progress: Callable[[Progress], None] = lambda progress: None,
    ) -> list[Score]:
        return [Score(self.scores.get(item.answer), "no") for item in items]

    def _once(self, pair: Pair, sample: int) -> Said:
        key = content(pair)
        if (known := self.book.get((key, sample))) is not None:
            return known
        if not self.may_ask or (self.dies_after is not None and self.asked >= self.dies_after):
            raise BudgetError("the budget of 0 requests does not allow the next request")
        self.asked += 1
        said = self._judge(key, sample)
        if said[0] != UNSCORED:  # what never came is in no book
            self.book[key, sample] = said
        return said

    def _judge(self, key: str, sample: int) -> Said:
        kind, pair = self._known[key]
        knobs, name = self.knobs, pair.name.removesuffix("/0-1")
        label = pair.label or 0
        if draw("silent", key) < knobs.silent:
            return UNSCORED, UNSCORED, math.nan
        p = 1 - (1 - knobs.accuracy) * (0.2 / 0.9 if draw("hard", name) < 0.9 else 8)
        is_seen = draw("seen", name) < (p if knobs.sure else knobs.accuracy)
        base = (label if is_seen else 3 - label) if label else 0
        if kind == "shells":
            base = 3 - label if draw("fooled", key) < knobs.fooled else label
        if kind.startswith("changed:") and draw("tempted", key) < knobs.tempted:
            base = 3 - label
        longer = 1 if len(pair.answer_1) > len(pair.answer_2) else 2
        if draw("longer", name) < knobs.longer and len(pair.answer_1) != len(pair.answer_2):
            base = longer
        if pair.own and draw("own", name) < knobs.own:
            base = pair.own
        first, second = base, base
        if draw("noise", name, sample) < knobs.noise:
            first = second = 1 + int(draw("coin", name, sample) < 0.5)
        if draw("place", key) < knobs.primacy:
            first, second = 1, 2
        return first, second, p
