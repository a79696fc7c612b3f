"""Plant defects and hidden tasks in a pool of real rows, each one declared.

    shuffled        the reply of another row of the same source
    near_duplicate  a copy of a clean row: one word, 5% or 15% of the words of its reply changed
    contaminated    an evaluation item: as it is, respaced, in other case, in a longer text, edited
    hidden          rows of a task that the pool is searched for

Which rows get which is decided by hashes of the seed and the row, so that the same data give the same
pool anywhere. No row has two defects, and the row that a copy repeats has none.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from treadle.data.pool import Pool
from treadle.data.randomness import derived_rng, draw
from treadle.data.row import Message, Row
from treadle.flywheel.demo_defects import FRAMES, VARIANTS, edit
from treadle.flywheel.demo_rows import DemoRow

CLEAN, SHUFFLED, COPY, LEAK = "clean", "shuffled", "near_duplicate", "contaminated"
COPIES = ("one word", "5% of words", "15% of words")
LEAKS = ("as it is", "respaced", "other case", "in a longer text", "10% of words changed")
LEAST_WORDS = 24


@dataclass(frozen=True)
class Planted:
    """The pool and what is known of it, by row id."""

    pool: Pool
    kinds: Mapping[str, str]
    """clean, shuffled, near_duplicate, contaminated, or the name of a hidden task."""
    ways: Mapping[str, str]
    """How a near duplicate or a contaminated row was made."""
    copies: Mapping[str, str]
    """Near duplicate → the row that it repeats."""
    sources: Mapping[str, str]
    """Row → a source of the base; a hidden row is given one too, or its source would betray it."""
    items: Pool
    """The evaluation set that contaminated rows come from."""
    targets: Mapping[str, Pool] = field(default_factory=dict)
    """Task → rows of the same task that are not in the pool."""

    def ids(self, kind: str) -> list[str]:
        return [key for key, found in self.kinds.items() if found == kind]


def pair(prompt: str, reply: str) -> Row:
    return Row("chat", (Message("user", prompt), Message("assistant", reply, trains=True)))


def asked(row: Row) -> str:
    """The text of a row's prompt."""
    return "\n".join(turn.content for turn in row.prompt)


def ordered(rows: Sequence[Row], *names: object) -> list[Row]:
    """Return rows in an order of chance that names and content decide."""
    key = derived_rng(*names).bytes(16)
    return [rows[i] for i in draw([row.id for row in rows], key)]


@dataclass
class _Bed:
    """The pool while things are being planted; by row id, but for `rows`."""

    seed: int
    vocabulary: Sequence[str]
    rows: dict[str, Row] = field(default_factory=dict)
    kinds: dict[str, str] = field(default_factory=dict)
    ways: dict[str, str] = field(default_factory=dict)
    copies: dict[str, str] = field(default_factory=dict)
    sources: dict[str, str] = field(default_factory=dict)

    def add(self, row: Row, kind: str, source: str, way: str = "") -> None:
        self.rows[row.id], self.kinds[row.id], self.sources[row.id] = row, kind, source
        if way:
            self.ways[row.id] = way

    def shuffle(self, rows: Sequence[Row], source: str) -> None:
        """Hand each reply on to the next row; one that gets an equal reply is left out."""
        for row, other in zip(rows, [*rows[1:], *rows[:1]], strict=True):
            if other.reply != row.reply:
                self.add(pair(asked(row), other.reply), SHUFFLED, source)

    def repeat(self, rows: Sequence[Row], count: int) -> None:
        """Add near copies of the first rows that are long enough."""
        for row in rows:
            way = COPIES[len(self.copies) % len(COPIES)]
            copy = _copy(row, way, self.vocabulary, self.seed)
            if copy is not None and len(self.copies) < count:
                self.add(copy, COPY, self.sources[row.id], way)
                self.copies[copy.id] = row.id

    def leak(self, items: Sequence[Row], source: Mapping[str, str]) -> None:
        """Add rows that hold these evaluation items, each in the next way."""
        for n, row in enumerate(items):
            way = LEAKS[n % len(LEAKS)]
            self.add(_leak(row, way, n, self.vocabulary, self.seed), LEAK, source[row.id], way)


