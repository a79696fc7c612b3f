"""Did the tested arm win? The verdict banner, the forest plot, the arms, and the same numbers again
as tables, for those who cannot or will not read a plot."""

from __future__ import annotations

import math
from collections.abc import Sequence

import polars as pl

from treadle.data.verdict import Arm, Comparison, Verdict
from treadle.report import plot
from treadle.report.folder import RunFolder
from treadle.report.markup import Child, Column, Safe, Section, absent, explain, join, table, tag
from treadle.report.numbers import (
    count,
    decimals,
    figure,
    fixed,
    interval,
    number,
    probability,
    signed,
)

ROLE_WORDS = {
    "tested": "tested arm",
    "control": "control",
    "reference": "reference",
    "incumbent": "incumbent",
}
WIDTH = 1000


def scores(run: RunFolder) -> Section:
    """Return the section with both plots and both tables."""
    verdict = run.verdict
    if verdict is None:
        body = absent(
            "No arm has been compared yet: verdict.json is written by the gate, at the end."
        )
    else:
        body = join([*_comparisons(verdict), *_arms(verdict, direction(run.results))])
    return Section("scores", "Score against the controls", "Scores", body)


def direction(results: pl.DataFrame | None) -> str:
    """Say whether a higher or a lower value is better, from the results themselves.

    `score` is always oriented so that higher is better; `value` is the figure that people know.
    """
    if results is None:
        return ""
    both = results.drop_nulls(["score", "value"]).select("score", "value")
    if both.height < 2:
        return ""
    spread = both["score"] - both["score"].mean()
    slope = float((spread * (both["value"] - both["value"].mean())).sum())
    if not math.isfinite(slope) or slope == 0:
        return ""
    return "higher is better" if slope > 0 else "lower is better"


def _comparisons(verdict: Verdict) -> list[Safe]:
    rows = [c for c in verdict.comparisons if number(c.effect) is not None]
    if not rows:
        return [absent("The verdict holds no comparison.")]
    alpha = verdict.alpha
    places = decimals([(c.high - c.low) / 2 for c in rows])
    return [
        tag("h3", "The tested arm minus each other arm"),
        explain(
            "Each point is the mean difference of the score, paired by evaluation item and training "
            f"seed; the bar is its {_level(alpha)} interval. Entirely to the right of zero: the "
            "tested arm is better. Across zero: this run cannot tell. "
            "The reference (hollow) costs more and is no hurdle. An arrow: "
            "the interval lies beyond the edge."
        ),
        _forest(rows, alpha, places),
        _comparison_table(rows, alpha, places),
    ]


def _level(alpha: float) -> str:
    return f"{100 * (1 - 2 * alpha):.3g}%"


def verdict_of(comparison: Comparison, alpha: float) -> str:
    """Name what a comparison has shown, by its p-values, as the gate decides.

    To lose against the reference is no failure: it was trained on far more.
    """
    if comparison.role == "reference":
        return "reference"
    if comparison.p_better <= alpha:
        return "better"
    return "worse" if comparison.p_worse <= alpha else "unclear"


def _forest(rows: Sequence[Comparison], alpha: float, places: int) -> Safe:
    top, step = 34, 40
    bottom = top + step * len(rows)
    near = [v for c in rows if c.role == "control" for v in (c.low, c.high, c.effect)]
    far = [(c.low, c.high, c.effect) for c in rows if c.role != "control"]
    scale = plot.focus([*near, 0.0], far, 220, 690)
    zero = scale(0.0)
    shapes: list[Child] = [*plot.grid_x(scale, top - 6, bottom)]
    shapes += [
        plot.line(zero, top - 12, zero, bottom, "zero"),
        plot.text(220, 14, "← tested arm worse", "hint"),
        plot.text(690, 14, "tested arm better →", "hint", anchor="end"),
        plot.text(712, 14, f"difference [{_level(alpha)} interval]", "hint"),
        plot.text(996, 14, "p (better)", "hint", anchor="end"),
    ]
    for i, one in enumerate(rows):
        shapes += _forest_row(one, alpha, scale, top + step * i + step / 2, places)
    title = (
        "Forest plot: the tested arm minus each other arm; the table below has the same numbers."
    )
    return plot.svg(WIDTH, bottom + 30, title, *shapes)


def _forest_row(
    one: Comparison, alpha: float, scale: plot.Axis, y: float, places: int
) -> list[Child]:
    kind = verdict_of(one, alpha)
    words = f"{signed(one.effect, places)} {interval(one.low, one.high, places)}"
    shapes: list[Child] = [
        plot.text(0, y - 1, f"− {one.against}", "name"),
        plot.text(0, y + 14, ROLE_WORDS[one.role], "hint"),
        plot.text(712, y + 5, words, "value"),
        plot.text(996, y + 5, probability(one.p_better), "value", anchor="end"),
    ]
    shapes += plot.whisker(scale, one.low, one.high, y, kind, cap=6)
    shapes.append(plot.mark(scale, one.effect, y, 6, f"mean {kind}", f"− {one.against}: {words}"))
    return shapes


