"""What runs left behind: read one, list them, tell a row's story, ask the student.

    run = treadle.Run(Path("runs/recipe"))
    run.verdict["sentence"]
    run.features            # a Polars frame, one row a row

Nothing here changes a run folder.
"""

from __future__ import annotations

import contextlib
import html
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import polars as pl

from treadle import models
from treadle.data.pool import Pool, load_pool
from treadle.data.row import Message, from_frame
from treadle.errors import RecipeError, StoreError
from treadle.flywheel.progress import read_kept
from treadle.flywheel.run_folder import RunFolder
from treadle.machinery.calls import CallBook
from treadle.machinery.ledger import read_costs
from treadle.workshop import CALLS, STORE, asking_file, payer_of


@dataclass(frozen=True)
class Run:
    """A run folder, read lazily."""

    path: Path

    @property
    def _folder(self) -> RunFolder:
        return RunFolder(self.path)

    @property
    def verdict(self) -> dict[str, Any]:
        """Decision, sentence, arms and comparisons."""
        found: dict[str, Any] = self._folder.read_json("verdict.json")
        return found

    @property
    def counts(self) -> dict[str, Any]:
        found: dict[str, Any] = self._folder.read_json("counts.json")
        return found

    @property
    def pool(self) -> Pool:
        """Every row that was read, dropped ones too."""
        return load_pool(self.path / "pool")

    @property
    def features(self) -> pl.DataFrame:
        return self._folder.read_frame("features.parquet")

    @property
    def selection(self) -> pl.DataFrame:
        return self._folder.read_frame("selection.parquet")

    @property
    def results(self) -> pl.DataFrame:
        return self._folder.read_frame("results.parquet")

    @property
    def report(self) -> Path:
        return self.path / "report.html"

    def costs(self) -> list[dict[str, Any]]:
        """Seconds, rows and tokens by stage."""
        return read_costs(self.path / "ledger.sqlite")

    def trace(self, row: str) -> dict[str, Any]:
        """Tell a row's whole story. `row` is a row id, its beginning, or the user's own id."""
        return trace(self.path, row)

    def _repr_html_(self) -> str:
        """Show the report in a notebook."""
        page = html.escape(self.report.read_text(encoding="utf-8"), quote=True)
        return (
            f'<iframe srcdoc="{page}" width="100%" height="800" sandbox="allow-scripts"></iframe>'
        )


def runs(root: str | Path = "runs") -> list[dict[str, Any]]:
    """List the runs under a folder, with what became of them.

    `decision` is the gate's, or `compared` for a comparison, or `unfinished`, or `damaged` where the
    folder cannot be read; then `sentence` says why.
    """
    return [_summary(found.parent) for found in sorted(Path(root).glob("*/identity.json"))]


def _summary(path: Path) -> dict[str, Any]:
    folder = RunFolder(path)
    listed: dict[str, Any] = {"run": path.name, "student": None, "select": None}
    try:
        recipe = _recipe(folder)
        listed |= {"student": recipe["student"], "select": recipe["select"]}
        if not folder.is_finished:
            return listed | {"decision": "unfinished", "sentence": ""}
        if folder.has("comparison.json"):
            told = folder.read_json("comparison.json")["headline"]
            return listed | {"decision": "compared", "sentence": told}
        verdict = folder.read_json("verdict.json")
        return listed | {"decision": verdict["decision"], "sentence": verdict["sentence"]}
    except StoreError as error:
        return listed | {"decision": "damaged", "sentence": str(error)}
    except (KeyError, TypeError):
        said = f"{path}: identity.json or verdict.json is not what a run writes."
        return listed | {"decision": "damaged", "sentence": said}


def _recipe(folder: RunFolder) -> dict[str, Any]:
    """The recipe that a folder is a run of, with every default written out."""
    try:
        recipe: dict[str, Any] = folder.read_json("identity.json")["recipe"]
        select = recipe["select"]
        steps = [dict(step) for step in (select if isinstance(select, list) else [select])]
        return {"student": str(recipe["student"]), "select": steps[-1]}
    except (KeyError, TypeError, ValueError) as error:
        raise StoreError(
            f"{folder.path / 'identity.json'}: names no recipe ({error!r})."
        ) from error


def call_costs(place: str | Path = "runs") -> dict[str, Any]:
    """What endpoints were asked and what they cost, by payer, provider and model.

    Args:
        place: a run folder, or a folder of runs, or its store.

    Returns:
        `lines`, one dictionary a line, and `going_on`: the figures of asks that are going on, by payer,
        with `forecast_usd`.

    Raises:
        RecipeError: no endpoint was ever asked from there.
    """
    path = Path(os.path.abspath(place))
    payer = payer_of(path) if (path / "identity.json").is_file() else None
    stores = (path, path / STORE, path.parent / STORE)
    store = next((one for one in stores if (one / CALLS).is_file()), None)
    if store is None:
        raise RecipeError(
            f"{place}: no endpoint was asked from there: {path / STORE / CALLS} is missing."
        )
    with contextlib.closing(CallBook(store / CALLS)) as book:
        lines = [line for line in book.costs() if payer in (None, line["payer"])]
    going_on = {}
    for name in dict.fromkeys([*(line["payer"] for line in lines), *([payer] if payer else [])]):
        if (progress := read_kept(asking_file(store, name))) is not None:
            going_on[name] = {**asdict(progress), "forecast_usd": progress.forecast_usd}
    return {"lines": lines, "going_on": going_on}


def try_prompt(folder: str | Path, prompt: str, *, max_new_tokens: int = 200) -> dict[str, str]:
    """Answer a prompt with a run's student before and after training."""
    files = RunFolder(Path(folder))
    student = models.load(_recipe(files)["student"])
    after = student.tuned(files.path / "adapter")
    turns = [[Message("user", prompt)]]
    return {
        name: model.generate(turns, max_new_tokens=max_new_tokens)[0].text
        for name, model in (("before", student), ("after", after))
    }


def trace(folder: str | Path, row: str) -> dict[str, Any]:
    """Tell a row's whole story: where it came from, what was measured, what became of it.

    Raises:
        RecipeError: no row of the run has such an id, or several do.
    """
    files = RunFolder(Path(folder))
    pool = load_pool(files.path / "pool")
    found = _find(pool, row, files.path)
    key = found["id"]
    story: dict[str, Any] = {
        "id": key,
        "kind": found["kind"],
        "origins": [{**o, "extra": json.loads(o["extra"])} for o in found["origins"]],
        "text": from_frame(pool.frame.filter(pl.col("id") == key))[0].text,
    }
    for name in ("findings", "suspicions", "failed", "features", "selection"):
        if files.has(f"{name}.parquet"):
            frame = files.read_frame(f"{name}.parquet")
            story[name] = frame.filter(pl.col("id") == key).to_dicts()
    return story


def _find(pool: Pool, row: str, path: Path) -> dict[str, Any]:
    ids = pl.col("origins").list.eval(pl.element().struct.field("id")).list.contains(row)
    hits = pool.frame.filter(pl.col("id").str.starts_with(row) | ids)
    if hits.height != 1:
        what = "no row" if not hits.height else f"{hits.height} rows"
        raise RecipeError(f"{path}: {what} with id {row!r}. Ids are in selection.parquet.")
    return hits.to_dicts()[0]
