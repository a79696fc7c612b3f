"""Selective IFD: how much does the instruction help on the tokens it matters to, and how steadily?"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Annotated, Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import Field

from treadle.context import Context
from treadle.data.randomness import derived_rng
from treadle.data.row import from_frame
from treadle.data.template import Tokens, tokenise
from treadle.models.protocol import Scorable, Student
from treadle.op import measure

TOKENS_AT_ONCE = 16_384
"""Noised tokens whose noise is in memory: 40 MB for an embedding of 576."""

ALL = -1.0
"""A threshold that every token is above."""

Floats = NDArray[np.float64]


def token_threshold(rows: pl.DataFrame, options: Mapping[str, Any], context: Context) -> bytes:
    """Return the size of gain that `share` of the pool's reply tokens exceed."""
    sizes = np.abs(np.concatenate([np.zeros(0), *_clean_gains(rows)]))
    is_known = len(sizes) and options["share"] < 1
    threshold = float(np.quantile(sizes, 1 - options["share"])) if is_known else ALL
    return json.dumps(threshold).encode()


@measure(
    reference="arXiv:2506.01317 (T-SHIRT)",
    cost="beyond token_logprobs, samples passes over each row and samples over its reply alone",
    needs=("token_logprobs",),
    models=lambda options: ("student",) if options["samples"] else (),
    fit=token_threshold,
    passes=lambda options: options["samples"],
)
def s_ifd(
    *,
    samples: Annotated[int, Field(ge=0)] = 10,
    share: Annotated[float, Field(gt=0, le=1)] = 0.5,
    alpha: Annotated[float, Field(ge=0)] = 5.0,
    min_tokens: int = 3,
    max_tokens: int = 1024,
) -> Callable[[pl.DataFrame, Context], pl.DataFrame]:
    """Measure IFD (as a ratio of perplexities) over the reply's tokens that the instruction moves.

    A token's gain is its log-probability with the instruction less that without. Tokens with a small
    gain, up or down, hold IFD near 1 whatever the row, so only those count whose gain is among the
    largest `share` of all reply tokens in the pool. The value is exp(-mean gain) of these,
    averaged over `samples` neighbours of the row: the same tokens, with uniform noise of scale
    alpha / sqrt(tokens · width) on their embeddings. `s_ifd_std` is the deviation over the
    neighbours: a large one says that the value rests on accidents of wording. The publication takes
    30 neighbours, keeps rows with IFD below 1, of these the highest, and of these the steadiest.

    Without samples it is the value of the row itself, at no cost; with `share` 1 too it is `ifd`
    with `perplexity_ratio`. Where no token of a row counts, the row is unscored (the published code
    gives it 1, the best value). Noise follows from the row's id. The threshold is taken from the rows
    themselves, without noise.

    Args:
        samples: neighbours of each row; 0 for none.
        share: of all reply tokens in the pool, how many count.
        alpha: the size of the noise.
        min_tokens: shorter replies are unscored.
        max_tokens: rows are cut here, as in training.

    Raises:
        ModelError: samples are asked for and the student has no embeddings.
    """

    def run(batch: pl.DataFrame, context: Context) -> pl.DataFrame:
        assert context.fitted is not None
        threshold = float(json.loads(context.fitted))
        if samples:
            gains = _noised_gains(batch, context, samples, alpha, max_tokens)
        else:
            gains = ([found] for found in _clean_gains(batch))
        long = (batch["token_logprobs_last"] >= min_tokens).fill_null(False)
        records = [
            _value(neighbours, threshold, bool(samples)) if is_long else (None, None)
            for neighbours, is_long in zip(gains, long, strict=True)
        ]
        columns = dict.fromkeys(("s_ifd", "s_ifd_std"), pl.Float64)
        return pl.DataFrame(records, schema=columns, orient="row")

    return run


def _value(
    neighbours: list[Floats], threshold: float, is_noised: bool
) -> tuple[float | None, float | None]:
    """Return mean and deviation of exp(-mean gain of the tokens that count)."""
    counted = [gains[np.abs(gains) > threshold] for gains in neighbours]
    values = np.array([np.exp(-gains.mean()) for gains in counted if len(gains)])
    if not len(values):
        return None, None
    return float(values.mean()), float(values.std()) if is_noised else None


def _clean_gains(rows: pl.DataFrame) -> list[Floats]:
    """Return the gain of each reply token that has a prediction without the instruction."""
    wide = pl.List(pl.Float64)
    given = pl.col("token_logprobs").cast(wide).list.tail(pl.col("token_logprobs_last"))
    gains = given - pl.col("token_logprobs_direct").cast(wide)
    lists = rows.select(gains.list.drop_nulls().fill_null([])).to_series()
    return [gains.to_numpy() for gains in lists]


def _noised_gains(
    batch: pl.DataFrame, context: Context, samples: int, alpha: float, max_tokens: int
) -> Iterator[list[Floats]]:
    """Yield each row's token gains, one array for each neighbour."""
    student: Student = context.model("student")
    limit = min(max_tokens, student.max_tokens)
    rows = tokenise(from_frame(batch), student.tokenizer, max_tokens=limit)
    for key, row in zip(batch["id"], rows, strict=True):
        step = max(1, TOKENS_AT_ONCE // max(1, len(row.ids)))
        found: list[Floats] = []
        for begin in range(0, samples if len(row.reply) else 0, step):
            names = [(key, sample) for sample in range(begin, min(begin + step, samples))]
            noise = [_noise(len(row.ids), student.width, alpha, *name) for name in names]
            found += _gains(row, noise, student, context.tick)
        yield found


def _noise(tokens: int, width: int, alpha: float, *names: object) -> NDArray[np.float32]:
    """Draw uniform noise in ± alpha / sqrt(tokens · width)."""
    drawn = derived_rng("s_ifd", *names).random((tokens, width), dtype=np.float32)
    return (2 * drawn - 1) * np.float32(alpha / np.sqrt(tokens * width))


def _gains(
    row: Tokens, noise: list[NDArray[np.float32]], student: Student, tick: Callable[[], None]
) -> list[Floats]:
    """Score a row and its reply alone under each noise; a token has the same noise in both."""
    whole, alone = Scorable.reply(row), Scorable.reply_alone(row)
    header = np.arange(row.reply_from - len(row.header), row.reply_from)
    places = np.concatenate([np.maximum(header, 0), np.flatnonzero(whole.wanted)])
    noises = [*(one[: len(whole.ids)] for one in noise), *(one[places] for one in noise)]
    asked = [whole] * len(noise) + [alone] * len(noise)
    scores = [s.logprobs.astype(np.float64) for s in student.score_noised(asked, noises, tick=tick)]
    gains = [given - direct for given, direct in zip(scores, scores[len(noise) :], strict=False)]
    return [one[~np.isnan(one)] for one in gains]
