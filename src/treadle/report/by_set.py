"""Each evaluation set by itself: a gain on one may hide a loss on another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from treadle.flywheel.compare_table import standing
from treadle.report.folder import RunFolder
from treadle.report.markup import Child, Column, Section, explain, join, table, tag
from treadle.report.numbers import decimals, fixed, interval, plural, probability, signed
from treadle.report.scores import ROLE_WORDS, verdict_of

TITLE, SHORT = "Each evaluation set", "Sets"
WARNING = (
    "Fewer items than all together, so wider intervals; and the more sets, the more of them differ by luck "
    "alone. "
)


def of_run(run: RunFolder) -> Section | None:
    """Return the section of a run; None where there is one set, which the scores are about."""
    if not run.sets or run.verdict is None:
        return None
    alpha = run.verdict.alpha
    parts: list[Child] = [
        explain(WARNING + "The verdict is about all items together, and none of this decides.")
    ]
    columns = [
        Column("Tested arm minus"), Column("Role"), Column("Mean of the tested arm", True),
        Column("Mean of the other", True), Column("Better by", True),
        Column(f"{100 * (1 - 2 * alpha):.3g}% interval", True), Column("p (better)", True),
    ]  # fmt: skip
    for name, one in run.sets.items():
        title = f"{name}: {plural(one.items, 'item')}"
        parts.append(tag("h3", title))
        if not one.comparisons:
            parts.append(explain("Too few of them are scored in every arm to compare anything."))
            continue
        means = {arm.name: arm.mean for arm in one.arms}
        places = decimals([(c.high - c.low) / 2 for c in one.comparisons])
        rows: list[tuple[Child, ...]] = [
            (
                c.against,
                ROLE_WORDS[c.role],
                fixed(means.get("selected"), places),
                fixed(means.get(c.against), places),
                tag("span", signed(c.effect, places), class_=f"is-{verdict_of(c, alpha)}"),
                interval(c.low, c.high, places),
                probability(c.p_better),
            )
            for c in one.comparisons
        ]
        parts.append(table(title, columns, rows, class_="compared"))
    return Section("sets", TITLE, SHORT, join(parts))


def of_comparison(
    lines: Sequence[Mapping[str, Any]], sets: Mapping[str, int], metric: str, alpha: float
) -> Section | None:
    """Return the section of a comparison; None where there is one set."""
    if len(sets) < 2:
        return None
    parts: list[Child] = [
        explain(WARNING + "p is not corrected for the number of methods and sets.")
    ]
    columns = [
        Column("Method"), Column("Keep"), Column("Trained for"), Column(f"Mean {metric}", True),
        Column("SD", True), Column("Better than random by", True),
        Column(f"{100 * (1 - 2 * alpha):.3g}% interval", True), Column("p (better)", True),
        Column("Unscored", True),
    ]  # fmt: skip
    for name, items in sets.items():
        found = [(line, line["sets"][name]) for line in lines if line["affordable"]]
        places = decimals([(x["high"] - x["low"]) / 2 for _, x in found if x["low"] is not None])
        title = f"{name}: {plural(items, 'item')}"
        rows: list[tuple[Child, ...]] = [
            (
                line["method"],
                line["keep"],
                line["train_for"],
                fixed(x["mean"], places),
                fixed(x["sd"], places),
                tag("span", signed(x["difference"], places), class_=f"is-{standing(x, alpha)}"),
                interval(x["low"], x["high"], places) if x["low"] is not None else "–",
                probability(x["p_better"]),
                plural(x["unscored"], "item"),
            )
            for line, x in found
        ]
        parts += [tag("h3", title), table(title, columns, rows, class_="compared")]
    return Section("sets", TITLE, SHORT, join(parts))
