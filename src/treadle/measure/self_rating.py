"""How well does the student itself think a row does what it was asked? A rating, and how sure it is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import Field

from treadle.context import Context
from treadle.data.row import Message, Row, from_frame
from treadle.data.template import safe_turns
from treadle.errors import ModelError
from treadle.models.protocol import Student
from treadle.op import measure

SCORES = ("1", "2", "3", "4", "5")
PROMPTS = (
    "Rate from 1 to 5 how well the response below does what the instruction asks. 5 is best.",
    "Below are an instruction and a response. Is the response right and complete? Give a mark "
    "between 1 (not at all) and 5 (entirely).",
    "You are marking an answer. Judge how closely it follows the instruction, and say how good it "
    "is as one number from 1 (poor) to 5 (excellent).",
    "How accurate is the following response to its instruction? Choose 1, 2, 3, 4 or 5; higher is "
    "more accurate.",
    "Would this response satisfy the person who wrote the instruction? Grade it on a scale of 1 "
    "(no) to 5 (fully).",
)
CLOSING = "The number, 1 to 5, is:"


@measure(
    reference="arXiv:2402.16705",
    cost=f"{len(PROMPTS)} passes over each row under a rating prompt, one token predicted in each",
    models=("student",),
    passes=2 * len(PROMPTS),  # the prompt that asks for the rating is about as long as a row
)
def self_rating(
    *, alpha: Annotated[float, Field(ge=0)] = 0.2, second_softmax: bool = False, window: int = 2048
) -> Callable[[pl.DataFrame, Context], pl.DataFrame]:
    """Measure the student's rating of the last reply, held against its doubt and its wavering.

    Five rating prompts each ask for a number. With q, the chances of "1" to "5" as the next token
    scaled to sum 1, a prompt's score is the likeliest number times the mean lead of its chance over
    the other four: 0 where all are alike, 5 at a certain "5". The rating is the mean over the
    prompts / (1 + `alpha` · their standard deviation), in [0, 5]. `self_rating_std` is that
    deviation. The published code takes a second softmax, of q, which squeezes all scores below 1.28
    and so nearly does away with the deviation: `second_softmax` does the same.

    A small student rates by habit (one number for all rows) and likes text like its own: check
    against people before trusting it. A row without a reply, or whose rating prompt fills `window`
    tokens, is unscored.

    Raises:
        ModelError: the student's tokenizer does not write "1" to "5" as one token each.
    """

    def run(batch: pl.DataFrame, context: Context) -> pl.DataFrame:
        student: Student = context.model("student")
        rows = from_frame(batch)
        lead, choices = _score_tokens(student)
        prompts = _prompts(rows, student, lead)
        limit = min(window, student.max_tokens)
        asked = [
            i
            for i, row in enumerate(rows)
            if row.reply.strip() and max(len(ids) for ids in prompts[i]) < limit
        ]
        flat = [ids for i in asked for ids in prompts[i]]
        logprobs = student.next_logprobs(flat, choices, tick=context.tick)
        logprobs_RPS = logprobs.reshape(len(asked), len(PROMPTS), len(SCORES))
        scores_RP = prompt_scores(logprobs_RPS, second_softmax=second_softmax)
        ratings, spreads = sentence_scores(scores_RP, alpha=alpha)
        found = dict(zip(asked, zip(ratings.tolist(), spreads.tolist(), strict=True), strict=True))
        columns = ("self_rating", "self_rating_std")
        records = [found.get(i, (None, None)) for i in range(len(rows))]
        return pl.DataFrame(records, schema=dict.fromkeys(columns, pl.Float64), orient="row")

    return run


def prompt_scores(
    logprobs_RPS: NDArray[np.floating], *, second_softmax: bool
) -> NDArray[np.float64]:
    """Return the score (row, prompt) from the log-probabilities of the numbers 1 to S."""
    q = _softmax(logprobs_RPS.astype(np.float64))
    if second_softmax:
        q = _softmax(q)
    others = q.shape[-1] - 1
    lead = (q.max(axis=-1, keepdims=True) - q).sum(axis=-1) / others
    scores: NDArray[np.float64] = (q.argmax(axis=-1) + 1) * lead
    return scores


def sentence_scores(
    scores_RP: NDArray[np.float64], *, alpha: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return each row's rating over its prompts, and their standard deviation."""
    spread = scores_RP.std(axis=1)
    return scores_RP.mean(axis=1) / (1 + alpha * spread), spread


def _softmax(values: NDArray[np.float64]) -> NDArray[np.float64]:
    powers = np.exp(values - values.max(axis=-1, keepdims=True))
    shares: NDArray[np.float64] = powers / powers.sum(axis=-1, keepdims=True)
    return shares


def _prompts(
    rows: Sequence[Row], student: Student, lead: NDArray[np.int32]
) -> list[list[NDArray[np.int32]]]:
    """Return, for each row, the ids of its rating prompts, up to where the number comes."""
    tokenizer = student.tokenizer
    texts = [
        tokenizer.render(safe_turns([Message("user", text)], tokenizer), open_reply=True)
        for row in rows
        for text in _questions(row)
    ]
    ids = [np.concatenate([encoding.ids, lead]) for encoding in tokenizer.encode(texts)]
    return [ids[i : i + len(PROMPTS)] for i in range(0, len(ids), len(PROMPTS))]


def _questions(row: Row) -> list[str]:
    instruction = "\n".join(turn.content for turn in row.prompt)
    shown = f"Instruction:\n{instruction}\n\nResponse:\n{row.reply}\n\n{CLOSING}"
    return [f"{prompt}\n\n{shown}" for prompt in PROMPTS]


def _score_tokens(student: Student) -> tuple[NDArray[np.int32], list[int]]:
    """Return the ids of "1" to "5" at the start of a reply, and what some tokenizers put before."""
    opened = student.tokenizer.render([Message("user", "?")], open_reply=True)
    encodings = student.tokenizer.encode([opened, *(opened + score for score in SCORES)])
    head, *whole = (encoding.ids.tolist() for encoding in encodings)
    tails = [ids[len(head) :] for ids in whole]
    leads = {tuple(tail[:-1]) for tail in tails}
    choices = [tail[-1] for tail in tails if tail]
    is_clean = all(ids[: len(head)] == head for ids in whole) and len(leads) == 1
    if not is_clean or len(set(choices)) != len(SCORES):
        raise ModelError(
            f"{student.name}: its tokenizer does not write the numbers 1 to 5 as one token each at "
            "the start of a reply, so self_rating cannot read its ratings. Use another student."
        )
    return np.array(leads.pop(), dtype=np.int32), choices
