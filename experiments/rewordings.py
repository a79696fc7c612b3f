"""What does `semantic_duplicates` find of real rewordings, and what does it flag in clean pools?

    python experiments/rewordings.py --data ../shared/data [--out runs/rewordings]

Rewordings: the reply of an instruction before and after a revision (`alpaca_refined_pairs`), and
the same question put by several templates (`t0_tasks`: QuaRel, QuaRTz, some of whose questions
differ from each other in a word or two). Clean: pools whose rows nobody copied (`alpaca_pool`,
`dolly_3k`, `gsm8k_train`); what is flagged there is listed, to be judged by eye.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path

from planted_pool import read_base
from planting import ordered, pair
from tables import Cell, Tables
from treadle import Row, audit_rows
from treadle.data.pool import Pool

THRESHOLDS = (0.8, 0.85, 0.9)
CLEAN = {"alpaca": 3000, "dolly": 1500, "gsm8k": 3000}


def refined(data: Path, pairs: int = 600) -> dict[str, set[str]]:
    """Rows as JSON by what they say: each instruction with its reply before and after revision."""
    groups: dict[str, set[str]] = {}
    lines = (data / "alpaca_refined_pairs" / "pairs.jsonl").read_text().split("\n")
    for number, line in enumerate([line for line in lines if line.strip()][:pairs]):
        one = json.loads(line)
        asked = one["instruction"] + (f"\n{one['input']}" if one["input"] else "")
        for side in ("before", "after"):
            if one[side].strip():
                groups.setdefault(json.dumps([asked, one[side]]), set()).add(str(number))
    return groups


def templates(data: Path, dataset: str, instances: int = 100) -> dict[str, set[str]]:
    """Rows as JSON by the source instance that their template was filled with."""
    groups: dict[str, set[str]] = {}
    for file in sorted((data / "t0_tasks").glob("rows.part*.jsonl")):
        for line in file.read_text().split("\n"):
            one = json.loads(line) if line.strip() else {}
            if one.get("dataset") == dataset and one["instance"] < instances:
                reply = one["completion"].replace("<|endoftext|>", "")
                key = json.dumps([one["prompt"], reply])
                groups.setdefault(key, set()).add(str(one["instance"]))
    return groups


def settings() -> dict[str, tuple[str, dict[str, object]]]:
    """Audits with their options, by a label."""
    found: dict[str, tuple[str, dict[str, object]]] = {"near_duplicates": ("near_duplicates", {})}
    for threshold in THRESHOLDS:
        for same in (True, False):
            label = f"semantic_duplicates {threshold}{'' if same else ', any numbers'}"
            options: dict[str, object] = {"threshold": threshold, "same_numbers": same}
            found[label] = ("semantic_duplicates", options)
    return found


def right_and_wrong(name: str, groups: Mapping[str, set[str]]) -> list[dict[str, Cell]]:
    """Count rows flagged as copies of a row that says the same, and of one that does not."""
    rows = [(pair(*json.loads(text)), said) for text, said in groups.items()]
    says = {row.id: said for row, said in rows}
    pool = Pool.of([row for row, _ in rows])
    distinct = len(set().union(*says.values()))
    table: list[dict[str, Cell]] = []
    for label, (audit, options) in settings().items():
        flagged = audit_rows(pool, ops={audit: options})[audit].rows
        pairs = zip(flagged["id"], flagged["other"], strict=True)
        right = sum(bool(says[key] & says[other]) for key, other in pairs)
        table.append(
            {"rows of": name, "audit": label, "rows": len(pool), "repeat another": len(pool) - distinct,
             "right": right, "wrong": flagged.height - right}
        )  # fmt: skip
    return table


def flagged_in(name: str, rows: list[Row]) -> tuple[list[dict[str, Cell]], list[dict[str, Cell]]]:
    """Count what is flagged in a clean pool, and list what the default flags."""
    pool, counts, listed = Pool.of(rows), [], []
    texts = {row.id: row.text[:150].replace("\n", " ").replace("|", "/") for row in pool.rows()}
    for label, (audit, options) in settings().items():
        flagged = audit_rows(pool, ops={audit: options})[audit].rows
        counts.append({"pool": name, "audit": label, "rows": len(pool), "flagged": flagged.height})
        if label == "semantic_duplicates 0.85":
            listed = [
                {"pool": name, "cosine": one["figure"], "row": texts[one["id"]], "like": texts[one["other"]]}
                for one in flagged.iter_rows(named=True)
            ]  # fmt: skip
    return counts, listed


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder of the data sets")
    parser.add_argument("--out", type=Path, default=Path("runs/rewordings"))
    given = parser.parse_args()
    tables = Tables(given.out, {})
    sets = {
        "refined replies": refined(given.data),
        "QuaRel templates": templates(given.data, "quarel"),
        "QuaRTz templates": templates(given.data, "quartz"),
    }
    reworded: list[dict[str, Cell]] = []
    for name, groups in sets.items():
        reworded += right_and_wrong(name, groups)
        tables.put("Rewordings", reworded)
    base, hidden = read_base(given.data, 150)
    counts: list[dict[str, Cell]] = []
    listed: list[dict[str, Cell]] = []
    for name, most in CLEAN.items():
        rows = ordered({**base, **hidden}[name], 1, "x")[:most]
        found = flagged_in(name, rows)
        counts, listed = counts + found[0], listed + found[1]
        tables.put("Clean pools", counts)
        tables.put("What the default flags in clean pools", listed)


if __name__ == "__main__":
    main()
