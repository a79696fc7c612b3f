"""The sections of a recipe that name no single op: data, gate, compare and budget, with their types and defaults.

Checked by pydantic, at the edge where a user's text comes in. Ops check their own options (`op`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import pydantic

from treadle.data.selection import Budget
from treadle.errors import RecipeError
from treadle.machinery import calls, ledger


class _Section(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)


class DataSection(_Section):
    """Where rows come from. `evaluate` is a file, several by name, or a share such as `10%`.

    `sample` goes on with so many random rows after the audit: a cheap first try of a large pool.
    """

    train: str | list[str]
    evaluate: str | dict[str, str] = "10%"
    target: str | None = None
    layout: str | None = None
    columns: dict[str, str] | None = None
    sample: int | None = pydantic.Field(None, ge=1)

    @pydantic.field_validator("evaluate")
    @classmethod
    def _holds_something(cls, value: str | dict[str, str]) -> str | dict[str, str]:
        if not value:
            raise ValueError("name a file, several by name, or a share such as 10%")
        if isinstance(value, str) and value.strip().endswith("%"):
            try:
                share = Budget.parse(value, where="data.evaluate").amount
            except RecipeError as error:
                raise ValueError(str(error)) from error
            if share >= 1:
                raise ValueError("all rows held out leave none to select from")
        return value

    @property
    def held_out_share(self) -> float | None:
        """The share of the training rows that is held out, if evaluation has no file of its own."""
        text = self.evaluate
        if isinstance(text, str) and text.strip().endswith("%"):
            return Budget.parse(text, where="data.evaluate").amount
        return None

    @property
    def evaluation_files(self) -> dict[str, str]:
        if self.held_out_share is not None:
            return {}
        if isinstance(self.evaluate, str):
            return {Path(self.evaluate).stem: self.evaluate}
        return dict(self.evaluate)


class GateSection(_Section):
    """How the selection is judged. `seeds` counts training seeds of every compared arm."""

    metric: str = "nll"
    controls: list[str] = ["random", "longest"]
    reference: Literal["full"] | None = "full"
    seeds: int = pydantic.Field(3, ge=1, le=50)
    alpha: float = pydantic.Field(0.05, gt=0, lt=0.5)
    cluster: str | None = None


class CompareSection(_Section):
    """What `treadle compare` compares. Everything else is the recipe's own.

    `methods` names selections as `select` would describe them: one selector, or a list of steps of
    which the last takes the budget. `keep` holds shares of the pool's
    tokens, so that all arms of one budget cost alike. `train_for` holds lengths of training such as
    `1 epoch` (a small choice takes fewer steps), `60 steps` (it is seen more often) or `2e15 FLOPs`
    (choosing and training together may take so many: see `flops`); without it the recipe's `train`
    says how long.
    """

    methods: dict[str, dict[str, Any] | list[dict[str, Any]] | None] | list[str]
    keep: list[str | float] = ["10%", "30%"]
    train_for: list[str] = []
    controls: list[str] = ["longest"]
    length_matched: bool = True
    columns: list[str] = []

    @pydantic.field_validator("methods", mode="before")
    @classmethod
    def _describes_methods(cls, value: object) -> object:
        for name, one in value.items() if isinstance(value, dict) else ():
            steps = one if isinstance(one, list) else [one or {}]
            if not all(isinstance(step, dict) for step in steps):
                raise ValueError(f"{name} must be one selector, as {{by: ifd}}, or a list of such")
        return value

    @pydantic.field_validator("methods")
    @classmethod
    def _has_methods(
        cls, value: dict[str, dict[str, Any] | list[dict[str, Any]] | None] | list[str]
    ) -> dict[str, dict[str, Any] | list[dict[str, Any]] | None] | list[str]:
        if not value:
            raise ValueError("name at least one, such as {ifd: {by: ifd}}")
        return value


class BudgetSection(_Section):
    """Hard limits of the whole run. Not part of any result's identity.

    `usd` and `requests` bound what endpoints are asked for. `tokens` bounds both the tokens that models
    on this machine read and, counted apart, those that endpoints read and write.
    """

    minutes: float | None = pydantic.Field(None, gt=0)
    tokens: int | None = pydantic.Field(None, gt=0)
    usd: float | None = pydantic.Field(None, ge=0)
    requests: int | None = pydantic.Field(None, ge=0)

    @property
    def limits(self) -> ledger.Limits:
        """Of the work on this machine."""
        return ledger.Limits(self.minutes, self.tokens)

    @property
    def call_limits(self) -> calls.Limits:
        """Of what is asked of endpoints."""
        return calls.Limits(self.usd, self.tokens, self.requests)
