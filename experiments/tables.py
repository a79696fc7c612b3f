"""Results as JSON and as Markdown tables, rewritten whole after every step."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from concordance import Interval

Cell = str | int | float | Interval | None


@dataclass
class Tables:
    """Tables of one experiment, kept in a folder as `results.json` and `tables.md`."""

    folder: Path
    about: Mapping[str, object]
    _tables: dict[str, list[dict[str, Cell]]] = field(default_factory=dict)
    _notes: dict[str, str] = field(default_factory=dict)

    def put(self, title: str, rows: Sequence[Mapping[str, Cell]], note: str = "") -> None:
        """Set a table (its columns are those of the first row) and write both files."""
        self._tables[title] = [dict(row) for row in rows]
        self._notes[title] = note
        self.folder.mkdir(parents=True, exist_ok=True)
        print(f"{time.strftime('%H:%M:%S')} {title}: {len(rows)} lines", flush=True)
        found = {
            title: [{name: plain(cell) for name, cell in row.items()} for row in rows]
            for title, rows in self._tables.items()
        }
        text = json.dumps({"about": self.about, "tables": found}, indent=1, allow_nan=False)
        _write(self.folder / "results.json", text + "\n")
        parts = [
            f"### {title}\n\n{self._notes[title]}\n\n{markdown(rows)}".replace("\n\n\n\n", "\n\n")
            for title, rows in self._tables.items()
        ]
        _write(self.folder / "tables.md", "\n".join(parts))


def _write(path: Path, text: str) -> None:
    fresh = path.with_suffix(".new")
    fresh.write_text(text, encoding="utf-8")
    fresh.replace(path)


def plain(cell: Cell) -> object:
    """Return a cell as JSON: an interval as a list, what is not a number as null."""
    if isinstance(cell, Interval):
        return [plain(number) for number in (cell.value, cell.low, cell.high)]
    if isinstance(cell, float):
        return round(cell, 6) if math.isfinite(cell) else None
    return cell


def markdown(rows: Sequence[Mapping[str, Cell]]) -> str:
    """Return a Markdown table; an interval is written `0.52 (0.48 to 0.56)`."""
    if not rows:
        return ""
    names = list(rows[0])
    lines = [names, ["---"] * len(names), *([shown(row.get(n)) for n in names] for row in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def shown(cell: Cell) -> str:
    if cell is None:
        return "–"
    if isinstance(cell, Interval):
        if not math.isfinite(cell.value):
            return "–"
        bounds = f" ({_number(cell.low)} to {_number(cell.high)})"
        return _number(cell.value) + (bounds if math.isfinite(cell.low) else "")
    return _number(cell) if isinstance(cell, float) else str(cell)


def _number(value: float) -> str:
    if not math.isfinite(value):
        return "–"
    if 1e-9 < abs(value) < 0.001:
        return f"{value:.0e}"
    return (
        f"{value:.3f}" if abs(value) < 1 else f"{value:.2f}" if abs(value) < 10 else f"{value:.1f}"
    )
