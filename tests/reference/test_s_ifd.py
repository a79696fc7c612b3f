"""Selective IFD: token gains from one noised pass at a time, and the identities that they obey."""

import json
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from reference.test_likelihood import chat, embedded, made_up, tiny
from treadle import models
from treadle.context import Context
from treadle.data.randomness import derived_rng
from treadle.data.row import Message, Row, from_frame, to_frame
from treadle.data.template import tokenise
from treadle.errors import ModelError
from treadle.measure.ifd import ifd
from treadle.measure.s_ifd import s_ifd, token_threshold
from treadle.measure.token_logprobs import token_logprobs

torch = pytest.importorskip("torch")
likelihood = pytest.importorskip("treadle.models.likelihood")


def prepared(rows: Sequence[Row], student) -> tuple[pl.DataFrame, Context]:
    world = Context(models={"student": student})
    frame = to_frame(rows)
    return pl.concat([frame, token_logprobs()(frame, world)], how="horizontal"), world


def measured(rows: Sequence[Row], student, **options) -> pl.DataFrame:
    frame, world = prepared(rows, student)
    asked = {"share": 0.5, **options}
    world = replace(world, fitted=token_threshold(frame, asked, world))
    return s_ifd(**options)(frame, world)


def clean_gains(frame: pl.DataFrame) -> list[np.ndarray]:
    """Of each row, token by token, by hand."""
    found = []
    for given, direct, last in frame.select(
        "token_logprobs", "token_logprobs_direct", "token_logprobs_last"
    ).iter_rows():
        pairs = zip(given[len(given) - last :], direct, strict=True)
        found.append(np.array([a - b for a, b in pairs if b is not None]))
    return found


@torch.inference_mode()
def slow_logprobs(student, ids: np.ndarray, noise: np.ndarray, count: int) -> np.ndarray:
    """Log-probabilities of the last `count` tokens of one sequence under noise."""
    tokens = torch.from_numpy(ids.astype(np.int64))
    inputs = student.model.get_input_embeddings()(tokens) + torch.from_numpy(noise)
    logits = student.model(inputs_embeds=inputs[None]).logits[0].double()
    chances = torch.log_softmax(logits, dim=-1)
    return np.array([chances[i - 1, tokens[i]].item() for i in range(len(ids) - count, len(ids))])


def slow(rows: Sequence[Row], student, samples: int, alpha: float, threshold: float) -> list:
    records = []
    for row in from_frame(to_frame(rows)):
        tokens = tokenise([row], student.tokenizer, max_tokens=1024)[0]
        count, width = len(tokens.reply), student.width
        end = tokens.reply_from + count
        begin = tokens.reply_from - len(tokens.header)
        values = []
        for sample in range(samples):
            drawn = derived_rng("s_ifd", row.id, sample).random(
                (len(tokens.ids), width), dtype=np.float32
            )
            noise = (2 * drawn - 1) * np.float32(alpha / np.sqrt(len(tokens.ids) * width))
            given = slow_logprobs(student, tokens.ids[:end], noise[:end], count)
            alone = np.concatenate([tokens.header, tokens.reply])
            direct = slow_logprobs(student, alone, noise[begin:end], count)
            counted = [d for d in given - direct if abs(d) > threshold]
            values += [np.exp(-np.mean(counted))] if counted else []
        records.append((np.mean(values), np.std(values)) if values else (None, None))
    return records


@pytest.mark.parametrize("kind", ["llama", "gpt2", "gemma2"])
def test_noised_values_equal_one_pass_at_a_time(kind: str) -> None:
    rows, student = made_up(9), tiny(kind)
    frame, world = prepared(rows, student)
    threshold = json.loads(token_threshold(frame, {"share": 0.5}, world))
    ours = measured(rows, student, samples=3, alpha=50.0)
    theirs = slow(rows, student, 3, 50.0, threshold)
    for (value, spread), (expected, expected_spread) in zip(ours.iter_rows(), theirs, strict=True):
        assert value == pytest.approx(expected, rel=1e-3)
        assert spread == pytest.approx(expected_spread, rel=1e-2, abs=1e-3)
    assert ours["s_ifd_std"].min() > 0.001, "the noise is felt"


def test_without_noise_every_neighbour_is_the_row_itself() -> None:
    rows = made_up(9)
    plain = measured(rows, tiny(), samples=0)
    still = measured(rows, tiny(), samples=2, alpha=0.0)
    np.testing.assert_allclose(plain["s_ifd"], still["s_ifd"], rtol=1e-3)
    assert still["s_ifd_std"].max() < 1e-4
    assert plain["s_ifd_std"].null_count() == plain.height


def test_over_all_tokens_it_is_the_ratio_of_perplexities() -> None:
    rows, student = made_up(20), tiny()
    frame, world = prepared(rows, student)
    ratio = ifd(variant="perplexity_ratio")(frame, world)["ifd"]
    found = measured(rows, student, samples=0, share=1.0)["s_ifd"]
    np.testing.assert_allclose(found, ratio, rtol=1e-6)


