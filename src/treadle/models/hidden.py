"""Hidden states of whole sequences, pooled: one vector a sequence, and the head is never run.

Batches are cut by length and padded on the right. Attention is causal, so a real token never sees
a pad, and a pad weighs nothing in the mean: the vector does not depend on its neighbours (beyond
the last bits of a different matrix shape).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from treadle.models.batching import cuts, unique
from treadle.models.likelihood import padded
from treadle.models.protocol import Scorable

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def pooled(
    model: PreTrainedModel,
    sequences: Sequence[NDArray[np.int32]],
    *,
    pad_id: int,
    budget: int,
    tick: Callable[[], None],
) -> NDArray[np.float32]:
    """Return position-weighted means of the last hidden states, shape (sequences, width).

    A sequence without tokens gets NaN.

    Args:
        budget: padded tokens in one batch.
    """
    asked = [Scorable(ids, np.zeros(len(ids), dtype=np.bool_)) for ids in sequences]
    distinct, places = unique(asked)
    width = int(model.config.get_text_config().hidden_size)
    means = np.full((len(distinct), width), np.nan, dtype=np.float32)
    lengths = [len(s.ids) for s in distinct]
    empty = lengths.count(0)  # the shortest come first
    for begin, end in cuts(lengths[empty:], budget):
        tick()
        batch = slice(empty + begin, empty + end)
        means[batch] = _means(model, [s.ids for s in distinct[batch]], pad_id)
    return means[places]


def _means(
    model: PreTrainedModel, batch: Sequence[NDArray[np.int32]], pad_id: int
) -> NDArray[np.float32]:
    """Mean over real tokens, where token i weighs (i + 1) / Σ (j + 1)."""
    tokens = padded(batch, pad_id).to(model.device)
    lengths = torch.tensor([len(ids) for ids in batch], device=model.device)[:, None]
    places = torch.arange(1, tokens.shape[1] + 1, device=model.device)[None]
    weights = torch.where(places <= lengths, places, 0).float()
    weights /= weights.sum(dim=1, keepdim=True)
    with torch.inference_mode():
        states = model.get_decoder()(input_ids=tokens, use_cache=False).last_hidden_state
        found: NDArray[np.float32] = torch.bmm(weights[:, None], states.float())[:, 0].cpu().numpy()
    return found
