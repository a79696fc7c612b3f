"""The demo's data: real text, declared defects, and nothing else that a check could flag."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from scipy.sparse import csr_array

from treadle.audit.contamination import contamination
from treadle.audit.exact_duplicates import exact_duplicates
from treadle.audit.near_duplicates import near_duplicates
from treadle.context import Context
from treadle.data.formats.read import Loaded, read
from treadle.data.lint import lint
from treadle.data.lint_text import find_in_text
from treadle.data.pool import Pool
from treadle.data.sealed_index import SealedIndex
from treadle.errors import DataError
from treadle.flywheel.demo import planted_recall, write_demo
from treadle.flywheel.demo_defects import alike
from treadle.flywheel.demo_docs import Documented, read_stdlib
from treadle.flywheel.demo_rows import questions, write_rows
from treadle.models.scripted import ByteTokenizer

pytestmark = pytest.mark.slow  # the documentation of a whole library is read

FILES = ("pool.jsonl", "dev.jsonl", "heldout.jsonl", "recipe.yaml", "planted.json")
Records = dict[str, dict[str, str]]
Defects = Mapping[str, list[dict[str, str]]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("demo")
    write_demo(place)
    return place


@pytest.fixture(scope="module")
def planted(folder: Path) -> dict[str, object]:
    found: dict[str, object] = json.loads((folder / "planted.json").read_text("utf-8"))
    return found


@pytest.fixture(scope="module")
def defects(planted: dict[str, object]) -> Defects:
    found = planted["defects"]
    assert isinstance(found, dict)
    return found


@pytest.fixture(scope="module")
def pool(folder: Path, defects: Defects) -> Records:
    """The rows of the pool by id; malformed lines are left out, by the declared line number."""
    bad = {one["id"] for one in defects["malformed_line"]}
    lines = (folder / "pool.jsonl").read_text("utf-8").split("\n")[:-1]
    rows = [json.loads(x) for n, x in enumerate(lines, 1) if f"pool.jsonl:{n}" not in bad]
    return {row["id"]: row for row in rows}


@pytest.fixture(scope="module")
def heldout(folder: Path) -> Records:
    rows = [json.loads(x) for x in (folder / "heldout.jsonl").read_text("utf-8").splitlines()]
    return {row["id"]: row for row in rows}


@pytest.fixture(scope="module")
def loaded(folder: Path) -> Loaded:
    return read(folder / "pool.jsonl")


@pytest.fixture(scope="module")
def objects() -> list[Documented]:
    return read_stdlib()


def text_of(row: Mapping[str, str]) -> str:
    return f"{row['prompt']}\n{row['completion']}"


def words_of(row: Mapping[str, str]) -> list[str]:
    return re.findall(r"[^\W_]+", text_of(row).lower())


def runs_of(row: Mapping[str, str], n: int) -> set[tuple[str, ...]]:
    said = words_of(row)
    return {tuple(said[i : i + n]) for i in range(len(said) - n + 1)}


def kinds_of(defects: Defects) -> dict[str, str]:
    return {one["id"]: kind for kind, rows in defects.items() for one in rows}


def similar_pairs(rows: Records, threshold: float) -> set[tuple[str, str]]:
    """All pairs whose word pairs have at least this Jaccard similarity, by brute force."""
    ids = sorted(rows)
    sets = [runs_of(rows[key], 2) or {tuple(words_of(rows[key]))} for key in ids]
    columns: dict[tuple[str, ...], int] = {}
    places = [columns.setdefault(run, len(columns)) for runs in sets for run in sorted(runs)]
    ends = np.cumsum([0, *map(len, sets)])
    matrix = csr_array((np.ones(len(places)), places, ends), shape=(len(ids), len(columns)))
    shared = (matrix @ matrix.T).tocoo()
    sizes = np.diff(ends)
    jaccard = shared.data / (sizes[shared.row] + sizes[shared.col] - shared.data)
    hit = (jaccard >= threshold) & (shared.row < shared.col)
    return {(ids[i], ids[j]) for i, j in zip(shared.row[hit], shared.col[hit], strict=True)}


def test_the_pool_has_the_promised_size_and_shares_of_defects(
    folder: Path, planted: dict[str, object], defects: Defects, pool: Records, heldout: Records
) -> None:
    assert len((folder / "pool.jsonl").read_text("utf-8").split("\n")) - 1 == 3000
    assert len((folder / "dev.jsonl").read_text("utf-8").splitlines()) == 60
    assert 100 <= len(heldout) <= 200
    counted = {kind: len(rows) for kind, rows in defects.items()}
    assert counted == {
        "mismatched_answer": 240,
        "near_duplicate": 150,
        "exact_duplicate": 60,
        "contaminated": 90,
        "truncated_answer": 120,
        "empty_answer": 6,
        "control_tokens": 6,
        "malformed_line": 6,
    }
    assert planted["clean"] == 3000 - sum(counted.values())
    assert len(kinds_of(defects)) == sum(counted.values()), "a row has two defects"


def test_rows_do_not_tell_what_is_wrong_with_them(pool: Records, defects: Defects) -> None:
    assert {tuple(row) for row in pool.values()} == {
        ("id", "module", "form", "prompt", "completion")
    }
    assert {row["form"] for row in pool.values()} == {
        "summary", "find", "how", "details", "signature", "import",
    }  # fmt: skip
    bad = sorted(int(key[4:]) for key in kinds_of(defects) if key.startswith("row-"))
    halves = Counter(place > 1500 for place in bad)
    assert min(halves.values()) > 0.4 * len(bad), "defects are not spread over the file"


def test_the_seed_decides_the_split_and_the_questions(objects: list[Documented]) -> None:
    first, again, other = (
        write_rows(objects, seed, train=500, dev=20, heldout=50) for seed in (0, 0, 1)
    )
    assert first == again
    assert not {row.about for row in first.heldout} >= {row.about for row in other.heldout}


def test_the_split_does_not_depend_on_the_order_of_the_objects(objects: list[Documented]) -> None:
    forward = write_rows(objects, 0, train=500, dev=20, heldout=50)
    assert write_rows(objects[::-1], 0, train=500, dev=20, heldout=50) == forward


def test_other_processes_write_the_same_bytes_whatever_their_hash_seed_and_time_zone(
    folder: Path, tmp_path: Path
) -> None:
    code = "import sys; from pathlib import Path; from treadle.flywheel.demo import write_demo; "
    code += "write_demo(Path(sys.argv[1]))"
    for hash_seed in ("1", "2"):
        place = tmp_path / hash_seed
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed, "TZ": "Asia/Kolkata"}
        subprocess.run([sys.executable, "-c", code, str(place)], env=environment, check=True)
        for name in FILES:
            one, other = (place / name).read_bytes(), (folder / name).read_bytes()
            assert hashlib.sha256(one).digest() == hashlib.sha256(other).digest(), name


def test_no_object_is_asked_about_on_both_sides(objects: list[Documented]) -> None:
    split = write_rows(objects, 0, train=2000, dev=60, heldout=200)
    sides = [{row.about for row in part} for part in (split.train, split.dev, split.heldout)]
    assert not sides[0] & sides[1]
    assert not sides[0] & sides[2]
    assert not sides[1] & sides[2]
    assert (len(sides[1]), len(sides[2])) == (60, 200)
    assert len({row.prompt for row in split.train}) == 2000


def test_questions_about_one_object_have_different_answers(objects: list[Documented]) -> None:
    for one in objects:
        asked = list(questions(one, 0))
        name = f"`{one.name}{one.signature}`"
        line = f"from {one.module} import {one.name.rsplit('.', 1)[-1]}"
        assert {row.completion for row in asked} <= {
            one.summary, one.details, name, f"Use {name}.", line,
        }  # fmt: skip
        said = {row.completion.removeprefix("Use ").rstrip(".") for row in asked}
        assert len(said) == len({row.prompt for row in asked}) == len(asked), one.name


def test_documentation_is_that_of_this_python(objects: list[Documented]) -> None:
    import functools
    import inspect
    import shutil
    import textwrap

    by_name = {one.name: one for one in objects}
    for function in (textwrap.dedent, shutil.which, functools.reduce, len, str.split):
        home = "" if function in (len, str.split) else f"{function.__module__.lstrip('_')}."
        found = by_name[f"{home}{function.__qualname__}"]
        text = " ".join((inspect.getdoc(function) or "").split())
        assert found.summary in text
        assert found.details in text
    assert by_name["textwrap.dedent"].signature == "(text)"
    assert by_name["shutil.which"].signature.startswith("(cmd, mode=")


def test_no_documentation_says_again_what_another_said(objects: list[Documented]) -> None:
    seen: dict[tuple[str, ...], str] = {}
    for one in objects:
        row = {"prompt": one.summary, "completion": one.details}
        for run in runs_of(row, 8):
            assert run not in seen, (one.name, seen.get(run))
        seen.update(dict.fromkeys(runs_of(row, 8), one.name))


def test_imports_that_are_taught_work(objects: list[Documented]) -> None:
    import importlib

    lines = [one for one in objects if one.is_importable]
    assert len(lines) > 400
    for one in lines:
        module = importlib.import_module(one.module)
        assert hasattr(module, one.name.rsplit(".", 1)[-1]), one.name


def test_without_sources_the_error_says_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="sources and docstrings"):
        read_stdlib(tmp_path)


def test_only_planted_rows_share_text_with_the_evaluation_items(
    pool: Records, heldout: Records, defects: Defects
) -> None:
    grams = {run for row in heldout.values() for run in runs_of(row, 13)}
    whole = {" ".join(words_of(row)) for row in heldout.values()}
    prompts = {row["prompt"].lower() for row in heldout.values()}
    flagged = {
        key
        for key, row in pool.items()
        if not grams.isdisjoint(runs_of(row, 13))
        or " ".join(words_of(row)) in whole
        or row["prompt"].lower() in prompts
    }
    assert flagged == {one["id"] for one in defects["contaminated"]}
    assert {one["of"] for one in defects["contaminated"]} <= set(heldout)


def test_evaluation_items_are_copied_in_four_ways(
    pool: Records, heldout: Records, defects: Defects
) -> None:
    ways: Counter[str] = Counter()
    for one in defects["contaminated"]:
        copy, item = text_of(pool[one["id"]]), text_of(heldout[one["of"]])
        if copy == item:
            ways["as it is"] += 1
        elif copy.split() == item.split():
            ways["respaced"] += 1
        elif copy.lower() == item.lower():
            ways["recased"] += 1
        elif " ".join(item.split()) in copy:
            ways["inside"] += 1
    assert sum(ways.values()) == 90
    assert min(ways[way] for way in ("as it is", "respaced", "recased", "inside")) >= 10


def test_planted_near_duplicates_are_alike_and_not_equal(pool: Records, defects: Defects) -> None:
    for one in defects["near_duplicate"]:
        copy, source = pool[one["id"]], pool[one["of"]]
        assert 0.87 <= alike(text_of(copy), text_of(source)) < 1
        ours, theirs = set(words_of(copy)), set(words_of(source))
        assert len(ours & theirs) / len(ours | theirs) >= 0.87
        assert 1 <= len(Counter(words_of(copy)) - Counter(words_of(source))) <= 2


def test_planted_exact_duplicates_are_equal_but_for_case_and_space(
    pool: Records, defects: Defects
) -> None:
    as_they_are = 0
    for one in defects["exact_duplicate"]:
        copy, source = text_of(pool[one["id"]]), text_of(pool[one["of"]])
        assert copy.lower().split() == source.lower().split()
        as_they_are += copy == source
    assert as_they_are == 20


def test_no_other_rows_of_the_pool_are_near_duplicates(pool: Records, defects: Defects) -> None:
    planted_pairs = {
        tuple(sorted((one["id"], one["of"])))
        for kind in ("near_duplicate", "exact_duplicate")
        for one in defects[kind]
    }
    found = similar_pairs(pool, 0.8)
    assert planted_pairs <= found
    others = {key for pair in found - planted_pairs for key in pair}
    assert len(others) <= 0.01 * len(pool), sorted(found - planted_pairs)[:5]


def test_duplicates_repeat_rows_that_have_no_defect(defects: Defects) -> None:
    kinds = kinds_of(defects)
    sources = [one["of"] for kind in ("near_duplicate", "exact_duplicate") for one in defects[kind]]
    assert not [key for key in sources if key in kinds]
    assert len(set(sources)) == len(sources)


def test_mismatched_and_truncated_answers_are_wrong_and_all_others_right(
    pool: Records, defects: Defects, objects: list[Documented]
) -> None:
    right = {row.prompt: row.completion for one in objects for row in questions(one, 0)}
    kinds = kinds_of(defects)
    for key, row in pool.items():
        kind = kinds.get(key, "clean")
        if kind == "clean":
            assert right[row["prompt"]] == row["completion"]
        elif kind == "mismatched_answer":
            assert right[row["prompt"]] != row["completion"]
            assert row["completion"] in right.values()
        elif kind == "truncated_answer":
            whole = right[row["prompt"]]
            assert whole.startswith(row["completion"])
            assert 0.2 < len(row["completion"]) / len(whole) < 0.8
            assert row["completion"][-1] not in ".,;:!?"
        elif kind == "empty_answer":
            assert right[row["prompt"]]
            assert not row["completion"].strip()


def test_malformed_lines_are_quarantined_and_every_other_line_is_read(
    loaded: Loaded, defects: Defects, pool: Records
) -> None:
    assert {f"{q.file}:{q.line}" for q in loaded.quarantine} == {
        one["id"] for one in defects["malformed_line"]
    }
    ids = [origin.id for row in loaded.pool.rows() for origin in row.origins]
    assert sorted(str(key) for key in ids) == sorted(pool)
    assert loaded.merged == 20


def test_rows_are_short_enough_to_train_on_in_a_minute(pool: Records, heldout: Records) -> None:
    lengths = sorted(len(words_of(row)) for row in pool.values())
    assert lengths[int(0.95 * len(lengths))] <= 70
    assert lengths[-1] <= 130
    replies = sorted(len(row["completion"].split()) for row in heldout.values())
    assert replies[-1] <= 30
    assert replies[len(replies) // 2] <= 12


def test_the_lint_finds_the_planted_texts_and_calls_the_pool_ready(
    loaded: Loaded, defects: Defects
) -> None:
    report = lint(loaded.pool, ByteTokenizer(), max_tokens=1024)
    assert report.is_ready, report.errors
    found = find_in_text(loaded.pool.frame, ("<|im_start|>", "<|im_end|>", "<|endoftext|>"))
    by_row = {row.id: row.origins[0].id for row in loaded.pool.rows()}
    for check, kind in (
        ("empty_reply", "empty_answer"),
        ("control_tokens_in_text", "control_tokens"),
    ):
        assert {by_row[key] for key in found[check].ids} == {one["id"] for one in defects[kind]}


def flagged_by_audits(loaded: Loaded, folder: Path) -> dict[str, set[str]]:
    """What loading and the audits say, by the user's row id."""
    by_row = {row.id: [str(o.id) for o in row.origins] for row in loaded.pool.rows()}
    flagged = {key: {"merged"} for keys in by_row.values() for key in keys[1:]}
    for quarantined in loaded.quarantine:
        flagged[f"{quarantined.file}:{quarantined.line}"] = {quarantined.reason}
    sealed = SealedIndex.build({"heldout": read(folder / "heldout.jsonl").pool}, ngram=13)
    audits = (near_duplicates(threshold=0.8), exact_duplicates(), contamination(ngram=13))
    for audit in audits:
        findings = audit(loaded.pool, Context(sealed=sealed))
        for key, reason in findings.rows.select("id", "reason").iter_rows():
            for name in by_row[key]:
                flagged.setdefault(name, set()).add(reason)
    return flagged


