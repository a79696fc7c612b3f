"""Pooled hidden states against the published loop at batch size 1, where it is right."""

from collections.abc import Sequence

import numpy as np
import polars as pl
import pytest

from reference.test_likelihood import chat, embedded, made_up, tiny
from treadle import models
from treadle.context import Context
from treadle.data.row import Message, Row, from_frame, to_frame
from treadle.data.template import tokenise
from treadle.measure.hidden_state import hidden_state

torch = pytest.importorskip("torch")
hidden = pytest.importorskip("treadle.models.hidden")


def measured(rows: Sequence[Row], student) -> np.ndarray:
    """Vectors of the rows, in the order of `to_frame`."""
    found = hidden_state()(to_frame(rows), Context(models={"student": student}))
    return found["hidden_state"].to_numpy()


def ids_of(rows: Sequence[Row], student) -> list[np.ndarray]:
    ordered = from_frame(to_frame(rows))
    return [t.ids for t in tokenise(ordered, student.tokenizer, max_tokens=1024)]


@torch.inference_mode()
def slow(rows: Sequence[Row], student) -> np.ndarray:
    """One row at a time, every layer kept, the head run, weights in Python."""
    vectors = []
    for ids in ids_of(rows, student):
        tokens = torch.from_numpy(ids.astype(np.int64))[None]
        states = student.model(input_ids=tokens, output_hidden_states=True).hidden_states[-1][0]
        total = sum(range(1, len(ids) + 1))
        mean = sum((i + 1) / total * state.double() for i, state in enumerate(states))
        vectors.append((mean / mean.norm()).numpy())
    return np.array(vectors)


@pytest.mark.parametrize("kind", ["llama", "gpt2", "gemma2"])
def test_vectors_equal_the_loop_over_single_rows(kind: str) -> None:
    rows, student = made_up(40), tiny(kind)
    ours, theirs = measured(rows, student), slow(rows, student)
    np.testing.assert_allclose(np.linalg.norm(ours, axis=1), 1, atol=1e-6)
    assert (ours * theirs).sum(axis=1).min() >= 0.99999
    np.testing.assert_allclose(ours, theirs, atol=2e-5)


def test_weights_grow_with_the_position() -> None:
    student = tiny()
    ids = ids_of([chat("Why?", "Because it rained.")], student)[0]
    even = student.model.get_decoder()(torch.from_numpy(ids.astype(np.int64))[None])[0][0].mean(0)
    ours = student.hidden([ids])[0]
    assert np.abs(ours - even.numpy()).max() > 0.01, "not the plain mean"


@pytest.mark.parametrize("budget", [1, 200, 10**6])
def test_padding_and_neighbours_do_not_change_a_vector(budget: int) -> None:
    student = tiny()
    sequences = ids_of(made_up(30), student)
    together = hidden.pooled(student.model, sequences, pad_id=7, budget=budget, tick=lambda: None)
    for ids, vector in zip(sequences, together, strict=True):
        np.testing.assert_allclose(student.hidden([ids])[0], vector, atol=2e-5)


@pytest.mark.parametrize("name", ["tiny", "scripted"])
def test_the_order_of_the_rows_does_not_change_a_single_bit(name: str) -> None:
    student = tiny() if name == "tiny" else models.load(name)
    sequences = ids_of(made_up(40), student)
    order = np.random.default_rng(1).permutation(len(sequences))
    straight, mixed = student.hidden(sequences), student.hidden([sequences[i] for i in order])
    assert mixed.tobytes() == straight[order].tobytes()


def test_a_sequence_without_tokens_has_no_state() -> None:
    for student in (tiny(), models.load("scripted")):
        empty = np.empty(0, np.int32)
        found = student.hidden([empty, np.array([5, 6], np.int32), empty])
        assert np.isnan(found).all(axis=1).tolist() == [True, False, True]
        assert student.hidden([]).shape == (0, found.shape[1])


def test_the_scripted_student_shows_what_it_predicts_after_each_token() -> None:
    student = models.load("scripted")
    ids = ids_of([chat("2+2?", "It is 4.")], student)[0]
    total = len(ids) * (len(ids) + 1) / 2
    expected = sum(
        i / total * np.sqrt(student.predict(ids, np.array([i]))[0]) for i in range(1, len(ids) + 1)
    )
    np.testing.assert_allclose(student.hidden([ids])[0], expected, rtol=1e-5)


def test_a_row_without_text_has_no_vector_and_an_empty_batch_the_same_column() -> None:
    context = Context(models={"student": models.load("scripted")})
    silent = [
        Row("chat", (Message("user", " "), Message("assistant", "", trains=True))),
        Row("chat", ()),
    ]
    rows = [*silent, chat("Hello", "there")]
    found = hidden_state()(to_frame(rows), context)
    none = hidden_state()(to_frame([]), context)
    assert found["hidden_state"].null_count() == 2
    assert none.height == 0
    assert none.schema == found.schema == {"hidden_state": pl.Array(pl.Float32, 261)}


@pytest.mark.slow
def test_vectors_of_the_embedded_model_equal_the_loop() -> None:
    rows, student = made_up(8), embedded("fp32")
    ours, theirs = measured(rows, student), slow(rows, student)
    assert (ours * theirs).sum(axis=1).min() >= 0.99999
