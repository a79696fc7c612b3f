"""The run folder: every artefact of a run under one name, each published atomically.

Data artefacts depend on inputs, code and seed alone; `manifest.json` lists their hashes. Times and
costs are in `ledger.sqlite`; the report and the estimate show them and are not in the manifest.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from treadle.data.pool import from_parquet, to_parquet
from treadle.errors import RecipeError, StoreError
from treadle.machinery.disk import Disk

NOT_DATA = ("recipe.yaml", "ledger.sqlite", "report.html", ".lock", "manifest.json")


@dataclass(frozen=True)
class RunFolder:
    """Reads and writes the artefacts of one run."""

    path: Path
    disk: Disk = field(default_factory=Disk)

    def write(self, name: str, blob: bytes) -> None:
        """Publish one artefact; unchanged bytes are left alone."""
        path = self.path / name
        if path.is_file() and path.read_bytes() == blob:
            return
        self.disk.publish(path, blob)

    def write_json(self, name: str, value: object) -> None:
        self.write(name, (json.dumps(value, indent=1, ensure_ascii=False) + "\n").encode())

    def write_frame(self, name: str, frame: pl.DataFrame) -> None:
        self.write(name, to_parquet(frame))

    def write_lines(self, name: str, records: list[dict[str, Any]]) -> None:
        lines = [json.dumps(record, ensure_ascii=False) + "\n" for record in records]
        self.write(name, "".join(lines).encode())

    def remove(self, name: str) -> None:
        """Delete an artefact if it is there."""
        if self.has(name):
            self.disk.remove(self.path / name)

    def has(self, name: str) -> bool:
        return (self.path / name).exists()

    def read_json(self, name: str) -> Any:
        """Read a JSON artefact.

        Raises:
            StoreError: it is missing or damaged.
        """
        path = self.path / name
        try:
            return json.loads(path.read_bytes())
        except FileNotFoundError as error:
            raise StoreError(
                f"{path}: not there. Is {self.path} a run folder that has got this far?"
            ) from error
        except ValueError as error:
            raise StoreError(f"{path}: damaged ({error}). Run the recipe again.") from error

    def read_lines(self, name: str) -> list[dict[str, Any]]:
        """Read a JSON Lines artefact."""
        blob = (self.path / name).read_bytes()
        return [json.loads(line) for line in blob.split(b"\n") if line]

    def read_frame(self, name: str) -> pl.DataFrame:
        path = self.path / name
        try:
            return from_parquet(path.read_bytes())
        except FileNotFoundError as error:
            raise StoreError(
                f"{path}: not there. Is {self.path} a run folder that has got this far?"
            ) from error

    def seal(self) -> None:
        """Write the manifest: the hash of every data artefact. The last step of a round."""
        files = sorted(p for p in self.path.rglob("*") if p.is_file() and _is_data(p, self.path))
        hashes = {
            path.relative_to(self.path).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in files
        }
        self.write_json("manifest.json", hashes)

    def hold_to(self, recipe: Mapping[str, Any], inputs: Mapping[str, str]) -> None:
        """Remember what this folder is a run of, and refuse anything else. Budgets may change.

        Raises:
            RecipeError: the folder holds a run of another recipe or of other data.
        """
        now = {"recipe": {k: v for k, v in recipe.items() if k != "budget"}, "inputs": dict(inputs)}
        now = json.loads(json.dumps(now))
        if not self.has("identity.json"):
            self.write_json("identity.json", now)
            return
        then = self.read_json("identity.json")
        changed = _differences(then, now)
        if changed:
            raise RecipeError(
                f"{self.path} holds a run of another recipe; changed: {', '.join(changed)}. Choose "
                "another folder with --out (finished work is still reused), or undo the change."
            )


def _is_data(path: Path, root: Path) -> bool:
    name = path.relative_to(root).as_posix()
    return not (name.startswith(NOT_DATA) or path.name.startswith("."))


def _differences(then: Any, now: Any, prefix: str = "") -> list[str]:
    if isinstance(then, dict) and isinstance(now, dict):
        keys = sorted(set(then) | set(now))
        return [d for k in keys for d in _differences(then.get(k), now.get(k), f"{prefix}{k}.")]
    name = prefix.rstrip(".").removeprefix("recipe.")
    return [] if then == now else [f"{name} ({_short(then)} → {_short(now)})"]


def _short(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= 40 else text[:37] + "…"


def export_adapter(folder: RunFolder, weights: Mapping[str, bytes]) -> None:
    """Publish the files of a trained student under `adapter/`."""
    for name, blob in sorted(weights.items()):
        if Path(name).name != name:
            raise StoreError(f"adapter file {name!r} is not a plain name.")
        folder.write(f"adapter/{name}", blob)