def test_the_audits_meet_their_bars_on_the_demo(
    loaded: Loaded, folder: Path, planted: dict[str, object]
) -> None:
    clean = planted["clean"]
    assert isinstance(clean, int)
    result = planted_recall(planted, flagged_by_audits(loaded, folder), clean)
    table = result["table"]
    assert isinstance(table, list)
    recall = {row["kind"]: row["recall"] for row in table}
    for kind in ("near_duplicate", "exact_duplicate", "contaminated"):
        assert recall[kind] >= 0.95, result
    assert recall["malformed_line"] == 1
    rate = result["false_flag_rate"]
    assert isinstance(rate, float)
    assert rate <= 0.01, result


def test_recall_counts_pairs_once_and_names_false_flags() -> None:
    declared = {
        "defects": {
            "near_duplicate": [{"id": "b", "of": "a"}, {"id": "d", "of": "c"}],
            "malformed_line": [{"id": "pool.jsonl:7", "problem": "cut off"}],
            "truncated_answer": [{"id": "e"}],
        }
    }
    flagged = {"a": {"near_duplicate"}, "e": {"short", "high_ifd"}, "x": {"near_duplicate"}}
    result = planted_recall(declared, flagged, 50)
    assert result["table"] == [
        {"kind": "malformed_line", "planted": 1, "caught": 0, "recall": 0.0, "reasons": {}},
        {
            "kind": "near_duplicate", "planted": 2, "caught": 1, "recall": 0.5,
            "reasons": {"near_duplicate": 1},
        },
        {
            "kind": "truncated_answer", "planted": 1, "caught": 1, "recall": 1.0,
            "reasons": {"high_ifd": 1, "short": 1},
        },
    ]  # fmt: skip
    assert result["false_flags"] == 1
    assert result["false_flag_ids"] == ["x"]
    assert result["false_flag_rate"] == 1 / 50
    json.dumps(result)


