"""Evaluation items: on which ones did the tested arm gain or lose most? An average hides whether it
became better everywhere or traded one skill for another."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from treadle.report import plot
from treadle.report.folder import RunFolder
from treadle.report.markup import Child, Column, Safe, Section, absent, explain, join, table, tag
from treadle.report.numbers import count, decimals, figure, fixed, share, signed
from treadle.report.statuses import TESTED

SHOWN = 10
MAX_CHARS = 600


@dataclass(frozen=True, slots=True)
class Paired:
    """Per-item differences of the score: tested arm minus `against`, means over seeds."""

    against: str
    frame: pl.DataFrame


def items(run: RunFolder) -> Section:
    """Return the section with the spread of the differences and the best and worst items."""
    title, short = "Evaluation items", "Items"
    paired = differences(run)
    if paired is None:
        body = absent(
            "No evaluation yet: results.parquet with the tested arm and a control is absent."
        )
        return Section("items", title, short, body)
    frame, values = paired.frame, paired.frame["difference"].to_numpy()
    better, worse = int((values > 0).sum()), int((values < 0).sum())
    summary = tag(
        "p",
        f"Of {count(frame.height)} items, the tested arm was better than {paired.against} on ",
        tag("strong", f"{count(better)} ({share(better, frame.height)})"),
        ", worse on ",
        tag("strong", f"{count(worse)} ({share(worse, frame.height)})"),
        f" and equal on {count(frame.height - better - worse)}.",
        class_="lead",
    )
    places = decimals(abs(values))
    shown = min(SHOWN, (frame.height + 1) // 2)
    body = join(
        [
            summary,
            explain(
                f"Difference: the item's mean score over the tested arm's seeds minus that of "
                f"{paired.against}; above zero the tested arm is better. Single items are noisy: "
                "read the lists to see what kind of item gains or loses, not to prove anything."
            ),
            _histogram(values, paired.against),
            _list(run, frame.head(shown), "Gained most", paired.against, places),
            _list(run, frame.tail(shown).reverse(), "Lost most", paired.against, places),
        ]
    )
    return Section("items", title, short, body)


def differences(run: RunFolder) -> Paired | None:
    """Pair the tested arm with the first control of the verdict (or any) item by item.

    Returned with the columns item, source, difference, tested, other; largest difference first.
    """
    if run.results is None:
        return None
    arms = set(run.results["arm"].drop_nulls())
    named = [c.against for c in run.verdict.comparisons] if run.verdict is not None else []
    others = [arm for arm in (*named, "random", *sorted(arms)) if arm in arms and arm != TESTED]
    if TESTED not in arms or not others:
        return None
    tested, other = _means(run.results, TESTED), _means(run.results, others[0])
    both = tested.join(other.drop("source"), on="item", how="inner", suffix="_other")
    both = both.with_columns((pl.col("score") - pl.col("score_other")).alias("difference"))
    both = both.rename({"value": "tested", "value_other": "other"})
    return Paired(others[0], both.sort(["difference", "item"], descending=[True, False]))


def _means(results: pl.DataFrame, arm: str) -> pl.DataFrame:
    """Mean over seeds, of the items that each seed has a score for (those that the gate counts)."""
    # Sorted first: the sum of floats depends on their order.
    one = results.filter(pl.col("arm") == arm).sort("item", "seed")
    means = one.group_by("item", maintain_order=True).agg(
        pl.col("source").first(),
        pl.col("score").mean(),
        pl.col("value").mean(),
        pl.col("score").is_finite().sum().alias("scored"),
    )
    return means.filter(pl.col("scored") == one["seed"].n_unique()).drop("scored").sort("item")


def _histogram(values: NDArray[np.float64], against: str) -> Safe | None:
    if len(values) < 5:
        return None
    width, bottom, reach = 1000, 120, float(np.quantile(np.abs(values), 0.99)) or 1.0
    edges = np.linspace(-reach, reach, 42)
    hits, _ = np.histogram(np.clip(values, -reach, reach), bins=edges)
    across = plot.Axis(-reach, reach, 10, width - 10)
    up = plot.Axis(0, max(1, int(hits.max())) * 1.08, bottom, 20)
    shapes = plot.grid_x(across, bottom, bottom, 9)
    for i, n in enumerate(hits):
        start, end = across(float(edges[i])), across(float(edges[i + 1]))
        middle = (edges[i] + edges[i + 1]) / 2
        kind = "idle" if abs(middle) < 1e-12 else "better" if middle > 0 else "worse"
        tip = f"{figure(float(edges[i]))} to {figure(float(edges[i + 1]))}: {count(int(n))} items"
        shapes.append(
            plot.rect(start + 1, up(n), end - start - 2, bottom - up(n), f"fill {kind}", tip)
        )
    zero = across(0.0)
    shapes += [
        plot.line(10, bottom, width - 10, bottom, "zero"),
        plot.line(zero, 10, zero, bottom, "zero"),
        plot.text(zero - 10, 14, "← tested arm worse", "hint", anchor="end"),
        plot.text(zero + 10, 14, "tested arm better →", "hint"),
    ]
    title = f"Histogram of per-item differences, tested arm minus {against}."
    return plot.svg(width, bottom + 26, title, *shapes)


def _list(run: RunFolder, frame: pl.DataFrame, caption: str, against: str, places: int) -> Safe:
    columns = [
        Column("Item", kind="item"),
        Column("Difference", True),
        Column("Tested arm", True),
        Column(against.capitalize(), True),
    ]
    body: list[tuple[Child, ...]] = []
    for row in frame.iter_rows(named=True):
        kind = (
            "better" if row["difference"] > 0 else "worse" if row["difference"] < 0 else "unclear"
        )
        body.append(
            (
                _item(run, row["item"], row["source"], against),
                tag("span", signed(row["difference"], places), class_=f"is-{kind}"),
                fixed(row["tested"], places),
                fixed(row["other"], places),
            )
        )
    return table(caption, columns, body)


def _item(run: RunFolder, item: str, source: str | None, against: str) -> Safe:
    """The item's text where it is known, folded away."""
    name = tag("code", item if len(item) <= 40 else f"{item[:39]}…")
    group = tag("small", f" {source[:40]}") if source and source not in item else None
    found = None if run.items is None else run.items.filter(pl.col("item") == item).head(1)
    if found is None or found.is_empty():
        return tag("span", name, group)
    prompt, answer = found["prompt"][0] or "", found["answer"][0] or ""
    texts = [_text("prompt", prompt), _text("answer", answer)]
    texts += [_text(f"reply of {arm}", text) for arm, text in _replies(run, item, against)]
    first = " ".join(prompt[:200].split())
    preview = first if len(first) <= 110 else f"{first[:110]}…"
    summary = tag("summary", tag("span", preview or item, dir="auto"))
    return tag("details", summary, tag("p", name, group), *texts)


def _text(name: str, words: str) -> Safe:
    cut = (
        words
        if len(words) <= MAX_CHARS
        else f"{words[:MAX_CHARS]}… ({count(len(words))} characters)"
    )
    return tag(
        "div",
        tag("span", name, class_="role"),
        tag("div", cut, class_="said", dir="auto"),
        class_="turn",
    )


def _replies(run: RunFolder, item: str, against: str) -> list[tuple[str, str]]:
    """What both arms answered (first seed), where the evaluation was by generation."""
    if run.replies is None:
        return []
    found = []
    for arm in (TESTED, against):
        one = run.replies.filter((pl.col("item") == item) & (pl.col("arm") == arm)).sort("seed")
        if one.height and one["reply"][0] is not None:
            found.append((arm, one["reply"][0]))
    return found
