"""Show figures of any shape: what an audit measured is its own business, and a new audit must not
need a change here. Numbers, texts, and nested mappings or lists of them become short tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from treadle.report import plot
from treadle.report.markup import Child, Column, Safe, absent, join, label, table, tag
from treadle.report.numbers import ABSENT, count, figure, number, share

MAX_ENTRIES = 8
MAX_DEPTH = 4
MAX_CHARS = 400
_SHARE = frozenset(("share", "rate", "recall", "precision"))


def facts(figures: Mapping[str, object], depth: int = 0) -> Safe:
    """Show a mapping: plain values as a list of facts, then each nested part under its name."""
    plain = {k: v for k, v in figures.items() if not _is_nested(v)}
    nested = {k: v for k, v in figures.items() if _is_nested(v)}
    pairs = [tag("div", tag("dt", label(k)), tag("dd", scalar(v, k))) for k, v in plain.items()]
    parts: list[Child] = [tag("dl", *pairs, class_="facts")] if pairs else []
    if depth >= MAX_DEPTH:
        return join([*parts, absent("Deeper figures are in figures.json.") if nested else None])
    for key, value in nested.items():
        parts.append(tag("div", _nested(key, value, depth), class_="fact"))
    return join(parts)


def scalar(value: object, key: str = "") -> str:
    """Format one value; what its key calls a share or a rate is shown in per cent."""
    found = number(value)
    if found is not None and 0 <= found <= 1 and _SHARE.intersection(key.split("_")):
        return share(found, 1)
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None:
        return ABSENT
    if isinstance(value, int | float):
        return figure(number(value))
    words = str(value)
    return words if len(words) <= MAX_CHARS else f"{words[:MAX_CHARS]}…"


def _is_nested(value: object) -> bool:
    is_group = isinstance(value, Mapping) or (
        isinstance(value, Sequence) and not isinstance(value, str)
    )
    return is_group and bool(value)


def _nested(key: str, value: object, depth: int) -> Safe:
    name = label(key)
    if isinstance(value, Mapping):
        if "edges" in value and "counts" in value:
            return _lengths(name, value)
        if all(number(v) is not None for v in value.values()):
            if len(value) < 3:
                words = ", ".join(f"{k}: {scalar(v, key)}" for k, v in value.items())
                return tag("p", tag("strong", name), f": {words}", class_="inline")
            return bars(name, {str(k): number(v) or 0.0 for k, v in value.items()}, key)
        if all(isinstance(v, Mapping) for v in value.values()):
            return _records(name, [{"": k, **v} for k, v in value.items()])
        return join([tag("h5", name), facts({str(k): v for k, v in value.items()}, depth + 1)])
    parts = list(value) if isinstance(value, Sequence) else []
    if all(isinstance(part, Mapping) for part in parts):
        return _records(name, parts)
    if all(_is_nested(part) and not isinstance(part, Mapping) for part in parts):
        return _records(name, [dict(enumerate(part)) for part in parts])
    words = ", ".join(scalar(part) for part in parts[:MAX_ENTRIES])
    more = f" … and {count(len(parts) - MAX_ENTRIES)} more" if len(parts) > MAX_ENTRIES else ""
    return tag("p", tag("strong", name), f": {words}{more}")


def _lengths(name: str, value: Mapping[object, object]) -> Safe:
    """Show a histogram given as edges and counts, with mean and quantiles where they are named."""
    edges, counts, quantiles = (value.get(k) for k in ("edges", "counts", "quantiles"))
    hits = [number(n) or 0.0 for n in counts] if isinstance(counts, Sequence) else []
    ends = [number(e) or 0.0 for e in edges] if isinstance(edges, Sequence) else []
    if not hits or len(ends) != len(hits) + 1:
        return tag("h5", name)
    width, bottom = 380, 84
    across = plot.Axis(0, len(hits), 4, width - 4)
    up = plot.Axis(0, max(*hits, 1.0) * 1.05, bottom, 6)
    shapes = [plot.line(4, bottom, width - 4, bottom, "zero")]
    for i, n in enumerate(hits):
        tip = f"{figure(ends[i])} to below {figure(ends[i + 1])}: {count(n)}"
        left, right = across(i), across(i + 1)
        shapes.append(
            plot.rect(left + 1, up(n), right - left - 2, bottom - up(n), "fill idle", tip)
        )
        shapes.append(plot.text(left + 1, bottom + 14, figure(ends[i]), "tick"))
    known = quantiles if isinstance(quantiles, Mapping) else {}
    words = [f"mean {scalar(value.get('mean'))}"] if number(value.get("mean")) is not None else []
    words += [f"{_quantile_name(str(q))} {scalar(v)}" for q, v in known.items()]
    drawn = plot.svg(width, bottom + 20, f"Histogram of {name}.", *shapes)
    return join([tag("h5", name), drawn, tag("p", tag("small", " · ".join(words)))])


def _quantile_name(share_: str) -> str:
    names = {"0": "least", "0.5": "median", "1": "most"}
    found = number(float(share_)) if share_.replace(".", "", 1).isdigit() else None
    return names.get(share_) or (share_ if found is None else f"{100 * found:g}%")


def bars(name: str, values: Mapping[str, float], key: str = "") -> Safe:
    """Show named numbers as a table with bars, the largest first unless the names are numbers."""
    entries = list(values.items())
    if not all(entry.lstrip("-").replace(".", "", 1).isdigit() for entry in values):
        entries.sort(key=lambda pair: (-pair[1], pair[0]))
    shown, rest = entries[:MAX_ENTRIES], entries[MAX_ENTRIES:]
    largest = max((abs(v) for _, v in shown), default=0.0)
    columns = [Column(""), Column("Value", True), Column("", kind="w")]
    rows: list[tuple[Child, ...]] = [
        (scalar(entry), scalar(value, key), plot.bar(abs(value), largest, "fill idle"))
        for entry, value in shown
    ]
    if rest:
        rows.append((f"and {count(len(rest))} more", figure(sum(v for _, v in rest)), None))
    return table(name, columns, rows, class_="compact")


def _records(name: str, records: Sequence[Mapping[object, object]]) -> Safe:
    keys = list(dict.fromkeys(str(key) for record in records for key in record))
    rows = [{str(k): v for k, v in record.items()} for record in records[:MAX_ENTRIES]]
    columns = [Column(label(k), any(number(r.get(k)) is not None for r in rows)) for k in keys]
    body: list[tuple[Child, ...]] = [
        tuple(_cell(row.get(k), k, i == 0) for i, k in enumerate(keys)) for row in rows
    ]
    more = len(records) - len(body)
    note = absent(f"{count(more)} more are in figures.json.") if more else None
    return join([table(name, columns, body, class_="compact"), note])


def _cell(value: object, key: str, is_heading: bool) -> Child:
    if isinstance(value, Mapping):
        return ", ".join(f"{scalar(k)}: {scalar(v)}" for k, v in list(value.items())[:6])
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ", ".join(scalar(part) for part in value[:6])
    return str(value) if is_heading and value is not None else scalar(value, key)
