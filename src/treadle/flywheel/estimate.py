"""What will a recipe cost? Said before anything is spent, and compared with the truth afterwards.

The model is plain: tokens × floating-point operations a token ÷ (measured speed × efficiency).
Efficiencies are those of whole runs of the embedded model on two cores (adapters of rank 8, GSM8K);
the interval is a factor either way.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from treadle.data.pool import Pool
from treadle.data.row import texts
from treadle.flywheel.arms import passes
from treadle.flywheel.features import plan
from treadle.flywheel.load import Inputs
from treadle.flywheel.machine import Machine, free_bytes, this_machine
from treadle.flywheel.recipe import Recipe

CHARACTERS_A_TOKEN = 4.0
TEMPLATE_TOKENS = 38
PARAMETERS = {"embedded": 134_515_008, "proxy": 110_000, "scripted": 0}
SCORING, TRAINING = 0.55, 0.30
SECONDS_AN_ARM = {"embedded": 3.0, "proxy": 1.0, "scripted": 0.05}
SPREAD = 1.7
WRITING = 8
"""A written token costs as much time as so many that are read: they come one after the other."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """Expected cost. `minutes` by stage, `low` and `high` for the whole; None where unknown."""

    tokens: int
    minutes: Mapping[str, float]
    disk_mb: float
    free_mb: float
    machine: Machine
    parameters: int | None

    @property
    def total(self) -> float:
        return sum(self.minutes.values())

    @property
    def low(self) -> float:
        return self.total / SPREAD

    @property
    def high(self) -> float:
        return self.total * SPREAD

    def as_json(self) -> dict[str, object]:
        plain = asdict(self)
        return {**plain, "total_minutes": self.total, "low": self.low, "high": self.high}


def estimate(recipe: Recipe, inputs: Inputs, folder: Path) -> Estimate:
    """Estimate a whole round from the data and this machine's measured speed.

    With a section `compare`, estimate the comparison instead.
    """
    machine = this_machine()
    parameters = parameters_of(recipe.student)
    items = sum(inputs.sealed.sizes.values())
    mean = tokens_of(inputs.pool) / max(1, len(inputs.pool))
    rows = min(len(inputs.pool), recipe.data.sample or len(inputs.pool))
    pool_tokens = mean * rows
    counted = _compared if recipe.compare is not None else _turned
    trainings, trained_tokens = counted(recipe, rows, pool_tokens)
    generated = items * int(recipe.evaluator.options.get("max_new_tokens", 0))
    students = trainings + 1
    # Scoring reads each row twice: the conversation, and the reply alone.
    work = {
        "measure": _scored_tokens(recipe, pool_tokens, rows),
        "train": trained_tokens,
        "evaluate": students * (items * mean + generated),
    }
    speed = machine.best * 1e9
    p = parameters or 0
    lora = int(recipe.trainer.options.get("lora", 8) or 0) > 0
    step = 4 if lora else 6
    setup = SECONDS_AN_ARM.get(recipe.student, 3.0)
    seconds = {
        "audit": len(inputs.pool) / 4_000,
        "measure": work["measure"] * 2 * p / (speed * SCORING),
        "train": work["train"] * step * p / (speed * TRAINING) + (students - 1) * setup,
        "evaluate": (work["evaluate"] + students * (WRITING - 1) * generated)
        * 2
        * p
        / (speed * SCORING)
        + students * setup / 3,
    }
    return Estimate(
        tokens=int(sum(work.values())),
        minutes={name: value / 60 for name, value in seconds.items()},
        disk_mb=_disk_mb(recipe, inputs, p, students - 1, lora=lora),
        free_mb=free_bytes(folder) / 1e6,
        machine=machine,
        parameters=parameters,
    )


def _turned(recipe: Recipe, rows: int, tokens: float) -> tuple[int, float]:
    """How many trainings a round has, and how many tokens they read."""
    share, gate, options = _shares(recipe, rows, tokens)[-1], recipe.gate, recipe.trainer.options
    arms = gate.seeds * (1 + len(gate.controls))
    arm = tokens * share * _epochs(options, round(rows * share))
    full = tokens * _epochs(options, rows) if gate.reference else 0.0
    return arms + (1 if gate.reference else 0), arms * arm + full


def _compared(recipe: Recipe, rows: int, tokens: float) -> tuple[int, float]:
    """The same of a comparison."""
    plan = recipe.compare
    assert plan is not None
    names = 1 + len(plan.controls) + len(plan.methods) * (2 if plan.length_matched else 1)
    arms, read = 0, 0.0
    for bound in plan.trainers.values():
        for share in plan.keep.values():
            arms += names * recipe.gate.seeds
            part = tokens * share * _epochs(bound.options, round(rows * share))
            read += names * recipe.gate.seeds * part
        arms += 1
        read += tokens * _epochs(bound.options, rows)
    return arms, read


def _epochs(options: Mapping[str, Any], rows: int) -> float:
    """How often each row is trained on: a fraction where the epochs are one."""
    if options.get("steps") is None:
        return float(options.get("epochs", 1))
    return passes(options, rows)


def tokens_of(pool: Pool) -> float:
    """Guess the tokens of a pool from its characters, without loading a tokenizer."""
    characters = sum(len(text) for text in texts(pool.frame))
    return characters / CHARACTERS_A_TOKEN + TEMPLATE_TOKENS * len(pool)


def parameters_of(student: str) -> int | None:
    """Return the number of parameters, or None where only loading the model could tell."""
    if student in PARAMETERS:
        return PARAMETERS[student]
    folder = Path(student).expanduser()
    if folder.is_dir():
        return sum(f.stat().st_size for f in folder.glob("*.safetensors")) // 2 or None
    return None


def _shares(recipe: Recipe, rows: int, tokens: float) -> list[float]:
    """The share of the pool that is there before each step of the selection, and after the last."""
    found = [1.0]
    for step in recipe.steps:
        keep = step.keep
        if keep.unit == "share":
            found.append(found[-1] * keep.amount)
        else:
            part = keep.amount / max(1.0, rows if keep.unit == "rows" else tokens)
            found.append(min(found[-1], part))
    return found


def _scored_tokens(recipe: Recipe, tokens: float, rows: int) -> float:
    """Tokens that the student reads to measure: all rows, or those that reach the step that asks."""
    asked = [(1.0, set(recipe.measures))] if len(recipe.steps) == 1 else []
    if recipe.compare is not None:
        # Every step's measures are taken of the whole pool: the methods share them.
        methods = recipe.compare.methods.values()
        asked += [(1.0, set(bound.needs)) for one in methods for bound in one.selectors]
    else:
        shares = _shares(recipe, rows, tokens)
        needs = [set(step.selector.needs) for step in recipe.steps]
        asked += list(zip(shares, needs, strict=False))
    read: dict[str, float] = {}
    for share, names in asked:
        for bound in plan(names, recipe.measures):
            if "student" in bound.models and bound.op.name != "length":
                name = bound.op.name
                read[name] = max(share * bound.passes, read.get(name, 0.0))
    return sum(read.values()) * (1.6 * tokens - TEMPLATE_TOKENS * rows)


def _disk_mb(recipe: Recipe, inputs: Inputs, parameters: int, arms: int, *, lora: bool) -> float:
    text = sum(len(t.encode("utf-8", "replace")) for t in texts(inputs.pool.frame)) / 1e6
    rank = int(recipe.trainer.options.get("lora", 8) or 0)
    weights = parameters * 4 / 1e6 * (0.0023 * rank if lora else 1.0)
    return 3 * text + arms * weights + 1.0
