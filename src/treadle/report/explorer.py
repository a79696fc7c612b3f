"""The rows to browse: which ones are put into the page, and how, so that they can never run.

Row texts are JSON inside `<script type="application/json">`, which no browser executes, with every
`<`, `>` and `&` written as `\\uXXXX`, so that no text can end the element. The page's own script
puts them on screen by `textContent` only.

The page stays small: at most `MAX_ROWS` rows, `MAX_CHARS` characters of each, and `MAX_BYTES` in
all. Statuses and reasons get equal shares, and within one the rows with the smallest ids are taken:
ids are content hashes, so that is a random sample that is the same every time.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from treadle.data.row import from_frame
from treadle.report.folder import RunFolder
from treadle.report.statuses import statuses

MAX_ROWS = 2_000
MAX_CHARS = 4_000
MIN_CHARS = 250
MAX_BYTES = 3_500_000
MAX_TURNS = 40
MAX_NOTE = 300
MAX_REASONS = 30
ESCAPES = {c: f"\\u{ord(c):04x}" for c in "<>&\u2028\u2029"}


@dataclass(frozen=True, slots=True)
class Embedded:
    """What the page carries: the JSON text, how many rows of each status, characters a row."""

    json: str
    totals: Mapping[str, int]
    shown: Mapping[str, int]
    chars: int


def embed(run: RunFolder) -> Embedded:
    """Choose rows, cut their texts, and shrink both until the JSON fits into `MAX_BYTES`."""
    frame = _everything(run)
    rows, chars = MAX_ROWS, MAX_CHARS
    while True:
        chosen = _sample(frame, rows)
        text = escape_json(_payload(run, frame, chosen, chars))
        size = len(text.encode("utf-8", "replace"))
        if size <= MAX_BYTES or rows == 1:
            return Embedded(text, _by_status(frame), _by_status(chosen), chars)
        if chars > MIN_CHARS:
            chars = max(MIN_CHARS, min(chars // 2, chars * MAX_BYTES // size))
        else:
            rows = max(1, rows // 2)


def escape_json(data: object) -> str:
    """Encode as JSON that cannot end a script element or start a comment in it."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    for character, escaped in ESCAPES.items():
        text = text.replace(character, escaped)
    return text


