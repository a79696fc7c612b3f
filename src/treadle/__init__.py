"""treadle turns the data value flywheel for LLM post-training, and proves that every turn helped.

The names below are the public door; they are loaded at first use, so `import treadle` is fast.
"""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

_DOOR = {
    "treadle.api": (
        "Run", "audit_rows", "check", "evaluate_rows", "lint_rows", "load", "measure_rows", "run",
        "runs", "select_rows", "trace", "train_rows", "try_prompt", "write_report",
    ),
    "treadle.data.pool": ("Pool",),
    "treadle.data.row": ("Message", "Origin", "Row"),
    "treadle.data.selection": ("Budget", "Findings", "Selection"),
    "treadle.errors": (
        "BudgetError", "DataError", "ModelError", "RecipeError", "StoreError", "TreadleError",
    ),
}  # fmt: skip
_HOME = {name: module for module, names in _DOOR.items() for name in names}

__all__ = ["__version__", *sorted(_HOME)]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'treadle' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return __all__
