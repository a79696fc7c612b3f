"""Write the reference pages from the code: `python docs/generate.py`, or `--check` to compare."""

from __future__ import annotations

import inspect
import os
import re
import sys
from pathlib import Path

os.environ.update(COLUMNS="100", TERM="dumb", NO_COLOR="1", TERMINAL_WIDTH="100")

from typer.testing import CliRunner

import treadle
from treadle import op as registry
from treadle.cli import app

HERE = Path(__file__).parent / "reference"
ROLES = {
    "audit": "finds rows that should not be trained on; drops nothing itself",
    "measure": "computes features, one value a row",
    "select": "chooses rows under a budget",
    "train": "trains a student on rows",
    "evaluate": "scores a student on sealed items",
    "gate": "decides",
}


def commands() -> str:
    """Return the help of every command."""
    runner = CliRunner()
    names = [c.name or c.callback.__name__ for c in app.registered_commands if c.callback]
    parts = ["# Commands\n\nGenerated from `treadle --help` by `make docs`.\n"]
    for name in ["", *names]:
        result = runner.invoke(app, [*name.split(), "--help"])
        lines = [line.rstrip() for line in result.output.strip().splitlines()]
        parts.append(f"## treadle {name}".rstrip() + "\n\n```text\n" + "\n".join(lines) + "\n```\n")
    return "\n".join(parts)


def operators() -> str:
    """Return a section for every registered op."""
    parts = ["# Operators\n\nGenerated from the docstrings by `make docs`.\n"]
    for role, what in ROLES.items():
        parts.append(f"## {role}: {what}\n")
        for op in registry.ops(role):  # type: ignore[arg-type]
            options = ", ".join(str(p) for p in op.parameters.values()) or "none"
            text = inspect.getdoc(op.factory) or ""
            parts.append(
                f"### {op.name}\n\n{text}\n\n- Source: {op.reference}\n- Cost: {op.cost}\n"
                f"- Options: `{options}`\n"
            )
    return "\n".join(parts)


def python() -> str:
    """Return a section for every name of the public door."""
    parts = [
        "# Python\n\nGenerated from the docstrings by `make docs`. `import treadle` is fast: names"
    ]
    parts[0] += " are loaded at first use.\n"
    for name in treadle.__all__:
        thing = getattr(treadle, name)
        if name.startswith("__"):
            continue
        signature = str(inspect.signature(thing)) if inspect.isfunction(thing) else ""
        signature = re.sub(r"<[^>]+ at 0x[0-9a-f]+>", "...", signature)
        parts.append(f"## {name}\n\n```python\n{name}{signature}\n```\n\n{inspect.getdoc(thing)}\n")
    return "\n".join(parts)


def main() -> int:
    """Write or check the pages; return the exit code."""
    stale = []
    HERE.mkdir(exist_ok=True)
    pages = {"commands.md": commands(), "operators.md": operators(), "python.md": python()}
    for name, text in pages.items():
        path = HERE / name
        if "--check" not in sys.argv:
            path.write_text(text, encoding="utf-8")
        elif not path.exists() or path.read_text(encoding="utf-8") != text:
            stale.append(name)
    if stale:
        print(f"stale: {', '.join(stale)}; run `make docs`")
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
