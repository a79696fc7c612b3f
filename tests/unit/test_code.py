"""Code hashes: what a cached result depends on besides its inputs."""

import sys
from pathlib import Path

import pytest

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


@pytest.mark.parametrize("module", ["scripted", "hashed", "local", "minilm"])
def test_a_model_s_fingerprint_covers_all_code_that_makes_its_numbers(module) -> None:
    pytest.importorskip("torch")
    seen = set()
    waiting = [f"treadle.models.{module}"]
    while waiting:
        name = waiting.pop()
        if name not in seen:
            seen.add(name)
            waiting += [n for n in code._own_imports(code._source(name)) if code._source(n)]
    expected = {
        "scripted": {"treadle.models.ngrams", "treadle.data.template"},
        "hashed": set(),
        "local": {"treadle.models.batching", "treadle.models.likelihood", "treadle.models.generation",
                  "treadle.models.tokenizer", "treadle.data.template"},
        "minilm": {"treadle.models.batching", "treadle.models.weights"},
    }  # fmt: skip
    assert expected[module] <= seen
