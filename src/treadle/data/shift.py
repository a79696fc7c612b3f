"""What does a selection drop? Kept against dropped rows, in the terms in which people would ask.

    shift({"format": {"code": flags, …}, …}, kept)

A random choice of the same size would keep a hypergeometric number of the rows with a trait. Each
line holds that range; where the number kept lies outside, the selection prefers or avoids the trait.
There are many lines, so the range is wide (99.9%): about one false alarm in a thousand lines.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import hypergeom

from treadle.data.traits import Flags

CONFIDENCE = 0.999
RARE = 0.01
"""A trait has vanished if none of its rows is kept and a random choice would do so this seldom."""


@dataclass(frozen=True, slots=True)
class Line:
    """A trait: how many rows have it, how many of them were kept, and how many at random."""

    group: str
    trait: str
    rows: int
    kept: int
    low: int
    high: int
    verdict: str
    """`more`, `fewer` or `as random`; `vanished` where nothing is left of it."""


def shift(groups: Mapping[str, Mapping[str, Flags]], kept: NDArray[np.bool_]) -> dict[str, object]:
    """Compare kept with dropped rows.

    Args:
        groups: under the name of each group, which rows have each trait.
        kept: which rows were chosen.

    Returns:
        `rows`, `kept`, and `lines` as plain data, in the order given; traits without a row left out.
    """
    total, chosen = len(kept), int(kept.sum())
    lines = [
        _line(group, trait, flags, kept)
        for group, traits in groups.items()
        for trait, flags in traits.items()
        if flags.any()
    ]
    return {"rows": total, "kept": chosen, "lines": [asdict(line) for line in lines]}


def _line(group: str, trait: str, flags: Flags, kept: NDArray[np.bool_]) -> Line:
    total, chosen = len(kept), int(kept.sum())
    rows, found = int(flags.sum()), int((flags & kept).sum())
    luck = hypergeom(total, rows, chosen)
    low, high = (int(value) for value in luck.interval(CONFIDENCE))
    verdict = "fewer" if found < low else "more" if found > high else "as random"
    if found == 0 and float(luck.pmf(0)) < RARE:
        verdict = "vanished"
    return Line(group, trait, rows, found, low, high, verdict)