def test_gains_sum_to_the_difference_of_the_losses() -> None:
    frame, _ = prepared(made_up(20), tiny())
    for gains, row in zip(clean_gains(frame), frame.iter_rows(named=True), strict=True):
        last = row["token_logprobs_last"]
        given = -np.mean(row["token_logprobs"][-last:])
        alone = -np.mean(row["token_logprobs_direct"])
        assert gains.sum() == pytest.approx(last * (alone - given), abs=1e-4)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_the_threshold_lets_the_share_of_the_pool_s_tokens_through(share: float) -> None:
    frame, world = prepared(made_up(20), tiny())
    threshold = json.loads(token_threshold(frame, {"share": share}, world))
    sizes = np.abs(np.concatenate(clean_gains(frame)))
    assert threshold == pytest.approx(np.percentile(sizes, 100 * (1 - share)))
    assert (sizes > threshold).mean() == pytest.approx(share, abs=0.01)
    values = s_ifd(samples=0)(frame, replace(world, fitted=json.dumps(threshold).encode()))
    for gains, value in zip(clean_gains(frame), values["s_ifd"], strict=True):
        counted = gains[np.abs(gains) > threshold]
        assert value == (pytest.approx(np.exp(-counted.mean())) if len(counted) else None)


def test_tokens_without_any_gain_do_not_count_where_most_have_none() -> None:
    frame, world = prepared(made_up(20), models.load("scripted"))
    assert json.loads(token_threshold(frame, {"share": 0.9}, world)) == 0.0
    values = s_ifd(samples=0)(frame, replace(world, fitted=b"0.0"))["s_ifd"]
    for gains, value in zip(clean_gains(frame), values, strict=True):
        moved = gains[gains != 0]
        assert value == (pytest.approx(np.exp(-moved.mean())) if len(moved) else None)


def test_a_row_without_a_token_that_counts_is_unscored() -> None:
    frame, world = prepared(made_up(6), models.load("scripted"))
    found = s_ifd(samples=0)(frame, replace(world, fitted=b"1000.0"))
    assert found.null_count().row(0) == (6, 6)


def test_the_tokens_that_have_no_prediction_alone_are_left_out() -> None:
    student = tiny(template="{% for m in messages %}{{ m['content'] }}{% endfor %}")
    rows = [chat(f"{row.messages[0].content}\n", row.reply) for row in made_up(9)[:6]]
    found = measured(rows, student, samples=1, alpha=0.0, share=1.0)
    frame, _ = prepared(rows, student)
    expected = [np.exp(-gains.mean()) for gains in clean_gains(frame)]
    np.testing.assert_allclose(found["s_ifd"], expected, rtol=1e-3)


def test_noise_has_the_published_size_and_differs_between_rows_and_samples() -> None:
    from treadle.measure.s_ifd import _noise

    one = _noise(40, 32, 5.0, "a", 0)
    limit = 5 / np.sqrt(40 * 32)
    assert one.shape == (40, 32)
    assert 0.99 * limit < np.abs(one).max() <= limit
    assert abs(one.mean()) < 0.05 * limit
    for other in (_noise(40, 32, 5.0, "a", 1), _noise(40, 32, 5.0, "b", 0)):
        assert abs(np.corrcoef(one.ravel(), other.ravel())[0, 1]) < 0.1


def test_a_row_s_bits_do_not_depend_on_the_others() -> None:
    frame, world = prepared(made_up(9), tiny())
    world = replace(world, fitted=b"0.5")
    together = s_ifd(samples=2)(frame, world)
    for i in range(frame.height):
        assert s_ifd(samples=2)(frame[i], world).equals(together[i])


def test_noise_is_for_one_sequence_of_many_alike() -> None:
    """Equal sequences with different noise are not one and the same."""
    student = tiny()
    tokens = tokenise([chat("Why?", "Because.")], student.tokenizer, max_tokens=99)[0]
    asked = likelihood.Scorable(tokens.ids, tokens.trains)
    none, some = np.zeros((len(tokens.ids), 32), np.float32), np.ones((len(tokens.ids), 32))
    found = student.score_noised([asked, asked], [none, some.astype(np.float32)])
    plain = student.score([asked])[0].logprobs
    np.testing.assert_allclose(found[0].logprobs, plain, atol=2e-5)
    assert np.abs(found[1].logprobs - plain).max() > 0.01


def test_a_student_without_embeddings_says_who_can() -> None:
    rows, student = made_up(4), models.load("scripted")
    with pytest.raises(
        ModelError, match=r"no embeddings that noise could be added to\. Use `proxy`"
    ):
        measured(rows, student, samples=1)
    assert measured(rows, student, samples=0)["s_ifd"].null_count() == 0


def test_silent_and_short_rows_are_unscored() -> None:
    silent = Row("chat", (Message("user", "hello"), Message("assistant", "unscored")))
    rows = [silent, chat("Why?", "x"), chat("Why?", "Because it rained.")]
    frame = to_frame(rows)
    for samples in (0, 1):
        found = measured(rows, tiny(), samples=samples)
        by_id = dict(zip(frame["id"], found["s_ifd"], strict=True))
        assert [by_id[row.id] is None for row in rows] == [True, True, False]


@pytest.mark.slow
def test_values_of_the_embedded_model_equal_one_pass_at_a_time() -> None:
    rows, student = made_up(6)[:4], embedded("fp32")
    frame, world = prepared(rows, student)
    threshold = json.loads(token_threshold(frame, {"share": 1.0}, world))
    ours = measured(rows, student, samples=2, share=1.0)
    for (value, _), (expected, _) in zip(
        ours.iter_rows(), slow(rows, student, 2, 5.0, threshold), strict=True
    ):
        assert value == pytest.approx(expected, rel=1e-3)
