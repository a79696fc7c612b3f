"""What training leaves behind: an adapter or a whole model, in the formats that other tools read.

The same weights always give the same bytes, and nothing names a folder of this machine: these files
are hashed, cached and handed on.

Not here: reading them back (`Student.tuned`).
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from peft import PeftModel
    from transformers import PreTrainedModel, PreTrainedTokenizerFast


def save_adapter(model: PeftModel, name: str, folder: Path) -> None:
    """Write the adapter in PEFT's format, without the model card and the paths that PEFT adds."""
    from peft import get_peft_model_state_dict
    from safetensors.torch import save_file

    state = get_peft_model_state_dict(model, save_embedding_layers=False)
    tensors = {key: value.detach().cpu().contiguous() for key, value in sorted(state.items())}
    save_file(tensors, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    config = model.peft_config["default"].to_dict()
    config |= {"base_model_name_or_path": public_name(name), "inference_mode": True}
    config = {k: sorted(v) if isinstance(v, set) else v for k, v in config.items()}
    text = json.dumps(config, indent=1, sort_keys=True) + "\n"
    (folder / "adapter_config.json").write_bytes(text.encode())


def save_full(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    name: str,
    dtype: torch.dtype,
    folder: Path,
) -> None:
    """Write weights in the precision of the student, configuration and tokenizer."""
    model = model.to(dtype)
    model.name_or_path = model.config._name_or_path = public_name(name)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def public_name(name: str) -> str:
    """Return a model's name without the folders of this machine."""
    is_path = name.startswith(("/", ".", "~")) or "\\" in name or Path(name).exists()
    return re.split(r"[/\\]", name.rstrip("/\\"))[-1] if is_path else name
