"""How fast is this machine? Measured once, kept in the cache, used by the estimate."""

from __future__ import annotations

import json
import os
import platform
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from treadle.machinery.disk import Disk
from treadle.models.cache import cache_folder

SHAPE = (1024, 576, 1536)


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
    try:
        import torch
    except ImportError:
        speed = _numpy_speed()
        return Machine(name, speed, speed)
    speeds = {}
    for key, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
        n, k, m = SHAPE
        a, b = torch.randn(n, k).to(dtype), torch.randn(k, m).to(dtype)
        a @ b
        began, count = time.perf_counter(), 0
        while time.perf_counter() - began < 0.4:
            a @ b
            count += 1
        speeds[key] = 2 * n * k * m * count / (time.perf_counter() - began) / 1e9
    return Machine(name, speeds["fp32"], speeds["bf16"])


def _numpy_speed() -> float:
    n, k, m = SHAPE
    a, b = np.ones((n, k), np.float32), np.ones((k, m), np.float32)
    began, count = time.perf_counter(), 0
    while time.perf_counter() - began < 0.4:
        a @ b
        count += 1
    return 2 * n * k * m * count / (time.perf_counter() - began) / 1e9


def free_bytes(folder: Path) -> int:
    """Return the free space where `folder` is or will be."""
    while not folder.exists():
        folder = folder.parent
    stat = os.statvfs(folder)
    return stat.f_bavail * stat.f_frsize
