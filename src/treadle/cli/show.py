"""Print things: JSON for machines, tables for people."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.table import Table

if TYPE_CHECKING:
    from treadle.judge.model import Permit

out = Console(highlight=False)
_err = Console(highlight=False, stderr=True)


def say(text: str) -> None:
    """Print plain text, such as one that names files: nothing in it is taken for markup."""
    out.print(text, markup=False)


def warn(text: str) -> None:
    """Print plain text beside the output."""
    _err.print(text, markup=False, style="yellow", soft_wrap=True)


def written(paths: Sequence[Path]) -> None:
    """Say which files were written, if any."""
    if paths:
        out.print(f"Written: {', '.join(map(str, paths))}", markup=False, soft_wrap=True)


def stamped(permit: Permit) -> None:
    """Say of every judge that was asked without a licence."""
    for one in permit.used:
        _err.print(one.sentence, markup=False, style="bold red", soft_wrap=True)


def as_json(value: object) -> None:
    """Print one JSON document."""
    print(json.dumps(value, indent=1, ensure_ascii=False, default=str))


def table(
    head: Sequence[str], rows: Iterable[Sequence[object]], *, title: str | None = None
) -> None:
    """Print a table; numbers are aligned to the right."""
    made = Table(
        title=title, title_justify="left", title_style="bold", header_style="dim", box=None
    )
    body = [list(row) for row in rows]
    for i, name in enumerate(head):
        is_number = bool(body) and all(isinstance(r[i], int | float) for r in body)
        made.add_column(name, justify="right" if is_number else "left", overflow="fold")
    for row in body:
        made.add_row(*(cell(value) for value in row))
    out.print(made)


def cell(value: object) -> str:
    """Format one value."""
    if value is None:
        return "[dim]–[/]"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.4g}"
    return escape(str(value))
