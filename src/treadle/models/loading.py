"""Read a model and its tokenizer from a folder: safely, in the precision that is fast here.

Nothing that a folder holds is run: no pickles, no code of its own (`weights.check` refuses them before).
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import TYPE_CHECKING

import torch
import transformers
from safetensors import SafetensorError

from treadle.errors import ModelError
from treadle.models import weights
from treadle.models.linear import quicken

if TYPE_CHECKING:
    from transformers import PreTrainedModel

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


def load_model(folder: Path, dtype: torch.dtype, device: torch.device) -> PreTrainedModel:
    """Return the causal language model of a folder, on a device, with quick linear layers.

    Raises:
        ModelError: it cannot be loaded.
    """
    try:
        with weights.quietly():
            model: PreTrainedModel = transformers.AutoModelForCausalLM.from_pretrained(
                str(folder),
                dtype=dtype,
                use_safetensors=True,
                local_files_only=True,
                trust_remote_code=False,
            )
    except (OSError, ValueError, RuntimeError, KeyError, ImportError, SafetensorError) as error:
        raise ModelError(f"{folder}: the model cannot be loaded: {_first_line(error)}") from error
    return quicken(model.to(device))


def load_tokenizer(folder: Path, name: str) -> transformers.PreTrainedTokenizerFast:
    """Return the tokenizer of a folder.

    Raises:
        ModelError: it cannot be loaded.
    """
    try:
        tokenizer: transformers.PreTrainedTokenizerFast = (
            transformers.AutoTokenizer.from_pretrained(
                str(folder), local_files_only=True, trust_remote_code=False
            )
        )
    except (OSError, ValueError, RuntimeError, KeyError, ImportError) as error:
        raise ModelError(
            f"model {name!r}: its tokenizer cannot be loaded: {_first_line(error)}"
        ) from error
    return tokenizer


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).split("\n", 1)[0]


def stop_ids(model: PreTrainedModel) -> list[int]:
    """Return the tokens at which the model's own settings stop generating."""
    stops = getattr(model.generation_config, "eos_token_id", None)
    if stops is None:
        return []
    return [int(i) for i in stops] if isinstance(stops, list) else [int(stops)]


def checked_precision(precision: str | None, device: torch.device) -> str:
    """Return the precision to use: the one asked for, else the one that is fast here.

    Raises:
        ModelError: it is neither fp32 nor bf16.
    """
    if precision is None:
        return "bf16" if _is_good_at_bf16(device) else "fp32"
    if precision not in DTYPES:
        raise ModelError(f"precision must be fp32 or bf16, got {precision!r}.")
    return precision


def _is_good_at_bf16(device: torch.device) -> bool:
    """Whether bf16 multiplies faster than fp32.

    CPUs with AMX do, and AMD's with avx512_bf16. Intel's with avx512_bf16 but no AMX (often hidden
    in virtual machines) run it at half the speed of fp32.
    """
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    can = torch.cpu.get_capabilities()
    return bool(can.get("amx_bf16")) or (
        bool(can.get("avx512_bf16")) and "intel" not in str(can.get("cpu_name", "")).lower()
    )


def merge_adapter(base: PreTrainedModel, folder: Path) -> PreTrainedModel:
    """Return a copy of `base` with a PEFT adapter merged in.

    Adapter and weight are added in fp32 and rounded once, and a merged student scores and answers
    at full speed and can be tuned again. Only weights are rounded: a bf16 model keeps its rotary
    frequencies in fp32, and casting the whole model would move every position.
    """
    from peft import PeftModel

    if not (folder / "adapter_model.safetensors").is_file():
        raise ModelError(
            f"{folder}: adapter_model.safetensors is missing. Adapters in other formats can run "
            "code when they are read and are refused."
        )
    wide = copy.deepcopy(base).float()
    tuned = PeftModel.from_pretrained(wide, str(folder), is_trainable=False)
    merged = copy.deepcopy(base)
    merged.load_state_dict(tuned.merge_and_unload().state_dict())
    return merged
