"""The honest table of a comparison: one line a method, budget and length of training.

Every line is compared with the random draws of the same budget and training, paired by item and
seed, with an interval that holds the luck of items and of training (`gate.pairs`). Where many lines
are compared, some win by luck: `p_holm` is the p-value after Holm's correction over all methods.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from treadle.context import Context
from treadle.data.selection import Selection
from treadle.data.verdict import RESULT_SCHEMA, by_set
from treadle.errors import DataError
from treadle.flywheel.arms import Trained
from treadle.gate.pairs import compare
from treadle.gate.results import Results, read_results
from treadle.op import BoundOp

RESAMPLES = 10_000
SHOWN_VALUES = 8
DIFFERENCE = ("difference", "low", "high", "p_better", "p_worse")


@dataclass(frozen=True)
class Cell:
    """One line: what a method chose at a budget, and how long it is trained on."""

    method: str
    role: str
    keep: str
    train_for: str
    selections: tuple[Selection, ...]
    """One, or one a seed where the rows are drawn anew; none for the untrained student."""
    choosing: tuple[int, ...] = ()
    """FLOPs of each selection."""
    trainers: tuple[BoundOp, ...] = ()
    """One a seed; none where choosing leaves too little for a single step."""
    own: pl.DataFrame | None = None
    """Lengths of its rows, where they are not the pool's."""

    @property
    def is_affordable(self) -> bool:
        return bool(self.trainers) or not self.selections

    @property
    def name(self) -> str:
        return f"{self.method} {self.keep} {self.train_for}" if self.selections else self.method

    def selection(self, seed: int) -> Selection:
        return self.selections[seed % len(self.selections)]


def tabulate(
    cells: Sequence[Cell],
    trained: Mapping[str, Sequence[Trained]],
    results: pl.DataFrame,
    rows: pl.DataFrame,
    columns: Sequence[pl.DataFrame],
    costs: Sequence[Mapping[str, Any]],
    *,
    metric: str,
    alpha: float,
    flops_a_token: int,
    context: Context,
) -> dict[str, Any]:
    """Return the whole comparison as plain data.

    Args:
        rows: features of the rows that could be chosen.
        columns: frames of `id` and one of the user's columns, whose values are counted in each line.
        costs: seconds and tokens by stage, from the ledger.
        flops_a_token: what training on a token takes.
    """
    found = read_results(results.select(*RESULT_SCHEMA))
    lines = []
    for cell in cells:
        line: dict[str, Any] = {
            "name": cell.name, "method": cell.method, "role": cell.role, "keep": cell.keep,
            "train_for": cell.train_for,
        }  # fmt: skip
        line |= _values(found, cell)
        line |= _against_random(found, cell, alpha, context)
        line |= _sizes(cell, rows, trained.get(cell.name, []))
        line |= _flops(cell, line["trained_tokens"], flops_a_token)
        line |= _answers(results, cell)
        line |= {"train_seconds": _seconds(costs, f"train.{cell.name}-")}
        line |= {"composition": _composition(cell, columns), "left": _left(cell)}
        lines.append(line)
    _correct(lines)
    sets = by_set(results.select(*RESULT_SCHEMA))
    if len(sets) > 1:
        for name, part in sets.items():
            one = read_results(part)
            for line, cell in zip(lines, cells, strict=True):
                line.setdefault("sets", {})[name] = _of_set(one, cell, alpha, context)
    seeds = max(len(line["by_seed"]) for line in lines)
    return {
        **_told(lines, alpha, seeds),
        "metric": metric,
        "alpha": alpha,
        "items": len(found.items),
        "sets": {name: part["item"].n_unique() for name, part in sets.items()},
        "seeds": seeds,
        "cells": lines,
        "overlap": _overlap(cells),
        "costs": [dict(c) for c in costs if str(c["stage"]).startswith(("measure", "select"))],
    }


