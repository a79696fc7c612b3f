"""Check a recipe's section `compare`: methods, shares of the pool, lengths of training."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any

from treadle import op as registry
from treadle.data.selection import Budget
from treadle.errors import RecipeError, nearest
from treadle.flywheel.check_parts import Checker, short_form
from treadle.flywheel.flops import Training
from treadle.flywheel.recipe import Comparison, Method, budget_text
from treadle.flywheel.sections import CompareSection

_LENGTH = re.compile(r"(-?[0-9]*\.?[0-9]+(?:e\+?[0-9]+)?)\s*(epoch|step|flop)s?", re.IGNORECASE)
NOT_METHODS = ("before", "full", "random")
"""Arms that every comparison has anyway."""


def comparison(checker: Checker, trainer: registry.BoundOp | None) -> Comparison | None:
    section = checker.section("compare", CompareSection)
    if section is None or trainer is None:
        return None
    methods = section.methods
    named = dict.fromkeys(methods) if isinstance(methods, list) else methods
    bound = {n: method_of(checker, n, options) for n, options in named.items()}
    for name in set(section.controls) & set(NOT_METHODS):
        checker.fail(("compare", "controls"), f"compare.controls: {name} is always there. Drop it.")
    controls = {
        name: checker.bind("select", name, None, "compare", "controls") for name in section.controls
    }
    return Comparison(
        methods={n: op for n, op in bound.items() if op is not None},
        controls={n: op for n, op in controls.items() if op is not None},
        keep=shares(checker, section.keep),
        trainings=lengths_of_training(checker, section.train_for, trainer),
        length_matched=section.length_matched,
        columns=tuple(section.columns),
    )


def method_of(
    checker: Checker, name: str, raw: dict[str, Any] | list[dict[str, Any]] | None
) -> Method | None:
    """Bind one method: a list of steps, of which the last takes the budget, or that one alone."""
    given = raw if isinstance(raw, list) else [raw or {}]
    *filters, last = given or [{}]
    where = ("compare", "methods", name)
    steps = [checker.step(one, is_last=False, path=where) for one in filters]
    if "keep" in last:
        checker.fail(
            where,
            f"compare.methods.{name}: the budgets of compare.keep say how much "
            f"{'the last step' if filters else 'a method'} keeps. Drop its own keep.",
        )
        return None
    bound = selector_of(checker, name, last)
    known = [step for step in steps if step is not None]
    return None if bound is None or len(known) < len(steps) else Method(tuple(known), bound)


def selector_of(checker: Checker, name: str, options: dict[str, Any]) -> registry.BoundOp | None:
    """Bind a selector by its own name, or whatever `select` would make of its options."""
    where = ("compare", "methods", name)
    if (
        name in (*NOT_METHODS, "target_rows")
        or not name.replace("_", "").replace("-", "").isalnum()
    ):
        checker.fail(where, f"compare.methods: {name!r} cannot be the name of a method.")
        return None
    is_selector = any(op.name == name for op in registry.ops("select"))
    if is_selector and "method" not in options:
        options = {"method": name, **options}
    elif not options:
        known = [op.name for op in registry.ops("select")]
        hint = nearest(name, known)
        checker.fail(where, f"compare.methods: unknown selector {name!r}.{hint}")
        return None
    method, own = short_form(options)
    found: registry.BoundOp | None = checker.bind("select", method, own, *where)
    return found


def shares(checker: Checker, keep: Sequence[str | float]) -> dict[str, float]:
    """Read shares of the pool's tokens, by the words for them."""
    found = {}
    for value in keep:
        try:
            budget = Budget.parse(value, where="compare.keep")
            if budget.unit != "share":
                raise RecipeError(
                    f"compare.keep: {value!r} is no share. Write 10%: budgets are shares of the "
                    "pool's tokens, so that all arms of one budget cost alike."
                )
            found[budget_text(budget)] = budget.amount
        except RecipeError as error:
            checker.fail(("compare", "keep"), str(error))
    return found


def lengths_of_training(
    checker: Checker, texts: Sequence[str], trainer: registry.BoundOp
) -> dict[str, Training]:
    """Read lengths of training, by the words for them."""
    if not texts:
        steps = trainer.options.get("steps")
        texts = [f"{steps} steps" if steps else f"{trainer.options.get('epochs', 1):g} epochs"]
    found = {}
    for text in texts:
        try:
            amount, unit = length_of_training(text)
        except RecipeError as error:
            checker.fail(("compare", "train_for"), str(error))
            continue
        own: dict[str, Any] = {"steps": max(1, int(amount)) if unit != "epoch" else None}
        if unit == "epoch":
            own["epochs"] = amount
        if (
            unit == "flop"
        ):  # how many steps is known when the choosing is paid; see that there may be
            own["steps"] = 1
        options = {**trainer.options, **own}
        bound = checker.bind("train", trainer.op.name, options, "compare", "train_for")
        if bound is None:
            continue
        if unit == "flop":
            found[f"{_plain(amount)} FLOPs"] = Training(trainer, amount)
        else:
            found[f"{amount:g} {unit}{'' if amount == 1 else 's'}"] = Training(bound)
    return found


def length_of_training(text: str) -> tuple[float, str]:
    """Read `2 epochs`, `60 steps` or `2e15 FLOPs`; return the amount and `epoch`, `step` or `flop`.

    Raises:
        RecipeError: anything else.
    """
    where = f"compare.train_for: {text!r}"
    match = _LENGTH.fullmatch(text.strip())
    if match is None:
        raise RecipeError(
            f"{where} is not a length of training. Write `1 epoch`, `60 steps` or `2e15 FLOPs`."
        )
    amount, unit = float(match[1]), match[2].lower()
    if not 0 < amount < math.inf:
        raise RecipeError(f"{where} must be above 0 and finite.")
    if unit == "step" and amount != int(amount):
        raise RecipeError(f"{where} is not a whole number of steps.")
    return amount, unit


def _plain(amount: float) -> str:
    """Write a large number as people do: `2e15`."""
    mantissa, power = f"{amount:.14e}".split("e")
    return f"{float(mantissa):.15g}e{int(power)}"
