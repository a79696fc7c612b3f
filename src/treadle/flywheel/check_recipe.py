"""Read a recipe and check it whole, before anything is spent.

All errors are reported at once, each with its line and the nearest valid name.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from treadle import op as registry
from treadle.data.formats.sources import expand
from treadle.data.yaml_lines import Document, parse, setting
from treadle.errors import DataError, RecipeError, nearest
from treadle.flywheel.check_compare import comparison
from treadle.flywheel.check_endpoints import ROLES, address, asked
from treadle.flywheel.check_parts import Checker
from treadle.flywheel.recipe import Recipe, Step, resolved_path
from treadle.flywheel.sections import BudgetSection, DataSection, GateSection
from treadle.models import EMBEDDERS, STUDENTS
from treadle.models.endpoint import Address

ALWAYS_AUDITED: tuple[str, ...] = ("profile", "exact_duplicates", "contamination")
AUDITED = (*ALWAYS_AUDITED, "near_duplicates")
"""What is audited where nobody says otherwise."""


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


def check_recipe(document: Document, *, name: str, folder: Path) -> Recipe:
    """Check a parsed recipe. See `read_recipe`."""
    return _Checker(document, name, folder).recipe()


class _Checker(Checker):
    """Checks one section after the other."""

    SECTIONS = (
        "student", "embedder", "seed", "data", "audit", "measure", "select", "train", "evaluate",
        "gate", "compare", "judge", "teacher", "budget",
    )  # fmt: skip

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
        self.flops(last, trainer)
        seed = self.integer("seed", 0)
        contest = comparison(self, trainer) if "compare" in self.document.data else None
        endpoints = self.endpoints()
        if data is not None:
            self.files(data)
        if gate is not None:
            self.controls(gate)
        compared = contest.methods.values() if contest is not None else ()
        methods = [bound for method in compared for bound in method.selectors]
        chosen_by = [step.selector for step in (*filters, last) if step is not None]
        for path, selectors in ((("select",), chosen_by), (("compare", "methods"), methods)):
            if data is not None and not data.target:
                self.no_target(path, selectors)
            self.no_endpoint(path, selectors, measures)
        if self.errors:
            count = len(self.errors)
            head = f"{count} errors in the recipe:\n" if count > 1 else ""
            raise RecipeError(head + "\n".join(self.errors))
        # No error was found, so every part is there.
        return Recipe(
            self.name, self.folder, student, embedder, seed, data, audits, measures,
            tuple(filters), last.selector, last.keep, trainer, evaluator, gate, judge, budget, contest,
            {role: found for role, found in endpoints.items() if found is not None},
        )  # fmt: skip

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

    def flops(self, last: Step | None, trainer: registry.BoundOp | None) -> None:
        """Refuse a budget in FLOPs where nobody can say what it leaves to train on."""
        if last is None or trainer is None or last.keep.unit != "flops":
            return
        if trainer.options.get("steps") is not None:
            self.fail(
                ("select", "keep"), "select.keep: training takes `train.steps`, whatever is kept. With a "
                "budget in FLOPs say `train.epochs` instead.",
            )  # fmt: skip
        if last.selector.trainings:
            self.fail(
                ("select", "keep"), f"select.{last.selector.op.name} trains students on the way, whose "
                "cost is not known before. Say rows, tokens or a share, and compare at equal FLOPs "
                "with `compare: {train_for: [2e15 FLOPs]}`.",
            )  # fmt: skip

    def no_target(self, path: tuple[str, ...], selectors: Iterable[registry.BoundOp]) -> None:
        """Refuse selectors that look for rows like a target's, since there is none."""
        for bound in selectors:
            if bound.target:
                self.fail(
                    path,
                    f"{path[0]}.{bound.op.name} looks for rows like those of a target: write "
                    "`data: {target: dev.jsonl}` with examples of the capability.",
                )

    def endpoints(self) -> dict[str, Address | None]:
        """Read the addresses of the models that answer over the network."""
        return {role: address(self, role) for role in ROLES if role in self.document.data}

    def no_endpoint(
        self,
        path: tuple[str, ...],
        selectors: Iterable[registry.BoundOp],
        measures: Mapping[str, Mapping[str, Any]],
    ) -> None:
        """Refuse selectors that need a judge or teacher which the recipe does not name."""
        for bound in selectors:
            for measure, role in asked(bound, measures):
                if role not in self.document.data:
                    self.fail(
                        path,
                        f"{path[0]}.{bound.op.name} needs {measure}, which asks a {role}: write "
                        f"`{role}: {{url: http://127.0.0.1:8080/v1, model: embedded}}`.",
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
