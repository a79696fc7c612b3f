"""The verdicts of a judge that are most worth a look: what it got wrong, and what swayed it."""

from __future__ import annotations

from collections.abc import Iterator

from treadle.judge.figures.verdicts import UNSCORED
from treadle.judge.licensing.examination import Examination
from treadle.judge.pairs import Pair
from treadle.report.markup import Child, Column, Safe, Section, absent, explain, join, table, tag
from treadle.report.numbers import count

EACH = 3
LONGEST = 400
SAID = {0: "tie", 1: "1", 2: "2", UNSCORED: "–"}


def worst(exam: Examination) -> Section:
    """A few wrong verdicts of each kind."""
    found = [*_swayed(exam), *_wrong(exam)]
    title = "What did it get wrong?"
    if not found:
        return Section("worst", title, "Mistakes", absent("Nothing: every verdict was right."))
    columns = [
        Column("Pair"), Column("Request", kind="example"), Column("Answer 1", kind="example"),
        Column("Answer 2", kind="example"), Column("Right"), Column("It said"),
    ]  # fmt: skip
    rows = [
        (join([what, tag("small", f" {pair.name}")]), _cut(pair.request), _cut(pair.answer_1),
         _cut(pair.answer_2), SAID[pair.label or 0], said)
        for what, pair, said in found
    ]  # fmt: skip
    body: list[Child] = [
        explain(
            f"Up to {EACH} of each kind: first what a change or a shell swayed, then what it got wrong as it "
            "was. It said: the verdict when answer 1 was shown first, and when answer 2 was."
        ),
        table("Verdicts to look at", columns, rows),
    ]
    return Section("worst", title, "Mistakes", join(body))


def _swayed(exam: Examination) -> Iterator[tuple[str, Pair, str]]:
    """Verdicts that were right until the pair was changed."""
    plain = exam.sets["plain"]
    right = {
        name
        for name, label, first, second in zip(
            plain.pair, plain.label, plain.first, plain.second, strict=True
        )
        if label == first == second
    }
    for kind in exam.sets:
        if kind.startswith("changed:"):
            yield from _mistakes(exam, kind, kind.removeprefix("changed:"), only=right)
    yield from _mistakes(exam, "shells", "shell")


def _wrong(exam: Examination) -> Iterator[tuple[str, Pair, str]]:
    for kind in ("people", "given", "adversarial", "verifier"):
        if kind in exam.sets:
            yield from _mistakes(exam, kind, kind)


def _mistakes(
    exam: Examination, kind: str, what: str, *, only: set[str] | None = None
) -> Iterator[tuple[str, Pair, str]]:
    """Pairs of a set with a wrong verdict; those wrong in both orders first."""
    known = exam.sets[kind]
    wrong: list[tuple[int, int, Pair, str]] = []
    for pair, first, second in zip(
        exam.benchmark.sets[kind], known.first.tolist(), known.second.tolist(), strict=True
    ):
        misses = sum(said not in (pair.label, UNSCORED) for said in (first, second))
        if misses and pair.label and (only is None or pair.name in only):
            wrong.append((-misses, len(wrong), pair, f"{SAID[first]}, {SAID[second]}"))
    for _, _, pair, said in sorted(wrong, key=lambda one: one[:2])[:EACH]:
        of = f"{what} ({count(len(wrong))} in all)"
        yield of, pair, said


def _cut(text: str) -> Safe:
    shown = text if len(text) <= LONGEST else f"{text[:LONGEST]} …"
    return tag("span", shown or "(empty)")
