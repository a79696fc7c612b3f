"""The local student: any causal language model that transformers can load, on any device.

    student = local.load("embedded's folder or owner/name")
    student.score([Scorable(ids, wanted)])[0].logprobs

Models are read by `loading`; scores go through `likelihood`, answers through `generation`, gradients
through `gradients`; training lives in `train/` and comes back through `tuned`. A student never
changes: tuned students own their weights.

Not here: quantised weights, models split over several devices, models that bring their own code.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

import numpy as np
import torch
import transformers
from numpy.typing import NDArray

from treadle.data.randomness import derived_rng
from treadle.data.row import Message
from treadle.data.template import safe_turns
from treadle.errors import ModelError
from treadle.machinery.code import code_hash
from treadle.models import adapter, generation, gradients, likelihood, weights
from treadle.models.hidden import pooled
from treadle.models.loading import (
    DTYPES,
    checked_precision,
    load_model,
    load_tokenizer,
    merge_adapter,
    stop_ids,
)
from treadle.models.protocol import (
    Epsilon,
    Gradients,
    Reply,
    Scale,
    Scorable,
    Targets,
    TokenScores,
)
from treadle.models.tokenizer import HFTokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedModel

ROWS_AT_ONCE = {"cpu": 16, "cuda": 64}
BUDGET = {"cpu": 2048, "cuda": 32768}


class _Options(TypedDict):
    pad_id: int
    budget: int
    tick: Callable[[], None]


class LocalStudent:
    """`protocol.Student` over a transformers model in memory.

    Args:
        model: a causal language model in evaluation mode; the student owns it from now on.
        weights_hash: hash of the weights, for the fingerprint.
    """

    def __init__(
        self, name: str, model: PreTrainedModel, tokenizer: HFTokenizer, *, weights_hash: str
    ) -> None:
        self.name = name
        self.model = model.eval().requires_grad_(False)
        self.tokenizer = tokenizer
        self.weights_hash = weights_hash
        self.precision = next(k for k, dtype in DTYPES.items() if dtype == model.dtype)
        window = getattr(model.config.get_text_config(), "max_position_embeddings", None)
        self.max_tokens = int(window) if window else 2048

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        device: torch.device = self.model.device
        return device

    @cached_property
    def fingerprint(self) -> str:
        """Hash of weights, tokenizer, template, precision, device type, code and versions."""
        parts = [
            self.weights_hash,
            self.tokenizer.fingerprint,
            self.precision,
            self.device.type,
            torch.__version__,
            transformers.__version__,
            code_hash(__name__),
        ]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]

    @cached_property
    def parameters(self) -> int:
        """How many weights the model has; weights that layers share count once."""
        return sum(weight.numel() for weight in self.model.parameters())

    @property
    def width(self) -> int:
        """Size of an input embedding."""
        return int(self.model.get_input_embeddings().weight.shape[1])

    @cached_property
    def _has_plain_head(self) -> bool:
        return likelihood.has_plain_head(self.model)

    def score(
        self, sequences: Sequence[Scorable], *, tick: Callable[[], None] = lambda: None
    ) -> list[TokenScores]:
        """Score sequences; results come in the order of the input.

        Raises:
            ModelError: a sequence is longer than the context window.
        """
        self._refuse_longer([s.ids for s in sequences])
        options = self._options(tick)
        return likelihood.score(
            self.model, sequences, head_is_plain=self._has_plain_head, **options
        )

    def score_noised(
        self,
        sequences: Sequence[Scorable],
        noise: Sequence[NDArray[np.float32]],
        *,
        tick: Callable[[], None] = lambda: None,
    ) -> list[TokenScores]:
        """Score sequences with noise, shape (tokens, width), added to their input embeddings.

        Raises:
            ModelError: a sequence is longer than the context window.
        """
        self._refuse_longer([s.ids for s in sequences])
        return likelihood.score_noised(
            self.model,
            sequences,
            noise,
            head_is_plain=self._has_plain_head,
            **self._options(tick),
        )

    def next_logprobs(
        self,
        prompts: Sequence[NDArray[np.int32]],
        choices: Sequence[int],
        *,
        tick: Callable[[], None] = lambda: None,
    ) -> NDArray[np.float32]:
        """Return the log-probability of each choice right after each prompt (prompts, choices).

        Raises:
            ModelError: a prompt with a token after it is longer than the context window.
        """
        self._refuse_longer(prompts, room=1)
        return likelihood.next_logprobs(
            self.model,
            prompts,
            choices,
            head_is_plain=self._has_plain_head,
            **self._options(tick),
        )

    def hidden(
        self, sequences: Sequence[NDArray[np.int32]], *, tick: Callable[[], None] = lambda: None
    ) -> NDArray[np.float32]:
        """Return the position-weighted mean of each sequence's last hidden states, in fp32.

        Raises:
            ModelError: a sequence is longer than the context window.
        """
        self._refuse_longer(sequences)
        return pooled(self.model, sequences, **self._options(tick))

    def _options(self, tick: Callable[[], None]) -> _Options:
        budget = BUDGET.get(self.device.type, BUDGET["cpu"])
        return {"pad_id": self.tokenizer.pad_id, "budget": budget, "tick": tick}

    def _refuse_longer(self, sequences: Sequence[NDArray[np.int32]], *, room: int = 0) -> None:
        longest = max((len(ids) + room for ids in sequences), default=0)
        if longest > self.max_tokens:
            raise ModelError(
                f"{self.name}: a sequence of {longest:,} tokens does not fit into the context "
                f"window of {self.max_tokens:,}. Lower max_tokens."
            )

    def generate(
        self,
        prompts: Sequence[Sequence[Message]],
        *,
        max_new_tokens: int,
        temperature: float = 0.0,
        seed: int = 0,
        tick: Callable[[], None] = lambda: None,
    ) -> list[Reply]:
        """Answer prompts. Temperature 0 is greedy.

        Each prompt has its own random numbers, derived from `seed` and its text: order does not
        matter, and the same prompt twice needs two seeds to get two answers. A prompt that fills
        the context window gets an empty reply that has not stopped.
        """
        texts = [
            self.tokenizer.render(safe_turns(turns, self.tokenizer), open_reply=True)
            for turns in prompts
        ]
        drafts = [
            generation.Draft(
                encoding.ids,
                derived_rng(seed, text),
                room=min(max_new_tokens, self.max_tokens - len(encoding.ids)),
            )
            for text, encoding in zip(texts, self.tokenizer.encode(texts), strict=True)
        ]
        generation.write(
            self.model,
            drafts,
            stop_ids=self.tokenizer.stop_ids,
            pad_id=self.tokenizer.pad_id,
            temperature=temperature,
            rows_at_once=ROWS_AT_ONCE.get(self.device.type, ROWS_AT_ONCE["cpu"]),
            tick=tick,
        )
        return [
            Reply(
                self.tokenizer.decode(d.ids),
                len(d.ids) + d.has_stopped,
                d.has_stopped,
                len(d.prompt),
            )
            for d in drafts
        ]

    def warm_up(
        self,
        sequences: Sequence[Scorable],
        *,
        lora: int,
        epochs: int,
        checkpoints: int,
        learning_rate: float,
        seed: int,
        targets: Targets = "all-linear",
        tick: Callable[[], None] = lambda: None,
    ) -> bytes:
        """Train an adapter; return its weights and Adam's state at each checkpoint, as safetensors."""
        return adapter.warm_up(
            self.model,
            sequences,
            lora=lora,
            epochs=epochs,
            checkpoints=checkpoints,
            learning_rate=learning_rate,
            seed=seed,
            targets=targets,
            pad_id=self.tokenizer.pad_id,
            tick=tick,
        )

    def gradients(
        self,
        sequences: Sequence[Scorable],
        warm: bytes,
        *,
        width: int,
        epsilon: Epsilon,
        seed: int,
        scale: Scale = "unit",
        tick: Callable[[], None] = lambda: None,
    ) -> Gradients:
        """Return the sketched gradient of each sequence's mean loss at every checkpoint in `warm`."""
        return gradients.gradients(
            self.model,
            sequences,
            warm,
            width=width,
            epsilon=epsilon,
            seed=seed,
            scale=scale,
            pad_id=self.tokenizer.pad_id,
            tick=tick,
        )

    def tuned(self, folder: Path) -> LocalStudent:
        """Return this student with the adapter or the full weights in `folder`.

        An adapter is merged in fp32 into a copy of this student's weights.

        Raises:
            ModelError: the folder holds neither, or not as safetensors.
        """
        if (folder / "adapter_config.json").is_file():
            model = merge_adapter(self.model, folder)
        elif (folder / "config.json").is_file():
            weights.check(folder, str(folder))
            model = load_model(folder, DTYPES[self.precision], self.device)
        else:
            raise ModelError(
                f"{folder}: neither adapter_config.json nor config.json is there, so it is not what "
                "a train op writes."
            )
        changed = f"{self.weights_hash}+{weights.content_hash(folder)}"
        return LocalStudent(
            self.name,
            model,
            self.tokenizer,
            weights_hash=hashlib.sha256(changed.encode()).hexdigest()[:32],
        )


def load(name: str, *, precision: str | None = None, hint: str = "") -> LocalStudent:
    """Load a causal language model from a folder or a hub id.

    Raises:
        ModelError: it cannot be found, is unsafe to load, or has no chat template.
    """
    folder = weights.locate(name, hint=hint)
    return load_folder(folder, name=name, precision=precision)


def load_folder(folder: Path, *, name: str, precision: str | None = None) -> LocalStudent:
    """Load the model in a folder.

    Raises:
        ModelError: as for `load`.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    dtype = DTYPES[checked_precision(precision, device)]
    weights.check(folder, name)
    model = load_model(folder, dtype, device)
    tokenizer = HFTokenizer(load_tokenizer(folder, name), name=name, extra_stop_ids=stop_ids(model))
    return LocalStudent(name, model, tokenizer, weights_hash=weights.content_hash(folder))
