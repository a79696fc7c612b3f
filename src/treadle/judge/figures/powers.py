"""No licence, no power: which figures a judge must reach, and what it may do then.

    report = examine({"verifier": ..., "adversarial": ..., "people": ...})
    report.power          # "gate", "filter", "break_ties" or "nothing"
    report.figures        # each bar with its figure: passed, failed, or not measured

A bar is held against the worse end of the figure's 95% interval, so a judge passes by evidence and
not by luck, and what was not measured is not passed. The limits are ours, set with an eye on what
published judges reach, and are stated with every report.

What the powers allow: `gate` decides whether a round helped; `filter` drops or keeps rows;
`break_ties` ranks rows that a verifier holds for equal, or feeds estimates that labels of people
correct (`ppi`).

Calibration binds a gate only, and only a judge that tells how sure it is: who gives no log-probabilities
claims nothing beyond its verdicts, and these have bars of their own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from treadle.judge.figures import calibration, groups, reliability
from treadle.judge.figures.proportions import Figure
from treadle.judge.figures.verdicts import Verdicts

Power = Literal["gate", "filter", "break_ties", "nothing"]
State = Literal["passed", "failed", "not measured"]
Sets = Mapping[str, Verdicts]
"""Verdicts by set: `verifier` (labelled by a checker), `adversarial` (made to mislead), `given` (the user's own
pairs), `people` (labelled by people), `plain` (the pairs that were changed, as they were), `changed:NAME`
(each with one change that keeps its label), `again` (asked a second time), `lengths` (one answer made
longer), `shells` (an empty or gibberish answer against a real one), `ties` (two right answers, the plainer
wording first), `groups` (several answers to one request, see `groups`), `own` (one answer is its own)."""


@dataclass(frozen=True, slots=True)
class Bar:
    """A figure with its limit: `least` or `most`, and the powers that need it.

    `may_be_absent`: only a figure that was measured can stand in the way, since not every judge
    or user can give what it is measured from.
    """

    name: str
    says: str
    figure: Callable[[Sets], Figure]
    least: float = -math.inf
    most: float = math.inf
    powers: tuple[Power, ...] = ("gate", "filter")
    may_be_absent: bool = False

    def state(self, figure: Figure) -> State:
        if not figure.is_known:
            return "not measured"
        inside = figure.low >= self.least and figure.high <= self.most
        return "passed" if inside else "failed"


@dataclass(frozen=True, slots=True)
class Examined:
    """A bar, what was measured, and whether it passes."""

    bar: Bar
    figure: Figure
    state: State

    @property
    def is_in_the_way(self) -> bool:
        return self.state == "failed" or (
            self.state == "not measured" and not self.bar.may_be_absent
        )

    @property
    def more_items(self) -> int | None:
        """How many more items would decide, if the figure stays: None where it fails as it is.

        The interval shrinks with the root of the items, and must come to lie inside of the limits.
        """
        value, bar = self.figure.value, self.bar
        if self.state != "failed" or not bar.least < value < bar.most:
            return None
        reaches = [(value - self.figure.low) / (value - bar.least)]
        reaches.append((self.figure.high - value) / (bar.most - value))
        return math.ceil(self.figure.items * (max(reaches) ** 2 - 1))


@dataclass(frozen=True, slots=True)
class Report:
    """All bars of a judge, and the power that follows."""

    figures: tuple[Examined, ...]

    @property
    def power(self) -> Power:
        order: tuple[Power, ...] = ("gate", "filter", "break_ties")
        for power in order:
            needed = [one for one in self.figures if power in one.bar.powers]
            if needed and not any(one.is_in_the_way for one in needed):
                return power
        return "nothing"

    def standing_in_the_way(self, power: Power) -> tuple[Examined, ...]:
        """The bars that keep the judge from a power."""
        return tuple(one for one in self.figures if power in one.bar.powers and one.is_in_the_way)


def examine(sets: Sets) -> Report:
    """Hold a judge's verdicts against every bar."""
    found = []
    for bar in [*BARS, *_robustness_bars(sets)]:
        figure = bar.figure(sets)
        found.append(Examined(bar, figure, bar.state(figure)))
    return Report(tuple(found))


