"""Log-probabilities of wanted tokens, in few forward passes.

Where the time goes in the plain way, and what is done instead:

- one sequence at a time, padded to nothing: small matrices → batches of like length;
- logits for every position: the head costs as much as a third of the body → only wanted positions;
- the template's system prompt again and again → one cached pass, expanded over the batch;
- a softmax a token in Python → one fused, chunked pass over the vocabulary in fp32.

Padding is on the right and attention is causal, so no real token ever sees a pad, no mask is
needed, and a score does not depend on its neighbours (beyond the last bits of a different
matrix shape).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from treadle.models.batching import plan, unique
from treadle.models.protocol import Scorable, TokenScores

if TYPE_CHECKING:
    from transformers import DynamicCache, PreTrainedModel

HEAD_CHUNK = 128
"""Positions whose logits exist at a time: 128 x 49,152 in fp32 is 25 MB."""


def score(
    model: PreTrainedModel,
    sequences: Sequence[Scorable],
    *,
    pad_id: int,
    budget: int,
    tick: Callable[[], None],
    head_is_plain: bool = False,
    shares_prefix: bool = True,
) -> list[TokenScores]:
    """Score sequences; results come in the order of the input.

    Args:
        budget: padded tokens in one batch.
        head_is_plain: what `has_plain_head` says of the model; the general way is slower.
        shares_prefix: compute a prefix that many sequences have in common only once.
    """
    distinct, places = unique(sequences)
    reader = Reader(model, pad_id, budget, tick, head_is_plain)
    found = reader.read(distinct, _scores, shares_prefix=shares_prefix)
    results = [_filled(s, values) for s, values in zip(distinct, found, strict=True)]
    return [results[place] for place in places]


def score_noised(
    model: PreTrainedModel,
    sequences: Sequence[Scorable],
    noise: Sequence[NDArray[np.float32]],
    *,
    pad_id: int,
    budget: int,
    tick: Callable[[], None],
    head_is_plain: bool = False,
) -> list[TokenScores]:
    """Score sequences with noise, shape (tokens, width), added to the embedding of each token."""
    order = sorted(range(len(sequences)), key=lambda i: len(sequences[i].ids))
    reader = Reader(model, pad_id, budget, tick, head_is_plain)
    found = reader.read([sequences[i] for i in order], _scores, noise=[noise[i] for i in order])
    results: dict[int, TokenScores] = {
        i: _filled(sequences[i], values) for i, values in zip(order, found, strict=True)
    }
    return [results[i] for i in range(len(sequences))]


def next_logprobs(
    model: PreTrainedModel,
    prompts: Sequence[NDArray[np.int32]],
    choices: Sequence[int],
    *,
    pad_id: int,
    budget: int,
    tick: Callable[[], None],
    head_is_plain: bool = False,
) -> NDArray[np.float32]:
    """Return the log-probability of each choice right after each prompt (prompts, choices)."""
    columns = torch.tensor(list(choices), device=model.device)

    def reduce(logits: torch.Tensor, _: torch.Tensor) -> torch.Tensor:
        return logits.float().log_softmax(dim=-1)[:, columns]

    distinct, places = unique([_opened(ids, choices[0]) for ids in prompts])
    reader = Reader(model, pad_id, budget, tick, head_is_plain)
    found = np.zeros((len(distinct), len(choices)), dtype=np.float32)
    for row, values in zip(found, reader.read(distinct, reduce), strict=True):
        row[:] = values[0]
    return found[places]


def _opened(prompt: NDArray[np.int32], choice: int) -> Scorable:
    """A prompt with one token after it: which one is the same for all, and does not matter."""
    wanted = np.zeros(len(prompt) + 1, dtype=np.bool_)
    wanted[-1] = True
    return Scorable(np.append(prompt, np.int32(choice)), wanted)


Reduce = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""From logits (positions, vocabulary) and their tokens to numbers (positions, any)."""


