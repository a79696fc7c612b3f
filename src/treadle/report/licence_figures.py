"""The bars of a licence: each figure with its interval, its limit, and whether it was reached."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from treadle.judge.licensing.licence import Licence
from treadle.report import plot
from treadle.report.markup import Child, Column, Safe, Section, explain, join, table, tag
from treadle.report.numbers import ABSENT, count, fixed, interval, number, plural

Line = Mapping[str, Any]
POWER = {"gate": "gate", "filter": "filter", "break_ties": "break ties"}
STATES = {"passed": "✓ passed", "failed": "✗ failed", "not measured": "– not measured"}


def stands(lines: Sequence[Line]) -> list[str]:
    """Say what bars want that figures do not reach; changes that sway are told together."""
    single = [_stands(one) for one in lines if not _is_robustness(one)]
    swayed = [one for one in lines if _is_robustness(one)]
    if not swayed:
        return single
    names = ", ".join(str(one["name"]).removeprefix("robustness to ") for one in swayed)
    worst = min(number(one["low"]) or 0.0 for one in swayed)
    return [*single, f"too many verdicts change with {names} (robustness down to {fixed(worst, 3)}, "
            f"{_limit(swayed[0])} is needed)"]  # fmt: skip


def _stands(one: Line) -> str:
    if one["state"] == "not measured":
        return f"{one['name']} was not measured"
    more = one["more_items"]
    decides = f", about {plural(more, 'more pair')} would decide" if more else ""
    ends = interval(one["low"], one["high"], 3)
    return f"{one['name']} is {_shown(one)} {ends}, {_limit(one)} is needed{decides}"


def bars(licence: Licence) -> Section:
    """Every figure with its interval and its limit."""
    lines = [x for x in licence.findings["figures"] if not _is_robustness(x)]
    body = [
        explain(
            "The bar is the 95% interval, the dashes are limits. A limit is held against the worse end of "
            "the interval, so a judge passes by evidence and not by luck. What was not measured is "
            "not passed, calibration and your own pairs aside: these count where they are known."
        ),
        _figures("What was measured", lines),
    ]
    return Section("bars", "Does it reach the bars?", "Bars", join(body))


def robustness(licence: Licence) -> Section:
    """The changes that should not change a verdict."""
    lines = [x for x in licence.findings["figures"] if _is_robustness(x)]
    body = [
        explain(
            "The same pairs with one change each that keeps the label. What tempts was done to the wrong "
            "answer, typos and politeness to both. Counted is the share of verdicts that stay as they were."
        ),
        _figures("Changes", sorted(lines, key=lambda x: number(x["value"]) or 0.0)),
    ]
    return Section("robustness", "What sways it?", "Robustness", join(body))


def _is_robustness(one: Line) -> bool:
    return str(one["name"]).startswith("robustness")


def _figures(caption: str, lines: Sequence[Line]) -> Safe:
    columns = [
        Column("Figure"), Column("Value", True), Column("95% interval", True), Column("", kind="w"),
        Column("Limit", True), Column("", kind=""), Column("Needed to"), Column("Pairs", True),
    ]  # fmt: skip
    rows = []
    for one in lines:
        state = {"passed": "is-better", "failed": "is-worse"}.get(one["state"], "")
        needed = ", ".join(POWER[power] for power in one["powers"]) or "shown only"
        name = str(one["name"]).removeprefix("robustness to ")
        limit = _limit(one)
        rows.append(
            (
                join([name, tag("small", f" {one['says']}")]),
                _shown(one), interval(one["low"], one["high"], 3), _drawn(one), limit,
                tag("span", STATES[one["state"]] if limit else "", class_=state), needed,
                count(one["items"]),
            )
        )  # fmt: skip
    return table(caption, columns, rows)


def _shown(one: Line) -> str:
    return fixed(one["value"], 3)


def _limit(one: Line) -> str:
    least, most = number(one["least"]), number(one["most"])
    if least is not None and most is not None:
        return f"{fixed(least, 2)} to {fixed(most, 2)}"
    if least is not None:
        return f"≥ {fixed(least, 2)}"
    return f"≤ {fixed(most, 2)}" if most is not None else ""


def _drawn(one: Line) -> Safe | str:
    """The interval on a scale of its own, with the limits."""
    low, high = number(one["low"]), number(one["high"])
    if low is None or high is None:
        return ABSENT
    limits = [v for v in (number(one["least"]), number(one["most"])) if v is not None]
    ends = (0.0, 1.0)
    if limits and max(map(abs, limits)) <= 0.25:
        wide = max([abs(low), abs(high), *(2.5 * abs(v) for v in limits)])
        ends = (-wide if min(low, *limits) < 0 else 0.0, wide)
    scale = plot.Axis(ends[0], ends[1], 4, 236)
    kind = {"passed": "better", "failed": "worse"}.get(one["state"], "")
    shapes: list[Child] = [plot.line(4, 12, 236, 12, "grid")]
    shapes += [plot.line(scale(v), 2, scale(v), 22, "zero") for v in limits]
    shapes += plot.whisker(scale, low, high, 12, kind, cap=4)
    shapes.append(plot.mark(scale, float(one["value"]), 12, 4, f"mean {kind}"))
    return plot.svg(
        240, 24, f"{_shown(one)}, between {fixed(low, 3)} and {fixed(high, 3)}", *shapes
    )