def _of(name: str, measure: Callable[[Verdicts], Figure]) -> Callable[[Sets], Figure]:
    return lambda sets: measure(sets[name]) if name in sets else Figure.nothing()


def _over(measure: Callable[[Verdicts], Figure], *better: str) -> Callable[[Sets], Figure]:
    """On pairs made for this figure or by a verifier if there are any, else on those of people."""

    def figure(sets: Sets) -> Figure:
        names = (*better, "verifier", "people", "adversarial")
        known = [sets[name] for name in names if name in sets]
        figures = [found for found in map(measure, known) if found.is_known]
        return figures[0] if figures else Figure.nothing()

    return figure


def _retest(sets: Sets) -> Figure:
    base = next((sets[name] for name in ("plain", "verifier", "people") if name in sets), None)
    if base is None or "again" not in sets:
        return Figure.nothing()
    return reliability.robustness(base, sets["again"])


def _changed(name: str) -> Callable[[Sets], Figure]:
    def figure(sets: Sets) -> Figure:
        base = next((sets[n] for n in ("plain", "verifier", "people") if n in sets), None)
        return Figure.nothing() if base is None else reliability.robustness(base, sets[name])

    return figure


def _robustness_bars(sets: Sets) -> list[Bar]:
    names = sorted(name for name in sets if name.startswith("changed:"))
    if not names:
        return [Bar("robustness", "verdicts that stay under changes that keep the label",
                    lambda sets: Figure.nothing(), least=0.90)]  # fmt: skip
    return [
        Bar(
            f"robustness to {name.removeprefix('changed:')}",
            "verdicts that stay",
            _changed(name),
            least=0.90,
        )
        for name in names
    ]


ALL: tuple[Power, ...] = ("gate", "filter", "break_ties")
BARS = (
    Bar("accuracy", "right in both orders, on pairs labelled by a verifier",
        _of("verifier", reliability.both_order_accuracy), least=0.70),
    Bar("adversarial accuracy", "right in both orders, on pairs made to mislead",
        _of("adversarial", reliability.both_order_accuracy), least=0.60),
    Bar("better than a coin", "right in both orders; a coin that sticks to its side has 0.5",
        _over(reliability.both_order_accuracy), least=0.50, powers=ALL),
    Bar("consistency", "the same verdict in both orders", _over(reliability.consistency), least=0.85),
    Bar("position bias", "chance that the answer shown first wins, less 1/2",
        _over(reliability.position_bias), least=-0.05, most=0.05, powers=ALL),
    Bar("agreement with people", "Cohen's kappa with the majority of people",
        _of("people", reliability.kappa), least=0.60, powers=("gate",)),
    Bar("length gap", "error rate where the shorter answer is right, less that where the longer is",
        _over(reliability.length_gap, "lengths"), least=-0.08, most=0.08),
    Bar("self-preference", "error rate where its own answer is wrong, less that where the other is",
        _over(reliability.self_preference, "own", "given"), most=0.05, powers=("gate",)),
    Bar("shells", "wins of empty, gibberish and master-key answers",
        _of("shells", reliability.shell_wins), most=0.01, powers=ALL),
    Bar("test-retest", "the same verdict when asked again", _retest, least=0.95),
    Bar("contradictions", "triples in which a beats b, b beats c, and c beats a",
        _of("groups", groups.intransitivity), most=0.05),
    Bar("ties separated", "wins of the plainer of two right answers, a tie counted half",
        _of("ties", reliability.first_answer_wins), least=0.40, most=0.60, powers=("gate",)),
    Bar("accuracy on your pairs", "right in both orders, on pairs that you labelled",
        _of("given", reliability.both_order_accuracy), least=0.70, may_be_absent=True),
    Bar("calibration error", "mean gap between how sure it is and how often it is right",
        _of("verifier", calibration.calibration_error), most=0.10, powers=("gate",),
        may_be_absent=True),
    Bar("AUROC of confidence", "chance that it is surer of a right verdict than of a wrong one",
        _of("verifier", calibration.auroc), least=0.70, powers=("gate",), may_be_absent=True),
    Bar("best of four", "the right one of four beats all others, in both orders; chance has 0.25",
        _of("groups", groups.best_of_accuracy), powers=()),
    Bar("readable", "pairs on which both replies could be read", _over(reliability.scored), powers=()),
)  # fmt: skip
