"""Rubrics: those that are shipped, and every mistake in one paragraph that says where and what."""

from pathlib import Path

import pytest

from treadle.errors import RecipeError
from treadle.judge.rubric import Scale, read_rubric, shipped

GOOD = """\
name: polite
kind: score
instructions: Rate how polite the answer is.
scale: {low: 1, high: 5}
"""


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "polite.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_the_shipped_rubrics_can_be_read_and_name_their_source() -> None:
    assert set(shipped()) == {
        "alpagasus",
        "deita_quality",
        "deita_complexity",
        "helpful",
        "reflection",
        "tags",
    }
    for name in shipped():
        rubric = read_rubric(name)
        assert rubric.name == name
        assert "arXiv:" in rubric.source
    assert read_rubric("alpagasus").scale == Scale(low=0, high=5, step=0.5)
    assert read_rubric("deita_quality").scale == Scale(low=1, high=6)
    assert read_rubric("deita_complexity").about == "request"


def test_the_hash_follows_all_that_is_said_but_the_source(tmp_path: Path) -> None:
    one = read_rubric(written(tmp_path, GOOD))
    assert read_rubric(written(tmp_path, GOOD + "source: me\n")).hash == one.hash
    changes = [
        GOOD.replace("how polite", "how very polite"),
        GOOD.replace("high: 5", "high: 6"),
        GOOD + "reasons: after\n",
        GOOD + "most_tokens: 99\n",
        GOOD + "dimensions: {tone: how it sounds}\n",
    ]
    hashes = {read_rubric(written(tmp_path, text)).hash for text in changes}
    assert len(hashes | {one.hash}) == 6
    assert len({read_rubric(name).hash for name in shipped()}) == len(shipped())


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (("scale:", "scales:"), ["polite.yaml:4", "no key 'scales'", "Did you mean 'scale'?"]),
        (("low:", "lo:"), ["polite.yaml:4", "'scale.lo'", "Did you mean 'low'?"]),
        (("kind: score", "kind: scores"), ["polite.yaml:2", "kind", "'scores'", "'score'"]),
        (("name: polite\n", ""), ["has no name"]),
        (("name: polite", "name: Very Polite"), ["polite.yaml:1", "name", "'Very Polite'"]),
        (("scale: {low: 1, high: 5}\n", ""), ["needs a scale"]),
        (("low: 1, high: 5", "low: 5, high: 1"), ["polite.yaml:4", "scale", "low must be below high"]),
        (("high: 5", "high: 5, step: 3"), ["cannot be reached"]),
        (("high: 5", "high: many"), ["polite.yaml:4", "scale.high", "'many'"]),
        (("high: 5", "high: .inf"), ["polite.yaml:4", "scale.high"]),
        (("high: 5", "high: .nan"), ["polite.yaml:4", "scale.high"]),
        (("high: 5", "high: true"), ["polite.yaml:4", "scale.high"]),
        (("Rate how polite the answer is.", '" "'), ["say what is to be judged"]),
        (("kind: score", "kind: pairwise"), ["pairwise has no scale"]),
        (("kind: score", "kind: tags"), ["tags has no scale"]),
        (("high: 5}", "high: 12}\nreading: expectation"), ["one digit"]),
        (("high: 5}", "high: 5}\nreading: expectation\nreasons: before"), ["no reasons before"]),
        (("high: 5}", "high: 5}\ndimensions: {rule: x}"), ["called rule"]),
        (("high: 5}", "high: 5}\nmost_tokens: 1"), ["polite.yaml:5", "most_tokens", "got 1"]),
        (("high: 5}", "high: 5}\nname: other"), ["polite.yaml:5", "written twice"]),
        (("high: 5}", "high: [5"), ["not valid YAML"]),
        (("name: polite", "name: &a polite"), []),
        (("instructions:", "instructions: *a\nx:"), ["aliases"]),
    ],
)  # fmt: skip
def test_a_mistake_is_told_with_its_place_and_what_was_meant(
    tmp_path: Path, change: tuple[str, str], says: list[str]
) -> None:
    path = written(tmp_path, GOOD.replace(*change, 1))
    if not says:
        read_rubric(path)
        return
    with pytest.raises(RecipeError) as caught:
        read_rubric(path)
    for part in says:
        assert part in str(caught.value)
    assert "\n" not in str(caught.value)


def test_words_of_a_verdict_differ_and_are_not_the_words_of_the_form(tmp_path: Path) -> None:
    pairwise = "name: p\nkind: pairwise\ninstructions: Which?\nwords: {first: %s, second: %s}\n"
    for words in (("A", "a"), ("X", "VERDICT"), ("tie", "B")):
        with pytest.raises(RecipeError, match="must differ"):
            read_rubric(written(tmp_path, pairwise % words))
    rubric = read_rubric(written(tmp_path, (pairwise % ("eins", "zwei")) + ""))
    assert rubric.words.offered == ("eins", "zwei", "tie")


def test_what_is_no_rubric_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="Did you mean 'alpagasus'"):
        read_rubric("alpagasis")
    with pytest.raises(RecipeError, match="cannot be read"):
        read_rubric(tmp_path / "none.yaml")
    with pytest.raises(RecipeError, match="a rubric is a mapping"):
        read_rubric(written(tmp_path, "- a list\n"))
    (tmp_path / "b.yaml").write_bytes(b"\xff\xfe")
    with pytest.raises(RecipeError, match="not UTF-8"):
        read_rubric(tmp_path / "b.yaml")
    with pytest.raises(RecipeError, match="cannot be read"):
        read_rubric(tmp_path)


def test_a_scale_offers_its_steps_and_nothing_else() -> None:
    halves = Scale(low=0, high=5, step=0.5)
    assert [n for n in (-0.5, 0, 0.25, 4.5, 5, 5.5) if halves.offers(n)] == [0, 4.5, 5]
    assert Scale(low=0, high=1, step=0).offers(0.123)
    assert not Scale(low=1, high=6).offers(float("nan"))
    assert Scale(low=1, high=6).digits == ("1", "2", "3", "4", "5", "6")
    assert Scale(low=0, high=10).digits == () == halves.digits
