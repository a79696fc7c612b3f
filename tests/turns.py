"""Small whole turns of the wheel for the tests: data, a recipe, a run."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

WORDS = [
    "amber",
    "birch",
    "cedar",
    "delta",
    "ember",
    "fjord",
    "grove",
    "heath",
    "inlet",
    "juniper",
    "kelp",
    "larch",
    "moss",
    "nettle",
    "oak",
    "pine",
    "quartz",
    "reed",
    "spruce",
    "thistle",
    "umber",
    "vale",
    "willow",
    "yarrow",
]

RECIPE = """\
student: scripted
data: {train: pool.jsonl, evaluate: heldout.jsonl}
audit: {near_duplicates: 0.8, contamination: {ngram: 6}}
select: {by: ifd, diverse: k_center, keep: 30%}
train: {method: ngram}
gate: {metric: nll, controls: [random, longest], reference: full, seeds: 3}
"""

# For tests of what any run does: three students instead of ten.
QUICK = RECIPE.replace("random, longest", "random").replace("seeds: 3", "seeds: 1")


def records(count: int, seed: int) -> list[dict[str, object]]:
    """Return made-up prompt/completion records with an id and a column of the user's."""
    rng = np.random.default_rng(seed)
    made: list[dict[str, object]] = []
    for i in range(count):
        prompt = f"{' '.join(rng.choice(WORDS, 6))} number {i} of {seed}?"
        answer = " ".join(rng.choice(WORDS, int(rng.integers(2, 30))))
        made.append({"id": f"{seed}-{i}", "prompt": prompt, "completion": answer, "quality": i % 5})
    return made


def write_lines(path: Path, rows: list[dict[str, object]], tail: str = "") -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows) + tail, encoding="utf-8")


def write_data(folder: Path, rows: int = 120) -> None:
    """Write a pool with planted duplicates, contamination and malformed lines, and sealed items."""
    folder.mkdir(parents=True, exist_ok=True)
    held = records(30, seed=2)
    pool = records(rows, seed=1)
    pool += [
        {**pool[3], "id": "copy"},
        {**pool[5], "id": "spaced", "prompt": f"  {pool[5]['prompt']}"},
    ]
    pool += [{**held[0], "id": "leaked"}]
    write_lines(folder / "heldout.jsonl", held)
    write_lines(folder / "pool.jsonl", pool, tail='{"prompt": "torn\n{"nothing": 1}\n')


def write_turn(folder: Path, recipe: str = RECIPE, rows: int = 120) -> Path:
    """Write data and a recipe; return the recipe's path."""
    write_data(folder, rows)
    path = folder / "recipe.yaml"
    path.write_text(recipe, encoding="utf-8")
    return path
