"""The language of a row: named where it is clear, missing where it is not."""

import sys

import polars as pl
import pytest

from treadle.context import Context
from treadle.data.row import Message, Row, to_frame
from treadle.errors import ModelError
from treadle.measure import language as module
from treadle.measure.language import language

SENTENCES = {
    "en": "The quick answer is that nobody knows where the river begins.",
    "de": "Ich möchte bitte zwei Brötchen und einen Kaffee mit Milch.",
    "fr": "Bonjour, je voudrais savoir à quelle heure part le prochain train.",
    "es": "¿Podrías explicarme cómo se prepara una buena tortilla de patatas?",
    "ru": "Сегодня хорошая погода, и мы идём гулять в парк.",
    "ja": "今日はとても天気がいいので散歩に行きましょう。",
    "ar": "هذا كتاب جميل عن تاريخ المدن القديمة في العالم العربي",
}


def asked(text: str, reply: str = "") -> Row:
    return Row("chat", (Message("user", text), Message("assistant", reply, trains=True)))


@pytest.mark.parametrize("code", SENTENCES)
def test_a_sentence_is_named_with_confidence(code: str) -> None:
    found = language()(to_frame([asked(SENTENCES[code])]), Context()).row(0, named=True)
    assert found["language"] == code
    assert 0.5 <= found["language_confidence"] <= 1


def test_the_part_that_was_asked_for_is_read() -> None:
    frame = to_frame([asked(SENTENCES["de"], SENTENCES["fr"])])
    assert language(of="prompt")(frame, Context())["language"].to_list() == ["de"]
    assert language(of="reply")(frame, Context())["language"].to_list() == ["fr"]


def test_a_short_text_is_missing_and_its_confidence_is_told() -> None:
    frame = to_frame([asked("ok")])
    code, confidence = language()(frame, Context()).row(0)
    assert code is None
    assert 0 < confidence < 0.5
    assert language(min_confidence=0.0)(frame, Context())["language"][0] is not None


def test_a_part_without_text_has_neither() -> None:
    found = language(of="reply")(to_frame([asked("hello", " \n")]), Context())
    assert found.row(0) == (None, None)
    assert language()(to_frame([]), Context()).schema == {
        "language": pl.String,
        "language_confidence": pl.Float64,
    }


def test_only_the_beginning_of_a_long_text_is_read() -> None:
    start = (SENTENCES["en"] + " ") * 200
    rows = [asked(start[: module.READ_CHARS]), asked(start[: module.READ_CHARS] + SENTENCES["ru"])]
    found = language(of="prompt")(to_frame(rows), Context())
    assert found.row(0) == found.row(1)


def test_without_the_package_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    module._identifier.cache_clear()
    monkeypatch.setitem(sys.modules, "py3langid.langid", None)
    with pytest.raises(ModelError, match=r"pip install 'treadle\[text\]'"):
        language()(to_frame([asked("hello")]), Context())
    module._identifier.cache_clear()
