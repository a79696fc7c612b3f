"""What treadle asks of a model: log-probabilities, generation, hidden states, embeddings, gradients."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from treadle.data.row import Message
from treadle.data.template import Tokenizer, Tokens

Epsilon = Literal["outside", "inside"]
"""Where Adam's epsilon stands: sqrt(v) + eps as in Adam, or sqrt(v + eps) as in LESS's code."""
Scale = Literal["unit", "length"]
"""How long a gradient is handed over: length 1 at each checkpoint, or as long as it is."""
Targets = Literal["all-linear", "attention"]
"""Which layers an adapter sits on: all linear ones but the head, or those in attention blocks."""


def in_attention(layer: str) -> bool:
    """Whether a layer lies in an attention block, by its dotted name (`layers.0.self_attn.q_proj`)."""
    return any("attn" in part or "attention" in part for part in layer.split(".")[:-1])


@dataclass(frozen=True, slots=True)
class Scorable:
    """A token sequence to score. `wanted` marks the tokens whose log-probability is asked for."""

    ids: NDArray[np.int32]
    wanted: NDArray[np.bool_]

    @classmethod
    def reply(cls, row: Tokens, *, most: int | None = None) -> Scorable:
        """The last reply given all before it, or its first `most` tokens."""
        places = np.flatnonzero(row.trains[row.reply_from :])[:most] + row.reply_from
        wanted = np.zeros(int(places[-1]) + 1 if len(places) else 0, dtype=np.bool_)
        wanted[places] = True
        return cls(row.ids[: len(wanted)], wanted)

    @classmethod
    def reply_alone(cls, row: Tokens) -> Scorable:
        """The last reply given only the header that opens a reply."""
        ids = np.concatenate([row.header, row.reply]).astype(np.int32)
        return cls(ids, np.arange(len(ids)) >= len(row.header))


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
    def parameters(self) -> int:
        """How many weights it has, embeddings included: what its work in FLOPs is counted by."""
        ...

    @property
    def width(self) -> int:
        """Size of an input embedding.

        Raises:
            ModelError: this student has no embeddings.
        """
        ...

    @property
    def fingerprint(self) -> str:
        """Hash of weights, tokenizer, chat template, precision and library versions."""
        ...

    def score(
        self, sequences: Sequence[Scorable], *, tick: Callable[[], None] = ...
    ) -> list[TokenScores]:
        """Score sequences; results come in the order of the input. `tick` is called each batch."""
        ...

    def score_noised(
        self,
        sequences: Sequence[Scorable],
        noise: Sequence[NDArray[np.float32]],
        *,
        tick: Callable[[], None] = ...,
    ) -> list[TokenScores]:
        """Score sequences with noise, shape (tokens, width), added to their input embeddings.

        Raises:
            ModelError: this student has no embeddings.
        """
        ...

    def next_logprobs(
        self,
        prompts: Sequence[NDArray[np.int32]],
        choices: Sequence[int],
        *,
        tick: Callable[[], None] = ...,
    ) -> NDArray[np.float32]:
        """Return the log-probability of each token of `choices` as the next one after each prompt.

        The shape is (prompts, choices). A prompt has at least one token.
        """
        ...

    def hidden(
        self, sequences: Sequence[NDArray[np.int32]], *, tick: Callable[[], None] = ...
    ) -> NDArray[np.float32]:
        """Return the mean of each sequence's last hidden states, shape (sequences, width).

        The state of token i (from 0) weighs i + 1: late tokens have read more. NaN where there is
        no token.
        """
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
    two rows is the sum over checkpoints of weight · cosine; at the scale `length` it is the mean over
    checkpoints of learning rate · inner product.
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
        targets: Targets = ...,
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
        scale: Scale = ...,
        tick: Callable[[], None] = ...,
    ) -> Gradients:
        """Return the gradient of each sequence's mean loss over its wanted tokens.

        It is taken at every checkpoint in `warm`, sketched to `width` numbers and scaled to length
        sqrt(weight of the checkpoint); at the scale `length`, multiplied by sqrt(mean learning rate
        of the checkpoint / checkpoints). Results come in the order of the input.
        """
        ...


class Embedder(Protocol):
    """A sentence encoder."""

    name: str
    width: int

    @property
    def parameters(self) -> int:
        """How many weights it has; 0 if it only counts."""
        ...

    @property
    def fingerprint(self) -> str: ...

    def tokens(self, texts: Sequence[str]) -> int:
        """Return how many tokens it reads to embed these texts."""
        ...

    def embed(self, texts: Sequence[str], *, tick: Callable[[], None] = ...) -> NDArray[np.float32]:
        """Return unit vectors, shape (len(texts), width)."""
        ...
