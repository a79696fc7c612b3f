"""A judge earns its licence on the command line, scores rows by it, and loses the right to, cached or not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from command_line import treadle
from treadle import load
from treadle.data.row import from_frame
from treadle.judge.benchmark.whole import build
from treadle.judge.scripted_judge import ScriptedJudge, write_gold

SEED, SIZE = 7, 200


def what_is_right() -> list[dict[str, Any]]:
    """A score for each answer of the benchmark: 5 for right ones, 0 for wrong ones."""
    found = []
    for name, pairs in build(SEED, SIZE).sets.items():
        for pair in pairs:
            for number, answer in ((1, pair.answer_1), (2, pair.answer_2)):
                is_right = pair.label == number or name == "ties"
                if is_right or name != "shells":
                    found.append(
                        {"request": pair.request, "answer": answer, "score": 5.0 * is_right}
                    )
    return found


@pytest.mark.slow
def test_a_licensed_judge_scores_rows_until_its_licence_ends(tmp_path: Path) -> None:
    rows = [{"prompt": f"What is {i} + 1?", "completion": f"{i + i % 2}"} for i in range(12)]
    gold = [
        {"request": r["prompt"], "answer": r["completion"], "score": 5.0 * (i % 2)}
        for i, r in enumerate(rows)
    ]
    write_gold(tmp_path / "gold.jsonl", [*what_is_right(), *gold])
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with ScriptedJudge(gold=tmp_path / "gold.jsonl") as server:
        judge = f"{{url: '{server.url}', model: scripted}}"
        measure = ("measure", "rows.jsonl", "-f", "judged_quality", "--judge", judge, "--out", "found.jsonl")  # fmt: skip
        refused = treadle(*measure, cwd=tmp_path)
        assert refused.returncode == 1
        command = refused.stderr.split("treadle judge license ")[1].split("\n")[0].split()
        earned = treadle(
            "judge", "license", *command, "--fresh", str(SIZE), "--seed", str(SEED), "--no-own", cwd=tmp_path
        )  # fmt: skip
        assert earned.returncode == 0, earned.stdout + earned.stderr
        assert treadle(*measure, cwd=tmp_path).returncode == 0
        lines = [json.loads(line) for line in (tmp_path / "found.jsonl").open()]
        scores = {line["id"]: line["judged_quality"] for line in lines}
        loaded = from_frame(load(tmp_path / "rows.jsonl").pool.frame)
        found = {row.prompt[0].content: scores[row.id] for row in loaded}
        assert [found[row["prompt"]] for row in rows] == [5.0 * (i % 2) for i in range(12)]
        path = Path(command[command.index("--store") + 1]) / "licences"
        (licence,) = (tmp_path / path).glob("*.json")
        told = json.loads(licence.read_text())
        told["findings"]["figures"][0]["value"] = 0.5
        licence.write_text(json.dumps(told))
        late = treadle(*measure, cwd=tmp_path)
    assert late.returncode == 1, "also where every score is in the cache"
    assert "the file was edited" in late.stderr.replace("\n", " ")
