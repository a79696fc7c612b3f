"""What will a recipe cost? Said before anything is spent, and compared with the truth afterwards.

The model is plain: tokens × floating-point operations a token ÷ (measured speed × efficiency).
Efficiencies are those of whole runs of the embedded model on two cores (adapters of rank 8, GSM8K);
the interval is a factor either way.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from treadle.data.row import texts
from treadle.flywheel.flops import Training, counted_parameters, flops_a_token, parameters_of
from treadle.flywheel.load import Inputs
from treadle.flywheel.machine import Machine, free_bytes, this_machine
from treadle.flywheel.readings import (
    a_pass,
    encoded_tokens,
    epochs_of,
    on_the_way,
    readings,
    scored_tokens,
    shares_of_steps,
    tokens_of,
)
from treadle.flywheel.recipe import Recipe
from treadle.models.meter import READ

ENCODER_WEIGHTS = {"minilm": 10_600_000}
"""Without the table of its words, which is only looked up."""
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
    if recipe.compare is not None and inputs.target is not None:
        for training in recipe.compare.trainings.values():
            trainings += recipe.gate.seeds
            part = _arm(training, 0.0, recipe, tokens_of(inputs.target), len(inputs.target))
            trained_tokens += recipe.gate.seeds * part
    generated = items * int(recipe.evaluator.options.get("max_new_tokens", 0))
    students = trainings + 1
    way = on_the_way(recipe, rows, pool_tokens)
    # Scoring reads each row twice: the conversation, and the reply alone.
    work = {
        "measure": scored_tokens(recipe, pool_tokens, rows),
        "train": trained_tokens,
        "evaluate": students * (items * mean + generated),
        "select": way.trained + way.scored,
    }
    speed = machine.best * 1e9
    p = parameters or 0
    lora = bool(recipe.trainer.options.get("lora"))
    step = flops_a_token(recipe.trainer, 1)
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
    encoder = ENCODER_WEIGHTS.get(recipe.embedder, 0)
    for payer, tokens in encoded_tokens(recipe, pool_tokens, rows).items():
        seconds[payer] += tokens * READ * encoder / (machine.fp32 * 1e9 * SCORING)
    if way.students:
        seconds["select"] = (
            way.trained * step * p / (speed * TRAINING)
            + way.scored * 2 * p / (speed * SCORING)
            + way.students * setup
        )
    return Estimate(
        tokens=int(sum(work.values())),
        minutes={name: value / 60 for name, value in seconds.items()},
        disk_mb=_disk_mb(recipe, inputs, p, trainings + way.students, lora=lora),
        free_mb=free_bytes(folder) / 1e6,
        machine=machine,
        parameters=parameters,
    )


def _turned(recipe: Recipe, rows: int, tokens: float) -> tuple[int, float]:
    """How many trainings a round has, and how many tokens they read."""
    share, gate, options = (
        shares_of_steps(recipe, rows, tokens)[-1],
        recipe.gate,
        recipe.trainer.options,
    )
    arms = gate.seeds * (1 + len(gate.controls))
    arm = tokens * share * epochs_of(options, round(rows * share))
    full = tokens * epochs_of(options, rows) if gate.reference else 0.0
    return arms + (1 if gate.reference else 0), arms * arm + full


def _compared(recipe: Recipe, rows: int, tokens: float) -> tuple[int, float]:
    """The same of a comparison."""
    plan = recipe.compare
    assert plan is not None
    arms, read = 0, 0.0
    for training in plan.trainings.values():
        for share in plan.keep.values():
            for choosing, names in _rivals(recipe, rows, tokens):
                arms += names * recipe.gate.seeds
                part = _arm(training, choosing, recipe, tokens * share, round(rows * share))
                read += names * recipe.gate.seeds * part
        arms += 1
        read += _arm(training, 0.0, recipe, tokens, rows)
    return arms, read


def _rivals(recipe: Recipe, rows: int, tokens: float) -> Iterator[tuple[float, int]]:
    """Yield the tokens that a method or control reads to choose, and how many arms that is for."""
    plan = recipe.compare
    assert plan is not None
    yield 0.0, 1 + len(plan.controls)
    for method in plan.methods.values():
        names = {name for bound in method.selectors for name in bound.needs}
        often = sum(n for _, n in readings(names, recipe))
        yield often * a_pass(tokens, rows), 2 if plan.length_matched else 1


def _arm(training: Training, choosing: float, recipe: Recipe, tokens: float, rows: int) -> float:
    """Tokens that one student of a comparison is trained on.

    Under a budget in FLOPs they are what reading the pool to choose leaves; gradients and students
    trained on the way leave less than is said here.
    """
    if training.flops is None:
        return tokens * epochs_of(training.trainer.options, rows)
    parameters = counted_parameters(recipe.student)
    if not parameters:
        return 0.0  # unknown: the estimate says so
    left = training.flops - READ * parameters * choosing
    return max(0.0, left / flops_a_token(training.trainer, parameters))


def _disk_mb(recipe: Recipe, inputs: Inputs, parameters: int, arms: int, *, lora: bool) -> float:
    text = sum(len(t.encode("utf-8", "replace")) for t in texts(inputs.pool.frame)) / 1e6
    rank = int(recipe.trainer.options.get("lora", 8) or 0)
    weights = parameters * 4 / 1e6 * (0.0023 * rank if lora else 1.0)
    return 3 * text + arms * weights + 1.0
