"""Students trained on the way of a selection, for selectors that ask what one makes of the rows.

    school = School(pool, trainer, options, context)
    choose("selected", bound, rows, budget, context, school.teach)

Training and measuring are stages like any other: cached, resumed, paid for from the same budget.
They belong to the part `select` of the wheel: `select.selected.train`, `select.selected.measure.nll`.
What they compute is written down in `school.flops`, whether it was done now or by an earlier run.
"""

from __future__ import annotations

import json
import tempfile
from collections import ChainMap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import polars as pl

from treadle.context import Context
from treadle.data.pool import Pool
from treadle.flywheel.arms import train_student
from treadle.flywheel.features import measure_pool
from treadle.flywheel.flops import flops_a_token
from treadle.machinery.folders import unpack
from treadle.op import BoundOp

SEED = 0
"""Of every training on the way, so that what changes between draws is the selector's choice alone."""


@dataclass(frozen=True)
class School:
    """Trains copies of the student as the arms are trained, and measures with them.

    `options` are those of the measures, by name.
    """

    pool: Pool
    trainer: BoundOp
    options: Mapping[str, Mapping[str, Any]]
    context: Context
    flops: list[int] = field(default_factory=list)
    """Of each training and measuring that was asked for, in order."""

    def teach(
        self, stage: str, features: Sequence[str], rows: pl.DataFrame, ids: Sequence[str]
    ) -> pl.DataFrame:
        """Return features of `rows` under a student trained on those named `ids`, sorted by id.

        Each student begins as the untrained one. A row on which a measure fails has nulls.
        """
        assert self.context.engine is not None
        store = self.context.engine.store
        commit = train_student(
            f"{stage}.train", ids, SEED, self.pool, rows, self.trainer, self.context
        )
        tokens = int(json.loads(store.get(commit.blobs[0]))["tokens"])
        each = flops_a_token(self.trainer, self.context.model("student").parameters)
        self.flops.append(tokens * each)
        with tempfile.TemporaryDirectory(prefix="treadle-") as folder:
            unpack([store.get(key) for key in commit.blobs[1:]], Path(folder))
            student = self.context.model("student").tuned(Path(folder))
            models = ChainMap({"student": student}, self.context.models)  # type: ignore[arg-type]
            found = measure_pool(
                self.pool.keep(rows["id"]), features, self.options,
                replace(self.context, models=models), stage=f"{stage}.measure",
            )  # fmt: skip
        self.flops.append(sum(found.flops.values()))
        return found.frame.select("id", *features)
