"""The public door, for scripts and notebooks.

    import treadle
    run = treadle.run("recipe.yaml")
    run.verdict["sentence"]
    run.features            # a Polars frame, one row a row
    treadle.load("mine.jsonl").pool

Each single stage works on plain files or pools without a recipe.
"""

from __future__ import annotations

import html
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import polars as pl
from rich.console import Console

from treadle import models
from treadle import op as registry
from treadle.data.formats.read import Loaded, read
from treadle.data.formats.write import write
from treadle.data.lint import LintReport, lint
from treadle.data.pool import Pool, load_pool, to_parquet
from treadle.data.row import Message, from_frame
from treadle.data.selection import Budget, Findings, Selection
from treadle.errors import RecipeError
from treadle.evaluate.sealed import SealedSets
from treadle.evaluate.stage import Candidate, evaluate_students
from treadle.flywheel.artefacts import Artefacts
from treadle.flywheel.estimate import Estimate, estimate
from treadle.flywheel.features import measure_pool
from treadle.flywheel.load import load_inputs
from treadle.flywheel.planted import score as score_planted
from treadle.flywheel.progress import Bars, Observer, Silent
from treadle.flywheel.recipe import ALWAYS_AUDITED, Recipe, read_recipe
from treadle.flywheel.round import Round
from treadle.flywheel.run_folder import RunFolder
from treadle.machinery.disk import Disk
from treadle.machinery.folders import pack
from treadle.machinery.ledger import Ledger
from treadle.machinery.lock import only_writer
from treadle.report import write_report
from treadle.workshop import STORE, open_workshop

Rows = Pool | str | Path


def load(source: str | Path | Sequence[str | Path], *, layout: str | None = None) -> Loaded:
    """Read rows from files; malformed ones are in `.quarantine`, with file, line and reason."""
    return read(source, layout=layout)


def _pool(rows: Rows) -> Pool:
    return rows if isinstance(rows, Pool) else read(rows).pool


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
        ledger = Ledger(self.path / "ledger.sqlite")
        try:
            return ledger.costs()
        finally:
            ledger.close()

    def trace(self, row: str) -> dict[str, Any]:
        """Tell a row's whole story. `row` is a row id, its beginning, or the user's own id."""
        return trace(self.path, row)

    def _repr_html_(self) -> str:
        """Show the report in a notebook."""
        page = html.escape(self.report.read_text(encoding="utf-8"), quote=True)
        return (
            f'<iframe srcdoc="{page}" width="100%" height="800" sandbox="allow-scripts"></iframe>'
        )


@contextmanager
def _watched(progress: bool | Observer) -> Iterator[Observer]:
    if isinstance(progress, bool):
        if not progress:
            yield Silent()
            return
        with Bars(Console(stderr=True)) as bars:
            yield bars
        return
    yield progress


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
        RecipeError: the recipe is wrong, or the folder holds another run.
        BudgetError: a budget ran out; raise it and call again.
        TreadleError: anything else foreseen.
    """
    _plug(plugins)
    checked = read_recipe(Path(recipe), overrides)
    path = Path(out) if out is not None else Path("runs") / checked.name
    with only_writer(path), _watched(progress) as observer:
        _turn(checked, path, observer, disk)
        observer.stage("report")
        write_report(path)
        observer.note(str(path / "report.html"))
    return Run(path)


def _turn(recipe: Recipe, path: Path, observer: Observer, disk: Disk | None) -> None:
    folder = RunFolder(path, disk or Disk())
    with open_workshop(
        store=path.parent / STORE,
        ledger=path / "ledger.sqlite",
        limits=recipe.budget.limits,
        observer=observer,
        student=recipe.student,
        embedder=recipe.embedder,
        seed=recipe.seed,
        disk=disk,
    ) as shop:
        artefacts = Artefacts(folder)
        Round(recipe, artefacts, shop.engine, shop.ledger, shop.context, observer).turn()
        folder.seal()


def check(
    recipe: str | Path, *, overrides: Sequence[str] = (), plugins: Sequence[str | Path] = ()
) -> tuple[Recipe, Estimate]:
    """Check a whole recipe and its data, and estimate tokens, minutes and disk. Spends nothing."""
    _plug(plugins)
    checked = read_recipe(Path(recipe), overrides)
    return checked, estimate(checked, load_inputs(checked), Path.cwd())


def _plug(plugins: Sequence[str | Path]) -> None:
    for plugin in plugins:
        registry.load_plugin(Path(plugin))


def lint_rows(rows: Rows, *, model: str = "embedded", max_tokens: int | None = None) -> LintReport:
    """Check that rows are ready for training with a model's chat template."""
    student = models.load(model)
    return lint(_pool(rows), student.tokenizer, max_tokens=max_tokens or student.max_tokens)


