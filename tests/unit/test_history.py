"""What runs left behind, read without changing it: folders half done, damaged, or none at all."""

from __future__ import annotations

import contextlib
import json
import shutil
import sqlite3
from pathlib import Path

import pytest

import treadle
from treadle.errors import RecipeError, StoreError
from treadle.flywheel.run_folder import RunFolder
from treadle.machinery.ledger import Ledger
from turns import QUICK, write_turn


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> treadle.Run:
    folder = tmp_path_factory.mktemp("history")
    return treadle.run(
        write_turn(folder, QUICK, rows=40), out=folder / "runs" / "first", progress=False
    )


@pytest.fixture
def run(finished: treadle.Run, tmp_path: Path) -> treadle.Run:
    """A copy of a finished run, to be damaged."""
    shutil.copytree(finished.path.parent.parent, tmp_path, dirs_exist_ok=True)
    return treadle.Run(tmp_path / "runs" / "first")


def hashes(run: treadle.Run) -> dict[str, str]:
    found: dict[str, str] = json.loads((run.path / "manifest.json").read_bytes())
    return found


def test_the_manifest_lists_what_the_run_wrote_and_no_file_of_the_users(run: treadle.Run) -> None:
    before = hashes(run)
    assert {"verdict.json", "pool/manifest.json", "selected.jsonl"} <= set(before)
    (run.path / "notes.txt").write_text("mine")
    treadle.run(run.path.parent.parent / "recipe.yaml", out=run.path, progress=False)
    assert hashes(run) == before


def test_costs_are_read_without_touching_the_ledger(run: treadle.Run) -> None:
    before = {p.name: p.read_bytes() for p in run.path.iterdir() if p.is_file()}
    costs = run.costs()
    assert [c["stage"] for c in costs if c["tasks"]]
    assert run.costs() == costs
    assert {p.name: p.read_bytes() for p in run.path.iterdir() if p.is_file()} == before


def test_costs_of_a_run_that_is_going_on_leave_its_reservations_open(run: treadle.Run) -> None:
    path = run.path / "ledger.sqlite"
    with contextlib.closing(Ledger(path)) as ledger, ledger.reserve("task", 1000):
        assert run.costs()
        with contextlib.closing(sqlite3.connect(path)) as database:
            query = "SELECT COUNT(*) FROM reservation WHERE settled IS NULL"
            assert database.execute(query).fetchone() == (1,)


def test_costs_of_a_folder_that_is_not_there_are_an_error_and_make_nothing(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="typo"):
        treadle.Run(tmp_path / "typo").costs()
    assert not (tmp_path / "typo").exists()


def test_a_damaged_ledger_is_named(run: treadle.Run) -> None:
    (run.path / "ledger.sqlite").write_bytes(b"no database" * 100)
    with pytest.raises(StoreError, match=str(run.path / "ledger.sqlite")):
        run.costs()


@pytest.mark.parametrize("name", ["features.parquet", "selection.parquet", "pool/manifest.json"])
def test_a_damaged_artefact_is_named_with_what_to_do(run: treadle.Run, name: str) -> None:
    (run.path / name).write_bytes(b"PAR1 is not enough")
    with pytest.raises(treadle.TreadleError, match=name):
        run.trace("1-7")


def test_a_missing_shard_of_the_pool_is_named(run: treadle.Run) -> None:
    (run.path / "pool" / "shard-00000.parquet").unlink()
    with pytest.raises(treadle.TreadleError, match=r"shard-00000\.parquet"):
        run.trace("1-7")


@pytest.mark.parametrize("text", ["{torn", "[]", '{"recipe": 3}', '{"recipe": {}}'])
def test_a_damaged_run_is_a_line_of_the_list_and_hides_no_other(
    run: treadle.Run, text: str
) -> None:
    bad = run.path.parent / "bad"
    bad.mkdir()
    (bad / "identity.json").write_text(text)
    listed = {found["run"]: found["decision"] for found in treadle.runs(run.path.parent)}
    assert listed == {"bad": "damaged", "first": run.verdict["decision"]}


def test_a_run_whose_artefacts_changed_does_not_look_finished(run: treadle.Run) -> None:
    counts = (run.path / "counts.json").read_bytes()
    RunFolder(run.path).write("counts.json", counts)
    assert [found["decision"] for found in treadle.runs(run.path.parent)] != ["unfinished"]
    RunFolder(run.path).write("counts.json", b"{}")
    assert [found["decision"] for found in treadle.runs(run.path.parent)] == ["unfinished"]


def test_a_folder_with_files_of_the_users_is_refused_before_anything_is_written(
    tmp_path: Path,
) -> None:
    recipe = write_turn(tmp_path, QUICK, rows=40)
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    (theirs / "recipe.yaml").write_text("mine")
    with pytest.raises(RecipeError, match="not a run"):
        treadle.run(recipe, out=theirs, progress=False)
    assert {p.name: p.read_text() for p in theirs.iterdir()} == {"recipe.yaml": "mine"}


def test_a_folder_in_which_a_run_was_killed_at_its_beginning_is_gone_on_with(
    tmp_path: Path,
) -> None:
    recipe = write_turn(tmp_path, QUICK, rows=40)
    begun = tmp_path / "runs" / "begun"
    begun.mkdir(parents=True)
    Ledger(begun / "ledger.sqlite").close()
    (begun / ".lock").touch()
    assert treadle.run(recipe, out=begun, progress=False).verdict["decision"]
