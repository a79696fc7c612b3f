"""Commands that tell facts: which ops there are, and what works on this machine."""

from __future__ import annotations

import inspect
from typing import Annotated

import typer
from rich.markup import escape

from treadle.cli import show
from treadle.cli.options import Json, Plugins
from treadle.errors import RecipeError, nearest


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
    for command in (ops, doctor):
        app.command(command.__name__, rich_help_panel="Facts")(command)


def ops(
    name: Annotated[str | None, typer.Argument(help="One op, to read about it.")] = None,
    plugins: Plugins = None,
    json: Json = False,
) -> None:
    """List the operators, or tell all about one: method, source, options, cost, failure modes.

    [bold]Example[/]  treadle ops ifd
    """
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
            show.out.print(
                f"[bold]{op.role}.{op.name}[/]  ({escape(op.reference)}; cost: {escape(op.cost)})\n"
            )
            show.out.print(inspect.getdoc(op.factory) or "", markup=False)
            rows = [(p.name, str(p.annotation), repr(p.default)) for p in op.parameters.values()]
            if rows:
                show.table(("option", "type", "default"), rows, title="\noptions")


def doctor(json: Json = False) -> None:
    """Say what works here: versions, models, precision, speed, disk.

    [bold]Example[/]  treadle doctor

    [bold]Exit code[/]  1: something is at fault. What is only missing limits what can be done.
    """
    from treadle.flywheel.doctor import examine

    findings = examine()
    if json:
        show.as_json([finding.as_json() for finding in findings])
    else:
        marks = {"ok": "[green]ok[/]", "missing": "[yellow]missing[/]", "fault": "[red]fault[/]"}
        for finding in findings:
            show.out.print(
                f"{marks[finding.state]:>20}  [bold]{finding.name}[/]  {escape(finding.detail)}"
            )
    raise typer.Exit(1 if any(f.state == "fault" for f in findings) else 0)
