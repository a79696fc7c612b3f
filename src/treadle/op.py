"""The one operator shape and the registry.

An op is a decorated factory. Its keyword options are its whole configuration, and it returns one
small function; what differs between roles is only that inner function:

    audit     (pool, context) -> Findings                 drops nothing itself; features that it
                                                           needs are in `context.features`
    measure   (batch: frame, context) -> frame of columns  per row, free of order
    select    (rows: frame, budget, context) -> Selection  pure; unscored rows are never chosen,
                                                           target rows are in `context.target`,
                                                           `context.after_training` asks a student
    train     (rows: frame, student, seed, folder, context) -> figures
    evaluate  (student, items: frame, context) -> frame of per-item results
    gate      (results: frame, context) -> Verdict

    @measure(reference="arXiv:2308.12032", cost="none beyond token_logprobs", needs=("token_logprobs",))
    def ifd(*, variant: Literal["loss_ratio", "perplexity_ratio"] = "loss_ratio") -> Measure: ...

A measure that needs statistics of the whole pool names a second function, `fit`: (rows: frame,
options, context) -> bytes. It runs once a pool, is cached, and its answer is `context.fitted`.

Adding an op is one file in the folder of its role. Other packages join through the entry point
group `treadle.ops`, and a single file through `load_plugin`.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.metadata
import importlib.util
import inspect
import json
import pkgutil
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal, get_type_hints

import polars as pl
import pydantic

from treadle.errors import RecipeError, nearest
from treadle.judge.rubric import rubric_hash
from treadle.machinery.code import code_hash

Role = Literal["audit", "measure", "select", "train", "evaluate", "gate"]
ROLES: tuple[Role, ...] = ("audit", "measure", "select", "train", "evaluate", "gate")
Factory = Callable[..., Callable[..., Any]]
Names = tuple[str, ...] | Callable[[Mapping[str, Any]], tuple[str, ...]]
Fit = Callable[[pl.DataFrame, Mapping[str, Any], Any], bytes]
Passes = float | Callable[[Mapping[str, Any]], float]
Draws = bool | Callable[[Mapping[str, Any]], bool]
Shares = tuple[float, ...] | Callable[[Mapping[str, Any]], tuple[float, ...]]


@dataclass(frozen=True, slots=True)
class Op:
    """A registered op: its role, name, factory and what it declares."""

    role: Role
    name: str
    factory: Factory
    reference: str
    cost: str
    needs: Names = ()
    models: Names = ()
    target: Names = ()
    fit: Fit | None = None
    passes: Passes = 1.0
    draws: Draws = False
    learns: Names = ()
    trainings: Shares = ()
    items: Names = ()
    rubrics: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        """The first line of the docstring."""
        return (inspect.getdoc(self.factory) or "").split("\n", 1)[0]

    @property
    def parameters(self) -> Mapping[str, inspect.Parameter]:
        return inspect.signature(self.factory).parameters

    def bind(self, options: Mapping[str, Any] | None = None, *, where: str = "") -> BoundOp:
        """Check options against the factory's keywords and fill in defaults.

        Raises:
            RecipeError: unknown options (with the nearest names) and values of the wrong type or
                out of range; all of them at once.
        """
        place = where or f"{self.role}.{self.name}"
        given = dict(options or {})
        unknown = [key for key in given if key not in self.parameters]
        wrong = [f"unknown option {k!r}.{nearest(str(k), self.parameters)}" for k in unknown]
        known = {key: value for key, value in given.items() if key not in unknown}
        try:
            checked = _schema(self.factory)(**known)
        except pydantic.ValidationError as error:
            raise RecipeError(f"{place}: {' '.join([*wrong, *_wrong(error)])}") from error
        if wrong:
            raise RecipeError(f"{place}: {' '.join(wrong)}")
        values = {name: getattr(checked, name) for name in self.parameters}
        return BoundOp(self, values)


@dataclass(frozen=True)
class BoundOp:
    """An op with checked options."""

    op: Op
    options: Mapping[str, Any]

    def make(self) -> Callable[..., Any]:
        """Return the inner function."""
        return self.op.factory(**self.options)

    @property
    def needs(self) -> tuple[str, ...]:
        """Names of the measures (or user columns) whose values this op reads."""
        return self._names(self.op.needs)

    @property
    def models(self) -> tuple[str, ...]:
        """Roles of the models it calls: `student`, `embedder`."""
        return self._names(self.op.models)

    @property
    def target(self) -> tuple[str, ...]:
        """Features of the target rows that this selector reads; empty if it looks at none."""
        return self._names(self.op.target)

    @property
    def items(self) -> tuple[str, ...]:
        """Features of evaluation items that this audit reads."""
        return self._names(self.op.items)

    @property
    def draws(self) -> bool:
        """Whether the choice hangs on the seed: a comparison then draws anew for each seed."""
        draws = self.op.draws
        return draws(self.options) if callable(draws) else draws

    @property
    def learns(self) -> tuple[str, ...]:
        """Features that this selector wants to know under students trained on the way."""
        return self._names(self.op.learns)

    @property
    def trainings(self) -> tuple[float, ...]:
        """For each student that it trains on the way at the most, its share of the budget."""
        shares = self.op.trainings
        return shares(self.options) if callable(shares) else shares

    @property
    def passes(self) -> float:
        """How often the student reads a row and its reply: what a token budget counts."""
        passes = self.op.passes
        return float(passes(self.options) if callable(passes) else passes)

    @property
    def rubrics(self) -> tuple[str, ...]:
        """The rubrics, by name or file, that it asks a judge by."""
        return tuple(str(self.options[name]) for name in self.op.rubrics)

    def _names(self, names: Names) -> tuple[str, ...]:
        return names(self.options) if callable(names) else names

    @property
    def fingerprint(self) -> str:
        """Hash of name, options, code (treadle's and its own that it imports), and files it names."""
        parts = [
            self.op.role,
            self.op.name,
            dict(self.options),
            code_hash(self.op.factory.__module__),
            *(rubric_hash(name) for name in self.rubrics),
        ]
        text = json.dumps(parts, sort_keys=True, default=str)
        return hashlib.sha256(text.encode()).hexdigest()[:32]


def _wrong(error: pydantic.ValidationError) -> Iterator[str]:
    """Say of each bad option what it should be."""
    for one in error.errors():
        given = one["input"]
        got = "" if one["type"] == "missing" else f", got {given!r}"
        is_share = one.get("ctx") == {"le": 1.0} and isinstance(given, int | float)
        hint = f" Did you mean {given / 100:g}?" if is_share and given <= 100 else ""
        yield f"{'.'.join(str(part) for part in one['loc'])}: {one['msg']}{got}.{hint}"


@cache
def _schema(factory: Factory) -> type[pydantic.BaseModel]:
    hints = get_type_hints(factory, include_extras=True)
    fields: dict[str, Any] = {}
    for name, parameter in inspect.signature(factory).parameters.items():
        default = ... if parameter.default is parameter.empty else parameter.default
        fields[name] = (hints.get(name, Any), default)
    config = pydantic.ConfigDict(extra="forbid", arbitrary_types_allowed=True)
    model: type[pydantic.BaseModel] = pydantic.create_model(
        f"{factory.__name__}_options", __config__=config, **fields
    )
    return model


_REGISTRY: dict[tuple[str, str], Op] = {}


def _register(role: Role, **declared: Any) -> Callable[[Factory], Factory]:
    def decorate(factory: Factory) -> Factory:
        name = factory.__name__
        known = _REGISTRY.get((role, name))
        if known is not None and known.factory.__module__ != factory.__module__:
            raise RecipeError(
                f"{role}.{name} is registered twice: by {known.factory.__module__} and by "
                f"{factory.__module__}. Rename one."
            )
        _REGISTRY[role, name] = Op(role, name, factory, **declared)
        return factory

    return decorate


def _decorator(role: Role) -> Callable[..., Callable[[Factory], Factory]]:
    def declare(
        *, reference: str, cost: str, needs: Names = (), models: Names = ()
    ) -> Callable[[Factory], Factory]:
        return _register(role, reference=reference, cost=cost, needs=needs, models=models)

    declare.__doc__ = f"Register a factory under the role `{role}`."
    return declare


def measure(
    *,
    reference: str,
    cost: str,
    needs: Names = (),
    models: Names = (),
    fit: Fit | None = None,
    passes: Passes = 1.0,
    rubrics: tuple[str, ...] = (),
) -> Callable[[Factory], Factory]:
    """Register a factory under the role `measure`.

    `rubrics` names the options that hold a rubric of the judge: what the rubric says counts where results
    are cached, and the judge must be licensed under it before anything by it is used.
    `fit` reads the whole pool first. `passes` says how often the student reads a row and its reply,
    at the most and with what `fit` reads: token budgets and estimates count that.
    """
    return _register(
        "measure", reference=reference, cost=cost, needs=needs, models=models, fit=fit,
        passes=passes, rubrics=rubrics,
    )  # fmt: skip


def select(
    *,
    reference: str,
    cost: str,
    needs: Names = (),
    target: Names = (),
    draws: Draws = False,
    learns: Names = (),
    trainings: Shares = (),
) -> Callable[[Factory], Factory]:
    """Register a factory under the role `select`.

    `target` names features of the target rows; `draws` says that the choice hangs on the seed. A
    selector that asks trained students on the way (`context.after_training`) names what it wants to
    know under them, `learns`, and for each training at the most the share of the budget that it
    reads, `trainings`: estimates count that, and one training more is refused.
    """
    return _register(
        "select", reference=reference, cost=cost, needs=needs, target=target, draws=draws,
        learns=learns, trainings=trainings,
    )  # fmt: skip


def audit(
    *, reference: str, cost: str, needs: Names = (), items: Names = ()
) -> Callable[[Factory], Factory]:
    """Register a factory under the role `audit`.

    `needs` names features of the rows, `items` features of the evaluation items, that it reads.
    """
    return _register("audit", reference=reference, cost=cost, needs=needs, items=items)


train = _decorator("train")
evaluate = _decorator("evaluate")
gate = _decorator("gate")


def ops(role: Role | None = None) -> list[Op]:
    """Return every registered op, sorted by role and name."""
    _discover()
    found = (op for op in _REGISTRY.values() if role is None or op.role == role)
    return sorted(found, key=lambda op: (ROLES.index(op.role), op.name))


def get(role: Role, name: str, *, where: str = "") -> Op:
    """Return one op.

    Raises:
        RecipeError: no such op; the message names the nearest one.
    """
    _discover()
    op = _REGISTRY.get((role, name))
    if op is None:
        known = [o.name for o in ops(role)]
        raise RecipeError(f"{where or role}: unknown {role} op {name!r}.{nearest(name, known)}")
    return op


@cache
def _discover() -> None:
    """Import every file in the folders of the roles, and installed packages that joined."""
    for role in ROLES:
        package = importlib.import_module(f"treadle.{role}")
        for found in pkgutil.iter_modules(package.__path__, f"treadle.{role}."):
            importlib.import_module(found.name)
    for entry in importlib.metadata.entry_points(group="treadle.ops"):
        entry.load()


def load_plugin(path: Path) -> None:
    """Import a user's file of ops. It runs with the user's rights: only files that they name.

    It may import modules that lie beside it.

    Raises:
        RecipeError: the file does not exist or fails to import.
    """
    name = f"treadle_plugin_{hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:8]}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None or not path.is_file():
        raise RecipeError(f"--plugin {path}: no such Python file.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    folder = str(path.resolve().parent)
    if folder not in sys.path:  # last, so that a file beside the plugin replaces no package
        sys.path.append(folder)
    try:
        spec.loader.exec_module(module)
    except RecipeError:
        raise
    except Exception as error:  # a plugin may fail in any way; the user must see which and why
        raise RecipeError(f"--plugin {path}: {type(error).__name__}: {error}") from error
