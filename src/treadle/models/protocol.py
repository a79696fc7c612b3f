"""What treadle asks of a model: log-probabilities, generation, embeddings, gradients."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from treadle.data.row import Message
from treadle.data.template import Tokenizer

Epsilon = Literal["outside", "inside"]
"""Where Adam's epsilon stands: sqrt(v) + eps as in Adam, or sqrt(v + eps) as in LESS's code."""


@dataclass(frozen=True, slots=True)
class Scorable:
    """A token sequence to score. `wanted` marks the tokens whose log-probability is asked for."""

    ids: NDArray[np.int32]
    wanted: NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class TokenScores:
    """For each wanted token, in order: its log-probability and the entropy of the prediction (nats).

    A wanted token at position 0 has nothing before it and gets NaN.
    """

    logprobs: NDArray[np.float32]
    entropies: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Reply:
    """Generated text, its length in tokens, that of the prompt, and whether it stopped by itself."""

    text: str
    tokens: int
    has_stopped: bool
    prompt_tokens: int


class Student(Protocol):
    """A causal language model that can be scored, sampled and (through `train/`) trained."""

    name: str
    tokenizer: Tokenizer
    max_tokens: int
    """Length of the context window."""
    precision: str

    @property
    def fingerprint(self) -> str:
        """Hash of weights, tokenizer, chat template, precision and library versions."""
        ...

    def score(
        self, sequences: Sequence[Scorable], *, tick: Callable[[], None] = ...
    ) -> list[TokenScores]:
        """Score sequences; results come in the order of the input. `tick` is called each batch."""
        ...

    def generate(
        self,
        prompts: Sequence[Sequence[Message]],
        *,
        max_new_tokens: int,
        temperature: float = 0.0,
        seed: int = 0,
        tick: Callable[[], None] = ...,
    ) -> list[Reply]:
        """Answer prompts. Temperature 0 is greedy."""
        ...

    def tuned(self, folder: Path) -> Student:
        """Return this student with the weights that a train op wrote to `folder`."""
        ...


@dataclass(frozen=True, slots=True)
class Gradients:
    """Sketched gradients of sequences, one a row; a row of NaN has none.

    `plain` is the gradient itself, `adam` the step that Adam would take for it. An inner product of
    two rows is the sum over checkpoints of weight · cosine.
    """

    adam: NDArray[np.float32]
    plain: NDArray[np.float32]


@runtime_checkable
class Differentiable(Protocol):
    """A student that can say in which direction a sequence would push its weights."""

    name: str
    tokenizer: Tokenizer
    max_tokens: int

    def warm_up(
        self,
        sequences: Sequence[Scorable],
        *,
        lora: int,
        epochs: int,
        checkpoints: int,
        learning_rate: float,
        seed: int,
        tick: Callable[[], None] = ...,
    ) -> bytes:
        """Train an adapter; return its weights and Adam's state at each checkpoint."""
        ...

    def gradients(
        self,
        sequences: Sequence[Scorable],
        warm: bytes,
        *,
        width: int,
        epsilon: Epsilon,
        seed: int,
        tick: Callable[[], None] = ...,
    ) -> Gradients:
        """Return the gradient of each sequence's mean loss over its wanted tokens.

        It is taken at every checkpoint in `warm`, sketched to `width` numbers and scaled to length
        sqrt(weight of the checkpoint). Results come in the order of the input.
        """
        ...


class Embedder(Protocol):
    """A sentence encoder."""

    name: str
    width: int

    @property
    def fingerprint(self) -> str: ...

    def embed(self, texts: Sequence[str], *, tick: Callable[[], None] = ...) -> NDArray[np.float32]:
        """Return unit vectors, shape (len(texts), width)."""
        ...
