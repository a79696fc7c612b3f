"""Reading files: every kind, every place where a file may be broken, and counts that add up."""

import gzip
import hashlib
import json
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from treadle.data.formats.read import Loaded, read
from treadle.data.pool import load_pool, save_pool, to_parquet
from treadle.errors import DataError, RecipeError, StoreError

GOOD = '{"prompt": "2+2?", "completion": "4"}'
OTHER = '{"prompt": "3+3?", "completion": "6"}'
RECORDS = [{"prompt": f"{i}?", "completion": str(i), "id": i} for i in range(5)]


def put(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    blob = content.encode("utf-8", "surrogatepass") if isinstance(content, str) else content
    path.write_bytes(blob)
    return path


def lines_of(*lines: str) -> str:
    return "".join(line + "\n" for line in lines)


def counts_add_up(loaded: Loaded) -> bool:
    return loaded.read == len(loaded.pool) + loaded.merged + len(loaded.quarantine)


def replies(loaded: Loaded) -> set[str]:
    return {row.reply for row in loaded.pool.rows()}


def test_duplicate_ids_and_equal_rows_keep_every_origin(tmp_path: Path) -> None:
    same = [GOOD[:-1] + ', "id": "x"}', GOOD[:-1] + ', "id": "y"}', OTHER[:-1] + ', "id": "x"}']
    loaded = read(put(tmp_path, "rows.jsonl", lines_of(*same)))
    assert (loaded.read, len(loaded.pool), loaded.merged) == (3, 2, 1)
    origins = {row.reply: [(o.line, o.id) for o in row.origins] for row in loaded.pool.rows()}
    assert origins == {"4": [(1, "x"), (2, "y")], "6": [(3, "x")]}


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


@pytest.mark.parametrize(
    "text",
    [
        json.dumps(RECORDS),
        json.dumps(RECORDS, indent=4),
        "\ufeff" + json.dumps(RECORDS),
        json.dumps({"data": RECORDS}),
        json.dumps({"version": 1, "data": RECORDS}),
        json.dumps({"data": RECORDS, "version": 1}, indent=1),
        lines_of(*(json.dumps(r) for r in RECORDS)),
    ],
)
def test_json_may_be_an_array_or_hold_data_or_be_lines(tmp_path: Path, text: str) -> None:
    loaded = read(put(tmp_path, "a.json", text))
    assert (loaded.read, len(loaded.pool)) == (5, 5)
    assert {o.id for row in loaded.pool.rows() for o in row.origins} == set("01234")


def test_one_bad_element_of_an_array_costs_one_row(tmp_path: Path) -> None:
    elements = [
        GOOD,
        '{"prompt": "a", "prompt": "b", "completion": "c"}',
        '{"prompt": nope, "completion": ["]", "\\""]}',
        "nope",
        '{"prompt": "a", "completion": "c", "x": ' + "[" * 5000 + "]" * 5000 + "}",
        '{"prompt": "a", "completion": "c", "x": NaN}',
        OTHER,
    ]
    loaded = read(put(tmp_path, "a.json", "[" + ",\n".join(elements) + "]"))
    assert replies(loaded) == {"4", "6"}
    assert [(q.line, q.reason) for q in loaded.quarantine] == [
        (2, "duplicate_key"),
        (3, "bad_json"),
        (4, "bad_json"),
        (5, "nested_too_deep"),
        (6, "not_a_number"),
    ]


def test_an_array_cut_off_loses_its_last_record_only(tmp_path: Path) -> None:
    loaded = read(put(tmp_path, "a.json", f"[{GOOD},\n{OTHER[:-8]}"))
    assert [q.reason for q in loaded.quarantine] == ["torn_record"]
    assert replies(loaded) == {"4"}


@pytest.mark.parametrize("tail", [",\n", "\n"])
def test_an_array_cut_off_between_two_records_is_torn_too(tmp_path: Path, tail: str) -> None:
    loaded = read(put(tmp_path, "a.json", f"[{GOOD},\n{OTHER}{tail}"))
    assert [(q.line, q.reason) for q in loaded.quarantine] == [(3, "torn_record")]
    assert replies(loaded) == {"4", "6"}


@pytest.mark.parametrize("end", ["]", "\n]\n", ""])
@pytest.mark.parametrize("missing", ["}", '"}'])
def test_a_last_record_that_is_not_closed_costs_one_row(
    tmp_path: Path, missing: str, end: str
) -> None:
    text = f"[\n{GOOD},\n{OTHER.removesuffix(missing)}{end}"
    loaded = read(put(tmp_path, "a.json", text))
    assert [(q.line, q.reason) for q in loaded.quarantine] == [(2, "torn_record")]
    assert replies(loaded) == {"4"}


@pytest.mark.parametrize(
    "text",
    [
        f"[{GOOD} {OTHER}]",
        f"[{GOOD}] {OTHER}",
        '{"data": [1',
        f'{{"data": [{GOOD}]',
        f'{{"data": [{GOOD}]}} garbage',
        f'{{"data": [{GOOD}], "data": [{OTHER}]}}',
        f'{{"data": [{GOOD}], "version": nope}}',
        lines_of(*[f'{{"data": [{GOOD}, {OTHER}]}}'] * 3),
    ],
)
def test_json_whose_form_is_lost_is_refused_as_a_whole(tmp_path: Path, text: str) -> None:
    with pytest.raises(DataError, match=r"a\.json"):
        read(put(tmp_path, "a.json", text))


TURNS = '{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}'


@pytest.mark.parametrize("between", [",\n", ", "])
@pytest.mark.parametrize("frame", ["[\n{}]", '{{"data": [\n{}], "version": 1}}'])
@pytest.mark.parametrize(
    "broken",
    [GOOD[:-1], GOOD[:-2], GOOD.replace('4"', "4"), GOOD[:20], TURNS[:-2], TURNS.replace("]", "")],
)
def test_a_broken_record_that_hides_where_the_next_ones_begin_is_named(
    tmp_path: Path, broken: str, frame: str, between: str
) -> None:
    text = frame.format(between.join([GOOD] * 9 + [broken] + [TURNS] * 90))
    line = 11 if "\n" in between else 2
    with pytest.raises(DataError, match=rf"a\.json:{line}: .*record 10 .*JSON Lines"):
        read(put(tmp_path, "a.json", text))


def test_many_broken_elements_do_not_hide_the_line_where_the_form_is_lost(tmp_path: Path) -> None:
    text = "[\n" + ",\n".join([GOOD, *["nope"] * 5_000, GOOD[:-1], OTHER]) + "]"
    with pytest.raises(DataError, match=r"a\.json:5003: .*record 5,?002 "):
        read(put(tmp_path, "a.json", text))


def test_csv_keeps_quotes_line_ends_and_odd_characters(tmp_path: Path) -> None:
    text = 'id,prompt,completion,tag\n7,"a\r\nb, ""c""",d\x00\u2028e,\n8,f,,=g()\n'
    loaded = read(put(tmp_path, "a.csv", text))
    rows = {row.origins[0].id: row for row in loaded.pool.rows()}
    assert rows["7"].messages[0].content == 'a\r\nb, "c"'
    assert rows["7"].reply == "d\x00\u2028e"
    assert json.loads(rows["7"].origins[0].extra) == {"id": "7"}
    assert rows["8"].reply == ""
    assert json.loads(rows["8"].origins[0].extra) == {"id": "8", "tag": "=g()"}
    assert (rows["7"].origins[0].line, rows["8"].origins[0].line) == (2, 4)


def test_bad_csv_records_are_set_aside_with_their_line(tmp_path: Path) -> None:
    text = b'prompt,completion\na,b\nc\nd,e,f\n\n"g"h,i\n\xff,j\nk,l\n"m,n'
    loaded = read(put(tmp_path, "a.csv", text))
    assert replies(loaded) == {"b", "l"}
    assert [(q.line, q.reason) for q in loaded.quarantine] == [
        (3, "wrong_cell_count"),
        (4, "wrong_cell_count"),
        (6, "bad_csv"),
        (7, "not_unicode"),
        (9, "bad_csv"),
    ]
    assert loaded.quarantine[3].sha256 == hashlib.sha256(b"\xff,j").hexdigest()


def csv_of(*changes: tuple[int, str]) -> str:
    rows = {number: f"question {number},reply {number}" for number in range(1, 1_001)}
    return lines_of("prompt,completion", *(rows | dict(changes)).values())


@pytest.mark.parametrize(
    "text",
    [
        csv_of((5, '"question 5,reply 5')),
        csv_of((5, '"question 5,reply 5'), (900, 'question 900,"reply 900"')),
        csv_of((5, 'question 5,"reply 5'), (900, '",x')),
    ],
)
def test_a_stray_quote_that_swallows_the_next_records_is_named(tmp_path: Path, text: str) -> None:
    with pytest.raises(DataError, match=r"a\.csv:6: .*quote"):
        read(put(tmp_path, "a.csv", text))


def test_a_bad_record_with_line_ends_in_its_text_costs_one_row(tmp_path: Path) -> None:
    text = 'prompt,completion\na,b\nc,"one\ntwo\nthree" d\ne,"f\ng",h\ni,j\nk,"l\nm'
    loaded = read(put(tmp_path, "a.csv", text))
    assert replies(loaded) == {"b", "j"}
    assert [(q.line, q.reason) for q in loaded.quarantine] == [
        (3, "bad_csv"),
        (6, "wrong_cell_count"),
        (9, "bad_csv"),
    ]


def test_a_header_that_cannot_be_parsed_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"a\.csv:1: .*header"):
        read(put(tmp_path, "a.csv", '"prompt"x,completion\na,b\nc,d\n'))


