"""Code hashes: what a cached result depends on besides its inputs."""

import importlib
import sys
from pathlib import Path

import pytest

from treadle import op
from treadle.machinery import code


def tree(folder: Path, monkeypatch: pytest.MonkeyPatch, **files: str) -> None:
    """Write modules of a package `treadle.scratch`, importable until the test ends."""
    import treadle

    package = folder / "scratch"
    package.mkdir(exist_ok=True)
    for name, text in {"__init__": "", **files}.items():
        (package / f"{name}.py").write_text(text)
    monkeypatch.setattr(treadle, "__path__", [*treadle.__path__, str(folder)])
    for name in [name for name in sys.modules if name.startswith("treadle.scratch")]:
        monkeypatch.delitem(sys.modules, name)
    code.code_hash.cache_clear()


@pytest.mark.parametrize(
    "importing",
    [
        "import treadle.scratch.low",
        "from treadle.scratch import low",
        "from treadle.scratch.low import value",
        "def late():\n    from treadle.scratch import low\n    return low",
    ],
)
def test_a_change_in_an_imported_file_changes_the_hash(tmp_path, monkeypatch, importing) -> None:
    files = {"high": "from treadle.scratch import middle", "middle": importing, "other": ""}
    tree(tmp_path, monkeypatch, **files, low="value = 1")
    before = code.code_hash("treadle.scratch.high")
    tree(tmp_path, monkeypatch, **{**files, "other": "value = 3"}, low="value = 1")
    assert code.code_hash("treadle.scratch.high") == before
    tree(tmp_path, monkeypatch, **files, low="value = 2")
    assert code.code_hash("treadle.scratch.high") != before


PLUGIN = """
from treadle.op import measure
import {helper}

@measure(reference="none", cost="none")
def {name}():
    return None
"""


def fingerprint(path: Path, name: str) -> str:
    code.code_hash.cache_clear()
    op.load_plugin(path)
    return op.get("measure", name).bind().fingerprint


@pytest.mark.parametrize("helper", ["near_helper", "near_package.inside"])
def test_a_plugin_s_fingerprint_covers_the_files_beside_it(tmp_path, monkeypatch, helper) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    file = tmp_path.joinpath(*helper.split(".")).with_suffix(".py")
    file.parent.mkdir(exist_ok=True)
    deeper = tmp_path / "deeper_helper.py"
    deeper.write_text("K = 1")
    file.write_text("from deeper_helper import K")
    name = f"with_{helper.replace('.', '_')}"
    plugin = tmp_path / "plugin.py"
    plugin.write_text(PLUGIN.format(helper=helper, name=name))
    first = fingerprint(plugin, name)
    (tmp_path / "unrelated.py").write_text("K = 1")
    assert fingerprint(plugin, name) == first
    deeper.write_text("K = 2")
    second = fingerprint(plugin, name)
    file.write_text("from deeper_helper import K; L = 3")
    assert len({first, second, fingerprint(plugin, name)}) == 3


@pytest.mark.parametrize(
    ("name", "importing"),
    [
        ("scratch_one", "from . import low"),
        ("scratch_two", "from .low import value"),
        ("scratch_three", "from ..low import value"),
    ],
)
def test_relative_imports_within_a_package_are_followed(
    tmp_path, monkeypatch, name, importing
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    package = tmp_path / name
    inner = package / "inner"
    inner.mkdir(parents=True)
    low = (package if ".." in importing else inner) / "low.py"
    for file in (package / "__init__.py", inner / "__init__.py"):
        file.write_text("")
    (inner / "high.py").write_text(f"def late():\n    {importing}\n    import numpy.linalg")
    hashes = set()
    for value in (1, 2):
        low.write_text(f"value = {value}")
        code.code_hash.cache_clear()
        hashes.add(code.code_hash(f"{name}.inner.high"))
    assert len(hashes) == 2
    assert not any(one.startswith("numpy") for one in code.sources(f"{name}.inner.high"))


@pytest.mark.parametrize("module", ["scripted", "hashed", "local", "minilm"])
def test_a_model_s_fingerprint_covers_all_code_that_makes_its_numbers(module) -> None:
    pytest.importorskip("torch")
    seen = {name for name, source in code.sources(f"treadle.models.{module}").items() if source}
    expected = {
        "scripted": {"treadle.models.ngrams", "treadle.data.template"},
        "hashed": set(),
        "local": {"treadle.models.batching", "treadle.models.likelihood", "treadle.models.generation",
                  "treadle.models.tokenizer", "treadle.data.template"},
        "minilm": {"treadle.models.batching", "treadle.models.weights"},
    }  # fmt: skip
    assert expected[module] <= seen


def test_an_edit_in_the_plumbing_measures_nothing_again() -> None:
    names = set(code.sources("treadle.measure.ifd"))
    assert names >= {"treadle.measure.ifd"}
    assert not [name for name in names if f"{name}.".startswith(code.PREFIXES)]
    assert "treadle.machinery.store" in code.sources("treadle.machinery.store"), "asked for itself"


def test_a_task_done_by_other_code_is_another_task(tmp_path, monkeypatch) -> None:
    from treadle.machinery.engine import Stage, Task

    monkeypatch.syspath_prepend(str(tmp_path))
    ids = set()
    for text in ("return 1", "return 1", "return 2"):
        (tmp_path / "some_work.py").write_text(
            f"def work(blobs, options, resources):\n    {text}\n"
        )
        monkeypatch.delitem(sys.modules, "some_work", raising=False)
        code.file_hash.cache_clear()
        importlib.invalidate_caches()
        work = importlib.import_module("some_work").work
        ids.add(Stage("s", work, [], "print").task_id(Task(("blob",))))
    assert len(ids) == 2
