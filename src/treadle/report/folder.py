"""Read a run folder, finished or not: what is there, what is not, and what cannot be read.

A report must also be possible for a run that stopped half-way, so a missing part is None and a
damaged one is None with a sentence in `problems`, which the page shows. Nothing is written here:
the ledger is copied into memory before it is opened.
"""

from __future__ import annotations

import json
import math
import sqlite3
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, is_dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

import polars as pl

from treadle.data.pool import Pool, load_pool
from treadle.data.selection import FINDING_SCHEMA
from treadle.data.verdict import RESULT_SCHEMA, SetResult, Verdict
from treadle.errors import DataError, TreadleError
from treadle.machinery.ledger import read_costs

FINDINGS = {"id": pl.String, "op": pl.String} | FINDING_SCHEMA
SELECTION = {"arm": pl.String, "id": pl.String, "rank": pl.Int64, "reason": pl.String}
ITEMS = {"item": pl.String, "prompt": pl.String, "answer": pl.String}
REPLIES = {"arm": pl.String, "seed": pl.Int64, "item": pl.String, "reply": pl.String}
QUARANTINED = {
    "file": pl.String,
    "line": pl.Int64,
    "reason": pl.String,
    "sha256": pl.String,
    "excerpt": pl.String,
}
Schema = Mapping[str, "type[pl.DataType]"]
Part = TypeVar("Part")


@dataclass(frozen=True, slots=True)
class Counts:
    """What happened to the rows, as the run counted it. None: that step has not been reached."""

    read: int | None
    quarantined: int | None
    merged: int | None
    held_out: int | None
    rows: int | None
    dropped: Mapping[str, int] | None
    left_after_audit: int | None
    selected: int | None
    failed: Mapping[str, int] | None
    left: Mapping[str, int] | None


@dataclass(frozen=True, slots=True)
class StageCost:
    """What a stage took, from the ledger."""

    stage: str
    tasks: int
    seconds: float
    rows: int
    tokens: int


@dataclass(frozen=True, slots=True)
class Expected:
    """What the run was expected to take, said when it began: minutes by part of the wheel."""

    minutes: Mapping[str, float]
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class RunFolder:
    """Everything in a run folder that the report shows."""

    path: Path
    recipe: str | None
    counts: Counts | None
    figures: Mapping[str, object]
    verdict: Verdict | None
    sets: Mapping[str, SetResult] | None
    pool: Pool | None
    findings: pl.DataFrame | None
    features: pl.DataFrame | None
    selection: pl.DataFrame | None
    results: pl.DataFrame | None
    items: pl.DataFrame | None
    replies: pl.DataFrame | None
    quarantine: pl.DataFrame | None
    costs: tuple[StageCost, ...] | None
    expected: Expected | None
    problems: tuple[str, ...]

    @property
    def name(self) -> str:
        return self.path.name


def read_run(path: Path) -> RunFolder:
    """Read a run folder.

    Raises:
        DataError: the folder does not exist or holds no part of a run.
    """
    folder = path.resolve()
    problems: list[str] = []
    part = partial(_part, folder, problems)
    run = RunFolder(
        path=folder,
        recipe=part("recipe.yaml", lambda p: p.read_text(encoding="utf-8", errors="replace")),
        counts=part("counts.json", _counts),
        figures=part("figures.json", _mapping) or {},
        verdict=part("verdict.json", _verdict),
        sets=part("by_set.json", _sets),
        pool=part("pool", load_pool),
        findings=part("findings.parquet", lambda p: _frame(p, FINDINGS)),
        features=part("features.parquet", lambda p: _frame(p, {"id": pl.String})),
        selection=part("selection.parquet", lambda p: _frame(p, SELECTION)),
        results=part("results.parquet", lambda p: _frame(p, RESULT_SCHEMA)),
        items=part("items.parquet", lambda p: _frame(p, ITEMS)),
        replies=part("replies.parquet", lambda p: _frame(p, REPLIES)),
        quarantine=part("quarantine.jsonl", _quarantine),
        costs=part("ledger.sqlite", _costs),
        expected=part("estimate.json", _expected),
        problems=tuple(problems),
    )
    known = (getattr(run, f.name) for f in fields(run) if f.name not in ("path", "figures"))
    if not any(value is not None and value != () for value in known) and not run.figures:
        raise DataError(
            f"{path}: no part of a run is here. Give the folder that `treadle run` wrote "
            "(it holds recipe.yaml and counts.json)."
        )
    return run


