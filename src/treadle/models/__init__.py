"""Models: one protocol, and a door that loads by name.

    student = load("embedded")            # SmolLM2-135M-Instruct, no hub needed
    student = load("owner/name")          # any causal language model with a chat template
    embedder = load_embedder("minilm")

Nothing here imports torch until a model that needs it is loaded.
"""

from __future__ import annotations

import importlib
from typing import Literal, Protocol, cast

from treadle.errors import ModelError, nearest
from treadle.models.protocol import Embedder, Student

__all__ = ["EMBEDDERS", "STUDENTS", "load", "load_embedder"]

STUDENTS = ("embedded", "proxy", "scripted")
EMBEDDERS = ("hashed", "minilm")
Precision = Literal["fp32", "bf16"]


class _Loader(Protocol):
    """A module with a `load` function."""

    def load(self, *args: str, **options: str | None) -> Student | Embedder: ...


def load(name: str, *, precision: Precision | None = None) -> Student:
    """Load a student: `embedded`, `proxy`, `scripted`, a Hugging Face id, or a local folder.

    Args:
        precision: of a real model; by default bf16 where the hardware is good at it, else fp32.

    Raises:
        ModelError: it is unknown or unreachable, or unsafe to load.
    """
    if name in ("proxy", "scripted"):
        return cast(Student, _module(name).load())
    if name == "embedded":
        return cast(Student, _module("embedded").load(precision=precision))
    hint = nearest(name, STUDENTS)
    local = _module("local", asked_for=name, hint=hint)
    return cast(Student, local.load(name, precision=precision, hint=hint))


def load_embedder(name: str = "minilm") -> Embedder:
    """Load a sentence encoder: `minilm`, or `hashed` (no torch, for tests and the scripted student).

    Raises:
        ModelError: it is unknown or not installed.
    """
    if name not in EMBEDDERS:
        raise ModelError(f"unknown embedder {name!r}.{nearest(name, EMBEDDERS)}")
    return cast(Embedder, _module(name).load())


def _module(name: str, *, asked_for: str = "", hint: str = "") -> _Loader:
    """Import a model's module only now: most of them import torch."""
    try:
        return cast(_Loader, importlib.import_module(f"treadle.models.{name}"))
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("treadle"):
            raise
        raise ModelError(
            f"the model {asked_for or name!r} needs the package {error.name!r}. "
            f"Run: pip install 'treadle[local]'.{hint}"
        ) from error
