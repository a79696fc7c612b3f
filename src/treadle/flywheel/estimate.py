"""What will a recipe cost? Said before anything is spent, and compared with the truth afterwards.

The model is plain: tokens × floating-point operations a token ÷ (measured speed × efficiency).
Efficiencies are those of whole runs of the embedded model on two cores (adapters of rank 8, GSM8K);
the interval is a factor either way.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from treadle import op as registry
from treadle.data.pool import Pool
from treadle.data.row import texts
from treadle.flywheel.arms import passes
from treadle.flywheel.features import plan
from treadle.flywheel.flops import Training, flops_a_token
from treadle.flywheel.load import Inputs
from treadle.flywheel.machine import Machine, free_bytes, this_machine
from treadle.flywheel.recipe import Method, Recipe, Step
from treadle.models.meter import READ
from treadle.models.scripted import PARAMETERS as NOMINAL
from treadle.op import BoundOp

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
    if recipe.compare is not None and inputs.target is not None:
        for training in recipe.compare.trainings.values():
            trainings += recipe.gate.seeds
            part = _arm(training, 0.0, recipe, tokens_of(inputs.target), len(inputs.target))
            trained_tokens += recipe.gate.seeds * part
    generated = items * int(recipe.evaluator.options.get("max_new_tokens", 0))
    students = trainings + 1
    on_the_way = _on_the_way(recipe, rows, pool_tokens)
    # Scoring reads each row twice: the conversation, and the reply alone.
    work = {
        "measure": _scored_tokens(recipe, pool_tokens, rows),
        "train": trained_tokens,
        "evaluate": students * (items * mean + generated),
        "select": on_the_way.trained + on_the_way.scored,
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
    if on_the_way.students:
        seconds["select"] = (
            on_the_way.trained * step * p / (speed * TRAINING)
            + on_the_way.scored * 2 * p / (speed * SCORING)
            + on_the_way.students * setup
        )
    return Estimate(
        tokens=int(sum(work.values())),
        minutes={name: value / 60 for name, value in seconds.items()},
        disk_mb=_disk_mb(recipe, inputs, p, trainings + on_the_way.students, lora=lora),
        free_mb=free_bytes(folder) / 1e6,
        machine=machine,
        parameters=parameters,
    )


def _turned(recipe: Recipe, rows: int, tokens: float) -> tuple[int, float]:
    """How many trainings a round has, and how many tokens they read."""
    share, gate, options = (
        _shares(recipe.steps, rows, tokens)[-1],
        recipe.gate,
        recipe.trainer.options,
    )
    arms = gate.seeds * (1 + len(gate.controls))
    arm = tokens * share * _epochs(options, round(rows * share))
    full = tokens * _epochs(options, rows) if gate.reference else 0.0
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
        often = sum(n for _, n in _readings(names, recipe))
        yield often * _a_pass(tokens, rows), 2 if plan.length_matched else 1


def _arm(training: Training, choosing: float, recipe: Recipe, tokens: float, rows: int) -> float:
    """Tokens that one student of a comparison is trained on.

    Under a budget in FLOPs they are what reading the pool to choose leaves; gradients and students
    trained on the way leave less than is said here.
    """
    if training.flops is None:
        return tokens * _epochs(training.trainer.options, rows)
    parameters = parameters_of(recipe.student) or (NOMINAL if recipe.student == "scripted" else 0)
    if not parameters:
        return 0.0  # unknown: the estimate says so
    left = training.flops - READ * parameters * choosing
    return max(0.0, left / flops_a_token(training.trainer, parameters))


@dataclass(frozen=True, slots=True)
class _OnTheWay:
    """Students that selectors train on the way, and tokens read in training and in measuring."""

    students: int = 0
    trained: float = 0.0
    scored: float = 0.0


def _on_the_way(recipe: Recipe, rows: int, tokens: float) -> _OnTheWay:
    """Count what the selectors of a round, or of a comparison, ask of students at the most."""
    found = _OnTheWay()
    for bound, before, kept in _choices(recipe, rows, tokens):
        scored = before * sum(n for _, n in _readings(bound.learns, recipe)) * _a_pass(tokens, rows)
        for part in bound.trainings:
            share = kept * part
            epochs = _epochs(recipe.trainer.options, round(rows * share))
            found = _OnTheWay(
                found.students + 1, found.trained + tokens * share * epochs, found.scored + scored
            )
    return found


def _choices(recipe: Recipe, rows: int, tokens: float) -> Iterator[tuple[BoundOp, float, float]]:
    """Yield each run of a selector that trains: the share of the pool that it sees, and keeps."""
    contest = recipe.compare
    if contest is not None:
        controls = [Method((), bound) for bound in contest.controls.values()]
        for method in (*contest.methods.values(), *controls):
            shares = _shares(method.filters, rows, tokens)
            runs = recipe.gate.seeds if any(one.draws for one in method.selectors) else 1
            for step, before, kept in zip(method.filters, shares, shares[1:], strict=False):
                yield from [(step.selector, before, kept)] * runs
            for share in contest.keep.values():
                yield from [(method.selector, shares[-1], share)] * runs
        return
    shares = _shares(recipe.steps, rows, tokens)
    for step, before, kept in zip(recipe.steps, shares, shares[1:], strict=False):
        yield step.selector, before, kept
    for name in recipe.gate.controls:
        yield registry.get("select", name).bind(), 1.0, shares[-1]


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


def _shares(steps: Sequence[Step], rows: int, tokens: float) -> list[float]:
    """The share of the pool that is there before each step of a selection, and after the last."""
    found = [1.0]
    for step in steps:
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
        shares = _shares(recipe.steps, rows, tokens)
        needs = [set(step.selector.needs) for step in recipe.steps]
        asked += list(zip(shares, needs, strict=False))
    read: dict[str, float] = {}
    for share, names in asked:
        for name, often in _readings(names, recipe):
            read[name] = max(share * often, read.get(name, 0.0))
    return sum(read.values()) * _a_pass(tokens, rows)


def _readings(names: Iterable[str], recipe: Recipe) -> list[tuple[str, float]]:
    """Which measures have the student read the rows, for these features, and how often."""
    bounds = plan(names, recipe.measures)
    return [(b.op.name, b.passes) for b in bounds if "student" in b.models if b.op.name != "length"]


def _a_pass(tokens: float, rows: int) -> float:
    """Tokens of a pass: the conversation, and the reply alone."""
    return 1.6 * tokens - TEMPLATE_TOKENS * rows


def _disk_mb(recipe: Recipe, inputs: Inputs, parameters: int, arms: int, *, lora: bool) -> float:
    text = sum(len(t.encode("utf-8", "replace")) for t in texts(inputs.pool.frame)) / 1e6
    rank = int(recipe.trainer.options.get("lora", 8) or 0)
    weights = parameters * 4 / 1e6 * (0.0023 * rank if lora else 1.0)
    return 3 * text + arms * weights + 1.0
