"""The gate: did the selection help, or was it luck?

A selection is accepted only if it beats every control and the model before training, each with a
one-sided test at level alpha. All tests must succeed, so alpha needs no splitting (an
intersection-union test): the chance to accept a selection that is not better than any one of them
stays at alpha, however many controls there are.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Annotated

import numpy as np
import polars as pl
from pydantic import Field

from treadle.context import Context
from treadle.data.verdict import Arm, ArmRole, Decision, Verdict
from treadle.errors import DataError, RecipeError
from treadle.gate.pairs import Pair, compare, is_zero_or_one
from treadle.gate.power import thresholds
from treadle.gate.results import Results, read_results
from treadle.gate.sentence import Claim, Words, notes_of, sentence
from treadle.gate.statistics import error_of_items
from treadle.op import gate

TESTED, INCUMBENT, RANDOM = "selected", "before", "random"
MOST_UNSCORED = 0.1


@gate(
    reference="arXiv:2411.00640 (paired differences, clustered errors)",
    cost="resamples x items x arms, no model call",
)
def paired(
    *,
    controls: tuple[str, ...] = ("random", "longest"),
    reference: str | None = "full",
    alpha: Annotated[float, Field(gt=0, lt=0.5)] = 0.05,
    resamples: Annotated[int, Field(ge=100)] = 10_000,
    metric: str = "nll",
) -> Callable[[pl.DataFrame, Context], Verdict]:
    """Accept, hold or roll back a selection on paired per-item results.

    Differences are paired by item and training seed. Their interval holds the luck of items
    (studentised bootstrap over clusters) and the luck of training (Student's t over seeds); for 0/1
    scores an exact sign test over items (McNemar's, on one seed) must agree.

    accept: better (p <= alpha) than every control and than the model before training.
    roll back: worse (p <= alpha) than the model before training or than the random control.
    hold: all else. So is what would be accepted on a single training seed, whose luck cannot be
    told from a gain, or with more than a tenth of the items unscored, which may hide failures.

    With few seeds the luck of training rules: at three, t has two degrees of freedom. Controls are
    expected to have as many seeds as the selection; one that was trained once is given its luck of
    training. Fails quietly where items are not what they seem: near-copies that no `source` marks
    as one cluster make the interval too narrow. Rolling back has two chances, so its false alarms
    may reach twice alpha.

    Args:
        controls: arms of the same size that the selection has to beat.
        reference: an arm to show beside them; it never decides.
        alpha: level of each one-sided test; intervals are two-sided at 1 - 2 * alpha.
        resamples: bootstrap draws.
        metric: the name of the score, for the sentence.
    """
    if not controls:
        raise RecipeError("gate.paired: controls is empty: no claim without a control.")
    if alpha * (resamples + 1) < 1:
        raise RecipeError(f"gate.paired: {resamples} resamples cannot show p <= {alpha}.")

    def judge(frame: pl.DataFrame, context: Context) -> Verdict:
        results = read_results(frame)
        roles: dict[str, ArmRole] = dict.fromkeys(controls, "control")
        roles[INCUMBENT] = "incumbent"
        if reference is not None and reference in results.arms:
            roles.setdefault(reference, "reference")
        tested = results.arm(TESTED)
        pairs = [
            compare(tested, results.arm(name), results.clusters, name, role, alpha=alpha,
                    resamples=resamples, rng=context.rng("gate.paired", name))
            for name, role in roles.items()
        ]  # fmt: skip
        everyone: dict[str, ArmRole] = {TESTED: "tested", **roles}
        arms = tuple(_arm(results, name, role, alpha) for name, role in everyone.items())
        decision = decide(pairs, alpha)
        is_binary = all(is_zero_or_one(results.arm(name).scores) for name in everyone)
        claim = Claim(decision, tuple(pairs), Words.of(metric, is_binary), alpha, MOST_UNSCORED)
        notes = (*notes_of(claim), *_absent(reference, results))
        comparisons = tuple(pair.comparison for pair in pairs)
        return Verdict(decision, sentence(claim), metric, alpha, arms, comparisons, notes)

    return judge


def decide(pairs: Sequence[Pair], alpha: float) -> Decision:
    """Apply the rule (see `paired`)."""
    rivals = [pair for pair in pairs if pair.comparison.role != "reference"]
    for pair in rivals:
        found = pair.comparison
        is_guard = found.role == "incumbent" or found.against == RANDOM
        if is_guard and found.p_worse <= alpha:
            return "roll_back"
    has_seeds = all(pair.comparison.seeds > 1 for pair in rivals)
    is_scored = all(pair.unscored <= MOST_UNSCORED * pair.items for pair in rivals)
    is_better = all(pair.comparison.p_better <= alpha for pair in rivals)
    return "accept" if has_seeds and is_scored and is_better else "hold"


def _arm(results: Results, name: str, role: ArmRole, alpha: float) -> Arm:
    """Describe an arm by its values on the items that all its seeds have scored."""
    values_SN = results.arm(name).values
    is_scored = np.isfinite(values_SN).all(axis=0)
    values_SN = values_SN[:, is_scored]
    if values_SN.shape[1] < 2:
        raise DataError(f"gate.paired: arm {name!r} has fewer than 2 items with a value.")
    by_seed = values_SN.mean(axis=1)
    error_items = error_of_items(values_SN.mean(axis=0), results.clusters[is_scored])
    seeds, mean = len(by_seed), float(by_seed.mean())
    error_seeds = float(by_seed.std(ddof=1)) / math.sqrt(seeds) if seeds > 1 else 0.0
    half = float(thresholds(error_items, np.array([error_seeds]), max(1, seeds - 1), alpha)[0])
    low, high = mean - half, mean + half
    if is_zero_or_one(values_SN):
        low, high = max(0.0, low), min(1.0, high)
    return Arm(name, role, mean, low, high, tuple(float(v) for v in by_seed))


def _absent(reference: str | None, results: Results) -> tuple[str, ...]:
    if reference is None or reference in results.arms:
        return ()
    return (f"The reference arm {reference!r} is not in the results.",)
