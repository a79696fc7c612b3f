"""The estimator of `compare` on published figures: means, spreads and intervals of a real table.

Figures from the repository dcml-lab/targeted-instruction-selection (arXiv:2602.14696), commit 38363fd,
`assets/dolci_plot_data/quantile_budget/*/budget_true_metric_budget.csv`, rounded to two places: accuracy
in percent of two models trained on 500 or 10,000 of 200,000 rows, chosen by four methods (all in turns
over the target rows), three training seeds.
"""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from treadle.data.verdict import Comparison
from treadle.gate.pairs import compare
from treadle.gate.results import Scores

TASKS = ("BBH", "Codex", "GSM8K", "TyDiQA", "MMLU-Pro")
FIGURES: dict[tuple[str, int, str], list[list[float]]] = {
    ("Llama-3.2-3B", 500, "random"): [
        [47.33, 46.82, 44.91], [64.19, 58.78, 64.86], [24.18, 25.17, 24.11], [24.58, 20.39, 24.81],
        [11.79, 9.28, 5.04],
    ],
    ("Llama-3.2-3B", 500, "EMBED"): [
        [46.63, 46.65, 46.57], [62.16, 66.22, 61.49], [25.70, 29.64, 29.64], [44.80, 45.92, 48.03],
        [5.89, 4.55, 6.33],
    ],
    ("Llama-3.2-3B", 500, "RDS+"): [
        [48.38, 48.08, 48.06], [63.51, 57.43, 61.49], [33.59, 33.66, 33.66], [49.42, 50.57, 50.59],
        [10.11, 8.62, 4.72],
    ],
    ("Llama-3.2-3B", 500, "LESS"): [
        [46.70, 46.86, 47.23], [54.05, 52.70, 55.41], [35.25, 34.65, 34.72], [65.32, 64.56, 65.00],
        [21.97, 15.65, 10.23],
    ],
    ("Llama-3.2-3B", 10_000, "random"): [
        [48.85, 48.97, 48.75], [58.78, 60.14, 65.54], [37.07, 35.10, 36.62], [53.53, 54.80, 55.00],
        [21.41, 21.43, 21.06],
    ],
    ("Llama-3.2-3B", 10_000, "EMBED"): [
        [49.30, 48.81, 49.28], [63.51, 62.84, 64.86], [38.74, 38.21, 39.04], [54.52, 54.92, 55.52],
        [22.07, 21.85, 22.21],
    ],
    ("Llama-3.2-3B", 10_000, "RDS+"): [
        [48.95, 48.91, 49.06], [63.51, 64.19, 66.22], [42.08, 43.06, 43.67], [59.93, 59.94, 60.02],
        [23.78, 24.76, 24.28],
    ],
    ("Llama-3.2-3B", 10_000, "LESS"): [
        [48.22, 48.10, 48.78], [63.51, 62.84, 63.51], [37.00, 38.51, 36.32], [65.40, 62.33, 64.49],
        [23.75, 23.95, 23.55],
    ],
    ("SmolLM3-3B", 500, "random"): [
        [60.72, 61.31, 60.07], [77.70, 81.08, 75.00], [75.74, 74.07, 74.45], [47.73, 45.47, 45.27],
        [22.56, 25.54, 11.70],
    ],
    ("SmolLM3-3B", 500, "EMBED"): [
        [60.82, 61.06, 60.82], [81.76, 79.73, 79.05], [9.78, 10.99, 9.55], [52.68, 54.02, 53.69],
        [26.43, 27.49, 27.21],
    ],
    ("SmolLM3-3B", 500, "RDS+"): [
        [61.38, 61.32, 61.22], [82.43, 83.11, 78.38], [63.23, 67.17, 64.52], [53.95, 50.65, 52.65],
        [10.38, 9.47, 20.45],
    ],
    ("SmolLM3-3B", 500, "LESS"): [
        [59.48, 58.74, 58.74], [73.65, 70.95, 70.95], [70.74, 66.57, 69.07], [58.43, 58.59, 58.58],
        [0.0, 0.0, 0.0],
    ],
    ("SmolLM3-3B", 10_000, "random"): [
        [61.72, 61.89, 61.12], [77.03, 78.38, 81.08], [74.60, 74.60, 75.51], [50.61, 49.78, 51.08],
        [27.29, 28.48, 25.03],
    ],
    ("SmolLM3-3B", 10_000, "EMBED"): [
        [61.94, 60.91, 60.95], [80.41, 80.41, 81.08], [72.33, 72.55, 73.24], [54.40, 54.29, 54.92],
        [27.49, 28.51, 27.00],
    ],
    ("SmolLM3-3B", 10_000, "RDS+"): [
        [61.42, 61.15, 61.28], [78.38, 82.43, 79.73], [73.01, 73.77, 73.16], [56.33, 56.78, 57.19],
        [35.70, 36.84, 36.22],
    ],
    ("SmolLM3-3B", 10_000, "LESS"): [
        [59.80, 59.96, 61.05], [77.70, 79.05, 80.41], [74.22, 74.22, 74.07], [60.53, 59.85, 60.43],
        [27.05, 25.18, 23.63],
    ],
}  # fmt: skip
MEANS = {
    ("Llama-3.2-3B", 500): {"random": 33.1, "EMBED": 38.0, "RDS+": 40.1, "LESS": 43.4},
    ("Llama-3.2-3B", 10_000): {"random": 44.5, "EMBED": 45.7, "RDS+": 48.2, "LESS": 47.4},
    ("SmolLM3-3B", 500): {"random": 55.9, "EMBED": 46.3, "RDS+": 54.7, "LESS": 51.6},
    ("SmolLM3-3B", 10_000): {"random": 58.5, "EMBED": 59.4, "RDS+": 61.6, "LESS": 59.8},
}


