"""The command line: what a person sees when things go right, and when they do not."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from turns import records, write_lines, write_turn

TREADLE = [sys.executable, "-c", "from treadle.cli import main; main()"]


def treadle(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*TREADLE, *words], cwd=cwd, capture_output=True, text=True, timeout=300, check=False
    )


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
    done = treadle("run", "mine.yaml", "--json", cwd=place)
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


def test_a_spent_budget_is_exit_code_4_and_a_larger_one_goes_on(tmp_path: Path) -> None:
    write_turn(tmp_path)
    stopped = treadle("run", "recipe.yaml", "--set", "budget.minutes=0.000001", cwd=tmp_path)
    assert stopped.returncode == 4
    assert "raise budget.minutes" in stopped.stderr.replace("\n", " ")
    assert treadle("run", "recipe.yaml", cwd=tmp_path).returncode in (0, 3)


def test_a_row_of_ten_megabytes_is_read_truncated_and_reported(tmp_path: Path) -> None:
    huge = {"id": "huge", "prompt": "go on", "completion": "word " * 2_000_000}
    write_lines(tmp_path / "pool.jsonl", [*records(30, seed=1), huge])
    told = treadle("lint", "pool.jsonl", "--model", "scripted", "--json", cwd=tmp_path)
    checks = {c["name"]: c for c in json.loads(told.stdout)["checks"]}
    assert any(c["count"] == 1 and "trunc" in name for name, c in checks.items())
