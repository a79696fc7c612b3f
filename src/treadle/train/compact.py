"""TRL's SFTTrainer with logits only where there is loss.

The head of a small model costs as much as a third of its body, and most positions (the prompt, the
padding) carry no loss. TRL skips them on a GPU with Triton; elsewhere it computes them all. The
subclass here skips them everywhere, follows a given order of batches, cuts a batch of long rows
into slices that fit into memory, multiplies by `models.linear`, asks a clock before each step, and sends
nothing to anyone. Schedule, optimiser, clipping and precision are TRL's.

Not here: an op (`sft`). torch is imported inside the functions: this file is read at start-up.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING

from treadle.errors import ModelError

if TYPE_CHECKING:
    import torch
    from trl import SFTTrainer

TOKENS_AT_ONCE = 2048
"""Padded tokens whose activations exist at a time: about 5 GB for a model of 135M parameters."""


@cache
def compact_trainer() -> type[SFTTrainer]:
    """Return the subclass of TRL's SFTTrainer. Built on first use: TRL takes seconds to import.

    Raises:
        ModelError: a package is missing.
    """
    try:
        import peft  # noqa: F401  (TRL would fail later and less clearly)
        import torch
        from transformers import PrinterCallback, TrainerCallback
        from trl import SFTTrainer
    except ModuleNotFoundError as error:
        raise ModelError(
            f"train.sft needs the package {error.name!r}. Run: pip install 'treadle[local]'"
        ) from error

    from treadle.models.linear import quicken

    class Clock(TrainerCallback):  # type: ignore[misc]
        """Asks before each step whether there is time for it."""

        def __init__(self, tick: Callable[[], None]) -> None:
            self.tick = tick

        def on_step_begin(self, *_: object, **__: object) -> None:
            self.tick()

    class CompactTrainer(SFTTrainer):  # type: ignore[misc]
        """SFTTrainer that follows a given order of batches and spares useless logits."""

        def __init__(
            self,
            *,
            batches: Sequence[Sequence[int]],
            pad_id: int,
            tick: Callable[[], None],
            **options: object,
        ) -> None:
            super().__init__(
                data_collator=lambda rows: collate(rows, pad_id), callbacks=[Clock(tick)], **options
            )
            quicken(self.model)
            self.remove_callback(PrinterCallback)
            self.batches = [list(batch) for batch in batches]
            self.losses: list[torch.Tensor] = []

        def get_train_dataloader(self) -> object:
            return torch.utils.data.DataLoader(
                self.train_dataset, batch_sampler=self.batches, collate_fn=self.data_collator
            )

        def training_step(
            self,
            model: torch.nn.Module,
            inputs: Mapping[str, torch.Tensor],
            num_items_in_batch: torch.Tensor | int | None = None,
        ) -> torch.Tensor:
            """Add up the gradients of a batch slice by slice: the same step in less memory."""
            count = (inputs["labels"][:, 1:] != -100).sum()
            step = super().training_step
            parts = [step(model, part, count) for part in sliced(inputs)]
            loss: torch.Tensor = sum(parts[1:], start=parts[0])
            self.losses.append(loss)
            return loss

        def compute_loss(
            self,
            model: torch.nn.Module,
            inputs: Mapping[str, torch.Tensor],
            return_outputs: bool = False,
            num_items_in_batch: torch.Tensor | int | None = None,
        ) -> torch.Tensor:
            head = self.accelerator.unwrap_model(model).get_output_embeddings()
            total = summed_nll(model, head, inputs["input_ids"], inputs["labels"])
            return total / torch.as_tensor(num_items_in_batch, device=total.device)

        def _send_telemetry(self) -> None:
            """Say nothing to anyone."""

    return CompactTrainer


def collate(rows: Sequence[Mapping[str, list[int]]], pad_id: int) -> dict[str, torch.Tensor]:
    """Pad a batch on the right. Labels are masked by position, so the pad may be any token."""
    import torch

    width = max(len(row["input_ids"]) for row in rows)
    ids = torch.full((len(rows), width), pad_id, dtype=torch.int64)
    labels = torch.full((len(rows), width), -100, dtype=torch.int64)
    for i, row in enumerate(rows):
        ids[i, : len(row["input_ids"])] = torch.tensor(row["input_ids"])
        labels[i, : len(row["labels"])] = torch.tensor(row["labels"])
    return {"input_ids": ids, "labels": labels}


def sliced(batch: Mapping[str, torch.Tensor]) -> Iterator[dict[str, torch.Tensor]]:
    """Cut a batch into runs of rows of at most TOKENS_AT_ONCE padded tokens (or one row)."""
    count, width = batch["input_ids"].shape
    rows = max(1, TOKENS_AT_ONCE // width)
    for begin in range(0, count, rows):
        yield {name: column[begin : begin + rows] for name, column in batch.items()}


def summed_nll(
    model: torch.nn.Module, head: torch.nn.Module, ids: torch.Tensor, labels: torch.Tensor
) -> torch.Tensor:
    """Return the summed negative log-likelihood of the labels, with logits nowhere else."""
    import torch

    from treadle.models.picked import logits_at

    targets = labels[:, 1:]
    rows, columns = (targets != -100).nonzero(as_tuple=True)
    logits = logits_at(model, head, ids, rows, columns)
    loss: torch.Tensor = torch.nn.functional.cross_entropy(
        logits.float(), targets[rows, columns], reduction="sum"
    )
    return loss