@dataclass(frozen=True)
class Reader:
    """Runs sequences through a model and reduces the logits of each wanted token to a few numbers."""

    model: PreTrainedModel
    pad_id: int
    budget: int
    tick: Callable[[], None]
    head_is_plain: bool

    def read(
        self,
        sequences: Sequence[Scorable],
        reduce: Reduce,
        *,
        shares_prefix: bool = True,
        noise: Sequence[NDArray[np.float32]] | None = None,
    ) -> list[NDArray[np.float32]]:
        """Return what `reduce` makes of each sequence; they must be sorted by length.

        A wanted token at position 0 has no prediction and no numbers.
        """
        shares = shares_prefix and noise is None and has_plain_cache(self.model)
        found = [np.zeros((0, 1), dtype=np.float32)] * len(sequences)
        live = [i for i, s in enumerate(sequences) if s.wanted[1:].any()]
        prefix: tuple[bytes, DynamicCache] | None = None
        for batch in plan([sequences[i] for i in live], budget=self.budget, shares=shares):
            self.tick()
            places = [live[i] for i in batch.members]
            members = [sequences[i] for i in places]
            head = members[0].ids[: batch.shared]
            with torch.inference_mode():
                if batch.shared and (prefix is None or prefix[0] != head.tobytes()):
                    prefix = (head.tobytes(), _prefill(self.model, head))
                cache = _expand(prefix[1], len(members)) if batch.shared and prefix else None
                inputs = self._inputs(members, batch.shared, cache)
                if noise is not None:
                    inputs = _noised(self.model, inputs, [noise[i] for i in places])
                values = self._reduced(members, batch.shared, inputs, reduce)
            for i, part in zip(places, values, strict=True):
                found[i] = part
        return found

    def _inputs(
        self, members: Sequence[Scorable], shared: int, cache: DynamicCache | None
    ) -> dict[str, object]:
        tokens = padded([s.ids[shared:] for s in members], self.pad_id).to(self.model.device)
        return {"input_ids": tokens, "past_key_values": cache, "use_cache": cache is not None}

    def _reduced(
        self,
        members: Sequence[Scorable],
        shared: int,
        inputs: Mapping[str, object],
        reduce: Reduce,
    ) -> list[NDArray[np.float32]]:
        # A wanted token at position p is predicted at p - 1; position 0 has no prediction.
        wanted = [np.flatnonzero(s.wanted[1:]) + 1 for s in members]
        counts = [len(w) for w in wanted]
        device = self.model.device
        rows = torch.from_numpy(np.repeat(np.arange(len(members)), counts)).to(device)
        columns = torch.from_numpy(np.concatenate(wanted) - 1 - shared).to(device)
        picked = np.concatenate([s.ids[w] for s, w in zip(members, wanted, strict=True)])
        targets = torch.from_numpy(picked.astype(np.int64)).to(device)
        parts: list[torch.Tensor] = []
        begin = 0
        for logits in _logits(self.model, inputs, rows, columns, self.head_is_plain):
            parts.append(reduce(logits, targets[begin : begin + len(logits)]))
            begin += len(logits)
        return np.split(torch.cat(parts).cpu().numpy(), np.cumsum(counts)[:-1])


def padded(sequences: Sequence[NDArray[np.int32]], pad_id: int) -> torch.Tensor:
    """Return ids as a matrix, padded on the right."""
    tokens = torch.full((len(sequences), max(len(ids) for ids in sequences)), pad_id)
    for row, ids in zip(tokens, sequences, strict=True):
        row[: len(ids)] = torch.from_numpy(ids.astype(np.int64))
    return tokens


def _noised(
    model: PreTrainedModel, inputs: Mapping[str, object], noise: Sequence[NDArray[np.float32]]
) -> dict[str, object]:
    """Replace ids by their embeddings with noise added."""
    embedded = model.get_input_embeddings()(inputs["input_ids"])
    wide = embedded.float()
    for row, added in zip(wide, noise, strict=True):
        row[: len(added)] += torch.from_numpy(added).to(row.device)
    rest = {name: value for name, value in inputs.items() if name != "input_ids"}
    return {**rest, "inputs_embeds": wide.to(embedded.dtype)}