def audit_rows(
    rows: Rows,
    *,
    against: Mapping[str, Rows] | None = None,
    ops: Mapping[str, Mapping[str, Any]] | None = None,
    progress: bool | Observer = False,
) -> dict[str, Findings]:
    """Run audits: by default profile, exact and near duplicates, contamination.

    Args:
        against: evaluation sets that no row may come from.
        ops: audits and their options, instead of the default ones.
    """
    pool = _pool(rows)
    default: dict[str, dict[str, Any]] = {name: {} for name in (*ALWAYS_AUDITED, "near_duplicates")}
    chosen = default if ops is None else ops
    ngram = int(chosen.get("contamination", {}).get("ngram", 13))
    sets = SealedSets({name: _pool(found) for name, found in (against or {}).items()})
    sealed = sets.index(ngram=ngram) if against else None
    with _watched(progress) as observer, open_workshop(store=_store(), observer=observer) as shop:
        context = replace(shop.context, sealed=sealed)
        return {
            name: registry.get("audit", name).bind(options).make()(pool, context)
            for name, options in chosen.items()
        }


def measure_rows(
    rows: Rows,
    features: Sequence[str],
    *,
    model: str = "embedded",
    embedder: str = "minilm",
    options: Mapping[str, Mapping[str, Any]] | None = None,
    progress: bool | Observer = False,
) -> pl.DataFrame:
    """Measure features. Returns a frame with `id` and one column or more a feature."""
    with (
        _watched(progress) as observer,
        open_workshop(
            store=_store(), observer=observer, student=model, embedder=embedder
        ) as shop,
    ):  # fmt: skip
        found = measure_pool(_pool(rows), list(features), options or {}, shop.context)
    return found.frame


def select_rows(
    rows: Rows,
    *,
    keep: str | float,
    method: str | None = None,
    model: str = "embedded",
    embedder: str = "minilm",
    seed: int = 0,
    progress: bool | Observer = False,
    **options: Any,
) -> Selection:
    """Select rows, e.g. `select_rows("pool.jsonl", keep="30%", by="ifd", diverse="k_center")`."""
    if method is None and "by" in options:
        method = "score_then_diverse" if "diverse" in options else "top"
    bound = registry.get("select", method or options.pop("diverse", "random")).bind(options)
    needs = list(dict.fromkeys(["length", *bound.needs]))
    with (
        _watched(progress) as observer,
        open_workshop(
            store=_store(), observer=observer, student=model, embedder=embedder, seed=seed
        ) as shop,
    ):  # fmt: skip
        found = measure_pool(_pool(rows), needs, {}, shop.context)
        wanted = found.frame.filter(~pl.col("id").is_in(found.failed["id"].to_list()))
        selection: Selection = bound.make()(wanted, Budget.parse(keep), shop.context)
    return selection


def train_rows(
    rows: Rows,
    *,
    out: str | Path,
    model: str = "embedded",
    method: str | None = None,
    seed: int = 0,
    progress: bool | Observer = False,
    **options: Any,
) -> dict[str, Any]:
    """Train a model on all rows; its adapter goes to `out`. Returns steps, tokens and losses."""
    folder = Path(out)
    if folder.exists() and any(folder.iterdir()):
        raise RecipeError(f"{folder}: is not empty. Choose another folder with --out.")
    name = method or ("ngram" if model == "scripted" else "sft")
    bound = registry.get("train", name).bind(options)
    folder.mkdir(parents=True, exist_ok=True)
    with (
        _watched(progress) as observer,
        open_workshop(store=_store(), observer=observer, student=model) as shop,
    ):
        student = shop.context.model("student")
        figures: dict[str, Any] = bound.make()(
            _pool(rows).frame, student, seed, folder, shop.context
        )
    return figures


def evaluate_rows(
    rows: Rows,
    *,
    model: str = "embedded",
    adapter: str | Path | None = None,
    metric: str = "nll",
    progress: bool | Observer = False,
    **options: Any,
) -> pl.DataFrame:
    """Evaluate a model, with or without an adapter, item by item."""
    bound = registry.get("evaluate", metric).bind(options)
    sealed = SealedSets({"items": _pool(rows)})
    with (
        _watched(progress) as observer,
        open_workshop(store=_store(), observer=observer, student=model) as shop,
    ):
        weights: tuple[str, ...] = ()
        if adapter is not None:
            weights = tuple(shop.engine.store.put(blob) for blob in pack(Path(adapter)))
        candidate = Candidate("tuned" if adapter else "before", 0, weights)
        return evaluate_students(sealed, [candidate], bound, shop.context)


