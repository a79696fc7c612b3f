"""Products of linear layers in single precision: `treadle.models.linear` against PyTorch's own.

    python benchmarks/products.py [--threads 2] [--quick]

The shapes are those of the embedded model with an adapter of rank 8. `forward` is x · weightᵀ, `back` the
gradient of x, `weight` that of the weight. On a processor of Intel's the two should be alike; elsewhere
PyTorch's own way (MKL) uses half the vector width.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import torch
from torch.nn.functional import linear

from table import head, line, take_turns
from treadle.models.linear import product

Multiply = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
SHAPES = {"attention": (576, 576), "feed-forward": (576, 1536), "adapter": (1536, 8)}
HEAD = {"head": (576, 49152)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--quick", action="store_true", help="64 tokens only, and no head")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    head()
    shapes = SHAPES if given.quick else SHAPES | HEAD
    for tokens in (64,) if given.quick else (64, 1024):
        for name, (inputs, outputs) in shapes.items():
            compare(name, tokens, inputs, outputs)


def compare(name: str, tokens: int, inputs: int, outputs: int) -> None:
    x, weight = torch.randn(tokens, inputs), torch.randn(outputs, inputs)
    toward = torch.randn(tokens, outputs)
    turns = max(2, 2**30 // (tokens * inputs * outputs))
    for which in ("forward", "back", "weight"):
        runs = {
            "ours": _run(product, which, x, weight, toward),
            "own": _run(linear, which, x, weight, toward),
        }
        seconds, _ = take_turns(
            {key: lambda f=run: _often(f, turns) for key, run in runs.items()}, tries=5
        )
        rates = {
            k: turns * 2 * tokens * inputs * outputs / s.wall / 1e9 for k, s in seconds.items()
        }
        line(
            f"{name}, {tokens:,} x {inputs} to {outputs}, {which}",
            f"{rates['ours']:.0f} GFLOP/s",
            f"{rates['own']:.0f} GFLOP/s (PyTorch's own)",
            rates["ours"] / rates["own"],
        )


def _run(
    multiply: Multiply, which: str, x: torch.Tensor, weight: torch.Tensor, toward: torch.Tensor
) -> Callable[[], object]:
    """Return one of the three products, with nothing else computed."""
    if which == "forward":
        return lambda: multiply(x, weight)
    of = (x if which == "back" else weight).clone().requires_grad_()
    found = multiply(of, weight) if which == "back" else multiply(x, of)
    return lambda: torch.autograd.grad(found, of, toward, retain_graph=True)


def _often(run: Callable[[], object], turns: int) -> None:
    for _ in range(turns):
        run()


if __name__ == "__main__":
    main()
