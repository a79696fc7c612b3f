"""Sketched gradients of single rows against one backward pass a row, on the embedded model.

    python benchmarks/less_features.py [--rows 24] [--quick] [--threads 1]

The alternative is the loop of the published scripts at the same precision (fp32): batch size 1, the
model's own loss over logits of all positions, one backward pass, the gradient of every factor of the
adapter, Adam's step from the same moments, and the same sketch of both. (The scripts project to 8,192
places through a dense matrix of signs, which on a processor would cost more than all the rest; the loop
is spared that.) Ours draws its sketches anew in each call, which counts against it where rows are few.
The loop multiplies as PyTorch does; a second line lets it multiply as ours (`treadle.models.linear`),
which says what is due to batches alone. Both start from the same short warm-up; `least cosine` compares what they answer.
"""

from __future__ import annotations

import argparse

import numpy as np
import torch
from numpy.typing import NDArray

from plain import pytorch_products
from table import head, line, take_turns
from treadle.models import load
from treadle.models.adapter import adapted, read
from treadle.models.gradients import adam_step
from treadle.models.local import LocalStudent
from treadle.models.protocol import Scorable
from treadle.models.sketch import sketch

PLACES = 1024
BARS = {64: 2.0, 256: 1.0}


def made_up(rows: int, tokens: int, seed: int) -> list[Scorable]:
    """Return sequences of about so many tokens, the second half of which carries loss."""
    rng = np.random.default_rng(seed)
    found = []
    for length in rng.integers(3 * tokens // 4, 5 * tokens // 4 + 1, size=rows).tolist():
        ids = rng.integers(100, 40_000, size=length).astype(np.int32)
        found.append(Scorable(ids, np.arange(length) >= length // 2))
    return found


def one_pass_a_row(
    student: LocalStudent, rows: list[Scorable], warm: bytes
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    (checkpoint,) = read(warm, student.device)
    sketches = {
        name: sketch(factor.numel(), PLACES, 0, 0, name)
        for name, factor in checkpoint.factors.items()
    }
    found = np.zeros((2, len(rows), PLACES), dtype=np.float32)
    for place, row in enumerate(rows):
        leaves = {k: v.clone().requires_grad_() for k, v in checkpoint.factors.items()}
        ids = torch.from_numpy(row.ids.astype(np.int64))[None]
        labels = torch.where(torch.from_numpy(row.wanted)[None], ids, -100)
        with adapted(student.model, leaves):
            student.model(input_ids=ids, labels=labels, use_cache=False).loss.backward()
        for name, leaf in leaves.items():
            _, first, second = checkpoint.states[name]
            plain = leaf.grad
            step = adam_step(plain, first, second, steps=checkpoint.steps, epsilon="outside")
            drawn = sketches[name]
            for kind, vector in enumerate((step, plain)):
                signed = vector.flatten()[torch.from_numpy(drawn.coordinates)]
                signed = signed * torch.from_numpy(drawn.signs)
                found[kind, place] += signed.view(-1, PLACES).sum(dim=0).numpy()
    found /= np.linalg.norm(found, axis=2, keepdims=True)
    return found[0], found[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=24, help="rows of 64 tokens; a third of 256")
    parser.add_argument("--tries", type=int, default=2)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--quick", action="store_true", help="12 rows, one try")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    rows, tries = (12, 1) if given.quick else (given.rows, given.tries)
    student = load("embedded", precision="fp32")
    warm = student.warm_up(
        made_up(8, 32, seed=1), lora=8, epochs=1, checkpoints=1, learning_rate=5e-4, seed=0
    )
    head()

    def published(some: list[Scorable]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        with pytorch_products():
            return one_pass_a_row(student, some, warm)

    for tokens, bar in BARS.items():
        some = made_up(max(2, rows if tokens == 64 else rows // 3), tokens, seed=2)
        seconds, answers = take_turns(
            {
                "ours": lambda s=some: student.gradients(
                    s, warm, width=PLACES, epsilon="outside", seed=0
                ),
                "loop": lambda s=some: published(s),
                "quick": lambda s=some: one_pass_a_row(student, s, warm),
            },
            tries=tries,
        )
        mine, loop = seconds["ours"], seconds["loop"]
        ratio = loop.cpu / mine.cpu
        label = f"gradients of rows, {len(some)} rows of about {tokens} tokens, fp32"
        line(label, f"{mine}", f"{loop} (one pass a row)", ratio, bar=f"at least {bar:g}x",
             met=None if given.quick else ratio >= bar)  # fmt: skip
        quick = seconds["quick"]
        line(f"{label}, our products in both", f"{mine}", f"{quick} (one pass a row)",
             quick.cpu / mine.cpu)  # fmt: skip
        found, (adam, plain) = answers["ours"], answers["loop"]
        least = min(
            float((a * b).sum(axis=1).min()) for a, b in ((found.adam, adam), (found.plain, plain))
        )
        line(f"{label}, least cosine", f"{least:.6f}", bar="at least 0.999", met=least >= 0.999)


if __name__ == "__main__":
    main()