def try_prompt(folder: str | Path, prompt: str, *, max_new_tokens: int = 200) -> dict[str, str]:
    """Answer a prompt with a run's student before and after training."""
    run_folder = RunFolder(Path(folder))
    student = models.load(run_folder.read_json("identity.json")["recipe"]["student"])
    after = student.tuned(run_folder.path / "adapter")
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
    for name, file in (
        ("findings", "findings.parquet"),
        ("features", "features.parquet"),
        ("selection", "selection.parquet"),
    ):
        if files.has(file):
            story[name] = files.read_frame(file).filter(pl.col("id") == key).to_dicts()
    return story


def _find(pool: Pool, row: str, path: Path) -> dict[str, Any]:
    ids = pl.col("origins").list.eval(pl.element().struct.field("id")).list.contains(row)
    hits = pool.frame.filter(pl.col("id").str.starts_with(row) | ids)
    if hits.height != 1:
        what = "no row" if not hits.height else f"{hits.height} rows"
        raise RecipeError(f"{path}: {what} with id {row!r}. Ids are in selection.parquet.")
    return hits.to_dicts()[0]


def runs(root: str | Path = "runs") -> list[dict[str, Any]]:
    """List the runs under a folder, with what became of them."""
    listed = []
    for identity in sorted(Path(root).glob("*/identity.json")):
        folder = RunFolder(identity.parent)
        decided = folder.read_json("verdict.json") if folder.has("verdict.json") else {}
        recipe = folder.read_json("identity.json")["recipe"]
        listed.append(
            {
                "run": identity.parent.name,
                "student": recipe["student"],
                "select": recipe["select"],
                "decision": decided.get("decision", "unfinished"),
                "sentence": decided.get("sentence", ""),
            }
        )
    return listed


def score_demo(run: Run, planted: Mapping[str, Any]) -> dict[str, Any]:
    """Count the planted defects that a run of the demo caught, and write its report again."""
    found = score_planted(RunFolder(run.path), planted)
    RunFolder(run.path).seal()
    write_report(run.path)
    return found


def write_table(frame: pl.DataFrame, path: str | Path) -> None:
    """Write a frame as .parquet, .csv or .jsonl (vectors go to Parquet and JSONL only)."""
    target = Path(path)
    if target.suffix == ".parquet":
        blob = to_parquet(frame)
    elif target.suffix == ".csv":
        flat = frame.select(c for c, kind in frame.schema.items() if not kind.is_nested())
        blob = flat.write_csv().encode()
    elif target.suffix in (".jsonl", ".ndjson"):
        blob = frame.write_ndjson().encode()
    else:
        raise RecipeError(f"{target}: write tables as .parquet, .csv or .jsonl.")
    Disk().publish(target, blob)


def write_selection(pool: Pool, selection: Selection, path: str | Path) -> None:
    """Write the chosen rows in their order, with rank and reason, to any row format."""
    rows = {row.id: row for row in from_frame(pool.keep(selection.ids).frame)}
    extra = {
        r["id"]: {"treadle_rank": r["rank"], "treadle_reason": r["reason"]}
        for r in selection.chosen.iter_rows(named=True)
    }
    write([rows[key] for key in selection.ids], path, extra_columns=extra)


def write_audit(loaded: Loaded, found: Mapping[str, Findings], folder: str | Path) -> None:
    """Write kept.jsonl, dropped.jsonl (with reasons) and quarantine.jsonl."""
    target = Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    rows = pl.concat([f.rows for f in found.values()]).unique("id", maintain_order=True)
    why = {
        r["id"]: {"treadle_reason": r["reason"], "treadle_other": r["other"]}
        for r in rows.iter_rows(named=True)
    }
    write(loaded.pool.without(why), target / "kept.jsonl")
    write(loaded.pool.keep(why), target / "dropped.jsonl", extra_columns=why)
    lines = (json.dumps(q.as_json(), ensure_ascii=False) + "\n" for q in loaded.quarantine)
    Disk().publish(target / "quarantine.jsonl", "".join(lines).encode())


def _store() -> Path:
    return Path("runs") / STORE


__all__ = [
    "Run", "audit_rows", "check", "evaluate_rows", "lint_rows", "load", "measure_rows", "run",
    "runs", "score_demo", "select_rows", "trace", "train_rows", "try_prompt", "write_audit",
    "write_report", "write_selection", "write_table",
]  # fmt: skip
