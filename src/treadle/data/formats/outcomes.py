"""Write what single stages found: the rows that were chosen, kept or dropped, and tables of figures.

Trainers need one kind of row a file, so rows of several kinds are written to a file each.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path

import polars as pl

from treadle.data.formats.files import WRITERS
from treadle.data.formats.read import Loaded
from treadle.data.formats.write import write
from treadle.data.pool import Pool, to_parquet
from treadle.data.publishing import published
from treadle.data.row import Row, from_frame
from treadle.data.selection import Findings, Selection
from treadle.errors import RecipeError

ROW_FILES = tuple(WRITERS)
TABLE_FILES = (".parquet", ".csv", ".jsonl", ".ndjson")


def check_target(path: Path, kinds: Iterable[str]) -> None:
    """Refuse a file that could not be written, before the work that it is for.

    Args:
        kinds: the suffixes that can be written (ROW_FILES or TABLE_FILES); "" is a folder.

    Raises:
        RecipeError: the suffix is none of them, or the path is a file where a folder is to be, or
            the other way round.
    """
    known = [kind for kind in kinds if kind]
    if path.suffix.lower() not in kinds:
        raise RecipeError(f"{path}: cannot write {path.suffix!r}. Known: {', '.join(known)}.")
    if path.suffix and path.is_dir():
        raise RecipeError(f"{path}: is a folder. Name a file.")
    if not path.suffix:
        check_folder(path)


def check_folder(path: Path) -> None:
    """Refuse a path that cannot be a folder.

    Raises:
        RecipeError: it is a file.
    """
    if path.exists() and not path.is_dir():
        raise RecipeError(f"{path}: is a file. Name a folder.")


def write_by_kind(
    rows: Iterable[Row], path: Path, columns: Mapping[str, Mapping[str, object]]
) -> list[Path]:
    """Write rows in their order, and return the files: one, or one for each kind of row.

    `chosen.jsonl` becomes `chosen-chat.jsonl` and `chosen-preference.jsonl`.

    Args:
        columns: further columns for each row id, such as reasons.
    """
    kinds: dict[str, list[Row]] = {}
    for row in rows:
        kinds.setdefault(row.kind, []).append(row)
    files = {path.with_name(f"{path.stem}-{k}{path.suffix}"): kinds[k] for k in sorted(kinds)}
    if len(files) < 2:
        files = {path: [row for of_kind in files.values() for row in of_kind]}
    elif path.is_file():  # what an earlier command left there would be taken for this one's
        path.unlink()
    for file, of_kind in files.items():
        own = {row.id: columns[row.id] for row in of_kind if row.id in columns}
        write(of_kind, file, extra_columns=own)
    return list(files)


def write_selection(pool: Pool, selection: Selection, path: Path) -> list[Path]:
    """Write the chosen rows in their order, with rank and reason; return the files."""
    rows = {row.id: row for row in from_frame(pool.keep(selection.ids).frame)}
    columns = {
        chosen["id"]: {"treadle_rank": chosen["rank"], "treadle_reason": chosen["reason"]}
        for chosen in selection.chosen.iter_rows(named=True)
    }
    return write_by_kind([rows[key] for key in selection.ids], path, columns)


def write_audit(loaded: Loaded, found: Mapping[str, Findings], folder: Path) -> list[Path]:
    """Write kept.jsonl, dropped.jsonl (with reasons) and quarantine.jsonl; return the files.

    A row with several findings is dropped for the first. Kept rows that an audit is suspicious of
    say so (`treadle_suspicion`).
    """
    why = _reasons((findings.rows for findings in found.values()), "treadle_reason")
    doubts = _reasons((findings.suspicions for findings in found.values()), "treadle_suspicion")
    written = write_by_kind(loaded.pool.without(why).rows(), folder / "kept.jsonl", doubts)
    written += write_by_kind(loaded.pool.keep(why).rows(), folder / "dropped.jsonl", why)
    bad = folder / "quarantine.jsonl"
    lines = (json.dumps(q.as_json(), ensure_ascii=False) + "\n" for q in loaded.quarantine)
    with published(bad) as file:
        file.write("".join(lines).encode())
    return [*written, bad]


def _reasons(frames: Iterable[pl.DataFrame], column: str) -> dict[str, dict[str, object]]:
    """The first reason for each row, as columns to be written."""
    why: dict[str, dict[str, object]] = {}
    for frame in frames:
        for row in frame.iter_rows(named=True):
            why.setdefault(row["id"], {column: row["reason"], "treadle_other": row["other"]})
    return why


def write_table(frame: pl.DataFrame, path: Path) -> list[str]:
    """Write a frame as .parquet, .csv or .jsonl, and return the columns that the file has.

    CSV has no vectors: they are left out there.
    """
    check_target(path, TABLE_FILES)
    kind = path.suffix.lower()
    if kind == ".csv":
        frame = frame.select(c for c, dtype in frame.schema.items() if not dtype.is_nested())
        blob = frame.write_csv().encode()
    else:
        blob = to_parquet(frame) if kind == ".parquet" else frame.write_ndjson().encode()
    with published(path) as file:
        file.write(blob)
    return frame.columns