def _values(found: Results, cell: Cell) -> dict[str, Any]:
    """Mean over items that all seeds have scored: every seed, their mean and spread."""
    if not cell.is_affordable:
        return {"mean": None, "sd": None, "by_seed": [], "unscored": None}
    values_SN = found.arm(cell.name).values
    is_scored = np.isfinite(values_SN).all(axis=0)
    if not is_scored.any():
        return {"mean": None, "sd": None, "by_seed": [], "unscored": values_SN.shape[1]}
    by_seed = values_SN[:, is_scored].mean(axis=1)
    spread = float(by_seed.std(ddof=1)) if len(by_seed) > 1 else None
    return {
        "mean": float(by_seed.mean()),
        "sd": spread,
        "by_seed": [float(value) for value in by_seed],
        "unscored": int((~is_scored).sum()),
    }


def _against_random(found: Results, cell: Cell, alpha: float, context: Context) -> dict[str, Any]:
    """The paired difference of scores to the random draws: above 0 is better."""
    if cell.method == "random" or not cell.is_affordable:
        return dict.fromkeys(DIFFERENCE)
    # The whole pool and the untrained student have no budget: any random line would do, none does.
    random = f"random {cell.keep} {cell.train_for}"
    if random not in found.arms:
        return dict.fromkeys(DIFFERENCE)
    pair = compare(
        found.arm(cell.name), found.arm(random), found.clusters, "random", "control",
        alpha=alpha, resamples=RESAMPLES, rng=context.rng("compare", cell.name),
    )  # fmt: skip
    one = pair.comparison
    values = (one.effect, one.low, one.high, one.p_better, one.p_worse)
    return dict(zip(DIFFERENCE, values, strict=True))


def _of_set(found: Results, cell: Cell, alpha: float, context: Context) -> dict[str, Any]:
    """The figures of a line over the items of one evaluation set; none where too few are scored."""
    try:
        return _values(found, cell) | _against_random(found, cell, alpha, context)
    except DataError:  # a set of one item, or of one that all arms have scored, compares nothing
        return _values(found, cell) | dict.fromkeys(DIFFERENCE)


def _correct(lines: Sequence[dict[str, Any]]) -> None:
    """Add Holm's corrected p-value of `better than random` to every method's line."""
    tested = sorted(
        (line for line in lines if line["role"] == "method" and line["p_better"] is not None),
        key=lambda line: line["p_better"],
    )
    for line in lines:
        line["p_holm"] = None
    highest = 0.0
    for rank, line in enumerate(tested):
        highest = max(highest, min(1.0, line["p_better"] * (len(tested) - rank)))
        line["p_holm"] = highest


def standing(line: Mapping[str, Any], alpha: float) -> str:
    """Name how a line compares with random rows: better, worse, unclear, or not compared."""
    if line["p_better"] is None:
        return "not compared"
    if line["p_better"] <= alpha:
        return "better"
    return "worse" if line["p_worse"] <= alpha else "unclear"


def _told(lines: Sequence[Mapping[str, Any]], alpha: float, seeds: int) -> dict[str, str]:
    """Say what came out, in a headline and a sentence."""
    planned = [line for line in lines if line["role"] == "method"]
    methods = [line for line in planned if line["affordable"]]
    poor = "; ".join(_name(line) for line in planned if not line["affordable"])
    better = [line for line in methods if standing(line, alpha) == "better"]
    worse = sum(standing(line, alpha) == "worse" for line in methods)
    firm = [line for line in better if line["p_holm"] <= alpha]
    named = "; ".join(map(_name, firm))
    total = len(methods)
    return {
        "headline": f"{len(better)} of {total} comparisons beat random rows of the same tokens",
        "sentence": (
            f"{worse} lost to them, and {total - len(better) - worse} cannot be told apart. At this "
            f"level about {alpha * total:.1f} would seem to win by luck alone; after Holm's "
            f"correction {len(firm)} stand{f': {named}' if firm else ''}."
            + (f" Not affordable, because choosing alone takes the budget: {poor}." if poor else "")
            + (" With one seed no interval holds the luck of training." if seeds == 1 else "")
        ),
    }


def _name(line: Mapping[str, Any]) -> str:
    return f"{line['method']} at {line['keep']}, {line['train_for']}"


