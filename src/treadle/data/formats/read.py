"""Read rows from files, and keep account of every record: row, merged into an equal row, or set aside.

    loaded = read("data/*.jsonl")
    loaded.read == len(loaded.pool) + loaded.merged + len(loaded.quarantine)

A bad record is data, not a crash: it is quarantined with its file, line, reason, digest and an
excerpt, and all other rows are unaffected. Too many bad ones are an error that names the first
reasons: the file is probably not what it is taken for. Reading stops early where the first 10,000
records give no row at all.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path

import polars as pl

from treadle.data.formats.layouts import check_options, convert, explain, recognise, rename
from treadle.data.formats.quoting import NAME_CHARACTERS, listed, printable
from treadle.data.formats.raw import Raw
from treadle.data.formats.sources import Source, expand, is_pool, labels, records
from treadle.data.formats.turns import MalformedError
from treadle.data.pool import Pool, load_pool
from treadle.data.row import Row, frame_of, from_frame, to_frame
from treadle.errors import DataError, RecipeError, nearest

CHUNK_ROWS = 16_384
TOLERATED = 20
HOPELESS = 10_000
EXCERPT_CHARACTERS = 200
DETAIL_CHARACTERS = 1_000


@dataclass(frozen=True, slots=True)
class Quarantined:
    """A record that is no row. `reason` is a key to count by, `detail` the sentence."""

    file: str
    line: int
    reason: str
    detail: str
    sha256: str
    excerpt: str

    def as_json(self) -> dict[str, object]:
        """Return plain data for `quarantine.jsonl`."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Loaded:
    """What `read` found. `layout` is the layout's name, `mixed`, or `pool` for a saved pool."""

    pool: Pool
    quarantine: tuple[Quarantined, ...]
    read: int
    merged: int
    layout: str


@dataclass(slots=True)
class _Tally:
    """Counts that grow while rows stream past."""

    read: int = 0
    loaded: int = 0
    quarantine: list[Quarantined] = field(default_factory=list)
    layouts: set[str] = field(default_factory=set)
    columns: set[str] = field(default_factory=set)


def read(
    source: Source,
    *,
    layout: str | None = None,
    label: str | None = None,
    columns: Mapping[str, str] | None = None,
    max_malformed: float = 0.05,
) -> Loaded:
    """Read rows from JSON Lines, JSON, CSV, TSV, Parquet, a saved dataset or a saved pool.

    Args:
        source: a path, several paths, or a pattern such as `data/*.jsonl`.
        layout: take every record for this layout; otherwise each is recognised by its columns.
        label: what to call the file in each row's origin; its own name otherwise.
        columns: the user's column for each of the layout's names, such as
            `{"prompt": "question", "completion": "long_answer"}`.
        max_malformed: the largest share of malformed records that is still let through
            (up to 20 records always are).

    Raises:
        DataError: nothing to read, no row in it, or too many malformed records.
        RecipeError: an unknown layout, an unknown name in `columns`, or a share outside [0, 1].
    """
    check_options(layout, columns)
    if not 0 <= max_malformed <= 1:
        raise RecipeError(f"max_malformed: must be a share in [0, 1], got {max_malformed}.")
    paths = expand(source)
    tally, frames = _Tally(), []
    for path, name in zip(paths, labels(paths, label), strict=True):
        if is_pool(path):
            frames.append(_saved_pool(path, tally))
            continue
        rows = _rows(path, name, layout, columns, tally)
        while chunk := list(islice(rows, CHUNK_ROWS)):
            frames.append(frame_of(chunk))
    _check(tally, paths, columns, max_malformed)
    pool = Pool(_stack(frames))
    names = tally.layouts
    return Loaded(
        pool=pool,
        quarantine=tuple(tally.quarantine),
        read=tally.read,
        merged=tally.loaded - len(pool),
        layout=next(iter(names)) if len(names) == 1 else "mixed",
    )


def _saved_pool(path: Path, tally: _Tally) -> pl.DataFrame:
    frame = load_pool(path).frame
    tally.read += frame.height
    tally.loaded += frame.height
    tally.layouts.add("pool")
    return frame


