"""Made-up worlds in which the truth about two arms is known, and a gate to run in them.

    world = World(items=60, seeds=3, training_sd=0.1)
    selected, random = world.draw(rng)      scores, seed by item; `gain` is the true difference

`rate` runs many gates and counts a decision. `bank_decisions` does the same with real students: it
takes a bank of students' per-item scores, all trained on random subsets, so that any accepted
difference between two groups of them is a false one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from treadle.context import Context
from treadle.data.verdict import RESULT_SCHEMA, Comparison
from treadle.gate.paired import paired
from treadle.gate.pairs import Pair, compare
from treadle.gate.results import Scores
from treadle.gate.rule import decide

Floats = NDArray[np.float64]
RESAMPLES = 399


@dataclass(frozen=True)
class World:
    """Standard deviations of the difference between two arms, by where it comes from."""

    items: int = 60
    seeds: int = 3
    gain: float = 0.0
    item_sd: float = 1.0
    training_sd: float = 0.0
    answer_sd: float = 0.0
    cluster_sd: float = 0.0
    cluster_sizes: tuple[int, ...] = ()
    item_luck: Callable[[np.random.Generator, int], Floats] | None = None

    @property
    def clusters(self) -> NDArray[np.int64]:
        sizes = self.cluster_sizes or (1,) * self.items
        return np.repeat(np.arange(len(sizes)), sizes)

    def draw(self, rng: np.random.Generator) -> tuple[Floats, Floats]:
        """Draw the scores of a tested arm and of its rival."""
        clusters = self.clusters
        count = len(clusters)
        luck = self.item_luck(rng, count) if self.item_luck else rng.normal(size=count)
        of_cluster = self.cluster_sd * rng.normal(size=clusters.max() + 1)
        both = rng.normal(size=count)
        arms = [both + self.gain + self.item_sd * luck + of_cluster[clusters], both]
        half = np.sqrt(0.5)  # each arm brings half of the variance of the difference
        return tuple(  # type: ignore[return-value]
            arm
            + half * self.training_sd * rng.normal(size=(self.seeds, 1))
            + half * self.answer_sd * rng.normal(size=(self.seeds, count))
            for arm in arms
        )

    def draw_zero_one(self, rng: np.random.Generator) -> tuple[Floats, Floats]:
        """Draw 0/1 scores: whether a normal score passes the item's own difficulty."""
        difficulty = rng.normal(size=len(self.clusters))
        selected, random = self.draw(rng)
        return (selected > difficulty).astype(float), (random > difficulty).astype(float)


def run_gate(
    selected: Floats, random: Floats, clusters: NDArray[np.int64], rng: np.random.Generator
) -> Pair:
    """Compare two arms as the gate does."""
    return compare(
        Scores(selected, selected), Scores(random, random), clusters, "random", "control",
        alpha=0.05, resamples=RESAMPLES, rng=rng,
    )  # fmt: skip


def comparisons(world: World, gates: int, *, zero_one: bool = False, seed: int = 0) -> list[Pair]:
    """Run many gates against one control."""
    rng = np.random.default_rng(seed)
    draw = world.draw_zero_one if zero_one else world.draw
    return [run_gate(*draw(rng), world.clusters, rng) for _ in range(gates)]


def share_better(pairs: list[Pair], alpha: float = 0.05) -> float:
    """Return the share of gates that call the tested arm better."""
    return float(np.mean([pair.comparison.p_better <= alpha for pair in pairs]))


def share_worse(pairs: list[Pair], alpha: float = 0.05) -> float:
    """Return the share of gates that call the tested arm worse."""
    return float(np.mean([pair.comparison.p_worse <= alpha for pair in pairs]))


