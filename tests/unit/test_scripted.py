"""The scripted student is a real probability model, reversible, order-free and trainable."""

import json
import math
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from treadle.context import Context
from treadle.data.row import Message, Row, to_frame
from treadle.data.template import tokenise
from treadle.errors import BudgetError, DataError, ModelError, RecipeError
from treadle.models import scripted
from treadle.models.ngrams import NOTHING, ORDERS, STRENGTHS, UNIT, VOCABULARY
from treadle.models.protocol import Scorable
from treadle.train.lessons import lessons, schedule
from treadle.train.ngram import ngram


def chat(question: str, answer: str) -> Row:
    return Row("chat", (Message("user", question), Message("assistant", answer, trains=True)))


def rows_about_rivers(count: int = 12) -> list[Row]:
    return [
        chat(f"Where does river number {i} end?", f"River number {i} ends in the great salt lake.")
        for i in range(count)
    ]


def scored(student: scripted.ScriptedStudent, row: Row) -> np.ndarray:
    tokens = tokenise([row], student.tokenizer, max_tokens=4096)[0]
    return student.score([Scorable(tokens.ids, tokens.trains)])[0].logprobs


def train(rows, folder: Path, seed: int = 0, student=None, **options):
    student = student or scripted.load()
    figures = ngram(**options)(to_frame(rows), student, seed, folder, Context())
    return student.tuned(folder), figures


@given(st.text())
def test_any_text_survives_encoding_and_decoding(text):
    tokenizer = scripted.load().tokenizer
    encoding = tokenizer.encode([text])[0]
    assert tokenizer.decode(encoding.ids.tolist()) == text
    assert len(encoding.starts) == len(encoding.ids)


def test_a_token_starts_where_its_character_starts():
    encoding = scripted.load().tokenizer.encode(["é<|end|>x"])[0]
    assert encoding.ids.tolist() == [0xC3, 0xA9, scripted.STOP, ord("x")]
    assert encoding.starts.tolist() == [0, 0, 1, 8]


def test_loss_lies_on_the_reply_and_its_stop_token_only():
    tokenizer = scripted.load().tokenizer
    row = Row(
        "chat",
        (
            Message("user", "a"),
            Message("assistant", "bc", trains=True),
            Message("user", "d"),
            Message("assistant", "e", trains=False),
            Message("user", "f"),
            Message("assistant", "g", trains=True),
        ),
    )
    tokens = tokenise([row], tokenizer, max_tokens=100)[0]
    assert tokenizer.decode(tokens.ids[tokens.trains].tolist()) == "bc<|end|>g<|end|>"
    assert tokenizer.decode(tokens.header.tolist()) == "<|assistant|>"


def test_a_stop_token_written_in_a_row_cannot_end_its_turn():
    tokenizer = scripted.load().tokenizer
    row = chat("q", "one<|end|>two")
    tokens = tokenise([row], tokenizer, max_tokens=100)[0]
    assert np.flatnonzero(tokens.ids == scripted.STOP).tolist() == [
        len("q") + 1,
        len(tokens.ids) - 1,
    ]


def test_every_prediction_is_a_probability_distribution():
    student = scripted.load()
    ids = student.tokenizer.encode(["<|user|>the sea, the sea<|end|><|assistant|>the"])[0].ids
    likely = student.predict(ids, np.arange(1, len(ids) + 1))
    assert likely.shape == (len(ids), VOCABULARY)
    assert (likely > 0).all()
    np.testing.assert_allclose(likely.sum(axis=1), 1.0, atol=1e-12)


def slow_probability(seen: list[int], ids: list[int], at: int, token: int) -> float:
    """The model in words: mix the orders of the corpus, then the cache of earlier turns."""
    probability = 1 / VOCABULARY
    for order, strength in zip(ORDERS, STRENGTHS, strict=True):
        padded = [NOTHING] * order + seen
        follow = Counter(
            padded[i]
            for i in range(order, len(padded))
            if padded[i - order : i] == _before(ids, at, order)
        )
        probability = (follow[token] + strength * probability) / (follow.total() + strength)
    turn = max((i for i in range(at) if ids[i] >= 256), default=0)
    cache = Counter(ids[i] for i in range(4, turn) if ids[i - 4 : i] == ids[at - 4 : at])
    weight = scripted.CACHE_STRENGTH
    return (cache[token] + weight * probability) / (cache.total() + weight)


