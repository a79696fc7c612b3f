"""The file that llama.cpp serves: the embedded model as it came, or a trained student written anew.

A trained student is the embedded model with other weights, so its file is the shipped one with the
tensors replaced: tokenizer, chat template and shape are copied. Weights are written as Q8_0 (8 bits, a
scale for each 32), which changes few greedy replies. llama.cpp keeps the rows of query and key
matrices in another order than transformers does.
"""

from __future__ import annotations

import hashlib
import importlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from treadle.errors import ModelError
from treadle.models import load, weights
from treadle.models.cache import kept
from treadle.models.embedded_file import gguf_path

NAMES = {
    "token_embd": "model.embed_tokens",
    "output_norm": "model.norm",
    "output": "lm_head",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "attn_norm": "input_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
    "ffn_norm": "post_attention_layernorm",
}
"""The tensors of a Llama model: as GGUF calls them, and as transformers does."""
BLOCK = re.compile(r"blk\.(\d+)\.(\w+)\.weight")
FILE = "student-q8_0.gguf"
WRITER = 1
"""Counts changes of how files are written, so that no older one is taken from the cache."""


@dataclass(frozen=True, slots=True)
class Found:
    """A file to serve, and the name that requests call it by."""

    file: Path
    model: str


def find(name: str, adapter: Path | None = None) -> Found:
    """Return the file of `embedded`, of a student trained from it, or a GGUF file itself.

    Raises:
        ModelError: there is none.
    """
    path = Path(name).expanduser()
    if name == "embedded" and adapter is None:
        return Found(gguf_path(), name)
    if name == "embedded" and adapter is not None:
        return Found(student_file(adapter), f"embedded+{_print(adapter)[:8]}")
    if path.suffix == ".gguf" and path.is_file() and adapter is None:
        return Found(path, path.stem)
    if adapter is None and (path / "adapter_config.json").is_file():
        return find("embedded", path)
    if adapter is None and (path / "adapter").is_dir():  # a run folder
        return find("embedded", path / "adapter")
    raise ModelError(
        f"model {name!r}{f' with {adapter}' if adapter else ''}: cannot be served. Name `embedded`, a "
        "GGUF file, a run folder, or a folder that `treadle train` wrote with the embedded model. "
        "Serve other models with llama.cpp or vLLM, and give the address of their server."
    )


def student_file(adapter: Path) -> Path:
    """Return the GGUF file of a student trained from the embedded model; write it if it is not kept.

    Raises:
        ModelError: the folder holds no such student, or the cache cannot be written.
    """
    folder = kept(
        f"student-{_print(adapter)}-v{WRITER}",
        lambda target: _write(adapter, target / FILE),
        doing="writing the student for llama.cpp (once, some seconds)",
        room="145 MB",
    )
    return folder / FILE


def _print(adapter: Path) -> str:
    if not adapter.is_dir():
        raise ModelError(f"{adapter}: no such folder. Name one that `treadle train` wrote.")
    return hashlib.sha256(weights.content_hash(adapter).encode()).hexdigest()[:16]


def _write(adapter: Path, target: Path) -> None:
    student: Any = load("embedded", precision="fp32")
    try:
        tuned = student.tuned(adapter)
    except (RuntimeError, ValueError, KeyError) as error:
        first = (str(error).strip() or type(error).__name__).split("\n", 1)[0]
        raise ModelError(
            f"{adapter}: is no student of the embedded model ({first}). Only such can be served."
        ) from error
    write_student(tuned.model, gguf_path(), target)


def write_student(model: Any, shipped: Path, target: Path) -> None:
    """Write a model's weights as Q8_0, with everything else as the shipped file has it."""
    gguf: Any = importlib.import_module("gguf")
    reader = gguf.GGUFReader(shipped)
    writer = gguf.GGUFWriter(target, "llama")
    for key, field in reader.fields.items():
        if key.startswith("GGUF.") or key == "general.architecture":
            continue
        value = field.contents()
        if key == "general.file_type":
            value = int(gguf.LlamaFileType.MOSTLY_Q8_0)
        inner = field.types[-1] if field.types[0] == gguf.GGUFValueType.ARRAY else None
        writer.add_key_value(key, value, field.types[0], sub_type=inner)
    state = model.state_dict()
    heads = {"attn_q": model.config.num_attention_heads, "attn_k": model.config.num_key_value_heads}
    kind = gguf.GGMLQuantizationType
    for tensor in reader.tensors:
        values = state[_name(tensor.name)].float().numpy()
        block = BLOCK.fullmatch(tensor.name)
        if block and block[2] in heads:
            values = _interleaved(values, heads[block[2]])
        if values.ndim == 1:
            writer.add_tensor(tensor.name, values)
        else:
            packed = gguf.quants.quantize(values, kind.Q8_0)
            writer.add_tensor(tensor.name, packed, raw_dtype=kind.Q8_0)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _name(tensor: str) -> str:
    """Return what transformers calls a tensor."""
    if block := BLOCK.fullmatch(tensor):
        return f"model.layers.{block[1]}.{NAMES[block[2]]}.weight"
    return f"{NAMES[tensor.removesuffix('.weight')]}.weight"


def _interleaved(values: Any, heads: int) -> Any:
    """Put the halves of each head's rotary pairs side by side, as llama.cpp reads them."""
    rows, *rest = values.shape
    return values.reshape(heads, 2, rows // heads // 2, *rest).swapaxes(1, 2).reshape(values.shape)
