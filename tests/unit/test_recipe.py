"""A recipe is checked whole, and every error says where it is and what was meant."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from treadle.data.yaml_lines import parse, setting
from treadle.errors import RecipeError, TreadleError
from treadle.flywheel.check_recipe import check_recipe, read_recipe

ROW = '{"prompt": "a", "completion": "b"}\n'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("pool.jsonl", "dev.jsonl", "heldout.jsonl"):
        (tmp_path / name).write_text(ROW)
    return tmp_path


def written(folder: Path, text: str) -> Path:
    path = folder / "recipe.yaml"
    path.write_text(text)
    return path


FULL = """\
student: proxy
data: {train: pool.jsonl, target: dev.jsonl, evaluate: heldout.jsonl}
audit: {near_duplicates: 0.7, contamination: {ngram: 9}}
select: {by: ifd, diverse: k_center, keep: 30%}
train: {method: sft, lora: 8, epochs: 1}
gate: {metric: nll, controls: [random, longest], reference: full, seeds: 3}
budget: {minutes: 60}
"""


def test_the_recipe_of_the_readme_is_understood(folder: Path) -> None:
    recipe = read_recipe(written(folder, FULL))
    assert recipe.selector.op.name == "score_then_diverse"
    assert recipe.selector.options["by"] == "ifd"
    assert recipe.keep.amount == pytest.approx(0.3)
    assert recipe.audits["near_duplicates"].options["threshold"] == 0.7
    assert recipe.audits["contamination"].options["ngram"] == 9
    assert set(recipe.audits) >= {"profile", "exact_duplicates"}
    assert recipe.trainer.options["lora"] == 8
    assert recipe.budget.limits.minutes == 60


def test_a_resolved_recipe_reads_back_as_itself(folder: Path) -> None:
    recipe = read_recipe(written(folder, FULL))
    again = read_recipe(written(folder, recipe.text()))
    assert again.resolved() == recipe.resolved()


def test_every_default_is_filled_in(folder: Path) -> None:
    recipe = read_recipe(written(folder, "data: {train: pool.jsonl}\n"))
    assert recipe.student == "embedded"
    assert recipe.data.held_out_share == pytest.approx(0.1)
    assert recipe.gate.controls == ["random", "longest"]
    assert "near_duplicates" in recipe.audits


def test_all_errors_come_at_once_with_their_lines_and_the_nearest_name(folder: Path) -> None:
    text = """\
studnet: embedded
data: {train: pol.jsonl, evaluate: heldout.jsonl}
audit:
  near_duplicate: 0.8
select: {by: ifd, keep: 300%}
train: {method: sft, lorra: 8}
gate:
  metric: nll
  seeds: none
  controls: [longest]
