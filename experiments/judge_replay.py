"""Would these judges have been licensed? Recorded verdicts of LLMBar and PandaLM, held against every bar.

    python experiments/judge_replay.py --data ../shared/data --out runs/judge_replay

The verdicts were given by real judges and published; nothing is asked anew. `gptinst` of LLMBar is
the adversarial set and `natural` the one that people agreed on. PandaLM's pairs were labelled by three
people each and shown in one order only, so they serve to estimate win rates.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from concordance import Interval
from tables import Cell, Tables, shown
from treadle.judge.figures.powers import Power, Report, examine
from treadle.judge.figures.ppi import powered_mean
from treadle.judge.figures.proportions import Figure
from treadle.judge.figures.verdicts import Verdicts, read_verdicts

SETS = {"natural": "people", "gptinst": "adversarial"}
ANSWERS = {"0": 0, "1": 1, "2": 2, "Tie": 0}
LABELS = 60
Floats = NDArray[np.float64]


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def llmbar(data: Path) -> dict[tuple[str, str], dict[str, Verdicts]]:
    """Return verdicts by judge and prompt, then by set."""
    folder = data / "llmbar_shared"
    pairs = {pair["id"]: pair for pair in lines(folder / "pairs.jsonl")}
    recorded = defaultdict(list)
    for one in lines(folder / "recorded_verdicts.jsonl"):
        recorded[one["judge"], one["strategy"], one["subset"]].append(one)
    found: dict[tuple[str, str], dict[str, Verdicts]] = defaultdict(dict)
    for (judge, prompt, subset), verdicts in recorded.items():
        frame = pl.DataFrame([_line(one, pairs) for one in verdicts])
        found[judge, prompt][SETS[subset]] = read_verdicts(frame, where=f"{judge}, {prompt}")
    return found


def _line(one: dict[str, Any], pairs: dict[str, dict[str, Any]]) -> dict[str, Any]:
    answers = {"1": 1, "2": 2}
    name = f"{one['subset']}:{one['i']}"
    pair = pairs.get(name, {})
    return {
        "pair": name,
        "label": one["label"],
        "first": answers.get(str(one["winner"])),
        "second": answers.get(str(one["winner_swapped"])),
        "length_1": len(pair["output_1"]) if pair else None,
        "length_2": len(pair["output_2"]) if pair else None,
    }


def figures(reports: dict[tuple[str, str], Report]) -> list[dict[str, Cell]]:
    """Return every measured figure of every judge; * marks a bar that is not reached."""
    rows = []
    for (judge, prompt), report in sorted(reports.items()):
        row: dict[str, Cell] = {"judge": judge, "prompt": prompt}
        for one in report.figures:
            if one.figure.is_known:
                mark = " *" if one.state == "failed" else ""
                row[one.bar.name] = shown(_interval(one.figure)) + mark
        rows.append(row)
    return rows


def powers(reports: dict[tuple[str, str], Report]) -> list[dict[str, Cell]]:
    """Return how many judges have each power, and how many would if only measured bars counted."""
    real = Counter(report.power for report in reports.values())
    lenient = Counter(
        Report(tuple(one for one in report.figures if one.state != "not measured")).power
        for report in reports.values()
    )
    order: tuple[Power, ...] = ("gate", "filter", "break_ties", "nothing")
    return [{"power": p, "by all bars": real[p], "by the measured bars": lenient[p]} for p in order]


def win_rates(data: Path, draws: int) -> list[dict[str, Cell]]:
    """Return how often three 90% intervals of a model's win rate hold it, from 60 labels and a judge."""
    rows = lines(data / "pandalm_test" / "rows.jsonl")
    models = sorted({name for row in rows for name in row["cmp_key"].split("_")})
    found = []
    for judge in ("verdict_gpt35", "verdict_pandalm7b"):
        for model in models:
            part = [row for row in rows if model in row["cmp_key"].split("_")]
            people = np.array([_won(row, model, _majority(row)) for row in part])
            judged = np.array([_won(row, model, ANSWERS.get(str(row[judge]))) for row in part])
            known = ~np.isnan(judged)
            found.append(_coverage(judge, model, people[known], judged[known], draws))
    return found


def _coverage(
    judge: str, model: str, people: Floats, judged: Floats, draws: int
) -> dict[str, Cell]:
    rng = np.random.default_rng(0)
    truth = float(people.mean())
    hits, widths = np.zeros(3), np.zeros(3)
    for _ in range(draws):
        order = rng.permutation(len(people))
        few, rest = order[:LABELS], order[LABELS:]
        powered = powered_mean(people[few], judged[few], judged[rest], level=0.90)
        for i, one in enumerate((powered.figure, powered.people_only, powered.judge_only)):
            hits[i] += one.low <= truth <= one.high
            widths[i] += one.high - one.low
    hits, widths = hits / draws, widths / draws
    return {
        "judge": judge.removeprefix("verdict_"), "model": model, "pairs": len(people),
        "win rate by people": truth, "by the judge": float(judged.mean()),
        "held by both": float(hits[0]), "by labels alone": float(hits[1]),
        "by the judge alone": float(hits[2]), "width of both": float(widths[0]),
        "of labels alone": float(widths[1]), "of the judge alone": float(widths[2]),
    }  # fmt: skip


def _majority(row: dict[str, Any]) -> int:
    votes = Counter(int(row[f"annotator{i}"]) for i in (1, 2, 3))
    return votes.most_common(1)[0][0]


def _won(row: dict[str, Any], model: str, verdict: int | None) -> float:
    """Return 1 where the model won, 0 where it lost, 1/2 for a tie, NaN where nobody can say."""
    if verdict is None:
        return float("nan")
    mine = 1 if row["cmp_key"].split("_")[0] == model else 2
    return 0.5 if verdict == 0 else float(verdict == mine)


def _interval(figure: Figure) -> Interval:
    return Interval(figure.value, figure.low, figure.high)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="the folder of public data sets")
    parser.add_argument("--out", type=Path, default=Path("runs/judge_replay"))
    parser.add_argument("--draws", type=int, default=3_000, help="of 60 labels, for the win rates")
    options = parser.parse_args()
    reports = {key: examine(sets) for key, sets in llmbar(options.data).items()}
    unmeasured = sorted(
        {o.bar.name for r in reports.values() for o in r.figures if o.state == "not measured"}
    )
    tables = Tables(options.out, {"draws": options.draws, "labels": LABELS})
    note = f"Judges with a prompt, of {len(reports)}. Not measured: {', '.join(unmeasured)}."
    tables.put("Powers", powers(reports), note)
    tables.put("Figures", figures(reports), "95% intervals; * marks a bar that is not reached.")
    tables.put(
        "Win rates on PandaLM", win_rates(options.data, options.draws),
        f"How often a 90% interval from {LABELS} labels of people and the judge's verdicts on all other "
        "pairs holds the win rate by all labels; its mean width.",
    )  # fmt: skip


if __name__ == "__main__":
    main()
