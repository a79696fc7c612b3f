"""The command line: what a person sees when things go right, and when they do not."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from command_line import treadle, treadle_process
from turns import QUICK, records, write_lines, write_turn


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cli")
    write_turn(folder)
    (folder / "empty.jsonl").write_text("")
    (folder / "noise.jsonl").write_bytes(bytes(range(256)) * 40)
    (folder / "strange.jsonl").write_text('{"alpha": 1, "beta": 2}\n' * 5)
    return folder


def test_help_and_version_need_neither_torch_nor_polars() -> None:
    code = (
        "import sys\n"
        "from typer.testing import CliRunner\n"
        "from treadle.cli import app\n"
        "told = CliRunner().invoke(app, ['--help']).output\n"
        "assert 'demo' in told and 'doctor' in told\n"
        "heavy = {'torch', 'transformers', 'polars', 'numpy', 'scipy', 'matplotlib'}\n"
        "print(sorted(heavy & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_core_works_without_torch() -> None:
    code = (
        "import sys\n"
        "import treadle\n"
        "from treadle import op\n"
        "op.ops(); treadle.run; treadle.load\n"
        "print('torch' in sys.modules, 'transformers' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]


def test_a_run_from_init_to_trace(place: Path) -> None:
    told = treadle("init", "pool.jsonl", "--out", "mine.yaml", "--student", "scripted", cwd=place)
    assert told.returncode == 0, told.stderr
    assert "125 rows (prompt_completion), 2 malformed, 1 exact duplicates" in told.stdout
    checked = treadle("check", "mine.yaml", "--json", cwd=place)
    assert json.loads(checked.stdout)["estimate"]["disk_mb"] > 0
    done = treadle_process("run", "mine.yaml", "--json", cwd=place)
    found = json.loads(done.stdout)
    assert done.returncode == {"accept": 0}.get(found["verdict"]["decision"], 3), done.stderr
    listed = json.loads(treadle("runs", "--json", cwd=place).stdout)
    assert [run["run"] for run in listed] == ["mine"]
    story = json.loads(treadle("trace", "runs/mine", "1-5", "--json", cwd=place).stdout)
    assert story["origins"][0]["line"] == 6
    assert treadle("report", "runs/mine", cwd=place).stdout.strip() == "runs/mine/report.html"
    tried = treadle("try", "runs/mine", "amber?", "--tokens", "5", "--json", cwd=place)
    assert set(json.loads(tried.stdout)) == {"before", "after"}


def test_single_stages_work_on_plain_files(place: Path) -> None:
    quick = ("--model", "scripted")
    assert "ready" in treadle("lint", "pool.jsonl", *quick, cwd=place).stdout
    told = treadle("audit", "pool.jsonl", "--against", "heldout.jsonl", "--out", "audited", "--json",
                   cwd=place)  # fmt: skip
    reasons = {f[1] for rows in json.loads(told.stdout)["findings"].values() for f in rows}
    assert "contaminated_exact" in reasons
    kept = (place / "audited" / "kept.jsonl").read_text().splitlines()
    dropped = (place / "audited" / "dropped.jsonl").read_text().splitlines()
    assert len(kept) + len(dropped) == 122
    done = treadle("measure", "pool.jsonl", "-f", "ifd", "-f", "nll", *quick, "--out", "f.csv",
                   cwd=place)  # fmt: skip
    assert (place / "f.csv").read_text().startswith("id,"), done.stderr
    done = treadle("select", "pool.jsonl", "--by", "ifd", "--keep", "20%", *quick, "--out",
                   "chosen.jsonl", cwd=place)  # fmt: skip
    chosen = [json.loads(line) for line in (place / "chosen.jsonl").open()]
    assert len(chosen) == 24, done.stderr
    assert [row["treadle_rank"] for row in chosen] == list(range(24))
    assert treadle("train", "chosen.jsonl", "--out", "adapter", *quick, cwd=place).returncode == 0
    scores = [
        float(treadle("evaluate", "heldout.jsonl", *quick, *more, cwd=place).stdout.split()[1])
        for more in ((), ("--adapter", "adapter"))
    ]
    assert scores[1] < scores[0], "training on such rows makes such rows likelier"


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("lint", "none.jsonl", "--model", "scripted"), 1, "none.jsonl"),
        (("lint", "empty.jsonl", "--model", "scripted"), 1, "empty.jsonl"),
        (("audit", "noise.jsonl"), 1, "noise.jsonl"),
        (("audit", "strange.jsonl"), 1, "alpha"),
        (("lint", "pool.jsonl", "--model", "embeded"), 1, "embedded"),
        (("run", "none.yaml"), 2, "treadle init"),
        (("select", "pool.jsonl", "--keep", "300%", "--model", "scripted"), 2, "out of range"),
        (("measure", "pool.jsonl", "-f", "iffd", "--model", "scripted"), 2, "Did you mean 'ifd'"),
        (("ops", "k_centre"), 2, "Did you mean 'k_center'"),
        (("trace", "nowhere", "1"), 1, "nowhere"),
        (("train", "pool.jsonl", "--out", "a", "--set", "epochs=[1"), 2, "not valid YAML"),
        (("train", "pool.jsonl", "--out", "a", "--set", "epochs=2020-99-99"), 2, "not valid YAML"),
        (("train", "pool.jsonl", "--out", "a", "--set", "epochs"), 2, "key=value"),
        (("train", "pool.jsonl", "--out", "a", "--set", "out=3"), 2, "--set out"),
        (("select", "pool.jsonl", "--keep", "30%", "--set", "seed=1"), 2, "--set seed"),
        (("evaluate", "heldout.jsonl", "--set", "rows=1"), 2, "--set rows"),
        (("train", "pool.jsonl", "--out", "noise.jsonl", "--model", "scripted"), 2, "is a file"),
        (("evaluate", "heldout.jsonl", "--adapter", "nosuch", "--model", "scripted"), 2, "nosuch"),
        (("select", "pool.jsonl", "--keep", "30%", "--out", "a.docx"), 2, ".jsonl"),
        (("measure", "pool.jsonl", "-f", "length", "--out", "a.docx"), 2, ".parquet"),
        (("audit", "pool.jsonl", "--out", "noise.jsonl"), 2, "is a file"),
        (("init", "pool.jsonl", "--out", "noise.jsonl/mine.yaml"), 1, "noise.jsonl"),
        (("rnu",), 2, "rnu"),
        (("run",), 2, "recipe"),
    ],
)
def test_bad_input_is_one_clear_paragraph_with_the_right_exit_code(
    place: Path, words: tuple[str, ...], code: int, said: str
) -> None:
    done = treadle(*words, cwd=place)
    assert done.returncode == code, done.stderr
    assert said in done.stderr.replace("\n", " ")
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("words", "code"), [("lint none.jsonl --model scripted", 1), ("run none.yaml", 2)]
)
def test_the_exit_code_of_an_error_is_that_of_the_process(
    place: Path, words: str, code: int
) -> None:
    done = treadle_process(*words.split(), cwd=place)
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr


def test_a_spent_budget_is_exit_code_4_and_a_larger_one_goes_on(tmp_path: Path) -> None:
    write_turn(tmp_path, QUICK, rows=40)
    few = ("--set", "budget.minutes=0.000001")
    stopped = treadle_process("run", "recipe.yaml", *few, cwd=tmp_path)
    assert stopped.returncode == 4
    assert "raise budget.minutes" in stopped.stderr.replace("\n", " ")
    assert treadle("run", "recipe.yaml", cwd=tmp_path).returncode in (0, 3)


def test_a_row_of_ten_megabytes_is_read_truncated_and_reported(tmp_path: Path) -> None:
    huge = {"id": "huge", "prompt": "go on", "completion": "word " * 2_000_000}
    write_lines(tmp_path / "pool.jsonl", [*records(30, seed=1), huge])
    told = treadle("lint", "pool.jsonl", "--model", "scripted", "--json", cwd=tmp_path)
    checks = {c["name"]: c for c in json.loads(told.stdout)["checks"]}
    assert any(c["count"] == 1 and "trunc" in name for name, c in checks.items())


def test_every_set_of_audit_against_is_checked_whatever_the_files_are_called(
    tmp_path: Path,
) -> None:
    rows = records(12, seed=1)
    write_lines(tmp_path / "pool.jsonl", rows)
    for name, row in (("a", rows[3]), ("b", rows[7])):
        (tmp_path / name).mkdir()
        write_lines(tmp_path / name / "test.jsonl", [row])
    told = treadle(
        "audit", "pool.jsonl", "--against", "a/test.jsonl", "--against", "b/test.jsonl", "--json",
        cwd=tmp_path,
    )  # fmt: skip
    found = json.loads(told.stdout)["findings"]["contamination"]
    assert len(found) == 2, told.stderr
    assert {item.rsplit(":", 1)[0] for _, _, item, _ in found} == {"a/test.jsonl", "b/test.jsonl"}


def test_rows_of_several_kinds_are_written_to_a_file_each(tmp_path: Path) -> None:
    pairs = [
        {"prompt": f"{r['prompt']}", "chosen": f"{r['completion']}", "rejected": "no"}
        for r in records(6, seed=3)
    ]
    chats = records(10, seed=1)
    write_lines(tmp_path / "mixed.jsonl", [*chats, dict(chats[0], id="twin"), *pairs])
    done = treadle("select", "mixed.jsonl", "--keep", "100%", "--model", "scripted", "--out",
                   "chosen.jsonl", cwd=tmp_path)  # fmt: skip
    assert done.returncode == 0, done.stderr
    chosen = {p.name: len(p.read_text().splitlines()) for p in tmp_path.glob("chosen*")}
    assert chosen == {"chosen-chat.jsonl": 10, "chosen-preference.jsonl": 6}
    assert "chosen-preference.jsonl" in done.stdout.replace("\n", "")
    done = treadle("audit", "mixed.jsonl", "--out", "audited", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    kept = {p.name for p in (tmp_path / "audited").iterdir()}
    assert kept == {
        "kept-chat.jsonl", "kept-preference.jsonl", "dropped.jsonl", "quarantine.jsonl",
    }  # fmt: skip


FUSSY = """
import polars as pl
from treadle.op import measure


