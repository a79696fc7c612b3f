"""The scripted student: a real language model of bytes, small enough to train in milliseconds.

    student = scripted.load()
    student.generate([[Message("user", "Hello?")]], max_new_tokens=16)

Every stage of the wheel can be turned with it in a second, without torch and without weights: it is
a proper probability model, so likelihoods, IFD and training behave as they do with a real one, only
weaker. It counts n-grams of bytes (contexts of 0 to 5) and mixes the orders by Dirichlet smoothing;
a cache of the earlier turns makes a reply that takes up words of its prompt more likely.

All arithmetic for a sequence reads that sequence only, and counts are integers, so results do not
depend on batches, threads or the order of training rows. `replies` scripts answers for tests.

Not here: training (`train/ngram.py`), counting (`ngrams`), a model worth deploying (`local.py`).
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from treadle.data.randomness import derived_rng
from treadle.data.row import ROLES, Message
from treadle.data.template import Encoding, safe_turns
from treadle.errors import ModelError
from treadle.machinery.code import code_hash
from treadle.models.ngrams import NOTHING, REACH, UNIT, VOCABULARY, Counts, followers, grams
from treadle.models.protocol import (
    Epsilon,
    Gradients,
    Reply,
    Scale,
    Scorable,
    Targets,
    TokenScores,
)
from treadle.models.sketch import sketch

CONTROL = (*(f"<|{role}|>" for role in ROLES), "<|end|>")
STOP = 256 + len(CONTROL) - 1
TOKENS = STOP + 1
CACHE_STRENGTH = 4.0  # how many earlier sightings in the text weigh as much as all counts
COUNTS_FILE = "counts.json"
PARAMETERS = (
    1_000_000  # in name only, so that budgets in FLOPs can be tried with it: counts have none
)
NO_EMBEDDINGS = (
    "the scripted student counts and has no embeddings that noise could be added to. Use `proxy`, "
    "`embedded` or any other local model."
)
_PARTS = re.compile("(" + "|".join(re.escape(mark) for mark in CONTROL) + ")")

CORPUS = """\
<|user|>What is the capital of France?<|end|><|assistant|>The capital of France is Paris.<|end|>
<|user|>Name three primary colours.<|end|><|assistant|>Red, blue and yellow.<|end|>
<|user|>Write one sentence about the sea.<|end|><|assistant|>The sea is wide and it is never still.<|end|>
<|user|>How do I boil an egg?<|end|><|assistant|>Put the egg in hot water for eight minutes.<|end|>
<|user|>What is 2 + 3?<|end|><|assistant|>2 + 3 = 5<|end|>
The people of the town met in the morning and talked about the weather, the water and the work that
had to be done before the end of the year. Some of them said that the old mill should be used again.
Others thought that it would take too long and cost too much, and that there were better ways.
A good answer is short, says what was asked for, and gives a reason. It does not repeat the question.
There are many things to see in a large city: the river, the bridges, the houses and the markets.
When you write a list, put one item on each line. When you write a number, say what it counts.
This is an example of how to use the function; it takes a list of words and returns the longest one.
"""


class ByteTokenizer:
    """Bytes 0-255 and five control tokens. Any text survives encoding and decoding."""

    stop_ids: frozenset[int] = frozenset({STOP})
    control_tokens: tuple[str, ...] = CONTROL

    def render(self, turns: Sequence[Message], *, open_reply: bool) -> str:
        text = "".join(f"<|{turn.role}|>{turn.content}<|end|>" for turn in turns)
        return text + "<|assistant|>" if open_reply else text

    def encode(self, texts: Sequence[str]) -> list[Encoding]:
        return [_encode(text) for text in texts]

    def decode(self, ids: Sequence[int]) -> str:
        parts = (bytes([i]) if i < 256 else CONTROL[i - 256].encode() for i in ids)
        return b"".join(parts).decode("utf-8", "replace")


def _encode(text: str) -> Encoding:
    ids: list[NDArray[np.int32]] = [np.empty(0, np.int32)]
    starts: list[NDArray[np.int32]] = [np.empty(0, np.int32)]
    at = 0
    for i, part in enumerate(_PARTS.split(text)):
        if i % 2:
            ids.append(np.array([256 + CONTROL.index(part)], np.int32))
            starts.append(np.array([at], np.int32))
        elif part:
            raw = np.frombuffer(part.encode("utf-8", "replace"), np.uint8)
            opens = (raw & 0xC0) != 0x80  # the first byte of each character
            ids.append(raw.astype(np.int32))
            starts.append((at + np.cumsum(opens) - 1).astype(np.int32))
        at += len(part)
    return Encoding(np.concatenate(ids), np.concatenate(starts))


@dataclass(frozen=True)
class ScriptedStudent:
    """A student that counts. `replies` maps the text of a prompt's last turn to a fixed answer."""

    counts: Counts
    replies: Mapping[str, str] = field(default_factory=dict)
    name: str = "scripted"
    max_tokens: int = 4096
    precision: str = "float64"
    parameters: int = PARAMETERS
    tokenizer: ByteTokenizer = field(default_factory=ByteTokenizer)

    @cached_property
    def fingerprint(self) -> str:
        parts = [self.counts.to_json(), self.max_tokens, code_hash(__name__)]
        text = json.dumps([*parts, sorted(self.replies.items())])
        return hashlib.sha256(text.encode()).hexdigest()[:32]

    def predict(self, ids: NDArray[np.int32], at: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the distribution of the token at each position `at` (ascending, up to len(ids))."""
        padded = np.concatenate([np.full(REACH, NOTHING, np.int64), ids.astype(np.int64)])
        base = self.counts.predict(padded[at[:, None] + np.arange(REACH)])
        copied = followers(ids, at)
        total = copied.sum(axis=1, keepdims=True)
        found: NDArray[np.float64] = (copied + CACHE_STRENGTH * base) / (total + CACHE_STRENGTH)
        return found

    def score(
        self, sequences: Sequence[Scorable], *, tick: Callable[[], None] = lambda: None
    ) -> list[TokenScores]:
        """Score sequences one by one: no result depends on its neighbours."""
        results = []
        for sequence in sequences:
            tick()
            results.append(self._score(sequence))
        return results

    def _score(self, sequence: Scorable) -> TokenScores:
        at = np.flatnonzero(sequence.wanted)
        likely = self.predict(sequence.ids, at)
        logs = np.log(likely)
        logprobs = logs[np.arange(len(at)), sequence.ids[at]].astype(np.float32)
        entropies = (-(likely * logs).sum(axis=1)).astype(np.float32)
        logprobs[at == 0] = np.nan
        entropies[at == 0] = np.nan
        return TokenScores(logprobs, entropies)

    def score_noised(
        self,
        sequences: Sequence[Scorable],
        noise: Sequence[NDArray[np.float32]],
        *,
        tick: Callable[[], None] = lambda: None,
    ) -> list[TokenScores]:
        """Refuse: counts have no embeddings that noise could be added to."""
        raise ModelError(NO_EMBEDDINGS)

    @property
    def width(self) -> int:
        raise ModelError(NO_EMBEDDINGS)

    def next_logprobs(
        self,
        prompts: Sequence[NDArray[np.int32]],
        choices: Sequence[int],
        *,
        tick: Callable[[], None] = lambda: None,
    ) -> NDArray[np.float32]:
        """Return the log-probability of each choice right after each prompt (prompts, choices)."""
        found = np.zeros((len(prompts), len(choices)), dtype=np.float32)
        for row, ids in zip(found, prompts, strict=True):
            tick()
            row[:] = np.log(self.predict(ids, np.array([len(ids)]))[0, list(choices)])
        return found

    def hidden(
        self, sequences: Sequence[NDArray[np.int32]], *, tick: Callable[[], None] = lambda: None
    ) -> NDArray[np.float32]:
        """Return position-weighted means of what stands in for hidden states.

        Counts have no hidden states. The square roots of the prediction after each token take their
        place: what a head would read off a state, and a unit vector.
        """
        found = np.full((len(sequences), VOCABULARY), np.nan, dtype=np.float32)
        for row, ids in zip(found, sequences, strict=True):
            tick()
            if len(ids):
                places = np.arange(1, len(ids) + 1)
                row[:] = places / places.sum() @ np.sqrt(self.predict(ids, places))
        return found

    def generate(
        self,
        prompts: Sequence[Sequence[Message]],
        *,
        max_new_tokens: int,
        temperature: float = 0.0,
        seed: int = 0,
        tick: Callable[[], None] = lambda: None,
    ) -> list[Reply]:
        """Answer prompts, each with its own random numbers: order and company do not matter."""
        results = []
        for prompt in prompts:
            tick()
            text = self.tokenizer.render(safe_turns(prompt, self.tokenizer), open_reply=True)
            ids = self.tokenizer.encode([text])[0].ids
            scripted = self.replies.get(prompt[-1].content) if prompt else None
            if scripted is not None:
                written, has_stopped = self._recite(scripted, max_new_tokens)
            else:
                rng = derived_rng(seed, text)
                written, has_stopped = self._continue(ids, max_new_tokens, temperature, rng)
            reply = self.tokenizer.decode(written.tolist())
            results.append(Reply(reply, len(written) + has_stopped, has_stopped, len(ids)))
        return results

    def _recite(self, text: str, max_new_tokens: int) -> tuple[NDArray[np.int32], bool]:
        ids = self.tokenizer.encode([text])[0].ids
        return ids[:max_new_tokens], len(ids) < max_new_tokens

    def _continue(
        self,
        prompt: NDArray[np.int32],
        max_new_tokens: int,
        temperature: float,
        rng: np.random.Generator,
    ) -> tuple[NDArray[np.int32], bool]:
        ids, start = prompt, len(prompt)
        while len(ids) - start < max_new_tokens and len(ids) < self.max_tokens:
            likely = self.predict(ids, np.array([len(ids)]))[0]
            choice = _choose(likely, temperature, rng)
            if choice == STOP:
                return ids[start:], True
            ids = np.append(ids, np.int32(choice))
        return ids[start:], False

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
        """Return nothing: counts have no optimiser whose state could be kept."""
        return b""

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
        """Return sketched gradients, the same as Adam's step and plain: there is no Adam here.

        The weights are a table that is added to the logits, one row for each preceding token, now
        zero. The loss of a token then has the gradient (prediction - what came) in one row of it.
        """
        drawn = sketch(TOKENS * TOKENS, width, seed)
        found = np.full((len(sequences), width), np.nan, dtype=np.float32)
        for i, sequence in enumerate(sequences):
            tick()
            short = drawn.of(self._gradient(sequence).reshape(1, -1))[0]
            length = np.sqrt((short * short).sum())
            if length > 0:
                found[i] = short / length if scale == "unit" else short
        return Gradients(found, found.copy())

    def _gradient(self, sequence: Scorable) -> NDArray[np.float64]:
        at = np.flatnonzero(sequence.wanted[1:]) + 1
        error = self.predict(sequence.ids, at)
        error[np.arange(len(at)), sequence.ids[at]] -= 1
        table = np.zeros((TOKENS, TOKENS))
        np.add.at(table, sequence.ids[at - 1], error / max(1, len(at)))
        return table

    def tuned(self, folder: Path) -> ScriptedStudent:
        """Return this student with the counts that `train.ngram` wrote to `folder`.

        Raises:
            ModelError: the folder holds no such counts.
        """
        path = folder / COUNTS_FILE
        try:
            counts = Counts.from_json(path.read_text(encoding="utf-8"))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ModelError(
                f"{path}: not the counts of a scripted student ({error}). Train it with `ngram`."
            ) from error
        return self.with_counts(counts)

    def with_counts(self, counts: Counts) -> ScriptedStudent:
        """Return this student with other counts."""
        return replace(self, counts=counts)


def _choose(likely: NDArray[np.float64], temperature: float, rng: np.random.Generator) -> int:
    """Return a byte or the stop token: other control tokens cannot be part of a reply."""
    allowed = likely.copy()
    allowed[256:STOP] = 0.0
    if temperature <= 0:
        return int(allowed.argmax())
    sharp = (allowed / allowed.max()) ** (1.0 / temperature)
    reach = np.cumsum(sharp)
    return int(np.searchsorted(reach, rng.random() * reach[-1], side="right"))


def load(replies: Mapping[str, str] | None = None) -> ScriptedStudent:
    """Return the untrained scripted student; `replies` scripts answers for tests."""
    ids = _encode(CORPUS).ids
    seen = grams(ids, np.ones(len(ids), np.bool_))
    counts = Counts.empty().plus(seen, np.full(len(seen), UNIT, np.int64))
    return ScriptedStudent(counts, dict(replies or {}))
