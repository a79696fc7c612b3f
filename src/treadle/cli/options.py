"""Options that several commands have."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Json = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]
Plugins = Annotated[
    list[Path] | None,
    typer.Option("--plugin", help="A Python file with your own ops. It runs with your rights."),
]
