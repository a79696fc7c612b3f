"""What `treadle compare` left in its folder, as its page reads it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from treadle.data.pool import from_parquet
from treadle.errors import DataError
from treadle.machinery.disk import explained
from treadle.report.scores import direction

Line = Mapping[str, Any]
FILE = "comparison.json"
NOT_SAID = {
    "affordable": True, "choosing_flops": None, "training_flops": None, "choosing_to_training": None,
    "token_share": None, "share_without_answer": None,
}  # fmt: skip
"""What a comparison of an earlier version does not hold."""


@dataclass(frozen=True)
class Comparison:
    """What `treadle compare` left in its folder."""

    name: str
    headline: str
    sentence: str
    metric: str
    better: str
    alpha: float
    items: int
    seeds: int
    lines: Sequence[Line]
    overlap: Sequence[Line]
    costs: Sequence[Line]
    sets: Mapping[str, int]
    unlicensed: object = None

    @property
    def lengths(self) -> list[str]:
        return list(dict.fromkeys(line["train_for"] for line in self.lines if line["rows"]))

    @property
    def level(self) -> str:
        return f"{100 * (1 - 2 * self.alpha):.3g}%"

    @property
    def methods(self) -> list[Line]:
        return [line for line in self.lines if line["role"] == "method"]

    def of(self, method: str, train_for: str | None = None) -> list[Line]:
        return [
            line
            for line in self.lines
            if line["method"] == method and train_for in (None, line["train_for"])
        ]


def read_comparison(folder: Path) -> Comparison:
    """Read what the page shows.

    Raises:
        DataError: it is not there.
    """
    path = folder / FILE
    if not path.is_file():
        raise DataError(f"{folder}: no finished comparison is here. Run `treadle compare` again.")
    with explained(path):
        data = json.loads(path.read_bytes())
        results = from_parquet((folder / "results.parquet").read_bytes())
    return Comparison(
        folder.resolve().name, data["headline"], data["sentence"], data["metric"], direction(results), data["alpha"], data["items"],
        data["seeds"], [NOT_SAID | line for line in data["cells"]], data["overlap"], data["costs"],
        data.get("sets", {}), data.get("unlicensed"),
    )  # fmt: skip