def _before(ids: list[int], at: int, order: int) -> list[int]:
    return ([NOTHING] * order + ids)[at : at + order]


def test_log_probabilities_equal_a_slow_count_in_plain_python():
    student = scripted.load()
    seen = student.tokenizer.encode([scripted.CORPUS])[0].ids.tolist()
    text = (
        "<|user|>Is the sea the sea and the seat?<|end|><|assistant|>The sea is é the sea.<|end|>"
    )
    ids = student.tokenizer.encode([text])[0].ids
    got = student.score([Scorable(ids, np.ones(len(ids), bool))])[0]
    assert math.isnan(got.logprobs[0])
    assert math.isnan(got.entropies[0])
    for at in range(1, len(ids)):
        likely = [
            slow_probability(seen, ids.tolist(), at, v) for v in (int(ids[at]), 65, 300 % 261)
        ]
        assert got.logprobs[at] == pytest.approx(math.log(likely[0]), rel=1e-6)
    at = len(ids) - 3
    spread = [slow_probability(seen, ids.tolist(), at, v) for v in range(VOCABULARY)]
    entropy = -sum(p * math.log(p) for p in spread)
    assert got.entropies[at] == pytest.approx(entropy, rel=1e-6)


def test_scores_do_not_depend_on_the_batch_by_a_single_bit():
    student = scripted.load()
    rows = [*rows_about_rivers(), chat("x" * 900, "y" * 700), chat("?", "!")]
    tokens = tokenise(rows, student.tokenizer, max_tokens=4096)
    together = student.score([Scorable(t.ids, t.trains) for t in tokens])
    for scores, t in zip(reversed(together), reversed(tokens), strict=True):
        alone = student.score([Scorable(t.ids, t.trains)])[0]
        assert scores.logprobs.tobytes() == alone.logprobs.tobytes()
        assert scores.entropies.tobytes() == alone.entropies.tobytes()


def test_one_wanted_position_scores_as_it_does_among_many():
    student = scripted.load()
    ids = student.tokenizer.encode(["<|user|>to be or not to be<|end|>"])[0].ids
    every = student.score([Scorable(ids, np.ones(len(ids), bool))])[0]
    for at in range(1, len(ids)):
        wanted = np.zeros(len(ids), bool)
        wanted[at] = True
        one = student.score([Scorable(ids, wanted)])[0]
        assert one.logprobs[0] == every.logprobs[at]


def test_a_reply_that_takes_up_its_prompt_is_easier_with_it():
    student = scripted.load()
    matched = chat("Tell me about the zebra finch.", "The zebra finch is a bird.")
    alone = tokenise([matched], student.tokenizer, max_tokens=4096)[0]
    unconditional = np.concatenate([alone.header, alone.reply])
    wanted = np.arange(len(unconditional)) > 0
    without = student.score([Scorable(unconditional, wanted)])[0].logprobs.mean()
    assert scored(student, matched).mean() > without
    mismatched = chat("Explain inflation quickly.", "The zebra finch is a bird.")
    assert scored(student, matched).mean() > scored(student, mismatched).mean()


def test_greedy_generation_takes_the_most_likely_byte_and_stops_by_itself(tmp_path):
    student, _ = train(rows_about_rivers(), tmp_path)
    question = rows_about_rivers()[3].messages[0]
    reply = student.generate([[question]], max_new_tokens=60)[0]
    assert reply.has_stopped
    text = student.tokenizer.render([question], open_reply=True) + reply.text + "<|end|>"
    ids = student.tokenizer.encode([text])[0].ids
    assert reply.tokens == len(reply.text.encode()) + 1
    for at in range(len(ids) - reply.tokens, len(ids)):
        likely = student.predict(ids[:at], np.array([at]))[0]
        assert ids[at] == likely[: scripted.STOP + 1].argmax()