@measure(reference="made up", cost="none")
def fussy():
    def run(batch, context):
        if any(int(key[:2], 16) < 0x40 for key in batch["id"]):
            raise ValueError("this row is not for me")
        return pl.DataFrame({"fussy": [1.0] * batch.height})

    return run
"""


@pytest.mark.slow
def test_rows_on_which_a_measure_fails_are_told_with_their_reason(tmp_path: Path) -> None:
    write_lines(tmp_path / "pool.jsonl", records(60, seed=1), tail="{torn\n")
    (tmp_path / "fussy.py").write_text(FUSSY)
    common = ("--model", "scripted", "--plugin", "fussy.py", "--json")
    done = treadle_process("measure", "pool.jsonl", "-f", "fussy", *common, cwd=tmp_path)
    found = json.loads(done.stdout)
    failed = {row["id"] for row in found["failed"]}
    assert failed == {row["id"] for row in found["features"] if row["fussy"] is None}
    assert 0 < len(failed) < 60
    assert all("not for me" in row["reason"] for row in found["failed"])
    assert "1 of 61 records" in done.stderr.replace("\n", " ")
    every = ("--by", "fussy", "--keep", "100%")
    done = treadle_process("select", "pool.jsonl", *every, *common, cwd=tmp_path)
    selection = json.loads(done.stdout)
    assert {row["id"] for row in selection["left"]} == failed
    assert len(selection["chosen"]) + len(failed) == 60
    assert all("not for me" in row["reason"] for row in selection["left"])


def test_a_folder_that_holds_no_run_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    write_turn(tmp_path)
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    done = treadle("run", "recipe.yaml", "--out", ".", cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert "not a run" in done.stderr.replace("\n", " ")
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before


def test_a_run_in_the_working_folder_keeps_its_store_beside_the_folder(tmp_path: Path) -> None:
    write_turn(tmp_path, QUICK, rows=40)
    here = tmp_path / "runs" / "here"
    here.mkdir(parents=True)
    done = treadle("run", "../../recipe.yaml", "--out", ".", "--quiet", cwd=here)
    assert done.returncode in (0, 3), done.stderr
    assert not (here / ".store").exists()
    assert (tmp_path / "runs" / ".store").is_dir()


def test_init_writes_paths_that_its_recipe_finds_from_wherever_it_lies(tmp_path: Path) -> None:
    write_turn(tmp_path)
    done = treadle("init", "pool.jsonl", "--evaluate", "heldout.jsonl", "--student", "scripted",
                   "--out", "recipes/mine.yaml", cwd=tmp_path)  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "treadle run recipes/mine.yaml" in (tmp_path / "recipes" / "mine.yaml").read_text()
    checked = treadle("check", "recipes/mine.yaml", "--json", cwd=tmp_path)
    assert checked.returncode == 0, checked.stderr
    assert json.loads(checked.stdout)["recipe"]["data"]["train"] == "../pool.jsonl"


@pytest.mark.slow
def test_a_cache_that_cannot_be_written_is_a_finding_and_stops_no_check(tmp_path: Path) -> None:
    write_turn(tmp_path)
    cache = {"TREADLE_CACHE": str(tmp_path / "pool.jsonl" / "cache")}
    told = treadle_process("doctor", "--json", cwd=tmp_path, env=cache)
    states = {f["name"]: f["state"] for f in json.loads(told.stdout)}
    assert states["cache"] == "fault"
    assert states["speed"] == "ok"
    assert treadle_process("check", "recipe.yaml", cwd=tmp_path, env=cache).returncode == 0


def test_every_command_shows_an_example() -> None:
    code = (
        "import os; os.environ.update(COLUMNS='200', TERM='dumb')\n"
        "from typer.testing import CliRunner\n"
        "from treadle.cli import app\n"
        "named = lambda app: [c.name or c.callback.__name__ for c in app.registered_commands]\n"
        "names = named(app)\n"
        "for group in app.registered_groups:\n"
        "    inner = group.typer_instance\n"
        "    names += [f'{inner.info.name} {n}' for n in named(inner)]\n"
        "told = {n: CliRunner().invoke(app, [*n.split(), '--help']).output for n in names}\n"
        "print(len(names), [n for n, t in told.items() if f'Example  treadle {n}' not in t])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split(maxsplit=1) == ["23", "[]\n"]
