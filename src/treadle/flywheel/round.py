"""One turn of the wheel: load, lint, audit, measure, select, train, evaluate, gate.

Every costly step is a stage of tasks in the store, so running the same recipe again continues where
it stopped. The report is written by the caller: it only reads the run folder.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import polars as pl

from treadle import op as registry
from treadle.context import Context
from treadle.data.lint import lint
from treadle.data.pool import Pool
from treadle.data.selection import FINDING_SCHEMA, Budget, Findings, Selection
from treadle.data.verdict import RESULT_SCHEMA, SetResult, Verdict, by_set
from treadle.errors import DataError
from treadle.evaluate.sealed import SealedSets
from treadle.evaluate.stage import Candidate, evaluate_students
from treadle.flywheel.arms import TESTED, Arm, Trained, choose, controls, stopped_at, train_arms
from treadle.flywheel.artefacts import Artefacts
from treadle.flywheel.audits import audit_context
from treadle.flywheel.dropped import shift_of
from treadle.flywheel.estimate import estimate
from treadle.flywheel.features import Features, measure_pool
from treadle.flywheel.flops import in_tokens, measuring, parameters_of
from treadle.flywheel.load import Inputs, load_inputs
from treadle.flywheel.measured import Measured, cut_at, everything, sample
from treadle.flywheel.progress import Observer
from treadle.flywheel.recipe import Recipe, Step
from treadle.flywheel.school import School
from treadle.machinery.engine import LocalEngine
from treadle.machinery.ledger import Ledger
from treadle.models.protocol import Student
from treadle.op import BoundOp


@dataclass(frozen=True)
class Round:
    """The parts that a round works with."""

    recipe: Recipe
    artefacts: Artefacts
    engine: LocalEngine
    ledger: Ledger
    context: Context
    observer: Observer

    @property
    def student(self) -> Student:
        student: Student = self.context.model("student")
        return student

    def turn(self) -> Verdict:
        """Turn the wheel once and return the verdict.

        Raises:
            TreadleError: anything foreseen; finished work is kept, and a second call goes on.
        """
        inputs = self.load()
        self.lint(inputs.pool)
        findings, clean = self.audit(inputs)
        first = self.recipe.steps[0].selector
        measured = self.measure(inputs, clean, [first, *self.controls])
        measured, arms = self.select(inputs, findings, clean, measured)
        trained = self.train(arms, clean, measured.features)
        results = self.evaluate(inputs.sealed, trained)
        self.artefacts.results(results)
        return self.gate(inputs.sealed, results)

    def load(self) -> Inputs:
        self.observer.stage("load")
        inputs = load_inputs(self.recipe)
        is_new = not any(self._tasks_of(stage) for stage in ("measure", "select", "train"))
        self.artefacts.begin(self.recipe, inputs.hashes, is_new=is_new)
        if parameters_of(self.recipe.student):  # else nothing is known, or nothing is to pay
            cost = estimate(self.recipe, inputs, self.artefacts.folder.path)
            self.artefacts.expect(cost, is_new=is_new)
        self.artefacts.inputs(self.recipe, inputs)
        bad = len(inputs.loaded.quarantine)
        self.observer.note(
            f"{inputs.loaded.read:,} rows read ({inputs.loaded.layout}), {bad:,} quarantined, "
            f"{inputs.loaded.merged:,} merged as equal; evaluation: "
            + ", ".join(f"{name} {n:,}" for name, n in inputs.sealed.sizes.items())
        )
        return inputs

    def lint(self, pool: Pool) -> None:
        self.observer.stage("lint")
        began = time.monotonic()
        report = lint(pool, self.student.tokenizer, max_tokens=self.max_tokens)
        self.ledger.record("lint", pool.id, _counts(len(pool)), time.monotonic() - began)
        self.artefacts.figures("lint", report.as_json())
        errors = len(report.errors)
        self.observer.note(f"{errors} errors, {len(report.warnings)} warnings")
        if not report.is_ready:
            problems = "; ".join(f"{check.name}: {check.message}" for check in report.errors)
            raise DataError(f"the rows are not ready for training: {problems}")

    @property
    def max_tokens(self) -> int:
        """Rows are cut at what the trainer takes, or at the student's window."""
        wanted = int(self.recipe.trainer.options.get("max_tokens", self.student.max_tokens))
        return min(wanted, self.student.max_tokens)

    def audit(self, inputs: Inputs) -> tuple[pl.DataFrame, Pool]:
        """Run every audit; rows with a finding are dropped, each with its first reason.

        Suspicions about rows that stay are written beside the findings, for a person to judge.
        """
        self.observer.stage("audit")
        options = cut_at(self.max_tokens, self.recipe.measures)
        audits = self.recipe.audits
        context = audit_context(audits, inputs.pool, inputs.sealed, self.context, options)
        frames = [pl.DataFrame(schema={**FINDING_SCHEMA, "op": pl.String})]
        suspicions = [frames[0].clear()]
        figures: dict[str, object] = {}
        for name, bound in audits.items():
            began, inner = time.monotonic(), self._seconds_of(name)
            found: Findings = bound.make()(inputs.pool, context)
            seconds = time.monotonic() - began - (self._seconds_of(name) - inner)
            self.ledger.record(f"audit.{name}", inputs.pool.id, _counts(len(inputs.pool)), seconds)
            frames.append(found.rows.with_columns(pl.lit(name).alias("op")))
            suspicions.append(found.suspicions.with_columns(pl.lit(name).alias("op")))
            figures[name] = dict(found.figures)
        findings = pl.concat(frames).unique("id", keep="first", maintain_order=True).sort("id")
        doubted = pl.concat(suspicions).join(findings, on="id", how="anti").sort("id", "op")
        self.artefacts.findings(findings, doubted, figures)
        clean = inputs.pool.without(findings["id"])
        reasons = Counter(findings["reason"].to_list())
        told = ", ".join(f"{n:,} {reason}" for reason, n in sorted(reasons.items())) or "nothing"
        self.observer.note(f"dropped: {told}; {len(clean):,} rows left")
        if doubted.height:
            self.observer.note(
                f"{doubted['id'].n_unique():,} rows left are suspicious: see suspicions.parquet"
            )
        if not len(clean):
            raise DataError("the audit dropped every row: nothing is left to select from.")
        return findings, clean

    def _seconds_of(self, prefix: str) -> float:
        costs = self.ledger.costs()
        return sum(float(c["seconds"]) for c in costs if str(c["stage"]).startswith(prefix))

    def _tasks_of(self, prefix: str) -> int:
        costs = self.ledger.costs()
        return sum(int(c["tasks"]) for c in costs if str(c["stage"]).startswith(prefix))

    @property
    def controls(self) -> list[BoundOp]:
        return [registry.get("select", name).bind() for name in self.recipe.gate.controls]

    def measure(self, inputs: Inputs, clean: Pool, selectors: Sequence[BoundOp]) -> Measured:
        """Measure what these selectors need to know, of the rows and of the target's."""
        recipe = self.recipe
        self.observer.stage("measure")
        later = {name for step in recipe.steps[1:] for name in step.selector.needs}
        needs = ["length", *(n for bound in selectors for n in bound.needs)]
        needs += [name for name in recipe.measures if name not in later]
        needs = list(dict.fromkeys(needs))
        clean = sample(clean, recipe.data.sample, recipe.seed)
        options = cut_at(self.max_tokens, recipe.measures)
        features = measure_pool(clean, needs, options, self.context)
        self.observer.note(f"{', '.join(needs)}; {features.failed.height} rows failed")
        rows = features.frame.join(features.failed, on="id", how="anti").sort("id")
        asked = list(dict.fromkeys(name for bound in selectors for name in bound.target))
        if inputs.target is None or not asked:
            return Measured(features, rows, self.context)
        found = measure_pool(inputs.target, asked, options, self.context, fitted_on=clean)
        self.observer.note(
            f"{len(inputs.target):,} target rows: {', '.join(asked)}; {found.failed.height} failed"
        )
        context = replace(self.context, target=found.frame)
        return Measured(features, rows, context, found.flops)

    def select(
        self, inputs: Inputs, findings: pl.DataFrame, clean: Pool, measured: Measured
    ) -> tuple[Measured, list[Arm]]:
        """Choose the tested rows step by step, then the controls from all rows."""
        rows, gate = measured.rows, self.recipe.gate
        measured, tested = self.choose(inputs, clean, measured)
        seeds = tuple(range(gate.seeds))
        arms = [Arm(TESTED, seeds, tested)]
        teach = self.school(clean).teach
        arms += controls(gate.controls, tested, rows, gate.seeds, measured.context, teach)
        if gate.reference:
            arms.append(Arm(gate.reference, (0,), everything(rows)))
        self.artefacts.selection(inputs, findings, measured.features, arms)
        self.artefacts.figures("shift", shift_of(clean, tested, rows, self.context))
        tokens = rows.filter(pl.col("id").is_in(tested.ids))["length_total"].sum()
        self.observer.note(f"{len(tested.ids):,} of {rows.height:,} rows, {tokens:,} tokens")
        return measured, arms

    def choose(self, inputs: Inputs, clean: Pool, measured: Measured) -> tuple[Measured, Selection]:
        """Let each step choose from what the one before it let through, measuring as it goes."""
        seen, left = measured, [pl.DataFrame(schema={"id": pl.String, "reason": pl.String})]
        *filters, last = self.recipe.steps
        for number, (step, after) in enumerate(zip(filters, self.recipe.steps[1:], strict=True), 1):
            name = step.selector.op.name
            found = self.chosen(f"step-{number}", step, clean, seen)
            left.append(stopped_at(number, step.selector, found))
            self.observer.note(f"step {number}, {name}: {len(found.ids):,} rows go on")
            seen = self.measure(inputs, clean.keep(found.ids), [after.selector])
            measured = measured.with_more(seen)
        if last.keep.unit == "flops":
            last = replace(last, keep=self.in_tokens(last.keep, clean, measured))
        tested = self.chosen(TESTED, last, clean, seen)
        return measured, Selection(tested.chosen, pl.concat([*left, tested.left]))

    def in_tokens(self, budget: Budget, clean: Pool, measured: Measured) -> Budget:
        """Return what a budget in FLOPs leaves to train on, once the measures are paid for."""
        recipe = self.recipe
        spent = measuring(
            [step.selector for step in recipe.steps], clean, recipe.measures,
            measured.features.flops, measured.target_flops,
        )  # fmt: skip
        left = in_tokens(budget, spent, recipe.trainer, self.student.parameters)
        facts = {"budget": budget.amount, "choosing": spent, "tokens": left.amount}
        self.artefacts.figures("flops", facts)
        self.observer.note(
            f"{spent:.3g} of {budget.amount:.3g} FLOPs spent on choosing: {left.amount:,.0f} tokens to train on"
        )
        return left

    def chosen(self, name: str, step: Step, clean: Pool, measured: Measured) -> Selection:
        """Run one step.

        Raises:
            DataError: it chose nothing.
        """
        self.observer.stage("select")
        found = choose(
            name, step.selector, measured.rows, step.keep, measured.context,
            self.school(clean).teach,
        )  # fmt: skip
        if not found.ids:
            reasons = ", ".join(f"{n:,} {why}" for why, n in sorted(reasons_of(found).items()))
            raise DataError(f"select.{step.selector.op.name} chose no row: {reasons}.")
        return found

    def school(self, clean: Pool) -> School:
        """Return where students are trained on the way of a selection."""
        options = cut_at(self.max_tokens, self.recipe.measures)
        return School(clean, self.recipe.trainer, options, self.context)

    def train(self, arms: list[Arm], clean: Pool, features: Features) -> list[Trained]:
        self.observer.stage("train")
        trained = train_arms(arms, clean, features.frame, self.recipe.trainer, self.context)
        self.artefacts.training(arms, trained, features.frame, self.engine.store)
        steps = sum(int(t.figures.get("steps", 0)) for t in trained)
        self.observer.note(f"{len(trained)} students, {steps:,} steps")
        return trained

    def evaluate(self, sealed: SealedSets, trained: Sequence[Trained]) -> pl.DataFrame:
        """Judge the untrained student and all others on the sealed items, and count the looks."""
        self.observer.stage("evaluate")
        candidates = [Candidate("before", 0), *(t.candidate for t in trained)]
        before = self._tasks_of("evaluate")
        results = evaluate_students(
            sealed, candidates, self.recipe.evaluator, self.context,
            cluster=self.recipe.gate.cluster,
        )  # fmt: skip
        looks = self._tasks_of("evaluate") - before
        if looks:  # results that were there already are no new look
            self.ledger.decide("look", {"sets": sealed.sizes, "students": looks})
        self.observer.note(f"{len(candidates)} students on {sum(sealed.sizes.values()):,} items")
        return results

    def gate(self, sealed: SealedSets, results: pl.DataFrame) -> Verdict:
        self.observer.stage("gate")
        began = time.monotonic()
        verdict: Verdict = self.recipe.judge.make()(results.select(*RESULT_SCHEMA), self.context)
        stamps = tuple(one["sentence"] for one in self.artefacts.unlicensed)
        verdict = replace(verdict, notes=(*stamps, *verdict.notes))
        self.ledger.record("gate", "gate", _counts(results.height), time.monotonic() - began)
        self.artefacts.verdict(verdict, sealed)
        if len(sealed.sizes) > 1:
            self.artefacts.sets(self.apart(results))
        self.ledger.decide("verdict", {"decision": verdict.decision, "sentence": verdict.sentence})
        self.observer.note(verdict.decision.replace("_", " "))
        return verdict

    def apart(self, results: pl.DataFrame) -> dict[str, SetResult]:
        """Judge each evaluation set by itself, for its figures; the verdict is about all together."""
        found = {}
        for name, part in by_set(results.select(*RESULT_SCHEMA)).items():
            items = part["item"].n_unique()
            try:
                one: Verdict = self.recipe.judge.make()(part, self.context)
                found[name] = SetResult(items, one.arms, one.comparisons)
            except DataError:  # too few items to compare anything: the page says how many
                found[name] = SetResult(items, (), ())
        return found


def reasons_of(selection: Selection) -> Counter[str]:
    """Count why rows were left out."""
    return Counter(selection.left["reason"].to_list())


def _counts(rows: int) -> dict[str, int]:
    return {"rows_in": rows, "kept": rows, "dropped": 0, "quarantined": 0, "tokens": 0}
