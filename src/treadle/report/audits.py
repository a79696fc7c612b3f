"""What the audits saw, whether the rows are ready to train on, and, where defects were planted on
purpose, how many of them were found."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from treadle.report.facts import facts
from treadle.report.folder import RunFolder
from treadle.report.markup import (
    Child,
    Column,
    Safe,
    Section,
    absent,
    explain,
    join,
    label,
    table,
    tag,
)
from treadle.report.numbers import ABSENT, count, number, plural, share

MEANING = {
    "profile": "What the pool is made of: turns, lengths in words (each bar twice as wide as the one "
    "before), and how alike rows begin. A high share of one opening means a template wrote them.",
    "exact_duplicates": "Rows whose text is the same after case, spacing and punctuation are set aside.",
    "near_duplicates": "Rows whose word n-grams overlap so much (Jaccard similarity) that training on "
    "both teaches little more than training on one.",
    "semantic_duplicates": "Rows that ask and answer the same in other words: the sentence vectors of "
    "their prompts and of their replies are near, and they name the same numbers.",
    "paraphrase_contamination": "Rows that ask what an evaluation item asks in other words. Dropped "
    "are those that answer the same too, with the same numbers; suspected rows stay in the pool and "
    "are listed in suspicions.parquet, for a person to judge.",
    "contamination": "Rows that share n-grams with evaluation items would make the score look better "
    "than the student is. Items shorter than the n-gram are invisible to n-grams; they are checked "
    "by equality only, so their share (short share) is a blind spot.",
}
SIGNS = {"error": "✗", "warning": "!", "info": "i"}


def audit(run: RunFolder) -> Section:
    """Return the section with every audit's figures."""
    title, short = "What the audits saw", "Audit"
    figures = run.figures.get("audit")
    if not isinstance(figures, Mapping) or not figures:
        return Section("audit", title, short, absent("No audit has run yet."))
    parts = []
    for name, seen in figures.items():
        shown = facts({str(k): v for k, v in seen.items()}) if isinstance(seen, Mapping) else None
        parts.append(
            tag(
                "div",
                tag("h3", label(str(name))),
                explain(MEANING[name]) if name in MEANING else None,
                shown or absent("This audit reports no figures."),
                class_="card",
            )
        )
    return Section("audit", title, short, tag("div", *parts, class_="cards"))


def lint(run: RunFolder) -> Section:
    """Return the section on readiness for training."""
    title, short = "Ready to train?", "Lint"
    report = run.figures.get("lint")
    if not isinstance(report, Mapping):
        return Section("lint", title, short, absent("The lint has not run yet."))
    checks = report.get("checks")
    if not isinstance(checks, Sequence):
        return Section("lint", title, short, facts(report))
    known = [check for check in checks if isinstance(check, Mapping)]
    found = [check for check in known if check.get("count")]
    quiet = [str(check.get("name")) for check in known if not check.get("count")]
    is_ready = bool(report.get("is_ready", not found))
    words = "The rows are ready to train on." if is_ready else "The rows are not ready to train on."
    clean = (
        tag("p", f"{plural(len(quiet), 'check')} found nothing: ", tag("small", ", ".join(quiet)))
        if quiet
        else None
    )
    body = join(
        [
            tag("p", tag("strong", words), class_="lead"),
            explain(
                "The lint reads every row as the trainer will: rendered by the chat template, cut at "
                f"{count(number(report.get('max_tokens')))} tokens, with its loss mask."
            ),
            _checks(found) if found else None,
            clean,
            _lengths(report.get("lengths")),
            _examples(report.get("examples")),
        ]
    )
    return Section("lint", title, short, body)


def _checks(found: Sequence[Mapping[str, object]]) -> Safe:
    columns = [Column("Check"), Column("Severity"), Column("Rows", True), Column("What it means")]
    rows: list[tuple[Child, ...]] = []
    for check in found:
        kind = str(check.get("severity"))
        badge = tag("span", f"{SIGNS.get(kind, '·')} {kind}", class_=f"badge {kind}")
        name, message = label(str(check.get("name"))), str(check.get("message") or "")
        rows.append((name, badge, count(number(check.get("count"))), message))
    return table("Checks that found something", columns, rows)


def _lengths(lengths: object) -> Safe | None:
    """Quantiles of the lengths in tokens."""
    if not isinstance(lengths, Mapping):
        return None
    row, reply = lengths.get("row"), lengths.get("reply")
    if not isinstance(row, Mapping) or not isinstance(reply, Mapping) or not row:
        return None
    shares = [str(q) for q in row]
    names = {"0": "shortest", "0.5": "median", "1": "longest"}
    heads = [
        names.get(q, f"{100 * float(q):g}%" if q.replace(".", "").isdigit() else q) for q in shares
    ]
    columns = [Column("Tokens of"), *(Column(head, True) for head in heads)]
    body = [
        (name, *(count(number(values.get(q))) for q in shares))
        for name, values in (("the whole row", row), ("the last reply", reply))
    ]
    trained, tokens = number(lengths.get("trained_tokens")), number(lengths.get("tokens"))
    words = explain(
        f"{count(trained)} of {count(tokens)} tokens ({share(trained, tokens)}) carry loss; the rest "
        "is read but not learnt. 95% means: 95 of 100 rows are no longer than this."
    )
    return join([table("Length in tokens", columns, body), words])


