"""What selection did to the pool: each feature's distribution over all rows that passed the audit,
over the selected rows, and over the random control. Where selected and random agree, the selector
did not use the feature; where length differs, a win may be a win of length alone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from treadle.report import plot
from treadle.report.folder import RunFolder
from treadle.report.markup import Child, Column, Safe, Section, absent, explain, join, table, tag
from treadle.report.numbers import ABSENT, count, figure, share
from treadle.report.statuses import TESTED, after_audit, arm_ids

Values = NDArray[np.float64]
FIRST = ("length", "length_total", "nll", "ifd")
MAX_PLOTS = 9
MEANING = {
    "length": "tokens of the last reply, as the student's tokenizer cuts it.",
    "length_total": "tokens of the whole row as trained; what token budgets count.",
    "length_words": "words of the last reply.",
    "nll": "mean negative log-likelihood of the trained tokens, in nats: low is what the student "
    "would have said anyway, high is new to it, or wrong, or noise.",
    "perplexity": "the exponential of nll: the same order on the scale that papers use.",
    "ifd": "how hard the reply is with the instruction, relative to without it: low follows easily, "
    "high is hard to follow, above 1 the instruction misleads.",
    "token_entropy": "how unsure the student is at each trained token, in nats, whatever comes.",
    "token_logprobs_last": "trained tokens of the last reply.",
}
BINS = 24


@dataclass(frozen=True, slots=True)
class Groups:
    """One feature's scored values in the groups that are compared."""

    name: str
    rows: int
    everything: Values
    selected: Values
    random: Values


def spread(run: RunFolder) -> Section:
    """Return the section with a histogram a feature and the table of medians."""
    title, short = "Distributions before and after", "Distributions"
    features = groups(run)
    if not features:
        body = absent("No feature has been measured yet: features.parquet is not there.")
        return Section("spread", title, short, body)
    drawn = features[:MAX_PLOTS]
    wide = len(drawn) in (1, 2, 4)
    plots = [tag("figure", tag("figcaption", g.name), _histogram(g, wide)) for g in drawn]
    body = join(
        [
            explain(
                "Each histogram shows the share of rows in equal bins between the 0.5th and 99.5th "
                "percentile of all rows; rows beyond lie in the outermost bins. Random is what "
                "choosing without looking gives (all random controls together)."
            ),
            _measured(run, features[0]),
            _legend(features[0]),
            tag("div", *plots, class_="small-multiples wide" if wide else "small-multiples"),
            absent("Only the first 9 features are drawn; the table has all.")
            if len(features) > MAX_PLOTS
            else None,
            _medians(features),
        ]
    )
    return Section("spread", title, short, body)


def _measured(run: RunFolder, group: Groups) -> Safe | None:
    """Say so where only a sample was measured."""
    passed = after_audit(run).height
    if group.rows >= passed:
        return None
    words = f"Measured on {count(group.rows)} of the {count(passed)} rows that passed the audit"
    return tag("p", f"{words}: the figures here are of those.", class_="notice")


def groups(run: RunFolder) -> list[Groups]:
    """Return every numeric feature, the best known first, over the rows that passed the audit."""
    if run.features is None:
        return []
    frame = run.features
    if run.pool is not None:
        frame = frame.join(after_audit(run), on="id", how="semi")
    names = [n for n, kind in frame.schema.items() if kind.is_numeric()]
    names.sort(key=lambda n: (FIRST.index(n) if n in FIRST else len(FIRST), n))
    # Random controls with several seeds may hold a row more than once: each counts.
    inside = {arm: arm_ids(run, arm) for arm in (TESTED, "random")}
    parts = {arm: frame.join(ids, on="id", how="inner") for arm, ids in inside.items()}
    return [
        Groups(
            name,
            frame.height,
            _scored(frame, name),
            _scored(parts[TESTED], name),
            _scored(parts["random"], name),
        )
        for name in names
    ]


def _scored(frame: pl.DataFrame, name: str) -> Values:
    values: Values = frame[name].cast(pl.Float64).drop_nulls().to_numpy()
    return np.sort(values[np.isfinite(values)])