def _part(
    folder: Path, problems: list[str], name: str, read: Callable[[Path], Part]
) -> Part | None:
    """Read one part; None if it is not there, or if it is damaged, which `problems` then tells."""
    where = folder / name
    if not where.exists():
        return None
    try:
        return read(where)
    except (OSError, ValueError, KeyError, TypeError, TreadleError) as error:
        problems.append(f"{name}: {_plain(error, folder)}")
    except (pl.exceptions.PolarsError, sqlite3.Error) as error:
        problems.append(f"{name}: {_plain(error, folder)}")
    return None


def _plain(error: Exception, folder: Path) -> str:
    """One line of an error, without the place where this machine keeps its files."""
    lines = str(error).replace(f"{folder}/", "").strip().splitlines()
    return lines[0] if lines else type(error).__name__


def _mapping(path: Path) -> Mapping[str, object]:
    data = json.loads(path.read_bytes())
    if not isinstance(data, dict):
        raise DataError(f"expected a JSON object, found {type(data).__name__}.")
    return data


def _counts(path: Path) -> Counts:
    data = _mapping(path)

    def whole(key: str) -> int | None:
        value = data.get(key)
        return None if value is None else int(str(value))

    def by_reason(key: str) -> dict[str, int] | None:
        value = data.get(key)
        if value is None:
            return None
        if not isinstance(value, dict):
            raise DataError(f"{key} is not a mapping of reasons to counts.")
        return {str(reason): int(n) for reason, n in value.items()}

    names = ("read", "quarantined", "merged", "held_out", "rows", "left_after_audit", "selected")
    numbers = {name: whole(name) for name in names}
    return Counts(
        **numbers,
        dropped=by_reason("dropped"),
        failed=by_reason("failed"),
        left=by_reason("left"),
    )


def _verdict(path: Path) -> Verdict:
    found: Verdict = _typed(Verdict, json.loads(path.read_bytes()))
    return found


def _sets(path: Path) -> Mapping[str, SetResult]:
    return {name: _typed(SetResult, one, name) for name, one in _mapping(path).items()}


def _typed(kind: Any, value: Any, name: str = "the verdict") -> Any:
    """Build what a type asks for from plain JSON.

    Raises:
        DataError: a part is of another type, so that nothing later meets a word for a number.
    """
    if isinstance(kind, type) and is_dataclass(kind) and isinstance(value, dict):
        hints = {key: hint for key, hint in get_type_hints(kind).items() if key in value}
        return kind(**{key: _typed(hint, value[key], key) for key, hint in hints.items()})
    if get_origin(kind) is tuple and isinstance(value, list):
        return tuple(_typed(get_args(kind)[0], one, name) for one in value)
    if get_origin(kind) is Literal and value in get_args(kind):
        return value
    if kind is float and value is None:
        return math.nan  # JSON null is an unknown number
    if kind is float and isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    if kind in (int, str) and type(value) is kind:
        return value
    raise DataError(f"{name} cannot be {str(value)[:40]!r}.")


def _frame(path: Path, schema: Schema) -> pl.DataFrame:
    frame = pl.read_parquet(path, use_pyarrow=False)
    missing = [name for name in schema if name not in frame.columns]
    if missing:
        raise DataError(f"no column {', '.join(missing)}.")
    return frame.with_columns(pl.col(name).cast(kind) for name, kind in schema.items())


def _quarantine(path: Path) -> pl.DataFrame:
    # Split at \n only: excerpts may hold U+2028 and its like, which str.splitlines also cuts.
    lines = [line for line in path.read_text(encoding="utf-8").split("\n") if line.strip()]
    records = [{key: json.loads(line).get(key) for key in QUARANTINED} for line in lines]
    return pl.DataFrame(records, schema=QUARANTINED, orient="row", strict=False)


def _costs(path: Path) -> tuple[StageCost, ...]:
    return tuple(StageCost(**row) for row in read_costs(path))


def _expected(path: Path) -> Expected:
    data = json.loads(path.read_bytes())
    try:
        minutes = {str(name): float(value) for name, value in data["minutes"].items()}
        return Expected(minutes, float(data["low"]), float(data["high"]))
    except (KeyError, TypeError, AttributeError) as error:
        raise DataError(f"holds no minutes ({error!r}).") from error