def _sizes(cell: Cell, rows: pl.DataFrame, trained: Sequence[Trained]) -> dict[str, Any]:
    """Rows, tokens, steps and the length of replies; means where rows are drawn anew."""
    known = rows if cell.own is None else cell.own
    picked = [known.filter(pl.col("id").is_in(s.ids)) for s in cell.selections]
    steps = [int(t.figures["steps"]) for t in trained]
    used = [int(t.figures["tokens"]) for t in trained]
    tokens = [int(frame["length_total"].sum()) for frame in picked]
    whole = int(rows["length_total"].sum())

    def mean(values: Sequence[float]) -> float | None:
        return float(np.mean(values)) if values else None

    return {
        "rows": mean([frame.height for frame in picked]),
        "tokens": mean(tokens),
        "token_share": float(np.mean(tokens)) / whole if tokens and whole else None,
        "steps": mean(steps),
        "trained_tokens": mean(used),
        "reply_tokens": mean([float(frame["length"].mean()) for frame in picked]),  # type: ignore[arg-type]
    }


def _flops(cell: Cell, trained_tokens: float | None, flops_a_token: int) -> dict[str, Any]:
    """FLOPs of choosing and of training a student, and the first relative to the second."""
    choosing = float(np.mean(cell.choosing)) if cell.choosing else None
    training = trained_tokens * flops_a_token if trained_tokens is not None else None
    return {
        "affordable": cell.is_affordable,
        "choosing_flops": choosing,
        "training_flops": training,
        "choosing_to_training": choosing / training if training and choosing is not None else None,
    }


def _answers(results: pl.DataFrame, cell: Cell) -> dict[str, Any]:
    """Failures of form, apart from wrong answers, where answers are generated.

    The share of replies that stop by themselves, and of those that hold no answer at all.
    """
    mine = results.filter(pl.col("arm") == cell.name)
    stopped, answered = (_share(mine[name]) for name in ("has_stopped", "has_answer"))
    return {
        "share_that_stop": stopped,
        "share_without_answer": None if answered is None else 1 - answered,
    }


def _share(flags: pl.Series) -> float | None:
    known = flags.drop_nulls()
    return float(known.mean()) if len(known) else None  # type: ignore[arg-type]


def _seconds(costs: Sequence[Mapping[str, Any]], prefix: str) -> float | None:
    """Mean seconds of the stages that begin so; None where their work was done by an earlier run."""
    known = [float(c["seconds"]) for c in costs if str(c["stage"]).startswith(prefix)]
    return sum(known) / len(known) if known else None


def _composition(cell: Cell, columns: Sequence[pl.DataFrame]) -> dict[str, dict[str, float]]:
    """The share of each value of the user's columns among the chosen rows, the commonest first."""
    if cell.own is not None:
        return {}
    found = {}
    ids = pl.Series([key for s in cell.selections for key in s.ids], dtype=pl.String)
    for frame in columns:
        name = frame.columns[1]
        values = frame.filter(pl.col("id").is_in(ids))[name].cast(pl.String)
        counts = Counter(values.fill_null("(none)").to_list())
        total = max(1, sum(counts.values()))
        found[name] = {k: n / total for k, n in counts.most_common(SHOWN_VALUES)}
    return found


def _left(cell: Cell) -> dict[str, int]:
    """Why rows were left out, other than for want of budget."""
    counts = Counter(cell.selections[0].left["reason"].to_list()) if cell.selections else Counter()
    return {reason: n for reason, n in sorted(counts.items()) if reason != "over_budget"}


def _overlap(cells: Sequence[Cell]) -> list[dict[str, Any]]:
    """Jaccard overlap of what two methods chose at the same budget (of drawn rows: the first draw)."""
    found = []
    first = cells[0].train_for
    same = [c for c in cells if c.train_for == first and c.role != "reference"]
    for i, one in enumerate(same):
        for other in same[i + 1 :]:
            if one.keep == other.keep:
                a, b = set(one.selections[0].ids), set(other.selections[0].ids)
                found.append(
                    {"keep": one.keep, "a": one.method, "b": other.method,
                     "jaccard": len(a & b) / len(a | b)}
                )  # fmt: skip
    return found
