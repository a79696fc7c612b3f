"""Reading files: lines, sources and layouts, what is refused, and counts that add up."""

import gzip
import hashlib
import json
from pathlib import Path

import pytest

from files import GOOD, OTHER, lines_of, put, replies
from treadle.data.formats.read import read
from treadle.errors import DataError, RecipeError


def test_duplicate_ids_and_equal_rows_keep_every_origin(tmp_path: Path) -> None:
    same = [GOOD[:-1] + ', "id": "x"}', GOOD[:-1] + ', "id": "y"}', OTHER[:-1] + ', "id": "x"}']
    loaded = read(put(tmp_path, "rows.jsonl", lines_of(*same)))
    assert (loaded.read, len(loaded.pool), loaded.merged) == (3, 2, 1)
    origins = {row.reply: [(o.line, o.id) for o in row.origins] for row in loaded.pool.rows()}
    assert origins == {"4": [(1, "x"), (2, "y")], "6": [(3, "x")]}


@pytest.mark.slow
def test_equal_rows_far_apart_are_merged_too(tmp_path: Path) -> None:
    lines = [json.dumps({"prompt": str(i % 7), "completion": "x"}) for i in range(17_000)]
    loaded = read(put(tmp_path, "rows.jsonl", lines_of(*lines)))
    assert (len(loaded.pool), loaded.merged) == (7, 16_993)
    assert loaded.pool.ids == sorted(loaded.pool.ids)
    assert sum(len(row.origins) for row in loaded.pool.rows()) == 17_000


def test_rows_are_sorted_by_id_whatever_their_order_in_the_file(tmp_path: Path) -> None:
    lines = [json.dumps({"prompt": str(i), "completion": "x"}) for i in range(50)]
    pools = [
        read(put(tmp_path, "a.jsonl", lines_of(*order))).pool for order in (lines, lines[::-1])
    ]
    assert pools[0].ids == pools[1].ids == sorted(pools[0].ids)


def test_blank_lines_bom_and_carriage_returns_are_no_trouble(tmp_path: Path) -> None:
    loaded = read(put(tmp_path, "a.jsonl", "\ufeff" + GOOD + "\r\n\r\n  \n" + OTHER))
    assert loaded.read == 2
    assert {o.line for row in loaded.pool.rows() for o in row.origins} == {1, 4}


def test_a_torn_last_line_is_named_as_such(tmp_path: Path) -> None:
    loaded = read(put(tmp_path, "a.jsonl", GOOD + "\n" + OTHER[:-5]))
    assert [(q.line, q.reason) for q in loaded.quarantine] == [(2, "torn_record")]


def test_a_line_too_long_for_any_row_is_passed_over(tmp_path: Path) -> None:
    huge = '{"prompt": "' + "x" * (65 * 2**20) + '", "completion": "c"}'
    path = put(tmp_path, "a.jsonl", lines_of(GOOD, huge, OTHER))
    loaded = read(path)
    assert [(q.line, q.reason) for q in loaded.quarantine] == [(2, "oversized_record")]
    assert hashlib.sha256((huge + "\n").encode()).hexdigest() in loaded.quarantine[0].detail
    assert replies(loaded) == {"4", "6"}


def test_gzip_is_unpacked_and_a_bomb_is_refused(tmp_path: Path) -> None:
    packed = put(tmp_path, "a.jsonl.gz", gzip.compress(lines_of(GOOD, OTHER).encode()))
    assert read(packed).read == 2
    bomb = put(tmp_path, "b.jsonl.gz", gzip.compress((b"x" * 2**20 + b"\n") * 80, 9))
    with pytest.raises(DataError, match="gzip bomb"):
        read(bomb)
    torn = put(tmp_path, "c.jsonl.gz", packed.read_bytes()[:-12])
    with pytest.raises(DataError, match="damaged"):
        read(torn)


def test_patterns_and_lists_are_read_once_under_labels_free_of_the_folder(tmp_path: Path) -> None:
    pools = []
    for place in ("here", "elsewhere"):
        for part in ("x", "y"):
            (tmp_path / place / part).mkdir(parents=True)
            put(tmp_path / place / part, "rows.jsonl", lines_of(GOOD))
        put(tmp_path / place, "more.jsonl", lines_of(OTHER))
        folder = tmp_path / place
        pools.append(read([str(folder / "**/*.jsonl"), folder / "more.jsonl"]))
    assert all((p.read, len(p.pool), p.merged) == (3, 2, 1) for p in pools)
    labels = {o.file for row in pools[0].pool.rows() for o in row.origins}
    assert {"x/rows.jsonl", "y/rows.jsonl"} <= labels
    assert str(tmp_path) not in str(labels)
    assert read(tmp_path / "here" / "more.jsonl", label="m").pool.rows()[0].origins[0].file == "m"


