"""The page of a comparison: who beat random rows of the same tokens, by how much, and at what cost."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from treadle.flywheel.compare_table import standing
from treadle.machinery.disk import Disk
from treadle.report.by_set import of_comparison
from treadle.report.compared import Comparison, Line, read_comparison
from treadle.report.curves import curves
from treadle.report.markup import Child, Column, Safe, Section, explain, join, label, table, tag
from treadle.report.numbers import (
    count,
    decimals,
    duration,
    figure,
    fixed,
    flops,
    interval,
    number,
    plural,
    probability,
    share,
    signed,
)
from treadle.report.shell import FILE_NAME, contents, document, shown
from treadle.report.unlicensed import stamp

TOGETHER = (
    "Choosing and training together may take so many FLOPs, so a method that costs much to choose by "
    "is trained for fewer steps than random rows. Not affordable: choosing leaves less than one step."
)


def write_comparison(folder: Path) -> Path:
    """Write `report.html` into the folder of a comparison and return its path.

    Raises:
        DataError: the folder holds no finished comparison.
        StoreError: the page cannot be written.
    """
    found = read_comparison(folder)
    path = folder / FILE_NAME
    apart = of_comparison(found.lines, found.sets, found.metric, found.alpha)
    sections = [
        curves(found), lines(found), *([apart] if apart else []), choices(found), overlap(found),
        costs(found),
    ]  # fmt: skip
    page = document(
        f"{found.name}: comparison · treadle",
        contents(found.name, sections),
        [stamp(found.unlicensed), banner(found), *(shown(section) for section in sections)],
    )
    Disk().publish(path, page.encode("utf-8", "replace"))
    return path


def banner(found: Comparison) -> Safe:
    """Say in a sentence what came out."""
    facts = (
        f"{plural(found.items, 'evaluation item')}, {plural(found.seeds, 'training seed')}, "
        f"metric {found.metric}" + (f" ({found.better})" if found.better else "")
    )
    return tag(
        "header",
        tag("p", "treadle compare ", tag("strong", found.name), class_="eyebrow"),
        tag(
            "div",
            tag(
                "div",
                tag("h1", found.headline),
                tag("p", found.sentence, class_="sentence"),
                tag("p", facts, class_="meaning"),
            ),
            class_="decision",
        ),
        id="verdict",
        class_="banner undecided",
    )


def lines(found: Comparison) -> Section:
    """The table: every arm, its seeds, and its difference to random."""
    widths = [(x["high"] - x["low"]) / 2 for x in found.lines if x["low"] is not None]
    places = decimals(widths)
    has_replies = any(x["share_that_stop"] is not None for x in found.lines)
    replies = [
        Column("Unscored", True), Column("Stop by themselves", True), Column("Hold no answer", True),
    ]  # fmt: skip
    columns = [
        Column("Method"), Column("Keep"), Column(f"Mean {found.metric}", True), Column("SD", True),
        Column("Each seed", True), Column("Better than random by", True),
        Column(f"{found.level} interval", True), Column("p (better)", True),
        Column("p (Holm)", True), *(replies if has_replies else ()), Column("Rows", True),
        Column("Tokens", True), Column("Of the pool", True), Column("Steps", True),
        Column("FLOPs to choose", True), Column("FLOPs to train", True),
        Column("Choosing to training", True),
    ]  # fmt: skip
    parts: list[Child] = [
        explain(
            "Differences are paired by item and seed and positive where the line is better than "
            "random rows of the same budget and training. `NAME~length` is a random draw with the "
            "reply lengths of NAME: what NAME wins over it is not length. p (Holm) corrects for "
            "the number of methods compared. The whole pool was trained on with one seed; at equal "
            "epochs it costs more. `target_rows` is trained on the target's own examples, and is no "
            "control either: few rows, and tokens that no budget matches. FLOPs to choose are those of models reading rows, in full for each "
            "method even where methods share them; word counts, lengths and search count as nothing."
        )
    ]
    before = found.of("before")
    for train_for in found.lengths:
        group = [x for x in found.lines if x["train_for"] == train_for]
        parts.append(tag("h3", f"Trained for {train_for}"))
        if train_for.endswith("FLOPs"):
            parts.append(explain(TOGETHER))
        parts.append(
            table(
                f"Arms trained for {train_for} ({found.better})",
                columns,
                [_row(x, found.alpha, places, has_replies) for x in (*before, *group)],
                class_="compared",
            )
        )
    return Section("table", "Every arm", "Table", join(parts))


def _row(x: Line, alpha: float, places: int, has_replies: bool) -> tuple[Child, ...]:
    kind = standing(x, alpha)
    is_compared = x["difference"] is not None
    replies = (
        count(x["unscored"]),
        share(x["share_that_stop"], 1.0),
        share(x["share_without_answer"], 1.0),
    )
    return (
        x["method"],
        x["keep"],
        fixed(x["mean"], places) if x["affordable"] else "not affordable",
        fixed(x["sd"], places),
        ", ".join(fixed(v, places) for v in x["by_seed"]),
        tag("span", signed(x["difference"], places), class_=f"is-{kind}"),
        interval(x["low"], x["high"], places) if is_compared else "–",
        probability(x["p_better"]),
        probability(x["p_holm"]),
        *(replies if has_replies else ()),
        count(x["rows"]),
        count(x["tokens"]),
        share(x["token_share"], 1.0),
        count(x["steps"]),
        flops(x["choosing_flops"]),
        flops(x["training_flops"]),
        share(x["choosing_to_training"], 1.0),
    )


def choices(found: Comparison) -> Section:
    """What each method likes: length, composition, and why rows were left out."""
    first = found.lengths[0] if found.lengths else ""
    shown_lines = [x for x in found.lines if x["rows"] and x["train_for"] == first]
    names = list(dict.fromkeys(name for x in shown_lines for name in x["composition"]))
    columns = [
        Column("Method"), Column("Keep"), Column("Rows", True), Column("Reply tokens a row", True),
        *(Column(label(name)) for name in names), Column("Left out, but for budget"),
    ]  # fmt: skip
    body = [
        (
            x["method"],
            x["keep"],
            count(x["rows"]),
            figure(x["reply_tokens"]),
            *(_parts(x["composition"].get(name, {})) for name in names),
            ", ".join(f"{n:,} {reason}" for reason, n in x["left"].items()) or "–",
        )
        for x in shown_lines
    ]
    told = explain(
        "Many published scores are length in disguise: compare the reply tokens with those of random "
        "and longest. At equal tokens, long rows are few rows."
    )
    return Section(
        "choices",
        "What they choose",
        "Choices",
        join([told, table("Chosen rows", columns, body, class_="compared")]),
    )


def _parts(values: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {share(part, 1.0)}" for name, part in values.items()) or "–"


def overlap(found: Comparison) -> Section:
    """How much do methods agree?"""
    parts: list[Child] = [
        explain(
            "Jaccard overlap: the share of rows chosen by both among those chosen by either. Drawn "
            "rows are represented by their first draw."
        )
    ]
    for keep in dict.fromkeys(x["keep"] for x in found.overlap):
        pairs = {(x["a"], x["b"]): x["jaccard"] for x in found.overlap if x["keep"] == keep}
        names = list(dict.fromkeys(name for pair in pairs for name in pair))
        columns = [Column("Method"), *(Column(name, True) for name in names)]
        body = [
            (a, *(_jaccard(pairs.get((a, b), pairs.get((b, a)))) for b in names)) for a in names
        ]
        parts.append(table(f"Overlap at {keep}", columns, body))
    return Section("overlap", "Overlap", "Overlap", join(parts))


def _jaccard(value: float | None) -> str:
    return "–" if value is None else fixed(value, 2)


def costs(found: Comparison) -> Section:
    """What measuring, choosing and training took."""
    stages = [
        (x["stage"], count(x["rows"]), count(x["tokens"]), duration(x["seconds"]))
        for x in found.costs
    ]
    arms = [
        (x["method"], x["keep"], x["train_for"], count(x["trained_tokens"]),
         duration(x["train_seconds"]))
        for x in found.lines if x["rows"]
    ]  # fmt: skip
    measured = sum(number(x["seconds"]) or 0.0 for x in found.costs)
    trained = _total(x["train_seconds"] for x in found.methods)
    ratio = f"{fixed(measured / trained, 2)} times" if trained else "unknown, as a multiple of,"
    told = explain(
        "Work that an earlier run has done is not done again, and not counted here. Measuring and "
        f"choosing for all methods took {duration(measured)}: {ratio} one training of each method "
        "at each budget."
    )
    wide = [Column("Stage"), Column("Rows", True), Column("Tokens", True), Column("Time", True)]
    each = [
        Column("Method"), Column("Keep"), Column("Trained for"), Column("Tokens read", True),
        Column("Time a seed", True),
    ]  # fmt: skip
    body = join(
        [told, table("Measuring and choosing", wide, stages), table("Training", each, arms)]
    )
    return Section("costs", "Cost", "Cost", body)


def _total(values: Iterable[float | None]) -> float:
    return sum(value for value in values if value is not None)
