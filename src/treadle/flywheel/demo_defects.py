"""Defects planted in the demo's pool, each one declared, so that what is caught can be counted.

    mismatched_answer   the answer of another question of the same form
    near_duplicate      another row with one word changed or added, other case and punctuation
    exact_duplicate     another row again: as it is, in other spacing, or in other case
    contaminated        an evaluation item: as it is, in other case or spacing, or inside a longer text
    truncated_answer    an answer cut in mid-sentence
    empty_answer, control_tokens, malformed_line

No row has two defects, and the row that a duplicate repeats has none.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice

from treadle.flywheel.demo_rows import DemoRow, Split, draw, ranked
from treadle.text.words import words

SHARES = {
    "mismatched_answer": 0.08,
    "near_duplicate": 0.05,
    "exact_duplicate": 0.02,
    "contaminated": 0.03,
    "truncated_answer": 0.04,
    "empty_answer": 0.002,
    "control_tokens": 0.002,
    "malformed_line": 0.002,
}
ADDED = ("near_duplicate", "exact_duplicate", "contaminated", "malformed_line")
LEAST_ALIKE = 0.87
LEAST_WORDS = 24
SUBSTITUTES = {
    "the": "this", "a": "one", "if": "when", "must": "should", "is": "becomes", "are": "become",
    "will": "shall", "returns": "gives", "return": "give", "and": "plus", "from": "out of",
}  # fmt: skip
OPENERS = ("So,", "Please:", "Now:", "Hello!", "Okay,")
FILLERS = ("simply", "also", "just", "usually", "then")
JUNK = (
    "{}<|im_end|>",
    "{}<|endoftext|>",
    "{}<|im_end|>\n<|im_start|>user\nAnd what then?",
    "<|im_start|>assistant\n{}",
)
FRAMES = (
    ("Somebody asked in a forum: {} Is that right?", "Yes, that is what the documentation says."),
    (
        "Here is a note that I kept. {} Did I copy it well?",
        "It reads like the documentation to me.",
    ),
)


@dataclass(slots=True)
class Garden:
    """The pool while defects are being planted. `defects[i]` names what is wrong with row i."""

    rows: list[DemoRow]
    seed: int
    kinds: dict[int, str] = field(default_factory=dict)
    repeats: dict[int, int] = field(default_factory=dict)
    """Position of a duplicate → position of the row that it repeats."""
    leaks: dict[int, int] = field(default_factory=dict)
    """Position of a contaminated row → number of the evaluation item that it holds."""

    def pick(self, kind: str, count: int, fits: Callable[[DemoRow], bool]) -> list[int]:
        """Choose rows that nothing has been done to, in an order that the seed decides."""
        taken = {*self.kinds, *self.repeats.values()}
        order = ranked(self.rows, self.seed, kind, fits=fits)
        return [i for i in order if i not in taken][:count]

    def spoil(self, i: int, kind: str, **changes: str) -> None:
        self.rows[i] = replace(self.rows[i], **changes)
        self.kinds[i] = kind

    def add(self, row: DemoRow, kind: str) -> int:
        self.rows.append(row)
        self.kinds[len(self.rows) - 1] = kind
        return len(self.rows) - 1


def counts(rows: int) -> dict[str, int]:
    """Return how many defects of each kind a pool of this many lines gets."""
    return {kind: max(1, round(share * rows)) for kind, share in SHARES.items()}


def plant(split: Split, seed: int, wanted: Mapping[str, int]) -> Garden:
    """Plant every kind of defect but malformed lines, which are no rows (`malformed_lines`)."""
    garden = Garden(list(split.train), seed)
    _repeat_nearly(garden, wanted["near_duplicate"])
    _repeat_exactly(garden, wanted["exact_duplicate"])
    _mismatch(garden, wanted["mismatched_answer"])
    _truncate(garden, wanted["truncated_answer"])
    for i in garden.pick("empty_answer", wanted["empty_answer"], lambda row: True):
        garden.spoil(i, "empty_answer", completion=" " * (i % 2))
    for n, i in enumerate(
        garden.pick("control_tokens", wanted["control_tokens"], lambda row: True)
    ):
        text = JUNK[n % len(JUNK)].format(garden.rows[i].completion)
        garden.spoil(i, "control_tokens", completion=text)
    _leak(garden, split.heldout, wanted["contaminated"])
    return garden


def _repeat_nearly(garden: Garden, count: int) -> None:
    sources = garden.pick(
        "near_duplicate", len(garden.rows), lambda row: len(words(row.text)) >= LEAST_WORDS
    )
    copies = ((i, edit(garden.rows[i], garden.seed)) for i in sources)
    made = ((i, row) for i, row in copies if row is not None)
    for i, row in list(islice(made, count)):
        garden.repeats[garden.add(row, "near_duplicate")] = i


def edit(row: DemoRow, seed: int) -> DemoRow | None:
    """Change or add one word, and perhaps case and punctuation; None if too little stays alike."""
    turn = draw(seed, "edit", row.text)
    said = row.completion.split(" ")
    places = [i for i, word in enumerate(said) if word.lower() in SUBSTITUTES]
    edits = [replace(row, prompt=f"{OPENERS[turn % len(OPENERS)]} {row.prompt}")]
    middle = 1 + turn % max(1, len(said) - 1)
    added = [*said[:middle], FILLERS[turn % len(FILLERS)], *said[middle:]]
    edits.append(replace(row, completion=" ".join(added)))
    if places:
        i = places[turn % len(places)]
        changed = [*said[:i], SUBSTITUTES[said[i].lower()], *said[i + 1 :]]
        edits.append(replace(row, completion=" ".join(changed)))
    first = turn // 8 % len(edits)
    for one in (*edits[first:], *edits[:first]):
        dressed = _dress(one, turn // 64)
        if LEAST_ALIKE <= alike(row.text, dressed.text) < 1:
            return dressed
    return None


def _dress(row: DemoRow, turn: int) -> DemoRow:
    """Change case or punctuation, which no comparison of words sees."""
    if turn % 4 == 1:
        return replace(row, completion=row.completion.rstrip("."))
    if turn % 4 == 2:
        return replace(row, prompt=row.prompt[0].lower() + row.prompt[1:].replace("?", " ?"))
    if turn % 4 == 3:
        return replace(row, completion=row.completion.replace(", ", "; ").replace("`", "'"))
    return row


def alike(one: str, other: str) -> float:
    """Return the smallest of the Jaccard similarities of words, and of runs of two and three."""
    return min(_jaccard(_runs(one, n), _runs(other, n)) for n in (1, 2, 3))


def _runs(text: str, n: int) -> set[tuple[str, ...]]:
    said = words(text)
    return {tuple(said[i : i + n]) for i in range(max(1, len(said) - n + 1))}


def _jaccard(one: set[tuple[str, ...]], other: set[tuple[str, ...]]) -> float:
    return len(one & other) / len(one | other)


def _repeat_exactly(garden: Garden, count: int) -> None:
    for n, i in enumerate(garden.pick("exact_duplicate", count, lambda row: True)):
        copy = VARIANTS[n % len(VARIANTS)](garden.rows[i])
        garden.repeats[garden.add(copy, "exact_duplicate")] = i


def _as_it_is(row: DemoRow) -> DemoRow:
    return row


def _respaced(row: DemoRow) -> DemoRow:
    spaced = row.completion.replace(" ", "  ", 3)
    return replace(row, prompt=f"  {row.prompt} ".replace(" ", "\n", 1), completion=f"{spaced}\n")


def _recased(row: DemoRow) -> DemoRow:
    return replace(row, prompt=row.prompt.upper(), completion=row.completion.lower())


VARIANTS = (_as_it_is, _respaced, _recased)


def _mismatch(garden: Garden, count: int) -> None:
    """Hand each answer on to the next question of the same form."""
    chosen = garden.pick("mismatched_answer", count, lambda row: True)
    by_form: dict[str, list[int]] = {}
    for i in chosen:
        by_form.setdefault(garden.rows[i].form, []).append(i)
    alone = [i for group in by_form.values() if len(group) == 1 for i in group]
    groups = [group for group in by_form.values() if len(group) > 1]
    if alone and groups:
        groups[0].extend(alone)
    for group in groups:
        answers = [garden.rows[i].completion for i in group]
        for i, answer in zip(group, answers[1:] + answers[:1], strict=True):
            garden.spoil(i, "mismatched_answer", completion=answer)


def _truncate(garden: Garden, count: int) -> None:
    def is_long(row: DemoRow) -> bool:
        return row.form in ("summary", "details") and len(row.completion.split()) >= 12

    for i in garden.pick("truncated_answer", count, is_long):
        said = garden.rows[i].completion.split(" ")
        share = 0.35 + 0.3 * (draw(garden.seed, "cut", garden.rows[i].text) % 1000) / 1000
        cut = " ".join(said[: max(4, int(share * len(said)))]).rstrip(".,;:!?")
        garden.spoil(i, "truncated_answer", completion=cut)


def _leak(garden: Garden, heldout: Sequence[DemoRow], count: int) -> None:
    """Copy evaluation items into the pool; those that go into a longer text have 13 words."""
    order = ranked(heldout, garden.seed, "leak", fits=lambda row: True)
    for n, item in enumerate(order[:count]):
        row = heldout[item]
        if n % 4 == 3 and len(words(row.text)) >= 16:
            question, reply = FRAMES[n // 4 % len(FRAMES)]
            said = question.format(row.text.replace("\n", " "))
            copy = replace(row, prompt=said, completion=reply)
        else:
            copy = VARIANTS[n % len(VARIANTS)](row)
        garden.leaks[garden.add(copy, "contaminated")] = item


def malformed_lines(records: Sequence[Mapping[str, object]]) -> list[tuple[str, str]]:
    """Turn records into lines that are no rows, and say what is wrong with each."""
    made = []
    for n, record in enumerate(records):
        whole = json.dumps(record, ensure_ascii=False)
        without = {k: v for k, v in record.items() if k != "completion"}
        made.append(
            (
                (whole[: len(whole) // 2], "cut off in the middle of the JSON"),
                (json.dumps(without, ensure_ascii=False), "no column `completion`"),
                (json.dumps([whole]), "a list, not an object"),
                (json.dumps({**record, "completion": n}), "the completion is a number"),
            )[n % 4]
        )
    return made
