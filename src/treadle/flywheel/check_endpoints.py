"""Check the sections `judge` and `teacher` of a recipe: where a model answers, and what it may cost.

All fields of `Address`, and nothing else. Its key must be in the environment and its price known
before anything is spent.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import pydantic

from treadle import op as registry
from treadle.data.yaml_lines import Document
from treadle.errors import RecipeError, nearest
from treadle.flywheel.check_parts import Checker
from treadle.flywheel.features import plan
from treadle.flywheel.sections import BudgetSection
from treadle.machinery.calls import Limits
from treadle.models.endpoint import Address

ROLES = ("judge", "teacher")
"""Roles that a model behind an endpoint may play."""
_FIELDS = tuple(field.name for field in fields(Address))
_ADDRESS = pydantic.TypeAdapter(Address)


def address(checker: Checker, role: str) -> Address | None:
    """Return the address that a section holds; None if it has an error, which the checker is told."""
    raw = checker.mapping(role)
    if raw is None:
        return None
    unknown = [key for key in raw if key not in _FIELDS]
    for key in unknown:
        checker.fail((role, key), f"{role}: unknown key {key!r}.{nearest(key, _FIELDS)}")
    missing = [key for key in ("url", "model") if key not in raw]
    for key in missing:
        checker.fail((role,), f"{role}.{key} is missing.")
    if unknown or missing:
        return None
    try:
        found = _ADDRESS.validate_python(raw)
        _ = found.secret, found.token_price  # both must be known
    except pydantic.ValidationError as error:
        for problem in error.errors():
            key = ".".join(map(str, problem["loc"]))
            told = f"{role}.{key}: {problem['msg'].lower()}, got {problem['input']!r}."
            checker.fail((role, *map(str, problem["loc"])), told)
    except RecipeError as error:  # it begins with the field that is wrong, if it is about one
        field = str(error).split(":", 1)[0]
        checker.fail((role, field), f"{role}.{error}" if field in _FIELDS else f"{role}: {error}")
    else:
        return found
    return None


def address_of(role: str, raw: Mapping[str, Any]) -> Address:
    """Check an address that stands outside of any recipe (`--judge`, `judge=`).

    Raises:
        RecipeError: what is wrong with it.
    """
    checker = Checker(Document(f"--{role}", {role: dict(raw)}, {}), role, folder=Path())
    found = address(checker, role)
    if found is None:
        raise RecipeError(" ".join(checker.errors))
    return found


def asking_of(
    addresses: Mapping[str, Mapping[str, Any] | None], budget: Mapping[str, Any] | None
) -> tuple[dict[str, Address], Limits]:
    """Check the addresses by role, and the budget, of a single stage.

    Raises:
        RecipeError: what is wrong with them.
    """
    checker = Checker(Document("--budget", {"budget": dict(budget or {})}, {}), "budget", Path())
    section = checker.section("budget", BudgetSection)
    if section is None:
        raise RecipeError(" ".join(checker.errors))
    found = {role: address_of(role, raw) for role, raw in addresses.items() if raw is not None}
    return found, section.call_limits


def asked(
    bound: registry.BoundOp, measures: Mapping[str, Mapping[str, Any]]
) -> Iterator[tuple[str, str]]:
    """Yield the measures behind a selector that ask a model at an endpoint, and its role."""
    for measure in plan([*bound.needs, *bound.target, *bound.learns], measures):
        for role in measure.models:
            if role in ROLES:
                yield measure.op.name, role
