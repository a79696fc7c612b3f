"""Models that count what they are asked to compute, in floating-point operations (FLOPs).

    meter = Meter()
    student = meter.models({"student": student})["student"]
    student.score(sequences)
    meter.flops     # 2 · parameters · tokens

The usual estimates for transformers: a token costs 2 operations a weight to read; 6 where a gradient
of all weights is taken as well, and 4 where an adapter is trained, since a frozen weight needs none
of its own. A gradient of a row counts as one of all weights, as in the papers whose methods take them.

Tokens are those that were handed over, each sequence whole and without padding. What an implementation
saves (a beginning that is read once for many) or wastes (padding) is not counted, nor is attention's
share, which grows with the length of a row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from treadle.data.row import Message
from treadle.data.template import Tokenizer
from treadle.models.protocol import (
    Differentiable,
    Embedder,
    Epsilon,
    Gradients,
    Reply,
    Scale,
    Scorable,
    Student,
    Targets,
    TokenScores,
)

READ, TRAIN_ADAPTER, TRAIN_ALL = 2, 4, 6
"""Operations a weight and token: to read it, to train an adapter on it, to train all weights on it."""

Tick = Callable[[], None]


def _nothing() -> None:
    return None


@dataclass
class Meter:
    """Adds up the work of the models that it lends."""

    flops: int = 0

    def models(self, models: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the same models by role, each counting its work here. None is loaded before its time.

        Models behind endpoints are lent as they are: their work is counted in the call book.
        """
        return _Lent(models, self)

    def add(self, model: Student | Embedder, tokens: int, each: int = READ) -> None:
        """Add the work of a model on so many tokens."""
        self.flops += each * model.parameters * tokens


@dataclass(frozen=True)
class _Lent(Mapping[str, Any]):
    models: Mapping[str, Any]
    meter: Meter

    def __getitem__(self, role: str) -> Any:
        model = self.models[role]
        if role == "embedder":
            return _MeteredEmbedder(model, self.meter)
        if role != "student":
            return model
        kind = _MeteredGradients if isinstance(model, Differentiable) else _MeteredStudent
        return kind(model, self.meter)

    def __iter__(self) -> Iterator[str]:
        return iter(self.models)

    def __len__(self) -> int:
        return len(self.models)


@dataclass(frozen=True)
class _MeteredEmbedder:
    """`protocol.Embedder`."""

    embedder: Embedder
    meter: Meter

    @property
    def name(self) -> str:
        return self.embedder.name

    @property
    def width(self) -> int:
        return self.embedder.width

    @property
    def parameters(self) -> int:
        return self.embedder.parameters

    @property
    def fingerprint(self) -> str:
        return self.embedder.fingerprint

    def tokens(self, texts: Sequence[str]) -> int:
        return self.embedder.tokens(texts)

    def embed(self, texts: Sequence[str], *, tick: Tick = _nothing) -> NDArray[np.float32]:
        found = self.embedder.embed(texts, tick=tick)
        self.meter.add(self.embedder, self.embedder.tokens(texts))
        return found


@dataclass(frozen=True)
class _MeteredStudent:
    """`protocol.Student`."""

    student: Any
    meter: Meter

    @property
    def name(self) -> str:
        return str(self.student.name)

    @property
    def tokenizer(self) -> Tokenizer:
        tokenizer: Tokenizer = self.student.tokenizer
        return tokenizer

    @property
    def max_tokens(self) -> int:
        return int(self.student.max_tokens)

    @property
    def precision(self) -> str:
        return str(self.student.precision)

    @property
    def parameters(self) -> int:
        return int(self.student.parameters)

    @property
    def width(self) -> int:
        return int(self.student.width)

    @property
    def fingerprint(self) -> str:
        return str(self.student.fingerprint)

    def score(self, sequences: Sequence[Scorable], *, tick: Tick = _nothing) -> list[TokenScores]:
        found: list[TokenScores] = self.student.score(sequences, tick=tick)
        self.meter.add(self.student, _scored(sequences))
        return found

    def score_noised(
        self,
        sequences: Sequence[Scorable],
        noise: Sequence[NDArray[np.float32]],
        *,
        tick: Tick = _nothing,
    ) -> list[TokenScores]:
        found: list[TokenScores] = self.student.score_noised(sequences, noise, tick=tick)
        self.meter.add(self.student, _scored(sequences))
        return found

    def next_logprobs(
        self, prompts: Sequence[NDArray[np.int32]], choices: Sequence[int], *, tick: Tick = _nothing
    ) -> NDArray[np.float32]:
        found: NDArray[np.float32] = self.student.next_logprobs(prompts, choices, tick=tick)
        self.meter.add(self.student, sum(map(len, prompts)))
        return found

    def hidden(
        self, sequences: Sequence[NDArray[np.int32]], *, tick: Tick = _nothing
    ) -> NDArray[np.float32]:
        found: NDArray[np.float32] = self.student.hidden(sequences, tick=tick)
        self.meter.add(self.student, sum(map(len, sequences)))
        return found

    def generate(
        self,
        prompts: Sequence[Sequence[Message]],
        *,
        max_new_tokens: int,
        temperature: float = 0.0,
        seed: int = 0,
        tick: Tick = _nothing,
    ) -> list[Reply]:
        found: list[Reply] = self.student.generate(
            prompts, max_new_tokens=max_new_tokens, temperature=temperature, seed=seed, tick=tick
        )
        self.meter.add(self.student, sum(one.prompt_tokens + one.tokens for one in found))
        return found

    def tuned(self, folder: Path) -> _MeteredStudent:
        return type(self)(self.student.tuned(folder), self.meter)


@dataclass(frozen=True)
class _MeteredGradients(_MeteredStudent):
    """`protocol.Differentiable` too."""

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
        tick: Tick = _nothing,
    ) -> bytes:
        found: bytes = self.student.warm_up(
            sequences, lora=lora, epochs=epochs, checkpoints=checkpoints,
            learning_rate=learning_rate, seed=seed, targets=targets, tick=tick,
        )  # fmt: skip
        if found:  # a student of counts has no adapter to train
            self.meter.add(self.student, epochs * _scored(sequences), TRAIN_ADAPTER)
        return found

    def gradients(
        self,
        sequences: Sequence[Scorable],
        warm: bytes,
        *,
        width: int,
        epsilon: Epsilon,
        seed: int,
        scale: Scale = "unit",
        tick: Tick = _nothing,
    ) -> Gradients:
        found: Gradients = self.student.gradients(
            sequences, warm, width=width, epsilon=epsilon, seed=seed, scale=scale, tick=tick
        )
        checkpoints = max(1, found.plain.shape[1] // width)
        self.meter.add(self.student, checkpoints * _scored(sequences), TRAIN_ALL)
        return found


def _scored(sequences: Sequence[Scorable]) -> int:
    """Tokens of the sequences that have something to predict; no student reads the others."""
    return sum(len(s.ids) for s in sequences if s.wanted[1:].any())
