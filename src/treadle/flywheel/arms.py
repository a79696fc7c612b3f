"""Arms: the tested selection, its controls at equal tokens, and the training of each.

Random controls draw a new subset for each training seed, so their spread holds both kinds of luck.
All other arms keep their rows and change the training seed only.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
import math
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import polars as pl

from treadle import op as registry
from treadle.context import Context
from treadle.data.pool import Pool, from_parquet, to_parquet
from treadle.data.selection import Budget, Selection, matched_budget
from treadle.errors import RecipeError
from treadle.evaluate.stage import Candidate
from treadle.machinery.engine import Commit, Output, Stage, Task, gather
from treadle.machinery.folders import pack
from treadle.op import BoundOp

TESTED = "selected"


@dataclass(frozen=True, slots=True)
class Arm:
    """A set of rows, trained once with each of its seeds."""

    name: str
    seeds: tuple[int, ...]
    selection: Selection

    @property
    def key(self) -> str:
        """The arm's name in `selection.parquet`: `random-0` where each seed has rows of its own."""
        return f"{self.name}-{self.seeds[0]}" if self.name == "random" else self.name


@dataclass(frozen=True, slots=True)
class Trained:
    """One trained student: its weights as blobs, and the figures of its training."""

    arm: str
    seed: int
    weights: tuple[str, ...]
    figures: Mapping[str, Any]

    @property
    def candidate(self) -> Candidate:
        return Candidate(self.arm, self.seed, self.weights)


Teach = Callable[[str, Sequence[str], pl.DataFrame, Sequence[str]], pl.DataFrame]
"""(stage, features, rows, ids) -> those features of these rows, under a student trained on the ids."""


def choose(
    name: str,
    bound: BoundOp,
    rows: pl.DataFrame,
    budget: Budget,
    context: Context,
    teach: Teach | None = None,
) -> Selection:
    """Run one selector as a task.

    One that asks a student trained on the way ends with its question instead. The student is taught
    by tasks of its own, and the selector runs again with the answer, until it asks no more: so a task
    is a function of its inputs, and a killed run loses no training.

    Raises:
        RecipeError: it asks, and nobody can teach; or it asks more often than it declares.
    """
    assert context.engine is not None
    store = context.engine.store
    options = {
        "op": bound.op.name,
        "options": dict(bound.options),
        "budget": [budget.unit, budget.amount],
        "seed": context.seed,
        "target": bool(bound.target),
    }
    seen = ["id", "length", "length_total", *bound.needs]
    frames = [rows.select(list(dict.fromkeys(seen)))]
    if bound.target:
        frames.append(context.target_rows.select("id", *bound.target))
    inputs = [store.put(to_parquet(frame.sort("id"))) for frame in frames]
    for lesson in range(len(bound.trainings) + 1):
        stage = Stage(
            f"select.{name}", select_rows, [Task(tuple(inputs))], context.fingerprint(bound),
            options, context.for_task(),
        )  # fmt: skip
        (commit,) = gather(context.engine, stage)
        found = [from_parquet(store.get(key)) for key in commit.blobs]
        if len(found) == 2:
            return Selection(*found)
        if teach is None or lesson == len(bound.trainings):
            break
        answer = teach(f"select.{name}", bound.learns, rows, found[0]["id"].to_list())
        inputs.append(store.put(to_parquet(answer)))
    raise RecipeError(
        f"select.{bound.op.name}: it asks for a student trained on the way, "
        + ("and here nobody can train one." if teach is None else "more often than it declares.")
    )


class _Question(Exception):  # noqa: N818
    """A selector wants to know what a student trained on these rows makes of all rows."""

    def __init__(self, ids: Sequence[str]) -> None:
        super().__init__(f"a student trained on {len(ids)} rows")
        self.ids = list(ids)


def stopped_at(number: int, bound: BoundOp, found: Selection) -> pl.DataFrame:
    """Return the rows that a step of a selection, counted from 1, did not let through, and why."""
    name = pl.lit(bound.op.name)
    reason = pl.format("step_{}_{}: {}", pl.lit(number), name, "reason").alias("reason")
    return found.left.select("id", reason)


