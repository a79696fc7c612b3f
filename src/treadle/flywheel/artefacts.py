"""What a round leaves behind, in formats that other tools read.

    pool/ findings.parquet features.parquet selection.parquet results.parquet   for analysis
    selected.jsonl dataset_info.json adapter/                                   for TRL, LLaMA-Factory, PEFT
    dropped.jsonl quarantine.jsonl                                              every row not used, and why
    counts.json figures.json verdict.json items.parquet                         what the report shows
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import polars as pl

from treadle.data.pool import Pool, encode_pool
from treadle.data.row import from_frame
from treadle.data.verdict import RESULT_SCHEMA, Verdict
from treadle.data.write import dataset_info, records
from treadle.evaluate.sealed import SealedSets, reveal
from treadle.flywheel.arms import TESTED, Arm, Trained
from treadle.flywheel.features import Features
from treadle.flywheel.load import Inputs
from treadle.flywheel.recipe import Recipe
from treadle.flywheel.run_folder import RunFolder, export_adapter
from treadle.machinery.store import Store


@dataclass
class Artefacts:
    """Writes the run folder as a round goes on."""

    folder: RunFolder
    _figures: dict[str, Any] = field(default_factory=dict)

    def figures(self, name: str, value: object) -> None:
        """Set one section of figures.json."""
        self._figures[name] = value
        self.folder.write_json("figures.json", self._figures)

    def inputs(self, recipe: Recipe, inputs: Inputs) -> None:
        self.folder.write("recipe.yaml", recipe.text().encode())
        for name, blob in encode_pool(inputs.loaded.pool).items():
            self.folder.write(f"pool/{name}", blob)
        self.folder.write_lines("quarantine.jsonl", [q.as_json() for q in inputs.loaded.quarantine])
        facts = {
            "data": recipe.data.train,
            "name": recipe.name,
            "student": recipe.student,
            "evaluation": inputs.sealed.sizes,
            "evaluation_quarantine": inputs.evaluation_quarantine,
            "inputs": inputs.hashes,
        }
        self.figures("run", facts)

    def findings(self, findings: pl.DataFrame, figures: dict[str, object]) -> None:
        self.folder.write_frame("findings.parquet", findings)
        self.figures("audit", figures)

    def selection(
        self, inputs: Inputs, findings: pl.DataFrame, features: Features, arms: Sequence[Arm]
    ) -> None:
        """Write features, every arm's rows, the chosen and the dropped rows, and the counts."""
        numeric = [c for c, kind in features.frame.schema.items() if kind.is_numeric()]
        self.folder.write_frame("features.parquet", features.frame.select("id", *numeric))
        frames = []
        for arm in arms:
            name = pl.lit(arm.key).alias("arm")
            chosen = arm.selection.chosen.select(name, "id", "rank", "reason")
            left = arm.selection.left.select(
                name, "id", pl.lit(None, pl.Int64).alias("rank"), "reason"
            )
            frames += [chosen, left] if arm.name == TESTED else [chosen]
        self.folder.write_frame("selection.parquet", pl.concat(frames))
        tested = arms[0].selection
        self._rows(inputs.pool, tested.chosen, findings, features.quarantined, tested.left)
        self._counts(inputs, findings, features.quarantined, tested.left, len(tested.ids))

    def _rows(
        self,
        pool: Pool,
        chosen: pl.DataFrame,
        findings: pl.DataFrame,
        failed: pl.DataFrame,
        left: pl.DataFrame,
    ) -> None:
        """Write the rows for other tools, in the order chosen; and all others with their reasons."""
        rows = {row.id: row for row in from_frame(pool.frame)}
        reasons = {r["id"]: {"treadle_reason": r["reason"]} for r in chosen.iter_rows(named=True)}
        picked = [rows[key] for key in chosen["id"]]
        self.folder.write_lines("selected.jsonl", records(picked, extra_columns=reasons))
        info = dataset_info("selected", "selected.jsonl", picked)
        self.folder.write_json("dataset_info.json", info)
        why: dict[str, dict[str, object]] = {}
        for frame, stage in ((left, "select"), (failed, "measure"), (findings, "audit")):
            for record in frame.iter_rows(named=True):
                why[record["id"]] = {
                    "treadle_stage": stage,
                    "treadle_reason": record["reason"],
                    "treadle_other": record.get("other"),
                }
        unused = [rows[key] for key in sorted(why)]
        self.folder.write_lines("dropped.jsonl", records(unused, extra_columns=why))

    def _counts(
        self,
        inputs: Inputs,
        findings: pl.DataFrame,
        failed: pl.DataFrame,
        left: pl.DataFrame,
        selected: int,
    ) -> None:
        counts = {
            "read": inputs.loaded.read,
            "quarantined": len(inputs.loaded.quarantine) + failed.height,
            "merged": inputs.loaded.merged,
            "held_out": inputs.held_out,
            "rows": len(inputs.pool),
            "dropped": dict(sorted(Counter(findings["reason"]).items())),
            "left_after_audit": len(inputs.pool) - findings.height,
            "left": dict(sorted(Counter(left["reason"]).items())),
            "selected": selected,
        }
        self.folder.write_json("counts.json", counts)

    def training(
        self, arms: Sequence[Arm], trained: Sequence[Trained], lengths: pl.DataFrame, store: Store
    ) -> None:
        """Write training figures, and the tested arm's first student as `adapter/`."""
        sizes = {}
        for arm in arms:
            chosen = lengths.filter(pl.col("id").is_in(arm.selection.ids))
            sizes[arm.key] = {
                "rows": chosen.height,
                "tokens": int(chosen["length_total"].sum()),
                "reply_tokens": int(chosen["length"].sum()),
            }
        self.figures("arms", sizes)
        self.figures("train", {f"{t.arm}-{t.seed}": dict(t.figures) for t in trained})
        first = next(t for t in trained if t.arm == TESTED)
        names = json.loads(store.get(first.weights[0]))
        blobs = [store.get(key) for key in first.weights[1:]]
        export_adapter(self.folder, dict(zip(names, blobs, strict=True)))

    def results(self, results: pl.DataFrame) -> None:
        self.folder.write_frame("results.parquet", results.select(*RESULT_SCHEMA))
        stopped = results.drop_nulls("has_stopped")
        figures: dict[str, object] = {"students": results.select("arm", "seed").unique().height}
        if stopped.height:
            shares = stopped.group_by("arm").agg(pl.col("has_stopped").mean()).sort("arm")
            figures["share_that_stop"] = dict(shares.iter_rows())
            self.folder.write_frame(
                "replies.parquet", stopped.select("arm", "seed", "item", "reply")
            )
        self.figures("evaluate", figures)

    def verdict(self, verdict: Verdict, sealed: SealedSets) -> None:
        self.folder.write_frame("items.parquet", reveal(sealed))
        self.folder.write_json("verdict.json", verdict.as_json())
