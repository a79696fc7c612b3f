"""Ask a judge the whole benchmark, and say what came out.

Pairs that several sets share are asked once. A pair counts as scored only where both orders are, so
that an examination read back from the call book, where a reply that never came is not, comes out the same.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, TypeVar

import numpy as np

from treadle.errors import BudgetError
from treadle.judge.benchmark.whole import Benchmark
from treadle.judge.figures import calibration, reliability
from treadle.judge.figures.agreement import kendall, spearman
from treadle.judge.figures.powers import ALL, Report, examine
from treadle.judge.figures.proportions import Figure
from treadle.judge.figures.verdicts import UNSCORED, Verdicts
from treadle.judge.labels.people import content
from treadle.judge.pairs import Compares, Item, Pair, Score, Scores
from treadle.models.endpoint.answers import Progress

Heard = Callable[[str, Progress], None]
Said = tuple[int, int, float]
"""First order, second order, confidence."""
SILENCE: Said = (UNSCORED, UNSCORED, math.nan)
Thing = TypeVar("Thing", Pair, Item)
Told = TypeVar("Told")
PHASES = ("pairs", "again", "scores")


@dataclass(frozen=True)
class Examination:
    """What a judge said to all of it, and the bars that it reaches.

    `unanswered` names, by phase, the things that got no verdict (by their content).
    """

    benchmark: Benchmark
    sets: Mapping[str, Verdicts]
    scores: Mapping[str, float]
    report: Report
    unanswered: Mapping[str, tuple[str, ...]]


def nobody(phase: str, progress: Progress) -> None:
    """Hear nothing."""


def ask(
    judge: Compares,
    benchmark: Benchmark,
    *,
    scorer: Scores | None = None,
    unanswered: Mapping[str, Collection[str]] | None = None,
    on_progress: Heard = nobody,
) -> Examination:
    """Ask every pair in both orders, the plain ones twice, and what people scored if it can score.

    Args:
        unanswered: what is known to have no verdict, by phase; where the book has none either, it
            stays without.

    Raises:
        BudgetError, ModelError: the endpoint stopped. What was answered is in the call book.
    """
    silent = unanswered or {}
    pairs = {content(p): p for found in benchmark.sets.values() for p in found}
    plain = {content(p): p for p in benchmark.sets["plain"]}
    said = {}
    for phase, asked, sample in (("pairs", pairs, 0), ("again", plain, 1)):
        questions = [replace(p, name=key, label=None, own=None) for key, p in asked.items()]

        def compared(part: Sequence[Pair], sample: int = sample, phase: str = phase) -> list[Said]:
            heard = lambda progress: on_progress(phase, progress)  # noqa: E731
            return _said(judge.compare(part, sample=sample, on_progress=heard))

        answers = _answered(compared, questions, silent.get(phase, ()), SILENCE)
        said[phase] = dict(zip(asked, answers, strict=True))
    sets = {name: _verdicts(found, said["pairs"]) for name, found in benchmark.sets.items()}
    sets["again"] = _verdicts(benchmark.sets["plain"], said["again"])
    scores = _scores(scorer, benchmark.people.items, silent.get("scores", ()), on_progress)
    missing = {
        **{phase: tuple(k for k, v in known.items() if v == SILENCE or v[0] == UNSCORED)
           for phase, known in said.items()},
        "scores": tuple(k for k, score in scores.items() if score is None),
    }  # fmt: skip
    names = {content(item): item.name for item in benchmark.people.items}
    values = {names[key]: score for key, score in scores.items() if score is not None}
    return Examination(benchmark, sets, values, examine(sets), missing)


def findings(exam: Examination) -> dict[str, Any]:
    """Return every figure as plain JSON: what a licence states, and what is held against it."""
    return {
        "power": exam.report.power,
        "figures": [
            {"name": one.bar.name, "says": one.bar.says, "least": number(one.bar.least),
             "most": number(one.bar.most), "powers": list(one.bar.powers), "state": one.state,
             "more_items": one.more_items, **figure(one.figure)}
            for one in exam.report.figures
        ],
        "in_the_way": {
            power: [one.bar.name for one in exam.report.standing_in_the_way(power)] for power in ALL
        },
        "orders": {
            name: {
                "first": figure(reliability.accuracy(known)),
                "second": figure(reliability.accuracy(known, swapped=True)),
                "both": figure(reliability.both_order_accuracy(known)),
            }
            for name, known in exam.sets.items()
            if name in ("verifier", "adversarial", "given", "people", "own")
        },
        "families": _by_family(exam.sets["verifier"]),
        "people": _people(exam),
        "calibration": [
            {"confidence": one.confidence, **figure(one.right)}
            for one in calibration.curve(exam.sets["verifier"])
        ],
    }  # fmt: skip


def figure(found: Figure) -> dict[str, Any]:
    """Return a figure as plain JSON: what is unknown is null."""
    return {key: number(value) for key, value in asdict(found).items()}


def number(value: float) -> float | None:
    """Return a finite number, or None."""
    return value if math.isfinite(value) else None


def _said(verdicts: Verdicts) -> list[Said]:
    sure = verdicts.confidence if verdicts.confidence is not None else [math.nan] * len(verdicts)
    lines = zip(verdicts.first.tolist(), verdicts.second.tolist(), map(float, sure), strict=True)
    return [SILENCE if UNSCORED in line[:2] else line for line in lines]


def _answered(
    ask_some: Callable[[Sequence[Thing]], Sequence[Told]],
    things: Sequence[Thing],
    silent: Collection[str],
    silence: Told,
) -> list[Told]:
    """Ask everything; of what is known to have no verdict, what cannot be asked stays silent."""
    known = [i for i, thing in enumerate(things) if content(thing) not in silent]
    found: dict[int, Told] = dict(zip(known, ask_some([things[i] for i in known]), strict=True))
    waiting = [[i for i, thing in enumerate(things) if content(thing) in silent]]
    while waiting:
        part = waiting.pop()
        try:
            found.update(
                zip(part, ask_some([things[i] for i in part]) if part else (), strict=True)
            )
        except BudgetError:
            if len(part) == 1:
                found[part[0]] = silence
            else:
                waiting += [part[: len(part) // 2], part[len(part) // 2 :]]
    return [found[i] for i in range(len(things))]


def _verdicts(pairs: Sequence[Pair], said: Mapping[str, Said]) -> Verdicts:
    lines = [said[content(pair)] for pair in pairs]
    confidence = np.array([line[2] for line in lines])

    def ints(values: Sequence[int]) -> np.typing.NDArray[np.int64]:
        return np.array(values, dtype=np.int64)

    return Verdicts(
        tuple(pair.name for pair in pairs),
        ints([UNSCORED if pair.label is None else pair.label for pair in pairs]),
        ints([line[0] for line in lines]),
        ints([line[1] for line in lines]),
        ints([len(pair.answer_1) for pair in pairs]),
        ints([len(pair.answer_2) for pair in pairs]),
        ints([pair.own or 0 for pair in pairs]) if any(pair.own for pair in pairs) else None,
        None if np.isnan(confidence).all() else confidence,
    )


def _scores(
    scorer: Scores | None, items: Sequence[Item], silent: Collection[str], on_progress: Heard
) -> dict[str, float | None]:
    if scorer is None or not items:
        return {}
    by_name = [replace(item, name=content(item)) for item in items]

    def scored(part: Sequence[Item]) -> list[float | None]:
        heard = lambda progress: on_progress("scores", progress)  # noqa: E731
        found: Sequence[Score] = scorer.score(part, on_progress=heard)
        return [score.value for score in found]

    values = _answered(scored, by_name, silent, None)
    return {item.name: value for item, value in zip(by_name, values, strict=True)}


def _by_family(verdicts: Verdicts) -> dict[str, Any]:
    families = np.array([name.partition(":")[0] for name in verdicts.pair])
    return {
        str(family): figure(reliability.both_order_accuracy(verdicts.where(families == family)))
        for family in np.unique(families)
    }


def _people(exam: Examination) -> dict[str, Any] | None:
    """Return how far the judge agrees with people, beside how far they agree with each other."""
    people = exam.benchmark.people
    if not people.labels:
        return None
    ceiling = people.ceiling()
    found: dict[str, Any] = {
        "labels": len(people.labels),
        "annotators": sorted({label.annotator for label in people.labels}),
        "pairs": len(people.pairs), "scored": len(people.items), "split": people.split,
        "changed_minds": people.changed_minds,
        "ceiling": None if ceiling is None else {
            key: value if value is None else number(value) for key, value in asdict(ceiling).items()
        },
    }  # fmt: skip
    if "people" in exam.sets:
        found["kappa"] = figure(reliability.kappa(exam.sets["people"]))
    means = people.mean_scores
    both = [name for name in means if name in exam.scores]
    if both:
        theirs = np.array([means[name] for name in both])
        judged = np.array([exam.scores[name] for name in both])
        found["compared"] = len(both)
        found["spearman"] = number(spearman(judged, theirs))
        found["kendall"] = number(kendall(judged, theirs))
    return found
