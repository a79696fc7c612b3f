"""Single stages from Python, and the files that they write."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest

import treadle
from treadle.data.formats.outcomes import write_audit, write_by_kind, write_table
from treadle.data.pool import Pool
from treadle.data.row import Message, Row
from treadle.data.selection import FINDING_SCHEMA, Findings
from treadle.errors import RecipeError
from turns import records, write_lines

ASK, SO = Message("user", "why?"), Message("assistant", "so.", trains=True)
CHAT = Row("chat", (ASK, SO))
PAIR = Row("preference", (ASK,), chosen="so.", rejected="no.")


def findings(*rows: tuple[str, str]) -> Findings:
    table = [(key, reason, "other", None, None) for key, reason in rows]
    return Findings(pl.DataFrame(table, schema=FINDING_SCHEMA, orient="row"))


def lines(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_wrong_budget_is_told_before_anything_is_read(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="keep: '300%' is out of range"):
        treadle.select_rows(tmp_path / "no-such-file.jsonl", keep="300%", model="scripted")


def test_audits_with_wrong_options_are_told_before_anything_is_read(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="threshhold"):
        treadle.audit_rows(
            tmp_path / "no-such-file.jsonl", ops={"near_duplicates": {"threshhold": 1}}
        )


def test_evaluation_sets_are_indexed_as_the_audit_asks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    rows = records(12, seed=1)
    write_lines(tmp_path / "pool.jsonl", rows)
    near = {"prompt": f"{rows[0]['prompt']} and what else?", "completion": "nothing"}
    write_lines(tmp_path / "test.jsonl", [near])
    for ngram, hits in ((6, 1), (40, 0)):
        found = treadle.audit_rows(
            "pool.jsonl", against={"test": "test.jsonl"}, ops={"contamination": {"ngram": ngram}}
        )
        assert found["contamination"].rows.height == hits


def test_a_row_with_several_findings_is_dropped_for_the_first(tmp_path: Path) -> None:
    write_lines(tmp_path / "pool.jsonl", records(40, seed=1), tail="{torn\n")
    loaded = treadle.load(tmp_path / "pool.jsonl")
    ids = loaded.pool.ids
    found = {
        "one": findings(*((key, "first") for key in ids[:20])),
        "two": findings(*((key, "second") for key in reversed(ids[:30]))),
    }
    write_audit(loaded, found, tmp_path / "out")
    dropped = {
        row["treadle_id"]: row["treadle_reason"] for row in lines(tmp_path / "out/dropped.jsonl")
    }
    assert dropped == {**dict.fromkeys(ids[:30], "second"), **dict.fromkeys(ids[:20], "first")}
    assert [row["treadle_id"] for row in lines(tmp_path / "out/kept.jsonl")] == ids[30:]
    assert len(lines(tmp_path / "out/quarantine.jsonl")) == 1


def test_no_audit_at_all_keeps_every_row(tmp_path: Path) -> None:
    write_lines(tmp_path / "pool.jsonl", records(5, seed=1))
    written = write_audit(treadle.load(tmp_path / "pool.jsonl"), {}, tmp_path / "out")
    assert [len(lines(path)) for path in written] == [5, 0, 0]


def test_rows_of_one_kind_keep_the_name_and_several_kinds_share_it(tmp_path: Path) -> None:
    path = tmp_path / "chosen.jsonl"
    reasons = {row.id: {"treadle_reason": row.kind} for row in (CHAT, PAIR)}
    assert write_by_kind([PAIR], path, reasons) == [path]
    assert [row["treadle_reason"] for row in lines(path)] == ["preference"]
    files = write_by_kind([PAIR, CHAT], path, reasons)
    assert [file.name for file in files] == ["chosen-chat.jsonl", "chosen-preference.jsonl"]
    assert [row["treadle_reason"] for file in files for row in lines(file)] == [
        "chat",
        "preference",
    ]
    assert not path.exists(), "an earlier command's file must not be taken for this one's"
    assert write_by_kind([], path, {}) == [path]
    assert path.read_bytes() == b""


def test_rows_are_written_in_the_order_given(tmp_path: Path) -> None:
    pool = Pool.of(Row("chat", (Message("user", f"{i}?"), SO)) for i in range(9))
    rows = list(reversed(pool.rows()))
    write_by_kind(rows, tmp_path / "a.jsonl", {})
    assert [row["treadle_id"] for row in lines(tmp_path / "a.jsonl")] == [row.id for row in rows]


def test_a_table_tells_the_columns_that_its_file_has(tmp_path: Path) -> None:
    frame = pl.DataFrame({"id": ["a"], "length": [3], "embedding": [[0.5, 1.0]]})
    assert write_table(frame, tmp_path / "a.csv") == ["id", "length"]
    assert (tmp_path / "a.csv").read_text() == "id,length\na,3\n"
    for name in ("a.parquet", "deep/a.jsonl"):
        assert write_table(frame, tmp_path / name) == frame.columns
    with pytest.raises(RecipeError, match=r"\.parquet"):
        write_table(frame, tmp_path / "a.docx")
