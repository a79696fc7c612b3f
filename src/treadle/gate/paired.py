"""The gate: did the selection help, or was it luck?"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import numpy as np
import polars as pl
from pydantic import Field

from treadle.context import Context
from treadle.data.verdict import Arm, ArmRole, Verdict
from treadle.errors import DataError, RecipeError
from treadle.gate.pairs import compare, is_zero_or_one
from treadle.gate.results import Results, read_results
from treadle.gate.rule import decide
from treadle.gate.sentence import Claim, Words, notes_of, sentence
from treadle.gate.statistics import estimate
from treadle.op import gate

TESTED, INCUMBENT = "selected", "before"


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
    (studentised bootstrap over clusters) and the luck of training (Student's t over seeds). An exact
    sign test over items must agree where scores have two values (McNemar's, on one seed) or where
    most differences are ties; where most clusters are tied, over clusters.

    accept: better (p <= alpha) than every control and than the model before training, on 3 seeds or
    more.
    roll back: worse (p <= alpha) than the model before training or than the random control, on 2
    seeds or more.
    hold: all else. Nothing is accepted and nothing rolled back on a single training seed, whose luck
    cannot be told from a difference; with all items from one source, which says nothing of others;
    or with more than a tenth of the items unscored, since those may be what one of the two arms
    fails at. For a rollback this is asked of the comparison that was lost, for acceptance of all.

    With few seeds the luck of training rules: at three, t has two degrees of freedom. Controls are
    expected to have as many seeds as the selection; one that was trained once is given its luck of
    training, but the random control needs its own 3 seeds. Fails quietly where items are not what
    they seem: near-copies that no `source` marks as one cluster make the interval too narrow.
    Rolling back has two chances, so its false alarms may reach twice alpha.

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
        arms = tuple(
            _arm(results, name, role, alpha=alpha, resamples=resamples, context=context)
            for name, role in everyone.items()
        )
        decision = decide(pairs, alpha)
        is_binary = all(is_zero_or_one(results.arm(name).scores) for name in everyone)
        claim = Claim(decision, tuple(pairs), Words.of(metric, is_binary), alpha)
        notes = (*notes_of(claim), *_absent(reference, results))
        comparisons = tuple(pair.comparison for pair in pairs)
        return Verdict(decision, sentence(claim), metric, alpha, arms, comparisons, notes)

    return judge


def _arm(
    results: Results, name: str, role: ArmRole, *, alpha: float, resamples: int, context: Context
) -> Arm:
    """Describe an arm by its values on the items that all its seeds have scored."""
    values_SN = results.arm(name).values
    is_scored = np.isfinite(values_SN).all(axis=0)
    values_SN = values_SN[:, is_scored]
    if values_SN.shape[1] < 2:
        raise DataError(f"gate.paired: arm {name!r} has fewer than 2 items with a value.")
    found = estimate(
        values_SN,
        results.clusters[is_scored],
        resamples=resamples,
        rng=context.rng("gate.paired", "arm", name),
    )
    low, high = found.interval(alpha)
    if is_zero_or_one(values_SN):
        low, high = max(0.0, low), min(1.0, high)
    by_seed = tuple(float(value) for value in values_SN.mean(axis=1))
    return Arm(name, role, found.mean, low, high, by_seed)


def _absent(reference: str | None, results: Results) -> tuple[str, ...]:
    if reference is None or reference in results.arms:
        return ()
    return (f"The reference arm {reference!r} is not in the results.",)
