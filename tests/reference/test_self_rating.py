"""Self-rating: the arithmetic from made-up logits, the chances from one prompt at a time."""

import math

import numpy as np
import pytest

from reference.test_likelihood import HFTokenizer, chat, embedded, made_up, slow_tokens, tiny
from treadle import models
from treadle.context import Context
from treadle.data.row import Message, Row, from_frame, to_frame
from treadle.errors import ModelError
from treadle.measure.self_rating import (
    CLOSING,
    PROMPTS,
    prompt_scores,
    self_rating,
    sentence_scores,
)

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
tokenizers = pytest.importorskip("tokenizers")
local = pytest.importorskip("treadle.models.local")


def published(logits: list[list[float]], numbers: list[int], alpha: float, second: bool) -> float:
    """One row's rating, in Python: `logits` holds one vocabulary for each prompt."""
    token_scores = []
    for vocabulary in logits:
        total = sum(math.exp(x) for x in vocabulary)
        p = [math.exp(vocabulary[i]) / total for i in numbers]
        q = [x / sum(p) for x in p]
        if second:
            q = [math.exp(x) / sum(math.exp(y) for y in q) for x in q]
        best = q.index(max(q))
        lead = sum(q[best] - x for x in q) / (len(numbers) - 1)
        token_scores.append((best + 1) * lead)
    mean = sum(token_scores) / len(token_scores)
    variance = sum((score - mean) ** 2 for score in token_scores) / len(token_scores)
    return mean / (1 + alpha * math.sqrt(variance))


def rated(logprobs: np.ndarray, alpha: float = 0.2, second_softmax: bool = False) -> np.ndarray:
    return sentence_scores(prompt_scores(logprobs, second_softmax=second_softmax), alpha=alpha)[0]


@pytest.mark.parametrize("second", [False, True])
@pytest.mark.parametrize("prompts", [1, 3, 5])
def test_a_rating_follows_from_the_logits(second: bool, prompts: int) -> None:
    """Three prompts of five numbers: the published code is right only where the two are equal."""
    logits = np.random.default_rng(2).normal(0, 3, (20, prompts, 30))
    numbers = [4, 9, 11, 20, 29]
    logprobs = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
    ours = rated(logprobs[:, :, numbers], 0.2, second)
    theirs = [published(row.tolist(), numbers, 0.2, second) for row in logits]
    np.testing.assert_allclose(ours, theirs, rtol=1e-9)


def test_ratings_span_0_to_5_and_a_second_softmax_squeezes_them() -> None:
    certain = np.full((1, 5, 5), -1e4)
    certain[:, :, 4] = 0
    assert rated(certain)[0] == 5
    assert rated(certain, second_softmax=True)[0] == pytest.approx(1.279, abs=5e-4)
    assert rated(np.full((1, 5, 5), -9.0))[0] == 0
    assert rated(np.full((1, 5, 5), -1e5))[0] == 0, "chances too small for a float"


def test_wavering_between_prompts_costs() -> None:
    steady, wavering = np.full((2, 5), 3.0), np.array([[1.0, 5, 3, 1, 5]] * 2)
    assert sentence_scores(steady, alpha=0.2)[0][0] == 3
    assert sentence_scores(wavering, alpha=0.2)[0][0] < 3
    assert sentence_scores(wavering, alpha=0)[0][0] == 3


@pytest.mark.parametrize("kind", ["llama", "gemma2"])
def test_next_token_chances_equal_one_prompt_at_a_time(kind: str) -> None:
    student = tiny(kind)
    texts = [row.text for row in made_up(25)]
    prompts = [encoding.ids for encoding in student.tokenizer.encode([*texts, texts[0]])]
    choices = [ord("1"), ord("5"), 7]
    found = student.next_logprobs(prompts, choices)
    for ids, row in zip(prompts, found, strict=True):
        for choice, ours in zip(choices, row, strict=True):
            longer = np.append(ids, np.int32(choice))
            assert ours == pytest.approx(slow_tokens(student, longer, [len(ids)])[0][0], abs=1e-4)
    assert student.next_logprobs([], choices).shape == (0, 3)


