"""The proxy student: its sums, its tokenizer, its cache, and that training moves it both ways."""

import json
import random
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from treadle.context import Context
from treadle.data.row import Message, column, from_frame, to_frame
from treadle.data.template import tokenise
from treadle.errors import ModelError, RecipeError
from treadle.models import load
from treadle.models.sums import proxy_items, proxy_rows, training_pairs
from treadle.train.sft import sft

torch = pytest.importorskip("torch")
proxy = pytest.importorskip("treadle.models.proxy")
HFTokenizer = pytest.importorskip("treadle.models.tokenizer").HFTokenizer

RECOMMENDED = {"lora": 0, "learning_rate": 0.003, "batch_size": 128, "steps": 150}


def numbers(row) -> tuple[int, int, int]:
    a, b = row.messages[0].content.split("+")
    return int(a), int(b), int(row.reply)


@settings(max_examples=15)
@given(st.integers(0, 2**32), st.integers(0, 2**32))
def test_no_sum_is_both_trained_and_evaluated_in_either_order(seed, other):
    trained = {numbers(row)[:2] for row in proxy_rows(500, seed)}
    for row in proxy_items(100, other):
        a, b, total = numbers(row)
        assert (a, b) not in trained
        assert (b, a) not in trained
        assert total == a + b


def test_evaluation_items_are_disjoint_from_every_possible_training_row():
    sealed = {numbers(row)[:2] for row in proxy_items(300, 0)}
    assert not sealed & set(training_pairs())
    assert not {(b, a) for a, b in sealed} & set(training_pairs())


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_just_the_wanted_share_of_rows_is_wrong_and_looks_right(share):
    rows = proxy_rows(400, 3, wrong_share=share)
    wrong = [row for row in rows if numbers(row)[0] + numbers(row)[1] != numbers(row)[2]]
    assert len(wrong) == round(400 * share)
    assert all(10 <= numbers(row)[2] <= 99 for row in rows)
    assert len({row.id for row in rows}) == 400


def test_quality_tells_most_wrong_rows_from_right_ones():
    frame = to_frame(proxy_rows(1000, 5, wrong_share=0.4))
    quality = column(frame, "quality").to_numpy()
    rows = [numbers(row) for row in from_frame(frame)]
    is_wrong = np.array([a + b != total for a, b, total in rows])
    assert quality[is_wrong].max() < 0.71
    assert quality[~is_wrong].min() > 0.59
    assert is_wrong[np.argsort(-quality)[:300]].mean() == 0.0


def test_rows_depend_on_the_seed_alone():
    random.seed(1)
    first = proxy_rows(50, 7, wrong_share=0.2)
    random.seed(2)
    np.random.seed(2)
    assert first == proxy_rows(50, 7, wrong_share=0.2)
    assert [r.origins for r in first] == [r.origins for r in proxy_rows(50, 7, wrong_share=0.2)]
    assert first != proxy_rows(50, 8, wrong_share=0.2)
    assert [row.origins[0].line for row in first] == list(range(1, 51))


@pytest.mark.parametrize("call", [lambda: proxy_rows(9999, 0), lambda: proxy_items(9999, 0)])
def test_more_sums_than_there_are_are_refused(call):
    with pytest.raises(RecipeError, match="9999"):
        call()


def test_a_wrong_share_above_one_is_refused():
    with pytest.raises(RecipeError, match="30"):
        proxy_rows(10, 0, wrong_share=30)


def test_the_template_is_short_and_its_stop_token_is_trained():
    tokenizer = HFTokenizer(proxy.new_tokenizer(), name="proxy")
    row = proxy_rows(1, 0)[0]
    tokens = tokenise([row], tokenizer, max_tokens=64)[0]
    question, answer = row.messages[0].content, row.reply
    assert tokenizer.decode(tokens.ids) == f"<u>{question}</s><a>{answer}</s>"
    assert tokenizer.decode(tokens.ids[tokens.trains]) == f"{answer}</s>"
    assert tokens.has_stop
    assert tokenizer.pad_id in tokenizer.stop_ids


@given(st.text(max_size=30))
def test_any_text_survives_the_tokenizer(text):
    tokenizer = HFTokenizer(proxy.new_tokenizer(), name="proxy")
    ids = tokenizer.encode([text])[0].ids
    assert tokenizer.decode(ids) == text
    assert len(ids) == len(text.encode()) or any(mark in text for mark in tokenizer.control_tokens)


def test_the_model_has_a_tenth_of_a_million_parameters():
    model = proxy.new_model()
    assert 90_000 < model.num_parameters() < 130_000
    assert model.config.vocab_size == len(proxy.new_tokenizer())


def test_an_unwritable_cache_is_an_error_that_names_the_variable(tmp_path, monkeypatch):
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    monkeypatch.setenv("TREADLE_CACHE", str(blocked))
    with pytest.raises(ModelError, match="TREADLE_CACHE"):
        load("proxy")


@cache
def base():
    return load("proxy")


def share_right(student, items) -> float:
    replies = student.generate([row.prompt for row in items], max_new_tokens=6)
    right = [reply.text == row.reply for reply, row in zip(replies, items, strict=True)]
    return sum(right) / len(right)


def trained(rows, folder, **options):
    sft(**{**RECOMMENDED, **options})(to_frame(rows), base(), 0, folder, Context())
    return base().tuned(folder)


@pytest.mark.slow
def test_the_base_is_half_way_through_and_stops_by_itself():
    items = proxy_items(300, 0)
    assert 0.3 < share_right(base(), items) < 0.85
    replies = base().generate([row.prompt for row in items], max_new_tokens=6)
    assert all(reply.has_stopped for reply in replies)
    assert base().precision == "fp32"


@pytest.mark.slow
def test_clean_rows_teach_it_nearly_every_sum_and_wrong_rows_hurt(tmp_path):
    items = proxy_items(300, 0)
    right = share_right(trained(proxy_rows(2600, 1), tmp_path / "right"), items)
    few = share_right(trained(proxy_rows(900, 1), tmp_path / "few"), items)
    mixed = proxy_rows(900, 1, wrong_share=0.4)
    wrong = share_right(trained(mixed, tmp_path / "wrong"), items)
    assert right > 0.99
    assert few > 0.95
    assert wrong < few - 0.05


@pytest.mark.slow
def test_pretraining_again_gives_the_same_model_and_damage_is_repaired(tmp_path, monkeypatch):
    monkeypatch.setenv("TREADLE_CACHE", str(tmp_path))
    first = proxy.load()
    folder = proxy.folder()
    before = (folder / "model.safetensors").read_bytes()
    torch.manual_seed(123)  # the caller's random state must not matter
    (folder / "model.safetensors").write_bytes(before[:-4])
    assert proxy.load().fingerprint == first.fingerprint
    assert (folder / "model.safetensors").read_bytes() == before
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {folder.name, f".{folder.name}.lock"}
    assert json.loads((folder / "config.json").read_text())["model_type"] == "llama"
    reply = first.generate([[Message("user", "20+20")]], max_new_tokens=6)[0]
    assert len(reply.text) == 2
