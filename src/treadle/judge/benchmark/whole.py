"""The whole benchmark as data: what was asked, set by set, so that it can be asked again from the book.

What is made here follows from a seed and a size, and is made anew when a licence is loaded: nobody can
leave out the pairs that a judge got wrong. What was given (a user's pairs, people's labels, the judge's
own answers) is kept as it was.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import polars as pl

from treadle.data.pool import from_parquet, to_parquet
from treadle.errors import DataError, RecipeError
from treadle.judge.benchmark import changes, demand, fresh, shells
from treadle.judge.labels.people import Label, People
from treadle.judge.pairs import Item, Pair
from treadle.machinery.code import file_hash

SIZE = 600
FEWEST = 40
GIVEN = ("given", "adversarial", "people", "own")
"""Sets that may come from outside."""
MODULES = ("changes", "demand", "fresh", "numbers", "own", "shells", "task", "texts", "whole")
PAIR_SCHEMA = {
    "set": pl.String, "name": pl.String, "request": pl.String, "answer_1": pl.String,
    "answer_2": pl.String, "label": pl.Int64, "own": pl.Int64,
}  # fmt: skip
LABEL_SCHEMA = {
    "content": pl.String, "annotator": pl.String, "value": pl.Float64, "when": pl.String,
}  # fmt: skip


About = Literal["answer", "request"]


@dataclass(frozen=True)
class Benchmark:
    """Pairs by set, answers that people scored, and the labels themselves.

    `about` is what the pairs hold: two answers to a request, or two requests.
    """

    seed: int
    size: int
    sets: Mapping[str, tuple[Pair, ...]]
    given: tuple[str, ...] = ()
    people: People = field(default_factory=People)
    about: About = "answer"

    @property
    def counts(self) -> dict[str, int]:
        """Pairs by set, and scored answers as `scored`."""
        scored = {"scored": len(self.people.items)} if self.people.items else {}
        return {name: len(pairs) for name, pairs in self.sets.items()} | scored


def sizes(size: int) -> dict[str, int]:
    """How many pairs of each kind a benchmark of this size has.

    The smallest counts that can reach their bar at all are kept: 200 shells without one win, 100
    triples without one contradiction, 100 changed pairs.
    """
    few = min(size, max(100, size // 4))
    return {
        "verifier": size, "adversarial": max(50, size // 3), "plain": few, "lengths": size // 2,
        "shells": max(200, size // 2), "ties": max(100, size // 2), "groups": few,
        "own": max(100, size // 2),
    }  # fmt: skip


def build(seed: int, size: int = SIZE, about: About = "answer") -> Benchmark:
    """Make all sets that follow from a seed.

    Raises:
        RecipeError: so small a benchmark says nothing.
    """
    if size < FEWEST:
        raise RecipeError(f"--fresh {size}: at least {FEWEST} pairs are needed to say anything.")
    made = (_of_answers if about == "answer" else _of_requests)(seed, size)
    return Benchmark(seed, size, {n: tuple(pairs) for n, pairs in made.items()}, about=about)


def _of_answers(seed: int, size: int) -> dict[str, list[Pair]]:
    count = sizes(size)
    base = fresh.draw("verifier", size, seed)
    plain = base[: count["plain"]]

    def drawn(kind: str) -> list[fresh.Drawn]:
        return fresh.draw(kind, count[kind], seed)

    return {
        "verifier": fresh.verifier(base),
        "adversarial": fresh.adversarial(drawn("adversarial"), seed),
        "plain": fresh.verifier(plain),
        **{f"changed:{name}": changes.changed(name, plain, seed) for name in changes.CHANGES},
        "lengths": changes.lengths(base[: count["lengths"]]),
        "shells": shells.shells(drawn("shells"), seed),
        "ties": fresh.ties(drawn("ties"), seed),
        "groups": fresh.groups(base[: count["groups"]]),
    }


def _of_requests(seed: int, size: int) -> dict[str, list[Pair]]:
    count = sizes(size)
    base = demand.draw("verifier", size, seed)
    plain = base[: count["plain"]]

    def drawn(kind: str) -> list[demand.Ladder]:
        return demand.draw(kind, count[kind], seed)

    return {
        "verifier": demand.verifier(base),
        "adversarial": demand.adversarial(drawn("adversarial"), seed),
        "plain": demand.plain(plain),
        **{f"changed:{name}": demand.changed(name, plain, seed) for name in demand.CHANGES},
        "lengths": demand.lengths(base[: count["lengths"]]),
        "shells": demand.shells(drawn("shells"), seed),
        "ties": demand.ties(drawn("ties"), seed),
        "groups": demand.groups(base[: count["groups"]]),
    }


def own_tasks(seed: int, size: int) -> list[fresh.Drawn]:
    """The tasks that the judge's own model is to answer."""
    return fresh.draw("own", sizes(size)["own"], seed)