def test_csv_cells_may_hold_messages_and_long_texts(tmp_path: Path) -> None:
    turns = json.dumps([{"role": "user", "content": "x" * 200_000}])
    quoted = turns.replace('"', '""')
    loaded = read(put(tmp_path, "a.tsv", f'prompt\tcompletion\n"{quoted}"\t[1]\n'))
    row = loaded.pool.rows()[0]
    assert len(row.messages[0].content) == 200_000
    assert row.reply == "[1]"


def test_an_empty_cell_of_a_mapped_column_is_an_empty_text(tmp_path: Path) -> None:
    path = put(tmp_path, "a.csv", "ask,say\nhello,\n")
    loaded = read(path, columns={"prompt": "ask", "completion": "say"})
    assert replies(loaded) == {""}


def test_a_column_named_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="twice"):
        read(put(tmp_path, "a.csv", "prompt,completion,prompt\na,b,c\n"))


def test_parquet_gives_rows_and_typed_columns(tmp_path: Path) -> None:
    turns = [[{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]] * 2
    turns[1] = [*turns[1], turns[1][0], {"role": "assistant", "content": "c", "weight": 0}]
    table = pa.table(
        {
            "messages": turns,
            "score": [float("nan"), 0.5],
            "when": pa.array([0, 1], pa.timestamp("s")),
            "tags": [None, ["x"]],
        }
    )
    pq.write_table(table, tmp_path / "a.parquet")
    loaded = read(tmp_path / "a.parquet")
    rows = {row.origins[0].line: row for row in loaded.pool.rows()}
    assert json.loads(rows[1].origins[0].extra) == {"when": "1970-01-01T00:00:00"}
    assert json.loads(rows[2].origins[0].extra)["tags"] == ["x"]
    assert [m.trains for m in rows[2].messages] == [False, True, False, False]


def test_one_parquet_row_that_is_not_utf8_costs_one_row(tmp_path: Path) -> None:
    texts = pa.array([b"a", b"\xff", b"c"]).view(pa.string())
    pq.write_table(
        pa.table({"prompt": texts, "completion": ["1", "2", "3"]}), tmp_path / "a.parquet"
    )
    loaded = read(tmp_path / "a.parquet")
    assert replies(loaded) == {"1", "3"}
    assert [(q.line, q.reason) for q in loaded.quarantine] == [(2, "not_utf8")]


NO_VALUE = {
    "second": pa.array([0, 2**60, 0], pa.timestamp("s")),
    "microsecond": pa.array([0, 2**62, 0], pa.timestamp("us", tz="UTC")),
    "day": pa.array([0, 2**31 - 1, 0], pa.date32()),
    "duration": pa.array([0, 2**62, 0], pa.duration("s")),
    "list": pa.array([[0], [0, 2**60], []], pa.list_(pa.timestamp("s"))),
    "twin": pa.StructArray.from_arrays(
        [pa.array([1, 2, 3]), pa.array([1, 2, 3])],
        names=["a", "a"],
        mask=pa.array([True, False, True]),
    ),
}


@pytest.mark.parametrize("name", NO_VALUE)
def test_a_cell_that_python_has_no_value_for_costs_one_row(tmp_path: Path, name: str) -> None:
    columns = {"prompt": ["a", "b", "c"], "completion": ["1", "2", "3"], "x": NO_VALUE[name]}
    with pa.OSFile(str(tmp_path / "a.arrow"), "wb") as file:
        table = pa.table(columns)
        with pa.ipc.new_stream(file, table.schema) as stream:
            stream.write_table(table)
    put(tmp_path, "state.json", '{"_data_files": [{"filename": "a.arrow"}]}')
    loaded = read(tmp_path)
    assert replies(loaded) == {"1", "3"}
    assert [(q.line, q.reason) for q in loaded.quarantine] == [(2, "bad_value")]


JSON_CELLS = {
    "{": "bad_json",
    "[" * 50_000 + "]" * 50_000: "nested_too_deep",
    '{"a": 1, "a": 2}': "duplicate_key",
    "NaN": "not_a_number",
    "1" * 5_000: "oversized_integer",
}


@pytest.mark.parametrize("cell", JSON_CELLS, ids=JSON_CELLS.values())
def test_a_json_cell_that_cannot_be_read_costs_one_row(tmp_path: Path, cell: str) -> None:
    field = pa.field("x", pa.string(), metadata={"treadle": "json"})
    schema = pa.schema([("prompt", pa.string()), ("completion", pa.string()), field])
    table = pa.table([["a", "b", "c"], ["1", "2", "3"], ["[1]", cell, None]], schema=schema)
    pq.write_table(table, tmp_path / "a.parquet")
    loaded = read(tmp_path / "a.parquet")
    assert replies(loaded) == {"1", "3"}
    assert [(q.line, q.reason) for q in loaded.quarantine] == [(2, JSON_CELLS[cell])]


def test_a_parquet_column_named_twice_is_refused(tmp_path: Path) -> None:
    table = pa.table([["a"], ["b"], ["c"]], names=["prompt", "completion", "prompt"])
    pq.write_table(table, tmp_path / "a.parquet")
    with pytest.raises(DataError, match=r"a\.parquet: .*twice"):
        read(tmp_path / "a.parquet")


def test_a_dataset_that_hugging_face_saved_is_read_without_its_package(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    dataset = datasets.Dataset.from_list(RECORDS)
    dataset.select([4, 2, 0]).save_to_disk(str(tmp_path / "some"), num_shards=2)
    assert replies(read(tmp_path / "some")) == {"0", "2", "4"}
    datasets.DatasetDict({"train": dataset}).save_to_disk(str(tmp_path / "one"))
    assert read(tmp_path / "one").read == 5
    both = datasets.DatasetDict({"test": dataset, "train": dataset})
    both.save_to_disk(str(tmp_path / "both"))
    with pytest.raises(DataError, match="2 splits"):
        read(tmp_path / "both")
    assert read(tmp_path / "both" / "train").read == 5


@pytest.mark.parametrize("name", ["../a.arrow", "/etc/passwd", "..", ""])
def test_a_saved_dataset_cannot_name_files_outside_its_folder(tmp_path: Path, name: str) -> None:
    state = {"_data_files": [{"filename": name}]}
    put(tmp_path, "state.json", json.dumps(state))
    with pytest.raises(DataError, match="files of this folder"):
        read(tmp_path)


def test_a_saved_pool_is_read_as_it_was(tmp_path: Path) -> None:
    first = read(put(tmp_path, "a.jsonl", lines_of(GOOD, GOOD, OTHER)))
    save_pool(first.pool, tmp_path / "pool")
    again = read(tmp_path / "pool")
    assert again.pool.frame.equals(first.pool.frame)
    assert (again.read, again.merged, again.layout) == (2, 0, "pool")
    both = read([tmp_path / "pool", tmp_path / "a.jsonl"])
    assert counts_add_up(both)
    assert (len(both.pool), both.merged) == (2, 3)


def test_a_pool_with_a_broken_manifest_is_refused(tmp_path: Path) -> None:
    put(tmp_path, "manifest.json", '{"shards": [{}]}')
    with pytest.raises(DataError, match="not a treadle pool"):
        read(tmp_path)


def edit_pool(folder: Path, **changes: object) -> None:
    """Change what the manifest says, of the pool or (`shard_…`) of its only shard."""
    manifest = json.loads((folder / "manifest.json").read_text())
    for name, value in changes.items():
        if name.startswith("shard_"):
            manifest["shards"][0][name.removeprefix("shard_")] = value
        else:
            manifest[name] = value
    (folder / "manifest.json").write_text(json.dumps(manifest))


@pytest.mark.parametrize(
    "changes",
    [
        {"shards": []},
        {"shards": 7},
        {"rows": 3},
        {"pool": "0" * 32},
        {"shard_rows": 1},
        {"shard_sha256": "0" * 64},
        {"shard_file": "../pool/shard-00000.parquet"},
        {"shard_file": "gone.parquet"},
        {"shard_file": 7},
        {"shard_file": "\0"},
    ],
)
def test_a_pool_that_is_not_what_its_manifest_says_is_refused(
    tmp_path: Path, changes: dict[str, object]
) -> None:
    rows = read(put(tmp_path, "a.jsonl", lines_of(GOOD, OTHER))).pool
    save_pool(rows, tmp_path / "pool")
    edit_pool(tmp_path / "pool", **changes)
    with pytest.raises(DataError, match="pool"):
        load_pool(tmp_path / "pool")


@pytest.mark.parametrize("change", ["ids", "schema"])
def test_a_pool_with_another_table_for_its_shard_is_refused(tmp_path: Path, change: str) -> None:
    pool = read(put(tmp_path, "a.jsonl", lines_of(GOOD, OTHER))).pool
    save_pool(pool, tmp_path / "pool")
    frame = pool.frame.with_columns(id=pl.lit("x")) if change == "ids" else pool.frame.drop("kind")
    blob = to_parquet(frame)
    put(tmp_path / "pool", "shard-00000.parquet", blob)
    edit_pool(tmp_path / "pool", shard_sha256=hashlib.sha256(blob).hexdigest())
    with pytest.raises(DataError, match="pool"):
        load_pool(tmp_path / "pool")


def test_a_pool_takes_the_place_of_an_older_one_whole_and_of_nothing_else(tmp_path: Path) -> None:
    pool = read(put(tmp_path, "a.jsonl", lines_of(GOOD, OTHER))).pool
    save_pool(pool, tmp_path / "pool")
    put(tmp_path / "pool", "shard-00009.parquet", b"left over")
    save_pool(pool.keep(pool.ids[:1]), tmp_path / "pool")
    assert load_pool(tmp_path / "pool").ids == pool.ids[:1]
    names = sorted(path.name for path in (tmp_path / "pool").iterdir())
    assert names == ["manifest.json", "shard-00000.parquet"]
    with pytest.raises(StoreError, match="cannot be written"):
        save_pool(pool, tmp_path / "a.jsonl" / "pool")
    with pytest.raises(DataError, match="no saved pool"):
        save_pool(pool, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.jsonl", "pool"]


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
