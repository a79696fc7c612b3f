"""An adapter of a model: added to its layers while it runs, trained a little, kept as bytes.

    warm = warm_up(model, sequences, ...)            a short training; its states as safetensors
    with adapted(model, read(warm, device)[-1].factors):
        model(...)                                   the model as it is with the adapter

The adapter is LoRA's: a layer's output gets SCALE·B·A·x added. It is kept beside the model and added
by hooks, so that the model's own modules and weights stay as they are, and so that the gradient of
every single row can be taken from what passes by (`gradients`).

Not here: adapters that a student is to keep (`train/sft.py`, in PEFT's format); layers that are no
`torch.nn.Linear`.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from safetensors.torch import load, save
from torch.autograd.function import once_differentiable
from torch.nn.functional import cross_entropy

from treadle.data.randomness import derived_rng
from treadle.errors import ModelError
from treadle.models.batching import plan
from treadle.models.likelihood import padded
from treadle.models.linear import product
from treadle.models.picked import logits_at
from treadle.models.protocol import Scorable, Targets, in_attention

if TYPE_CHECKING:
    from transformers import PreTrainedModel

SCALE = 2.0
"""What the adapter's output is multiplied by: LoRA's alpha / rank, as in `train.sft`."""
BATCH_ROWS = 8
TOKENS_AT_ONCE = 1024
"""Padded tokens whose activations exist at a time: 2.5 GB for a model of 135M parameters."""
BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-8

Factors = dict[str, torch.Tensor]
"""`<layer>.A`, shape (rank, inputs), and `<layer>.B`, shape (outputs, rank), of every layer."""
Watch = Callable[[str, torch.Tensor], None]
"""Called during a backward pass with a factor's name and its gradient for each row."""


def linear_layers(
    model: PreTrainedModel, targets: Targets = "all-linear"
) -> dict[str, torch.nn.Linear]:
    """Return the layers that get an adapter: all linear ones but the head, or those in attention.

    Raises:
        ModelError: there is none.
    """
    head = model.get_output_embeddings()
    found = {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear) and module is not head
    }
    if found and targets == "attention":
        found = {name: layer for name, layer in found.items() if in_attention(name)}
        if not found:
            raise ModelError(
                f"{type(model).__name__} has no layer that is called attention. Write "
                "`targets: all-linear`."
            )
    if not found:
        raise ModelError(
            f"{type(model).__name__} has no torch.nn.Linear layer, so no adapter fits it and it has "
            "no gradients. Measure with another student."
        )
    return found


def new_factors(
    model: PreTrainedModel, rank: int, seed: int, targets: Targets = "all-linear"
) -> Factors:
    """Return a fresh adapter: A as in PEFT uniform within 1 / sqrt(inputs), B zero."""
    factors: Factors = {}
    for name, layer in linear_layers(model, targets).items():
        reach = 1 / math.sqrt(layer.in_features)
        rng = derived_rng(seed, "adapter", name)
        drawn = rng.uniform(-reach, reach, (rank, layer.in_features)).astype(np.float32)
        factors[f"{name}.A"] = torch.from_numpy(drawn).to(model.device)
        factors[f"{name}.B"] = torch.zeros(layer.out_features, rank, device=model.device)
    return factors


