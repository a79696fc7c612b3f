"""Commands for single stages on plain files, without a recipe."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from treadle.cli import show
from treadle.cli.options import CallBudget, Json, Judge, Plugins, Unlicensed
from treadle.errors import RecipeError

if TYPE_CHECKING:
    import polars as pl

    from treadle.data.formats.read import Loaded

Data = Annotated[
    Path, typer.Argument(help="Rows: JSONL, JSON, CSV, Parquet, dataset folder, pool.")
]
Model = Annotated[str, typer.Option(help="embedded, proxy, a Hugging Face id or a local folder.")]
Embedder = Annotated[str, typer.Option(help="minilm, or hashed (needs no torch).")]
Sets = Annotated[
    list[str] | None, typer.Option("--set", help="An option of the op, e.g. --set epochs=2.")
]
RowsOut = Annotated[
    Path | None,
    typer.Option("--out", help="Where to write: .jsonl, .json, .csv, .parquet, or a folder."),
]
TableOut = Annotated[
    Path | None, typer.Option("--out", help="Where to write: .parquet, .csv or .jsonl.")
]


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
    for command in (lint, audit, measure, select, train, evaluate):
        app.command(command.__name__, rich_help_panel="Single stages, on plain files")(command)


def _read(data: Path, plugins: list[Path] | None = None) -> Loaded:
    """Load plugins and rows, and say which records are no rows."""
    from treadle import op as registry
    from treadle import stages

    for plugin in plugins or ():
        registry.load_plugin(plugin)
    loaded = stages.load(data)
    if loaded.quarantine:
        first = loaded.quarantine[0]
        show.warn(
            f"{data}: {len(loaded.quarantine):,} of {loaded.read:,} records are malformed and left "
            f"out, first {first.file}:{first.line}: {first.detail}"
        )
    return loaded


def _options(sets: list[str] | None, stage: Callable[..., Any]) -> dict[str, Any]:
    """Read `--set` texts as options of an op; what the stage itself takes has flags of its own."""
    from treadle.data.yaml_lines import setting

    found = dict(setting(text) for text in sets or ())
    for key in found:
        if key in inspect.signature(stage).parameters:
            raise RecipeError(
                f"--set {key}: not an option of the op. If the command has --{key}, use that."
            )
    return found


def _mapping(name: str, text: str | None) -> dict[str, Any] | None:
    """Read an option that is written as a section of a recipe is."""
    from treadle.data.yaml_lines import setting

    if text is None:
        return None
    _, found = setting(f"{name}={text}")
    if not isinstance(found, dict):
        raise RecipeError(f"--{name} {text!r}: write it as in a recipe, '{{url: …, model: …}}'.")
    return found


def lint(
    data: Data,
    model: Model = "embedded",
    max_tokens: Annotated[int, typer.Option(help="Rows are cut here.")] = 1024,
    examples: Annotated[int, typer.Option(help="Rows to show with their loss mask.")] = 1,
    json: Json = False,
) -> None:
    """Check that rows are ready for training: template, loss mask, stop token, truncation.

    Shows rows as the model will see them; what carries loss is [green]green[/].

    [bold]Example[/]  treadle lint mine.jsonl --max-tokens 512

    [bold]Exit code[/]  1: a check failed, the rows are not ready.
    """
    from treadle import stages

    report = stages.lint_rows(_read(data).pool, model=model, max_tokens=max_tokens)
    if json:
        show.as_json(report.as_json())
    else:
        for example in report.examples[:examples]:
            for segment in example.segments:
                style = "bold green" if segment.trains else "dim"
                show.out.print(segment.text, style=style, markup=False, end="")
            show.out.print()
        checks = [(c.severity, c.name, c.count, c.message) for c in report.checks]
        show.table(("severity", "check", "rows", "what to do"), checks)
        show.out.print("ready" if report.is_ready else "[bold red]not ready for training[/]")
    raise typer.Exit(0 if report.is_ready else 1)


def audit(
    data: Data,
    against: Annotated[
        list[Path] | None,
        typer.Option(help="Evaluation rows that must not be in the data; may be given often."),
    ] = None,
    near: Annotated[float, typer.Option(help="Jaccard similarity of a near duplicate.")] = 0.8,
    also: Annotated[
        list[str] | None,
        typer.Option(help="A further audit, as semantic_duplicates; may be given often."),
    ] = None,
    embedder: Embedder = "minilm",
    out: Annotated[
        Path | None, typer.Option(help="Folder for kept.jsonl, dropped.jsonl, quarantine.jsonl.")
    ] = None,
    json: Json = False,
) -> None:
    """Find duplicates, near duplicates and contamination; show what is in the data.

    Drops nothing by itself: with --out, kept and dropped rows are written, these with reasons.
    Audits that compare meaning (semantic_duplicates, paraphrase_contamination) read all rows with
    the embedder, so they run only when asked for with --also.

    [bold]Example[/]  treadle audit mine.jsonl --against test.jsonl --out audited
    """
    from treadle import stages
    from treadle.data.formats.outcomes import check_folder, write_audit
    from treadle.data.formats.sources import labels

    if out is not None:
        check_folder(out)
    loaded = _read(data)
    named: dict[str, stages.Rows] = dict(
        zip(labels(against), against, strict=True) if against else ()
    )
    further: dict[str, dict[str, object]] = {name: {} for name in also or ()}
    audits = {**stages.AUDITS, **further, "near_duplicates": {"threshold": near}}
    found = stages.audit_rows(
        loaded.pool, against=named, ops=audits, embedder=embedder, progress=not json
    )
    flagged = {name: _flags(f.rows) for name, f in found.items()}
    written = write_audit(loaded, found, out) if out is not None else []
    if json:
        figures = {name: dict(f.figures) for name, f in found.items()}
        doubts = {name: _flags(f.suspicions) for name, f in found.items() if f.suspicions.height}
        shown = {"read": loaded.read, "findings": flagged, "figures": figures}
        show.as_json({**shown, **({"suspicions": doubts} if doubts else {})})
        return
    show.say(
        f"{loaded.read:,} rows read ({loaded.layout}), {len(loaded.quarantine):,} malformed, "
        f"{loaded.merged:,} merged as equal"
    )
    show.table(("audit", "rows flagged"), [(name, len(rows)) for name, rows in flagged.items()])
    for name, rows in flagged.items():
        if rows:
            show.table(("row", "reason", "because of", "figure"), rows[:5], title=f"\n{name}")
    for name, f in found.items():
        doubted = _flags(f.suspicions)
        if doubted:
            title = f"\n{name}: {len(doubted):,} suspicious rows, which stay"
            show.table(("row", "reason", "because of", "figure"), doubted[:5], title=title)
    show.written(written)


def _flags(found: pl.DataFrame) -> list[tuple[str, str, str, float]]:
    return [(r["id"], r["reason"], r["other"], r["figure"]) for r in found.iter_rows(named=True)]


def measure(
    data: Data,
    feature: Annotated[list[str], typer.Option("--feature", "-f", help="See `treadle ops`.")],
    model: Model = "embedded",
    embedder: Embedder = "minilm",
    out: TableOut = None,
    judge: Judge = None,
    budget: CallBudget = None,
    unlicensed: Unlicensed = False,
    plugins: Plugins = None,
    json: Json = False,
) -> None:
    """Measure features of rows. A row on which a measure fails is named, and its value is null.

    Measures that ask a judge need --judge, and a judge that has a licence.

    [bold]Example[/]  treadle measure mine.jsonl -f ifd -f perplexity --out features.parquet
    """
    from treadle import stages
    from treadle.data.formats.outcomes import TABLE_FILES, check_target, write_table
    from treadle.judge.model import unlicensed as allowed

    if out is not None:
        check_target(out, TABLE_FILES)
    pool = _read(data, plugins).pool
    with allowed(unlicensed) as permit:
        found = stages.measure_rows(
            pool, feature, model=model, embedder=embedder, judge=_mapping("judge", judge),
            budget=_mapping("budget", budget), progress=not json,
        )  # fmt: skip
    show.stamped(permit)
    frame, failed = found.frame, found.failed
    columns = write_table(frame, out) if out is not None else []
    if json:
        told = {"features": frame.to_dicts(), "failed": failed.to_dicts()}
        show.as_json({**told, **permit.as_json()})
        return
    numeric = [c for c, kind in frame.schema.items() if kind.is_numeric()]
    rows = [
        (c, frame[c].count(), frame[c].null_count(), frame[c].quantile(0.1), frame[c].median(),
         frame[c].quantile(0.9)) for c in numeric
    ]  # fmt: skip
    show.table(("feature", "scored", "unscored", "10%", "median", "90%"), rows)
    if failed.height:
        title = f"\n{failed.height:,} rows on which a measure failed"
        show.table(failed.columns, failed.head(5).rows(), title=title)
    if out is not None:
        show.say(f"{frame.height:,} rows, columns {', '.join(columns)}")
        show.written([out])


def select(
    data: Data,
    keep: Annotated[str, typer.Option(help="30%, 300 rows or 20000 tokens.")],
    out: RowsOut = None,
    by: Annotated[str | None, typer.Option(help="A measure or one of your columns.")] = None,
    diverse: Annotated[str | None, typer.Option(help="k_center")] = None,
    method: Annotated[str | None, typer.Option(help="A selector by name.")] = None,
    target: Annotated[
        Path | None, typer.Option(help="Examples of the capability, for selectors that match them.")
    ] = None,
    model: Model = "embedded",
    embedder: Embedder = "minilm",
    seed: int = 0,
    sets: Sets = None,
    judge: Judge = None,
    budget: CallBudget = None,
    unlicensed: Unlicensed = False,
    plugins: Plugins = None,
    json: Json = False,
) -> None:
    """Select rows under a budget, and say why each was chosen or left out.

    Without --by, --diverse or --method the rows are random: the baseline to beat.

    [bold]Example[/]  treadle select mine.jsonl --by ifd --diverse k_center --keep 30% --out chosen.jsonl
    """
    from treadle import stages
    from treadle.data.formats.outcomes import ROW_FILES, check_target, write_selection
    from treadle.judge.model import unlicensed as allowed

    options = _options(sets, stages.select_rows)
    options |= {k: v for k, v in (("by", by), ("diverse", diverse)) if v is not None}
    if out is not None:
        check_target(out, ROW_FILES)
    pool = _read(data, plugins).pool
    with allowed(unlicensed) as permit:
        selection = stages.select_rows(
            pool, keep=keep, method=method, model=model, embedder=embedder, seed=seed,
            target=target, judge=_mapping("judge", judge), budget=_mapping("budget", budget),
            progress=not json, **options,
        )  # fmt: skip
    show.stamped(permit)
    written = write_selection(pool, selection, out) if out is not None else []
    if json:
        told = {"chosen": selection.chosen.to_dicts(), "left": selection.left.to_dicts()}
        show.as_json({**told, **permit.as_json()})
        return
    reasons = selection.left["reason"].value_counts(sort=True).rows()
    show.say(f"{selection.chosen.height:,} of {len(pool):,} rows chosen")
    if reasons:
        show.table(("left out because", "rows"), reasons)
    show.written(written)


def train(
    data: Data,
    out: Annotated[Path, typer.Option("--out", help="Folder for the adapter.")],
    model: Model = "embedded",
    method: Annotated[str | None, typer.Option(help="sft")] = None,
    seed: int = 0,
    sets: Sets = None,
    plugins: Plugins = None,
    json: Json = False,
) -> None:
    """Train a model on all rows; a PEFT adapter goes to the folder --out.

    [bold]Example[/]  treadle train chosen.jsonl --set lora=8 --set epochs=1 --out adapter
    """
    from treadle import stages

    options = _options(sets, stages.train_rows)
    figures = stages.train_rows(
        _read(data, plugins).pool, out=out, model=model, method=method, seed=seed,
        progress=not json, **options,
    )  # fmt: skip
    if json:
        show.as_json(figures)
        return
    losses = figures.get("losses") or [float("nan")]
    show.say(
        f"{figures['steps']:,} steps, {figures['tokens']:,} tokens, loss {losses[0]:.3f} → "
        f"{losses[-1]:.3f}"
    )
    show.written([out])


def evaluate(
    data: Data,
    model: Model = "embedded",
    adapter: Annotated[Path | None, typer.Option(help="Folder that `train` wrote.")] = None,
    metric: Annotated[str, typer.Option(help="nll, exact_match, last_number …")] = "nll",
    out: TableOut = None,
    sets: Sets = None,
    plugins: Plugins = None,
    json: Json = False,
) -> None:
    """Evaluate a model item by item, with or without an adapter.

    [bold]Example[/]  treadle evaluate test.jsonl --adapter adapter --metric exact_match
    """
    from treadle import stages
    from treadle.data.formats.outcomes import TABLE_FILES, check_target, write_table

    options = _options(sets, stages.evaluate_rows)
    if out is not None:
        check_target(out, TABLE_FILES)
    frame = stages.evaluate_rows(
        _read(data, plugins).pool, model=model, adapter=adapter, metric=metric,
        progress=not json, **options,
    )  # fmt: skip
    if out is not None:
        write_table(frame, out)
    if json:
        show.as_json(frame.to_dicts())
        return
    values = frame["value"].drop_nulls().to_list()
    mean = f"{sum(values) / len(values):.4f}" if values else "unscored"
    unscored = frame.height - len(values)
    show.say(f"{metric} {mean} over {len(values):,} items ({unscored:,} unscored)")
    show.written([out] if out is not None else [])
