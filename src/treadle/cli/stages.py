"""Commands for single stages on plain files, without a recipe."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
import yaml

from treadle.cli import show
from treadle.errors import RecipeError

Data = Annotated[
    Path, typer.Argument(help="Rows: JSONL, JSON, CSV, Parquet, dataset folder, pool.")
]
Model = Annotated[str, typer.Option(help="embedded, proxy, a Hugging Face id or a local folder.")]
Embedder = Annotated[str, typer.Option(help="minilm, or hashed (needs no torch).")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]
Options = Annotated[
    list[str] | None, typer.Option("--set", help="An option of the op, e.g. --set epochs=2.")
]
Out = Annotated[Path | None, typer.Option("--out", help="Where to write.")]


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
    for command in (lint, audit, measure, select, train, evaluate):
        app.command(command.__name__, rich_help_panel="Single stages, on plain files")(command)


def _options(sets: list[str] | None) -> dict[str, Any]:
    found = {}
    for text in sets or ():
        key, separator, value = text.partition("=")
        if not separator:
            raise RecipeError(f"--set {text}: write it as key=value.")
        found[key.strip()] = yaml.safe_load(value)
    return found


def lint(
    data: Data,
    model: Model = "embedded",
    max_tokens: Annotated[int, typer.Option(help="Rows are cut here.")] = 1024,
    examples: Annotated[int, typer.Option(help="Rows to show with their loss mask.")] = 1,
    json: Json = False,
) -> None:
    """Check that rows are ready for training: template, loss mask, stop token, truncation.

    Shows rows as the model will see them; what carries loss is [green]green[/]. Exit code 1 when a
    check fails.
    """
    from treadle import api

    report = api.lint_rows(data, model=model, max_tokens=max_tokens)
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
        list[Path] | None, typer.Option(help="Evaluation rows that must not be in the data.")
    ] = None,
    near: Annotated[float, typer.Option(help="Jaccard similarity of a near duplicate.")] = 0.8,
    out: Out = None,
    json: Json = False,
) -> None:
    """Find duplicates, near duplicates and contamination; show what is in the data.

    With --out FOLDER, kept.jsonl and dropped.jsonl are written there. Drops nothing by itself.
    """
    from treadle import api

    loaded = api.load(data)
    named: dict[str, api.Rows] = {path.stem: path for path in against or ()}
    found = api.audit_rows(
        loaded.pool,
        against=named,
        ops={
            "profile": {},
            "exact_duplicates": {},
            "contamination": {},
            "near_duplicates": {"threshold": near},
        },
        progress=not json,
    )
    flagged = {
        name: [
            (r["id"], r["reason"], r["other"], r["figure"]) for r in f.rows.iter_rows(named=True)
        ]
        for name, f in found.items()
    }
    if out is not None:
        api.write_audit(loaded, found, out)
    if json:
        figures = {name: dict(f.figures) for name, f in found.items()}
        show.as_json({"read": loaded.read, "findings": flagged, "figures": figures})
        return
    show.out.print(
        f"{loaded.read:,} rows read ({loaded.layout}), {len(loaded.quarantine):,} malformed, "
        f"{loaded.merged:,} merged as equal"
    )
    show.table(("audit", "rows flagged"), [(name, len(rows)) for name, rows in flagged.items()])
    for name, rows in flagged.items():
        if rows:
            show.table(("row", "reason", "because of", "figure"), rows[:5], title=f"\n{name}")


def measure(
    data: Data,
    feature: Annotated[list[str], typer.Option("--feature", "-f", help="See `treadle ops`.")],
    model: Model = "embedded",
    embedder: Embedder = "minilm",
    out: Out = None,
    json: Json = False,
) -> None:
    """Measure features of rows, e.g. -f ifd -f perplexity, into Parquet, CSV or JSONL."""
    from treadle import api

    frame = api.measure_rows(data, feature, model=model, embedder=embedder, progress=not json)
    if out is not None:
        api.write_table(frame, out)
        show.out.print(f"{frame.height:,} rows, columns {', '.join(frame.columns)}: {out}")
    elif json:
        show.as_json(frame.to_dicts())
    else:
        numeric = [c for c, kind in frame.schema.items() if kind.is_numeric()]
        rows = [
            (c, frame[c].count(), frame[c].null_count(), frame[c].quantile(0.1), frame[c].median(),
             frame[c].quantile(0.9)) for c in numeric
        ]  # fmt: skip
        show.table(("feature", "scored", "unscored", "10%", "median", "90%"), rows)


def select(
    data: Data,
    keep: Annotated[str, typer.Option(help="30%, 300 rows or 20000 tokens.")],
    out: Out = None,
    by: Annotated[str | None, typer.Option(help="A measure or one of your columns.")] = None,
    diverse: Annotated[str | None, typer.Option(help="k_center")] = None,
    method: Annotated[str | None, typer.Option(help="A selector by name.")] = None,
    model: Model = "embedded",
    embedder: Embedder = "minilm",
    seed: int = 0,
    sets: Options = None,
    json: Json = False,
) -> None:
    """Select rows, e.g. --by ifd --diverse k_center --keep 30%, and say why.

    Without --by, --diverse or --method the rows are random: the baseline to beat.
    """
    from treadle import api

    options = _options(sets)
    options |= {k: v for k, v in (("by", by), ("diverse", diverse)) if v is not None}
    pool = api.load(data).pool
    selection = api.select_rows(
        pool, keep=keep, method=method, model=model, embedder=embedder, seed=seed,
        progress=not json, **options,
    )  # fmt: skip
    if out is not None:
        api.write_selection(pool, selection, out)
    if json:
        show.as_json({"chosen": selection.chosen.to_dicts(), "left": selection.left.to_dicts()})
        return
    reasons = selection.left["reason"].value_counts(sort=True).rows()
    show.out.print(f"{selection.chosen.height:,} of {len(pool):,} rows chosen")
    show.table(("left out because", "rows"), reasons)
    if out is not None:
        show.out.print(f"Written to {out}")


def train(
    data: Data,
    out: Annotated[Path, typer.Option("--out", help="Folder for the adapter.")],
    model: Model = "embedded",
    method: Annotated[str | None, typer.Option(help="sft")] = None,
    seed: int = 0,
    sets: Options = None,
    json: Json = False,
) -> None:
    """Train a model on all rows, e.g. --set lora=8 --set epochs=1; PEFT adapter in --out."""
    from treadle import api

    figures = api.train_rows(
        data, out=out, model=model, method=method, seed=seed, progress=not json, **_options(sets)
    )
    if json:
        show.as_json(figures)
        return
    losses = figures.get("losses") or [float("nan")]
    show.out.print(
        f"{figures['steps']:,} steps, {figures['tokens']:,} tokens, loss {losses[0]:.3f} → "
        f"{losses[-1]:.3f}: {out}"
    )


def evaluate(
    data: Data,
    model: Model = "embedded",
    adapter: Annotated[Path | None, typer.Option(help="Folder that `train` wrote.")] = None,
    metric: Annotated[str, typer.Option(help="nll, exact_match, last_number …")] = "nll",
    out: Out = None,
    sets: Options = None,
    json: Json = False,
) -> None:
    """Evaluate a model item by item, with or without an adapter."""
    from treadle import api

    frame = api.evaluate_rows(
        data, model=model, adapter=adapter, metric=metric, progress=not json, **_options(sets)
    )
    if out is not None:
        api.write_table(frame, out)
    if json:
        show.as_json(frame.to_dicts())
        return
    values = frame["value"].drop_nulls().to_list()
    mean = f"{sum(values) / len(values):.4f}" if values else "unscored"
    unscored = frame.height - len(values)
    show.out.print(f"{metric} {mean} over {len(values):,} items ({unscored:,} unscored)")
