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
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from treadle.judge import reliability
from treadle.judge.proportions import Figure
from treadle.judge.verdicts import Verdicts

Power = Literal["gate", "filter", "break_ties", "nothing"]
State = Literal["passed", "failed", "not measured"]
Sets = Mapping[str, Verdicts]
"""Verdicts by set: `verifier` (labelled by a checker), `adversarial` (made to mislead), `people` (labelled
by people), `plain` (the pairs that were changed, as they were), `changed:NAME` (each with one change that
keeps its label), `shells` (an empty or gibberish answer against a real one), `again` (asked a second time)."""


@dataclass(frozen=True, slots=True)
class Bar:
    """A figure with its limit: `least` or `most`, and the powers that need it."""

    name: str
    says: str
    figure: Callable[[Sets], Figure]
    least: float = -math.inf
    most: float = math.inf
    powers: tuple[Power, ...] = ("gate", "filter")

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


@dataclass(frozen=True, slots=True)
class Report:
    """All bars of a judge, and the power that follows."""

    figures: tuple[Examined, ...]

    @property
    def power(self) -> Power:
        order: tuple[Power, ...] = ("gate", "filter", "break_ties")
        for power in order:
            needed = [one for one in self.figures if power in one.bar.powers]
            if all(one.state == "passed" for one in needed):
                return power
        return "nothing"

    def standing_in_the_way(self, power: Power) -> tuple[Examined, ...]:
        """The bars that keep the judge from a power."""
        return tuple(
            one for one in self.figures if power in one.bar.powers and one.state != "passed"
        )


def examine(sets: Sets) -> Report:
    """Hold a judge's verdicts against every bar."""
    found = []
    for bar in [*BARS, *_robustness_bars(sets)]:
        figure = bar.figure(sets)
        found.append(Examined(bar, figure, bar.state(figure)))
    return Report(tuple(found))


def _of(name: str, measure: Callable[[Verdicts], Figure]) -> Callable[[Sets], Figure]:
    return lambda sets: measure(sets[name]) if name in sets else Figure.nothing()


def _over(measure: Callable[[Verdicts], Figure]) -> Callable[[Sets], Figure]:
    """On verifier-made pairs if there are any, else on those that people labelled."""

    def figure(sets: Sets) -> Figure:
        known = [sets[name] for name in ("verifier", "people", "adversarial") if name in sets]
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
        _over(reliability.length_gap), least=-0.08, most=0.08),
    Bar("self-preference", "error rate where its own answer is wrong, less that where the other is",
        _over(reliability.self_preference), most=0.05, powers=("gate",)),
    Bar("shells", "wins of empty, gibberish and master-key answers",
        _of("shells", reliability.shell_wins), most=0.01, powers=ALL),
    Bar("test-retest", "the same verdict when asked again", _retest, least=0.95),
)  # fmt: skip
