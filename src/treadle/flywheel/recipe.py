"""The recipe: what a user writes, as it is once checked (`check_recipe`).

    student: embedded
    data: {train: pool.jsonl, evaluate: heldout.jsonl}
    audit: {near_duplicates: 0.8, semantic_duplicates: true, contamination: {ngram: 13}}
    select: {by: ifd, diverse: k_center, keep: 30%}
    train: {method: sft, lora: 8, epochs: 1}
    gate: {metric: nll, controls: [random, longest], reference: full, seeds: 3}
    judge: {url: "http://127.0.0.1:8080/v1", model: embedded}
    budget: {minutes: 60, usd: 5}

Every section but `data` has defaults. Ops are named, never imported: a recipe cannot name a module, a
host or a flag.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import yaml

from treadle import op as registry
from treadle.data.selection import Budget
from treadle.flywheel.flops import Training
from treadle.flywheel.sections import BudgetSection, DataSection, GateSection
from treadle.models.endpoint import Address


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a selection: a selector, and how much of what it is given it lets through."""

    selector: registry.BoundOp
    keep: Budget

    def resolved(self) -> dict[str, object]:
        """Return it as plain data."""
        name = self.selector.op.name
        return {"method": name, **_plain(self.selector), "keep": budget_text(self.keep)}


@dataclass(frozen=True, slots=True)
class Method:
    """One method of a comparison: a selector that takes the budget, behind any filters."""

    filters: tuple[Step, ...]
    selector: registry.BoundOp

    @property
    def selectors(self) -> tuple[registry.BoundOp, ...]:
        """The selectors of all steps."""
        return (*(step.selector for step in self.filters), self.selector)

    def resolved(self) -> object:
        """Return it as plain data: one mapping, or a list of steps."""
        last = {"method": self.selector.op.name, **_plain(self.selector)}
        return [*(step.resolved() for step in self.filters), last] if self.filters else last


@dataclass(frozen=True)
class Comparison:
    """What to compare: methods and controls, shares of the pool's tokens, lengths of training."""

    methods: Mapping[str, Method]
    controls: Mapping[str, registry.BoundOp]
    keep: Mapping[str, float]
    trainings: Mapping[str, Training]
    length_matched: bool
    columns: tuple[str, ...]

    def resolved(self) -> dict[str, object]:
        """Return it as plain data."""
        return {
            "methods": {name: method.resolved() for name, method in self.methods.items()},
            "controls": list(self.controls),
            "keep": list(self.keep),
            "train_for": list(self.trainings),
            "length_matched": self.length_matched,
            "columns": list(self.columns),
        }


@dataclass(frozen=True)
class Recipe:
    """A checked recipe: sections, and the ops that they name, bound to their options.

    `filters` come before the selector: each sees what the one before it let through, so that a costly
    measure reads only what cheap ones have left.
    """

    name: str
    folder: Path
    student: str
    embedder: str
    seed: int
    data: DataSection
    audits: Mapping[str, registry.BoundOp]
    measures: Mapping[str, Mapping[str, Any]]
    filters: tuple[Step, ...]
    selector: registry.BoundOp
    keep: Budget
    trainer: registry.BoundOp
    evaluator: registry.BoundOp
    gate: GateSection
    judge: registry.BoundOp
    budget: BudgetSection
    compare: Comparison | None = None
    endpoints: Mapping[str, Address] = field(default_factory=dict)

    @property
    def steps(self) -> tuple[Step, ...]:
        """The whole selection: filters, then the selector."""
        return (*self.filters, Step(self.selector, self.keep))

    def path(self, text: str) -> Path:
        """Resolve a path of the recipe against the folder that it lies in."""
        return resolved_path(text, self.folder)

    def resolved(self) -> dict[str, object]:
        """Return the whole recipe as plain data, with every default written out."""
        last = self.steps[-1]
        return {
            "student": self.student,
            "embedder": self.embedder,
            "seed": self.seed,
            "data": self.data.model_dump(exclude_none=True),
            "audit": {name: _plain(bound) for name, bound in self.audits.items()},
            "measure": {name: dict(options) for name, options in self.measures.items()},
            "select": [s.resolved() for s in self.steps] if self.filters else last.resolved(),
            "train": {"method": self.trainer.op.name, **_plain(self.trainer)},
            "evaluate": _plain(self.evaluator),
            "gate": self.gate.model_dump(),
            **({"compare": self.compare.resolved()} if self.compare else {}),
            **{role: _address(address) for role, address in self.endpoints.items()},
            "budget": self.budget.model_dump(exclude_none=True),
        }

    def identity(self) -> dict[str, object]:
        """Return what decides the results: not budgets, and of an endpoint only who answers."""
        found = {key: value for key, value in self.resolved().items() if key != "budget"}
        for role, address in self.endpoints.items():
            found[role] = {"url": address.base, "model": address.model, "wire": address.wire}
        return found

    def text(self) -> str:
        """Return the resolved recipe as YAML."""
        return yaml.safe_dump(self.resolved(), sort_keys=False, allow_unicode=True)


def resolved_path(text: str, folder: Path) -> Path:
    """Return a path of a recipe that lies in `folder`."""
    path = Path(text).expanduser()
    return path if path.is_absolute() else folder / path


def _address(address: Address) -> dict[str, Any]:
    return {name: value for name, value in asdict(address).items() if value not in (None, {})}


def _plain(bound: registry.BoundOp) -> dict[str, Any]:
    return {k: list(v) if isinstance(v, tuple) else v for k, v in bound.options.items()}


def budget_text(budget: Budget) -> str:
    """Return the words that `Budget.parse` reads."""
    if budget.unit == "share":
        return f"{round(budget.amount * 100, 10)!r}%".replace(".0%", "%")
    if budget.unit == "flops":
        return f"{budget.amount:.15g} FLOPs"
    return f"{int(budget.amount)} {budget.unit}"
