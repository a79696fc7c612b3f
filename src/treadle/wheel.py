"""Turn the wheel: check a recipe, run it, compare selectors with it, score the demo.

run = treadle.run("recipe.yaml")
run.verdict["sentence"]
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from treadle import op as registry
from treadle.errors import RecipeError
from treadle.flywheel.artefacts import Artefacts
from treadle.flywheel.check_recipe import read_recipe
from treadle.flywheel.compare import Contest
from treadle.flywheel.estimate import Estimate, estimate
from treadle.flywheel.load import load_inputs
from treadle.flywheel.planted import score as score_planted
from treadle.flywheel.progress import Observer, watched
from treadle.flywheel.recipe import Recipe
from treadle.flywheel.round import Round
from treadle.flywheel.run_folder import RunFolder
from treadle.history import Run
from treadle.machinery.disk import Disk
from treadle.machinery.lock import only_writer
from treadle.report import write_report
from treadle.workshop import STORE, Asking, open_workshop, payer_of


def run(
    recipe: str | Path,
    *,
    out: str | Path | None = None,
    overrides: Sequence[str] = (),
    plugins: Sequence[str | Path] = (),
    progress: bool | Observer = True,
    disk: Disk | None = None,
) -> Run:
    """Turn the wheel once. Running it again continues where it stopped.

    Args:
        out: the run folder; default `runs/<recipe name>`. The store of finished work lies beside it
            and is shared by all runs there.
        overrides: `key.path=value` over the recipe.

    Raises:
        RecipeError: the recipe is wrong, or the folder holds another run or anything else.
        BudgetError: a budget ran out; raise it and call again.
        TreadleError: anything else foreseen.
    """
    _plug(plugins)
    checked = replace(read_recipe(Path(recipe), overrides), compare=None)  # it has a command
    path = Path(out) if out is not None else Path("runs") / checked.name
    RunFolder(path).refuse_strangers()
    with only_writer(path), watched(progress) as observer:
        _turn(checked, path, observer, disk)
        observer.stage("report")
        write_report(path)
        observer.note(str(path / "report.html"))
    return Run(path)


def compare(
    recipe: str | Path,
    *,
    out: str | Path | None = None,
    overrides: Sequence[str] = (),
    plugins: Sequence[str | Path] = (),
    progress: bool | Observer = True,
) -> dict[str, Any]:
    """Compare the methods of a recipe's `compare` section. Calling it again continues.

    Returns:
        What `comparison.json` in the folder holds: `cells`, one dictionary a line of the table.

    Raises:
        RecipeError: the recipe is wrong or has no such section, or the folder holds anything else.
        BudgetError: a budget ran out; raise it and call again.
        TreadleError: anything else foreseen.
    """
    _plug(plugins)
    checked = read_recipe(Path(recipe), overrides)
    if checked.compare is None:
        raise RecipeError(
            f"{recipe}: has no section `compare`. Write what to compare, such as "
            "`compare: {methods: {ifd: {by: ifd}, k_center: }, keep: [10%, 30%]}`."
        )
    path = Path(out) if out is not None else Path("runs") / f"{checked.name}-compare"
    RunFolder(path).refuse_strangers()
    plan = checked.compare
    with only_writer(path), watched(progress) as observer:
        with _round(checked, path, observer, None) as one:
            Contest(one, plan).turn()
            one.artefacts.folder.seal()
        observer.stage("report")
        write_report(path)
        observer.note(str(path / "report.html"))
    found: dict[str, Any] = RunFolder(path).read_json("comparison.json")
    return found


def _turn(recipe: Recipe, path: Path, observer: Observer, disk: Disk | None) -> None:
    with _round(recipe, path, observer, disk) as one:
        one.turn()
        one.artefacts.folder.seal()


@contextmanager
def _round(recipe: Recipe, path: Path, observer: Observer, disk: Disk | None) -> Iterator[Round]:
    """Open everything that a turn works with."""
    folder = RunFolder(path, disk or Disk())
    artefacts = Artefacts(folder)
    asking = Asking(
        payer_of(path), recipe.endpoints, recipe.budget.call_limits, artefacts.without_licence
    )  # fmt: skip
    with open_workshop(
        store=Path(os.path.abspath(path)).parent / STORE,  # `.` has no parent
        ledger=path / "ledger.sqlite",
        limits=recipe.budget.limits,
        observer=observer,
        student=recipe.student,
        embedder=recipe.embedder,
        asking=asking,
        seed=recipe.seed,
        disk=disk,
    ) as shop:
        yield Round(recipe, artefacts, shop.engine, shop.ledger, shop.context, observer)


def check(
    recipe: str | Path, *, overrides: Sequence[str] = (), plugins: Sequence[str | Path] = ()
) -> tuple[Recipe, Estimate]:
    """Check a whole recipe and its data, and estimate tokens, minutes and disk. Spends nothing.

    With a section `compare` the estimate is that of the comparison.
    """
    _plug(plugins)
    checked = read_recipe(Path(recipe), overrides)
    return checked, estimate(checked, load_inputs(checked), Path.cwd())


def _plug(plugins: Sequence[str | Path]) -> None:
    for plugin in plugins:
        registry.load_plugin(Path(plugin))


def score_demo(run: Run, planted: Mapping[str, Any]) -> dict[str, Any]:
    """Count the planted defects that a run of the demo caught, and write its report again."""
    folder = RunFolder(run.path)
    artefacts = folder.read_json("manifest.json")
    found = score_planted(folder, planted)
    folder.seal(also=artefacts)
    write_report(run.path)
    return found
