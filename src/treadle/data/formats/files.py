"""File kinds that rows are written as, each put in place whole or not at all.

A writer is given a function that yields the records afresh, because typed files need two passes:
one to find a type for every column, one to write. A user column gets an Arrow type of its own when
that type holds every value exactly; otherwise it is JSON text, marked so that `read` decodes it.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

import pyarrow as pa
import pyarrow.parquet as pq

from treadle.data.formats.typed_files import JSON_COLUMN, STATE
from treadle.data.publishing import published, published_folder
from treadle.errors import DataError

Record = dict[str, object]
Chunks = Callable[[], Iterator[list[Record]]]

_TURN = [("role", pa.string()), ("content", pa.string())]
_PAIR = [("from", pa.string()), ("value", pa.string())]
# Written by layouts only: users' columns of these names are renamed before they come here.
_TURN_COLUMNS = ("messages", "conversations", "prompt", "completion", "chosen", "rejected")
_LINE_ENDS = {"\u2028": "\\u2028", "\u2029": "\\u2029", "\x85": "\\u0085"}
_INFO = {"citation": "", "description": "", "homepage": "", "license": ""}


@contextmanager
def _text(path: Path) -> Iterator[TextIO]:
    with published(path) as file:
        text = io.TextIOWrapper(file, encoding="utf-8", newline="")
        yield text
        text.flush()
        text.detach()


def json_text(record: Record) -> str:
    """Encode a record on one line, even for readers that take U+2028 or U+0085 for a line end."""
    text = json.dumps(record, ensure_ascii=False, allow_nan=False)
    for mark, escaped in _LINE_ENDS.items():
        text = text.replace(mark, escaped)
    return text


def _json_lines(chunks: Chunks, path: Path) -> None:
    with _text(path) as file:
        for chunk in chunks():
            file.writelines(json_text(record) + "\n" for record in chunk)


def _json_array(chunks: Chunks, path: Path) -> None:
    with _text(path) as file:
        before = "[\n"
        for chunk in chunks():
            for record in chunk:
                file.write(before + json_text(record))
                before = ",\n"
        file.write("\n]\n" if before == ",\n" else "[]\n")


def _separated(delimiter: str) -> Callable[[Chunks, Path], None]:
    def write_separated(chunks: Chunks, path: Path) -> None:
        with _text(path) as file:
            writer = csv.writer(
                file, delimiter=delimiter, lineterminator="\n", quoting=csv.QUOTE_ALL
            )
            has_header = False
            for chunk in chunks():
                for record in chunk:
                    if not has_header:
                        writer.writerow(record)
                        has_header = True
                    writer.writerow([_cell(value) for value in record.values()])

    return write_separated


def _cell(value: object) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _parquet(chunks: Chunks, path: Path) -> None:
    schema = _schema(chunks)
    with (
        published(path) as file,
        pq.ParquetWriter(file, schema, compression="zstd") as writer,
    ):
        for chunk in chunks():
            writer.write_table(_table(chunk, schema))


def _saved_dataset(chunks: Chunks, folder: Path) -> None:
    """Write what `datasets.load_from_disk` reads: one Arrow stream and its description."""
    if folder.exists() and not _may_replace(folder):
        raise DataError(f"{folder}: exists and is no saved dataset. Choose another folder.")
    schema = _schema(chunks)
    with published_folder(folder) as fresh:
        data = fresh / "data-00000-of-00001.arrow"
        with published(data) as file, pa.ipc.new_stream(file, schema) as stream:
            for chunk in chunks():
                stream.write_table(_table(chunk, schema))
        _describe(fresh, data)


def _may_replace(folder: Path) -> bool:
    return folder.is_dir() and ((folder / STATE).is_file() or not any(folder.iterdir()))


def _describe(folder: Path, data: Path) -> None:
    with data.open("rb") as file:
        fingerprint = hashlib.file_digest(file, "sha256").hexdigest()[:16]
    state: dict[str, object] = {
        "_data_files": [{"filename": data.name}],
        "_fingerprint": fingerprint,
        "_format_columns": None,
        "_format_kwargs": {},
        "_format_type": None,
        "_output_all_columns": False,
        "_split": None,
    }
    for name, content in (("dataset_info.json", _INFO), (STATE, state)):
        with published(folder / name) as file:
            file.write((json.dumps(content, indent=2) + "\n").encode())


WRITERS: dict[str, Callable[[Chunks, Path], None]] = {
    ".jsonl": _json_lines,
    ".ndjson": _json_lines,
    ".json": _json_array,
    ".csv": _separated(","),
    ".tsv": _separated("\t"),
    ".parquet": _parquet,
    "": _saved_dataset,
}


def _schema(chunks: Chunks) -> pa.Schema:
    """Find a type for every column: its own where that is exact for all values, JSON otherwise."""
    types: dict[str, pa.DataType | None] = {}
    for chunk in chunks():
        for name in chunk[0]:
            found = _type([record[name] for record in chunk], name)
            types[name] = _joined(types.get(name, pa.null()), found)
    fields = []
    for name, kind in types.items():
        if kind is None:
            fields.append(pa.field(name, pa.string(), metadata=JSON_COLUMN))
        else:
            fields.append(pa.field(name, pa.string() if pa.types.is_null(kind) else kind))
    return pa.schema(fields)


def _type(values: list[object], name: str) -> pa.DataType | None:
    """The type that Arrow infers, when it gives back the very same values and has no objects."""
    if name in _TURN_COLUMNS:
        return _turns_type(values)
    if name == "history":
        return pa.list_(pa.list_(pa.string()))
    try:
        array = pa.array(values)
        back = array.to_pylist()
    except (pa.ArrowException, ValueError, TypeError, OverflowError):
        return None
    same = json.dumps(back, sort_keys=True) == json.dumps(values, sort_keys=True)
    return array.type if same and "struct" not in str(array.type) else None


def _turns_type(values: list[object]) -> pa.DataType:
    turns = [turn for value in values if isinstance(value, list) for turn in value]
    fields = list(_TURN if "content" in turns[0] else _PAIR)
    if any("weight" in turn for turn in turns):
        fields.append(("weight", pa.int64()))
    return pa.list_(pa.struct(fields))


def _joined(a: pa.DataType | None, b: pa.DataType | None) -> pa.DataType | None:
    """The one type of two chunks; None (JSON) when there is none."""
    if a is None or b is None:
        return None
    if pa.types.is_null(a) or a.equals(b):
        return b
    if pa.types.is_list(a) and pa.types.is_list(b):
        inner = _joined(a.value_type, b.value_type)
        return None if inner is None else pa.list_(inner)
    return a if pa.types.is_null(b) else None


def _table(records: list[Record], schema: pa.Schema) -> pa.Table:
    arrays = []
    for field in schema:
        values = [record[field.name] for record in records]
        if field.metadata:
            values = [None if v is None else json.dumps(v, ensure_ascii=False) for v in values]
        arrays.append(pa.array(values, type=field.type))
    return pa.Table.from_arrays(arrays, schema=schema)