def plant(
    base: Mapping[str, Sequence[Row]],
    hidden: Mapping[str, Sequence[Row]],
    *,
    homes: Mapping[str, str],
    rows: int,
    shuffled: float = 0.1,
    copies: float = 0.05,
    leaks: float = 0.05,
    task: float = 0.05,
    items: int = 200,
    targets: int = 30,
    seed: int = 0,
) -> Planted:
    """Make a pool of `rows` rows in which each kind has the given share (`task`: each hidden task).

    Args:
        base: real rows by source.
        hidden: rows by task; none of them should be in `base`.
        homes: in which source each task hides; by default in the first.
        items: rows of the evaluation set, which are taken from the base.
        targets: rows of each task that are kept apart.

    Raises:
        ValueError: there are too few rows.
    """
    origin = {row.id: name for name, group in base.items() for row in group}
    mixed = ordered([row for group in base.values() for row in group], seed, "base")
    spoilt, repeated, leaked, each = (
        round(part * rows) for part in (shuffled, copies, leaks, task)
    )
    clean = rows - spoilt - repeated - leaked - each * len(hidden)
    if clean < repeated or len(mixed) < items + spoilt + clean or leaked > items:
        raise ValueError(f"{len(mixed)} rows are too few for a pool of {rows} with {items} items.")
    heldout, mixed = mixed[:items], mixed[items:]
    words = sorted({word for row in mixed for word in re.findall(r"[a-z]{3,}", row.text)})
    bed = _Bed(seed, words)
    for row in mixed[spoilt : spoilt + clean]:
        bed.add(row, CLEAN, origin[row.id])
    for name in base:
        bed.shuffle([row for row in mixed[:spoilt] if origin[row.id] == name], name)
    bed.repeat(ordered(mixed[spoilt : spoilt + clean], seed, "copies"), repeated)
    bed.leak(ordered(heldout, seed, "leaks")[:leaked], origin)
    drawn = {name: ordered(found, seed, "hidden", name) for name, found in hidden.items()}
    for name, found in drawn.items():
        for row in found[targets : targets + each]:
            bed.add(row, name, homes.get(name, next(iter(base))))
    return Planted(
        pool=Pool.of(bed.rows.values()),
        kinds=bed.kinds,
        ways=bed.ways,
        copies=bed.copies,
        sources=bed.sources,
        items=Pool.of(heldout),
        targets={name: Pool.of(found[:targets]) for name, found in drawn.items()},
    )


def _copy(row: Row, way: str, vocabulary: Sequence[str], seed: int) -> Row | None:
    """Return a near duplicate; None if the row is too short to stay alike."""
    if len(row.text.split()) < LEAST_WORDS:
        return None
    if way == COPIES[0]:
        found = edit(_demo(row), seed)
        return None if found is None else pair(found.prompt, found.completion)
    return pair(asked(row), replaced(row.reply, float(way.split("%")[0]) / 100, vocabulary, seed))


def _leak(row: Row, way: str, n: int, vocabulary: Sequence[str], seed: int) -> Row:
    """Return a row that holds an evaluation item."""
    if way == LEAKS[3]:
        question, reply = FRAMES[n % len(FRAMES)]
        return pair(question.format(row.text.replace("\n", " ")), reply)
    if way == LEAKS[4]:
        edited = (replaced(text, 0.1, vocabulary, seed) for text in (asked(row), row.reply))
        return pair(*edited)
    copy = VARIANTS[LEAKS.index(way)](_demo(row))
    return pair(copy.prompt, copy.completion)


def _demo(row: Row) -> DemoRow:
    return DemoRow("", "", "", asked(row), row.reply)


def replaced(text: str, rate: float, vocabulary: Sequence[str], seed: int) -> str:
    """Replace this share of the words, at least one, by words of other rows; white space stays."""
    parts = re.split(r"(\s+)", text)
    places = [i for i, part in enumerate(parts) if part and not part.isspace()]
    rng: np.random.Generator = derived_rng(seed, "replaced", text)
    count = min(len(places), max(1, round(rate * len(places))))
    for i in sorted(rng.choice(len(places), count, replace=False).tolist()):
        parts[places[i]] = vocabulary[int(rng.integers(len(vocabulary)))]
    return "".join(parts)
