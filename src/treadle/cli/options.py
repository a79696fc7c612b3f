"""Options that several commands have."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Json = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]
Unlicensed = Annotated[
    bool,
    typer.Option(
        "--unlicensed", help="Ask judges without a licence. Everything that comes of it says so."
    ),
]
Judge = Annotated[
    str | None,
    typer.Option(help="Where the judge answers, as in a recipe: '{url: …, model: …}'."),
]
CallBudget = Annotated[
    str | None,
    typer.Option("--budget", help="What endpoints may cost: '{usd: 5, requests: 1000}'."),
]
Plugins = Annotated[
    list[Path] | None,
    typer.Option("--plugin", help="A Python file with your own ops. It runs with your rights."),
]
