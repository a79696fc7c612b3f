"""Where time and tokens went, and whether choosing rows cost more than it saved."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from treadle.report import plot
from treadle.report.folder import RunFolder, StageCost
from treadle.report.markup import Child, Column, Safe, Section, absent, explain, join, table, tag
from treadle.report.numbers import count, duration, flops, number, share
from treadle.report.statuses import TESTED

CHOOSING = ("lint", "audit", "measure", "select")
KINDS = {"train": "control", "evaluate": "random"} | dict.fromkeys(CHOOSING, "tested")


def costs(run: RunFolder) -> Section:
    """Return the section with one line a stage and the price of choosing against training."""
    title, short = "Cost and time", "Cost"
    if not run.costs:
        return Section("costs", title, short, absent("The ledger holds no finished task."))
    whole = sum(cost.seconds for cost in run.costs)
    columns = [
        Column("Stage"),
        Column("Tasks", True),
        Column("Rows", True),
        Column("Tokens", True),
        Column("Time", True),
        Column("Share", True),
        Column("", kind="w"),
    ]
    body: list[Sequence[Child]] = []
    at = 0.0
    for cost in _merged(run.costs, run):
        kind = KINDS.get(part_of(cost.stage, run), "idle")
        bar = plot.bar(cost.seconds, whole, f"fill {kind}", before=at)
        at += cost.seconds
        body.append((*_cells(cost, whole), bar))
    tasks, seconds, _, tokens = _sums(run.costs)
    total = ("all stages", count(tasks), None, count(tokens), duration(seconds), "100%", None)
    body.append(tuple(tag("strong", cell) if cell is not None else None for cell in total))
    expected = _expected(run, whole)
    words = explain(
        "Times are sums over tasks as they ran; work that an earlier run had already done costs "
        "nothing here. Tokens are those that a model read or wrote. Times and costs are not part of "
        "any result: the same recipe gives the same bytes on a slower machine."
    )
    return Section(
        "costs",
        title,
        short,
        join(
            [
                _ratio(run, run.costs),
                expected,
                _flops(run.figures.get("flops")),
                table("Cost by stage, in order", columns, body),
                words,
            ]
        ),
    )


def _expected(run: RunFolder, whole: float) -> Safe | None:
    """Say what the run was expected to take when it began, beside what it took."""
    if run.expected is None:
        return None
    span = f"{duration(60 * run.expected.low)} to {duration(60 * run.expected.high)}"
    took: dict[str, float] = {}
    for cost in run.costs or ():
        part = part_of(cost.stage, run)
        took[part] = took.get(part, 0.0) + cost.seconds
    parts = ", ".join(
        f"{name} {duration(60 * minutes)} ({duration(took.get(name, 0.0))})"
        for name, minutes in run.expected.minutes.items()
    )
    return tag(
        "p",
        "Expected when the run began: ",
        tag("strong", span),
        f"; it took {duration(whole)}. By part, with what it took in brackets: {parts}.",
    )


def _flops(found: object) -> Safe | None:
    """Say how a budget in FLOPs was parted."""
    if not isinstance(found, Mapping):
        return None
    budget, choosing, tokens = (number(found.get(k)) for k in ("budget", "choosing", "tokens"))
    return tag(
        "p",
        f"Choosing took {flops(choosing)} of {flops(budget)} FLOPs, which left {count(tokens)} tokens of "
        "rows to train on. The controls are as large, without having paid for a choice: `treadle "
        "compare` with `train_for: [… FLOPs]` lets them spend that on training.",
    )


def part_of(stage: str, run: RunFolder) -> str:
    """The part of the wheel that a stage belongs to: `measure.ifd` -> `measure`."""
    head = stage.split(".", 1)[0]
    audits = run.figures.get("audit")
    # Audits that run tasks of their own name those after themselves.
    return "audit" if isinstance(audits, Mapping) and head in audits else head


def _merged(stages: Sequence[StageCost], run: RunFolder) -> list[StageCost]:
    """Put the seeds of one arm on one line, and the stages inside an audit on that audit's."""
    groups: dict[str, list[StageCost]] = {}
    for one in stages:
        head = one.stage.split(".", 1)[0]
        if head in ("train", "select"):
            name = re.sub(r"-\d+$", "", one.stage)
        else:
            name = f"audit.{head}" if part_of(one.stage, run) == "audit" != head else one.stage
        groups.setdefault(name, []).append(one)
    return [StageCost(name, *_sums(group)) for name, group in groups.items()]


def _cells(cost: StageCost, whole: float) -> tuple[Child, ...]:
    return (
        cost.stage,
        count(cost.tasks),
        count(cost.rows),
        count(cost.tokens),
        duration(cost.seconds),
        share(cost.seconds, whole),
    )


def _sums(stages: Sequence[StageCost]) -> tuple[int, float, int, int]:
    """Tasks, seconds, rows and tokens. Stages inside an audit read the same rows again."""
    is_arm = all(s.stage.startswith("train.") for s in stages)
    rows = [s.rows for s in stages]
    return (
        sum(s.tasks for s in stages),
        sum(s.seconds for s in stages),
        sum(rows) if is_arm else max(rows, default=0),
        sum(s.tokens for s in stages),
    )


def _is_control(cost: StageCost) -> bool:
    """Choosing the rows of a control is a price of the proof, not of the selection."""
    head, *arm = cost.stage.split(".")
    return head == "select" and arm[0] != TESTED and not arm[0].startswith("step-")


def _ratio(run: RunFolder, stages: Sequence[StageCost]) -> Safe:
    choosing = [s for s in stages if part_of(s.stage, run) in CHOOSING and not _is_control(s)]
    trains = [s for s in stages if part_of(s.stage, run) == "train"]
    spent = sum(s.seconds for s in choosing)
    if not trains or not sum(s.seconds for s in trains):
        return tag("p", f"Choosing rows (lint, audit, measure, select) took {duration(spent)}.")
    tested = [s for s in trains if s.stage.startswith(f"train.{TESTED}-")] or trains
    tasks = max(1, sum(s.tasks for s in tested))
    once = sum(s.seconds for s in tested) / tasks
    everything = sum(s.seconds for s in trains)
    return tag(
        "p",
        "Choosing rows (lint, audit, measure, select) took ",
        tag("strong", duration(spent)),
        ": ",
        tag("strong", share(spent, once)),
        f" of training one student on the selected rows ({duration(once)}), and ",
        tag("strong", share(spent, everything)),
        f" of all training in this run, controls included ({duration(everything)}).",
        class_="lead",
    )
