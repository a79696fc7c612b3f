"""Commands that tell facts: which ops there are, and what works on this machine."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Annotated

import typer

from treadle.cli import show
from treadle.errors import RecipeError, nearest

Json = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
    for command in (ops, doctor):
        app.command(command.__name__, rich_help_panel="Facts")(command)


def ops(
    name: Annotated[str | None, typer.Argument(help="One op, to read about it.")] = None,
    plugins: Annotated[list[Path] | None, typer.Option("--plugin", help="A file of ops.")] = None,
    json: Json = False,
) -> None:
    """List the operators, or tell all about one: method, source, options, cost, failure modes."""
    from treadle import op as registry

    for plugin in plugins or ():
        registry.load_plugin(plugin)
    known = registry.ops()
    if name is not None:
        known = [op for op in known if op.name == name]
        if not known:
            names = [op.name for op in registry.ops()]
            raise RecipeError(f"ops: no op is called {name!r}.{nearest(name, names)}")
    if json:
        keys = ("role", "name", "title", "reference", "cost")
        show.as_json([{key: getattr(op, key) for key in keys} for op in known])
    elif name is None:
        show.table(("role", "op", "what it does"), [(o.role, o.name, o.title) for o in known])
    else:
        for op in known:
            show.out.print(f"[bold]{op.role}.{op.name}[/]  ({op.reference}; cost: {op.cost})\n")
            show.out.print(inspect.getdoc(op.factory) or "", markup=False)
            rows = [(p.name, str(p.annotation), repr(p.default)) for p in op.parameters.values()]
            if rows:
                show.table(("option", "type", "default"), rows, title="\noptions")


def doctor(json: Json = False) -> None:
    """Say what works here: versions, models, precision, speed, disk. Exit code 1 on a fault."""
    from treadle.flywheel.doctor import examine

    findings = examine()
    if json:
        show.as_json([finding.as_json() for finding in findings])
    else:
        marks = {"ok": "[green]ok[/]", "missing": "[yellow]missing[/]", "fault": "[red]fault[/]"}
        for finding in findings:
            show.out.print(f"{marks[finding.state]:>20}  [bold]{finding.name}[/]  {finding.detail}")
    raise typer.Exit(1 if any(f.state == "fault" for f in findings) else 0)
