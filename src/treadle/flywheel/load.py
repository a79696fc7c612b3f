"""Load what a recipe names: training rows, sealed evaluation sets, target rows."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from treadle.data.formats.read import Loaded, Quarantined, read
from treadle.data.formats.sources import expand
from treadle.data.pool import Pool
from treadle.errors import DataError, RecipeError
from treadle.evaluate.sealed import SealedSets, items_of
from treadle.flywheel.features import user_columns
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
    unread: dict[str, tuple[Quarantined, ...]]
    """Malformed rows of the target and of each evaluation set (those of training: `loaded`)."""


def load_inputs(recipe: Recipe) -> Inputs:
    """Read all files of a recipe.

    Raises:
        DataError: a file is empty, of no known layout, or has too many malformed rows.
        RecipeError: the recipe names a column that the data do not have.
    """
    data = recipe.data
    names = [data.train] if isinstance(data.train, str) else data.train
    paths = [recipe.path(name) for name in names]
    loaded = read(paths, layout=data.layout, columns=data.columns)
    if not len(loaded.pool):
        raise DataError(f"{', '.join(names)}: no usable row ({loaded.read} read).")
    pool, held_out = loaded.pool, 0
    sets: dict[str, Pool] = {}
    unread: dict[str, tuple[Quarantined, ...]] = {}
    if data.held_out_share is not None:
        pool, evaluation = hold_out(pool, data.held_out_share)
        sets["held_out"], held_out = evaluation, len(evaluation)
    for name, text in data.evaluation_files.items():
        found = read(recipe.path(text), layout=data.layout, columns=data.columns)
        sets[name] = found.pool
        unread[name] = found.quarantine
        paths.append(recipe.path(text))
    target = None
    if data.target:
        found = read(recipe.path(data.target), layout=data.layout, columns=data.columns)
        target, unread["target"] = found.pool, found.quarantine
        paths.append(recipe.path(data.target))
    sealed = SealedSets(sets)
    _refuse_unknown_columns(recipe, pool, sealed)
    hashes = {f"{i}:{path.name}": _hash(path) for i, path in enumerate(expand(paths))}
    return Inputs(loaded, pool, held_out, sealed, target, hashes, unread)


def _refuse_unknown_columns(recipe: Recipe, pool: Pool, sealed: SealedSets) -> None:
    """Say it now, and not after all training."""
    for step in recipe.steps:
        user_columns(pool, step.selector.needs)
    if recipe.gate.cluster is not None:
        try:
            items_of(sealed, cluster=recipe.gate.cluster)
        except DataError as error:
            raise RecipeError(str(error)) from error


def hold_out(pool: Pool, share: float) -> tuple[Pool, Pool]:
    """Split rows by id: the same row always falls on the same side, whatever else is in the pool."""
    limit = int(share * 16**8)
    evaluation = [key for key in pool.ids if int(key[:8], 16) < limit]
    return pool.without(evaluation), pool.keep(evaluation)


def _hash(path: Path) -> str:
    digest = hashlib.sha256()
    files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
    for file in files:
        with file.open("rb") as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()
