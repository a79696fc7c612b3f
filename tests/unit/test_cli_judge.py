"""The commands about judges: what they print, what they refuse, and what their page holds."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from command_line import treadle
from licensed import Knobs, KnownJudge
from treadle.judge.benchmark import fresh
from treadle.judge.benchmark.whole import Benchmark, build, with_given
from treadle.judge.labels.files import read_people
from treadle.judge.licensing.licence import earn
from treadle.judge.pairs import Pair
from treadle.judge.scripted_judge import ScriptedJudge, write_gold
from treadle.machinery.store import Store
from treadle.report.licence import licence_page

NOWHERE = ("--url", "http://127.0.0.1:9/v1", "--model", "m", "--store", "store")


def lines(path: Path, *rows: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


BAD_FILES: dict[str, tuple[list[dict[str, Any]], str]] = {
    "empty": ([], "holds no line"),
    "wrong label": ([{"request": "?", "answer_1": "a", "answer_2": "b", "label": 7}], "label 7"),
    "missing column": ([{"request": "?", "answer_1": "a", "label": 1}], "no answer_2"),
    "all ties": ([{"request": f"{i}", "answer_1": "a", "answer_2": "b", "label": 0} for i in range(5)],
                 "is a tie"),
    "no label": ([{"request": "?", "answer_1": "a", "answer_2": "b"}], "has no label"),
}  # fmt: skip


@pytest.mark.parametrize("kind", BAD_FILES)
def test_a_bad_file_of_pairs_is_one_paragraph_and_nothing_is_asked(
    kind: str, tmp_path: Path
) -> None:
    rows, said = BAD_FILES[kind]
    lines(tmp_path / "pairs.jsonl", *rows)
    told = treadle("judge", "license", *NOWHERE, "--pairs", "pairs.jsonl", cwd=tmp_path)
    assert told.returncode == 1
    assert said in told.stderr
    assert told.stderr.startswith("DataError pairs.jsonl")
    assert "Traceback" not in told.stderr


@pytest.mark.parametrize(
    ("words", "said", "code"),
    [
        (["--fresh", "5"], "at least 40", 2),
        (["--rubric", "helpfulx"], "Did you mean 'helpful'", 2),
        (["--rubric", "tags"], "names tags", 1),
        (["--wire", "morse"], "openai or anthropic", 2),
        (["--price-prompt", "1"], "--price-reply together", 2),
        (["--key-env", "NO_SUCH_KEY"], "NO_SUCH_KEY is not set", 2),
        (["--people", "none.csv"], "no such file", 1),
        (["--fresh", "40", "--no-own", "--budget-requests", "0"], "budget of 0 requests", 4),
    ],
)
def test_a_wrong_option_is_one_paragraph(
    words: list[str], said: str, code: int, tmp_path: Path
) -> None:
    told = treadle("judge", "license", *NOWHERE, *words, cwd=tmp_path)
    assert said in told.stderr.replace("\n", " ")
    assert told.returncode == code


def test_an_endpoint_whose_price_nobody_knows_is_not_asked(tmp_path: Path) -> None:
    told = treadle(
        "judge", "license", "--url", "https://example.invalid/v1", "--model", "m", cwd=tmp_path
    )
    assert told.returncode == 2
    assert "nobody knows what m at example.invalid costs" in told.stderr


def test_what_is_no_licence_is_not_shown(tmp_path: Path) -> None:
    told = treadle("judge", "show", "none.json", "--store", "store", cwd=tmp_path)
    assert told.returncode == 1
    assert "no licence is here" in told.stderr
    assert "no licences here" in treadle("judge", "show", "--store", "store", cwd=tmp_path).stdout


def test_labels_are_imported_and_counted(tmp_path: Path) -> None:
    pair = {"request": "?", "answer_1": "a", "answer_2": "b"}
    rows = [{**pair, "label": 1 + (who == "c"), "annotator": who} for who in "abc"]
    lines(tmp_path / "labels.jsonl", *rows)
    command = ("judge", "labels", "labels.jsonl", "--store", "store", "--json")
    found = json.loads(treadle(*command, cwd=tmp_path).stdout)
    assert found["added"] == 3
    assert found["kept"][0]["people"] == 3
    assert json.loads(treadle(*command, cwd=tmp_path).stdout)["added"] == 0
    lines(tmp_path / "labels.jsonl", {**pair, "label": 9})
    told = treadle(*command, cwd=tmp_path)
    assert told.returncode == 1
    assert "labels.jsonl:1: label 9" in told.stderr


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """A judge that knows 200 pairs, of which 80 are labelled; system 1 is better in 60% of them."""
    folder = tmp_path_factory.mktemp("compare")
    pairs = []
    for i, one in enumerate(fresh.draw("compared", 200, 3)):
        right, wrong = one.right, one.wrong
        first, second, label = (right, wrong, 1) if i % 5 < 3 else (wrong, right, 2)
        pairs.append(Pair(f"p{i}", one.task.request, first, second, label))
    texts = [
        {"pair": p.name, "request": p.request, "answer_1": p.answer_1, "answer_2": p.answer_2}
        for p in pairs
    ]
    gold = [{**x, "name": p.name, "label": p.label} for x, p in zip(texts, pairs, strict=True)]
    write_gold(folder / "gold.jsonl", gold)  # type: ignore[arg-type]
    labelled = [{**x, **({"label": p.label} if i < 80 else {})} for i, (x, p) in enumerate(zip(texts, pairs, strict=True))]  # fmt: skip
    lines(folder / "pairs.jsonl", *labelled)
    lines(folder / "few.jsonl", *labelled[:30], *texts[30:60])
    lines(folder / "one.jsonl", labelled[0])
    with ScriptedJudge(gold=folder / "gold.jsonl", accuracy=0.9) as server:
        yield server.url, folder


def compare(served: tuple[str, Path], file: str, *more: str) -> Any:
    url, folder = served
    return treadle(
        "judge", "compare", file, "--url", url, "--model", "m", "--store", "store", "--json", *more,
        cwd=folder,
    )  # fmt: skip


def test_two_systems_are_compared_with_people_and_at_equal_length(
    served: tuple[str, Path],
) -> None:
    told = compare(served, "pairs.jsonl", "--unlicensed")
    assert told.returncode == 0, told.stderr
    found = json.loads(told.stdout)
    by = {one["estimate"]: one for one in found["estimates"]}
    assert list(by) == [
        "as judged", "as judged, at equal length", "by people alone", "by people and the judge",
    ]  # fmt: skip
    powered = by["by people and the judge"]
    assert powered["low"] <= 0.6 <= powered["high"]
    alone = by["by people alone"]
    assert powered["high"] - powered["low"] < alone["high"] - alone["low"]
    assert found["labelled"] == 80
    assert found["unlicensed"][0]["model"] == "m"
    plain = treadle(
        "judge", "compare", "pairs.jsonl", "--url", served[0], "--model", "m", "--store", "store",
        "--unlicensed", cwd=served[1],
    )  # fmt: skip
    assert "Go by the last line" in plain.stdout
    assert "WITHOUT A LICENCE" in plain.stdout


def test_few_labels_make_no_estimate_and_one_pair_no_win_rate(served: tuple[str, Path]) -> None:
    found = json.loads(compare(served, "few.jsonl", "--unlicensed").stdout)
    assert [one["estimate"] for one in found["estimates"]] == [
        "as judged", "as judged, at equal length",
    ]  # fmt: skip
    assert any("30 labels of people: with 50 or more" in note for note in found["notes"])
    told = compare(served, "one.jsonl", "--unlicensed")
    assert told.returncode == 1
    assert "holds one pair" in told.stderr


def test_a_judge_without_a_licence_compares_nothing(served: tuple[str, Path]) -> None:
    told = compare(served, "pairs.jsonl")
    assert told.returncode == 1
    assert "needs one to break ties" in told.stderr
    assert "treadle judge license --url" in told.stderr


class Page(HTMLParser):
    """Tags and attributes of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs


