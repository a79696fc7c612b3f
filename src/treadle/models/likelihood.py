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
from typing import TYPE_CHECKING

import numpy as np
import torch

from treadle.models.batching import Batch, plan, unique
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
    shares = shares_prefix and has_plain_cache(model)
    results: list[TokenScores] = [_nothing(s) for s in distinct]
    live = [i for i, s in enumerate(distinct) if s.wanted[1:].any()]
    prefix: tuple[bytes, DynamicCache] | None = None
    for batch in plan([distinct[i] for i in live], budget=budget, shares=shares):
        tick()
        members = [distinct[live[i]] for i in batch.members]
        head = members[0].ids[: batch.shared]
        with torch.inference_mode():
            if batch.shared and (prefix is None or prefix[0] != head.tobytes()):
                prefix = (head.tobytes(), _prefill(model, head))
            cache = _expand(prefix[1], len(members)) if batch.shared and prefix else None
            found = _run(model, members, batch, cache, pad_id, head_is_plain)
        for i, scores in zip(batch.members, found, strict=True):
            results[live[i]] = scores
    return [results[place] for place in places]


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


def _run(
    model: PreTrainedModel,
    members: Sequence[Scorable],
    batch: Batch,
    cache: DynamicCache | None,
    pad_id: int,
    is_plain: bool,
) -> list[TokenScores]:
    longest = max(len(s.ids) for s in members) - batch.shared
    tokens = torch.full((len(members), longest), pad_id, dtype=torch.int64)
    for row, s in zip(tokens, members, strict=True):
        row[: len(s.ids) - batch.shared] = torch.from_numpy(s.ids[batch.shared :].astype(np.int64))
    # A wanted token at position p is predicted at p - 1; position 0 has no prediction.
    wanted = [np.flatnonzero(s.wanted[1:]) + 1 for s in members]
    rows = torch.from_numpy(np.repeat(np.arange(len(members)), [len(w) for w in wanted]))
    columns = torch.from_numpy(np.concatenate(wanted) - 1 - batch.shared)
    targets = torch.from_numpy(
        np.concatenate([s.ids[w] for s, w in zip(members, wanted, strict=True)]).astype(np.int64)
    )
    inputs = {
        "input_ids": tokens.to(model.device),
        "past_key_values": cache,
        "use_cache": cache is not None,
    }
    found: list[tuple[torch.Tensor, torch.Tensor]] = []
    begin = 0
    for logits in _logits(model, inputs, rows.to(model.device), columns.to(model.device), is_plain):
        part = targets[begin : begin + len(logits)].to(model.device)
        found.append(statistics(logits, part))
        begin += len(logits)
    logprobs, entropies = (torch.cat(parts).cpu().numpy() for parts in zip(*found, strict=True))
    return _split(members, wanted, logprobs, entropies)


def _split(
    members: Sequence[Scorable],
    wanted: Sequence[np.ndarray],
    logprobs: np.ndarray,
    entropies: np.ndarray,
) -> list[TokenScores]:
    """Hand the flat results back to their sequences; a wanted first token stays NaN."""
    results, begin = [], 0
    for s, positions in zip(members, wanted, strict=True):
        scores = _nothing(s)
        end = begin + len(positions)
        if len(positions):
            scores.logprobs[-len(positions) :] = logprobs[begin:end]
            scores.entropies[-len(positions) :] = entropies[begin:end]
        results.append(scores)
        begin = end
    return results


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