def test_sampling_depends_on_seed_and_prompt_and_not_on_company():
    student = scripted.load()
    prompts = [[Message("user", f"Say {i}")] for i in range(4)]
    together = student.generate(prompts, max_new_tokens=20, temperature=1.0, seed=5)
    alone = [student.generate([p], max_new_tokens=20, temperature=1.0, seed=5)[0] for p in prompts]
    other = student.generate(prompts, max_new_tokens=20, temperature=1.0, seed=6)
    assert together == alone
    assert together != other
    assert len({reply.text for reply in together}) == 4


def test_a_reply_is_cut_at_the_limit_and_says_that_it_did_not_stop():
    reply = scripted.load().generate([[Message("user", "Hi")]], max_new_tokens=3)[0]
    assert (reply.tokens, reply.has_stopped) == (3, False)


def test_scripted_replies_are_given_word_for_word():
    student = scripted.load({"ping": "pong"})
    prompts = [[Message("user", "ping")], [Message("user", "other")]]
    first, second = student.generate(prompts, max_new_tokens=8)
    assert (first.text, first.tokens, first.has_stopped) == ("pong", 5, True)
    assert second.text != "pong"
    assert student.generate(prompts[:1], max_new_tokens=2)[0].text == "po"
    assert student.fingerprint != scripted.load().fingerprint


def test_the_fingerprint_is_stable_and_follows_the_counts(tmp_path):
    student = scripted.load()
    tuned, _ = train(rows_about_rivers(), tmp_path)
    assert student.fingerprint == scripted.load().fingerprint
    assert tuned.fingerprint == student.tuned(tmp_path).fingerprint
    assert tuned.fingerprint != student.fingerprint


def test_training_lowers_the_loss_of_unseen_rows_of_the_same_kind(tmp_path):
    rows = rows_about_rivers(30)
    unseen = chat("Where does river number 77 end?", "River number 77 ends in the great salt lake.")
    tuned, figures = train(rows, tmp_path, batch_size=4)
    assert scored(tuned, unseen).mean() > scored(scripted.load(), unseen).mean() + 0.5
    assert figures["steps"] == len(figures["losses"]) == 8
    assert figures["losses"][-1] < figures["losses"][0]
    tokens = tokenise(rows, scripted.load().tokenizer, max_tokens=4096)
    assert figures["tokens"] == sum(len(t.ids) for t in tokens)
    assert figures["trained_tokens"] == sum(int(t.trains.sum()) for t in tokens)


def test_training_counts_only_tokens_that_carry_loss(tmp_path):
    rows = [chat("zqzqzqzq", "yes")]
    tuned, _ = train(rows, tmp_path)
    question = tuned.tokenizer.encode(["zq"])[0].ids
    assert tuned.counts.predict(np.array([[32, 32, 32, 32, question[0]]]))[0, question[1]] < 0.01


def test_training_writes_the_same_bytes_for_the_same_rows_in_any_order(tmp_path):
    rows = rows_about_rivers()
    frame = to_frame(rows)
    figures = [
        ngram(batch_size=4)(order, scripted.load(), 3, tmp_path / name, Context())
        for name, order in {"a": frame, "b": frame.reverse()}.items()
    ]
    assert figures[0] == figures[1]
    train(rows, tmp_path / "c", seed=4)
    a, b, c = ((tmp_path / n / "counts.json").read_bytes() for n in "abc")
    assert a == b
    assert a != c
    assert [p.name for p in (tmp_path / "a").iterdir()] == ["counts.json"]


def test_a_training_seed_moves_a_row_by_a_tenth_at_most(tmp_path):
    before = scripted.load().counts.seen[0].sum()
    for seed in range(5):
        tuned, figures = train(rows_about_rivers(1), tmp_path / str(seed), seed=seed)
        added = int(tuned.counts.seen[0].sum() - before)
        assert 0.9 * UNIT <= added / figures["trained_tokens"] <= 1.1 * UNIT


