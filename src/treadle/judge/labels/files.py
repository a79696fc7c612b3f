"""Read labelled pairs and scored answers from JSONL, CSV and what else rows come in.

    {"pair": "q1", "request": "…", "answer_1": "…", "answer_2": "…", "label": 1, "annotator": "ana"}
    {"pair": "q1", "label": 2, "annotator": "ben", "when": "2026-03-01"}        the same pair, by name
    {"item": "q1", "request": "…", "answer": "…", "score": 4, "annotator": "ana"}

A label is 1 or 2 for the better answer, 0 or "tie" for neither. One line holds one label; a pair that
several people labelled comes several times. Without `when`, the time of the file counts. A line that cannot be used ends the reading: a label that is
left out in silence changes the figures.
"""

from __future__ import annotations

import datetime
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from treadle.data.formats.raw import Raw
from treadle.data.formats.sources import expand, records
from treadle.errors import DataError, nearest
from treadle.judge.labels.people import Label, People, content
from treadle.judge.pairs import Item, Pair

Thing = TypeVar("Thing", Pair, Item)
PAIR_TEXTS = ("request", "answer_1", "answer_2")
ITEM_TEXTS = ("request", "answer")
COLUMNS = {
    *PAIR_TEXTS, *ITEM_TEXTS, "pair", "item", "label", "score", "annotator", "when", "own", "set",
    "system_1", "system_2", "came_from",
}  # fmt: skip
SETS = ("given", "adversarial")
UNNAMED = "unnamed"
LABELS = {"0": 0, "1": 1, "2": 2, "tie": 0}


@dataclass(slots=True)
class _Reading:
    """What was found so far, by name, with the place of each first line."""

    path: Path
    otherwise_when: str
    pairs: dict[str, Pair] = field(default_factory=dict)
    items: dict[str, Item] = field(default_factory=dict)
    labels: list[Label] = field(default_factory=list)
    sets: dict[str, str] = field(default_factory=dict)
    kinds: dict[str, int] = field(default_factory=dict)


def read_people(path: Path) -> People:
    """Read labels of people on pairs, or scores of people on answers.

    Raises:
        DataError: the file is empty or mixes both kinds, or a line cannot be used (named with its line).
    """
    found = _read(path)
    if not found.labels:
        raise DataError(
            f"{path}: no line holds a label. Give each pair a `label` (1, 2 or 0), or each answer a `score`."
        )
    return People(tuple(found.pairs.values()), tuple(found.items.values()), tuple(found.labels))


def read_given(path: Path) -> dict[str, list[Pair]]:
    """Read pairs whose right answer is known, by set: `given` (the default) or `adversarial`.

    Raises:
        DataError: the file is empty, a pair has no label or two, or a line cannot be used.
    """
    people = (found := _read(path)).pairs
    if found.items:
        raise DataError(f"{path}: holds scored answers. Pairs are wanted here: {_wanted('pair')}")
    labels = {label.content: label.value for label in found.labels}
    sets: dict[str, list[Pair]] = {}
    for name, pair in people.items():
        key = content(pair)
        values = {label.value for label in found.labels if label.content == key}
        if len(values) != 1:
            what = "no label" if not values else "two different labels"
            raise DataError(
                f"{path}: the pair {name!r} has {what}. What is known to be right has one; opinions of "
                "several people belong into --people."
            )
        known = Pair(pair.name, *_texts(pair), label=int(labels[key]), own=pair.own)
        sets.setdefault(found.sets.get(name, "given"), []).append(known)
    for name, pairs in sets.items():
        if not any(pair.label for pair in pairs):
            raise DataError(
                f"{path}: every pair of the set {name!r} is a tie. Accuracy needs pairs with a better answer."
            )
    return sets


def read_pairs(path: Path) -> tuple[list[Pair], People]:
    """Read pairs of two systems' answers, labelled or not, and the labels that some have.

    Raises:
        DataError: the file is empty, holds no pairs, or a line cannot be used.
    """
    found = _read(path)
    if not found.pairs:
        raise DataError(f"{path}: holds no pairs. {_wanted('pair')}")
    pairs = list(found.pairs.values())
    return pairs, People(tuple(pairs), (), tuple(found.labels))


def _texts(pair: Pair) -> tuple[str, str, str]:
    return pair.request, pair.answer_1, pair.answer_2


def _read(path: Path) -> _Reading:
    files = expand(path)
    changed = datetime.datetime.fromtimestamp(files[0].stat().st_mtime, datetime.UTC)
    found = _Reading(path, changed.strftime("%Y-%m-%dT%H:%M:%SZ"))
    lines = [raw for file in files for raw in records(file)]
    for raw in lines:  # texts first: a line with a name alone may stand before its pair
        _take_texts(found, raw)
    for raw in lines:
        _take_label(found, raw)
    if not lines:
        raise DataError(f"{path}: holds no line. {_wanted('pair')}")
    if found.pairs and found.items:
        raise DataError(
            f"{path}: holds pairs and scored answers. Write each kind into a file of its own."
        )
    return found


