"""Logits at chosen positions only: the head of a small model costs as much as a third of its body."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def logits_at(
    model: PreTrainedModel,
    head: torch.nn.Module,
    ids_BT: torch.Tensor,
    rows_P: torch.Tensor,
    columns_P: torch.Tensor,
) -> torch.Tensor:
    """Return the logits at P positions, shape (P, vocabulary), in the model's precision.

    The model runs its own forward; a hook shows its head (`get_output_embeddings`) these positions
    alone, so whatever the architecture does to its logits afterwards (scaling, soft-capping) still
    happens. Padding on the right needs no mask, since attention is causal.
    """

    def pick(_: torch.nn.Module, given: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor]:
        return (given[0][rows_P, columns_P][None],)

    hook = head.register_forward_pre_hook(pick)
    try:
        logits: torch.Tensor = model(input_ids=ids_BT, use_cache=False).logits[0]
    finally:
        hook.remove()
    return logits
