"""The direction in which each row would push an adapter's weights, many rows in one backward pass.

    gradients(model, sequences, warm, ...)           one sketched gradient a sequence

Where the time goes in the plain way (one backward pass a row), and what is done instead: rows of
like length go through together, and the gradient of each is put together from what passes by. An
adapter adds s·B·A·x to a layer's output. With g the gradient at that output, one row's gradient is
    for B    s · Σ_t g_t ⊗ (A·x_t)
    for A    s · Σ_t (Bᵀ·g_t) ⊗ x_t
summed over the row's tokens: two thin matrix products. Base weights are frozen, so none of their
gradients is computed. Each factor's gradient is sketched as soon as it exists: the whole gradient of
a batch never does. Padding is on the right and attention is causal, so pads get no gradient.

Not here: an op (`measure/gradient.py`); the adapter and its training (`adapter`); experts that each
see only some tokens of a batch.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from treadle.errors import ModelError
from treadle.models.adapter import (
    BETA1,
    BETA2,
    EPSILON,
    TOKENS_AT_ONCE,
    Checkpoint,
    Factors,
    Watch,
    adapted,
    read,
    weighted_nll,
)
from treadle.models.batching import plan, unique
from treadle.models.protocol import Epsilon, Gradients, Scale, Scorable
from treadle.models.sketch import Sketch, sketch

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def gradients(
    model: PreTrainedModel,
    sequences: Sequence[Scorable],
    warm: bytes,
    *,
    width: int,
    epsilon: Epsilon,
    seed: int,
    pad_id: int,
    scale: Scale = "unit",
    budget: int = TOKENS_AT_ONCE,
    tick: Callable[[], None] = lambda: None,
) -> Gradients:
    """Return sketched gradients as `protocol.Differentiable` describes them.

    Args:
        budget: padded tokens in one batch.
    """
    distinct, places = unique(sequences)
    live = [i for i, s in enumerate(distinct) if s.wanted[1:].any()]
    members = [distinct[i] for i in live]
    checkpoints = read(warm, model.device)
    found = np.full((2, len(distinct), len(checkpoints) * width), np.nan, dtype=np.float32)
    for c, checkpoint in enumerate(checkpoints):
        sketches = {
            name: sketch(factor.numel(), width, seed, c, name)
            for name, factor in checkpoint.factors.items()
        }
        for part in plan(members, budget=budget, shares=False):
            tick()
            rows = [members[i] for i in part.members]
            sums = _Sums(len(rows), checkpoint, sketches, epsilon)
            row_gradients(model, checkpoint.factors, rows, pad_id, sums.add)
            at = [live[i] for i in part.members]
            part_of = slice(c * width, (c + 1) * width)
            if scale == "unit":
                found[:, at, part_of] = _scaled(sums, checkpoint.weight, to_unit=True)
            else:
                vote = checkpoint.rate / len(checkpoints)
                found[:, at, part_of] = _scaled(sums, vote, to_unit=False)
    adam, plain = found[:, places]
    return Gradients(adam, plain)


def row_gradients(
    model: PreTrainedModel,
    factors: Factors,
    members: Sequence[Scorable],
    pad_id: int,
    watch: Watch,
) -> None:
    """Hand `watch` the gradient of each row's mean loss, factor by factor: (name, (rows, ...))."""
    weights = [1 / int(s.wanted[1:].sum()) for s in members]
    with adapted(model, factors, watch):
        weighted_nll(model, members, weights, pad_id).backward()


def adam_step(
    gradient: torch.Tensor,
    first: torch.Tensor,
    second: torch.Tensor,
    *,
    steps: int,
    epsilon: Epsilon,
) -> torch.Tensor:
    """Return the step that Adam would take next, for a learning rate of 1, on this gradient alone.

    m = β₁·first + (1 - β₁)·g and v = β₂·second + (1 - β₂)·g². `outside` is Adam:
    (m / (1 - β₁ᵗ)) / (sqrt(v / (1 - β₂ᵗ)) + ε) with t = steps + 1. `inside` is what LESS's code
    does: m / sqrt(v + ε), which for gradients below 1e-4 is little more than m.
    """
    is_adam = epsilon == "outside"
    past, square = BETA1 * first, BETA2 * second
    of_mean = 1 - BETA1 ** (steps + 1) if is_adam else 1.0
    of_square = 1 - BETA2 ** (steps + 1) if is_adam else 1.0
    # What does not depend on the row is divided first: five passes over all rows are left.
    length = torch.addcmul(
        square / of_square + (0.0 if is_adam else EPSILON),
        gradient,
        gradient,
        value=(1 - BETA2) / of_square,
    ).sqrt_()
    step = torch.add(past / of_mean, gradient, alpha=(1 - BETA1) / of_mean)
    return step.div_(length.add_(EPSILON) if is_adam else length)


class _Sums:
    """Sketches of the gradients of a batch, and of Adam's steps for them, added up as they come."""

    def __init__(
        self, rows: int, at: Checkpoint, sketches: Mapping[str, Sketch], epsilon: Epsilon
    ) -> None:
        self.at, self.sketches, self.epsilon = at, sketches, epsilon
        self.seen: set[str] = set()
        width = next(iter(sketches.values())).width
        device = next(iter(at.states.values())).device
        self.adam, self.plain = torch.zeros(2, rows, width, device=device)

    def add(self, name: str, gradient: torch.Tensor) -> None:
        """Take one factor's gradients, shape (rows, ...)."""
        if name in self.seen or len(gradient) != len(self.plain):
            raise ModelError(
                f"the layer of {name} is used more than once a row, so Adam's step cannot be put "
                "together from parts. Measure with another student."
            )
        self.seen.add(name)
        drawn = self.sketches[name]
        signs = torch.from_numpy(drawn.signs).to(gradient.device)
        _, first, second = (slots(state[None], drawn) for state in self.at.states[name])
        # Adam's step is odd: with all signs turned it is the same, turned. So slots are filled once.
        signed = slots(gradient, drawn).mul_(signs)
        step = adam_step(signed, first * signs, second, steps=self.at.steps, epsilon=self.epsilon)
        self.adam += folded(step, drawn)
        self.plain += folded(signed, drawn)


def slots(tensor: torch.Tensor, drawn: Sketch) -> torch.Tensor:
    """Return what lies in each slot of each row's sketch, without its sign."""
    coordinates = torch.from_numpy(drawn.coordinates).to(tensor.device)
    return tensor.flatten(1).index_select(1, coordinates)


def folded(signed: torch.Tensor, drawn: Sketch) -> torch.Tensor:
    """Return the sketch of each row from its signed slots: with `slots`, `Sketch.of` on any device."""
    return signed.view(len(signed), -1, drawn.width).sum(dim=1)


def _scaled(sums: _Sums, weight: float, *, to_unit: bool) -> NDArray[np.float32]:
    """Return Adam's and the plain sketches times sqrt(weight), at length 1 before if `to_unit`.

    NaN where there is no length, or no finite one.
    """
    both = torch.stack([sums.adam, sums.plain])
    norms = both.norm(dim=2, keepdim=True)
    is_good = norms.isfinite() & (norms > 0)
    factor = math.sqrt(weight) / (norms if to_unit else 1.0)
    scaled: NDArray[np.float32] = torch.where(is_good, both * factor, torch.nan).cpu().numpy()
    return scaled
