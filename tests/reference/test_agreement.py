"""Agreement beyond chance, against worked examples of the literature and slow definitions."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import cohen_kappa_score

from treadle.judge.figures.agreement import (
    cohen_kappa,
    fleiss_kappa,
    kendall,
    krippendorff_alpha,
    spearman,
)


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), min_size=2, max_size=40))
def test_cohens_kappa_is_scikit_learns(pairs: list[tuple[int, int]]) -> None:
    ones, others = zip(*pairs, strict=True)
    if len({*ones, *others}) == 1:
        assert math.isnan(cohen_kappa(ones, others))
        return
    assert cohen_kappa(ones, others) == pytest.approx(cohen_kappa_score(ones, others), nan_ok=True)


def test_fleiss_kappa_of_his_own_example() -> None:
    counts = [
        [0, 0, 0, 0, 14], [0, 2, 6, 4, 2], [0, 0, 3, 5, 6], [0, 3, 9, 2, 0], [2, 2, 8, 1, 1],
        [7, 7, 0, 0, 0], [3, 2, 6, 3, 0], [2, 5, 3, 2, 2], [6, 5, 2, 1, 0], [0, 2, 2, 3, 7],
    ]  # fmt: skip
    assert fleiss_kappa(np.array(counts, dtype=float)) == pytest.approx(0.2099, abs=5e-5)
    with pytest.raises(ValueError, match="same number of raters"):
        fleiss_kappa(np.array([[1.0, 1.0], [1.0, 2.0]]))


NAN = math.nan
KRIPPENDORFF = np.array(
    [
        [1, 2, 3, 3, 2, 1, 4, 1, 2, NAN, NAN, NAN],
        [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, NAN, 3],
        [NAN, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, NAN],
        [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, NAN],
    ],
    dtype=float,
)


@pytest.mark.parametrize(
    ("scale", "alpha"), [("nominal", 0.743), ("ordinal", 0.815), ("interval", 0.849)]
)
def test_krippendorffs_alpha_of_his_own_example(scale: str, alpha: float) -> None:
    assert krippendorff_alpha(KRIPPENDORFF, scale) == pytest.approx(alpha, abs=6e-4)  # type: ignore[arg-type]


@given(st.integers(0, 10_000))
def test_nominal_alpha_is_one_less_the_ratio_of_disagreements_over_all_pairs(seed: int) -> None:
    rng = np.random.default_rng(seed)
    ratings = rng.integers(0, 3, size=(3, 8)).astype(float)
    ratings[rng.random(ratings.shape) < 0.2] = NAN
    items = [column[~np.isnan(column)] for column in ratings.T]
    items = [item for item in items if len(item) >= 2]
    values = [value for item in items for value in item]
    observed = sum(
        sum(a != b for a, b in itertools.permutations(item, 2)) / (len(item) - 1) for item in items
    )
    pairs = list(itertools.permutations(values, 2))
    expected = sum(a != b for a, b in pairs) / (len(values) - 1) if len(values) > 1 else 0
    alpha = krippendorff_alpha(ratings)
    assert math.isnan(alpha) if not expected else alpha == pytest.approx(1 - observed / expected)


def test_a_constant_side_has_no_correlation() -> None:
    assert math.isnan(spearman(np.ones(5), np.arange(5.0)))
    assert kendall(np.arange(5.0), np.arange(5.0) ** 2) == pytest.approx(1)
