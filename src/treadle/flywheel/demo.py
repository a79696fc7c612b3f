"""The demo: a pool of real text with declared defects, made on the spot from Python's documentation.

    write_demo(Path("demo"))   # pool.jsonl, dev.jsonl, heldout.jsonl, recipe.yaml, planted.json

A tool that claims to find bad rows should be tried on rows of which somebody knows what is wrong.
The pool holds about 2,300 sound questions about the standard library with answers in its own words,
and 678 rows with planted defects, which `planted.json` names and the pool itself does not.
`planted_recall` counts what was caught. The same Python version and seed give the same bytes.

Documentation that repeats itself is left out beforehand, so that a flag on a sound row is false for
certain. Pools from the wild hold many more borderline pairs: the rate of false flags here says that
the checks work, not how they fare on other data.

Not here: reading the documentation (`demo_docs`), questions (`demo_rows`), defects (`demo_defects`),
running the recipe (the command line).
"""

from __future__ import annotations

import json
import platform
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from treadle.errors import DataError
from treadle.flywheel.demo_defects import ADDED, Garden, counts, malformed_lines, plant
from treadle.flywheel.demo_docs import read_stdlib
from treadle.flywheel.demo_rows import DemoRow, draw, write_rows

POOL, DEV, HELDOUT, RECIPE, PLANTED = (
    "pool.jsonl", "dev.jsonl", "heldout.jsonl", "recipe.yaml", "planted.json",
)  # fmt: skip
FEWEST_ROWS = 100

RECIPE_TEXT = """\
# The demo: which fifth of 200 rows, out of a pool with planted defects, is worth training on?
# `planted.json` says which rows are bad, and how; nothing in this recipe reads it.
student: embedded
data: {train: pool.jsonl, target: dev.jsonl, evaluate: heldout.jsonl, sample: 160}
audit: {near_duplicates: 0.8, contamination: {ngram: 13}}
select: {by: ifd, diverse: k_center, keep: 20%}
train: {method: sft, lora: 8, epochs: 1}
gate: {metric: nll, controls: [random, longest], reference: full, seeds: 3}
budget: {minutes: 60}
"""


@dataclass(frozen=True, slots=True)
class _Planted:
    """One planted defect: the row's id (or its line), what it repeats, what is wrong with it."""

    kind: str
    id: str
    of: str | None = None
    problem: str | None = None