def _comparison_table(rows: Sequence[Comparison], alpha: float, places: int) -> Safe:
    columns = [
        Column("Tested arm minus"),
        Column("Role"),
        Column("Difference", True),
        Column(f"{_level(alpha)} interval", True),
        Column("p (better)", True),
        Column("p (worse)", True),
        Column("Items", True),
        Column("Clusters", True),
        Column("Seeds", True),
        Column("SE items", True),
        Column("SE seeds", True),
    ]
    return join(
        [
            table(
                "Differences of the score (positive: the tested arm is better)",
                columns,
                [_comparison_row(one, alpha, places) for one in rows],
            ),
            explain(
                "p (better): how often chance alone would show a difference at least this good if "
                "the arms were equal. SE items: the standard error that comes from the choice of "
                "items. SE seeds: that from training seeds and from the luck of single answers, "
                "which show together as the spread of the seeds' means; with one seed neither can "
                "be seen. Items of one cluster (one source) are resampled together, because they "
                "succeed and fail together."
            ),
        ]
    )


def _comparison_row(one: Comparison, alpha: float, places: int) -> tuple[Child, ...]:
    return (
        one.against,
        ROLE_WORDS[one.role],
        tag("span", signed(one.effect, places), class_=f"is-{verdict_of(one, alpha)}"),
        interval(one.low, one.high, places),
        probability(one.p_better),
        probability(one.p_worse),
        count(one.items),
        count(one.clusters),
        count(one.seeds),
        figure(one.sd_items),
        figure(one.sd_seeds),
    )


def _arms(verdict: Verdict, better: str) -> list[Safe]:
    arms = [a for a in verdict.arms if number(a.mean) is not None]
    if not arms:
        return []
    # Enough decimals to subtract two means by eye and arrive at the difference above.
    groups = (arms, verdict.comparisons)
    places = max(decimals((one.high - one.low) / 2 for one in group) for group in groups)
    orientation, level = f" ({better})" if better else "", _level(verdict.alpha)
    columns = [
        Column("Arm"),
        Column("Role"),
        Column("Mean", True),
        Column(f"{level} interval", True),
        Column("Seeds", True),
        Column("Mean of each seed", True),
    ]
    body = [
        (
            arm.name,
            ROLE_WORDS[arm.role],
            fixed(arm.mean, places),
            _interval_of(arm, places),
            count(len(arm.by_seed)),
            ", ".join(fixed(v, places) for v in arm.by_seed),
        )
        for arm in arms
    ]
    return [
        tag("h3", f"Each arm: {verdict.metric}{orientation}"),
        explain(
            "The filled point is the mean over items and training seeds, the bar its "
            f"{level} interval, each small ring one training seed. An arm with one seed cannot show "
            "the luck of training: its interval covers items only. Arms may overlap here and still "
            "differ above: the differences are paired item by item, which removes what items have "
            "in common."
        ),
        _dots(arms, verdict.metric, better, level, places),
        table(f"Mean {verdict.metric} of each arm{orientation}", columns, body),
    ]


def _interval_of(arm: Arm, places: int) -> str:
    told = interval(arm.low, arm.high, places)
    return f"{told} items only" if len(arm.by_seed) == 1 else told


def _dots(arms: Sequence[Arm], metric: str, better: str, level: str, places: int) -> Safe:
    top, step = 30, 40
    bottom = top + step * len(arms)
    close = ("tested", "control")
    near = [v for a in arms if a.role in close for v in (a.low, a.high, a.mean, *a.by_seed)]
    far = [(a.low, a.high, a.mean, *a.by_seed) for a in arms if a.role not in close]
    scale = plot.focus(near, far, 220, 690)
    shapes: list[Child] = [*plot.grid_x(scale, top - 6, bottom)]
    shapes.append(plot.text(712, 14, f"mean [{level} interval]", "hint"))
    arrow = {"higher is better": "higher is better →", "lower is better": "← lower is better"}
    shapes.append(plot.text(220, 14, f"{metric}   {arrow.get(better, '')}".strip(), "hint"))
    for i, arm in enumerate(arms):
        shapes += _arm_row(arm, scale, top + step * i + step / 2, places)
    title = f"Mean {metric} of each arm with one ring a seed; the table below has the same numbers."
    return plot.svg(WIDTH, bottom + 30, title, *shapes)


def _arm_row(arm: Arm, scale: plot.Axis, y: float, places: int) -> list[Child]:
    words = f"{fixed(arm.mean, places)} {_interval_of(arm, places)}"
    shapes: list[Child] = [
        plot.text(0, y - 1, arm.name, "name"),
        plot.text(0, y + 14, ROLE_WORDS[arm.role], "hint"),
        plot.text(712, y + 5, words, "value"),
    ]
    shapes += plot.whisker(scale, arm.low, arm.high, y, arm.role)
    for seed, value in enumerate(arm.by_seed):
        tip = f"{arm.name}, seed {seed}: {fixed(value, places)}"
        shapes.append(plot.mark(scale, value, y + 11, 3.5, f"ring {arm.role}", tip))
    shapes.append(plot.mark(scale, arm.mean, y, 6, f"mean {arm.role}", f"{arm.name}: {words}"))
    return shapes
