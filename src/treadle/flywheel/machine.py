"""How fast is this machine? Measured once, kept in the cache, used by the estimate."""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np

from treadle.machinery.disk import Disk
from treadle.models.cache import cache_folder

SHAPE = (1024, 576, 1536)
SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Machine:
    """Measured matrix speed in GFLOP/s, by precision."""

    name: str
    fp32: float
    bf16: float

    @property
    def best(self) -> float:
        return max(self.fp32, self.bf16)


def this_machine() -> Machine:
    """Return this machine's measured speed, measuring it (about a second) the first time."""
    name = f"{platform.machine()}-{os.cpu_count()}-cores"
    path = cache_folder() / f"machine-{name}.json"
    try:
        return Machine(**json.loads(path.read_text()))
    except (OSError, ValueError, TypeError):
        machine = _measure(name)
    Disk().publish(path, json.dumps(asdict(machine)).encode())
    return machine


def _measure(name: str) -> Machine:
    n, k, m = SHAPE
    try:
        import torch
    except ImportError:
        one, other = np.ones((n, k), np.float32), np.ones((k, m), np.float32)
        speed = _fastest(partial(np.matmul, one, other))
        return Machine(name, speed, speed)
    speeds = []
    for kind in (torch.float32, torch.bfloat16):
        a, b = torch.randn(n, k).to(kind), torch.randn(k, m).to(kind)
        speeds.append(_fastest(partial(torch.matmul, a, b)))
    return Machine(name, *speeds)


def _fastest(multiply: Callable[[], object]) -> float:
    """Return GFLOP/s of the fastest of many multiplications: others may be using the machine."""
    best, began = float("inf"), time.perf_counter()
    while time.perf_counter() - began < SECONDS:
        start = time.perf_counter()
        multiply()
        best = min(best, time.perf_counter() - start)
    n, k, m = SHAPE
    return 2 * n * k * m / best / 1e9


def free_bytes(folder: Path) -> int:
    """Return the free space where `folder` is or will be."""
    while not folder.exists():
        folder = folder.parent
    stat = os.statvfs(folder)
    return stat.f_bavail * stat.f_frsize
