"""How many tokens models read before a student is trained for good: to measure, to choose, on the way.

Rough figures for the estimate, from the recipe and the size of the pool, without loading a model.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from treadle import op as registry
from treadle.data.pool import Pool
from treadle.data.row import texts
from treadle.flywheel.arms import passes
from treadle.flywheel.features import plan
from treadle.flywheel.flops import counted_parameters, flops_a_token
from treadle.flywheel.recipe import Method, Recipe, Step
from treadle.op import BoundOp

CHARACTERS_A_TOKEN = 4.0
TEMPLATE_TOKENS = 38
ENCODER_TOKENS = 256
"""What MiniLM reads of a text at the most."""


@dataclass(frozen=True, slots=True)
class OnTheWay:
    """Students that selectors train on the way, and tokens read in training and in measuring."""

    students: int = 0
    trained: float = 0.0
    scored: float = 0.0


def on_the_way(recipe: Recipe, rows: int, tokens: float) -> OnTheWay:
    """Count what the selectors of a round, or of a comparison, ask of students at the most."""
    found = OnTheWay()
    for bound, before, kept in _choices(recipe, rows, tokens):
        scored = before * sum(n for _, n in readings(bound.learns, recipe)) * a_pass(tokens, rows)
        for part in bound.trainings:
            share = kept * part
            epochs = epochs_of(recipe.trainer.options, round(rows * share))
            found = OnTheWay(
                found.students + 1, found.trained + tokens * share * epochs, found.scored + scored
            )
    return found


def _choices(recipe: Recipe, rows: int, tokens: float) -> Iterator[tuple[BoundOp, float, float]]:
    """Yield each run of a selector that trains: the share of the pool that it sees, and keeps."""
    contest = recipe.compare
    if contest is not None:
        controls = [Method((), bound) for bound in contest.controls.values()]
        for method in (*contest.methods.values(), *controls):
            shares = _shares_of(method.filters, rows, tokens)
            runs = recipe.gate.seeds if any(one.draws for one in method.selectors) else 1
            for step, before, kept in zip(method.filters, shares, shares[1:], strict=False):
                yield from [(step.selector, before, kept)] * runs
            for share in contest.keep.values():
                yield from [(method.selector, shares[-1], share)] * runs
        return
    shares = shares_of_steps(recipe, rows, tokens)
    for step, before, kept in zip(recipe.steps, shares, shares[1:], strict=False):
        yield step.selector, before, kept
    for name in recipe.gate.controls:
        yield registry.get("select", name).bind(), 1.0, shares[-1]


def shares_of_steps(recipe: Recipe, rows: int, tokens: float) -> list[float]:
    """The share of the pool that is there before each step of a round's selection, and after the last.

    Of a budget in FLOPs choosing takes a part, so that less is kept than is said here.
    """
    *filters, last = recipe.steps
    if last.keep.unit != "flops":
        return _shares_of(recipe.steps, rows, tokens)
    found = _shares_of(filters, rows, tokens)
    a_token = flops_a_token(recipe.trainer, counted_parameters(recipe.student))
    wanted = a_token * epochs_of(recipe.trainer.options, rows) * tokens
    return [*found, min(found[-1], last.keep.amount / wanted if wanted else 1.0)]


def _shares_of(steps: Sequence[Step], rows: int, tokens: float) -> list[float]:
    """The same of steps that keep rows, tokens or a share."""
    found = [1.0]
    for step in steps:
        keep = step.keep
        if keep.unit == "share":
            found.append(found[-1] * keep.amount)
        else:
            part = keep.amount / max(1.0, rows if keep.unit == "rows" else tokens)
            found.append(min(found[-1], part))
    return found


def scored_tokens(recipe: Recipe, tokens: float, rows: int) -> float:
    """Tokens that the student reads to measure: all rows, or those that reach the step that asks."""
    read: dict[str, float] = {}
    for share, names in _asked(recipe, rows, tokens):
        for name, often in readings(names, recipe):
            read[name] = max(share * often, read.get(name, 0.0))
    return sum(read.values()) * a_pass(tokens, rows)


def encoded_tokens(recipe: Recipe, tokens: float, rows: int) -> dict[str, float]:
    """Tokens that the encoder reads, by the part of the wheel that pays: audits come first.

    Of a row it reads at most `ENCODER_TOKENS`, once for each kind of embedding.
    """
    a_row = min(tokens / max(1, rows), ENCODER_TOKENS)
    shares: dict[str, dict[str, float]] = {"audit": {}, "measure": {}}
    audited = [(1.0, set(bound.needs)) for bound in recipe.audits.values()]
    for part, asked in (("audit", audited), ("measure", _asked(recipe, rows, tokens))):
        for share, names in asked:
            for bound in plan(names, recipe.measures):
                name = bound.op.name
                if "embedder" in bound.models and name not in shares["audit"]:
                    shares[part][name] = max(share, shares[part].get(name, 0.0))
    return {part: sum(found.values()) * rows * a_row for part, found in shares.items()}


def _asked(recipe: Recipe, rows: int, tokens: float) -> list[tuple[float, set[str]]]:
    """The features that each step asks for, and the share of the pool that it asks about."""
    asked = [(1.0, set(recipe.measures))] if len(recipe.steps) == 1 else []
    if recipe.compare is not None:
        # Every step's measures are taken of the whole pool: the methods share them.
        methods = recipe.compare.methods.values()
        return asked + [(1.0, set(bound.needs)) for one in methods for bound in one.selectors]
    needs = [set(step.selector.needs) for step in recipe.steps]
    return asked + list(zip(shares_of_steps(recipe, rows, tokens), needs, strict=False))


def readings(names: Iterable[str], recipe: Recipe) -> list[tuple[str, float]]:
    """Which measures have the student read the rows, for these features, and how often."""
    bounds = plan(names, recipe.measures)
    return [(b.op.name, b.passes) for b in bounds if "student" in b.models if b.op.name != "length"]


def a_pass(tokens: float, rows: int) -> float:
    """Tokens of a pass: the conversation, and the reply alone."""
    return 1.6 * tokens - TEMPLATE_TOKENS * rows


def epochs_of(options: Mapping[str, Any], rows: int) -> float:
    """How often each row is trained on: a fraction where the epochs are one."""
    if options.get("steps") is None:
        return float(options.get("epochs", 1))
    return passes(options, rows)


def tokens_of(pool: Pool) -> float:
    """Guess the tokens of a pool from its characters, without loading a tokenizer."""
    characters = sum(len(text) for text in texts(pool.frame))
    return characters / CHARACTERS_A_TOKEN + TEMPLATE_TOKENS * len(pool)
