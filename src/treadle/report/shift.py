"""What the selection prefers and avoids: kept rows by trait, beside what chance would keep."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from treadle.report.folder import RunFolder
from treadle.report.markup import Child, Column, Section, absent, explain, join, label, table, tag
from treadle.report.numbers import count, fixed, share

SIGNS = {"more": "▲ more", "fewer": "▼ fewer", "vanished": "✕ vanished", "as random": ""}
SHOWN = 12
Line = Mapping[str, Any]


def shift(run: RunFolder) -> Section | None:
    """Return the section; None for a run that did not measure it."""
    found = run.figures.get("shift")
    if not isinstance(found, Mapping) or not isinstance(found.get("lines"), list):
        return None
    lines: list[Line] = found["lines"]
    gone = [line for line in lines if line["verdict"] == "vanished"]
    parts: list[Child] = [
        explain(
            f"Of {count(found['rows'])} rows that could be chosen, {count(found['kept'])} were. For "
            "each trait: how many rows have it, how many of those were kept, and between how many a "
            "random choice of the same number of rows would keep in 99.9% of cases. A row may have "
            "several formats and mentions; both are found by simple patterns."
        ),
        _warning(gone),
    ]
    for group in dict.fromkeys(line["group"] for line in lines):
        mine = [line for line in lines if line["group"] == group]
        parts.append(_group(group, mine))
    parts.append(_farthest(found.get("farthest")))
    title = "What the selection prefers and avoids"
    return Section("shift", title, "Kept and dropped", join(parts))


def _farthest(rows: object) -> Child:
    """The dropped rows that no kept row stands for."""
    if not isinstance(rows, list) or not rows:
        return None
    columns = [Column("Dropped row"), Column("Cosine", True), Column("Most similar kept row")]
    body = [(r["id"][:16], fixed(r["cosine"], 3), r["nearest"][:16]) for r in rows]
    return join(
        [
            tag("h3", "Dropped rows that no kept row resembles"),
            explain(
                "By embedding, the least similar first. Search for an id among the rows below."
            ),
            table("Dropped rows least like any kept one", columns, body, class_="compared"),
        ]
    )


def _warning(gone: list[Line]) -> Child:
    if not gone:
        return None
    named = ", ".join(f"{line['trait']} ({line['group']}, {line['rows']:,} rows)" for line in gone)
    return tag(
        "p",
        tag("strong", "Nothing is left of: "),
        named,
        ". If the student should keep what these rows teach, raise `keep` or select with a quota.",
        class_="is-worse",
    )


def _group(group: str, lines: list[Line]) -> Child:
    columns = [
        Column(label(group)), Column("Rows", True), Column("Kept", True), Column("Kept share", True),
        Column("By chance", True), Column(""),
    ]  # fmt: skip
    # What differs is shown even where a group has many values.
    first = [line for line in lines if line["verdict"] != "as random"]
    rest = [line for line in lines if line["verdict"] == "as random"]
    shown = first + rest[: max(0, SHOWN - len(first))]
    body = [
        (
            line["trait"],
            count(line["rows"]),
            count(line["kept"]),
            share(line["kept"], line["rows"]),
            f"{count(line['low'])} to {count(line['high'])}",
            tag("span", SIGNS[line["verdict"]], class_=_class(line["verdict"])),
        )
        for line in lines
        if line in shown
    ]
    more = len(lines) - len(shown)
    caption = f"{label(group)}: kept rows beside a random choice of as many"
    note = absent(f"{more:,} more, all as random, are in figures.json.") if more else None
    return join([table(caption, columns, body, class_="compared"), note])


def _class(verdict: str) -> str | None:
    return {"more": "is-tested", "fewer": "is-unclear", "vanished": "is-worse"}.get(verdict)
