"""Load what a recipe names: training rows, sealed evaluation sets, target rows."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from treadle.data.formats.read import Loaded, read
from treadle.data.pool import Pool
from treadle.errors import DataError
from treadle.evaluate.sealed import SealedSets
from treadle.flywheel.recipe import Recipe


@dataclass(frozen=True)
class Inputs:
    """Everything that a round reads. `pool` excludes the rows held out for evaluation."""

    loaded: Loaded
    pool: Pool
    held_out: int
    sealed: SealedSets
    target: Pool | None
    hashes: dict[str, str]
    evaluation_quarantine: int


def load_inputs(recipe: Recipe) -> Inputs:
    """Read all files of a recipe.

    Raises:
        DataError: a file is empty, of no known layout, or has too many malformed rows.
    """
    data = recipe.data
    names = [data.train] if isinstance(data.train, str) else data.train
    paths = [recipe.path(name) for name in names]
    loaded = read(paths, layout=data.layout, columns=data.columns)
    if not len(loaded.pool):
        raise DataError(f"{', '.join(names)}: no usable row ({loaded.read} read).")
    pool, held_out = loaded.pool, 0
    sets, quarantined = {}, 0
    if data.held_out_share is not None:
        pool, evaluation = hold_out(pool, data.held_out_share)
        sets["held_out"], held_out = evaluation, len(evaluation)
    for name, text in data.evaluation_files.items():
        found = read(recipe.path(text), layout=data.layout, columns=data.columns)
        sets[name] = found.pool
        quarantined += len(found.quarantine)
        paths.append(recipe.path(text))
    target = None
    if data.target:
        target = read(recipe.path(data.target), layout=data.layout, columns=data.columns).pool
        paths.append(recipe.path(data.target))
    hashes = {f"{i}:{path.name}": _hash(path) for i, path in enumerate(paths)}
    return Inputs(loaded, pool, held_out, SealedSets(sets), target, hashes, quarantined)


def hold_out(pool: Pool, share: float) -> tuple[Pool, Pool]:
    """Split rows by id: the same row always falls on the same side, whatever else is in the pool."""
    limit = f"{int(share * 16**8):08x}"
    evaluation = [key for key in pool.ids if key[:8] < limit]
    return pool.without(evaluation), pool.keep(evaluation)


def _hash(path: Path) -> str:
    digest = hashlib.sha256()
    files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
    for file in files:
        if not file.exists():
            continue  # a pattern such as part-*.jsonl: its rows are covered by the pool's own hash
        with file.open("rb") as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()
