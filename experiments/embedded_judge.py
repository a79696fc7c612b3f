"""The embedded model of 135 million weights as a judge, for real: how far is it from a licence?

    python experiments/embedded_judge.py --data ../shared/data --out runs/embedded_judge

It is served by llama.cpp on this machine, at 8 bits, and asked as any endpoint is. Pairs are drawn from LLMBar
(`natural` of people, `gptinst` made to mislead), from PandaLM with the majority of three people, and made fresh
with a verifier's label. Three judges share the served model: one names the better of two answers on a verdict line, one is
read off its log-probabilities of the scores 1 to 6 on such a line, one writes a score. All must repeat the call's
code, or they are unscored. A fourth needs no form at all: the measure `self_rating` asks the same model in this process
for the chances of 1 to 5 as its next word, and the answer with the higher rating wins.
Replies are in the call book under `--out`: a second run asks nothing again.
"""

from __future__ import annotations

import argparse
import random
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from concordance import Interval
from judge_replay import lines
from tables import Cell, Tables, shown
from treadle import Pool, Row, measure_rows
from treadle.data.row import Message
from treadle.judge.benchmark.fresh import adversarial, draw, verifier
from treadle.judge.figures.powers import examine
from treadle.judge.figures.verdicts import Verdicts
from treadle.judge.pairs import Compares, Pair, as_verdicts
from treadle.judge.pairwise import PairwiseJudge
from treadle.judge.scoring import RubricJudge
from treadle.machinery.calls import CallBook
from treadle.models import load
from treadle.models.embedded_file import gguf_path
from treadle.models.endpoint import Address, Endpoint
from treadle.models.serving import Served
from treadle.models.serving.gguf_file import write_student

SEED = 0
NOTE = "95% intervals, and the bar that each is held against."
JUDGES = ("self rating", "verdict line", "log-probabilities", "written score")


def llmbar(data: Path, subset: str, count: int) -> list[Pair]:
    found = [
        Pair(one["id"], one["input"], one["output_1"], one["output_2"], int(one["label"]))
        for one in lines(data / "llmbar_shared" / "pairs.jsonl")
        if one["subset"] == subset
    ]
    return random.Random(SEED).sample(found, min(count, len(found)))


def pandalm(data: Path, count: int) -> list[Pair]:
    """A draw of the pairs on which a majority of people agreed."""
    found = []
    for row in lines(data / "pandalm_test" / "rows.jsonl"):
        label, votes = Counter(int(row[f"annotator{i}"]) for i in (1, 2, 3)).most_common(1)[0]
        if votes >= 2:
            request = "\n\n".join(filter(None, (row["instruction"], row["input"])))
            found.append(
                Pair(f"pandalm:{row['idx']}", request, row["response1"], row["response2"], label)
            )
    return random.Random(SEED).sample(found, min(count, len(found)))


def figures(name: str, found: Mapping[str, Verdicts]) -> list[dict[str, Cell]]:
    """Every figure that these verdicts speak to, with its bar."""
    rows: list[dict[str, Cell]] = []
    for one in examine(found).figures:
        if one.figure.is_known:
            value = Interval(one.figure.value, one.figure.low, one.figure.high)
            limits = [f"{word} {limit:g}" for word, limit in (("least", one.bar.least), ("most", one.bar.most))
                      if abs(limit) < 9]  # fmt: skip
            rows.append(
                {"judge": name, "figure": one.bar.name, "value": shown(value),
                 "pairs": one.figure.items, "bar": ", ".join(limits), "": one.state}
            )  # fmt: skip
    return rows


def self_rated(pairs: Sequence[Pair]) -> Verdicts:
    """Let the answer that the model rates higher win; one look, so both orders are the same."""
    rows = [
        Row("chat", (Message("user", pair.request), Message("assistant", answer, trains=True)))
        for pair in pairs
        for answer in (pair.answer_1, pair.answer_2)
    ]
    found = measure_rows(Pool.of(rows), ["self_rating"], model="embedded")
    ratings = dict(found.frame.select("id", "self_rating").iter_rows())
    said: list[tuple[int | None, int | None]] = []
    for one, other in zip(rows[::2], rows[1::2], strict=True):
        left, right = ratings.get(one.id), ratings.get(other.id)
        verdict = None
        if left is not None and right is not None:
            verdict = 0 if left == right else 1 if left > right else 2
        said.append((verdict, verdict))
    return as_verdicts(pairs, said)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="the folder of public data sets")
    parser.add_argument("--out", type=Path, default=Path("runs/embedded_judge"))
    parser.add_argument("--pairs", type=int, default=50, help="of each source")
    parser.add_argument("--judges", nargs="+", choices=JUDGES, default=JUDGES)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    count = options.pairs
    sets = {
        "people": [*llmbar(options.data, "natural", count), *pandalm(options.data, count)],
        "adversarial": [
            *llmbar(options.data, "gptinst", count),
            *adversarial(draw("adversarial", count, SEED), SEED),
        ],
        "verifier": verifier(draw("verifier", count, SEED)),
    }
    told: list[dict[str, Cell]] = []
    tables = Tables(options.out, {"pairs": {name: len(pairs) for name, pairs in sets.items()}})
    if "self rating" in options.judges:
        told += figures("self rating", {kind: self_rated(pairs) for kind, pairs in sets.items()})
        tables.put("Figures", told, NOTE)
    if set(options.judges) == {"self rating"}:
        return
    book = CallBook(options.out / "calls.sqlite")
    # The book knows an endpoint by its address, so a second run must find it at the same one.
    file = options.out / "embedded.gguf"
    if not file.exists():
        student: Any = load("embedded", precision="fp32")
        write_student(student.model, gguf_path(), file)
    with Served(str(file), port=18_135, parallel=8, context=3072) as served:
        address = Address(served.url, served.model, concurrency=8, deadline_s=600)
        with Endpoint(address, book.session("embedded judge")) as endpoint:
            judges: dict[str, Compares] = {
                "verdict line": PairwiseJudge(endpoint, "helpful", canary_share=0),
                "log-probabilities": RubricJudge(endpoint, "deita_quality", canary_share=0),
                "written score": RubricJudge(endpoint, "alpagasus", canary_share=0),
            }
            for name in [name for name in judges if name in options.judges]:
                judge = judges[name]
                began = time.monotonic()
                found = {kind: judge.compare(pairs) for kind, pairs in sets.items()}
                told += figures(name, found)
                tables.put("Figures", told, NOTE)
                print(f"{name}: {time.monotonic() - began:.0f} s")
    book.close()


if __name__ == "__main__":
    main()
