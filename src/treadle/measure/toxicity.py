"""Does a row hold offensive words?"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import polars as pl

from treadle.context import Context
from treadle.data.parts import Part, part_texts
from treadle.errors import ModelError
from treadle.op import measure


@measure(
    reference="profanity-check (a linear SVM over words), as alt-profanity-check",
    cost="1 s to load scikit-learn, then 0.1 ms a text",
)
def toxicity(*, of: Part = "row") -> Callable[[pl.DataFrame, Context], pl.DataFrame]:
    """Measure how likely the text is offensive, by its words: a number in [0, 1].

    A linear model over bags of words, trained on 200,000 comments that people had marked. It knows
    English words, and no sentence: contempt in polite words passes, and lists with `nuts`, `dog` or
    `sack` are flagged. Of 1,000 comments that people had marked (half of them toxic) its AUROC is
    0.84; at a threshold of 0.5 it finds 48% of the toxic ones and flags 3.6% of the others, so look
    at what it finds before you drop it, and do not take a low value for proof. A part without text is
    missing. Needs the extra `text`, whose package holds the model as a pickle of its own: it is
    trusted as its code is.

    Raises:
        ModelError: alt-profanity-check is not installed.
    """

    def run(batch: pl.DataFrame, context: Context) -> pl.DataFrame:
        context.tick()
        texts = part_texts(batch, of)
        known = [i for i, text in enumerate(texts) if text is not None]
        found: list[float | None] = [None] * len(texts)
        if known:
            chances = _classifier()([texts[i] for i in known])
            for i, chance in zip(known, chances, strict=True):
                found[i] = round(float(chance), 6)
        return pl.DataFrame({"toxicity": found}, schema={"toxicity": pl.Float64})

    return run


@cache
def _classifier() -> Callable[[list[str | None]], Any]:
    """Load the model, once a process."""
    try:
        from profanity_check import predict_prob
    except ModuleNotFoundError as error:
        raise ModelError(
            f"measure.toxicity needs the package {error.name!r}. Run: pip install 'treadle[text]'"
        ) from error
    classify: Callable[[list[str | None]], Any] = predict_prob
    return classify
