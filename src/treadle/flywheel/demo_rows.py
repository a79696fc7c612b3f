"""Questions about documented objects, each with an answer taken from the documentation.

    {"module": "shutil", "form": "summary", "prompt": "What does `shutil.which` do?",
     "completion": "Given a command, mode, and a PATH string, return the path which …"}

Objects are dealt out to training, target and evaluation before any question is written, so that no
evaluation item is a training row in other words. Every question of an object has an answer of its
own: the first sentence, the sentences after it, the signature, the import line. All choices come
from hashes of the seed and the object's name.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from treadle.errors import DataError
from treadle.flywheel.demo_docs import Documented
from treadle.text.words import hash_words, ngrams

VERBS = frozenset({
    "get", "set", "create", "read", "remove", "add", "convert", "write", "send", "parse",
    "print", "test", "close", "make", "open", "check", "change", "generate", "construct",
    "encode", "execute", "run", "call", "decode", "copy", "register", "delete", "find", "start",
    "append", "determine", "stop", "clear", "compute", "retrieve", "insert", "flush", "extract",
    "resolve", "mark", "update", "truncate", "split", "compare", "put", "replace", "process",
    "rename", "expand", "load", "reset", "schedule", "log", "display", "receive", "import",
    "release", "translate", "escape", "compress", "quote", "acquire", "raise", "compile",
    "connect", "disassemble", "launch", "evaluate", "wait", "format", "list", "join",
})  # fmt: skip
PHRASES: dict[str, tuple[str, ...]] = {
    "summary": (
        "What does `{name}` do?", "Explain `{name}` in one sentence.", "What is `{name}` for?",
        "Describe the {kind} `{name}` briefly.", "In Python, what is `{name}`?",
        "I came across `{name}`. What is it?", "Summarise the {kind} `{name}`.",
    ),
    "find": (
        "Which {kind} of `{module}` does this describe? {summary}",
        "Name the {kind} in `{module}` that is documented so: {summary}",
        "{summary} Which {kind} of the module `{module}` is meant?",
    ),
    "how": (
        "How do I {task}?", "With `{module}`, how can I {task}?", "I want to {task}. What do I use?",
        "What is the way to {task} in Python?",
    ),
    "details": (
        "What else should I know about `{name}`?", "Tell me more about `{name}`.",
        "What does the documentation of `{name}` add?", "Which details matter for `{name}`?",
        "Go on about `{name}`: how does it behave?",
    ),
    "signature": (
        "What is the signature of `{name}`?", "Which parameters does `{name}` take?",
        "How is `{name}` called?", "List the arguments of `{name}`.",
    ),
    "import": (
        "How do I import `{last}` from `{module}`?", "Write the import line for `{name}`.",
        "I need `{last}` of the module `{module}`. How do I import it?",
    ),
}  # fmt: skip
SHARED_WORDS = 10  # fewer than the 13 of a usual contamination check
SHORT_FORMS = ("summary", "find", "how")


@dataclass(frozen=True, slots=True)
class DemoRow:
    """A row of the demo before it has an id. `about` is the object that it asks about."""

    about: str
    module: str
    form: str
    prompt: str
    completion: str

    @property
    def text(self) -> str:
        return f"{self.prompt}\n{self.completion}"


@dataclass(frozen=True, slots=True)
class Split:
    """Rows for training, for the target capability, and for evaluation."""

    train: tuple[DemoRow, ...]
    dev: tuple[DemoRow, ...]
    heldout: tuple[DemoRow, ...]


def draw(seed: int, *names: object) -> int:
    """Return a number derived from the seed and these names, on any machine alike."""
    text = "/".join(str(part) for part in (seed, *names))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")


def ranked(
    rows: Sequence[DemoRow], seed: int, *names: object, fits: Callable[[DemoRow], bool]
) -> list[int]:
    """Return positions of the rows that fit, in an order that seed and content decide."""
    positions = [i for i, row in enumerate(rows) if fits(row)]
    return sorted(positions, key=lambda i: (draw(seed, *names, rows[i].text), i))


def write_rows(
    objects: Sequence[Documented], seed: int, *, train: int, dev: int, heldout: int
) -> Split:
    """Deal the objects out, then ask about them: one question an item in `dev` and `heldout`.

    Raises:
        DataError: there are too few objects for as many rows.
    """
    dealt = sorted(objects, key=lambda one: (draw(seed, "split", one.name), one.name))
    items = [one for one in dealt if len(one.summary.split()) <= 30]  # cheap to evaluate
    held, target = items[:heldout], items[heldout : heldout + dev]
    apart = {one.name for one in (*held, *target)}
    short = [[_main_question(one, seed) for one in part] for part in (target, held)]
    asked = [row for one in dealt if one.name not in apart for row in questions(one, seed)]
    asked = _unlike(asked, [row for part in short for row in part])
    asked.sort(key=lambda row: (draw(seed, "train", row.text), row.about, row.form))
    if len(asked) < train or len(target) < dev:
        raise DataError(
            f"{train + dev + heldout} rows asked for, and the documentation of this Python gives "
            f"{len(asked) + len(apart)}. Ask for fewer rows."
        )
    return Split(tuple(asked[:train]), *map(tuple, short))


def _unlike(rows: list[DemoRow], items: list[DemoRow]) -> list[DemoRow]:
    """Drop rows that ask the same, and those whose wording comes close to an item's by chance."""
    taken = set(ngrams(hash_words(item.text for item in items), SHARED_WORDS).values.tolist())
    runs = ngrams(hash_words(row.text for row in rows), SHARED_WORDS)
    seen, kept = {item.prompt for item in items}, []
    for row, start, end in zip(rows, runs.bounds, runs.bounds[1:], strict=False):
        if row.prompt not in seen and taken.isdisjoint(runs.values[start:end].tolist()):
            kept.append(row)
        seen.add(row.prompt)
    return kept


