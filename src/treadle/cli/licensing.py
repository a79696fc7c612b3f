"""What the commands about judges do, apart from reading options and printing."""

from __future__ import annotations

import getpass
import json
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from treadle.cli.live import Live
from treadle.errors import DataError, RecipeError
from treadle.judge.benchmark import own, whole
from treadle.judge.figures.ppi import FEWEST_LABELS, labels_to_decide, powered_mean
from treadle.judge.figures.proportions import Figure
from treadle.judge.figures.verdicts import UNSCORED
from treadle.judge.figures.win_rate import win_rate
from treadle.judge.labels.book import LabelBook
from treadle.judge.labels.files import read_given, read_pairs, read_people
from treadle.judge.labels.people import People
from treadle.judge.licensing import checking
from treadle.judge.licensing.examination import Examination, figure
from treadle.judge.licensing.licence import Licence, earn, licence_path
from treadle.judge.model import unlicensed as leave
from treadle.judge.rubric import read_rubric
from treadle.machinery.disk import Disk, explained
from treadle.machinery.store import Store
from treadle.models.endpoint import Endpoint

KINDS = ("pairs", "scores")


@dataclass(frozen=True)
class Asked:
    """What the user wants examined."""

    rubric: str
    pairs: Path | None
    people: Path | None
    fresh: int
    own: bool
    seed: int | None
    by: str
    store: Path


def examine(endpoint: Endpoint, asked: Asked, live: Live) -> tuple[Licence, Examination, Path]:
    """Build the benchmark, ask it, and write the licence.

    The seed is written down before the first call and forgotten with the licence, so an interrupted
    examination goes on with the same questions.
    """
    rubric = read_rubric(asked.rubric)
    judge = checking.judge_of(endpoint, rubric)
    if rubric.about == "request":
        _refuse_answers(asked, rubric.name)
    given = read_given(asked.pairs) if asked.pairs is not None else {}
    people = _people(asked) if rubric.about == "answer" else None
    path = licence_path(asked.store, judge.identity)
    begun = path.with_suffix(".open.json")
    seed = _seed(asked, begun)
    benchmark = whole.build(seed, asked.fresh, rubric.about)
    written = []
    if asked.own and rubric.about == "answer":
        tasks = whole.own_tasks(seed, asked.fresh)
        replies = own.written(endpoint, tasks, on_progress=lambda p: live("own answers", p))
        written = own.own_pairs(tasks, replies)
    benchmark = whole.with_given(benchmark, pairs=given, people=people, own=written)
    licence, exam = earn(
        judge, benchmark, store=Store(asked.store), scorer=checking.scorer_of(judge),
        by=asked.by or _user(), rubric=rubric.model_dump(mode="json", exclude_unset=True),
        on_progress=live,
    )  # fmt: skip
    Disk().remove(begun)
    return licence, exam, path


def _refuse_answers(asked: Asked, rubric: str) -> None:
    """Refuse what says which answer is better, where requests are judged.

    Raises:
        RecipeError: there is some.
    """
    given = {"--pairs": asked.pairs, "--people": asked.people}
    if names := [name for name, path in given.items() if path is not None]:
        raise RecipeError(
            f"{' and '.join(names)}: these hold answers and what is known of them, and the rubric {rubric} is "
            "about requests. Leave them out: it is examined on requests that ask for more or less."
        )


def _people(asked: Asked) -> People | None:
    """Return the labels of the file, which the store keeps; without one, what the store has."""
    book = LabelBook(asked.store)
    if asked.people is not None:
        people = read_people(asked.people)
        book.add(people, asked.people.name)
        return people
    return book.read("pairs") or book.read("scores")


def _seed(asked: Asked, begun: Path) -> int:
    """Return the seed: the one given, that of an examination that did not end, or a new one."""
    seed = asked.seed
    if seed is None and begun.is_file():
        with explained(begun):
            text = begun.read_text(encoding="utf-8")
        try:
            seed = int(json.loads(text)["seed"])
        except (ValueError, KeyError, TypeError):  # half a file, or somebody's: begin anew
            seed = None
    if seed is None:
        seed = secrets.randbelow(2**31)
    Disk().publish(begun, json.dumps({"seed": seed}).encode())
    return seed


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return ""


