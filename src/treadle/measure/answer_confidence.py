"""How confident is a model in the reply of a row? It answers itself, several times, and reflects."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import islice
from typing import Annotated

import polars as pl
from pydantic import Field

from treadle.context import Context
from treadle.data.row import Message, Row, from_frame
from treadle.judge.fence import shown
from treadle.judge.rows import ScoreRubric, items_of, score
from treadle.judge.rubric import read_rubric
from treadle.models.endpoint import Answer, Chat
from treadle.models.protocol import Embedder
from treadle.op import measure

SAME_TEXT = 0.2
"""What of the likeness of two answers hangs on their being the same word for word, as published."""
SPOKEN = ("system", "user", "assistant")
Record = tuple[float | None, float | None, float | None, str | None]
COLUMNS = {
    "answer_confidence": pl.Float64,
    "answer_confidence_agreement": pl.Float64,
    "answer_confidence_reflection": pl.Float64,
    "answer_confidence_unscored": pl.String,
}


@measure(
    reference="arXiv:2403.12776 (CLEAR) with arXiv:2308.16175 (BSDetector)",
    cost="`samples` answers and 1 score of the judge a row; 1 encoder pass an answer",
    models=("judge", "embedder"), rubrics=("rubric",),
)  # fmt: skip
def answer_confidence(
    *,
    rubric: ScoreRubric = "reflection",
    samples: Annotated[int, Field(ge=2, le=50)] = 5,
    weight: Annotated[float, Field(ge=0, le=1)] = 0.7,
    max_tokens: Annotated[int, Field(ge=1)] = 512,
) -> Callable[[pl.DataFrame, Context], pl.DataFrame]:
    """Measure `weight` · agreement + (1 - `weight`) · reflection, both in [0, 1].

    CLEAR keeps the rows whose reply a model is confident in: `top` by this with `drop_below`, or
    `band`. Agreement is how like the reply the judge's own answers are, at temperature 1; reflection
    is its score of the reply by the rubric, scaled to [0, 1]. Two wrong answers rarely agree, which is
    why agreement says more than asking, where a question has one answer. Where it has many (a poem, an
    opinion) a good reply agrees with none. The second half of CLEAR, replacing a doubted reply by the
    model's own, is not here: that changes rows.

    CLEAR's scorer is a product whose code is not public, so nothing here was checked against it. The
    formula is BSDetector's, but for one thing: likeness is 0.8 · cosine of the embeddings + 0.2 if the
    texts are equal, where the publication asks a model of contradiction. Embeddings hardly tell "yes"
    from "no", or 41 from 42. With the hashed embedder, likeness is shared words. No figure of ours
    says how well it filters.

    The judge must hold the licence to filter by the rubric. A row is unscored, with the reason in
    `answer_confidence_unscored`, if fewer than half of the answers came, and as in `judged_quality`.

    Args:
        rubric: what it reflects by.
        samples: answers of its own.
        weight: of agreement; published is 0.7.
        max_tokens: of an answer of its own.
    """

    def run(batch: pl.DataFrame, context: Context) -> pl.DataFrame:
        rows = from_frame(batch)
        judge = context.model("judge")
        tick, watch = context.tick, context.asking
        reflected = score(judge, rubric, items_of(rows), tick=tick, on_progress=watch)
        asked = [i for i, one in enumerate(reflected) if one.value is not None and _may(rows[i])]
        calls = [call for i in asked for call in _calls(rows[i], samples, max_tokens)]
        answers = iter(judge.endpoint.ask(calls, tick=tick, on_progress=watch) if calls else [])
        texts = {
            i: [one.text for one in islice(answers, samples) if isinstance(one, Answer)]
            for i in asked
        }
        agreements = _agreements({i: rows[i].reply for i in asked}, texts, context)
        scale = read_rubric(rubric).scale
        assert scale is not None
        records: list[Record] = []
        for i, one in enumerate(reflected):
            if one.value is None:
                records.append((None, None, None, one.unscored))
                continue
            reflection = (one.value - scale.low) / (scale.high - scale.low)
            why = _why_not(texts.get(i), samples)
            agreement = agreements[i] if why is None else None
            whole = None if agreement is None else weight * agreement + (1 - weight) * reflection
            records.append((whole, agreement, reflection, why))
        return pl.DataFrame(records, schema=COLUMNS, orient="row")

    return run


def _why_not(texts: list[str] | None, samples: int) -> str | None:
    """Say why a row has no agreement, if it has none."""
    if texts is None:
        return "its prompt holds turns of tools"
    few = len(texts) < math.ceil(samples / 2)
    return f"{len(texts)} of {samples} answers came" if few else None


def _may(row: Row) -> bool:
    """Whether its prompt can be asked as it is: tools are not ours to play."""
    return all(turn.role in SPOKEN for turn in row.prompt)


def _calls(row: Row, samples: int, max_tokens: int) -> list[Chat]:
    turns = tuple(Message(turn.role, shown(turn.content)) for turn in row.prompt)
    return [Chat(turns, max_tokens, temperature=1.0, sample=n) for n in range(1, samples + 1)]


def _agreements(
    replies: dict[int, str], texts: dict[int, list[str]], context: Context
) -> dict[int, float]:
    """Return how like each reply its answers are, on average."""
    embedder: Embedder = context.model("embedder")
    flat = [text for i in replies for text in (replies[i], *texts[i])]
    vectors = iter(embedder.embed(flat, tick=context.tick)) if flat else iter(())
    found = {}
    for i, reply in replies.items():
        own = next(vectors)
        near = [max(0.0, float(own @ next(vectors))) for _ in texts[i]]
        likeness = [
            (1 - SAME_TEXT) * cosine + SAME_TEXT * _is_same(reply, text)
            for cosine, text in zip(near, texts[i], strict=True)
        ]
        found[i] = sum(likeness) / len(likeness) if likeness else math.nan
    return found


def _is_same(one: str, other: str) -> bool:
    return _folded(one) == _folded(other)


def _folded(text: str) -> Sequence[str]:
    return text.casefold().split()