def test_layouts_may_be_mixed_or_named(tmp_path: Path) -> None:
    text = lines_of(GOOD, '{"instruction": "a", "output": "b"}')
    assert read(put(tmp_path, "a.jsonl", text)).layout == "mixed"
    path = put(tmp_path, "b.jsonl", '{"question": "2+2?", "answer": 4}\n')
    assert read(path, layout="prompt_answer").pool.rows()[0].kind == "answer"


REFUSED = {
    "empty.jsonl": (b"", "holds no records"),
    "blank.jsonl": (b"\n\n \n", "holds no records"),
    "header.csv": (b"prompt,completion\n", "holds no records"),
    "array.json": (b"[]", "holds no records"),
    "rows.txt": (b"x", "unknown kind of file"),
    "rows": (b"x", "unknown kind of file"),
    "binary.jsonl": (bytes(range(256)) * 4, "no row in it"),
    "gzip.jsonl": (b"\x1f\x8b" + b"x" * 50, "gzip"),
    "notgzip.jsonl.gz": (b"plain text", "damaged"),
    "wide.jsonl": (GOOD.encode("utf-16"), "UTF-16"),
    "parquet.jsonl": (b"PAR1" + b"x" * 50, "Parquet"),
    "fake.parquet": (b"not parquet", "cannot be read"),
    "unknown.jsonl": (b'{"question": "a", "long_answer": "b"}', '"completion": "long_answer"'),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_file_of_no_use_is_refused_with_its_name_and_what_to_do(
    tmp_path: Path, name: str
) -> None:
    content, message = REFUSED[name]
    with pytest.raises(DataError, match=message) as caught:
        read(put(tmp_path, name, content))
    assert name in str(caught.value)


def test_missing_files_and_folders_of_other_things_are_explained(tmp_path: Path) -> None:
    put(tmp_path, "train.jsonl", GOOD)
    with pytest.raises(DataError, match=r"Did you mean 'train\.jsonl'"):
        read(tmp_path / "trains.jsonl")
    with pytest.raises(DataError, match="no file matches"):
        read(str(tmp_path / "*.csv"))
    with pytest.raises(DataError, match=r"It holds train\.jsonl"):
        read(tmp_path)
    with pytest.raises(DataError, match="No file was named"):
        read([])


def test_too_many_malformed_records_stop_the_reading_and_say_how_to_allow_it(
    tmp_path: Path,
) -> None:
    path = put(tmp_path, "a.jsonl", lines_of(*[GOOD] * 100, *["{"] * 21))
    with pytest.raises(DataError, match=r"21 of 121 .*a\.jsonl:101: .*max_malformed=0.18"):
        read(path)
    assert len(read(path, max_malformed=0.18).quarantine) == 21
    few = put(tmp_path, "b.jsonl", lines_of(*[GOOD] * 100, *["{"] * 20))
    assert len(read(few).quarantine) == 20
    with pytest.raises(RecipeError, match="max_malformed"):
        read(few, max_malformed=5)


def test_reading_stops_where_ten_thousand_records_gave_no_row(tmp_path: Path) -> None:
    path = put(tmp_path, "a.jsonl", lines_of(*["{"] * 10_500, GOOD))
    with pytest.raises(DataError, match=r"no row in it.* 10,000 records were read"):
        read(path, max_malformed=1.0)
    late = put(tmp_path, "b.jsonl", lines_of(*["{"] * 9_999, GOOD))
    assert replies(read(late, max_malformed=1.0)) == {"4"}
    other = put(tmp_path, "c.jsonl", lines_of(*['{"text": "x"}'] * 10_500))
    with pytest.raises(DataError, match="Columns found: text"):
        read(other)


def test_a_mapped_column_that_no_record_has_is_named(tmp_path: Path) -> None:
    path = put(tmp_path, "a.jsonl", '{"question": "a", "long_answer": "b"}\n')
    with pytest.raises(DataError, match=r"'long_anser'.*Did you mean 'long_answer'"):
        read(path, columns={"prompt": "question", "completion": "long_anser"})
