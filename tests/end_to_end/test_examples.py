"""Every example runs as its comment says, and the demo turns on the real embedded model."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from command_line import treadle_process
from treadle.judge.scripted_judge import ScriptedJudge

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


def treadle(*words: str, cwd: Path, codes: tuple[int, ...] = (0,)) -> str:
    done = treadle_process(*words, cwd=cwd)
    assert done.returncode in codes, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def examples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("examples")
    shutil.copytree(EXAMPLES, folder, dirs_exist_ok=True)
    for name in ("sums", "judged"):
        subprocess.run([sys.executable, "make_data.py"], cwd=folder / name, check=True)
    return folder


@pytest.mark.slow
def test_a_judges_column_helps_the_proxy_and_the_gate_says_so(examples: Path) -> None:
    told = treadle("run", "recipe.yaml", "--json", cwd=examples / "sums")
    verdict = json.loads(told)["verdict"]
    assert verdict["decision"] == "accept", verdict["sentence"]
    against = {c["against"]: c for c in verdict["comparisons"]}
    assert against["random"]["low"] > 0
    assert against["random"]["effect"] > 0.05


@pytest.mark.slow
def test_noise_in_the_column_does_not_help_and_the_gate_does_not_accept(examples: Path) -> None:
    rows = [json.loads(line) for line in (examples / "sums" / "pool.jsonl").open()]
    for number, row in enumerate(rows):
        row["quality"] = (number * 7919) % 1009
    noisy = examples / "sums" / "noisy.jsonl"
    noisy.write_text("".join(json.dumps(row) + "\n" for row in rows))
    told = treadle(
        "run", "recipe.yaml", "--json", "--out", "runs/noisy", "--set", "data.train=noisy.jsonl",
        cwd=examples / "sums", codes=(3,),
    )  # fmt: skip
    assert json.loads(told)["verdict"]["decision"] in {"hold", "roll_back"}


def judged(recipe: str, folder: Path, *more: str, **knobs: float) -> dict[str, Any]:
    """Run a recipe of `judged` with a scripted judge that knows its sums, and return what it told."""
    with ScriptedJudge(gold=folder / "gold.jsonl", **knobs) as server:
        told = treadle(
            "run", recipe, "--unlicensed", "--json", "--set", f"judge.url={server.url}", *more,
            cwd=folder, codes=(0, 3),
        )  # fmt: skip
    found: dict[str, Any] = json.loads(told)
    assert found["unlicensed"], "the run is stamped"
    return found


@pytest.mark.slow
@pytest.mark.parametrize("recipe", ["alpagasus.yaml", "ds2.yaml"])
def test_a_judge_that_knows_its_sums_helps_and_the_gate_says_so(
    recipe: str, examples: Path
) -> None:
    found = judged(recipe, examples / "judged")
    assert found["verdict"]["decision"] == "accept", found["verdict"]["sentence"]
    if recipe == "alpagasus.yaml":
        assert found["counts"]["left"]["judged_quality_below_4_5"] == 600


@pytest.mark.slow
def test_a_judge_that_draws_its_scores_does_not_help(examples: Path) -> None:
    out = ("--out", "runs/drawn", "--set", "select.drop_below=null")
    found = judged("alpagasus.yaml", examples / "judged", *out, accuracy=0.0)
    assert found["verdict"]["decision"] in {"hold", "roll_back"}


@pytest.mark.slow
@pytest.mark.parametrize("recipe", ["deita.yaml", "instag.yaml"])
def test_recipes_that_ask_a_judge_about_text_turn(recipe: str, examples: Path) -> None:
    quick = ("student=scripted", "train={method: ngram}", "gate.seeds=1")
    more = [word for one in quick for word in ("--set", one)]
    found = judged(recipe, examples / "judged", *more)
    assert found["counts"]["selected"] == 32
    assert not found["counts"]["failed"]


@pytest.mark.slow
def test_a_recipe_with_a_judge_stops_without_a_licence(examples: Path) -> None:
    with ScriptedJudge() as server:
        done = treadle_process(
            "run", "alpagasus.yaml", "--out", "runs/none", "--set", f"judge.url={server.url}",
            cwd=examples / "judged",
        )  # fmt: skip
    assert done.returncode == 1
    assert "treadle judge license" in done.stderr


@pytest.mark.slow
def test_a_selector_of_ones_own_runs_from_a_plugin(examples: Path) -> None:
    told = treadle(
        "run", "recipe.yaml", "--plugin", "shortest.py", "--json",
        cwd=examples / "own_selector", codes=(0, 3),
    )  # fmt: skip
    assert json.loads(told)["counts"]["selected"] > 0


@pytest.mark.slow
def test_the_embedded_model_turns_the_wheel_on_the_demos_rows(tmp_path: Path) -> None:
    from treadle.flywheel.demo import write_demo

    write_demo(tmp_path, rows=400)
    held = tmp_path / "heldout.jsonl"
    few = held.read_text(encoding="utf-8").splitlines(keepends=True)[:10]
    held.write_text("".join(few), encoding="utf-8")
    told = treadle(
        "run", "recipe.yaml", "--json", "--set", "data.sample=24", "--set", "select.keep=8 rows",
        "--set", "gate.seeds=1", "--set", "gate.reference=null", cwd=tmp_path, codes=(0, 3),
    )  # fmt: skip
    run = tmp_path / "runs" / "recipe"
    verdict = json.loads(told)["verdict"]
    assert {c["against"] for c in verdict["comparisons"]} == {"random", "longest", "before"}
    assert (run / "adapter" / "adapter_model.safetensors").stat().st_size > 100_000
    assert "demo" not in (run / "adapter" / "adapter_config.json").read_text()
    answers = json.loads(treadle("try", str(run), "What does zip do?", "--tokens", "8", "--json",
                                 cwd=tmp_path))  # fmt: skip
    assert set(answers) == {"before", "after"}
