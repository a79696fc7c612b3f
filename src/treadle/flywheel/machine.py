"""How fast is this machine? Measured once a day, kept in the cache, used by the estimate."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import re
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np

from treadle.errors import StoreError
from treadle.machinery.disk import Disk
from treadle.models.cache import cache_folder

SHAPE = (1024, 576, 1536)
SECONDS = 0.5
KEPT_S = 24 * 3600
"""A figure that was measured while others used the machine is too low: it must not last."""


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
    """Return this machine's speed, measuring it (about a second) unless that was done today.

    A cache that cannot be read or written costs a second each time, and nothing else.
    """
    name = f"{_processor()}, {_threads()} cores"
    path = cache_folder() / f"machine-{re.sub(r'[^A-Za-z0-9]+', '-', name)}.json"
    machine = _kept(path)
    if machine is None:
        machine = _measure(name)
        record = {**asdict(machine), "measured_at": time.time()}
        with contextlib.suppress(OSError, StoreError):
            Disk().publish(path, json.dumps(record).encode())
    return machine


def _kept(path: Path) -> Machine | None:
    try:
        record = json.loads(path.read_bytes())
        age_s = time.time() - record["measured_at"]
        machine = Machine(record["name"], float(record["fp32"]), float(record["bf16"]))
    except (OSError, ValueError, TypeError, KeyError):
        return None
    return machine if 0 <= age_s < KEPT_S else None


def _processor() -> str:
    """The processor's name, by which machines that share a cache are told apart."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _threads() -> int:
    """How many cores may be used: a process that is held to one of two is half as fast."""
    cores = (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )
    asked = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0]
    return min(cores, int(asked)) if asked.isdecimal() and int(asked) else cores


def _measure(name: str) -> Machine:
    n, k, m = SHAPE
    try:
        import torch
    except ImportError:
        one, other = np.ones((n, k), np.float32), np.ones((k, m), np.float32)
        speed = _fastest(partial(np.matmul, one, other))
        return Machine(name, speed, speed)
    from treadle.models.linear import product

    speeds = []
    for kind in (torch.float32, torch.bfloat16):
        a, b = torch.randn(n, k).to(kind), torch.randn(m, k).to(kind)
        speeds.append(_fastest(partial(product, a, b)))
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