budget: {hours: 3}
"""
    with pytest.raises(RecipeError) as caught:
        read_recipe(written(folder, text))
    message = str(caught.value)
    for part in (
        "recipe.yaml:1: unknown section 'studnet'. Did you mean 'student'?",
        "recipe.yaml:2: data.train: no such file: pol.jsonl. Did you mean 'pool.jsonl'?",
        "recipe.yaml:4",
        "Did you mean 'near_duplicates'?",
        "recipe.yaml:5: select.keep: '300%' is out of range",
        "unknown option 'lorra'. Did you mean 'lora'?",
        "recipe.yaml:9: gate.seeds",
        "recipe.yaml:11: budget: unknown key 'hours'",
    ):
        assert part in message, message


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("seeds: 3", "seeds: 3, alpha: 0.00001", "recipe.yaml:6.*resamples cannot show"),
        ("[random, longest]", "[random, random]", "'random' is there twice"),
        ("evaluate: heldout.jsonl", "evaluate: {}", "recipe.yaml:2: data.evaluate.*such as 10%"),
        ("evaluate: heldout.jsonl", "evaluate: 100%", "leave none to select from"),
        ("evaluate: heldout.jsonl", "evaluate: 0%", "recipe.yaml:2: data.evaluate"),
        ("lora: 8", "lora: -8", "recipe.yaml:5: train.sft: .*lora must be"),
        ("epochs: 1", "epochs: .inf", "train.epochs must be a finite number"),
        ("lora: 8", "8: 1", "train: keys must be text"),
        ("student: proxy", "student: prxy", "recipe.yaml:1: student 'prxy'.*Did you mean 'proxy'"),
        ("student: proxy", "student: scripted", "learns with `method: ngram` only"),
        ("student: proxy", "student: proxy\nembedder: minilmm", "Did you mean 'minilm'"),
        ("pool.jsonl", "a**b.jsonl", "data.train"),
        ("pool.jsonl", "~nosuchuser/x", "not a usable path|no such file"),
        ("pool.jsonl", "x" * 300, "not a usable path|no such file"),
    ],
)  # fmt: skip
def test_what_would_fail_later_is_refused_before_anything_is_spent(
    folder: Path, old: str, new: str, said: str
) -> None:
    assert old in FULL
    with pytest.raises(RecipeError, match=f"(?s){said}"):
        read_recipe(written(folder, FULL.replace(old, new, 1)))


def test_a_pattern_with_magic_in_a_folder_is_a_file_name_like_any_other(folder: Path) -> None:
    for name in ("a", "b"):
        (folder / name).mkdir()
        (folder / name / "part.jsonl").write_text(ROW)
    read_recipe(written(folder, FULL.replace("pool.jsonl", "'*/part.jsonl'")))


@pytest.mark.parametrize(
    "keep", ["1234567 tokens", "1234568 tokens", "1000000 rows", "12.5%", "7%"]
)
def test_a_budget_keeps_every_digit_when_it_is_written_out(folder: Path, keep: str) -> None:
    recipe = read_recipe(written(folder, FULL.replace("30%", keep)))
    assert yaml.safe_load(recipe.text())["select"]["keep"] == keep


def test_a_claim_without_a_random_control_is_refused(folder: Path) -> None:
    text = FULL.replace("[random, longest]", "[longest]")
    with pytest.raises(RecipeError, match="`random` is required"):
        read_recipe(written(folder, text))


def test_thirty_rows_written_as_a_fraction_of_thirty_asks_what_was_meant(folder: Path) -> None:
    with pytest.raises(RecipeError, match=r"Did you mean 30\.5%\?"):
        read_recipe(written(folder, FULL.replace("30%", "30.5")))


def test_a_value_can_be_set_over_the_recipe(folder: Path) -> None:
    recipe = read_recipe(written(folder, FULL), ["select.keep=10%", "gate.seeds=5", "seed=4"])
    assert (recipe.keep.amount, recipe.gate.seeds, recipe.seed) == (pytest.approx(0.1), 5, 4)


@pytest.mark.parametrize("text", ["select.keep", "=3", "select.keep=[", "student.name=x"])
def test_a_bad_override_says_how_to_write_one(folder: Path, text: str) -> None:
    with pytest.raises(RecipeError, match=r"--set|student"):
        read_recipe(written(folder, FULL), [text])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "a recipe is a mapping"),
        ("- a\n- b\n", "a recipe is a mapping"),
        ("a: [1\n", "not valid YAML"),
        ("student: a\nstudent: b\n", "written twice"),
        ("a: &x 1\nb: *x\n", "aliases"),
        ("student: !!python/object:os.system x\n", "not valid YAML"),
        ("data: 5\n", "must be a mapping"),
        ("x" * 1_100_000, "larger than 1 MB"),
    ],
)
def test_what_is_no_recipe_is_refused_with_the_reason(folder: Path, text: str, said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        read_recipe(written(folder, text))


def test_a_missing_recipe_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="treadle init"):
        read_recipe(tmp_path / "none.yaml")


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)
SECTIONS = ["student", "data", "audit", "measure", "select", "train", "evaluate", "gate", "budget"]


@given(st.dictionaries(st.sampled_from(SECTIONS) | st.text(max_size=6), PLAIN, max_size=9))
def test_any_yaml_is_either_a_recipe_or_an_error_of_ours(value: dict[str, object]) -> None:
    text = yaml.safe_dump(value, allow_unicode=True)
    with pytest.raises(TreadleError):  # no data file exists, so nothing can be valid
        check_recipe(parse(text, "r.yaml"), name="r", folder=Path("/nonexistent"))


@given(st.text(max_size=200))
def test_any_text_is_parsed_or_refused(text: str) -> None:
    with contextlib.suppress(RecipeError):
        parse(text, "r.yaml")


def test_on_and_yes_are_words_as_in_yaml_1_2(folder: Path) -> None:
    text = "data: {train: pool.jsonl}\nselect: {method: k_center, on: hidden_state}\nq: {a: yes, b: true}"
    data = parse(text, "recipe.yaml").data
    assert data["select"] == {"method": "k_center", "on": "hidden_state"}
    assert data["q"] == {"a": "yes", "b": True}
    assert setting("a=off") == ("a", "off")
    assert setting("a=False") == ("a", False)
