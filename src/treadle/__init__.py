"""treadle turns the data value flywheel for LLM post-training, and proves that every turn helped.

The names below are the public door; they are loaded at first use, so `import treadle` is fast.
"""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

_DOOR = {
    "treadle.wheel": ("check", "compare", "run"),
    "treadle.history": ("Run", "call_costs", "runs", "trace", "try_prompt"),
    "treadle.stages": (
        "audit_rows", "evaluate_rows", "lint_rows", "load", "measure_rows", "select_rows",
        "train_rows",
    ),
    "treadle.report": ("write_report",),
    "treadle.flywheel.features": ("Features",),
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