def decisions(world: World, gates: int, *, over_others: float, seed: int = 0) -> Counter[str]:
    """Run whole gates: the tested arm gains `world.gain` over random, `over_others` over the rest."""
    rng = np.random.default_rng(seed)
    found: Counter[str] = Counter()
    for _ in range(gates):
        selected, random = world.draw(rng)
        pairs = [run_gate(selected, random, world.clusters, rng)]
        for name, role in (("longest", "control"), ("before", "incumbent")):
            _, other = world.draw(rng)
            far = other[:1] if name == "before" else other
            base = selected.mean() - far.mean() - over_others
            pairs.append(
                compare(
                    Scores(selected, selected), Scores(far + base, far + base), world.clusters,
                    name, role, alpha=0.05, resamples=RESAMPLES, rng=rng,
                )  # type: ignore[arg-type]
            )  # fmt: skip
        found[decide(pairs, 0.05)] += 1
    return found


def naive_share_better(
    draw: Callable[[np.random.Generator], tuple[Floats, Floats]], gates: int, alpha: float = 0.05
) -> float:
    """What a bootstrap over items alone would call better: the control of these simulations."""
    rng, found = np.random.default_rng(0), 0
    for _ in range(gates):
        selected, random = draw(rng)
        difference = (selected - random).mean(axis=0)
        draws = difference[rng.integers(len(difference), size=(RESAMPLES, len(difference)))]
        found += bool(np.quantile(draws.mean(axis=1), alpha) > 0)
    return found / gates


def groups_of(
    bank_MN: Floats, seeds: int
) -> Callable[[np.random.Generator], tuple[Floats, Floats]]:
    """Draw two groups of different students of a bank."""
    students = len(bank_MN)
    if students < 2 * seeds:
        raise ValueError(f"{students} students cannot fill two arms of {seeds}")

    def draw(rng: np.random.Generator) -> tuple[Floats, Floats]:
        drawn = rng.choice(students, size=2 * seeds, replace=False)
        return bank_MN[drawn[:seeds]], bank_MN[drawn[seeds:]]

    return draw


def bank_decisions(
    bank_MN: Floats,
    before_N: Floats,
    *,
    gates: int,
    seeds: int,
    seed: int = 0,
    clusters: NDArray[np.int64] | None = None,
) -> tuple[Counter[str], list[Comparison]]:
    """Run whole gates on groups of students drawn from a bank in which no group is better.

    Each gate draws 2 * seeds different students: the first half plays `selected`, the other half
    `random`. Gates share students, so their decisions are not independent: with M students the
    share of false accepts varies more than that of as many separate experiments. Comparisons with
    `before` are real ones; pass a `before_N` far below the bank to test the control alone.

    Args:
        bank_MN: scores (higher is better) of M students on N items.
        before_N: scores of the untrained student on the same items.
    """
    draw, items = groups_of(bank_MN, seeds), bank_MN.shape[1]
    rng = np.random.default_rng(seed)
    judge = paired(controls=("random",), reference=None, resamples=RESAMPLES)
    groups = np.arange(items) if clusters is None else clusters
    found: Counter[str] = Counter()
    seen: list[Comparison] = []
    for gate in range(gates):
        selected, random = draw(rng)
        arms = {"selected": selected, "random": random, "before": before_N[None]}
        verdict = judge(results_frame(arms, groups), Context(seed=gate))
        found[verdict.decision] += 1
        seen.append(next(c for c in verdict.comparisons if c.against == "random"))
    return found, seen


def results_frame(
    arms: dict[str, Floats], clusters: NDArray[np.int64] | None = None, *, sign: float = -1.0
) -> pl.DataFrame:
    """Return scores (seed by item) of each arm as results; `value` is `sign` times the score."""
    parts = []
    for name, scores in arms.items():
        seeds, items = scores.shape
        groups = np.arange(items) if clusters is None else clusters
        flat = pl.Series(scores.ravel(), dtype=pl.Float64).fill_nan(None)
        parts.append(
            pl.DataFrame(
                {
                    "arm": [name] * flat.len(),
                    "seed": np.repeat(np.arange(seeds), items),
                    "item": [f"set:{i:05d}" for i in range(items)] * seeds,
                    "source": [f"g{g}" for g in groups] * seeds,
                    "score": flat,
                    "value": sign * flat,
                },
                schema=RESULT_SCHEMA,
            )
        )
    return pl.concat(parts)
