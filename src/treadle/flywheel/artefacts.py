"""What a round leaves behind, in formats that other tools read.

pool/ findings.parquet features.parquet selection.parquet results.parquet   for analysis
selected.jsonl llama_factory/ adapter/                                      for TRL, LLaMA-Factory, PEFT
dropped.jsonl failed.parquet                                                every row not used, and why
suspicions.parquet                                                          rows used that a person should see
quarantine.jsonl quarantine_other.jsonl                                     every line that is no row
counts.json figures.json verdict.json items.parquet                         what the report shows
by_set.json by_set.csv                                                      each of several evaluation sets
"""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from treadle.data.formats.llama_factory import write_llama_factory
from treadle.data.formats.outcomes import write_by_kind
from treadle.data.pool import Pool, encode_pool
from treadle.data.row import from_frame
from treadle.data.selection import Selection
from treadle.data.verdict import RESULT_SCHEMA, SetResult, Verdict
from treadle.errors import DataError
from treadle.evaluate.sealed import SealedSets, reveal
from treadle.flywheel.arms import TESTED, Arm, Trained
from treadle.flywheel.estimate import Estimate
from treadle.flywheel.features import Features
from treadle.flywheel.load import Inputs
from treadle.flywheel.recipe import Recipe
from treadle.flywheel.run_folder import ESTIMATE, RunFolder, export_adapter
from treadle.judge.model import Unlicensed
from treadle.machinery.store import Store

UNLICENSED = "unlicensed"


