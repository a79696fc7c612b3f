"""Compare selectors on one pool: methods at several budgets, beside the controls they must beat.

    compare:
      methods: {ifd: {by: ifd}, spread: {by: ifd, diverse: k_center}, k_center: }
      keep: [5%, 10%, 30%]                # shares of the pool's tokens
      train_for: [1 epoch, 60 steps]      # both regimes: equal epochs, and equal steps

A method may be a list of steps, `superfilter: [{by: ifd, keep: 50%}, {diverse: facility_location}]`: each
chooses from what the one before it let through, and the last one takes the budget. What any step
needs is measured once, of the whole pool: methods share it, and what a method chooses does not
depend on which others stand beside it, as it would if pool statistics were those of a step's rows.

A budget is a share of the pool's tokens, so all arms of one budget cost alike and one random draw a
seed is the token-matched control of every method. `NAME~length` is a random draw with the histogram
of reply lengths of method NAME: what a method wins over it is not length. Every arm is trained with
every seed; the whole pool (`full`) once, as a reference; and the target's own rows, if there is a target. A method that trains students on the way
does so once a budget (a draw), by the section `train`, whatever `train_for` says.

With `train_for: [2e15 FLOPs]` every arm may spend so many FLOPs on choosing and training together: see
`flops`. `NAME~length` is charged what NAME is, since nobody knows its lengths before NAME has chosen;
an arm that cannot pay for its choosing and a step of training is shown as not affordable.

Not here: the table (`compare_table`) and the page (`report.comparison`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import polars as pl

from treadle import op as registry
from treadle.context import Context
from treadle.data.matching import length_matched
from treadle.data.pool import Pool
from treadle.data.selection import Budget, Selection
from treadle.data.verdict import RESULT_SCHEMA
from treadle.errors import DataError
from treadle.flywheel.arms import Arm, Teach, Trained, choose, stopped_at, train_arms
from treadle.flywheel.compare_table import Cell, tabulate
from treadle.flywheel.compare_target import TARGET, target_of
from treadle.flywheel.features import Features, user_columns
from treadle.flywheel.flops import flops_a_token, lengths_of, measuring
from treadle.flywheel.measured import Measured, everything
from treadle.flywheel.recipe import Comparison, Method
from treadle.flywheel.round import Round

NAMED = ("name", "method", "role", "keep", "train_for")
RANDOM, FULL, BEFORE, LIKE = "random", "full", "before", "~length"
TARGET_KEEP = "target"


@dataclass(frozen=True, slots=True)
class Chosen:
    """What one method chose at one budget, once or once a seed, and the FLOPs of each choice."""

    selections: tuple[Selection, ...]
    flops: tuple[int, ...]


@dataclass(frozen=True)
class Contest:
    """A round that stops before its gate, and what it is to compare."""

    round: Round
    plan: Comparison

    def turn(self) -> None:
        """Load, lint, audit, measure; then choose, train and evaluate every arm.

        Raises:
            TreadleError: anything foreseen; finished work is kept, and a second call goes on.
        """
        one = self.round
        inputs = one.load()
        user_columns(inputs.pool, self.plan.columns)
        one.lint(inputs.pool)
        _, clean = one.audit(inputs)
        methods = {**self.controls, **self.plan.methods}.values()
        selectors = [bound for method in methods for bound in method.selectors]
        measured = one.measure(inputs, clean, selectors)
        cells = [*self.choose(clean, measured), *self.whole(measured)]
        target = target_of(one, inputs)
        aimed = self.aimed(target[1]) if target else []
        one.observer.stage("train")
        trained = {cell.name: self.train(cell, clean, measured.features) for cell in cells}
        if target:
            trained |= {cell.name: self.train(cell, *target) for cell in aimed}
        cells += aimed
        one.observer.note(f"{sum(map(len, trained.values())):,} students")
        students = [student for group in trained.values() for student in group]
        results = one.evaluate(inputs.sealed, students)
        one.observer.stage("compare")
        columns = user_columns(clean, self.plan.columns) + files_of(clean, self.plan.columns)
        table = tabulate(
            cells, trained, results, measured.rows, columns, one.ledger.costs(),
            metric=one.recipe.gate.metric, alpha=one.recipe.gate.alpha,
            flops_a_token=flops_a_token(one.recipe.trainer, one.student.parameters),
            context=one.context,
        )  # fmt: skip
        self.write(cells, results, table)
        one.observer.note(f"{len(cells)} arms, {results.height:,} results")

    def choose(self, clean: Pool, measured: Measured) -> Iterator[Cell]:
        """Choose the rows of every method and control at every budget."""
        self.round.observer.stage("select")
        total = int(measured.rows["length_total"].sum())
        for keep, share in self.plan.keep.items():
            budget = Budget("tokens", max(1, round(share * total)))
            found = self.chosen(keep, budget, clean, measured)
            for train_for in self.plan.trainings:
                for method, chosen in found.items():
                    yield self.cell(method, keep, train_for, chosen, measured.rows)
            sizes = ", ".join(f"{n} {len(c.selections[0].ids):,}" for n, c in found.items())
            self.round.observer.note(f"{keep}: {sizes} rows")

    def cell(
        self, method: str, keep: str, train_for: str, chosen: Chosen, rows: pl.DataFrame
    ) -> Cell:
        """Say how long a method's rows are trained on with each seed.

        Raises:
            DataError: a budget in FLOPs does not pay one step of training on random rows.
        """
        training, student = self.plan.trainings[train_for], self.round.student
        seeds = range(1 if method == FULL else self.round.recipe.gate.seeds)
        lengths = [lengths_of(selection.ids, rows) for selection in chosen.selections]
        draws = [seed % len(lengths) for seed in seeds]
        trainers = training.trainers(
            [lengths[draw] for draw in draws], [chosen.flops[draw] for draw in draws],
            student.parameters,
        )  # fmt: skip
        if not trainers and method in (RANDOM, FULL):
            raise DataError(
                f"compare.train_for: {train_for} does not pay one step of training {student.name} on "
                f"{method} rows, so nothing can be compared. Allow more, or lower train.batch_size."
            )
        role = self.role(method)
        return Cell(method, role, keep, train_for, chosen.selections, chosen.flops, trainers)

    @property
    def controls(self) -> dict[str, Method]:
        """Random rows, and the controls that the recipe names."""
        draw = registry.get("select", RANDOM).bind()
        return {n: Method((), bound) for n, bound in {RANDOM: draw, **self.plan.controls}.items()}

    def role(self, method: str) -> str:
        if method in (FULL, TARGET):
            return "reference"
        return "method" if method in self.plan.methods else "control"

    def chosen(
        self, keep: str, budget: Budget, clean: Pool, measured: Measured
    ) -> dict[str, Chosen]:
        """Return what is chosen at one budget: once, or once a seed where rows are drawn."""
        seeds, context = range(self.round.recipe.gate.seeds), measured.context
        found: dict[str, Chosen] = {}
        for name, method in {**self.controls, **self.plan.methods}.items():
            draws = any(bound.draws for bound in method.selectors)
            contexts = [reseeded(context, seed) for seed in seeds] if draws else [context]
            schools = [self.round.school(clean) for _ in contexts]
            selections = tuple(
                in_steps(name, keep, method, measured.rows, budget, seen, school.teach)
                for seen, school in zip(contexts, schools, strict=True)
            )
            spent = measuring(
                method.selectors, clean, self.round.recipe.measures,
                measured.features.flops, measured.target_flops,
            )  # fmt: skip
            found[name] = Chosen(selections, tuple(spent + sum(s.flops) for s in schools))
            if not all(one.ids for one in selections):
                raise DataError(
                    f"compare: {name} chose no row at {keep} of the pool's tokens "
                    f"({budget.amount:,.0f}). Keep more, or drop the method."
                )
            if self.plan.length_matched and name in self.plan.methods:
                alike = tuple(
                    length_matched(
                        selections[0], measured.rows, context.rng(LIKE, name, keep, seed)
                    )
                    for seed in seeds
                )
                found[name + LIKE] = Chosen(alike, (found[name].flops[0],) * len(alike))
        return found

    def whole(self, measured: Measured) -> Iterator[Cell]:
        """The whole pool, and nothing at all: the student as it came."""
        chosen = Chosen((everything(measured.rows),), (0,))
        for train_for in self.plan.trainings:
            yield self.cell(FULL, "100%", train_for, chosen, measured.rows)
        yield Cell(BEFORE, "reference", "0%", "not trained", ())

    def aimed(self, lengths: Features) -> list[Cell]:
        """The target's own rows."""
        chosen = Chosen((everything(lengths.frame),), (0,))
        return [
            replace(
                self.cell(TARGET, TARGET_KEEP, train_for, chosen, lengths.frame), own=lengths.frame
            )
            for train_for in self.plan.trainings
        ]

    def train(self, cell: Cell, pool: Pool, features: Features) -> list[Trained]:
        """Train a cell with every seed, on rows of a pool."""
        lengths, context = features.frame, self.round.context
        return [
            trained
            for seed, bound in enumerate(cell.trainers)
            for trained in train_arms(
                [Arm(cell.name, (seed,), cell.selection(seed))], pool, lengths, bound, context
            )
        ]

    def write(self, cells: list[Cell], results: pl.DataFrame, table: Mapping[str, Any]) -> None:
        """Write the table, every arm's rows, and every item's result."""
        folder = self.round.artefacts.folder
        stamps = self.round.artefacts.unlicensed
        folder.write_json(
            "comparison.json", {**table, **({"unlicensed": stamps} if stamps else {})}
        )
        lines = pl.DataFrame(table["cells"], infer_schema_length=None)
        lines = lines.drop("by_seed", "composition", "left", "sets", strict=False)
        folder.write("comparison.csv", lines.write_csv().encode())
        if len(table["sets"]) > 1:
            apart = [
                {**{key: line[key] for key in NAMED}, "set": name, **found}
                for line in table["cells"]
                for name, found in line["sets"].items()
            ]
            frame = pl.DataFrame(apart, infer_schema_length=None).drop("by_seed")
            folder.write("comparison_by_set.csv", frame.write_csv().encode())
        folder.write_frame("results.parquet", results.select(*RESULT_SCHEMA))
        chosen = [
            selection.chosen.select(
                pl.lit(cell.method).alias("method"), pl.lit(cell.keep).alias("keep"),
                pl.lit(draw, pl.Int64).alias("draw"), "id", "rank", "reason",
            )
            for cell in cells
            for draw, selection in enumerate(cell.selections)
            if cell.train_for == cells[0].train_for
        ]  # fmt: skip
        folder.write_frame("selections.parquet", pl.concat(chosen))