def questions(one: Documented, seed: int) -> Iterator[DemoRow]:
    """Yield every question about an object that has an answer of its own."""
    main = _main_question(one, seed)
    yield main
    if one.details:
        yield _ask(one, "details", one.details, seed)
    if main.form == "summary" and len(re.findall(r"\w+", one.signature)) >= 2:
        yield _ask(one, "signature", f"`{one.name}{one.signature}`", seed)
    if one.is_importable and draw(seed, "import", one.name) % 4 == 0:
        line = f"from {one.module} import {_last(one)}"
        yield _ask(one, "import", line, seed)


def _main_question(one: Documented, seed: int) -> DemoRow:
    """Ask for the summary, or for the object that the summary describes."""
    form = SHORT_FORMS[draw(seed, "form", one.name) % len(SHORT_FORMS)]
    if form == "how" and (_task(one) is None or not one.signature):
        form = "summary"
    if form == "find" and one.kind == "module":
        form = "summary"
    name = f"`{one.name}{one.signature}`"
    answer = {"summary": one.summary, "find": name, "how": f"Use {name}."}[form]
    return _ask(one, form, answer, seed)


def _ask(one: Documented, form: str, answer: str, seed: int) -> DemoRow:
    phrases = PHRASES[form]
    phrase = phrases[draw(seed, "phrase", form, one.name) % len(phrases)]
    prompt = phrase.format(
        name=one.name,
        module=one.module,
        kind=one.kind,
        summary=one.summary,
        task=_task(one),
        last=_last(one),
    )
    return DemoRow(one.name, one.module, form, prompt, answer)


def _last(one: Documented) -> str:
    return one.name.rsplit(".", 1)[-1]


def _task(one: Documented) -> str | None:
    """Turn `Returns the length of x.` into `get the length of x`; None if it names no task."""
    first, _, rest = one.summary.rstrip(".!").partition(" ")
    word = first.lower()
    for verb in (word, word.removesuffix("s"), word.removesuffix("es")):
        task = "get" if verb == "return" else verb
        if task in VERBS and rest and ". " not in rest:
            return f"{task} {rest}"
    return None