def test_the_untrained_student_stays_as_it_was(tmp_path):
    student = scripted.load()
    before = scored(student, rows_about_rivers()[0]).tobytes()
    train(rows_about_rivers(), tmp_path, student=student)
    assert scored(student, rows_about_rivers()[0]).tobytes() == before


def test_a_budget_that_runs_out_stops_training_without_leaving_a_file(tmp_path):
    def tick() -> None:
        raise BudgetError("out of time")

    with pytest.raises(BudgetError):
        ngram()(
            to_frame(rows_about_rivers()), scripted.load(), 0, tmp_path / "f", Context(tick=tick)
        )
    assert not (tmp_path / "f").exists()


def test_rows_without_a_token_to_learn_are_named(tmp_path):
    bad = Row("chat", (Message("user", "q"), Message("assistant", "a", trains=False)))
    with pytest.raises(DataError, match=bad.id):
        train([*rows_about_rivers(2), bad], tmp_path)


def test_another_student_is_refused_with_the_method_to_use(tmp_path):
    class Other:
        name = "embedded"

    with pytest.raises(ModelError, match="method: sft"):
        ngram()(to_frame(rows_about_rivers(1)), Other(), 0, tmp_path, Context())


@pytest.mark.parametrize("text", ["", "{}", '{"format": "other"}', '{"format": "treadle-ngram-1"}'])
def test_a_folder_without_counts_is_refused(tmp_path, text):
    (tmp_path / "counts.json").write_text(text)
    with pytest.raises(ModelError, match="not the counts"):
        scripted.load().tuned(tmp_path)


def test_counts_are_plain_json(tmp_path):
    train(rows_about_rivers(), tmp_path)
    data = json.loads((tmp_path / "counts.json").read_text())
    assert [len(order["keys"]) == len(order["seen"]) for order in data["orders"]] == [True] * 5


@given(
    st.lists(st.integers(1, 500), min_size=1, max_size=80),
    st.integers(1, 9),
    st.integers(1, 3),
    st.integers(0, 2**31),
)
def test_an_epoch_shows_every_row_exactly_once(lengths, batch_size, epochs, seed):
    batches = schedule(lengths, batch_size=batch_size, epochs=epochs, steps=None, seed=seed)
    seen = Counter(i for batch in batches for i in batch)
    assert seen == dict.fromkeys(range(len(lengths)), epochs)
    assert max(len(batch) for batch in batches) <= batch_size


@given(st.integers(1, 40), st.integers(1, 50), st.integers(0, 99))
def test_steps_are_exactly_as_many_as_asked(rows, steps, seed):
    batches = schedule([5] * rows, batch_size=4, epochs=1, steps=steps, seed=seed)
    assert len(batches) == steps
    assert batches == schedule([5] * rows, batch_size=4, epochs=7, steps=steps, seed=seed)


def test_batches_hold_rows_of_similar_length():
    rng = np.random.default_rng(0)
    lengths = rng.integers(10, 1000, 256).tolist()
    batches = schedule(lengths, batch_size=8, epochs=1, steps=None, seed=0)
    padded = sum(len(b) * max(lengths[i] for i in b) for b in batches)
    assert padded < 1.1 * sum(lengths)
    assert batches != schedule(lengths, batch_size=8, epochs=1, steps=None, seed=1)


@pytest.mark.parametrize("option", [{"epochs": 0}, {"steps": 0}, {"batch_size": 0}])
def test_amounts_that_are_not_positive_are_refused(option):
    with pytest.raises(RecipeError, match=next(iter(option))):
        schedule([3], **{"batch_size": 1, "epochs": 1, "steps": None, "seed": 0, **option})


def test_an_empty_arm_is_refused():
    with pytest.raises(DataError, match="no row"):
        lessons(to_frame([]), scripted.load().tokenizer, max_tokens=9, where="train.x")
