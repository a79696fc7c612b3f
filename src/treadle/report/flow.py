"""What happened to the rows: from the file to the selection, with sums that are checked, and what
was dropped and why. Rows are the user's property, so not one may go missing without a reason."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlencode

import polars as pl

from treadle.report import plot
from treadle.report.folder import Counts, RunFolder
from treadle.report.markup import Child, Column, Safe, Section, absent, explain, join, table, tag
from treadle.report.numbers import ABSENT, count, figure, plural, share
from treadle.report.statuses import statuses

EXAMPLE_CHARS = 160
MAX_REASONS = 20


@dataclass(frozen=True, slots=True)
class Step:
    """One line of the flow: a level (rows that remain) or a loss (rows that left, and why)."""

    name: str
    rows: int
    is_level: bool
    before: int = 0
    kind: str = ""
    target: str = ""


@dataclass(frozen=True, slots=True)
class Sum:
    """One equation that must hold."""

    words: str
    left: int
    right: int

    @property
    def holds(self) -> bool:
        return self.left == self.right


def flow(run: RunFolder) -> Section:
    """Return the section with the outcome strip, the flow table and the sum check."""
    steps = _steps(run, run.counts) if run.counts is not None else []
    if not steps or run.counts is None:
        return Section("flow", "What happened to the rows", "Row flow", _so_far(run))
    whole = steps[0].rows
    columns = [Column("Step"), Column("Rows", True), Column("Of read", True), Column("", kind="w")]
    body = join(
        [
            explain(
                "Every row that was read ends in exactly one of these lines. Blue lines are what "
                "remains, grey ones what left, and where it left. A reason leads to its rows."
            ),
            _strip(run.counts, whole),
            table("Rows by step", columns, [_step_row(s, whole) for s in steps], class_="flow"),
            _sum_check(run, sums(run)),
        ]
    )
    return Section("flow", "What happened to the rows", "Row flow", body)


def _so_far(run: RunFolder) -> Safe:
    """What the folder shows before the run has counted."""
    parts = []
    if run.pool is not None:
        parts.append(f"{plural(len(run.pool), 'different row')} in pool/")
    if run.quarantine is not None:
        parts.append(f"{plural(run.quarantine.height, 'line')} in quarantine.jsonl")
    if run.findings is not None:
        parts.append(f"{plural(run.findings['id'].n_unique(), 'row')} dropped by the audit")
    found = f" So far: {', '.join(parts)}." if parts else ""
    return absent(f"Not counted yet: counts.json is written with the selection.{found}")


def _steps(run: RunFolder, counts: Counts) -> list[Step]:
    """List levels and losses in order, as far as the run has come."""
    steps: list[Step] = []
    left = 0

    def level(name: str, rows: int | None, target: str = "") -> None:
        nonlocal left
        if rows is not None:
            steps.append(Step(name, rows, True, kind="tested", target=target))
            left = rows

    def loss(name: str, rows: int | None, kind: str, target: str = "") -> None:
        nonlocal left
        if rows:
            left -= rows
            steps.append(Step(name, rows, False, max(left, 0), kind, target))

    level("read from the files", counts.read)
    loss("quarantined: not a row", counts.quarantined, "lost", link("quarantined"))
    loss("merged: equal content", counts.merged, "lost")
    loss("held out for evaluation", counts.held_out, "idle")
    level("different rows", counts.rows)
    for reason, rows in by_size(counts.dropped):
        loss(f"dropped: {reason or 'other reasons'}", rows, "lost", link("dropped", reason))
    level("left after the audit", counts.left_after_audit)
    for name, rows in by_size(counts.failed):
        loss(f"failed: {name or 'other measures'}", rows, "lost", link("failed"))
    for reason, rows in by_size(counts.left):
        loss(f"not chosen: {reason or 'other reasons'}", rows, "idle", link("left", reason))
    level("selected", counts.selected, link("selected"))
    return steps


def by_size(reasons: Mapping[str, int] | None) -> list[tuple[str, int]]:
    """Reasons, the most frequent first; the rarest of very many together, under no name."""
    ordered = sorted((reasons or {}).items(), key=lambda pair: (-pair[1], pair[0]))
    rare = ordered[MAX_REASONS:]
    return ordered[:MAX_REASONS] + ([("", sum(n for _, n in rare))] if rare else [])


def link(status: str, reason: str = "") -> str:
    """Return the anchor that opens the row browser on a status and reason."""
    return "#rows?" + urlencode({"status": status} | ({"reason": reason} if reason else {}))


def _step_row(step: Step, whole: int) -> tuple[Child, ...]:
    name: Child = tag("a", step.name, href=step.target) if step.target else step.name
    kind = "level" if step.is_level else "loss"
    sign = "" if step.is_level else "− "
    return (
        tag("span", name, class_=kind),
        tag("span", f"{sign}{count(step.rows)}", class_=kind),
        share(step.rows, whole),
        plot.bar(step.rows, whole, f"fill {step.kind}", before=step.before),
    )


def _strip(counts: Counts, whole: int) -> Safe | None:
    """One bar that shows where all rows ended."""
    ends = [
        ("selected", counts.selected, "tested"),
        ("not chosen", sum((counts.left or {}).values()), "idle"),
        ("dropped", sum((counts.dropped or {}).values()), "lost"),
        ("merged", counts.merged, "merged"),
        ("held out for evaluation", counts.held_out, "held"),
        ("failed", sum((counts.failed or {}).values()), "lost"),
        ("quarantined", counts.quarantined, "quarantined"),
    ]
    parts = [(name, rows, kind) for name, rows, kind in ends if rows]
    if not whole or not parts:
        return None
    at, shapes, keys = 0.0, [], []
    for name, rows, kind in parts:
        width = 1000 * rows / whole
        shapes.append(
            plot.rect(at, 0, max(width - 2, 1.5), 26, f"fill {kind}", f"{name}: {count(rows)}")
        )
        at += width
        swatch = plot.svg(12, 12, name, plot.rect(0, 0, 12, 12, f"fill {kind}"), class_="swatch")
        part = tag("small", share(rows, whole))
        keys.append(tag("li", swatch, tag("span", tag("strong", count(rows)), f" {name} ", part)))
    bar = tag(
        "svg",
        *shapes,
        viewBox="0 0 1000 26",
        preserveAspectRatio="none",
        role="img",
        aria_label="Where the rows ended; the list below has the same numbers.",
        class_="strip",
    )
    return join([bar, tag("ul", *keys, class_="legend")])


def sums(run: RunFolder) -> list[Sum]:
    """Return every equation over the counts that can be checked so far."""
    counts = run.counts
    if counts is None:
        return []
    dropped = None if counts.dropped is None else sum(counts.dropped.values())
    left = None if counts.left is None else sum(counts.left.values())
    failed = None if counts.failed is None else sum(counts.failed.values())
    unread = None if run.quarantine is None else run.quarantine.height
    held_out = counts.held_out or 0
    in_pool = None if run.pool is None else len(run.pool)
    found = None if run.findings is None else run.findings["id"].n_unique()
    named = "merged + held out + different rows" if held_out else "merged + different rows"
    seen = _add(counts.quarantined, counts.merged, held_out)
    ways = _add(seen, dropped, failed, left, counts.selected)
    parts = _add(seen, counts.rows)
    audited = _add(dropped, counts.left_after_audit)
    ended = _add(counts.selected, left, failed)
    checks = [
        (f"read = quarantined + {named}", counts.read, parts),
        ("different rows = dropped + left after the audit", counts.rows, audited),
        ("left after the audit = selected + not chosen + failed", counts.left_after_audit, ended),
        ("read = all the ways in which a row can end", counts.read, ways),
        ("different and held-out rows = rows in pool/", _add(counts.rows, held_out), in_pool),
        ("dropped = rows named in findings.parquet", dropped, found),
        ("quarantined = lines of quarantine.jsonl", counts.quarantined, unread),
    ]
    return [Sum(words, a, b) for words, a, b in checks if a is not None and b is not None]


def _add(*parts: int | None) -> int | None:
    known = [part for part in parts if part is not None]
    return sum(known) if len(known) == len(parts) else None


def _sum_check(run: RunFolder, checks: list[Sum]) -> Safe:
    items = [
        tag(
            "li",
            tag("span", "✓" if one.holds else "✗", class_="sign"),
            tag("span", one.words),
            tag("span", f"{count(one.left)} = {count(one.right)}")
            if one.holds
            else tag("strong", f"{count(one.left)} ≠ {count(one.right)}"),
            class_="holds" if one.holds else "broken",
        )
        for one in checks
    ]
    wrong = sum(not one.holds for one in checks)
    title = f"Sums that do not add up: {wrong}" if wrong else "Every sum adds up"
    return tag("div", tag("h3", title), tag("ul", *items, class_="sums"), class_="sum-check")


def dropped(run: RunFolder) -> Section:
    """Return the section that lists each reason with its count, share and an example."""
    title, short = "What was dropped and why", "Dropped"
    if run.findings is None:
        missing = absent("Not audited yet: findings.parquet is not there.")
        return Section("dropped", title, short, missing)
    if run.findings.is_empty():
        return Section("dropped", title, short, tag("p", "The audit dropped no row."))
    shown, reasons = _reasons(run, run.findings)
    rest = absent(f"{count(reasons - MAX_REASONS)} rarer reasons are in findings.parquet.")
    words = explain(
        "A row found by several audits counts once, under the first. Dropped rows are not deleted: "
        "they lie in pool/ and dropped.jsonl. An example is the row with the smallest id, not the "
        "most striking one. Strength: for duplicates the similarity to the row that was kept, for "
        "contamination the share of the evaluation item that the row holds (for a paraphrase, the "
        "similarity to it)."
    )
    body = join([words, shown, rest if reasons > MAX_REASONS else None])
    return Section("dropped", title, short, body)


def _reasons(run: RunFolder, findings: pl.DataFrame) -> tuple[Safe, int]:
    """Return the table of reasons, and how many reasons there are."""
    rows = statuses(run).height
    first = findings.unique("id", keep="first", maintain_order=True)
    groups = first.group_by("reason", "op").agg(pl.len().alias("n"), pl.col("id").min())
    groups = groups.sort(["n", "reason", "op"], descending=[True, False, False])
    columns = [
        Column("Reason"),
        Column("Found by"),
        Column("Rows", True),
        Column("Of all rows", True),
        Column("Example", kind="example"),
    ]
    body = [
        (
            tag("a", reason or ABSENT, href=link("dropped", reason or "")),
            op or ABSENT,
            count(n),
            share(n, rows),
            _example(run, key),
        )
        for reason, op, n, key in groups.select("reason", "op", "n", "id")
        .head(MAX_REASONS)
        .iter_rows()
    ]
    return table("Dropped rows by reason", columns, body), groups.height


def _example(run: RunFolder, key: str) -> Safe:
    """The beginning of one row, and how strongly it was found."""
    if run.pool is None or run.findings is None:
        return tag("span", ABSENT)
    rows = run.pool.keep([key]).rows()
    words = " ⏎ ".join(m.content for m in rows[0].conversation) if rows else key
    cut = words[:EXAMPLE_CHARS] + ("…" if len(words) > EXAMPLE_CHARS else "")
    finding = run.findings.filter(pl.col("id") == key).row(0, named=True)
    strength = finding["figure"]
    notes = [finding["detail"] or "", "" if strength is None else f"strength {figure(strength)}"]
    note = " · ".join(filter(None, notes))[:200]
    return tag("span", cut, tag("small", note) if note else None, dir="auto")