@dataclass
class Artefacts:
    """Writes the run folder as a round goes on."""

    folder: RunFolder
    _figures: dict[str, Any] = field(default_factory=dict)

    def begin(self, recipe: Recipe, hashes: Mapping[str, str], *, is_new: bool) -> None:
        """Hold the folder to its recipe and data.

        Figures of an earlier turn stay until this one replaces them: a finished run that is run
        again and stopped has lost nothing.
        """
        self.folder.hold_to(recipe.identity(), hashes, is_new=is_new)
        if self.folder.has("figures.json") and not is_new:
            self._figures = dict(self.folder.read_json("figures.json"))
            self._figures.pop(UNLICENSED, None)  # said again if it is so again

    def without_licence(self, found: Unlicensed) -> None:
        """Stamp the run: a judge is asked whose licence nobody looked for."""
        self.figures(UNLICENSED, [*self.unlicensed, found.as_json()])

    @property
    def unlicensed(self) -> list[dict[str, str]]:
        """The stamps of judges without a licence."""
        return list(self._figures.get(UNLICENSED, ()))

    def figures(self, name: str, value: object) -> None:
        """Set one section of figures.json."""
        self._figures[name] = value
        self.folder.write_json("figures.json", self._figures)

    def expect(self, cost: Estimate, *, is_new: bool) -> None:
        """Keep what the run was expected to cost when it began, to be shown beside the truth."""
        if is_new or not self.folder.has(ESTIMATE):
            self.folder.write_json(ESTIMATE, cost.as_json())

    def inputs(self, recipe: Recipe, inputs: Inputs) -> None:
        self.folder.write("recipe.yaml", recipe.text().encode())
        for name, blob in encode_pool(inputs.loaded.pool).items():
            self.folder.write(f"pool/{name}", blob)
        self.folder.write_lines("quarantine.jsonl", [q.as_json() for q in inputs.loaded.quarantine])
        lines = [{"set": name, **q.as_json()} for name, bad in inputs.unread.items() for q in bad]
        self.folder.write_lines("quarantine_other.jsonl", lines)
        facts = {
            "data": recipe.data.train,
            "name": recipe.name,
            "student": recipe.student,
            "evaluation": inputs.sealed.sizes,
            "inputs": inputs.hashes,
        }
        self.figures("run", facts)

    def findings(
        self, findings: pl.DataFrame, suspicions: pl.DataFrame, figures: dict[str, object]
    ) -> None:
        """Write what the audits found; `suspicions.parquet` only where there are any."""
        self.folder.write_frame("findings.parquet", findings)
        if suspicions.height:
            self.folder.write_frame("suspicions.parquet", suspicions)
        self.figures("audit", figures)

    def selection(
        self, inputs: Inputs, findings: pl.DataFrame, features: Features, arms: Sequence[Arm]
    ) -> None:
        """Write features, every arm's rows, the chosen and the dropped rows, and the counts."""
        tested = with_unsampled(arms[0].selection, inputs.pool, findings, features)
        numeric = [c for c, kind in features.frame.schema.items() if kind.is_numeric()]
        self.folder.write_frame("features.parquet", features.frame.select("id", *numeric))
        frames = []
        for arm in arms:
            name = pl.lit(arm.key).alias("arm")
            frames.append(arm.selection.chosen.select(name, "id", "rank", "reason"))
        no_rank = pl.lit(None, pl.Int64).alias("rank")
        frames.append(tested.left.select(pl.lit(TESTED).alias("arm"), "id", no_rank, "reason"))
        self.folder.write_frame("selection.parquet", pl.concat(frames))
        self.folder.write_frame("failed.parquet", features.failed)
        self._rows(inputs.pool, tested.chosen, findings, features.failed, tested.left)
        self._counts(inputs, findings, features.failed, tested.left, len(tested.ids))

    def _rows(
        self,
        pool: Pool,
        chosen: pl.DataFrame,
        findings: pl.DataFrame,
        failed: pl.DataFrame,
        left: pl.DataFrame,
    ) -> None:
        """Write the rows for other tools, in the order chosen; and all others with their reasons."""
        reasons = {r["id"]: {"treadle_reason": r["reason"]} for r in chosen.iter_rows(named=True)}
        self._export("selected", pool, chosen["id"].to_list(), reasons)
        why: dict[str, dict[str, object]] = {}
        for frame, stage in ((left, "select"), (failed, "measure"), (findings, "audit")):
            for record in frame.iter_rows(named=True):
                why[record["id"]] = {
                    "treadle_stage": stage,
                    "treadle_reason": record["reason"],
                    "treadle_other": record.get("other"),
                }
        self._export("dropped", pool, sorted(why), why)
        self._for_llama_factory(pool.keep(chosen["id"]))

    def _export(
        self, name: str, pool: Pool, ids: list[str], columns: Mapping[str, Mapping[str, object]]
    ) -> None:
        """Publish rows as JSON Lines, one file a kind of row where there are several."""
        rows = {row.id: row for row in from_frame(pool.keep(ids).frame)}
        with tempfile.TemporaryDirectory(prefix="treadle-") as place:
            whole = Path(place) / f"{name}.jsonl"
            for path in write_by_kind([rows[key] for key in ids], whole, columns):
                self.folder.write(path.name, path.read_bytes())

    def _for_llama_factory(self, pool: Pool) -> None:
        """Write the chosen rows once more, where LLaMA-Factory can take them."""
        with tempfile.TemporaryDirectory(prefix="treadle-") as place:
            try:
                export = write_llama_factory(pool, place, "selected")
            except DataError as error:  # its limits are not ours: the run goes on, and says so
                self.figures("llama_factory", {"refused": str(error)})
                return
            for path in sorted(Path(place).iterdir()):
                self.folder.write(f"llama_factory/{path.name}", path.read_bytes())
        facts = {"rows": export.rows, "left_out": dict(export.left_out)}
        self.figures("llama_factory", {**facts, "mask_history": export.mask_history})

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
            "quarantined": len(inputs.loaded.quarantine),
            "merged": inputs.loaded.merged,
            "held_out": inputs.held_out,
            "rows": len(inputs.pool),
            "dropped": dict(sorted(Counter(findings["reason"]).items())),
            "left_after_audit": len(inputs.pool) - findings.height,
            "failed": dict(sorted(Counter(failed["op"]).items())),
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

    def sets(self, found: Mapping[str, SetResult]) -> None:
        """Write the figures of each evaluation set."""
        self.folder.write_json("by_set.json", {name: asdict(one) for name, one in found.items()})
        lines = [
            {"set": name, **asdict(one), **_means(result, one.against)}
            for name, result in found.items()
            for one in result.comparisons
        ]
        self.folder.write("by_set.csv", pl.DataFrame(lines).write_csv().encode())


def _means(result: SetResult, against: str) -> dict[str, float]:
    means = {arm.name: arm.mean for arm in result.arms}
    return {"mean_selected": means[TESTED], "mean_against": means[against]}


def with_unsampled(
    tested: Selection, pool: Pool, findings: pl.DataFrame, features: Features
) -> Selection:
    """Add the rows that were never measured (see `data.sample`) to those left out."""
    rest = pool.without(findings["id"]).without(features.frame["id"]).frame
    unsampled = rest.select("id", pl.lit("not_sampled").alias("reason"))
    return Selection(tested.chosen, pl.concat([tested.left, unsampled]))