def files_of(pool: Pool, columns: Sequence[str]) -> list[pl.DataFrame]:
    """Return the file of each row, unless there is one file or the user has asked for it anyway."""
    if "file" in columns:
        return []
    found = user_columns(pool, ["file"])
    return [frame for frame in found if frame["file"].n_unique() > 1]


def in_steps(
    name: str,
    keep: str,
    method: Method,
    rows: pl.DataFrame,
    budget: Budget,
    context: Context,
    teach: Teach,
) -> Selection:
    """Let each step choose from what the one before it let through; the last takes the budget.

    Raises:
        DataError: the filters leave fewer tokens than the budget, so arms would not cost alike.
    """
    left = []
    for number, step in enumerate(method.filters, 1):
        # The same for every budget, so a second budget finds the work done.
        found = choose(f"{name} step-{number}", step.selector, rows, step.keep, context, teach)
        left.append(stopped_at(number, step.selector, found))
        rows = rows.filter(pl.col("id").is_in(found.ids))
        tokens = int(rows["length_total"].sum())
        if tokens < budget.amount:
            raise DataError(
                f"compare.methods.{name}: step {number}, {step.selector.op.name}, leaves "
                f"{rows.height:,} rows of {tokens:,} tokens, but {keep} of the pool's tokens are "
                f"{budget.amount:,.0f}. Let that step keep more, or take {keep} out of compare.keep."
            )
    last = choose(f"{name} {keep}", method.selector, rows, budget, context, teach)
    return Selection(last.chosen, pl.concat([*left, last.left]))


def reseeded(context: Context, seed: int) -> Context:
    """Return a context whose draws are those of one seed (see `arms.controls`)."""
    return replace(context, seed=context.seed * 1_000_003 + seed + 1)
