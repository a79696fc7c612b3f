"""Batched decoding, in which every prompt has its own random numbers.

transformers' own `generate` draws all rows of a batch from one global stream, so an answer would
depend on which other prompts happened to be in its batch. Here each prompt brings a generator;
rows that have stopped leave the batch, so a long answer does not pay for its neighbours.

Not here: beams, repetition penalties, top-k and nucleus cuts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@dataclass
class Draft:
    """A reply being written: ids of its prompt, its own randomness, ids so far."""

    prompt: NDArray[np.int32]
    rng: np.random.Generator
    room: int
    """How many tokens may be written."""
    ids: list[int] = field(default_factory=list)
    has_stopped: bool = False

    def take(self, token: int, stop_ids: frozenset[int]) -> None:
        """Append a token, unless it ends the reply."""
        if token in stop_ids:
            self.has_stopped = True
        else:
            self.ids.append(token)

    @property
    def is_open(self) -> bool:
        return not self.has_stopped and len(self.ids) < self.room


def write(
    model: PreTrainedModel,
    drafts: Sequence[Draft],
    *,
    stop_ids: frozenset[int],
    pad_id: int,
    temperature: float,
    rows_at_once: int,
    tick: Callable[[], None],
) -> None:
    """Finish every draft in place. Batches are cut by prompt length and content, not by order."""
    ordered = sorted(
        (d for d in drafts if d.is_open), key=lambda d: (len(d.prompt), d.prompt.tobytes())
    )
    with torch.inference_mode():
        for begin in range(0, len(ordered), rows_at_once):
            _write_batch(
                model, ordered[begin : begin + rows_at_once], stop_ids, pad_id, temperature, tick
            )


def _write_batch(
    model: PreTrainedModel,
    drafts: list[Draft],
    stop_ids: frozenset[int],
    pad_id: int,
    temperature: float,
    tick: Callable[[], None],
) -> None:
    from transformers import DynamicCache

    tokens, mask = _left_padded(drafts, pad_id, model.device)
    cache = DynamicCache(config=model.config)
    positions = (mask.cumsum(1) - 1).clamp_(min=0)
    while True:
        tick()
        logits = model(
            input_ids=tokens,
            attention_mask=mask,
            position_ids=positions,
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        ).logits[:, -1]
        for draft, token in zip(drafts, _choose(logits, drafts, temperature), strict=True):
            draft.take(token, stop_ids)
        alive = [i for i, draft in enumerate(drafts) if draft.is_open]
        if not alive:
            return
        if len(alive) < len(drafts):
            keep = torch.tensor(alive, device=model.device)
            cache.batch_select_indices(keep)
            mask, positions = mask[keep], positions[keep]
            drafts = [drafts[i] for i in alive]
        tokens = torch.tensor([[draft.ids[-1]] for draft in drafts], device=model.device)
        mask = torch.cat([mask, mask.new_ones(len(drafts), 1)], dim=1)
        positions = positions[:, -1:] + 1


def _left_padded(
    drafts: Sequence[Draft], pad_id: int, device: torch.device
) -> tuple[torch.Tensor, torch.Tensor]:
    longest = max(len(draft.prompt) for draft in drafts)
    tokens = torch.full((len(drafts), longest), pad_id, dtype=torch.int64)
    mask = torch.zeros((len(drafts), longest), dtype=torch.int64)
    for row, draft in enumerate(drafts):
        begin = longest - len(draft.prompt)
        tokens[row, begin:] = torch.from_numpy(draft.prompt.astype(np.int64))
        mask[row, begin:] = 1
    return tokens.to(device), mask.to(device)


def _choose(logits: torch.Tensor, drafts: Sequence[Draft], temperature: float) -> list[int]:
    """Return the next token of each draft: the likeliest, or one drawn by inverting the CDF."""
    if temperature <= 0:
        return [int(i) for i in logits.argmax(dim=-1)]
    chances = torch.softmax(logits.double() / temperature, dim=-1)
    sums = chances.cumsum(dim=-1)
    draws = torch.tensor([draft.rng.random() for draft in drafts], dtype=torch.float64)
    found = torch.searchsorted(sums, (draws.to(sums.device) * sums[:, -1])[:, None], right=True)
    return [int(i) for i in found[:, 0].clamp_(max=logits.shape[-1] - 1)]