def test_the_scripted_student_gives_the_chances_that_it_scores_with() -> None:
    student = models.load("scripted")
    ids = student.tokenizer.encode(["2+2 is 4, and 3+3 is "])[0].ids
    found = student.next_logprobs([ids], [ord("6"), ord("x")])
    likely = student.predict(ids, np.array([len(ids)]))[0]
    np.testing.assert_allclose(found[0], np.log(likely[[ord("6"), ord("x")]]), rtol=1e-6)


def slow(row: Row, student, second: bool) -> float:
    """A row's rating by one forward pass a prompt, read off the whole vocabulary."""
    logits = []
    for prompt in PROMPTS:
        text = (
            f"{prompt}\n\nInstruction:\n{row.prompt[0].content}\n\nResponse:\n{row.reply}\n\n"
            f"{CLOSING}"
        )
        opened = student.tokenizer.render([Message("user", text)], open_reply=True)
        ids = torch.from_numpy(student.tokenizer.encode([opened])[0].ids.astype(np.int64))
        with torch.inference_mode():
            logits.append(student.model(input_ids=ids[None]).logits[0, -1].double().tolist())
    numbers = [int(student.tokenizer.encode([str(n)])[0].ids[-1]) for n in range(1, 6)]
    return published(logits, numbers, 0.2, second)


@pytest.mark.parametrize("second", [False, True])
def test_the_measure_equals_one_prompt_at_a_time(second: bool) -> None:
    rows, student = made_up(9)[:6], tiny()
    frame = to_frame(rows)
    context = Context(models={"student": student})
    found = self_rating(second_softmax=second)(frame, context)
    theirs = [slow(row, student, second) for row in from_frame(frame)]
    np.testing.assert_allclose(found["self_rating"], theirs, atol=1e-4)
    assert found["self_rating_std"].null_count() == 0


def test_a_row_without_a_reply_or_too_long_is_unscored() -> None:
    rows = [
        chat("Why?", "Because."),
        chat("Why?", " "),
        Row("chat", (Message("user", "hello"), Message("assistant", "silent"))),
        chat("Why?", "word " * 400),
    ]
    frame = to_frame(rows)
    context = Context(models={"student": models.load("scripted")})
    found = self_rating(window=1000)(frame, context).with_columns(frame["id"])
    by_id = dict(zip(found["id"], found["self_rating"], strict=True))
    assert [by_id[row.id] is None for row in rows] == [False, True, True, True]
    assert self_rating()(to_frame([]), context).schema == found.drop("id").schema


def test_a_tokenizer_without_numbers_is_refused() -> None:
    backend = tokenizers.Tokenizer(
        tokenizers.models.WordLevel({"<unk>": 0, "</s>": 1}, unk_token="<unk>")
    )
    plain = transformers.PreTrainedTokenizerFast(
        tokenizer_object=backend, eos_token="</s>", unk_token="<unk>"
    )
    plain.chat_template = "{% for m in messages %}{{ m['content'] }}</s>{% endfor %}"
    wordy = HFTokenizer(plain, name="wordy")
    student = local.LocalStudent("wordy", tiny().model, wordy, weights_hash="wordy")
    with pytest.raises(ModelError, match="wordy: its tokenizer does not write the numbers 1 to 5"):
        self_rating()(to_frame([chat("a", "b")]), Context(models={"student": student}))


@pytest.mark.slow
def test_ratings_of_the_embedded_model_equal_one_prompt_at_a_time() -> None:
    rows, student = made_up(9)[:4], embedded("fp32")
    frame = to_frame(rows)
    found = self_rating()(frame, Context(models={"student": student}))
    theirs = [slow(row, student, False) for row in from_frame(frame)]
    np.testing.assert_allclose(found["self_rating"], theirs, atol=2e-4)
