"""Small plots of a comparison: each method's score, and random's, against the share of data."""

from __future__ import annotations

from collections.abc import Sequence

from treadle.report import plot
from treadle.report.compared import Comparison, Line
from treadle.report.markup import Child, Safe, Section, explain, join, tag
from treadle.report.numbers import figure


def curves(found: Comparison) -> Section:
    """One small plot a method and length of training: its score and random's against the share."""
    parts: list[Child] = [
        explain(
            "Blue: the method; grey: random rows of the same tokens. Points are means over items and "
            f"seeds, small rings single seeds. The bar is the {found.level} interval of the method's "
            "paired difference to random, laid at random's mean: where it misses the grey point, the "
            "two differ. Dashed: the whole pool; dotted: the untrained student, where it fits."
        )
    ]
    for train_for in found.lengths:
        names = dict.fromkeys(
            x["method"] for x in found.methods if x["train_for"] == train_for and x["affordable"]
        )
        figures = [
            tag("figure", tag("figcaption", name), _curve(found, name, train_for)) for name in names
        ]
        parts.append(tag("h3", f"Trained for {train_for}"))
        parts.append(tag("div", *figures, class_="small-multiples"))
    return Section("curves", "Score against the share of data", "Curves", join(parts))


def _curve(found: Comparison, method: str, train_for: str) -> Safe:
    mine = [x for x in found.of(method, train_for) if x["affordable"]]
    random = found.of("random", train_for)
    levels = [(x, "full") for x in found.of("full", train_for)]
    levels += [(x, "before") for x in found.of("before")]
    bars = {x["keep"]: _bar(found, x, random) for x in mine}
    near = [v for x in (*mine, *random) for v in (*x["by_seed"], x["mean"])]
    near += [v for bar in bars.values() for v in bar]
    far = [[x["mean"]] for x, _ in levels]
    y = plot.focus(near, far, 170, 20)
    width, left, right = 340.0, 58.0, 326.0
    step = (right - left) / len(mine)
    shapes: list[Child] = [*plot.grid_y(y, left, right)]
    for one, kind in levels:
        if y.low <= one["mean"] <= y.high:
            height = y(one["mean"])
            shapes.append(plot.line(left, height, right, height, f"level {kind}"))
            shapes.append(plot.text(right, height - 4, one["method"], "hint", anchor="end"))
    at = {x["keep"]: left + step * (i + 0.5) for i, x in enumerate(mine)}
    for group, kind in ((random, "random"), (mine, "tested")):
        placed = [(at[x["keep"]], y(x["mean"]), x) for x in group if x["keep"] in at]
        shapes.append(plot.path([(px, py) for px, py, _ in placed], f"outline {kind}"))
        for px, py, x in placed:
            for value in x["by_seed"]:
                shapes.append(plot.dot(px, y(value), 2.5, f"ring {kind}"))
            tip = f"{x['method']} {x['keep']}: {figure(x['mean'])}"
            shapes.append(plot.dot(px, py, 5, f"mean {kind}", tip))
    for keep, px in at.items():
        low, high = bars[keep]
        shapes.append(plot.line(px + 9, y(low), px + 9, y(high), "whisker tested"))
        shapes.append(plot.text(px, 190, keep, "tick", anchor="middle"))
    return plot.svg(width, 200, f"{method}: {found.metric} against the share kept", *shapes)


def _bar(found: Comparison, line: Line, random: Sequence[Line]) -> tuple[float, float]:
    """The interval of a line's difference to random, on the scale of the metric."""
    middle = next(x["mean"] for x in random if x["keep"] == line["keep"])
    sign = -1 if found.better.startswith("lower") else 1
    return middle + sign * line["low"], middle + sign * line["high"]
