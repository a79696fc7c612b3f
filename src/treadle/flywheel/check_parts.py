"""Read the parts of a recipe that several sections have: mappings, options of ops, selectors.

Errors are collected, so that a recipe's author sees all of them at once (`check_recipe`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pydantic

from treadle import op as registry
from treadle.data.selection import Budget
from treadle.data.yaml_lines import Document
from treadle.errors import RecipeError, nearest
from treadle.flywheel.recipe import Step


def short_form(options: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return the selector that a recipe's `select` names, and its own options.

    `by` alone is `top`, `by` with `diverse` is `score_then_diverse`, `diverse` alone names the
    selector, and nothing is `random`; `method` names any.
    """
    rest = dict(options)
    if "method" in rest:
        return str(rest.pop("method")), rest
    if "by" in rest:
        return ("score_then_diverse" if "diverse" in rest else "top"), rest
    return str(rest.pop("diverse", "random")), rest


class Checker:
    """Collects every error of a recipe before raising one."""

    def __init__(self, document: Document, name: str, folder: Path) -> None:
        self.document, self.name, self.folder = document, name, folder
        self.errors: list[str] = []

    def fail(self, path: tuple[str, ...], message: str) -> None:
        self.errors.append(f"{self.document.where(*path)}: {message}")

    def section(self, name: str, model: type[Any]) -> Any:
        raw = self.mapping(name)
        if raw is None:
            return None
        try:
            return model(**raw)
        except pydantic.ValidationError as error:
            for problem in error.errors():
                self.fail((name, *map(str, problem["loc"])), _say(name, problem, model))
        return None

    def mapping(self, name: str) -> dict[str, Any] | None:
        raw = self.document.data.get(name)
        if raw is None:
            return {}
        if not isinstance(raw, dict):
            self.fail((name,), f"{name} must be a mapping such as `{name}: {{…}}`, got {raw!r}.")
            return None
        for key, value in raw.items():
            if not isinstance(key, str):
                self.fail((name,), f"{name}: keys must be text, got {key!r}.")
                return None
            if isinstance(value, float) and not math.isfinite(value):
                self.fail((name, key), f"{name}.{key} must be a finite number, got {value!r}.")
                return None
        return dict(raw)

    def text(self, name: str, default: str) -> str:
        raw = self.document.data.get(name, default)
        if not isinstance(raw, str) or not raw.strip():
            self.fail((name,), f"{name} must be a name or a path, got {raw!r}.")
            return default
        return raw

    def integer(self, name: str, default: int) -> int:
        raw = self.document.data.get(name, default)
        if not isinstance(raw, int) or isinstance(raw, bool) or raw < 0:
            self.fail((name,), f"{name} must be a whole number ≥ 0, got {raw!r}.")
            return default
        return raw

    def bind(self, role: registry.Role, name: str, options: Any, *path: str) -> Any:
        """Bind an op; a plain value stands for its first option, true or nothing for defaults."""
        where = f"{self.document.where(*path)}: {role}.{name}"
        try:
            op = registry.get(role, name, where=self.document.where(*path))
            if options is None or options is True:
                options = {}
            elif not isinstance(options, Mapping):
                first = next(iter(op.parameters), None)
                if first is None:
                    raise RecipeError(f"{where}: takes no options, got {options!r}.")
                options = {first: options}
            bound = op.bind(options, where=where)
            bound.make()  # a factory refuses options that do not go together
            return bound
        except RecipeError as error:
            told = str(error)
            self.errors.append(told if told.startswith(self.document.name) else f"{where}: {told}")
            return None

    def step(
        self, raw: Mapping[str, Any], *, is_last: bool, path: tuple[str, ...] = ("select",)
    ) -> Step | None:
        method, options = short_form(raw)
        keep, told = None, ".".join(path)
        if "keep" not in options and not is_last:
            self.fail(path, f"{told}.{method}: say how much this step keeps, as keep: 50%.")
        try:
            keep = Budget.parse(options.pop("keep", "30%"), where=f"{told}.keep", flops=is_last)
        except RecipeError as error:
            self.fail((*path, "keep"), str(error))
        bound = self.bind("select", method, options, *path)
        return None if bound is None or keep is None else Step(bound, keep)


def _say(section: str, problem: Any, model: type[pydantic.BaseModel]) -> str:
    key = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        return f"{section}: unknown key {key!r}.{nearest(key, model.model_fields)}"
    if problem["type"] == "missing":
        return f"{section}.{key} is missing."
    return f"{section}.{key}: {problem['msg'].lower()}, got {problem['input']!r}."
