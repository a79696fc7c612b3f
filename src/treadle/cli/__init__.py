"""The command line: thin, and quick to start because each command imports what it needs.

Exit codes: 0 done (and, for `run`, accepted) · 1 failed · 2 usage · 3 held or rolled back by the gate
· 4 budget reached · 130 stopped by Ctrl-C.
"""

from __future__ import annotations

import sys
import warnings
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from treadle import __version__
from treadle.cli import endpoints, facts, judge, stages, wheel
from treadle.errors import TreadleError

INTERRUPTED = 130

app = typer.Typer(
    name="treadle",
    no_args_is_help=True,
    invoke_without_command=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    help=(
        "Turn the data value flywheel for LLM post-training, and prove that every turn helped.\n\n"
        "[bold]Start here[/]   treadle demo            a whole turn on real text, about five minutes\n\n"
        "[bold]Your data[/]    treadle init mine.jsonl   writes a recipe; then treadle run recipe.yaml\n\n"
        "[bold]One stage[/]    treadle lint · audit · measure · select · train · evaluate\n\n"
        "[bold]Exit codes[/]   0 done · 1 failed · 2 usage · 3 held or rolled back · 4 budget reached"
    ),
)


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", is_eager=True)
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Print tracebacks of errors.")] = False,
) -> None:
    if version:
        print(f"treadle {__version__}")
        raise typer.Exit


wheel.register(app)
stages.register(app)
endpoints.register(app)
judge.register(app)
facts.register(app)


def main() -> None:
    """Run the command line: foreseen errors are one paragraph, a traceback only with --debug."""
    debug = "--debug" in sys.argv  # anywhere on the line, so that it can be added at its end
    console = Console(stderr=True)
    # What a library plans for its own next release is no news to the person at the terminal.
    warnings.simplefilter("ignore", FutureWarning)
    try:
        app([a for a in sys.argv[1:] if a != "--debug"])
    except TreadleError as error:
        if debug:
            raise
        told = f"[bold red]{type(error).__name__}[/] {escape(str(error))}"
        console.print(told, highlight=False, soft_wrap=True)
        sys.exit(error.exit_code)
    except SystemExit as end:
        if end.code == INTERRUPTED:
            console.print("Stopped. Finished work is kept: run the same command again to go on.")
        raise
    except Exception as error:  # the command line is the last boundary: say what to do, not a trace
        if debug:
            raise
        console.print(
            f"[bold red]Unforeseen {type(error).__name__}[/] {escape(str(error))}\nThis is a bug in "
            "treadle. Run again with --debug for the traceback; finished work is kept.",
            highlight=False,
            soft_wrap=True,
        )
        sys.exit(1)
