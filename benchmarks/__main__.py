"""All benchmarks in one table: `make bench`, or `python benchmarks [name ...] [--full]`.

Each script runs in a process of its own at its `--quick` sizes (with `--full` at its whole sizes, which
takes an hour and more) and prints lines of the table; this prints them as they come, each behind its
script's name. Nothing is measured here. A script that fails gives a line that says so, and the exit code
1; a bar that is not met gives NO in its line, and no exit code: times on a busy machine decide nothing.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

from table import COLUMNS

HERE = Path(__file__).parent
NOT_SCRIPTS = ("__main__", "plain", "table")


def is_head(cells: list[str]) -> bool:
    return cells[0] == "figure" or set(cells[0]) <= {"-"}


def run(script: Path, options: list[str]) -> bool:
    """Run one script, print its lines, and say whether it went well."""
    process = subprocess.Popen(
        [sys.executable, script, *options], stdout=subprocess.PIPE, text=True, cwd=HERE
    )
    assert process.stdout is not None
    for printed in process.stdout:
        cells = [cell.strip() for cell in printed.strip().strip("|").split("|")]
        if printed.startswith("|") and not is_head(cells):
            cells += ["–"] * (len(COLUMNS) - len(cells))
            print(f"| {script.stem} | " + " | ".join(cells) + " |", flush=True)
    if process.wait() == 0:
        return True
    print(f"| {script.stem} | FAILED, exit code {process.returncode} |" + " – |" * 5, flush=True)
    return False


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    known = sorted(path.stem for path in HERE.glob("*.py") if path.stem not in NOT_SCRIPTS)
    parser.add_argument("names", nargs="*", help=f"of {', '.join(known)} (default: all)")
    parser.add_argument("--full", action="store_true", help="whole sizes")
    given = parser.parse_args()
    for name in given.names:
        if name not in known:
            parser.error(f"no benchmark is called {name!r}; there are {', '.join(known)}")
    print("| benchmark | " + " | ".join(COLUMNS) + " |")
    print("|" + "---|" * (len(COLUMNS) + 1), flush=True)
    options = [] if given.full else ["--quick"]
    results = [run(HERE / f"{name}.py", options) for name in given.names or known]
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
