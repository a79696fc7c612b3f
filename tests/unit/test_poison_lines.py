"""A poisonous line is loaded or set aside with a reason; it never costs another row."""

import hashlib
import json
from pathlib import Path

import pytest

from treadle.data.formats.read import read

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