def select_rows(blobs: Sequence[bytes], options: Mapping[str, Any], context: Context) -> Output:
    """Select (the work of a task): from rows, target rows if there are, and answers so far."""
    rows, *others = (from_parquet(blob) for blob in blobs)
    target = others.pop(0) if options["target"] else None
    answers = iter(others)

    def learn(ids: Sequence[str]) -> pl.DataFrame:
        answer = next(answers, None)
        if answer is None:
            raise _Question(ids)
        return answer

    bound = registry.get("select", options["op"]).bind(options["options"])
    unit, amount = options["budget"]
    context = replace(context, seed=options["seed"], target=target, learn=learn)
    try:
        selection: Selection = bound.make()(rows, Budget(unit, amount), context)
    except _Question as question:
        return Output([to_parquet(pl.DataFrame({"id": question.ids}, schema={"id": pl.String}))])
    return Output(
        [to_parquet(selection.chosen), to_parquet(selection.left)],
        rows_in=rows.height,
        kept=selection.chosen.height,
        dropped=selection.left.height,
    )


def controls(
    names: Sequence[str],
    tested: Selection,
    rows: pl.DataFrame,
    seeds: int,
    context: Context,
    teach: Teach | None = None,
) -> list[Arm]:
    """Choose the control arms at the token count of the tested selection."""
    budget = matched_budget(tested, rows)
    arms = []
    for name in names:
        bound = registry.get("select", name).bind()
        if name == "random":
            for seed in range(seeds):
                drawn = replace(context, seed=context.seed * 1_000_003 + seed + 1)
                arms.append(
                    Arm(name, (seed,), choose(f"random-{seed}", bound, rows, budget, drawn))
                )
        else:
            chosen = choose(name, bound, rows, budget, context, teach)
            arms.append(Arm(name, tuple(range(seeds)), chosen))
    return arms


def train_arms(
    arms: Sequence[Arm], pool: Pool, lengths: pl.DataFrame, bound: BoundOp, context: Context
) -> list[Trained]:
    """Train every arm with each of its seeds; an arm is done or done again, never half kept."""
    assert context.engine is not None
    trained = []
    for arm, seed in [(one, seed) for one in arms for seed in one.seeds]:
        ids, stage = arm.selection.ids, f"train.{arm.name}-{seed}"
        commit = train_student(stage, ids, seed, pool, lengths, bound, context)
        figures = json.loads(context.engine.store.get(commit.blobs[0]))
        trained.append(Trained(arm.name, seed, commit.blobs[1:], figures))
    return trained


def train_student(
    name: str,
    ids: Sequence[str],
    seed: int,
    pool: Pool,
    lengths: pl.DataFrame,
    bound: BoundOp,
    context: Context,
) -> Commit:
    """Train one student on rows of the pool, as a task; its blobs are figures, then weights."""
    assert context.engine is not None
    rows = pool.keep(ids).content.frame
    total = int(lengths.filter(pl.col("id").is_in(ids))["length_total"].sum())
    worst = total * passes(bound.options, rows.height)
    task = Task((context.engine.store.put(to_parquet(rows)),), tokens=worst)
    options = {"op": bound.op.name, "options": dict(bound.options), "seed": seed}
    fingerprint = f"{bound.fingerprint}/{context.model('student').fingerprint}/{_libraries()}"
    stage = Stage(name, train_one, [task], fingerprint, options, context.for_task())
    (commit,) = gather(context.engine, stage)
    return commit


def passes(options: Mapping[str, Any], rows: int) -> int:
    """Return how often a row is trained on at the most: `epochs`, or what `steps` come to.

    Rounded up: the batches of half an epoch may be the longer half.
    """
    steps = options.get("steps")
    if steps is None:
        return math.ceil(float(options.get("epochs", 1)))
    return math.ceil(int(steps) * int(options.get("batch_size", 1)) / max(1, rows))


def _libraries() -> str:
    """Versions of what trains: another version may give other weights."""
    found = []
    for name in ("trl", "peft"):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found.append(f"{name}=={importlib.metadata.version(name)}")
    return " ".join(found)


def train_one(blobs: Sequence[bytes], options: Mapping[str, Any], context: Context) -> Output:
    """Train one arm (the work of a task)."""
    rows = from_parquet(blobs[0])
    bound = registry.get("train", options["op"]).bind(options["options"])
    with tempfile.TemporaryDirectory(prefix="treadle-") as name:
        folder = Path(name)
        student = context.model("student")
        figures = bound.make()(rows, student, options["seed"], folder, context)
        weights = pack(folder)
    blob = json.dumps(figures, sort_keys=True).encode()
    return Output(
        [blob, *weights], rows_in=rows.height, kept=rows.height, tokens=int(figures["tokens"])
    )
