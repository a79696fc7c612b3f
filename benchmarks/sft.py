"""One training step of ours beside one of TRL's own SFTTrainer, on the embedded model.

    python benchmarks/sft.py [--steps 6] [--quick]

Both train a LoRA adapter of rank 8 on the same made-up rows, whose lengths are spread like those of
instruction data (prompt around 45 tokens, answer around 60, some five times as long). TRL draws its
batches at random, as it does by default; ours holds rows of similar length. The last line of the
table gives both the same batches and compares losses. Prints rows of a Markdown table.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import tempfile
import time
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
import trl
from datasets import Dataset
from peft import LoraConfig
from transformers import PrinterCallback

from plain import pytorch_products
from treadle.context import Context
from treadle.data.row import Message, Row, to_frame
from treadle.models import load
from treadle.train.lessons import Lessons, lessons, schedule
from treadle.train.sft import sft

TEXT = """\
the river town water year people work house answer question small large first write list number word
line because when there which should could about after before describe"""
BATCH = 8
RATE = 5e-4


def made_up_rows(count: int) -> list[Row]:
    rng = np.random.default_rng(0)

    def words(mean: float) -> str:
        return " ".join(rng.choice(TEXT.split(), 3 + int(rng.lognormal(np.log(mean), 0.7))))

    return [
        Row("chat", (Message("user", words(20)), Message("assistant", words(45), trains=True)))
        for _ in range(count)
    ]


def ours(rows: list[Row], student: object, steps: int) -> tuple[list[float], list[float]]:
    """Return the seconds of each step (but the last) and the losses."""
    ticks: list[float] = []
    context = Context(tick=lambda: ticks.append(time.perf_counter()))
    with tempfile.TemporaryDirectory() as name:
        op = sft(batch_size=BATCH, steps=steps, learning_rate=RATE, warmup_ratio=0.0)
        figures = op(to_frame(rows), student, 0, Path(name), context)
    return [b - a for a, b in pairwise(ticks)], figures["losses"]


class Plain(trl.SFTTrainer):
    """TRL's trainer, timed; with `batches` it follows a given order."""

    batches: Sequence[Sequence[int]] | None = None

    def get_train_dataloader(self):
        if self.batches is None:
            return super().get_train_dataloader()
        return torch.utils.data.DataLoader(
            self.train_dataset, batch_sampler=self.batches, collate_fn=self.data_collator
        )

    def training_step(self, *args, **options):
        self.ticks.append(time.perf_counter())
        loss = super().training_step(*args, **options)
        self.losses.append(float(loss))
        return loss

    def _send_telemetry(self) -> None:
        pass


def theirs(
    taught: Lessons, student: object, steps: int, batches: Sequence[Sequence[int]] | None
) -> tuple[list[float], list[float]]:
    """Return the same of TRL's own trainer."""
    data = Dataset.from_dict(
        {
            "input_ids": [row.ids.tolist() for row in taught.tokens],
            "labels": [np.where(row.trains, row.ids, -100).tolist() for row in taught.tokens],
        }
    )
    with tempfile.TemporaryDirectory() as name:
        settings = trl.SFTConfig(
            output_dir=name, learning_rate=RATE, lr_scheduler_type="cosine", max_steps=steps,
            per_device_train_batch_size=BATCH, use_cpu=True, bf16=False, seed=0, max_length=None,
            gradient_checkpointing=False, report_to="none", save_strategy="no", disable_tqdm=True,
            dataset_kwargs={"skip_prepare_dataset": True}, weight_decay=0.0,
        )  # fmt: skip
        trainer = Plain(
            model=copy.deepcopy(student.model), args=settings, train_dataset=data,
            processing_class=copy.deepcopy(student.tokenizer.backend),
            peft_config=LoraConfig(
                r=8, lora_alpha=16, target_modules="all-linear", task_type="CAUSAL_LM"
            ),
        )  # fmt: skip
        trainer.remove_callback(PrinterCallback)
        trainer.batches, trainer.ticks, trainer.losses = batches, [], []
        with pytorch_products():
            trainer.train()
    return [b - a for a, b in pairwise(trainer.ticks)], trainer.losses


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--quick", action="store_true", help="2 steps")
    options = parser.parse_args()
    if options.quick:
        options.steps = 2
    student = load("embedded")
    rows = made_up_rows(options.steps * BATCH)
    taught = lessons(to_frame(rows), student.tokenizer, max_tokens=1024, where="benchmark")
    steps = options.steps + 1  # a step ends when the next begins, so the last one is not timed
    batches = schedule(taught.lengths, batch_size=BATCH, epochs=1, steps=steps, seed=0)
    our_s, their_s, same_s = [], [], []
    for _ in range(2):  # taking turns, so that a machine that slows down slows down both
        seconds, our_losses = ours(rows, student, steps)
        our_s += seconds
        seconds, same_losses = theirs(taught, student, steps, batches)
        same_s += seconds
        their_s += theirs(taught, student, steps, None)[0]
    gap = max(abs(a - b) for a, b in zip(our_losses, same_losses, strict=True))
    tokens = sum(taught.lengths) / options.steps
    lines = [("random batches", their_s), ("our batches", same_s)]
    print("| figure | ours | TRL SFTTrainer | ratio |\n|---|---|---|---|")
    mine = statistics.mean(our_s)
    for name, seconds in lines:
        mean = statistics.mean(seconds)
        print(f"| s/step, LoRA r8, {BATCH} rows, {tokens:.0f} tokens, TRL with {name} "
              f"| {mine:.2f} | {mean:.2f} | {mean / mine:.2f}x |")  # fmt: skip
    print(f"| largest loss difference on the same batches ({student.precision}) | | | {gap:.4f} |")


if __name__ == "__main__":
    main()
