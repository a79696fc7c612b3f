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

from collections.abc import Callable, Sequence
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
    shares_prefix: bool = True,
) -> list[TokenScores]:
    """Score sequences; results come in the order of the input.

    Args:
        budget: padded tokens in one batch.
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
        if batch.shared and (prefix is None or prefix[0] != head.tobytes()):
            prefix = (head.tobytes(), _prefill(model, head))
        cache = _expand(prefix[1], len(members)) if batch.shared and prefix else None
        for i, scores in zip(
            batch.members, _run(model, members, batch, cache, pad_id), strict=True
        ):
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
    with torch.inference_mode():
        _body(model)(input_ids=tokens, past_key_values=cache, use_cache=True)
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
    output = _body(model)(
        input_ids=tokens.to(model.device),
        past_key_values=cache,
        use_cache=cache is not None,
    )
    hidden = output.last_hidden_state[rows.to(model.device), columns.to(model.device)]
    logprobs, entropies = _head(model, hidden, targets.to(model.device))
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


def _head(
    model: PreTrainedModel, hidden: torch.Tensor, targets: torch.Tensor
) -> tuple[np.ndarray, np.ndarray]:
    """Return log-probability of each target and entropy of its prediction, in nats."""
    head = model.get_output_embeddings()
    logprobs = torch.empty(len(hidden), dtype=torch.float32)
    entropies = torch.empty(len(hidden), dtype=torch.float32)
    for begin in range(0, len(hidden), HEAD_CHUNK):
        part = slice(begin, begin + HEAD_CHUNK)
        logits = head(hidden[part]).float()
        total = torch.logsumexp(logits, dim=-1)
        chosen = logits.gather(1, targets[part, None])[:, 0]
        logprobs[part] = (chosen - total).cpu()
        # entropy = log-sum-exp − Σ p·logit
        chances = (logits - total[:, None]).exp_()
        entropies[part] = (total - torch.einsum("nv,nv->n", chances, logits)).cpu()
    return logprobs.numpy(), entropies.numpy()


def _body(model: PreTrainedModel) -> torch.nn.Module:
    """The model without its head."""
    body: torch.nn.Module = model.get_decoder()
    return body