def _rows(
    path: Path,
    label: str,
    layout: str | None,
    columns: Mapping[str, str] | None,
    tally: _Tally,
) -> Iterator[Row]:
    """Yield the rows of one file; what is no row goes to the tally's quarantine."""
    for raw in records(path):
        tally.read += 1
        tally.columns.update(raw.fields)
        try:
            name, row = _convert(raw, label, layout, columns)
        except MalformedError as error:
            tally.quarantine.append(_quarantined(raw, label, error))
            if tally.loaded or len(tally.quarantine) < HOPELESS:
                continue
            raise _no_row(tally, str(path)) from None
        tally.layouts.add(name)
        tally.loaded += 1
        yield row


def _convert(
    raw: Raw, label: str, layout: str | None, columns: Mapping[str, str] | None
) -> tuple[str, Row]:
    if raw.error is not None:
        raise raw.error
    fields = raw.fields
    name = layout or recognise(rename(fields, columns) if columns else fields)
    if name is None:
        found = listed(sorted(fields), 12)
        raise MalformedError("unknown_layout", f"no known layout; columns: {found}")
    return name, convert(
        fields,
        name,
        file=label,
        line=raw.line,
        columns=columns,
        blank_is_absent=raw.blank_is_absent,
    )


def _quarantined(raw: Raw, label: str, error: MalformedError) -> Quarantined:
    blob = raw.blob()
    digest = hashlib.sha256(blob).hexdigest()
    detail = printable(str(error), DETAIL_CHARACTERS)
    start = blob[: 4 * EXCERPT_CHARACTERS].decode("utf-8", "replace")
    excerpt = printable(start, EXCERPT_CHARACTERS)
    return Quarantined(label, raw.line, error.reason, detail, digest, excerpt)


def _stack(frames: list[pl.DataFrame]) -> pl.DataFrame:
    """Join frames into one, merging equal rows; only rows that occur twice become objects."""
    frame = pl.concat(frames)
    twice = frame["id"].is_duplicated()
    if twice.any():
        merged = to_frame(from_frame(frame.filter(twice)))
        frame = pl.concat([frame.filter(~twice), merged])
    return frame.sort("id")


def _check(
    tally: _Tally,
    paths: Iterable[Path],
    columns: Mapping[str, str] | None,
    max_malformed: float,
) -> None:
    where = ", ".join(str(path) for path in islice(paths, 3))
    if not tally.read:
        raise DataError(f"{where}: holds no records.")
    absent = sorted(set((columns or {}).values()) - tally.columns)
    if absent and tally.columns:
        hint = nearest(absent[0], [printable(name, NAME_CHARACTERS) for name in tally.columns])
        if "Did you mean" not in hint:
            hint = f" Columns found: {listed(sorted(tally.columns))}."
        raise DataError(f"{where}: no record has the column {absent[0]!r}.{hint}")
    bad = len(tally.quarantine)
    if not tally.loaded:
        raise _no_row(tally, where)
    if bad > TOLERATED and bad > max_malformed * tally.read:
        raise DataError(
            f"{where}: {bad:,} of {tally.read:,} records are malformed. {_first_reasons(tally)} "
            f"Repair them, or allow a larger share: max_malformed={_share(bad / tally.read)}."
        )


def _no_row(tally: _Tally, where: str) -> DataError:
    if all(q.reason == "unknown_layout" for q in tally.quarantine):
        return DataError(f"{where}: {explain(tally.columns)}")
    return DataError(
        f"{where}: no row in it. {_first_reasons(tally)} {tally.read:,} records were read, with "
        f"the columns {listed(sorted(tally.columns))}. Is this the right file and layout?"
    )


def _first_reasons(tally: _Tally) -> str:
    first = "; ".join(f"{q.file}:{q.line}: {q.detail}" for q in tally.quarantine[:3])
    return f"First reasons: {first}."


def _share(value: float) -> float:
    """Round a share up to the next whole per cent, so that it lets the records through."""
    return min(1.0, (int(value * 100) + 1) / 100)
