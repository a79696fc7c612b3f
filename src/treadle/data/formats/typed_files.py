"""Typed files as raw records: Parquet, and datasets that Hugging Face `datasets` saved on disk.

The Arrow files of a saved dataset are read directly, so `datasets` need not be installed. A saved
dataset with several splits must be named split by split: nothing here may mix a test split into
what is trained on. NaN is how pandas writes a missing number, so it is read as absent.
"""

from __future__ import annotations

import json
from collections.abc import Container, Iterable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from treadle.data.formats.quoting import listed
from treadle.data.formats.raw import Raw
from treadle.data.formats.strict_json import StrictJson
from treadle.data.formats.turns import MalformedError
from treadle.data.publishing import is_plain
from treadle.errors import DataError

BATCH_ROWS = 1024
JSON_COLUMN = {b"treadle": b"json"}
# A date beyond the year 9999, nanoseconds without pandas, a struct with two fields of one name.
_NO_VALUE = (ValueError, ArithmeticError)
STATE, SPLITS = "state.json", "dataset_dict.json"


def parquet(path: Path) -> Iterator[Raw]:
    """Yield the records of a Parquet file, in batches."""
    with pq.ParquetFile(path) as file:
        yield from _batches(file.iter_batches(batch_size=BATCH_ROWS), 1, path)


def is_saved_dataset(folder: Path) -> bool:
    """Whether `datasets.save_to_disk` wrote this folder."""
    return (folder / STATE).is_file() or (folder / SPLITS).is_file()


def saved_dataset(folder: Path) -> Iterator[Raw]:
    """Yield the records of a saved dataset.

    Raises:
        DataError: it has several splits, or its description cannot be trusted.
    """
    if not (folder / STATE).is_file():
        folder = folder / _only_split(folder)
    state = _description(folder / STATE)
    if state.get("_indices_data_files"):
        raise DataError(
            f"{folder}: saved by an old `datasets` with row indices kept apart. "
            "Load it there and save it again with a current version."
        )
    number = 1
    for name in _data_files(state, folder):
        with pa.memory_map(str(folder / name)) as source:
            for batch in pa.ipc.open_stream(source):
                yield from _batches([batch], number, folder)
                number += batch.num_rows


def _description(path: Path) -> dict[str, object]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read ({error}).") from None
    if not isinstance(found, dict):
        raise DataError(f"{path}: holds no description of a dataset.")
    return found


def _only_split(folder: Path) -> str:
    names = _description(folder / SPLITS).get("splits")
    splits = [str(name) for name in names] if isinstance(names, list) else []
    if len(splits) == 1 and is_plain(splits[0]):
        return splits[0]
    raise DataError(
        f"{folder}: a saved dataset with {len(splits)} splits ({listed(sorted(splits))}). "
        f"Name the one to read, for example {folder / listed(sorted(splits)[-1:]) if splits else folder}."
    )


def _data_files(state: dict[str, object], folder: Path) -> list[str]:
    """File names from the description: it may name files of its own folder only."""
    entries = state.get("_data_files")
    names = [e.get("filename") for e in entries] if isinstance(entries, list) else []
    good = [name for name in names if is_plain(name)]
    if len(good) != len(names) or not good:
        raise DataError(f"{folder / STATE}: `_data_files` must name files of this folder.")
    return good


def _batches(batches: Iterable[pa.RecordBatch], number: int, path: Path) -> Iterator[Raw]:
    strict = StrictJson()
    for batch in batches:
        names = batch.schema.names
        if len(set(names)) != len(names):
            raise DataError(f"{path}: names a column twice: {listed(names)}.")
        as_json = {
            f.name for f in batch.schema if (f.metadata or {}).items() >= JSON_COLUMN.items()
        }
        for row in _rows(batch):
            if isinstance(row, MalformedError):
                yield Raw.broken(number, b"", row)
            else:
                yield _record(row, number, as_json, strict)
            number += 1


def _rows(batch: pa.RecordBatch) -> Iterator[dict[str, object] | MalformedError]:
    """Rows of a batch as Python objects; what one row holds must not cost the others."""
    try:
        yield from batch.to_pylist()
        return
    except _NO_VALUE:
        pass
    for i in range(batch.num_rows):
        try:
            yield batch.slice(i, 1).to_pylist()[0]
        except UnicodeDecodeError as error:
            yield MalformedError("not_utf8", f"a column is not UTF-8 ({error.reason})")
        except _NO_VALUE as error:
            yield MalformedError("bad_value", f"a column's value cannot be read: {error}")


def _record(
    row: dict[str, object], number: int, as_json: Container[str], strict: StrictJson
) -> Raw:
    fields: dict[str, object] = {}
    for name, value in row.items():
        if name in as_json and isinstance(value, str):
            try:
                fields[name] = strict.value(value)
            except MalformedError as error:
                return Raw(number, row, error=error)
        else:
            fields[name] = None if value != value else value
    return Raw.of(fields, number)
