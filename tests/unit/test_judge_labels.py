"""Labels of people: read from files with clear errors, kept once, and held against each other."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from treadle.errors import DataError, StoreError
from treadle.judge.figures.agreement import cohen_kappa, krippendorff_alpha
from treadle.judge.labels.book import LabelBook
from treadle.judge.labels.files import read_given, read_pairs, read_people
from treadle.judge.labels.people import majority
from treadle.machinery.lock import only_writer

TEXTS = {"request": "2 + 2?", "answer_1": "4", "answer_2": "5"}


def put(folder: Path, *lines: dict[str, Any], name: str = "labels.jsonl") -> Path:
    path = folder / name
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def test_a_pair_may_be_labelled_by_several_people_by_name_alone_and_in_any_order(
    tmp_path: Path,
) -> None:
    path = put(
        tmp_path,
        {"pair": "q", "label": 2, "annotator": "ben"},
        {"pair": "q", **TEXTS, "label": 1, "annotator": "ana", "when": "2026-01-01"},
        {"pair": "q", "label": "1", "annotator": "cem"},
        {"pair": "r", **TEXTS, "answer_2": "6", "label": "tie", "annotator": "ana"},
    )
    people = read_people(path)
    assert [(pair.name, pair.label) for pair in people.labelled_pairs] == [("q", 1), ("r", 0)]
    assert {label.annotator for label in people.labels} == {"ana", "ben", "cem"}


def test_csv_says_the_same_as_jsonl(tmp_path: Path) -> None:
    lines = [{**TEXTS, "label": "1", "annotator": who, "when": "2026-01-01"} for who in "ab"]
    path = tmp_path / "labels.csv"
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, lines[0])
        writer.writeheader()
        writer.writerows(lines)
    assert read_people(path) == read_people(put(tmp_path, *lines))


def test_the_later_label_of_one_person_counts_and_a_changed_mind_is_told(tmp_path: Path) -> None:
    line = {**TEXTS, "annotator": "ana"}
    people = read_people(
        put(
            tmp_path,
            {**line, "label": 2, "when": "2026-02-01"},
            {**line, "label": 1, "when": "2026-01-01"},
        )
    )
    assert people.labelled_pairs[0].label == 2
    assert people.changed_minds == 1


def test_where_people_are_split_there_is_no_label(tmp_path: Path) -> None:
    assert majority([1, 2]) is None
    assert majority([1, 2, 0]) is None
    assert majority([1, 1, 2]) == 1
    assert majority([]) is None
    people = read_people(
        put(tmp_path, *({**TEXTS, "label": i + 1, "annotator": str(i)} for i in range(2)))
    )
    assert people.labelled_pairs == ()
    assert people.split == 1


def test_the_ceiling_is_that_of_slow_loops(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    truth = rng.integers(1, 3, 80)
    said = {who: np.where(rng.random(80) < 0.85, truth, 3 - truth) for who in ("ana", "ben", "cem")}
    lines = [
        {**TEXTS, "request": f"{i}?", "label": int(values[i]), "annotator": who}
        for who, values in said.items()
        for i in range(80)
    ]
    ceiling = read_people(put(tmp_path, *lines)).ceiling()
    assert ceiling is not None
    assert (ceiling.annotators, ceiling.items) == (3, 80)
    assert ceiling.alpha == pytest.approx(
        krippendorff_alpha(np.array(list(said.values()), dtype=float))
    )
    kappas = []
    for who, mine in said.items():
        one, other = (values for name, values in said.items() if name != who)
        agreed = one == other  # the majority of the two others
        kappas.append(cohen_kappa(mine[agreed].tolist(), one[agreed].tolist()))
    assert ceiling.one_against_rest == pytest.approx(np.mean(kappas))


def test_one_person_has_no_ceiling(tmp_path: Path) -> None:
    assert read_people(put(tmp_path, {**TEXTS, "label": 1})).ceiling() is None


MISTAKES: dict[str, tuple[list[dict[str, Any]], str]] = {
    "empty": ([], "holds no line"),
    "label": ([{**TEXTS, "label": 3}], "labels.jsonl:1: label 3; it must be 1, 2, or 0"),
    "word": ([{**TEXTS, "label": "A"}], "label 'A'"),
    "bool": ([{**TEXTS, "label": True}], "label True"),
    "column": ([{"request": "?", "answer_1": "4", "label": 1}], "labels.jsonl:1: no answer_2. A pair needs"),
    "misspelt": ([{**TEXTS, "labelx": 1}], "unknown column 'labelx'. Did you mean 'label'"),
    "text": ([{**TEXTS, "answer_2": 5, "label": 1}], "answer_2 is int, not a text"),
    "name": ([{**TEXTS, "label": 1}, {"pair": "x", "label": 1}], "labels.jsonl:2: labels the pair 'x'"),
    "twice": ([{"pair": "q", **TEXTS, "label": 1}, {"pair": "q", **TEXTS, "request": "x", "label": 1}], "labels.jsonl:2: 'q' has other texts"),
    "date": ([{**TEXTS, "label": 1, "when": "yesterday"}], "when 'yesterday' is no date"),
    "nothing": ([{"label": 1}], "labels.jsonl:1: names nothing"),
    "unlabelled": ([TEXTS], "no line holds a label"),
    "score": ([{"request": "?", "answer": "4", "score": "good"}], "score 'good' is no number"),
    "wrong kind": ([{"request": "?", "answer": "4", "label": 1}], "a scored answer has a score, not a label"),
    "both": ([{**TEXTS, "label": 1}, {"request": "?", "answer": "4", "score": 1}], "holds pairs and scored answers"),
    "own": ([{**TEXTS, "label": 1, "own": 3}], "own 3; it numbers the answer"),
}  # fmt: skip


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_told_with_its_line(mistake: str, tmp_path: Path) -> None:
    lines, told = MISTAKES[mistake]
    with pytest.raises(DataError) as error:
        read_people(put(tmp_path, *lines))
    assert told in str(error.value)
    assert "\n" not in str(error.value)


def test_broken_json_and_a_missing_file_are_told(tmp_path: Path) -> None:
    path = put(tmp_path, {**TEXTS, "label": 1})
    path.write_text(path.read_text() + '{"request": \n')
    with pytest.raises(DataError, match=r"labels.jsonl:2: "):
        read_people(path)
    with pytest.raises(DataError, match="no such file"):
        read_people(tmp_path / "none.jsonl")


def test_given_pairs_have_one_label_each_and_not_only_ties(tmp_path: Path) -> None:
    sets = read_given(
        put(tmp_path, {**TEXTS, "label": 1, "own": 2}, {**TEXTS, "request": "x", "label": 2, "set": "adversarial"})
    )  # fmt: skip
    assert {name: [p.label for p in pairs] for name, pairs in sets.items()} == {
        "given": [1], "adversarial": [2],
    }  # fmt: skip
    assert sets["given"][0].own == 2
    for lines, told in (
        ([TEXTS], "has no label"),
        ([{**TEXTS, "label": 1}, {**TEXTS, "label": 2, "annotator": "b"}], "two different labels"),
        ([{**TEXTS, "label": 0}], "every pair of the set 'given' is a tie"),
        ([{**TEXTS, "label": 1, "set": "hard"}], "no set is called 'hard'"),
        ([{"request": "?", "answer": "4", "score": 1}], "holds scored answers"),
    ):
        with pytest.raises(DataError, match=told):
            read_given(put(tmp_path, *lines))


def test_pairs_to_compare_need_no_labels(tmp_path: Path) -> None:
    pairs, people = read_pairs(put(tmp_path, TEXTS, {**TEXTS, "request": "x", "label": 1}))
    assert len(pairs) == 2
    assert len(people.labelled_pairs) == 1
    with pytest.raises(DataError, match="holds no pairs"):
        read_pairs(put(tmp_path, {"request": "?", "answer": "4", "score": 1}))


def test_labels_are_kept_once_and_read_back_as_they_were(tmp_path: Path) -> None:
    first = read_people(
        put(tmp_path, *({**TEXTS, "label": 1, "annotator": who, "own": 1} for who in "ab"))
    )
    book = LabelBook(tmp_path / "store")
    assert book.read("pairs") is None
    assert book.add(first, "labels.jsonl") == 2
    before = (tmp_path / "store/labels/pairs.jsonl").read_bytes()
    assert book.add(first, "labels.jsonl") == 0
    more = read_people(put(tmp_path, {**TEXTS, "label": 2, "annotator": "c"}))
    assert book.add(more, "more.jsonl") == 1
    after = (tmp_path / "store/labels/pairs.jsonl").read_bytes()
    assert after.startswith(before)
    kept = book.read("pairs")
    assert kept is not None
    assert [(x.annotator, x.value) for x in kept.labels] == [("a", 1), ("b", 1), ("c", 2)]
    assert kept.pairs[0].own == 1
    scores = read_people(put(tmp_path, {"request": "?", "answer": "4", "score": 3.5}))
    assert book.add(scores, "scores.jsonl") == 1
    assert book.read("scores").mean_scores == {scores.items[0].name: 3.5}  # type: ignore[union-attr]


def test_two_processes_do_not_add_labels_at_once(tmp_path: Path) -> None:
    people = read_people(put(tmp_path, {**TEXTS, "label": 1}))
    book = LabelBook(tmp_path / "store")
    with only_writer(book.folder), pytest.raises(StoreError, match="another treadle process"):
        book.add(people, "labels.jsonl")