@contextlib.contextmanager
def adapted(model: PreTrainedModel, factors: Factors, watch: Watch | None = None) -> Iterator[None]:
    """Let the model run with the adapter; with `watch`, take each row's gradient as it passes."""
    hooks = [
        layer.register_forward_hook(_adding(name, factors, watch))
        for name, layer in linear_layers(model).items()
        if f"{name}.A" in factors
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _adding(name: str, factors: Factors, watch: Watch | None) -> Callable[..., torch.Tensor]:
    """Return a forward hook that adds the adapter's output to a layer's."""
    a, b = factors[f"{name}.A"], factors[f"{name}.B"]

    def add(_: torch.nn.Module, given: tuple[torch.Tensor, ...], out: torch.Tensor) -> torch.Tensor:
        x = given[0]
        if watch is None:
            return out + product(SCALE * product(x.float(), a), b).to(out.dtype)
        if x.dim() != 3:
            raise ModelError(
                f"the layer {name} does not see a batch row by row (shape {tuple(x.shape)}), so "
                "no gradient of single rows can be taken. Measure with another student."
            )
        if not out.requires_grad:
            out.requires_grad_()
        total: torch.Tensor = _Watched.apply(x, out, a, b, name, watch)
        return total

    return add


class _Watched(torch.autograd.Function):  # type: ignore[misc]
    """out + SCALE·B·A·x; on the way back, the gradients of B and A go to `watch`, row by row."""

    @staticmethod
    def forward(
        ctx: Any,
        x: torch.Tensor,
        out: torch.Tensor,
        a: torch.Tensor,
        b: torch.Tensor,
        name: str,
        watch: Watch,
    ) -> torch.Tensor:
        narrow = SCALE * product(x.float(), a)
        ctx.save_for_backward(x, narrow, a, b)
        ctx.name, ctx.watch = name, watch
        return out + product(narrow, b).to(out.dtype)

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        x, narrow, a, b = ctx.saved_tensors
        wide = gradient.float()
        inner = SCALE * product(wide, b.T)
        ctx.watch(f"{ctx.name}.A", inner.mT @ x.float())
        # The transpose of a thin product: BLAS is three times as fast at this one.
        ctx.watch(f"{ctx.name}.B", (narrow.mT @ wide).mT)
        to_x = product(inner, a.T).to(x.dtype) if ctx.needs_input_grad[0] else None
        return to_x, gradient, None, None, None, None


def weighted_nll(
    model: PreTrainedModel, members: Sequence[Scorable], weights: Sequence[float], pad_id: int
) -> torch.Tensor:
    """Return Σ over rows of weight · summed negative log-likelihood of the row's wanted tokens."""
    ids = padded([s.ids for s in members], pad_id).to(model.device)
    wanted = [np.flatnonzero(s.wanted[1:]) for s in members]
    counts = [len(at) for at in wanted]
    rows = torch.from_numpy(np.repeat(np.arange(len(members)), counts)).to(model.device)
    columns = torch.from_numpy(np.concatenate(wanted)).to(model.device)
    shares = np.repeat(np.array(weights, dtype=np.float32), counts)
    logits = logits_at(model, model.get_output_embeddings(), ids, rows, columns)
    losses = cross_entropy(logits.float(), ids[rows, columns + 1], reduction="none")
    return (losses * torch.from_numpy(shares).to(model.device)).sum()


def warm_up(
    model: PreTrainedModel,
    sequences: Sequence[Scorable],
    *,
    lora: int,
    epochs: int,
    checkpoints: int,
    learning_rate: float,
    seed: int,
    pad_id: int,
    targets: Targets = "all-linear",
    budget: int = TOKENS_AT_ONCE,
    tick: Callable[[], None] = lambda: None,
) -> bytes:
    """Train a fresh adapter on the sequences, and return its states as safetensors.

    AdamW without weight decay and without clipping (so that its moments are in the units of the
    gradients that they will scale), a rate that falls in a straight line to 0, and batches of
    8 rows in an order drawn from the seed. The steps are cut into `checkpoints` equal stretches.

    Returns for each factor a tensor of shape (checkpoints, 3, ...): weights and Adam's two moments
    at the end of each stretch; `steps`, how many steps came before; `rates`, the stretch's mean
    learning rate.
    """
    factors = {k: v.requires_grad_() for k, v in new_factors(model, lora, seed, targets).items()}
    optimiser = torch.optim.AdamW(
        factors.values(), betas=(BETA1, BETA2), eps=EPSILON, weight_decay=0.0
    )
    batches = _batches(len(sequences), epochs, checkpoints, seed)
    rates = learning_rate * (1 - np.arange(len(batches)) / len(batches))
    ends = [(c + 1) * len(batches) // checkpoints for c in range(checkpoints)]
    states = []
    with adapted(model, factors):
        for step, batch in enumerate(batches, start=1):
            tick()
            optimiser.param_groups[0]["lr"] = float(rates[step - 1])
            _accumulate(model, [sequences[i] for i in batch], pad_id, budget)
            optimiser.step()
            optimiser.zero_grad()
            if step in ends:
                states.append({k: _state(optimiser, v) for k, v in factors.items()})
    begins = [0, *ends[:-1]]
    means = [rates[begin:end].mean() for begin, end in zip(begins, ends, strict=True)]
    found = {name: torch.stack([state[name] for state in states]) for name in factors}
    found["steps"] = torch.tensor(ends)
    found["rates"] = torch.tensor(means, dtype=torch.float64)
    blob: bytes = save(found)
    return blob


def _batches(rows: int, epochs: int, least: int, seed: int) -> list[list[int]]:
    """Return the rows of each step: whole epochs, and at least so many steps."""
    batches: list[list[int]] = []
    epoch = 0
    while epoch < epochs or len(batches) < least:
        order = derived_rng(seed, "epoch", epoch).permutation(rows).tolist()
        batches.extend(order[i : i + BATCH_ROWS] for i in range(0, rows, BATCH_ROWS))
        epoch += 1
    return batches


def _accumulate(
    model: PreTrainedModel, members: Sequence[Scorable], pad_id: int, budget: int
) -> None:
    """Add up the gradient of the mean loss of a batch's tokens, in slices that fit into memory."""
    members = sorted(members, key=lambda s: len(s.ids))
    weight = 1 / sum(int(s.wanted[1:].sum()) for s in members)
    for part in plan(members, budget=budget, shares=False):
        rows = [members[i] for i in part.members]
        weighted_nll(model, rows, [weight] * len(rows), pad_id).backward()


def _state(optimiser: torch.optim.Optimizer, factor: torch.Tensor) -> torch.Tensor:
    """Return a factor and Adam's two moments of it."""
    state = optimiser.state[factor]
    return torch.stack([factor.detach(), state["exp_avg"], state["exp_avg_sq"]]).cpu()


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """An adapter at one moment of its training: weights, Adam's moments, and the share of its vote.

    `rate` is the mean learning rate of the stretch before.
    """

    states: Mapping[str, torch.Tensor]
    steps: int
    weight: float
    rate: float

    @property
    def factors(self) -> Factors:
        return {name: state[0] for name, state in self.states.items()}


def read(warm: bytes, device: torch.device) -> list[Checkpoint]:
    """Return the checkpoints of a warm-up; weights are mean learning rates that add up to 1."""
    states = load(warm)
    steps, rates = states.pop("steps"), states.pop("rates")
    weights = rates / rates.sum()
    return [
        Checkpoint(
            {k: v[c].to(device) for k, v in states.items()},
            int(steps[c]),
            float(weights[c]),
            float(rates[c]),
        )
        for c in range(len(steps))
    ]