def _histogram(group: Groups, wide: bool) -> Safe:
    width, height, left, bottom = 500 if wide else 320, 176, 6, 146
    if not len(group.everything):
        words = plot.text(width / 2, height / 2, "no row is scored", "hint", anchor="middle")
        return plot.svg(width, height, f"{group.name}: no row is scored", words)
    low, high = np.quantile(group.everything, [0.005, 0.995])
    if high <= low:
        low, high = low - 0.5, high + 0.5
    edges = np.linspace(low, high, BINS + 1)
    shares = {
        "control": _shares(group.everything, edges),
        "tested": _shares(group.selected, edges),
        "random": _shares(group.random, edges),
    }
    tallest = max(float(v.max()) for v in shares.values() if len(v))
    across = plot.Axis(float(low), float(high), left, width - left)
    up = plot.Axis(0.0, tallest * 1.06, bottom, 8)
    shapes = plot.grid_x(across, bottom, bottom, 4)
    for x, part in zip(edges, shares["control"], strict=False):
        start, end = across(x), across(x + edges[1] - edges[0])
        tip = f"from {figure(float(x))}: {share(float(part), 1.0)} of all rows"
        shapes.append(
            plot.rect(start + 0.5, up(part), end - start - 1, bottom - up(part), "fill idle", tip)
        )
    shapes += [_outline(shares[k], edges, across, up, k) for k in ("random", "tested")]
    shapes.append(plot.line(left, bottom, width - left, bottom, "zero"))
    title = f"Histogram of {group.name}; medians are in the table below."
    return plot.svg(width, height, title, *[s for s in shapes if s.text])


def _shares(values: Values, edges: Values) -> Values:
    if not len(values):
        return np.zeros(0)
    hits, _ = np.histogram(np.clip(values, edges[0], edges[-1]), bins=edges)
    found: Values = hits / len(values)
    return found


def _outline(shares: Values, edges: Values, across: plot.Axis, up: plot.Axis, kind: str) -> Safe:
    if not len(shares):
        return Safe("")
    points = [(across(float(edges[0])), up(0.0))]
    for i, part in enumerate(shares):
        y = up(float(part))
        points += [(across(float(edges[i])), y), (across(float(edges[i + 1])), y)]
    points.append((across(float(edges[-1])), up(0.0)))
    return plot.path(points, f"outline {kind}")


def _legend(group: Groups) -> Safe:
    entries = [("fill idle", "all measured rows", True)]
    entries.append(("outline tested", "selected", bool(len(group.selected))))
    entries.append(("outline random", "random control", bool(len(group.random))))
    items = []
    for kind, words, is_there in entries:
        is_line = kind.startswith("outline")
        shape = plot.line(0, 6, 22, 6, kind) if is_line else plot.rect(0, 0, 22, 12, kind)
        if is_there:
            items.append(tag("li", plot.svg(22, 12, words, shape, class_="swatch"), words))
    return tag("ul", *items, class_="legend")


def _medians(features: list[Groups]) -> Safe:
    columns = [
        Column("Feature"),
        Column("Scored", True),
        Column("Unscored", True),
        Column("10th percentile", True),
        Column("Median of all", True),
        Column("90th percentile", True),
        Column("Median of selected", True),
        Column("Median of random", True),
    ]
    body: list[tuple[Child, ...]] = []
    for group in features:
        low, high = _quantile(group.everything, 0.1), _quantile(group.everything, 0.9)
        body.append(
            (
                group.name,
                count(len(group.everything)),
                count(group.rows - len(group.everything)),
                low,
                _quantile(group.everything, 0.5),
                high,
                tag("span", _quantile(group.selected, 0.5), class_="is-tested"),
                _quantile(group.random, 0.5),
            )
        )
    words = explain(
        "Median: half of the rows lie below. Unscored rows have no value (too short to measure, or "
        "the measurement failed); they are never counted as zero and never chosen."
    )
    known = [group.name for group in features if group.name in MEANING]
    meanings = [tag("div", tag("dt", name), tag("dd", MEANING[name])) for name in known]
    names = tag("dl", *meanings, class_="meanings") if meanings else None
    return join([table("Features of the measured rows", columns, body), words, names])


def _quantile(values: Values, q: float) -> str:
    return figure(float(np.quantile(values, q))) if len(values) else ABSENT