def _examples(examples: object) -> Safe | None:
    """Rendered rows with their loss mask: what the trainer really sees."""
    if not isinstance(examples, Sequence) or not examples:
        return None
    shown = []
    for example in examples[:3]:
        segments = example.get("segments") if isinstance(example, Mapping) else None
        if not isinstance(segments, Sequence):
            continue
        left, parts = 1500, []
        for segment in segments:
            words = str(segment.get("text", ""))
            kind = "cut" if segment.get("is_cut") else "trains" if segment.get("trains") else "read"
            parts.append(tag("span", words[:left], "…" if len(words) > left else None, class_=kind))
            left -= min(left, len(words))
            if not left:
                break
        shown.append(tag("pre", *parts, class_="rendered", dir="auto"))
    if not shown:
        return None
    summary = tag("summary", f"{plural(len(shown), 'rendered row')}, with what carries loss marked")
    return tag("details", summary, *shown)


def planted(run: RunFolder) -> Section | None:
    """Return the recall table, for runs into which defects were planted."""
    title, short = "Planted defects", "Planted"
    figures = run.figures.get("planted")
    if not isinstance(figures, Mapping) or not figures:
        return None
    rows = figures.get("table")
    known = [row for row in rows if isinstance(row, Mapping)] if isinstance(rows, list) else []
    if not known:
        return Section("planted", title, short, facts({str(k): v for k, v in figures.items()}))
    fates = figures.get("in_selection")
    fates = fates if isinstance(fates, Mapping) else {}
    columns = [
        Column("Defect"),
        Column("Planted", True),
        Column("Caught", True),
        Column("Recall", True),
        Column("95% interval", True),
        Column("Left to choose from", True),
        Column("Selected", True),
        Column("Caught as"),
    ]
    body = [_planted_row(row, fates.get(row.get("kind"))) for row in known]
    words = explain(
        "Defects were put into the pool on purpose and written down before the run, so it is known "
        "what should be found. Recall: the share of them that loading or an audit caught. The "
        "interval (Wilson) says how far so few defects can pin that share down. No audit can see "
        "some kinds, such as a wrong answer; what the selector did with those is in the columns "
        "Left to choose from and Selected."
    )
    parts = [words, table("Planted defects by kind", columns, body), _false_flags(figures, fates)]
    return Section("planted", title, short, join(parts))


def _planted_row(row: Mapping[str, object], fate: object) -> tuple[Child, ...]:
    total, caught = number(row.get("planted")) or 0.0, number(row.get("caught")) or 0.0
    low, high = wilson(caught, total)
    reasons = row.get("reasons")
    named = reasons if isinstance(reasons, Mapping) else {}
    seen = fate if isinstance(fate, Mapping) else {}
    return (
        label(str(row.get("kind"))),
        count(total),
        count(caught),
        tag("strong", share(caught, total)),
        f"{share(low, 1)} to {share(high, 1)}" if total else ABSENT,
        count(number(seen.get("candidates"))),
        count(number(seen.get("selected"))),
        ", ".join(f"{reason} {count(number(n))}" for reason, n in named.items()) or ABSENT,
    )


def _false_flags(figures: Mapping[str, object], fates: Mapping[str, object]) -> Safe:
    """What was flagged without cause, and how much of everything was selected."""
    false, clean = number(figures.get("false_flags")), number(figures.get("clean"))
    every = fates.get("all_rows")
    parts: list[Child] = []
    if false is not None and clean is not None:
        parts.append(
            f"Flagged without cause: {count(false)} of {count(clean)} sound rows "
            f"({share(false, clean)}). "
        )
    if isinstance(every, Mapping):
        chosen, candidates = number(every.get("selected")), number(every.get("candidates"))
        parts.append(
            f"Of all rows left to choose from, {count(chosen)} of {count(candidates)} "
            f"({share(chosen, candidates)}) were selected."
        )
    return tag("p", *parts)


def wilson(hits: float, total: float, z: float = 1.959964) -> tuple[float, float]:
    """Return the Wilson score interval of a share: it stays inside 0…1 and works for few cases."""
    if not total:
        return 0.0, 1.0
    rate, square = hits / total, z * z / total
    middle = (rate + square / 2) / (1 + square)
    half = z / (1 + square) * math.sqrt(rate * (1 - rate) / total + square / (4 * total))
    # At 0 and at all hits the formula touches 0 and 1 exactly; rounding must not push it beyond.
    return max(0.0, middle - half), min(1.0, middle + half)
