"""Read a recipe and check it whole, before anything is spent.

All errors are reported at once, each with its line and the nearest valid name.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pydantic

from treadle import op as registry
from treadle.data.formats.sources import expand
from treadle.data.selection import Budget
from treadle.errors import DataError, RecipeError, nearest
from treadle.flywheel.recipe import Comparison, Method, Recipe, Step, budget_text, resolved_path
from treadle.flywheel.sections import BudgetSection, CompareSection, DataSection, GateSection
from treadle.flywheel.yaml_lines import Document, parse, setting
from treadle.models import EMBEDDERS, STUDENTS

ALWAYS_AUDITED: tuple[str, ...] = ("profile", "exact_duplicates", "contamination")
AUDITED = (*ALWAYS_AUDITED, "near_duplicates")
"""What is audited where nobody says otherwise."""
NOT_METHODS = ("before", "full", "random")
"""Arms that every comparison has anyway."""
_LENGTH = re.compile(r"([0-9]*\.?[0-9]+)\s*(epoch|step)s?")


def read_recipe(path: Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read and check a recipe file; `overrides` are `key.path=value` texts.

    Raises:
        RecipeError: one message with every error that was found.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        hint = " `treadle init DATA.jsonl` writes one."
        raise RecipeError(f"{path}: cannot be read ({error.strerror}).{hint}") from error
    except UnicodeDecodeError as error:
        raise RecipeError(f"{path}: is not UTF-8 text.") from error
    document = parse(text, path.name)
    for override in overrides:
        key, value = setting(override)
        document = document.with_value(tuple(key.split(".")), value, f"--set {override}")
    return check_recipe(document, name=path.stem, folder=path.resolve().parent)


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


def check_recipe(document: Document, *, name: str, folder: Path) -> Recipe:
    """Check a parsed recipe. See `read_recipe`."""
    return _Checker(document, name, folder).recipe()


class _Checker:
    """Collects every error of a recipe before raising one."""

    SECTIONS = (
        "student", "embedder", "seed", "data", "audit", "measure", "select", "train", "evaluate",
        "gate", "compare", "budget",
    )  # fmt: skip

    def __init__(self, document: Document, name: str, folder: Path) -> None:
        self.document, self.name, self.folder = document, name, folder
        self.errors: list[str] = []

    def recipe(self) -> Recipe:
        raw = self.document.data
        for key in raw:
            if key not in self.SECTIONS:
                self.fail(
                    (str(key),), f"unknown section {key!r}.{nearest(str(key), self.SECTIONS)}"
                )
        data = self.section("data", DataSection)
        gate = self.section("gate", GateSection)
        budget = self.section("budget", BudgetSection)
        student = self.text("student", "embedded")
        embedder = self.text("embedder", "hashed" if student in ("scripted", "proxy") else "minilm")
        audits = self.audits()
        measures = self.measures()
        *filters, last = self.selection()
        trainer = self.method("train", "ngram" if student == "scripted" else "sft")
        evaluator, judge = self.evaluator(gate), self.judge(gate)
        self.models(student, embedder, trainer)
        seed = self.integer("seed", 0)
        comparison = self.comparison(trainer) if "compare" in self.document.data else None
        if data is not None:
            self.files(data)
        if gate is not None:
            self.controls(gate)
        if data is not None and not data.target:
            compared = comparison.methods.values() if comparison is not None else ()
            methods = [bound for method in compared for bound in method.selectors]
            self.no_target(("select",), [s.selector for s in (*filters, last) if s is not None])
            self.no_target(("compare", "methods"), methods)
        if self.errors:
            count = len(self.errors)
            head = f"{count} errors in the recipe:\n" if count > 1 else ""
            raise RecipeError(head + "\n".join(self.errors))
        # No error was found, so every part is there.
        return Recipe(
            self.name, self.folder, student, embedder, seed, data, audits, measures,
            tuple(filters), last.selector, last.keep, trainer, evaluator, gate, judge, budget, comparison,
        )  # fmt: skip

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

    def audits(self) -> dict[str, registry.BoundOp]:
        raw = self.mapping("audit") or {}
        names = ALWAYS_AUDITED if "audit" in self.document.data else AUDITED
        chosen: dict[str, Any] = {**dict.fromkeys(names), **raw}
        bound = {
            str(name): self.bind("audit", str(name), options, "audit", str(name))
            for name, options in chosen.items()
            if options is not False
        }
        return {name: op for name, op in bound.items() if op is not None}

    def measures(self) -> dict[str, Mapping[str, Any]]:
        raw = self.mapping("measure") or {}
        bound = {n: self.bind("measure", str(n), o, "measure", str(n)) for n, o in raw.items()}
        return {str(name): op.options for name, op in bound.items() if op is not None}

    def selection(self) -> list[Any]:
        """Bind the steps of `select`: one mapping, or a list of them."""
        raw = self.document.data.get("select")
        if not isinstance(raw, list):
            raw = self.mapping("select")
            return [None if raw is None else self.step(raw, is_last=True)]
        if not raw or not all(isinstance(one, dict) for one in raw):
            self.fail(("select",), "select: a list holds one mapping a step, such as {by: ifd}.")
            return [None]
        return [self.step(one, is_last=one is raw[-1]) for one in raw]

    def step(
        self, raw: Mapping[str, Any], *, is_last: bool, path: tuple[str, ...] = ("select",)
    ) -> Step | None:
        method, options = short_form(raw)
        keep, told = None, ".".join(path)
        if "keep" not in options and not is_last:
            self.fail(path, f"{told}.{method}: say how much this step keeps, as keep: 50%.")
        try:
            keep = Budget.parse(options.pop("keep", "30%"), where=f"{told}.keep")
        except RecipeError as error:
            self.fail((*path, "keep"), str(error))
        bound = self.bind("select", method, options, *path)
        return None if bound is None or keep is None else Step(bound, keep)

    def no_target(self, path: tuple[str, ...], selectors: Iterable[registry.BoundOp]) -> None:
        """Refuse selectors that look for rows like a target's, since there is none."""
        for bound in selectors:
            if bound.target:
                self.fail(
                    path,
                    f"{path[0]}.{bound.op.name} looks for rows like those of a target: write "
                    "`data: {target: dev.jsonl}` with examples of the capability.",
                )

    def method(self, name: registry.Role, default: str) -> Any:
        raw = self.mapping(name)
        if raw is None:
            return None
        method = raw.pop("method", default)
        return self.bind(name, str(method), raw, name)

    def evaluator(self, gate: GateSection | None) -> Any:
        raw = self.mapping("evaluate")
        if raw is None or gate is None:
            return None
        path = ("evaluate",) if raw else ("gate", "metric")
        return self.bind("evaluate", gate.metric, raw, *path)

    def judge(self, gate: GateSection | None) -> Any:
        """Bind the gate's own op to the options of the section."""
        if gate is None:
            return None
        options = {
            "controls": tuple(gate.controls),
            "reference": gate.reference,
            "alpha": gate.alpha,
            "metric": gate.metric,
        }
        return self.bind("gate", "paired", options, "gate")

    def models(self, student: str, embedder: str, trainer: registry.BoundOp | None) -> None:
        """Refuse names that no loading could make good."""
        is_plain = not any(mark in student for mark in "/\\~.")
        if is_plain and student not in STUDENTS and not Path(student).is_dir():
            hint = nearest(student, STUDENTS)
            self.fail(
                ("student",),
                f"student {student!r} is neither one of {', '.join(STUDENTS)}, nor a Hugging Face id "
                f"(owner/name), nor a folder.{hint}",
            )
        if embedder not in EMBEDDERS:
            hint = nearest(embedder, EMBEDDERS)
            self.fail(("embedder",), f"unknown embedder {embedder!r}.{hint}")
        if student == "scripted" and trainer is not None and trainer.op.name == "sft":
            self.fail(("train",), "the scripted student learns with `method: ngram` only.")

    def files(self, data: DataSection) -> None:
        train = [data.train] if isinstance(data.train, str) else data.train
        named = [("train", text) for text in train]
        named += [("evaluate", text) for text in data.evaluation_files.values()]
        named += [("target", data.target)] if data.target else []
        for key, text in named:
            try:
                path = resolved_path(text, self.folder)
                beside = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
                expand(path)
            except DataError:
                near = nearest(path.name, beside)
                self.fail(("data", key), f"data.{key}: no such file: {text}.{near}")
            except (OSError, ValueError, RuntimeError) as error:  # no path, or no such user's home
                self.fail(("data", key), f"data.{key}: {text!r} is not a usable path: {error}.")

    def controls(self, gate: GateSection) -> None:
        known = [op.name for op in registry.ops("select")]
        for name in sorted({name for name in gate.controls if gate.controls.count(name) > 1}):
            self.fail(("gate", "controls"), f"gate.controls: {name!r} is there twice.")
        for name in gate.controls:
            if name in known:
                self.bind("select", name, None, "gate", "controls")
                continue
            hint = nearest(name, known)
            self.fail(("gate", "controls"), f"gate.controls: unknown selector {name!r}.{hint}")
        if "random" not in gate.controls:
            self.fail(
                ("gate", "controls"), "gate.controls: `random` is required: no claim without it."
            )

    def comparison(self, trainer: registry.BoundOp | None) -> Comparison | None:
        section = self.section("compare", CompareSection)
        if section is None or trainer is None:
            return None
        methods = section.methods
        named = dict.fromkeys(methods) if isinstance(methods, list) else methods
        bound = {n: self.method_of(n, options) for n, options in named.items()}
        for name in set(section.controls) & set(NOT_METHODS):
            self.fail(
                ("compare", "controls"), f"compare.controls: {name} is always there. Drop it."
            )
        controls = {
            name: self.bind("select", name, None, "compare", "controls")
            for name in section.controls
        }
        return Comparison(
            methods={n: op for n, op in bound.items() if op is not None},
            controls={n: op for n, op in controls.items() if op is not None},
            keep=self.shares(section.keep),
            trainers=self.lengths_of_training(section.train_for, trainer),
            length_matched=section.length_matched,
            columns=tuple(section.columns),
        )

    def method_of(
        self, name: str, raw: dict[str, Any] | list[dict[str, Any]] | None
    ) -> Method | None:
        """Bind one method: a list of steps, of which the last takes the budget, or that one alone."""
        given = raw if isinstance(raw, list) else [raw or {}]
        *filters, last = given or [{}]
        where = ("compare", "methods", name)
        steps = [self.step(one, is_last=False, path=where) for one in filters]
        if "keep" in last:
            self.fail(
                where,
                f"compare.methods.{name}: the budgets of compare.keep say how much "
                f"{'the last step' if filters else 'a method'} keeps. Drop its own keep.",
            )
            return None
        bound = self.selector_of(name, last)
        known = [step for step in steps if step is not None]
        return None if bound is None or len(known) < len(steps) else Method(tuple(known), bound)

    def selector_of(self, name: str, options: dict[str, Any]) -> registry.BoundOp | None:
        """Bind a selector by its own name, or whatever `select` would make of its options."""
        where = ("compare", "methods", name)
        if name in NOT_METHODS or not name.replace("_", "").replace("-", "").isalnum():
            self.fail(where, f"compare.methods: {name!r} cannot be the name of a method.")
            return None
        is_selector = any(op.name == name for op in registry.ops("select"))
        if is_selector and "method" not in options:
            options = {"method": name, **options}
        elif not options:
            known = [op.name for op in registry.ops("select")]
            hint = nearest(name, known)
            self.fail(where, f"compare.methods: unknown selector {name!r}.{hint}")
            return None
        method, own = short_form(options)
        found: registry.BoundOp | None = self.bind("select", method, own, *where)
        return found

    def shares(self, keep: Sequence[str | float]) -> dict[str, float]:
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
                self.fail(("compare", "keep"), str(error))
        return found

    def lengths_of_training(
        self, texts: Sequence[str], trainer: registry.BoundOp
    ) -> dict[str, registry.BoundOp]:
        """Bind the trainer once for each length, such as `2 epochs` or `60 steps`."""
        if not texts:
            steps = trainer.options.get("steps")
            texts = [f"{steps} steps" if steps else f"{trainer.options.get('epochs', 1):g} epochs"]
        found = {}
        for text in texts:
            match = _LENGTH.fullmatch(text.strip())
            if match is None:
                self.fail(
                    ("compare", "train_for"),
                    f"compare.train_for: {text!r} is not a length of training. Write `1 epoch` or "
                    "`60 steps`.",
                )
                continue
            amount, unit = float(match[1]), match[2]
            own = {"epochs": amount, "steps": None} if unit == "epoch" else {"steps": int(amount)}
            options = {**trainer.options, **own}
            bound = self.bind("train", trainer.op.name, options, "compare", "train_for")
            if bound is not None:
                found[f"{amount:g} {unit}{'' if amount == 1 else 's'}"] = bound
        return found


def _say(section: str, problem: Any, model: type[pydantic.BaseModel]) -> str:
    key = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        return f"{section}: unknown key {key!r}.{nearest(key, model.model_fields)}"
    if problem["type"] == "missing":
        return f"{section}.{key} is missing."
    return f"{section}.{key}: {problem['msg'].lower()}, got {problem['input']!r}."