def with_given(
    benchmark: Benchmark,
    *,
    pairs: Mapping[str, Sequence[Pair]] | None = None,
    people: People | None = None,
    own: Sequence[Pair] = (),
) -> Benchmark:
    """Return the benchmark with what comes from outside. Given adversarial pairs replace ours."""
    sets = {name: tuple(found) for name, found in (pairs or {}).items()}
    if people is not None and people.labelled_pairs:
        sets["people"] = people.labelled_pairs
    if own:
        sets["own"] = tuple(own)
    given = tuple(name for name in GIVEN if name in sets)
    return replace(
        benchmark, sets={**benchmark.sets, **sets}, given=given, people=people or People()
    )


def is_complete(benchmark: Benchmark) -> bool:
    """Whether every set that follows from the seed is there, whole and unchanged."""
    made = build(benchmark.seed, benchmark.size, benchmark.about)
    return set(benchmark.sets) - set(benchmark.given) == set(made.sets) - set(
        benchmark.given
    ) and all(
        benchmark.sets[name] == pairs
        for name, pairs in made.sets.items()
        if name not in benchmark.given
    )


def code_of_benchmark() -> str:
    """A hash of the code that makes the pairs: other code makes other pairs of the same seed."""
    hashes = [file_hash(f"treadle.judge.benchmark.{name}") for name in MODULES]
    return hashlib.sha256(json.dumps(hashes).encode()).hexdigest()[:16]


def to_blobs(benchmark: Benchmark) -> tuple[bytes, bytes]:
    """Encode as Parquet: pairs and scored answers, and labels."""
    rows = [
        (name, p.name, p.request, p.answer_1, p.answer_2, p.label, p.own)
        for name, pairs in benchmark.sets.items()
        for p in pairs
    ]
    people = benchmark.people
    rows += [("labelled", p.name, p.request, p.answer_1, p.answer_2, None, p.own) for p in people.pairs]  # fmt: skip
    rows += [("scored", i.name, i.request, i.answer, None, None, None) for i in people.items]  # type: ignore[misc]
    labels = [(x.content, x.annotator, x.value, x.when) for x in people.labels]
    return (
        to_parquet(pl.DataFrame(rows, schema=PAIR_SCHEMA, orient="row")),
        to_parquet(pl.DataFrame(labels, schema=LABEL_SCHEMA, orient="row")),
    )


def from_blobs(
    seed: int, size: int, about: About, given: tuple[str, ...], pairs: bytes, labels: bytes
) -> Benchmark:
    """Decode what `to_blobs` wrote.

    Raises:
        DataError: these are other blobs.
    """
    try:
        asked, told = (
            from_parquet(blob).select(pl.col(name).cast(kind) for name, kind in schema.items())
            for blob, schema in ((pairs, PAIR_SCHEMA), (labels, LABEL_SCHEMA))
        )
    except pl.exceptions.PolarsError as error:
        raise DataError(
            f"no pairs or labels of a benchmark: {str(error).splitlines()[0]}"
        ) from error
    sets: dict[str, list[Pair]] = {}
    items: list[Item] = []
    for name, *rest in asked.iter_rows():
        if name == "scored":
            items.append(Item(*rest[:3]))
        else:
            sets.setdefault(name, []).append(Pair(*rest))
    labelled = tuple(sets.pop("labelled", ()))
    said = tuple(Label(*row) for row in told.iter_rows())
    known = {name: tuple(found) for name, found in sets.items()}
    return Benchmark(seed, size, known, given, People(labelled, tuple(items), said), about)
