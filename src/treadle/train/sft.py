"""Supervised fine-tuning through TRL and PEFT, with logits only where there is loss.

    sft(lora=8, epochs=1)(rows, student, seed=0, folder=Path("adapter"), context=Context())

TRL's trainer keeps the schedule, the optimiser, clipping and precision; a small subclass
(`compact`) spares useless logits and follows our order of batches. Tokens and masks come from
`data.template`, so training sees exactly what the lint and the scores saw.

The student is never changed: an adapter trains on a model that shares its frozen weights, full
fine-tuning on a copy.

Not here: preference and reinforcement learning, models split over devices, the auxiliary loss of
mixture-of-experts models.
"""

from __future__ import annotations

import contextlib
import copy
import ctypes
import gc
import random
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np
import polars as pl

from treadle.context import Context
from treadle.data.template import Tokenizer
from treadle.errors import ModelError, RecipeError
from treadle.models.protocol import Student, Targets, in_attention
from treadle.op import train
from treadle.train.compact import compact_trainer
from treadle.train.folder import save_adapter, save_full
from treadle.train.lessons import Lessons, lessons, schedule

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

Train = Callable[[pl.DataFrame, Student, int, Path, Context], dict[str, object]]


class LocalTokenizer(Tokenizer, Protocol):
    """A tokenizer that has a transformers tokenizer behind it."""

    backend: PreTrainedTokenizerFast

    @property
    def pad_id(self) -> int: ...


@runtime_checkable
class LocalModel(Protocol):
    """What this op needs beyond `Student`: the transformers model itself."""

    name: str
    model: PreTrainedModel
    tokenizer: LocalTokenizer
    max_tokens: int
    precision: str


@dataclass(frozen=True, slots=True)
class Settings:
    """How to optimise."""

    lora: int
    targets: Targets
    batch_size: int
    learning_rate: float
    warmup_ratio: float
    seed: int


@train(
    reference="arXiv:2106.09685 (LoRA); TRL SFTTrainer",
    cost="forward and backward over every token, once an epoch",
    models=("student",),
)
def sft(
    *,
    lora: int = 8,
    epochs: float = 1,
    steps: int | None = None,
    batch_size: int = 8,
    learning_rate: float | None = None,
    targets: Targets = "all-linear",
    max_tokens: int = 1024,
    warmup_ratio: float = 0.05,
) -> Train:
    """Fine-tune the student on the turns of each row that carry loss.

    Loss is the mean negative log-likelihood of the trained tokens of a batch, AdamW without weight
    decay, clipping at 1, cosine schedule. Adapters are held in fp32 over a frozen base of any
    precision; full fine-tuning keeps fp32 weights and, for a bf16 student, multiplies in bf16.
    The same rows (in any order) and seed give the same bytes on the same machine's CPU. It fails
    quietly when the learning rate is wrong: look at the losses before you believe a comparison.

    Args:
        lora: rank of the adapter; 0 trains all weights.
        epochs: passes over the rows.
        steps: exactly this many batches instead of `epochs`: arms of unequal size then cost alike.
        learning_rate: by default 5e-4 for an adapter and 5e-5 for all weights.
        targets: which linear layers get an adapter.
        max_tokens: rows are cut off here at the right.
        warmup_ratio: share of the steps in which the learning rate rises from 0; whole steps,
            rounded down, so that a short training does not waste its first one.

    Writes `adapter_model.safetensors` and `adapter_config.json`, or for full fine-tuning
    `model.safetensors` with configuration and tokenizer. Returns steps, tokens, trained_tokens and
    the loss of each step.

    Raises:
        ModelError: the student is not a local transformers model, or a package is missing.
        DataError: a row has no token that carries loss.
        BudgetError: from `context.tick`, before the step that would exceed the budget.
    """
    if lora < 0 or (learning_rate is not None and learning_rate <= 0) or not 0 <= warmup_ratio < 1:
        raise RecipeError(
            f"train.sft: lora must be ≥ 0, learning_rate > 0 and warmup_ratio in [0, 1); got "
            f"{lora}, {learning_rate}, {warmup_ratio}."
        )
    rate = learning_rate if learning_rate is not None else (5e-4 if lora else 5e-5)

    def run(
        rows: pl.DataFrame, student: Student, seed: int, folder: Path, context: Context
    ) -> dict[str, object]:
        if not isinstance(student, LocalModel):
            raise ModelError(
                f"train.sft: the student {student.name!r} has no weights that it could train. "
                "Write `method: ngram` for the scripted student."
            )
        reach = min(max_tokens, student.max_tokens)
        taught = lessons(rows, student.tokenizer, max_tokens=reach, where="train.sft")
        batches = schedule(
            taught.lengths, batch_size=batch_size, epochs=epochs, steps=steps, seed=seed
        )
        settings = Settings(lora, targets, batch_size, rate, warmup_ratio, seed % 2**32)
        losses = fit(student, taught, batches, settings, folder, context.tick)
        return {**taught.count(batches), "losses": losses}

    return run


