"""Every measure and selector that the experiments compare, and how they are called.

A score is a measure with its options; a method is a selector with its options. What is left out says
why (`LEFT_OUT`, `METHODS_LEFT_OUT`), and a test holds these lists against treadle's registry.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import polars as pl

from treadle import Features, Origin, Pool, Row, Selection, measure_rows, select_rows
from treadle.data.row import from_frame

SEEDS = (0, 1, 2)


@dataclass(frozen=True, slots=True)
class Score:
    """A number for each row. `costly`: many passes of the student a row, so only a sample gets it."""

    label: str
    measure: str
    options: Mapping[str, Any] = field(default_factory=dict)
    column: str = ""
    needs_student: bool = True
    costly: bool = False


SCORES = (
    Score("length", "length", needs_student=False),
    Score("length_words", "length", column="length_words", needs_student=False),
    Score("word_surprisal", "word_surprisal", needs_student=False),
    Score("ngram_perplexity", "ngram_perplexity", needs_student=False),
    Score("personal_data", "personal_data", needs_student=False),
    Score("language_confidence", "language", column="language_confidence", needs_student=False),
    Score("nll", "nll"),
    Score("perplexity", "perplexity"),
    Score("token_entropy", "token_entropy"),
    Score("ifd", "ifd"),
    Score("ifd_of_perplexities", "ifd", {"variant": "perplexity_ratio"}),
    Score("s_ifd_without_noise", "s_ifd", {"samples": 0}, "s_ifd"),
    Score("self_rating", "self_rating", costly=True),
    Score("prompt_uncertainty", "prompt_uncertainty", costly=True),
    Score("one_shot_gain", "one_shot_gain", column="one_shot_gain_mean", costly=True),
    Score("s_ifd", "s_ifd", {"samples": 3}, costly=True),
)


@dataclass(frozen=True, slots=True)
class Method:
    """A selector with its options. `reads` is what it needs beyond words: a score, or vectors."""

    label: str
    selector: str
    options: Mapping[str, Any] = field(default_factory=dict)
    family: str = "baseline"
    reads: tuple[str, ...] = ()
    draws: bool = False


def _top(score: str, label: str = "", **options: Any) -> Method:
    name = label or f"top {score}"
    return Method(name, "top", {"by": score, **options}, "score", (score,))


METHODS = (
    Method("random", "random", draws=True),
    Method("random, lengths of the pool", "random", {"like": "length"}, draws=True),
    Method("longest", "longest"),
    Method("quota by group", "quota", {"by": "group"}, draws=True),
    _top("word_surprisal"),
    _top("ngram_perplexity"),
    _top("nll"),
    _top("nll", "lowest nll", ascending=True),
    Method(
        "middle band of perplexity", "band", {"by": "perplexity"}, "score", ("perplexity",)
    ),
    _top("token_entropy"),
    _top("ifd", "top ifd, at most 1"),
    _top("ifd", "top ifd, no limit", drop_above=float("inf")),
    _top("ifd", "lowest ifd", ascending=True),
    _top("ifd_of_perplexities", "top ifd of perplexities, at most 1", drop_above=1.0),
    _top("s_ifd_without_noise", "top s_ifd, at most 1", drop_above=1.0),
    Method(
        "ifd, then k_center", "score_then_diverse", {"by": "ifd"}, "score", ("ifd", "embedding")
    ),
    Method(
        "ifd, then filter", "score_first_filter", {"by": "ifd"}, "score", ("ifd", "embedding")
    ),
    Method("k_center", "k_center", {}, "diverse", ("embedding",)),
    Method("facility_location", "facility_location", {}, "diverse", ("embedding",)),
    Method("semdedup", "semdedup", {}, "diverse", ("embedding",), draws=True),
    Method("dpp", "dpp", {}, "diverse", ("embedding",)),
    Method("k_center, hidden_state", "k_center", {"on": "hidden_state"}, "diverse", ("hidden_state",)),
    Method("tag_cover, words as tags", "tag_cover", {"by": "words"}, "diverse"),
    Method("bm25", "bm25", {}, "target"),
    Method("importance_resampling", "importance_resampling", {}, "target", draws=True),
    Method(
        "importance_resampling, per token", "importance_resampling", {"per_token": True}, "target",
        draws=True,
    ),
    Method("round_robin, embedding", "round_robin", {}, "target", ("embedding",)),
    Method(
        "round_robin, hidden_state", "round_robin", {"on": "hidden_state"}, "target",
        ("hidden_state",),
    ),
    Method(
        "round_robin, gradient", "round_robin",
        {"on": "gradient", "target_on": "gradient_plain"}, "target", ("gradient",),
    ),
    Method("tsds, embedding", "tsds", {}, "target", ("embedding",), draws=True),
    Method(
        "tsds, hidden_state", "tsds", {"on": "hidden_state"}, "target", ("hidden_state",),
        draws=True,
    ),
    Method("transport, embedding", "transport", {}, "target", ("embedding",)),
    Method(
        "transport, hidden_state", "transport", {"on": "hidden_state"}, "target",
        ("hidden_state",),
    ),
    Method("influence", "influence", {}, "target", ("gradient",)),
)  # fmt: skip

LEFT_OUT = {
    "embedding": "a vector: read by selectors",
    "hidden_state": "a vector: read by selectors",
    "gradient": "a vector: read by selectors",
    "hashed_ngrams": "counts: read by importance_resampling",
    "words": "lists: read by bm25, tag_cover, word_surprisal and ngram_perplexity",
    "token_logprobs": "lists: read by nll, perplexity, token_entropy, ifd and s_ifd",
    "prompt_embedding": "a vector: read by the audits of meaning",
    "reply_embedding": "a vector: read by the audits of meaning",
    "toxicity": "offensive words, of which these pools have none to speak of",
    "judged_quality": "asks a judge, and none that would be licensed runs here",
    "judged_complexity": "asks a judge",
    "judged_answer": "asks a judge",
    "judged_tags": "asks a judge",
    "merged_tags": "lists, from judged_tags: read by tag_cover",
    "deita_score": "asks a judge",
    "answer_confidence": "asks a judge",
    "curated_score": "repairs the ratings of a judge, which these pools do not have",
}
"""Measures that are no single number a row, or look for what is not there."""

METHODS_LEFT_OUT = {
    "ds2": "goes by the ratings of a judge",
    "mods": "trains a student on the way: a minute and more a budget",
    "p3": "trains students on the way",
    "diversify_and_conquer": "trains students on the way",
    "active_prune": "has every row judged (self_rating), which the pools here are too large for",
}
"""Selectors that cost more than the rest together."""


def scores_of(pool: Pool, scores: Sequence[Score], *, progress: bool) -> pl.DataFrame:
    """Measure scores: `id` and a column for each label. Rows on which one failed are null."""
    frame: pl.DataFrame = pool.frame.select("id")
    for score in scores:
        found: Features = measure_rows(
            pool, [score.measure], options={score.measure: dict(score.options)}, progress=progress
        )
        column = pl.col(score.column or score.measure).cast(pl.Float64).alias(score.label)
        frame = frame.join(found.frame.select("id", column), on="id", how="left")
    return frame.sort("id")


def with_columns(pool: Pool, frame: pl.DataFrame) -> Pool:
    """Return the pool with these columns as the user's own, for selectors to read."""
    wanted = {record.pop("id"): record for record in frame.iter_rows(named=True)}
    rows = []
    for row in from_frame(pool.frame):
        first, *rest = row.origins or (Origin("made", 1),)
        extra = json.dumps({**json.loads(first.extra), **wanted[row.id]})
        rows.append(replace(row, origins=(replace(first, extra=extra), *rest)))
    return Pool.of(rows)


def selections(
    pool: Pool, method: Method, keep: int, *, target: Pool | None = None, only_first: bool = False
) -> list[Selection]:
    """Select `keep` rows, once or, where chance plays a part, once a seed (or for the first only)."""
    return [
        select_rows(
            pool, keep=f"{keep} rows", method=method.selector, seed=seed, target=target,
            **method.options,
        )
        for seed in SEEDS[: len(SEEDS) if method.draws and not only_first else 1]
    ]  # fmt: skip


def words_of(row: Row) -> int:
    return len(row.text.split())
