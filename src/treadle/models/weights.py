"""Where a model's files are, and that they are what they should be.

Weights are safetensors only: other formats can run code when they are read. A model that brings
its own Python code is refused. Hubs are asked only when the files are not on this machine, with a
short time limit, because a firewalled machine would otherwise hang for minutes.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import json
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

from treadle.errors import ModelError

HUB_TIMEOUT_S = 10.0
FILES = ["*.json", "*.safetensors", "*.jinja", "tokenizer.model"]


def locate(name: str, *, hint: str = "") -> Path:
    """Return the folder of a model: a local folder, a cached download, or a fresh download.

    Raises:
        ModelError: there is none, or it cannot be used; the message says what was tried.
    """
    folder = Path(name).expanduser()
    if folder.is_dir():
        return folder
    if name.startswith(("/", ".", "~")) or name.count("/") != 1:
        raise ModelError(
            f"model {name!r}: no such folder, and not an id of the form owner/name.{hint}"
        )
    return _from_cache(name) or _from_hub(name, hint)


def in_wheel(package: str, file: str, install: str) -> Path:
    """Return a file inside an installed package, without importing the package.

    Raises:
        ModelError: it is not installed; `install` is what to run.
    """
    spec = importlib.util.find_spec(package)
    for place in (spec.submodule_search_locations or []) if spec else []:
        if (Path(place) / file).is_file():
            return Path(place) / file
    raise ModelError(f"the weights of {package} are not installed. Run: {install}")


def _from_cache(name: str) -> Path | None:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError

    try:
        folder = Path(snapshot_download(name, local_files_only=True, allow_patterns=FILES))
    except (OSError, HFValidationError):
        return None
    return folder if (folder / "config.json").is_file() and _is_complete(folder) else None


def _is_complete(folder: Path) -> bool:
    """Whether a download was not broken off: every shard that the index names is there."""
    index = folder / "model.safetensors.index.json"
    try:
        named = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
    except FileNotFoundError:
        return bool(_shards(folder))
    except (OSError, ValueError, KeyError):
        return False
    return all((folder / name).is_file() for name in named)


def _from_hub(name: str, hint: str) -> Path:
    from huggingface_hub import HfApi, snapshot_download

    try:
        info = HfApi().model_info(name, timeout=HUB_TIMEOUT_S)
        names = [file.rfilename for file in info.siblings or []]
        if not any(file.endswith(".safetensors") for file in names):
            raise ModelError(_not_safe(name))
        return Path(snapshot_download(name, revision=info.sha, allow_patterns=FILES))
    except ModelError:
        raise
    except Exception as error:  # the hub's client raises its transport's errors: any network fault
        reason = str(error).strip().split("\n", 1)[0] or type(error).__name__
        raise ModelError(
            f"model {name!r}: no such folder, not in the local Hugging Face cache, and the hub did "
            f"not give it ({reason}). Hubs may be unreachable from this machine: name a local folder with "
            f"config.json, tokenizer.json and model.safetensors instead, or use 'embedded'.{hint}",
            retryable=True,
        ) from error


def check(folder: Path, name: str) -> None:
    """Refuse a folder that is no model, needs its own code, or has no safetensors.

    Raises:
        ModelError: what is wrong and what to do.
    """
    from transformers import CONFIG_MAPPING

    path = folder / "config.json"
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
        kind = config["model_type"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(
            f"model {name!r}: {path} does not describe a model ({type(error).__name__}: {error}). "
            "Point to a folder saved with save_pretrained."
        ) from error
    if kind not in CONFIG_MAPPING:
        reason = "brings its own Python code" if "auto_map" in config else "is unknown"
        raise ModelError(
            f"model {name!r}: its architecture {kind!r} {reason} to the installed transformers. "
            "treadle never runs code that comes with a model: upgrade transformers or use another."
        )
    if not _shards(folder):
        raise ModelError(_not_safe(name))


def _not_safe(name: str) -> str:
    return (
        f"model {name!r}: no .safetensors weights. Other formats can run code when they are read "
        "and are refused: convert the model with save_pretrained first."
    )


def _shards(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.safetensors"))


def content_hash(folder: Path) -> str:
    """Hash the names and contents of a folder's weights and configuration."""
    files = [*_shards(folder), *sorted(folder.glob("*config.json"))]
    digest = hashlib.sha256()
    for path in files:
        digest.update(f"{path.name}:{file_hash(path)}\n".encode())
    return digest.hexdigest()[:32]


def file_hash(path: Path) -> str:
    """SHA-256 of a file, computed once for each (path, size, time of change)."""
    stat = path.stat()
    return _file_hash(str(path.resolve()), stat.st_size, stat.st_mtime_ns)


@lru_cache(maxsize=256)
def _file_hash(path: str, size_bytes: int, mtime_ns: int) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextlib.contextmanager
def quietly() -> Iterator[None]:
    """Keep transformers' progress bars off the terminal for a while."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()
