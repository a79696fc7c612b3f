"""Parquet, saved datasets and saved pools: cells, columns and manifests that cannot be trusted."""

import hashlib
import json
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from files import GOOD, OTHER, RECORDS, counts_add_up, lines_of, put, replies
from treadle.data.formats.read import read
from treadle.data.pool import load_pool, save_pool, to_parquet
from treadle.errors import DataError, StoreError


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
