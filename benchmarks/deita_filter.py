"""The score-first filter against DEITA's published loop, on the same vectors, in the same run.

    python benchmarks/deita_filter.py [--quick]

The published loop (hkust-nlp/deita, batch size 1) takes rows from the best score down, copies the
vectors of all kept rows into a fresh tensor at each, scales both sides to length 1 twice, and keeps the
row if no cosine lies above the limit. It stops when enough are kept; so do we. `most near` holds rows of
which most are near a better one, so that the walk goes on to the end; `none near` has nothing to reject.
Both must keep the same rows.
"""

from __future__ import annotations

import argparse

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray

from table import head, line, take_turns
from treadle.context import Context
from treadle.data.selection import Budget
from treadle.select.score_first_filter import score_first_filter

WIDTH, LIMIT = 384, 0.9
MOST_SECONDS = 2.0


def clouds(total: int) -> dict[str, NDArray[np.float32]]:
    """Return noise, and tight groups of about twelve rows each."""
    rng = np.random.default_rng(5)
    noise = rng.standard_normal((total, WIDTH), dtype=np.float32)
    centres = rng.standard_normal((total // 12, WIDTH), dtype=np.float32)
    near = centres[rng.integers(len(centres), size=total)] + np.float32(0.25) * noise
    return {"none near": noise, "most near": near}


def published_loop(
    points: NDArray[np.float32], scores: NDArray[np.float64], count: int
) -> list[int]:
    order = np.argsort(-scores, kind="stable")
    vectors = np.array(points[order].tolist())
    kept = [0]
    for i in range(1, len(order)):
        if len(kept) >= count:
            break
        row = torch.tensor(vectors[i : i + 1], dtype=torch.float32)
        before = torch.tensor(vectors[kept], dtype=torch.float32)
        for _ in range(2):
            row = row / row.norm(dim=1)[:, None]
            before = before / before.norm(dim=1)[:, None]
        if not torch.any(torch.mm(row, before.t()) > LIMIT):
            kept.append(i)
    return order[kept].tolist()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="2,000 rows, k = 300, one try")
    quick = parser.parse_args().quick
    total, count = (2_000, 300) if quick else (10_000, 1_000)
    choose = score_first_filter(by="score", limit=LIMIT)
    head()
    for name, points in clouds(total).items():
        scores = np.random.default_rng(9).permutation(total).astype(np.float64)
        length = np.full(total, 50)
        pool = pl.DataFrame(
            {
                "id": [f"{i:07d}" for i in range(total)],
                "length": length,
                "length_total": length,
                "score": scores,
                "embedding": pl.Series(points, dtype=pl.Array(pl.Float32, WIDTH)),
            }
        )
        seconds, answers = take_turns(
            {
                "ours": lambda p=pool: choose(p, Budget("rows", count), Context()).ids,
                "loop": lambda p=points, s=scores, ids=pool["id"]: [
                    ids[i] for i in published_loop(p, s, count)
                ],
            },
            tries=1 if quick else 3,
        )
        mine, loop = seconds["ours"], seconds["loop"]
        line(
            f"score-first filter, {total:,} x {WIDTH}, k = {count:,}, {name}",
            f"{mine}",
            f"{loop} (published loop)",
            loop.cpu / mine.cpu,
            bar=f"ours below {MOST_SECONDS:g} s",
            met=None if quick else mine.wall < MOST_SECONDS,
        )
        same = answers["ours"] == answers["loop"]
        line("same rows in the same order", "yes" if same else "no", bar="yes", met=same)


if __name__ == "__main__":
    main()
