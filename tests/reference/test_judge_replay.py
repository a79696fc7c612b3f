"""Verdicts that real judges gave, replayed: every published figure of LLMBar, and PandaLM's kappas."""

import json
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from treadle.judge.figures import reliability as r
from treadle.judge.figures.agreement import cohen_kappa
from treadle.judge.figures.ppi import powered_mean
from treadle.judge.figures.verdicts import UNSCORED, Verdicts, read_verdicts


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.fixture(scope="module")
def llmbar(shared_data: Path) -> dict[tuple[str, str, str], Verdicts]:
    """Verdicts by subset, judge and prompt."""
    found = defaultdict(list)
    for line in lines(shared_data / "llmbar_shared" / "recorded_verdicts.jsonl"):
        found[line["subset"], line["judge"], line["strategy"]].append(line)
    return {key: verdicts_of(value) for key, value in found.items()}


def verdicts_of(recorded: Sequence[dict[str, Any]]) -> Verdicts:
    answers = {"1": 1, "2": 2}
    frame = pl.DataFrame(
        {
            "pair": [f"{one['subset']}:{one['i']}" for one in recorded],
            "label": [one["label"] for one in recorded],
            "first": [answers.get(str(one["winner"])) for one in recorded],
            "second": [answers.get(str(one["winner_swapped"])) for one in recorded],
        }
    )
    return read_verdicts(frame)


def test_every_published_figure_of_llmbar_is_reproduced(
    llmbar: dict[tuple[str, str, str], Verdicts], shared_data: Path
) -> None:
    published = lines(shared_data / "llmbar_shared" / "published_statistics.jsonl")
    assert len(published) == len(llmbar) == 130
    for row in published:
        known = llmbar[row["subset"], row["judge"], row["strategy"]]
        n = len(known)
        told = {
            "correct_False": r.accuracy(known).value,
            "correct_True": r.accuracy(known, swapped=True).value,
            "correct_both": r.both_order_accuracy(known).value,
        }
        for name, value in told.items():
            assert row[name].startswith(f"{round(value * n)} / {n} ="), (row, name)
        # Two verdicts that are both unscored count as equal there.
        equal = int((known.first == known.second).sum())
        assert row["equal"].startswith(f"{equal} / {n} =")


def test_the_published_kappas_of_llmbar_come_from_reading_every_2_as_0(
    llmbar: dict[tuple[str, str, str], Verdicts], shared_data: Path
) -> None:
    for row in lines(shared_data / "llmbar_shared" / "published_statistics.jsonl"):
        known = llmbar[row["subset"], row["judge"], row["strategy"]]
        first, second = ([1 if v == 1 else 0 for v in side] for side in (known.first, known.second))
        label = known.label.tolist()
        assert cohen_kappa(first, label) == pytest.approx(row["kappa_False"], abs=1e-12)
        assert cohen_kappa(second, label) == pytest.approx(row["kappa_True"], abs=1e-12)
        assert cohen_kappa(first, second) == pytest.approx(
            row["kappa_agreement"], abs=1e-12, nan_ok=True
        )


def test_consistency_is_not_validity(llmbar: dict[tuple[str, str, str], Verdicts]) -> None:
    chatgpt = llmbar["gptinst", "ChatGPT", "Swap_CoT"]
    assert r.consistency(chatgpt).value > 0.7
    assert r.both_order_accuracy(chatgpt).value < 0.35


ANSWERS = {"0": 0, "1": 1, "2": 2, "Tie": 0}  # anything else cannot be read


@pytest.fixture(scope="module")
def pandalm(shared_data: Path) -> pl.DataFrame:
    return pl.DataFrame(
        lines(shared_data / "pandalm_test" / "rows.jsonl"), infer_schema_length=None
    )


def majority(frame: pl.DataFrame) -> np.ndarray:
    """What most of the three people say; no pair has three different answers."""
    votes = frame.select("annotator1", "annotator2", "annotator3").cast(pl.Int64).to_numpy()
    counts = np.array([(votes == k).sum(axis=1) for k in (0, 1, 2)])
    assert counts.max(axis=0).min() == 2
    return counts.argmax(axis=0)


def test_people_and_judges_agree_on_pandalm_as_published(pandalm: pl.DataFrame) -> None:
    people = [pandalm[f"annotator{i}"].cast(pl.Int64).to_list() for i in (1, 2, 3)]
    ceilings = [cohen_kappa(people[a], people[b]) for a, b in ((0, 1), (0, 2), (1, 2))]
    assert sorted(ceilings) == pytest.approx([0.852, 0.862, 0.879], abs=6e-4)
    most = majority(pandalm).tolist()
    for column, raw, kappa in (
        ("verdict_gpt35", 0.698, 0.476),
        ("verdict_pandalm7b", 0.668, 0.435),
    ):
        said = [ANSWERS.get(str(v), UNSCORED) for v in pandalm[column]]
        assert np.mean(np.array(said) == most) == pytest.approx(raw, abs=6e-4)
        assert cohen_kappa(said, most) == pytest.approx(kappa, abs=6e-4)


def test_a_judge_alone_misses_a_win_rate_that_sixty_labels_with_it_cover(
    pandalm: pl.DataFrame,
) -> None:
    """llama-7b's win rate, judged by PandaLM-7B; 1,000 draws of 60 labels, intervals of 90%."""
    part = pandalm.filter(pl.col("cmp_key").str.contains("llama-7b"))
    is_first = part["cmp_key"].str.starts_with("llama-7b").to_numpy()
    people = won(majority(part), is_first)
    judge = won(part["verdict_pandalm7b"].cast(pl.Int64).to_numpy(), is_first)
    truth = people.mean()
    assert truth == pytest.approx(0.711, abs=2e-3)
    assert judge.mean() == pytest.approx(0.620, abs=2e-3)
    rng = np.random.default_rng(0)
    covered = {"ppi": 0, "people": 0, "judge": 0}
    widths = {"ppi": 0.0, "people": 0.0}
    for _ in range(1_000):
        order = rng.permutation(len(people))
        few, rest = order[:60], order[60:]
        found = powered_mean(people[few], judge[few], judge[rest], level=0.90)
        figures = {"ppi": found.figure, "people": found.people_only, "judge": found.judge_only}
        for name, figure in figures.items():
            covered[name] += figure.low <= truth <= figure.high
        for name in widths:
            widths[name] += (figures[name].high - figures[name].low) / 1_000
    assert covered["judge"] == 0
    assert covered["ppi"] >= 900
    assert covered["people"] >= 900
    assert widths["ppi"] < 0.92 * widths["people"]


def won(verdict: np.ndarray, is_first: np.ndarray) -> np.ndarray:
    """1 where the model won, 0 where it lost, 1/2 for a tie."""
    return np.where(verdict == 0, 0.5, (verdict == np.where(is_first, 1, 2)).astype(float))