def fit(
    student: LocalModel,
    taught: Lessons,
    batches: Sequence[Sequence[int]],
    settings: Settings,
    folder: Path,
    tick: Callable[[], None],
) -> list[float]:
    """Train on these batches in this order, write the weights, return the loss of each step."""
    trainer_class = compact_trainer()
    with _own_randomness(), _quietly(), tempfile.TemporaryDirectory(prefix="treadle-sft-") as name:
        trainer = trainer_class(
            model=trainable_copy(student.model, full=settings.lora == 0),
            args=_arguments(student, settings, len(batches), Path(name)),
            train_dataset=_dataset(taught),
            processing_class=copy.deepcopy(student.tokenizer.backend),
            peft_config=_lora(student, settings) if settings.lora else None,
            batches=batches,
            pad_id=student.tokenizer.pad_id,
            tick=tick,
        )
        trainer.train()
        losses = [float(loss) for loss in trainer.losses]
        folder.mkdir(parents=True, exist_ok=True)
        if settings.lora:
            save_adapter(trainer.model, student.name, folder)
        else:
            backend, dtype = student.tokenizer.backend, student.model.dtype
            save_full(trainer.model, backend, student.name, dtype, folder)
    del trainer
    _give_memory_back()
    return losses


def _give_memory_back() -> None:
    """Return to the system what a training has freed.

    The trainer and its callbacks refer to each other and hold a batch's activations; and glibc keeps
    freed memory in pieces that the next training's sizes do not fit, so that ten trainings grow.
    """
    gc.collect()
    with contextlib.suppress(AttributeError, OSError, TypeError):  # other systems have no such call
        ctypes.CDLL(None).malloc_trim(0)


def trainable_copy(model: PreTrainedModel, *, full: bool) -> PreTrainedModel:
    """Return a model to train, so that the student's own stays as it is.

    For an adapter the copy has modules of its own and shares every (frozen) tensor: it costs no
    memory. For full fine-tuning the weights are copied in fp32, since steps of 5e-5 are smaller
    than what bf16 can add.
    """
    if full:
        duplicate: PreTrainedModel = copy.deepcopy(model).float()
        return duplicate.requires_grad_(True)
    shared = {id(t): t for t in (*model.parameters(), *model.buffers())}
    duplicate = copy.deepcopy(model, shared)
    return duplicate


def _arguments(student: LocalModel, settings: Settings, steps: int, place: Path) -> object:
    from trl import SFTConfig

    arguments = SFTConfig(
        output_dir=str(place),
        per_device_train_batch_size=settings.batch_size,
        learning_rate=settings.learning_rate,
        lr_scheduler_type="cosine",
        warmup_steps=int(settings.warmup_ratio * steps),
        weight_decay=0.0,
        max_steps=steps,
        seed=settings.seed,
        use_cpu=student.model.device.type == "cpu",
        bf16=settings.lora == 0 and student.precision == "bf16",
        fp16=False,
        gradient_checkpointing=False,
        max_length=None,
        dataset_kwargs={"skip_prepare_dataset": True},
        remove_unused_columns=False,
        dataloader_pin_memory=False,
        save_strategy="no",
        logging_strategy="no",
        report_to="none",
        disable_tqdm=True,
    )
    # The student lives on one device; with several, transformers would spread every batch.
    arguments._n_gpu = min(1, arguments.n_gpu)
    return arguments


def _dataset(taught: Lessons) -> object:
    from datasets import Dataset

    labels = [np.where(row.trains, row.ids, -100).tolist() for row in taught.tokens]
    return Dataset.from_dict(
        {"input_ids": [r.ids.tolist() for r in taught.tokens], "labels": labels}
    )


def _lora(student: LocalModel, settings: Settings) -> object:
    from peft import LoraConfig

    targets: str | list[str] = "all-linear"
    if settings.targets == "attention":
        targets = attention_layers(student)
    return LoraConfig(
        r=settings.lora,
        lora_alpha=2 * settings.lora,
        lora_dropout=0.0,
        target_modules=targets,
        task_type="CAUSAL_LM",
    )


def attention_layers(student: LocalModel) -> list[str]:
    """Return the endings (`self_attn.q_proj`) of the linear layers inside attention blocks.

    Raises:
        ModelError: the architecture names none so.
    """
    from torch.nn import Linear

    found = set()
    for name, module in student.model.named_modules():
        if isinstance(module, Linear) and in_attention(name):
            found.add(".".join(name.split(".")[-2:]))
    if not found:
        raise ModelError(
            f"train.sft: {student.name!r} has no layer that is called attention. "
            "Write `targets: all-linear`."
        )
    return sorted(found)


@contextlib.contextmanager
def _own_randomness() -> Iterator[None]:
    """Keep the seeds that TRL sets out of the caller's random numbers."""
    import torch

    before, arrays = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng():
            yield
    finally:
        random.setstate(before)
        np.random.set_state(arrays)


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Keep transformers' remarks and bars off the terminal: the caller shows progress."""
    from transformers.utils import logging

    level, has_bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            yield
    finally:
        logging.set_verbosity(level)
        if has_bars:
            logging.enable_progress_bar()
