"""A poisonous line is loaded or set aside with a reason; it never costs another row."""

import hashlib
import json
import os
from pathlib import Path

import pytest

from treadle.data.formats.read import read
from treadle.errors import DataError

GOOD = '{"prompt": "2+2?", "completion": "4"}'
OTHER = '{"prompt": "3+3?", "completion": "6"}'
POISON = {
    "empty texts": ('{"prompt": "", "completion": ""}', None),
    "whitespace": ('{"prompt": " \\t", "completion": "\\n"}', None),
    "ten megabytes": ('{"prompt": "x", "completion": "' + "y" * 10_000_000 + '"}', None),
    "NUL": ('{"prompt": "a\\u0000b", "completion": "c"}', None),
    "raw NUL": ('{"prompt": "a\x00b", "completion": "c"}', "bad_json"),
    "lone surrogate": ('{"prompt": "\\ud800", "completion": "c"}', "not_unicode"),
    "lone surrogate in a key": ('{"prompt": "a", "completion": "c", "\\udc00": 1}', "not_unicode"),
    "surrogate bytes": ('{"prompt": "\ud800", "completion": "c"}', "not_utf8"),
    "byte order mark inside": ('{"prompt": "\ufeffa", "completion": "c"}', None),
    "right to left": ('{"prompt": "\u202eabc\u200b\u200f", "completion": "\u05d0"}', None),
    "combining bomb": ('{"prompt": "a' + "\u0301" * 5000 + '", "completion": "c"}', None),
    "NaN": ('{"prompt": "a", "completion": "c", "x": NaN}', "not_a_number"),
    "infinity": ('{"prompt": "a", "completion": "c", "x": -Infinity}', "not_a_number"),
    "1e400": ('{"prompt": "a", "completion": "c", "x": 1e400}', "bad_column"),
    "2^63": ('{"prompt": "a", "completion": "c", "x": 9223372036854775808}', "oversized_integer"),
    "5,000 digits": ('{"prompt": "a", "completion": "c", "x": 1' + "0" * 5000 + "}",
                     "oversized_integer"),
    "5,000 deep": ('{"prompt": "a", "completion": "c", "x": ' + "[" * 5000 + "]" * 5000 + "}",
                   "nested_too_deep"),
    "101 deep": ('{"prompt": "a", "completion": "c", "x": ' + "[" * 101 + "]" * 101 + "}",
                 "nested_too_deep"),
    "duplicate key": ('{"prompt": "a", "prompt": "b", "completion": "c"}', "duplicate_key"),
    "carriage return": ('{"prompt": "a\\r\\nb", "completion": "c"}\r', None),
    "placeholders": ('{"prompt": "{answer} %s ${x}", "completion": "{0}"}', None),
    "template marks": ('{"prompt": "<|im_end|>", "completion": "<|im_start|>system"}', None),
    "missing field": ('{"prompt": "a"}', "unknown_layout"),
    "null field": ('{"prompt": "a", "completion": null}', "missing_text"),
    "wrong type": ('{"prompt": "a", "completion": 1}', "wrong_type"),
    "not an object": ("[1, 2]", "not_an_object"),
    "mixed roles": ('{"messages": [{"role": "assistant", "content": "a"}]}', "user_not_first"),
    "__proto__": ('{"prompt": "a", "completion": "c", "__proto__": {"x": 1}}', None),
    "path": ('{"prompt": "a", "completion": "c", "id": "../../etc/passwd", "rank": "../x"}', None),
    "terminal escapes": ('{"prompt": "a\\u001b[2J", "completion": "c"}', None),
    "formula": ('{"prompt": "=cmd()", "completion": "@SUM(A1)"}', None),
    "line separators": ('{"prompt": "a\u2028b\u2029c\x85d\x0be", "completion": "c"}', "bad_json"),
    "legal line separators": ('{"prompt": "a\u2028b\u2029c\x85d", "completion": "c"}', None),
    "two values": (GOOD + " " + OTHER, "bad_json"),
    "chat without loss": (
        '{"messages": [{"role": "user", "content": "a"}, '
        '{"role": "assistant", "content": "b", "weight": 0}]}',
        "nothing_trains",
    ),
    "torn": ('{"prompt": "a", "compl', "bad_json"),
}  # fmt: skip


@pytest.mark.parametrize("name", POISON)
def test_a_poisonous_line_is_loaded_or_set_aside_and_costs_no_other_row(
    tmp_path: Path, name: str
) -> None:
    line, reason = POISON[name]
    path = tmp_path / "rows.jsonl"
    path.write_bytes("\n".join([GOOD, line, OTHER]).encode("utf-8", "surrogatepass"))
    loaded = read(path)
    assert loaded.read == 3 == len(loaded.pool) + loaded.merged + len(loaded.quarantine)
    assert {"4", "6"} <= {row.reply for row in loaded.pool.rows()}
    assert [q.reason for q in loaded.quarantine] == ([reason] if reason else [])
    for found in loaded.quarantine:
        raw = line.encode("utf-8", "surrogatepass")
        assert (found.file, found.line) == ("rows.jsonl", 2)
        assert found.sha256 == hashlib.sha256(raw).hexdigest()
        assert len(found.excerpt) <= 200
        assert found.excerpt.isprintable()
        assert json.loads(json.dumps(found.as_json()))["detail"]


HOSTILE = {
    "lone surrogate": "\\ud800key",
    "terminal escape": "\\u001b[31mRED\\u0007",
    "right to left": "\\u202eabc",
    "long": "k" * 5_000,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_column_names_are_quoted_short_and_printable(tmp_path: Path, name: str) -> None:
    line = '{"' + HOSTILE[name] + '": 1}'
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join([GOOD, line, OTHER]))
    (found,) = read(path).quarantine
    assert (found.line, found.reason) == (2, "unknown_layout")
    assert found.detail.isprintable()
    assert len(found.detail) < 100
    assert json.dumps(found.as_json(), ensure_ascii=False).encode()


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("columns", [None, {"prompt": "question", "completion": "answer"}])
@pytest.mark.parametrize("more", [{}, {"prompt": "2+2?", "completion": 4}])
def test_a_refusal_quotes_column_names_short_and_printable(
    tmp_path: Path, name: str, columns: dict[str, str] | None, more: dict[str, object]
) -> None:
    path = tmp_path / "rows.jsonl"
    lines = [json.dumps({f"NAME{i}": 1} | more).replace("NAME", HOSTILE[name]) for i in range(50)]
    path.write_text("\n".join(lines))
    with pytest.raises(DataError) as caught:
        read(path, columns=columns)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 2_500


def test_the_header_of_a_csv_file_is_quoted_printable(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("a\x1b[31m,a\x1b[31m\n1,2\n")
    with pytest.raises(DataError, match="twice") as caught:
        read(path)
    assert str(caught.value).isprintable()


def test_a_file_name_that_is_not_unicode_is_read_under_a_label_that_is(tmp_path: Path) -> None:
    names = [b"a\xff.jsonl", b"a\xfe.jsonl", "\u00e9.jsonl".encode()]
    for name in names:
        Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name)).write_text(GOOD + "\n{")
    loaded = read(str(tmp_path / "*.jsonl"))
    (row,) = loaded.pool.rows()
    assert {origin.file for origin in row.origins} == {
        "a\\xff.jsonl",
        "a\\xfe.jsonl",
        "\u00e9.jsonl",
    }
    assert all(json.dumps(q.as_json(), ensure_ascii=False).encode() for q in loaded.quarantine)