def _take_texts(found: _Reading, raw: Raw) -> None:
    where = f"{found.path}:{raw.line}"
    if raw.error is not None:
        raise DataError(f"{where}: {raw.error}")
    fields = raw.fields
    if unknown := [name for name in fields if name not in COLUMNS]:
        close = nearest(unknown[0], COLUMNS)
        if "Did you mean" in close:
            raise DataError(f"{where}: unknown column {unknown[0]!r}.{close}")
    if "answer_1" in fields or "answer_2" in fields:
        texts = [_text(fields, name, where) for name in PAIR_TEXTS]
        own = _own(fields, where)
        pair = Pair("", texts[0], texts[1], texts[2], own=own)
        name = _name(fields, "pair", content(pair), where)
        _keep(found.pairs, name, Pair(name, texts[0], texts[1], texts[2], own=own), where)
        found.sets[name] = _set(fields, where)
    elif "answer" in fields:
        request, answer = (_text(fields, name, where) for name in ITEM_TEXTS)
        name = _name(fields, "item", content(Item("", request, answer)), where)
        _keep(found.items, name, Item(name, request, answer), where)
    elif not _said(fields, "pair") and not _said(fields, "item"):
        raise DataError(f"{where}: names nothing that could be labelled. {_wanted('pair')}")


def _keep(known: dict[str, Thing], name: str, thing: Thing, where: str) -> None:
    if content(known.setdefault(name, thing)) != content(thing):
        raise DataError(
            f"{where}: {name!r} has other texts than before. Give each pair or answer a name of its own."
        )


def _take_label(found: _Reading, raw: Raw) -> None:
    where, fields = f"{found.path}:{raw.line}", raw.fields
    is_score = "answer" in fields or (_said(fields, "item") and not _said(fields, "pair"))
    column = "score" if is_score else "label"
    if not _said(fields, column):
        other = "label" if is_score else "score"
        if _said(fields, other):
            kind = "a scored answer" if is_score else "a pair"
            raise DataError(f"{where}: {kind} has a {column}, not a {other}.")
        return
    thing = _thing(found, fields, is_score, where)
    value = _score(fields, where) if is_score else _label(fields, where)
    who = str(fields.get("annotator") or UNNAMED).strip()
    found.labels.append(
        Label(content(thing), who, value, _when(fields, found.otherwise_when, where))
    )


def _thing(
    found: _Reading, fields: Mapping[str, object], is_score: bool, where: str
) -> Pair | Item:
    if is_score and "answer" in fields:
        texts = [_text(fields, name, where) for name in ITEM_TEXTS]
        return Item("", texts[0], texts[1])
    if not is_score and "answer_1" in fields:
        first, second, third = (_text(fields, name, where) for name in PAIR_TEXTS)
        return Pair("", first, second, third)
    kind = "item" if is_score else "pair"
    name = str(fields[kind])
    known: Mapping[str, Pair | Item] = found.items if is_score else found.pairs
    if name not in known:
        raise DataError(
            f"{where}: labels the {kind} {name!r}, and no line of the file holds its texts. {_wanted(kind)}"
        )
    return known[name]


def _said(fields: Mapping[str, object], name: str) -> bool:
    return fields.get(name) not in (None, "")


def _name(fields: Mapping[str, object], column: str, otherwise: str, where: str) -> str:
    name = fields.get(column)
    return otherwise if name in (None, "") else str(name)


def _text(fields: Mapping[str, object], name: str, where: str) -> str:
    if name not in fields or fields[name] is None:
        kind = "item" if "answer" in fields else "pair"
        raise DataError(f"{where}: no {name}. {_wanted(kind)}")
    value = fields[name]
    if not isinstance(value, str):
        raise DataError(f"{where}: {name} is {type(value).__name__}, not a text.")
    return value


def _label(fields: Mapping[str, object], where: str) -> float:
    value = fields["label"]
    word = str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)
    if isinstance(value, bool) or word.strip().lower() not in LABELS:
        raise DataError(f'{where}: label {value!r}; it must be 1, 2, or 0 (or "tie").')
    return LABELS[word.strip().lower()]


def _score(fields: Mapping[str, object], where: str) -> float:
    value = fields["score"]
    try:
        number = math.nan if isinstance(value, bool) else float(str(value))
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise DataError(f"{where}: score {value!r} is no number.")
    return number


def _own(fields: Mapping[str, object], where: str) -> int | None:
    if not _said(fields, "own"):
        return None
    word = str(fields["own"])
    if word not in ("0", "1", "2"):
        raise DataError(
            f"{where}: own {fields['own']!r}; it numbers the answer that the judge's own model wrote: "
            "1, 2, or 0 for neither."
        )
    return int(word)


def _set(fields: Mapping[str, object], where: str) -> str:
    name = str(fields.get("set") or "given")
    if name not in SETS:
        raise DataError(f"{where}: no set is called {name!r}.{nearest(name, SETS)}")
    return name


def _when(fields: Mapping[str, object], otherwise: str, where: str) -> str:
    if not _said(fields, "when"):
        return otherwise
    try:
        datetime.datetime.fromisoformat(str(fields["when"]))
    except ValueError as error:
        raise DataError(
            f"{where}: when {fields['when']!r} is no date. Write it as 2026-03-01 or 2026-03-01T12:00:00Z."
        ) from error
    return str(fields["when"])


def _wanted(kind: str) -> str:
    if kind == "item":
        return "An answer to score needs `request`, `answer` and `score`, and may have `item`, `annotator`, `when`."
    return (
        "A pair needs `request`, `answer_1`, `answer_2` and `label` (1, 2, or 0 for a tie), and may have `pair` "
        "(its name), `annotator`, `when`."
    )
