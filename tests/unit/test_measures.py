"""Lengths and embeddings of rows; the likelihood measures are in `reference/test_likelihood.py`."""

import numpy as np
import polars as pl
import pytest

from treadle import models
from treadle import op as registry
from treadle.context import Context
from treadle.data.row import Message, Row, to_frame
from treadle.data.template import tokenise
from treadle.errors import ModelError
from treadle.measure.embedding import embedding
from treadle.measure.ifd import ifd
from treadle.measure.length import length
from treadle.measure.token_logprobs import token_logprobs

ROWS = [
    Row("chat", (Message("user", "2+2?"), Message("assistant", "It is 4.", trains=True))),
    Row("chat", (Message("user", "Hello there"), Message("assistant", "unscored"))),
    Row(
        "chat",
        (
            Message("user", "One?"),
            Message("assistant", "one", trains=True),
            Message("user", "Two?"),
            Message("assistant", "two words", trains=True),
        ),
    ),
    Row("preference", (Message("user", "Pick"),), chosen="good choice", rejected="bad"),
    Row("answer", (Message("user", "6*7?"),), answer="42"),
    Row("chat", (Message("user", ""), Message("assistant", "", trains=True))),
    Row("chat", ()),
]


def context() -> Context:
    student, embedder = models.load("scripted"), models.load_embedder("hashed")
    return Context(models={"student": student, "embedder": embedder})


def by_row(frame: pl.DataFrame) -> list[dict[str, object]]:
    """Records in the order of ROWS."""
    ids = to_frame(ROWS)["id"].to_list()
    return [frame.row(ids.index(row.id), named=True) for row in ROWS]


def test_length_counts_the_tokens_that_training_sees() -> None:
    world = context()
    found = by_row(length()(to_frame(ROWS), world))
    tokens = tokenise(ROWS, world.model("student").tokenizer, max_tokens=1024)
    for record, row in zip(found, tokens, strict=True):
        assert record["length"] == (int(row.trains[row.reply_from :].sum()) or None)
        assert record["length_total"] == (len(row.ids) if row.trains.any() else None)
    assert [record["length_words"] for record in found] == [3, None, 2, 2, 1, 0, None]


def test_the_length_of_a_two_turn_row_is_that_of_its_last_reply() -> None:
    record = by_row(length()(to_frame(ROWS), context()))[2]
    assert record["length"] == len("two words") + 1, "bytes of the reply and its stop token"


def test_length_is_cut_where_training_cuts() -> None:
    found = by_row(length(max_tokens=12)(to_frame(ROWS), context()))
    assert [record["length_total"] for record in found] == [12, None, 12, 12, 10, 4, None]
    assert [record["length"] for record in found][:2] == [5, None], "missing is not zero"


def test_an_embedding_reads_the_row_or_its_prompt_alone() -> None:
    world = context()
    embedder = world.model("embedder")
    whole = by_row(embedding()(to_frame(ROWS), world))
    prompts = by_row(embedding(of="prompt")(to_frame(ROWS), world))
    np.testing.assert_array_equal(whole[0]["embedding"], embedder.embed([ROWS[0].text])[0])
    np.testing.assert_array_equal(prompts[0]["embedding"], embedder.embed(["2+2?"])[0])
    np.testing.assert_array_equal(prompts[2]["embedding"], embedder.embed(["One?\none\nTwo?"])[0])


def test_a_row_without_text_has_no_vector() -> None:
    found = embedding()(to_frame(ROWS), context())
    assert found.schema["embedding"] == pl.Array(pl.Float32, 256)
    assert [record["embedding"] is None for record in by_row(found)] == [False] * 5 + [True] * 2


@pytest.mark.parametrize("name", ["length", "embedding", "token_logprobs"])
def test_an_empty_batch_gives_an_empty_frame_of_the_same_columns(name: str) -> None:
    run = registry.get("measure", name).bind().make()
    full, none = run(to_frame(ROWS), context()), run(to_frame([]), context())
    assert none.height == 0
    assert none.schema == full.schema


def test_a_measure_without_its_model_says_which_is_missing() -> None:
    with pytest.raises(ModelError, match="needs a model as student"):
        token_logprobs()(to_frame(ROWS), Context())


def test_both_passes_go_to_the_student_in_one_call() -> None:
    inner = models.load("scripted")
    calls: list[int] = []

    class Counting:
        tokenizer, max_tokens = inner.tokenizer, inner.max_tokens

        def score(self, sequences, *, tick):
            calls.append(len(sequences))
            return inner.score(sequences, tick=tick)

    rows = [
        Row("chat", (Message("user", f"Question {i}"), Message("assistant", "Same.", trains=True)))
        for i in range(6)
    ]
    token_logprobs()(to_frame(rows), Context(models={"student": Counting()}))
    assert calls == [6 + 1], "six rows, and their one reply once"


def test_ifd_variants_divide_losses_or_exponentiate_their_difference() -> None:
    frame = pl.DataFrame(
        {
            "token_logprobs": [[-9.0, -1.0, -2.0, -3.0], [-1.0, -1.0], None, [0.0, 0.0, 0.0]],
            "token_logprobs_direct": [[-2.0, -4.0, -6.0], [-2.0, -2.0], None, [0.0, 0.0, 0.0]],
            "token_logprobs_last": [3, 2, None, 3],
        },
        schema_overrides={"token_logprobs_last": pl.Int32},
    )
    ratio = ifd()(frame, Context())["ifd"].to_list()
    assert ratio == [2.0 / 4.0, None, None, None], "too short, silent, and nothing to divide by"
    powers = ifd(variant="perplexity_ratio", min_tokens=2)(frame, Context())["ifd"].to_list()
    assert powers[0] == pytest.approx(np.exp(-2.0))
    assert powers[1] == pytest.approx(np.exp(-1.0))


def test_ifd_without_a_header_drops_the_first_token_from_both_means_or_from_one() -> None:
    frame = pl.DataFrame(
        {
            "token_logprobs": [[-1.0, -2.0, -6.0]],
            "token_logprobs_direct": [[None, -2.0, -8.0]],
            "token_logprobs_last": [3],
        }
    )
    assert ifd()(frame, Context())["ifd"].to_list() == [4.0 / 5.0]
    assert ifd(tokens="compatible")(frame, Context())["ifd"].to_list() == [3.0 / 5.0]