def scores(model: str, rows: int, method: str) -> Scores:
    seeds_by_tasks = np.array(FIGURES[model, rows, method]).T
    return Scores(seeds_by_tasks, seeds_by_tasks)


@pytest.mark.parametrize(("model", "rows"), MEANS, ids=str)
def test_means_are_those_of_the_published_table(model: str, rows: int) -> None:
    for method, mean in MEANS[model, rows].items():
        assert scores(model, rows, method).scores.mean() == pytest.approx(mean, abs=0.06)


@pytest.mark.parametrize(("model", "rows"), MEANS, ids=str)
def test_intervals_are_about_those_of_students_t_over_tasks(model: str, rows: int) -> None:
    """Tasks are what a claim is to hold for beyond these five: they are drawn, as seeds are."""
    random = scores(model, rows, "random")
    for method in ("EMBED", "RDS+", "LESS"):
        one = against_random(model, rows, method)
        gaps = scores(model, rows, method).scores - random.scores
        assert one.effect == pytest.approx(gaps.mean())
        assert one.sd_seeds == pytest.approx(stats.sem(gaps.mean(axis=1)))
        error = np.hypot(one.sd_items, one.sd_seeds)
        low, high = stats.t.interval(0.9, len(TASKS) - 1, gaps.mean(), error)
        assert (one.low, one.high) == pytest.approx((low, high), abs=0.2 * (high - low))
        assert one.p_better == pytest.approx(stats.t.sf(gaps.mean() / error, 4), abs=0.05)


def test_two_of_twelve_published_gains_reach_beyond_their_five_tasks() -> None:
    """LESS with 500 rows gains 10.3 points on the mean of Llama's tasks, 42 of them on one task."""
    better = {
        (model, rows, method)
        for model, rows in MEANS
        for method in ("EMBED", "RDS+", "LESS")
        if against_random(model, rows, method).p_better <= 0.05
    }
    assert better == {("Llama-3.2-3B", 10_000, "EMBED"), ("Llama-3.2-3B", 10_000, "RDS+")}
    gains = (
        scores("Llama-3.2-3B", 500, "LESS").scores - scores("Llama-3.2-3B", 500, "random").scores
    )
    assert gains.mean() == pytest.approx(10.3, abs=0.05)
    assert gains.mean(axis=0).max() == pytest.approx(41.7, abs=0.05)


def against_random(model: str, rows: int, method: str) -> Comparison:
    pair = compare(
        scores(model, rows, method), scores(model, rows, "random"), np.arange(len(TASKS)), "random",
        "control", alpha=0.05, resamples=20_000, rng=np.random.default_rng(0),
    )  # fmt: skip
    return pair.comparison