def write_demo(folder: Path, *, seed: int = 0, rows: int = 3000) -> dict[str, object]:
    """Write the demo's files and return what `planted.json` says.

    Args:
        rows: lines of pool.jsonl, malformed ones included.

    Raises:
        DataError: this Python carries too little documentation for as many rows, or the folder
            holds a pool that is not a demo's.
    """
    if rows < FEWEST_ROWS:
        raise DataError(f"rows={rows}: the demo needs at least {FEWEST_ROWS} rows.")
    if (folder / POOL).exists() and not (folder / PLANTED).exists():
        raise DataError(f"{folder / POOL}: exists and is not a demo's. Choose another folder.")
    wanted = counts(rows)
    natural = rows - sum(wanted[kind] for kind in ADDED)
    heldout, dev = min(100, max(30, rows // 15)), max(10, rows // 50)
    split = write_rows(read_stdlib(), seed, train=natural, dev=dev, heldout=heldout)
    garden = plant(split, seed, wanted)
    lines, defects = _number(garden, seed, wanted["malformed_line"])
    planted = _declare(garden, defects, seed=seed, rows=rows)
    folder.mkdir(parents=True, exist_ok=True)
    texts = {
        PLANTED: json.dumps(planted, indent=1, ensure_ascii=False),  # first: it marks the folder
        POOL: "\n".join(lines),
        DEV: "\n".join(_line(f"dev-{n:03d}", row) for n, row in enumerate(split.dev, 1)),
        HELDOUT: "\n".join(_line(_held(n), row) for n, row in enumerate(split.heldout)),
        RECIPE: RECIPE_TEXT.rstrip("\n"),
    }
    for name, text in texts.items():
        (folder / name).write_text(text + "\n", encoding="utf-8", newline="\n")
    return planted


def overrides(student: str) -> list[str]:
    """Return what to set over the demo's recipe so that another student can take it."""
    trained = ["train={method: ngram}"] if student == "scripted" else []
    return [] if student == "embedded" else [f"student={student}", *trained]


def _held(number: int) -> str:
    return f"held-{number + 1:03d}"


def _record(key: str, row: DemoRow) -> dict[str, object]:
    return {
        "id": key,
        "module": row.module,
        "form": row.form,
        "prompt": row.prompt,
        "completion": row.completion,
    }


def _line(key: str, row: DemoRow) -> str:
    return json.dumps(_record(key, row), ensure_ascii=False)


def _number(garden: Garden, seed: int, malformed: int) -> tuple[list[str], list[_Planted]]:
    """Shuffle rows and malformed lines together, name them by place, and list the defects."""
    total = len(garden.rows)
    order = sorted(range(total + malformed), key=lambda i: draw(seed, "order", i))
    ids = {i: f"row-{place:05d}" for place, i in enumerate(order, 1)}
    sources = [_record(ids[total + n], garden.rows[n]) for n in range(malformed)]
    bad = malformed_lines(sources)
    lines, defects = [], []
    for place, i in enumerate(order, 1):
        if i >= total:
            text, problem = bad[i - total]
            defects.append(_Planted("malformed_line", f"{POOL}:{place}", problem=problem))
        else:
            text = _line(ids[i], garden.rows[i])
            if i in garden.kinds:
                of = ids[garden.repeats[i]] if i in garden.repeats else None
                of = _held(garden.leaks[i]) if i in garden.leaks else of
                defects.append(_Planted(garden.kinds[i], ids[i], of))
        lines.append(text)
    return lines, defects


def _declare(
    garden: Garden, defects: Sequence[_Planted], *, seed: int, rows: int
) -> dict[str, object]:
    by_kind: dict[str, list[dict[str, str]]] = {}
    for one in sorted(defects, key=lambda d: (d.kind, d.id)):
        said = {"id": one.id, "of": one.of, "problem": one.problem}
        by_kind.setdefault(one.kind, []).append({k: v for k, v in said.items() if v is not None})
    return {
        "python": platform.python_version(),
        "seed": seed,
        "rows": rows,
        "clean": len(garden.rows) - len(garden.kinds),
        "defects": by_kind,
    }


def planted_recall(
    planted: Mapping[str, object], flagged: Mapping[str, Collection[str]], total_clean: int
) -> dict[str, object]:
    """Count how many planted defects were flagged, and how many sound rows.

    A duplicate is caught when either row of its pair is flagged, as one of the two must go. A flag
    for any reason counts; `reasons` says which they were.

    Args:
        planted: what `planted.json` says.
        flagged: user's row id → reasons. A malformed line goes by `pool.jsonl:<line>`.
        total_clean: how many rows have no planted defect.
    """
    defects = planted.get("defects")
    if not isinstance(defects, Mapping):
        raise DataError("planted.json: has no `defects`. Write the demo again.")
    table, known = [], set()
    for kind in sorted(defects):
        caught, reasons = 0, Counter[str]()
        for one in defects[kind]:
            pair = [key for key in (one["id"], one.get("of")) if key is not None]
            known.update(pair)
            said = sorted({reason for key in pair for reason in flagged.get(key, ())})
            caught += any(key in flagged for key in pair)
            reasons.update(said)
        count = len(defects[kind])
        recall = caught / count if count else None
        named = dict(sorted(reasons.items()))
        row = {"kind": kind, "planted": count, "caught": caught, "recall": recall, "reasons": named}
        table.append(row)
    false = sorted(set(flagged) - known)
    return {
        "table": table,
        "clean": total_clean,
        "false_flags": len(false),
        "false_flag_rate": len(false) / total_clean if total_clean else None,
        "false_flag_ids": false[:20],
    }