def fair_shares(sizes: Sequence[int], total: int) -> list[int]:
    """Split `total` so that small parts are whole and large ones get equal shares."""
    shares, left = [0] * len(sizes), total
    order = sorted(range(len(sizes)), key=lambda i: sizes[i])
    for done, i in enumerate(order):
        shares[i] = min(sizes[i], left // (len(order) - done))
        left -= shares[i]
    return shares


def _everything(run: RunFolder) -> pl.DataFrame:
    """Status of every row of the pool, and of every quarantined line (`id`: its position)."""
    frame = statuses(run)
    if run.quarantine is None:
        return frame
    lines = run.quarantine.select(
        pl.int_range(pl.len()).cast(pl.String).alias("id"),
        pl.lit("quarantined").alias("status"),
        pl.col("reason").fill_null(""),
        pl.lit(None, dtype=pl.Int64).alias("rank"),
    )
    return pl.concat([frame, lines])


def _by_status(frame: pl.DataFrame) -> dict[str, int]:
    return dict(frame.group_by("status").len().sort("status").iter_rows())


def _sample(frame: pl.DataFrame, rows: int) -> pl.DataFrame:
    """Take equal shares of every status and reason; reasons that differ by row count as one."""
    is_kind = pl.col("reason").n_unique().over("status") <= MAX_REASONS
    named = pl.when(is_kind).then("reason").otherwise(pl.lit("")).alias("kind")
    keyed = frame.with_columns(named).sort("status", "kind", "id")
    parts = keyed.partition_by("status", "kind", maintain_order=True)
    shares = fair_shares([part.height for part in parts], rows)
    picked = [part.head(n) for part, n in zip(parts, shares, strict=True)]
    return pl.concat(picked).drop("kind") if picked else frame


def _payload(
    run: RunFolder, frame: pl.DataFrame, chosen: pl.DataFrame, chars: int
) -> dict[str, object]:
    in_pool = chosen.filter(pl.col("status") != "quarantined")
    evidence = _evidence(run, in_pool)
    turns = _turns(run, in_pool["id"], chars)
    names, values = _features(run, in_pool)
    rows: list[dict[str, object]] = []
    for key, status, reason, rank in in_pool.iter_rows():
        row = {"id": key, "status": status, "reason": reason, "rank": rank}
        rows.append(row | turns[key] | {"why": evidence.get(key, []), "values": values.get(key)})
    others = {str(one["other"]) for found in evidence.values() for one in found if one["other"]}
    partners = _turns(run, sorted(others - set(turns)), chars)
    return {
        "features": names,
        "rows": rows + _quarantined(run, chosen, chars),
        "statuses": _by_status(frame),
        "partners": partners,
        "items": _items(run, others),
    }


def _turns(run: RunFolder, ids: Iterable[str], chars: int) -> dict[str, dict[str, object]]:
    """Texts of rows, cut: `turns` as [role, text, trains], `origins`, and what is not shown."""
    if run.pool is None:
        return {}
    found: dict[str, dict[str, object]] = {}
    kept = run.pool.keep(ids).frame
    for key, row in zip(kept["id"], from_frame(kept), strict=True):
        turns = [(m.role, m.content, m.trains) for m in row.conversation]
        if row.rejected is not None:
            turns.append(("rejected", row.rejected, False))
        sizes = [len(text) for _, text, _ in turns[:MAX_TURNS]]
        shares = fair_shares(sizes, chars)
        shown = [[r, t[:n], int(w)] for (r, t, w), n in zip(turns, shares, strict=False)]
        origins = [
            [_short(o.file), o.line, _short(o.id or ""), _short(o.extra)] for o in row.origins[:5]
        ]
        found[key] = {
            "turns": shown,
            "cut_chars": sum(sizes) - sum(shares),
            "cut_turns": len(turns) - len(shown),
            "origins": origins,
            "cut_origins": len(row.origins) - len(origins),
        }
    return found


def _evidence(run: RunFolder, chosen: pl.DataFrame) -> dict[str, list[dict[str, object]]]:
    if run.findings is None:
        return {}
    found: dict[str, list[dict[str, object]]] = {}
    for row in run.findings.join(chosen, on="id", how="semi").iter_rows(named=True):
        rows = found.setdefault(row["id"], [])
        if len(rows) < 5:
            note = {"detail": _short(row["detail"] or ""), "figure": _rounded(row["figure"])}
            rows.append(note | {key: row[key] or "" for key in ("op", "reason", "other")})
    return found


def _features(
    run: RunFolder, chosen: pl.DataFrame
) -> tuple[list[str], dict[str, list[float | None]]]:
    if run.features is None:
        return [], {}
    names = [n for n, kind in run.features.schema.items() if kind.is_numeric()]
    kept = run.features.join(chosen, on="id", how="semi").unique("id", keep="first")
    rows = kept.select("id", *names).iter_rows()
    return names, {key: [_rounded(value) for value in values] for key, *values in rows}


def _quarantined(run: RunFolder, chosen: pl.DataFrame, chars: int) -> list[dict[str, object]]:
    if run.quarantine is None:
        return []
    places = chosen.filter(pl.col("status") == "quarantined")["id"].cast(pl.Int64).sort()
    rows = []
    for place, row in zip(places, run.quarantine[places].iter_rows(named=True), strict=True):
        excerpt = row["excerpt"] or ""
        rows.append(
            {
                "id": (row["sha256"] or f"line-{place}")[:64],
                "status": "quarantined",
                "reason": row["reason"] or "",
                "turns": [["as read", excerpt[:chars], 0]],
                "cut_chars": max(0, len(excerpt) - chars),
                "origins": [[_short(row["file"] or ""), row["line"], "", ""]],
            }
        )
    return rows


def _items(run: RunFolder, names: set[str]) -> dict[str, list[str]]:
    """Texts of evaluation items that findings point at, by item or by set and number.

    The sealed index knows an item by its place among the ids of its set (`heldout:17`).
    """
    if run.items is None:
        return {}
    numbered = (
        run.items.unique("item", keep="first")
        .sort("item")
        .with_columns(pl.col("item").str.replace(r":[^:]*$", "").alias("set"))
    )
    number = pl.int_range(pl.len()).over("set")
    numbered = numbered.with_columns(pl.format("{}:{}", "set", number).alias("number"))
    found: dict[str, list[str]] = {}
    for item, prompt, answer, _, place in numbered.iter_rows():
        for name in (item, place):
            if name in names:
                found[name] = [(prompt or "")[:1000], (answer or "")[:1000]]
    return found


def _short(text: str) -> str:
    return text if len(text) <= MAX_NOTE else text[:MAX_NOTE] + "…"


def _rounded(value: float | None) -> float | None:
    """4 significant digits: the page shows 3 and sorts by them."""
    return float(f"{value:.4g}") if value is not None and math.isfinite(value) else None
