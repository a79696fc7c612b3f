"""How many of the demo's planted defects did a run catch, and where did the others go?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import polars as pl

from treadle.data.pool import load_pool
from treadle.flywheel.arms import TESTED
from treadle.flywheel.demo import planted_recall
from treadle.flywheel.run_folder import RunFolder


def score(folder: RunFolder, planted: Mapping[str, Any]) -> dict[str, object]:
    """Compare a run with `planted.json` and add the result to the run's figures.

    A defect is caught when its row was quarantined, merged with an equal one, or flagged by an audit.
    `in_selection` counts, for each kind, the sampled and the selected rows that carry the defect:
    selectors see what audits cannot.
    """
    users = _user_ids(folder)
    flagged: dict[str, set[str]] = {}
    for record in folder.read_frame("findings.parquet").iter_rows(named=True):
        for user in users.get(record["id"], ()):
            flagged.setdefault(user, set()).add(record["reason"])
    for names in users.values():
        if len(names) > 1:  # equal content: loading kept one row and every origin
            for user in names:
                flagged.setdefault(user, set()).add("merged")
    for bad in folder.read_lines("quarantine.jsonl"):
        flagged.setdefault(f"{bad['file']}:{bad['line']}", set()).add(str(bad["reason"]))
    found = planted_recall(planted, flagged, int(planted["clean"]))
    found["in_selection"] = _in_selection(folder, planted, users)
    folder.write_json(
        "figures.json", {**folder.read_json("figures.json"), "planted": _for_report(found)}
    )
    return found


def _for_report(found: Mapping[str, Any]) -> dict[str, object]:
    kinds = {
        row["kind"]: {
            "planted": row["planted"],
            "found": row["caught"],
            **found["in_selection"].get(row["kind"], {}),
        }
        for row in found["table"]
    }
    rest = {key: found[key] for key in ("clean", "false_flags", "false_flag_rate")}
    return {**kinds, **rest}


def _user_ids(folder: RunFolder) -> dict[str, list[str]]:
    frame = load_pool(folder.path / "pool").frame
    names = frame["origins"].list.eval(pl.element().struct.field("id"))
    return dict(zip(frame["id"].to_list(), names.to_list(), strict=True))


def _in_selection(
    folder: RunFolder, planted: Mapping[str, Any], users: Mapping[str, list[str]]
) -> dict[str, dict[str, int]]:
    """Count the rows of each kind that were candidates, and those that were chosen."""
    rows = folder.read_frame("selection.parquet").filter(pl.col("arm") == TESTED)
    rows = rows.filter(pl.col("reason") != "not_sampled")
    chosen = rows.filter(pl.col("rank").is_not_null())
    counts = {}
    for kind, defects in sorted(planted["defects"].items()):
        bad = {one["id"] for one in defects}
        ids = {key for key, names in users.items() if bad & set(names)}
        sampled = rows.filter(pl.col("id").is_in(ids)).height
        counts[kind] = {
            "candidates": sampled,
            "selected": chosen.filter(pl.col("id").is_in(ids)).height,
        }
    counts["all_rows"] = {"candidates": rows.height, "selected": chosen.height}
    return counts
