"""The machine's speed is measured, kept for a day, and never stands in the way."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest

from treadle.flywheel.machine import this_machine


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TREADLE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.mark.slow
def test_a_fresh_figure_is_used_and_one_of_yesterday_is_measured_again(cache: Path) -> None:
    measured = this_machine()
    assert measured.fp32 > 0
    (kept,) = cache.glob("machine-*.json")
    record = json.loads(kept.read_bytes())
    absurd = {**record, "fp32": 1e9}
    kept.write_text(json.dumps(absurd))
    assert this_machine().fp32 == 1e9
    for age_s in (100_000, -100_000):  # a day ago, or from a clock that was wrong
        kept.write_text(json.dumps({**absurd, "measured_at": time.time() - age_s}))
        assert this_machine().fp32 < 1e9


@pytest.mark.slow
def test_figures_are_kept_by_the_name_of_the_processor(cache: Path) -> None:
    processors = {
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    }
    assert any(name in this_machine().name for name in processors)


@pytest.mark.slow
@pytest.mark.parametrize("text", ["", "[]", "{}", '{"name": 1}'])
def test_a_damaged_figure_is_measured_again(cache: Path, text: str) -> None:
    this_machine()
    (kept,) = cache.glob("machine-*.json")
    kept.write_text(text)
    assert this_machine().fp32 > 0


@pytest.mark.slow
def test_a_cache_that_cannot_be_written_stops_nothing(cache: Path) -> None:
    cache.write_text("a file in the way")
    assert this_machine().fp32 > 0


@pytest.mark.slow
def test_a_process_held_to_fewer_cores_keeps_a_figure_of_its_own(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(8), raising=False)
    names = []
    for asked in ("2", "5,3", "99", "all", "0", "\u00b2"):
        monkeypatch.setenv("OMP_NUM_THREADS", asked)
        names.append(this_machine().name.rpartition(", ")[2])
    assert names == ["2 cores", "5 cores", "8 cores", "8 cores", "8 cores", "8 cores"]
    assert len(list(cache.glob("machine-*.json"))) == 3