def compared(
    endpoint: Endpoint, rubric_name: str, path: Path, store: Path, live: Live, *, unlicensed: bool
) -> dict[str, Any]:
    """Judge pairs of two systems, and estimate how often the first wins.

    Raises:
        LicenceError: the judge may not even break ties, and `unlicensed` is not said.
    """
    rubric = read_rubric(rubric_name)
    judge = checking.KINDS[checking.judge_of(endpoint, rubric).identity.kind](endpoint, rubric)
    pairs, people = read_pairs(path)
    if len(pairs) < 2:
        raise DataError(f"{path}: holds one pair. A win rate needs several.")
    with leave(unlicensed) as permit:
        if unlicensed:
            permit.note(endpoint)
        else:
            checking.require(endpoint, judge.identity, "break_ties", store)
        verdicts = judge.compare(pairs, on_progress=lambda p: live("pairs", p))
    known = verdicts.where(verdicts.is_scored)
    assert known.length_1 is not None
    assert known.length_2 is not None
    said = _wins(known.settled)
    rate = win_rate(said, known.length_1.astype(float), known.length_2.astype(float))
    estimates = [_line("as judged", rate.raw), _line("as judged, at equal length", rate.controlled)]
    notes = []
    if unread := len(pairs) - len(known):
        notes.append(f"{unread:,} pairs got no verdict that could be read, and are left out.")
    if not rate.controlled.is_known:
        notes.append("At equal length nothing can be said: length or one side decides every pair.")
    majority = {pair.name: pair.label for pair in people.labelled_pairs}
    labels = np.array([majority.get(name, UNSCORED) for name in known.pair], dtype=np.int64)
    more, told = _with_people(labels, said)
    return {
        "pairs": len(pairs), "judged": len(known), "labelled": int((labels != UNSCORED).sum()),
        "estimates": [*estimates, *more], "notes": [*notes, *told], **permit.as_json(),
    }  # fmt: skip


def _with_people(
    labels: np.typing.NDArray[np.int64], said: np.typing.NDArray[np.float64]
) -> tuple[list[dict[str, Any]], list[str]]:
    """Estimate what people would say of all pairs, where enough labels are there."""
    is_labelled = labels != UNSCORED
    count = int(is_labelled.sum())
    if count < FEWEST_LABELS or (~is_labelled).sum() < 2:
        why = (
            f"{count:,} labels of people: with {FEWEST_LABELS} or more, and pairs without one, these and the "
            "verdicts make one estimate that the judge's bias does not move (PPI++)."
        )
        return [], [why]
    people = _wins(labels[is_labelled])
    parts = (people, said[is_labelled], said[~is_labelled])
    found = powered_mean(*parts)
    needed = labels_to_decide(*parts)
    lines = [
        _line("by people alone", found.people_only),
        _line("by people and the judge", found.figure),
    ]
    if needed.is_decided:
        return lines, ["Go by the last line: it is decided which system people prefer."]
    if needed.with_judge is None:
        more = "no number of labels would decide; more pairs have to be judged"
    else:
        more = f"about {max(0, needed.with_judge - count):,} more labels would decide"
    alone = "" if needed.alone is None else f" ({max(0, needed.alone - count):,} without the judge)"
    return lines, [f"Go by the last line. Not decided: if it stays as it is, {more}{alone}."]


def _wins(verdict: np.typing.NDArray[np.int64]) -> np.typing.NDArray[np.float64]:
    return np.where(verdict == 0, 0.5, (verdict == 1).astype(float))


def _line(name: str, found: Figure) -> dict[str, Any]:
    told = figure(found)
    return {
        "estimate": name,
        **{k: told[k] for k in ("value", "low", "high")},
        "pairs": told["items"],
    }


def labelled(file: Path | None, store: Path) -> dict[str, Any]:
    """Keep the labels of a file, if one is given, and say what is here."""
    book = LabelBook(store)
    added = book.add(read_people(file), file.name) if file is not None else None
    kept = []
    for kind in KINDS:
        people = book.read(kind)
        if people is None:
            continue
        ceiling = people.ceiling()
        kept.append(
            {"kind": kind, "things": len(people.pairs) + len(people.items),
             "labels": len(people.labels), "people": len({x.annotator for x in people.labels}),
             "split": people.split, "changed": people.changed_minds,
             "alpha": None if ceiling is None else ceiling.alpha,
             "one_against_rest": None if ceiling is None else ceiling.one_against_rest}
        )  # fmt: skip
    return {"added": added, "kept": kept}
