"""Where did every row end? One status a row, with its reason.

    selected     chosen for the tested arm            left       passed the audit, not chosen
    dropped      the audit dropped it                 kept       passed the audit, nothing chosen yet
    failed       a measure failed on it               held_out   became an evaluation item
    quarantined  a line that could not be read        read       not audited yet

A row that several audits dropped counts once, under the first finding in `findings.parquet`.
Rows held out for evaluation are counted and never shown as rows: until the gate has decided, nobody
is to read them.
"""

from __future__ import annotations

import polars as pl
import yaml

from treadle.data.selection import Budget
from treadle.errors import RecipeError
from treadle.flywheel.load import hold_out
from treadle.report.folder import RunFolder

ORDER = ("selected", "left", "kept", "dropped", "failed", "quarantined", "read")
TESTED = "selected"
STATUS = {"id": pl.String, "status": pl.String, "reason": pl.String, "rank": pl.Int64}


def statuses(run: RunFolder) -> pl.DataFrame:
    """Return `id`, `status`, `reason` and `rank` of the rows, held-out ones left out, by id."""
    if run.pool is None:
        return pl.DataFrame(schema=STATUS)
    frame = rows(run).with_columns(
        pl.lit(_default(run)).alias("status"),
        pl.lit("").alias("reason"),
        pl.lit(None, dtype=pl.Int64).alias("rank"),
    )
    if run.selection is not None:
        frame = _override(frame, _chosen_or_left(run.selection))
    if run.findings is not None:
        frame = _override(frame, _dropped(run.findings))
    return frame.sort("id")


def _default(run: RunFolder) -> str:
    """What a row is that neither the audit nor the selection names."""
    if run.findings is None:
        return "read"
    return "kept" if run.selection is None else "failed"


def rows(run: RunFolder) -> pl.DataFrame:
    """Return the ids of the pool's rows without those held out for evaluation."""
    if run.pool is None:
        return pl.DataFrame(schema={"id": pl.String})
    share = _held_out_share(run)
    pool = run.pool if share is None else hold_out(run.pool, share)[0]
    return pool.frame.select("id")


def _held_out_share(run: RunFolder) -> float | None:
    """The share of the rows that the recipe holds out (`data: {evaluate: 10%}`), if it does."""
    try:
        recipe = yaml.safe_load(run.recipe or "")
        text = str(recipe["data"]["evaluate"]).strip()
        return Budget.parse(text).amount if text.endswith("%") else None
    except (yaml.YAMLError, KeyError, TypeError, RecipeError):
        return None


def arm_ids(run: RunFolder, arm: str) -> pl.DataFrame:
    """Return the ids chosen for an arm; `random` stands for `random-0`, `random-1`, …"""
    if run.selection is None:
        return pl.DataFrame(schema={"id": pl.String})
    is_arm = (pl.col("arm") == arm) | pl.col("arm").str.contains(f"^{arm}-\\d+$")
    return run.selection.filter(is_arm & pl.col("rank").is_not_null()).select("id")


def after_audit(run: RunFolder) -> pl.DataFrame:
    """Return the ids of the rows that the audit left."""
    ids = rows(run)
    return ids if run.findings is None else ids.join(run.findings, on="id", how="anti")


def _chosen_or_left(selection: pl.DataFrame) -> pl.DataFrame:
    tested = selection.filter(pl.col("arm") == TESTED)
    status = pl.when(pl.col("rank").is_null()).then(pl.lit("left")).otherwise(pl.lit("selected"))
    return tested.select("id", status.alias("status"), pl.col("reason").fill_null(""), "rank")


def _dropped(findings: pl.DataFrame) -> pl.DataFrame:
    first = findings.unique("id", keep="first", maintain_order=True)
    return first.select(
        "id",
        pl.lit("dropped").alias("status"),
        pl.col("reason").fill_null(""),
        pl.lit(None, dtype=pl.Int64).alias("rank"),
    )


def _override(frame: pl.DataFrame, newer: pl.DataFrame) -> pl.DataFrame:
    rest = frame.join(newer, on="id", how="anti")
    known = newer.join(frame.select("id"), on="id", how="semi").unique("id", keep="first")
    return pl.concat([rest, known.select(STATUS.keys())])