def test_no_clean_rows_give_no_rate_instead_of_zero() -> None:
    assert planted_recall({"defects": {}}, {}, 0)["false_flag_rate"] is None
    with pytest.raises(DataError, match="Write the demo again"):
        planted_recall({}, {}, 10)


def test_a_small_demo_has_every_kind_of_defect(tmp_path: Path) -> None:
    declared = write_demo(tmp_path, rows=120)
    found = declared["defects"]
    assert isinstance(found, dict)
    assert len(found) == 8
    rows = read(tmp_path / "pool.jsonl")
    assert (rows.read, len(rows.quarantine)) == (120, 1)
    assert isinstance(rows.pool, Pool)


def test_a_strangers_pool_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "pool.jsonl").write_text("mine\n")
    with pytest.raises(DataError, match="not a demo's"):
        write_demo(tmp_path)
    assert (tmp_path / "pool.jsonl").read_text() == "mine\n"


def test_impossible_sizes_are_refused_with_the_reason(
    tmp_path: Path, objects: list[Documented]
) -> None:
    with pytest.raises(DataError, match="at least 100"):
        write_demo(tmp_path, rows=10)
    assert not list(tmp_path.iterdir())
    with pytest.raises(DataError, match="Ask for fewer rows"):
        write_rows(objects, 0, train=50_000, dev=60, heldout=200)
