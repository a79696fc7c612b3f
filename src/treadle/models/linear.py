"""Linear layers that multiply in single precision at full speed on every processor.

    product(x, weight)              x · weightᵀ
    quicken(model)                  the same model; its linear layers use `product` from now on

PyTorch multiplies single precision through MKL, which uses half the vector width of a processor that
is not Intel's; oneDNN, which comes with PyTorch too and multiplies its bf16, uses all of it: about
twice the speed, except for the thin products of adapters on few tokens (`benchmarks/products.py`).

Sums are added in another order, so results differ in the last bits from those of `torch.nn.Linear`.
Everything else (bf16, other devices, automatic casts, oneDNN turned off or absent) goes PyTorch's own way.
Not here: second derivatives, and the transforms of torch.func.
"""

from __future__ import annotations

from functools import cache
from typing import Any, TypeVar

import torch
from torch.autograd.function import once_differentiable
from torch.nn.functional import linear

Model = TypeVar("Model", bound=torch.nn.Module)


def product(
    x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None
) -> torch.Tensor:
    """Return x · weightᵀ + bias, as `torch.nn.functional.linear` does, with gradients.

    Shapes: (..., inputs), (outputs, inputs), (outputs) to (..., outputs).
    """
    if not _is_for_onednn(x, weight, bias):
        return linear(x, weight, bias)
    found: torch.Tensor = _Product.apply(x, weight, bias)
    return found


def _is_for_onednn(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> bool:
    """Whether oneDNN may be asked: what it cannot do is left to PyTorch, with its own messages."""
    if not all(_is_plain(part) for part in (x, weight, bias) if part is not None):
        return False
    fits = x.dim() > 1 and weight.dim() == 2 and x.shape[-1] == weight.shape[1]
    # It reads a bias as if its numbers lay side by side.
    fits = fits and (bias is None or (bias.shape == weight.shape[:1] and bias.is_contiguous()))
    is_on = torch.backends.mkldnn.enabled and not torch.is_autocast_enabled("cpu")
    return bool(fits and is_on and has_onednn())


def _is_plain(part: torch.Tensor) -> bool:
    is_single = part.dtype is torch.float32 and part.layout is torch.strided
    return is_single and part.device.type == "cpu" and part.numel() > 0


class Linear(torch.nn.Linear):  # type: ignore[misc]
    """A linear layer through `product`."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return product(x, self.weight, self.bias)


def quicken(model: Model) -> Model:
    """Let a model's plain linear layers multiply through `product`, and return the model.

    Their weights, names and hooks stay; a layer of another class, even if derived, is left alone.
    """
    for module in model.modules():
        if type(module) is torch.nn.Linear:
            module.__class__ = Linear
    return model


def _onednn(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    """The operator that PyTorch's compiler puts in place of `linear`: it takes plain tensors."""
    found: torch.Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
    return found


@cache
def has_onednn() -> bool:
    """Whether this PyTorch brings oneDNN with that operator, and it works here."""
    if not torch.backends.mkldnn.is_available():
        return False
    with torch.no_grad():
        try:
            _onednn(torch.ones(2, 16), torch.ones(16, 16), None)
        except (AttributeError, RuntimeError):
            return False
    return True


class _Product(torch.autograd.Function):  # type: ignore[misc]
    """x · weightᵀ + bias and its gradients, all by oneDNN."""

    @staticmethod
    def forward(
        ctx: Any, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None
    ) -> torch.Tensor:
        ctx.save_for_backward(x if ctx.needs_input_grad[1] else None, weight)
        return _onednn(x, weight, bias)

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        to_x, to_weight, to_bias = ctx.needs_input_grad
        flat = gradient.flatten(0, -2)
        return (
            _onednn(gradient, weight.T, None) if to_x else None,
            _sum_of_outer(flat, x.flatten(0, -2)) if to_weight else None,
            flat.sum(dim=0) if to_bias else None,
        )


def _sum_of_outer(some: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
    """Return someᵀ · others. The wider matrix stands second: oneDNN reads a transposed one there."""
    if some.shape[1] <= others.shape[1]:
        return _onednn(some.T, others.T, None)
    return _onednn(others.T, some.T, None).T