@pytest.mark.parametrize(
    ("knobs", "word"),
    [
        ({"accuracy": 0.99}, "May filter"),
        ({"primacy": 0.3, "silent": 0.1}, "May do nothing"),
        ({"accuracy": 0.6, "fooled": 0.0}, "May only break ties"),
        ({"accuracy": 0.95, "sure": True, "tempted": 0.3}, "May only break ties"),
    ],
)
def test_the_page_says_first_what_the_judge_may_do(
    knobs: dict[str, Any], word: str, tmp_path: Path
) -> None:
    benchmark = build(3, 200)
    licence, exam = earn(KnownJudge(benchmark, Knobs(**knobs)), benchmark, store=Store(tmp_path))
    page = licence_page(licence, exam)
    assert re.search(r"<h1>([^<]+)</h1>", page)[1] == word  # type: ignore[index]
    assert "To gate:" in page
    assert page.count("<h2") == 7
    assert page == licence_page(licence, exam)


def test_a_hostile_pair_is_text_on_the_page_and_nothing_else(tmp_path: Path) -> None:
    evil = '<script>alert(1)</script><img src=x onerror=alert(1)>"\u202e\x1b[31m'
    row = {"request": evil, "answer_1": evil, "answer_2": evil + "2", "label": 2, "annotator": evil}
    people = read_people(lines(tmp_path / "x.jsonl", row, {**row, "annotator": "b"}))
    benchmark: Benchmark = with_given(
        build(3, 40), people=people, pairs={"given": [Pair(evil, evil, evil, evil + "2", 2)]}
    )
    judge = KnownJudge(benchmark, Knobs(accuracy=0.0))
    licence, exam = earn(judge, benchmark, store=Store(tmp_path), by=evil)
    page = licence_page(licence, exam)
    parsed = Page()
    parsed.feed(page)
    assert "&lt;script&gt;alert(1)" in page
    assert not {"script", "img", "iframe", "a:href"} & set(parsed.tags)
    assert not any(
        name.startswith("on") or name in ("src", "style") for name, _ in parsed.attributes
    )
    assert "\u202e" not in page
    assert "\x1b" not in page
