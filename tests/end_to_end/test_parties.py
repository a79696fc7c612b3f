"""Parties that keep their rows to themselves choose by one threshold on scores alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from command_line import treadle

ANCHORS = [{"prompt": f"{i}+{i + 1}=", "completion": f"{2 * i + 1}"} for i in range(10, 16)]
POOLS = {
    "north": [{"prompt": f"{i}+{i + 2}=", "completion": f"{2 * i + 2}"} for i in range(20, 50)],
    "south": [{"prompt": f"say {i}", "completion": f"word {i} word"} for i in range(40)],
}
METHOD = ("--method", "influence", "--target", "anchors.jsonl", "--model", "scripted", "--keep", "100%")  # fmt: skip


def written(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def scores(path: Path) -> dict[str, float]:
    """Return what a party tells the others: the score in each row's reason."""
    rows = [json.loads(line) for line in path.open()]
    return {row["treadle_id"]: float(row["treadle_reason"].split()[1].strip(",")) for row in rows}


@pytest.mark.slow
def test_one_threshold_over_all_scores_gives_each_party_its_share(tmp_path: Path) -> None:
    written(tmp_path / "anchors.jsonl", ANCHORS)
    known: dict[str, dict[str, float]] = {}
    for name, rows in POOLS.items():
        written(tmp_path / f"{name}.jsonl", rows)
        done = treadle("select", f"{name}.jsonl", *METHOD, "--out", f"{name}_scored.jsonl", cwd=tmp_path)  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert "left out because" not in done.stdout
        known[name] = scores(tmp_path / f"{name}_scored.jsonl")
    ranked = sorted({score for party in known.values() for score in party.values()}, reverse=True)
    threshold = (ranked[4] + ranked[5]) / 2
    shares = {}
    for name, party in known.items():
        done = treadle("select", f"{name}.jsonl", *METHOD, "--set", f"drop_below={threshold}", "--out",
                       f"{name}_chosen.jsonl", cwd=tmp_path)  # fmt: skip
        assert done.returncode == 0, done.stderr
        chosen = scores(tmp_path / f"{name}_chosen.jsonl")
        assert chosen == {row: score for row, score in party.items() if score >= threshold}
        shares[name] = len(chosen) / len(party)
    assert 0 < sum(shares.values()) < 2
    assert shares["north"] > shares["south"], "the anchors are sums"
