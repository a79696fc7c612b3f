"""Commands about whole runs: demo, init, check, run, runs, try, report, trace."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from treadle.cli import show
from treadle.cli.options import Json, Plugins, Unlicensed
from treadle.errors import RecipeError

EXIT_CODES = {"accept": 0, "hold": 3, "roll_back": 3}
COLOURS = {"accept": "green", "hold": "yellow", "roll_back": "red"}

Sets = Annotated[
    list[str] | None,
    typer.Option("--set", help="Change one value of the recipe, e.g. --set select.keep=10%."),
]
Out = Annotated[
    Path | None, typer.Option("--out", help="Run folder; by default runs/<recipe name>.")
]
RecipeFile = Annotated[Path, typer.Argument(help="The recipe, a YAML file.")]
Folder = Annotated[Path, typer.Argument(help="A run folder, e.g. runs/recipe.")]


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
    for name, command in (
        ("demo", demo), ("init", init), ("check", check), ("run", run), ("compare", compare),
        ("runs", runs),
        ("try", try_), ("report", report), ("trace", trace),
    ):  # fmt: skip
        app.command(name, rich_help_panel="The wheel")(command)


def demo(
    out: Annotated[Path, typer.Option(help="Where the demo's data and run go.")] = Path("demo"),
    student: Annotated[
        str, typer.Option(help="`embedded` (a real 135M model), or `scripted` (a second).")
    ] = "embedded",
) -> None:
    """A whole turn of the wheel on real text with planted defects, in about five minutes.

    The rows are questions about Python's standard library, answered by its documentation. The report
    says how many of the planted defects were caught. A verdict of *hold* is an honest end.

    [bold]Example[/]  treadle demo --student scripted
    """
    from treadle import wheel
    from treadle.flywheel import demo as data

    planted = data.write_demo(out)
    recipe = out / data.RECIPE
    show.out.print(f"Real text with planted defects, and a recipe: [bold]{recipe}[/]\n")
    found = wheel.run(recipe, out=out / "run", overrides=data.overrides(student))
    recall = wheel.score_demo(found, planted)
    rows = [(r["kind"], r["planted"], r["caught"], r["recall"]) for r in recall["table"]]
    show.table(("planted defect", "planted", "caught by the audit", "recall"), rows)
    show.out.print(f"False flags: {recall['false_flag_rate']:.2%} of the clean rows.\n")
    _show_verdict(found.verdict)
    if found.verdict["decision"] == "hold":
        show.out.print(
            "[dim]Hold is what an honest gate says when the evidence does not reach: the demo is kept "
            "small so that it ends within minutes. The sentence above says what would be needed.[/]"
        )
    show.out.print(f"\nReport: [bold]{found.report}[/]\nNext: treadle init YOUR_DATA.jsonl")


def init(
    data: Annotated[Path, typer.Argument(help="Your rows: JSONL, JSON, CSV, Parquet …")],
    evaluate: Annotated[
        Path | None, typer.Option(help="Rows to judge by; by default 10% of the data is held out.")
    ] = None,
    out: Annotated[Path, typer.Option(help="The recipe to write.")] = Path("recipe.yaml"),
    student: Annotated[
        str, typer.Option(help="embedded, a Hugging Face id or a folder.")
    ] = "embedded",
) -> None:
    """Write a recipe for your data, with comments, and show what was found in it.

    [bold]Example[/]  treadle init mine.jsonl --evaluate heldout.jsonl
    """
    from treadle import stages
    from treadle.flywheel.starter import starter_recipe
    from treadle.machinery.disk import Disk

    if out.exists():
        raise RecipeError(f"{out} exists already. Choose another name with --out.")
    loaded = stages.load(data)
    if evaluate is not None:
        stages.load(evaluate)
    Disk().publish(out, starter_recipe(data, evaluate, student, out).encode())
    show.say(
        f"{data}: {loaded.read:,} rows ({loaded.layout}), {len(loaded.quarantine):,} malformed, "
        f"{loaded.merged:,} exact duplicates.\nRecipe: {out}\n"
        f"Next: treadle check {out}; treadle run {out}"
    )


def check(
    recipe: RecipeFile, sets: Sets = None, plugins: Plugins = None, json: Json = False
) -> None:
    """Check a whole recipe before anything is spent, and estimate tokens, minutes and disk.

    All errors come at once, each with its line and the nearest valid name.

    [bold]Example[/]  treadle check recipe.yaml --set select.keep=10%

    [bold]Exit code[/]  2: the recipe is wrong; 1: its data cannot be used.
    """
    from treadle import wheel
    from treadle.gate.rule import FEWEST_SEEDS

    checked, cost = wheel.check(recipe, overrides=sets or (), plugins=plugins or ())
    if json:
        show.as_json({"recipe": checked.resolved(), "estimate": cost.as_json()})
        return
    show.out.print(f"[green]The recipe is valid.[/]\n\n{escape(checked.text())}")
    if checked.compare is not None:
        show.out.print("\nThe cost is that of [bold]treadle compare[/].")
    rows = [(name, f"{minutes:.1f} min") for name, minutes in cost.minutes.items()]
    show.table(("stage", "about"), rows)
    known = cost.parameters is not None
    span = f"{cost.low:.0f} to {cost.high:.0f} minutes" if known else "unknown model: no estimate"
    show.out.print(
        f"\n[bold]{span}[/], {cost.tokens:,} tokens through the model, {cost.disk_mb:,.0f} MB of disk "
        f"({cost.free_mb:,.0f} free) on {cost.machine.name} at {cost.machine.best:.0f} GFLOP/s."
    )
    limit = checked.budget.minutes
    if limit is not None and cost.low > limit:
        show.out.print(f"[yellow]The budget of {limit:g} minutes will most likely not suffice.[/]")
    if checked.gate.seeds < FEWEST_SEEDS:
        show.out.print(
            f"[yellow]With gate.seeds: {checked.gate.seeds} the gate can accept nothing: it needs "
            f"{FEWEST_SEEDS} to tell a gain from the luck of training.[/]"
        )


def run(
    recipe: RecipeFile, out: Out = None, sets: Sets = None, plugins: Plugins = None,
    unlicensed: Unlicensed = False, json: Json = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress.")] = False,
) -> None:  # fmt: skip
    """Turn the wheel once. Run it again to go on where it stopped.

    load → lint → audit → measure → select → train → evaluate → gate → report

    [bold]Example[/]  treadle run recipe.yaml --set select.keep=10% --out runs/tenth

    [bold]Exit code[/]  0: accepted; 3: held or rolled back by the gate; 4: a budget ran out (raise it
    and run again); 1: failed; 2: the recipe is wrong.
    """
    from treadle import wheel
    from treadle.judge.model import unlicensed as allowed

    with allowed(unlicensed) as permit:
        found = wheel.run(
            recipe, out=out, overrides=sets or (), plugins=plugins or (),
            progress=not (quiet or json),
        )  # fmt: skip
    show.stamped(permit)
    if json:
        told = {"run": str(found.path), "verdict": found.verdict, "counts": found.counts}
        show.as_json({**told, **permit.as_json()})
    else:
        _show_verdict(found.verdict)
        show.out.print(f"Report: [bold]{found.report}[/]")
    raise typer.Exit(EXIT_CODES[found.verdict["decision"]])


def _show_verdict(verdict: dict[str, object]) -> None:
    colour = COLOURS[str(verdict["decision"])]
    word, _, rest = str(verdict["sentence"]).partition(":")
    show.out.print(f"\n[bold {colour}]{word.upper()}[/]:{escape(rest)}\n")
    comparisons = verdict["comparisons"]
    assert isinstance(comparisons, list)
    rows = [
        (c["against"], c["role"], c["effect"], f"{c['low']:.4g} … {c['high']:.4g}",
         c["p_better"], c["p_worse"])
        for c in comparisons
    ]  # fmt: skip
    show.table(("against", "as", "gain", "interval", "p better", "p worse"), rows)


def compare(
    recipe: RecipeFile, out: Out = None, sets: Sets = None, plugins: Plugins = None,
    unlicensed: Unlicensed = False, json: Json = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress.")] = False,
) -> None:  # fmt: skip
    """Compare selectors on one pool, at several budgets, beside random rows of the same tokens.

    The recipe says what to compare, in a section of its own; all else is as for `treadle run`:

      compare:
        methods: {ifd: {by: ifd}, spread: {by: ifd, diverse: k_center}, k_center: }
        keep: [10%, 30%]              # shares of the pool's tokens
        train_for: [1 epoch, 60 steps, 2e15 FLOPs]

    `2e15 FLOPs` is what choosing and training of an arm may take together: the costlier the method, the
    shorter its training. A method may be a list of steps, of which the last takes the budget:
    `filtered: [{by: ifd, keep: 60%}, {diverse: facility_location}]`.

    Every arm is trained with `gate.seeds` seeds. The folder gets report.html, comparison.csv and
    comparison.json, every arm's rows and every item's result. Run it again to go on.

    [bold]Example[/]  treadle compare recipe.yaml --set student=proxy

    [bold]Exit code[/]  0: done, whoever won; 4: a budget ran out; 1: failed; 2: the recipe is wrong.
    """
    from treadle import wheel
    from treadle.judge.model import unlicensed as allowed

    with allowed(unlicensed) as permit:
        found = wheel.compare(
            recipe, out=out, overrides=sets or (), plugins=plugins or (),
            progress=not (quiet or json),
        )  # fmt: skip
    show.stamped(permit)
    if json:
        show.as_json(found)
        return
    rows = [
        (c["method"], c["keep"], c["train_for"], _mean(c), _difference(c), _choosing(c))
        for c in found["cells"]
    ]
    heads = ("method", "keep", "trained for", found["metric"], "better than random by", "choosing")
    show.table(heads, rows)
    show.say(f"\n{found['headline']}. {found['sentence']}")


def _mean(cell: Mapping[str, Any]) -> str:
    return f"{cell['mean']:.4f}" if cell["affordable"] else "not affordable"


def _choosing(cell: Mapping[str, Any]) -> str:
    """What choosing costs, relative to training."""
    part = cell["choosing_to_training"]
    return "" if part is None else f"{part:.1%}" if part else "free"


def _difference(cell: Mapping[str, Any]) -> str:
    if cell["difference"] is None:
        return ""
    return f"{cell['difference']:+.3f} [{cell['low']:.3f}, {cell['high']:.3f}]"


def runs(
    folder: Annotated[Path, typer.Argument(help="Where the runs are.")] = Path("runs"),
    json: Json = False,
) -> None:
    """List runs and their verdicts; a run that was stopped is unfinished.

    [bold]Example[/]  treadle runs
    """
    from treadle import history

    found = history.runs(folder)
    if json:
        show.as_json(found)
    elif not found:
        show.say(f"No runs in {folder}.")
    else:
        keys = ("run", "student", "decision", "sentence")
        show.table(keys, [[r[k] for k in keys] for r in found])


def try_(
    folder: Folder,
    prompt: Annotated[str, typer.Argument(help="What to ask.")],
    tokens: Annotated[int, typer.Option(help="Longest answer, in tokens.")] = 200,
    json: Json = False,
) -> None:
    """Ask a run's student, before and after training.

    [bold]Example[/]  treadle try runs/recipe "What does zip do?"
    """
    from treadle import history

    answers = history.try_prompt(folder, prompt, max_new_tokens=tokens)
    if json:
        show.as_json(answers)
        return
    for name, text in answers.items():
        show.out.rule(f"[bold]{name}[/] training", align="left")
        show.out.print(text, markup=False)


def report(folder: Folder) -> None:
    """Write report.html of a run again, also of one that is not finished.

    [bold]Example[/]  treadle report runs/recipe
    """
    from treadle.report import write_report

    show.say(str(write_report(folder)))


def trace(
    folder: Folder,
    row: Annotated[str, typer.Argument(help="A row id, its beginning, or your own id.")],
    json: Json = False,
) -> None:
    """Tell a row's whole story: origin, features, findings, selection, reasons.

    [bold]Example[/]  treadle trace runs/recipe row-17
    """
    from treadle import history

    story = history.trace(folder, row)
    if json:
        show.as_json(story)
        return
    width = shutil.get_terminal_size().columns
    show.out.print(f"[bold]{story['id']}[/] ({story['kind']})")
    show.out.print(story["text"][: 8 * width], markup=False)
    show.table(
        ("file", "line", "your id", "other columns"),
        [(o["file"], o["line"], o["id"], o["extra"]) for o in story["origins"]],
        title="\ncame from",
    )
    for name in ("findings", "suspicions", "failed", "features", "selection"):
        for record in story.get(name, []):
            rows = [(k, v) for k, v in record.items() if k != "id" and v is not None]
            show.table((name, ""), rows)