def _scores(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return torch.stack(statistics(logits, targets), dim=1)


def _filled(sequence: Scorable, values: NDArray[np.float32]) -> TokenScores:
    """Log-probabilities and entropies of the wanted tokens; a wanted first token stays NaN."""
    scores = _nothing(sequence)
    if len(values):
        scores.logprobs[-len(values) :] = values[:, 0]
        scores.entropies[-len(values) :] = values[:, 1]
    return scores


def _nothing(sequence: Scorable) -> TokenScores:
    """NaN for each wanted token: what position 0 keeps, having nothing before it."""
    empty = np.full(int(sequence.wanted.sum()), np.nan, dtype=np.float32)
    return TokenScores(empty, empty.copy())


def has_plain_cache(model: PreTrainedModel) -> bool:
    """Whether every layer keeps plain keys and values, which can be expanded over a batch."""
    from transformers import DynamicCache
    from transformers.cache_utils import DynamicLayer

    layers = DynamicCache(config=model.config).layers
    return bool(layers) and all(type(layer) is DynamicLayer for layer in layers)


def _prefill(model: PreTrainedModel, ids: np.ndarray) -> DynamicCache:
    from transformers import DynamicCache

    cache = DynamicCache(config=model.config)
    tokens = torch.from_numpy(ids.astype(np.int64))[None].to(model.device)
    model.get_decoder()(input_ids=tokens, past_key_values=cache, use_cache=True)
    return cache


def _expand(prefix: DynamicCache, rows: int) -> DynamicCache:
    """Return a fresh cache in which every row starts with the prefix."""
    from transformers import DynamicCache

    parts = [
        (layer.keys.expand(rows, -1, -1, -1), layer.values.expand(rows, -1, -1, -1))
        for layer in prefix.layers
    ]
    return DynamicCache(parts)


def _logits(
    model: PreTrainedModel,
    inputs: Mapping[str, object],
    rows: torch.Tensor,
    columns: torch.Tensor,
    is_plain: bool,
) -> Iterator[torch.Tensor]:
    """Yield logits of the picked positions, in order, some at a time.

    An architecture that scales or caps its logits after the head runs its own forward, with a hook
    that shows the head only the picked positions; a plain one is spared the memory.
    """
    head = model.get_output_embeddings()
    if is_plain:
        hidden = model.get_decoder()(**inputs).last_hidden_state[rows, columns]
        for begin in range(0, len(hidden), HEAD_CHUNK):
            yield head(hidden[begin : begin + HEAD_CHUNK])
        return
    hook = head.register_forward_pre_hook(lambda _, given: (given[0][rows, columns][None],))
    try:
        logits = model(**inputs).logits[0]
    finally:
        hook.remove()
    yield from logits.split(HEAD_CHUNK)


def has_plain_head(model: PreTrainedModel) -> bool:
    """Whether logits are just the head over the decoder's last state, as tried on a few tokens."""
    head, body = model.get_output_embeddings(), model.get_decoder()
    ids = torch.arange(4, device=model.device)[None]
    with torch.inference_mode():
        full = model(input_ids=ids, use_cache=False).logits
        return bool(
            isinstance(head, torch.nn.Linear)
            and body is not model
            and torch.equal(full, head(body(input_ids=ids, use_cache=False).last_hidden_state))
        )


def statistics(logits: torch.Tensor, targets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the log-probability of each target and the entropy of its prediction, in nats.

    In place where it can be: logits are the largest thing in memory. With x = logit − maximum,
    log p = x_target − log Σ eˣ, and entropy = log Σ eˣ − Σ x·eˣ / Σ eˣ.
    """
    shifted = logits.float()
    shifted -= shifted.amax(dim=-1, keepdim=True)
    chosen = shifted.gather(1, targets[:, None])[:, 0]
    weights = shifted.exp()
    total = weights.sum(dim=-1)
    log_total = total.log()
    weighted = weights.mul_(shifted).sum(dim=-1)
    return chosen - log_total, log_total - weighted / total
