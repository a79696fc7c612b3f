"""Write the reference pages from the code: `python docs/generate.py`, or `--check` to compare."""

from __future__ import annotations

import argparse
import inspect
import os
import re
import sys
from pathlib import Path

os.environ.update(COLUMNS="100", TERM="dumb", NO_COLOR="1", TERMINAL_WIDTH="100")

import yaml
from typer.testing import CliRunner

import treadle
from treadle import op as registry
from treadle.cli import app

HERE = Path(__file__).parent / "reference"
MEASURED = Path(__file__).parent / "measured.yaml"
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
    for group in app.registered_groups:
        inner = group.typer_instance
        if inner is not None:
            names.append(str(inner.info.name))
            names += [f"{inner.info.name} {c.name}" for c in inner.registered_commands]
    parts = ["# Commands\n\nGenerated from `treadle --help` by `make docs`.\n"]
    for name in ["", *names]:
        result = runner.invoke(app, [*name.split(), "--help"])
        lines = [line.rstrip() for line in result.output.strip().splitlines()]
        parts.append(f"## treadle {name}".rstrip() + "\n\n```text\n" + "\n".join(lines) + "\n```\n")
    return "\n".join(parts)


def operators() -> dict[str, str]:
    """Return a page for every registered op, and the page that lists them."""
    measured = yaml.safe_load(MEASURED.read_text(encoding="utf-8"))
    index = ["# Operators\n\nGenerated from the docstrings by `make docs`. Each name links to a "
             "page with options, source, failures and measured figures. Which selector to use: "
             "[choosing](../choosing.md).\n"]  # fmt: skip
    pages = {}
    for role, what in ROLES.items():
        index.append(f"## {role}: {what}\n\n| name | what it does | cost |\n|---|---|---|")
        for op in registry.ops(role):  # type: ignore[arg-type]
            place = f"{role}/{op.name}"
            pages[f"{place}.md"] = page(op, measured.pop(place, []))
            index.append(f"| [{op.name}]({place}.md) | {cell(op.title)} | {cell(op.cost)} |")
        index.append("")
    if measured:
        raise SystemExit(f"{MEASURED.name} names no operator: {', '.join(measured)}")
    return {"operators.md": "\n".join(index), **pages}


def page(op: registry.Op, measured: list[str]) -> str:
    """Return the page of one op: what it does, when it fails, options, source, cost, figures."""
    facts = {"Source": op.reference, "Cost": op.cost}
    if op.models:
        asked = "by its options" if callable(op.models) else ", ".join(op.models)
        facts["Models"] = asked
    if op.fit is not None:
        facts["Reads first"] = "the whole pool, once"
    if op.target:
        facts["Target rows"] = "needed (`data: {target: dev.jsonl}`)"
    if op.role == "select":
        required = [
            f"{name}: ..."
            for name, option in op.parameters.items()
            if option.default is option.empty
        ]
        facts["In a recipe"] = (
            f"`select: {{{', '.join([f'method: {op.name}', *required])}, keep: 10%}}`"
        )
    text, meanings = split_args(inspect.getdoc(op.factory) or "")
    lines = [f"# {op.role}: {op.name}\n", text, "", "| | |", "|---|---|"]
    lines += [f"| {name} | {cell(fact)} |" for name, fact in facts.items()]
    if op.parameters:
        lines += ["\n## Options\n", "| option | type | default | meaning |", "|---|---|---|---|"]
        lines += [option_line(o, meanings.get(o.name, "")) for o in op.parameters.values()]
    if measured:
        lines += ["\n## Measured\n", *(f"- {figure}" for figure in measured)]
    return "\n".join(lines) + "\n"


def split_args(text: str) -> tuple[str, dict[str, str]]:
    """Part a docstring into its text and the meaning of each argument."""
    before, found, after = text.partition("\n\nArgs:\n")
    block, rest, tail = after.partition("\n\n")
    parts = re.split(r"^    (\w+): ", block, flags=re.MULTILINE)[1:]
    meanings = {
        name: " ".join(meaning.split())
        for name, meaning in zip(parts[::2], parts[1::2], strict=True)
    }
    return (before + rest + tail if found else text), meanings


def option_line(option: inspect.Parameter, meaning: str) -> str:
    """Return a row of the table of options."""
    default = "(required)" if option.default is option.empty else f"`{option.default!r}`"
    kind = re.sub(r"^'|'$", "", str(option.annotation))
    return f"| `{option.name}` | `{cell(kind)}` | {cell(default)} | {cell(meaning)} |"


def cell(text: str) -> str:
    """Return text that does not break a Markdown table."""
    return text.replace("|", "\\|").replace("\n", " ")


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
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="compare only, and write nothing")
    only_checks = parser.parse_args().check
    stale = []
    HERE.mkdir(exist_ok=True)
    pages = {"commands.md": commands(), **operators(), "python.md": python()}
    gone = {str(path.relative_to(HERE)) for path in HERE.rglob("*.md")} - pages.keys()
    for name in sorted(gone):
        if only_checks:
            stale.append(name)
        else:
            (HERE / name).unlink()
    for name, text in pages.items():
        path = HERE / name
        if not only_checks:
            path.parent.mkdir(exist_ok=True)
            path.write_text(text, encoding="utf-8")
        elif not path.exists() or path.read_text(encoding="utf-8") != text:
            stale.append(name)
    if stale:
        print(f"stale: {', '.join(stale)}; run `make docs`")
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
