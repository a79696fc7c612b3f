"""The run folder: every artefact of a run under one name, each published atomically.

Data artefacts depend on inputs, code and seed alone; `manifest.json` lists their hashes. Times and
costs are in `ledger.sqlite` and `estimate.json`; they and the report are not in the manifest.

A run is finished while its manifest is there: that is written last, and is taken away before any
artefact changes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from treadle.data.pool import from_parquet, to_parquet
from treadle.errors import RecipeError, StoreError
from treadle.machinery.disk import Disk, explained

MANIFEST, IDENTITY = "manifest.json", "identity.json"
ESTIMATE = "estimate.json"
NOT_DATA = {"recipe.yaml", MANIFEST, ESTIMATE}
BEFORE_IDENTITY = (".", "ledger.sqlite")  # how the names begin of what a run writes before it


@dataclass(frozen=True)
class RunFolder:
    """Reads and writes the artefacts of one run."""

    path: Path
    disk: Disk = field(default_factory=Disk)
    _written: set[str] = field(default_factory=set, repr=False, compare=False)

    def write(self, name: str, blob: bytes) -> None:
        """Publish one artefact; unchanged bytes are left alone."""
        self._written.add(name)
        path = self.path / name
        with explained(path):
            if path.is_file() and path.read_bytes() == blob:
                return
        if name not in NOT_DATA and self.is_finished:
            self.disk.remove(self.path / MANIFEST)
        self.disk.publish(path, blob)

    def write_json(self, name: str, value: object) -> None:
        self.write(name, (json.dumps(value, indent=1, ensure_ascii=False) + "\n").encode())

    def write_frame(self, name: str, frame: pl.DataFrame) -> None:
        self.write(name, to_parquet(frame))

    def write_lines(self, name: str, records: list[dict[str, Any]]) -> None:
        lines = [json.dumps(record, ensure_ascii=False) + "\n" for record in records]
        self.write(name, "".join(lines).encode())

    def has(self, name: str) -> bool:
        return (self.path / name).exists()

    @property
    def is_finished(self) -> bool:
        """Whether a round went through, and nothing was changed since."""
        return self.has(MANIFEST)

    def _read(self, name: str) -> bytes:
        path = self.path / name
        with explained(path):
            try:
                return path.read_bytes()
            except FileNotFoundError as error:
                raise StoreError(
                    f"{path}: not there. Is {self.path} a run folder that has got this far?"
                ) from error

    def read_json(self, name: str) -> Any:
        """Read a JSON artefact.

        Raises:
            StoreError: it is missing or damaged; so for all artefacts.
        """
        blob = self._read(name)
        try:
            return json.loads(blob)
        except ValueError as error:
            raise self._damaged(name, error) from error

    def read_lines(self, name: str) -> list[dict[str, Any]]:
        """Read a JSON Lines artefact."""
        blob = self._read(name)
        try:
            return [json.loads(line) for line in blob.split(b"\n") if line]
        except ValueError as error:
            raise self._damaged(name, error) from error

    def read_frame(self, name: str) -> pl.DataFrame:
        """Read a Parquet artefact."""
        blob = self._read(name)
        try:
            return from_parquet(blob)
        except (pl.exceptions.PolarsError, OSError) as error:
            raise self._damaged(name, error) from error

    def _damaged(self, name: str, error: Exception) -> StoreError:
        advice = "Run the recipe again."
        if name == IDENTITY:
            advice = "Run the recipe again with another --out: finished work is still reused."
        return StoreError(f"{self.path / name}: damaged ({error}). {advice}")

    def seal(self, also: Iterable[str] = ()) -> None:
        """Write the manifest, the last step of a round: the hash of every data artefact.

        Args:
            also: artefacts that were written earlier, by another `RunFolder`.
        """
        names = sorted({*self._written, *also} - NOT_DATA)
        self.write_json(
            MANIFEST, {name: hashlib.sha256(self._read(name)).hexdigest() for name in names}
        )

    def refuse_strangers(self) -> None:
        """Refuse a folder that holds other things than a run: an artefact could replace them.

        Raises:
            RecipeError: it does.
        """
        with explained(self.path):
            found = sorted(p.name for p in self.path.iterdir()) if self.path.is_dir() else []
        strange = [name for name in found if not name.startswith(BEFORE_IDENTITY)]
        if strange and not self.has(IDENTITY):
            raise RecipeError(
                f"{self.path}: not a run folder, and not empty ({', '.join(strange[:3])} …). "
                "Choose a new folder with --out."
            )

    def hold_to(
        self, recipe: Mapping[str, Any], inputs: Mapping[str, str], *, is_new: bool = False
    ) -> None:
        """Remember what this folder is a run of, and refuse anything else.

        Args:
            recipe: what of it decides the results.
            is_new: nothing was spent yet, so that the folder may still become another run's.

        Raises:
            RecipeError: the folder holds a run of another recipe or of other data.
        """
        now = {"recipe": dict(recipe), "inputs": dict(inputs)}
        now = json.loads(json.dumps(now))
        changed = _differences(self.read_json(IDENTITY), now) if self.has(IDENTITY) else []
        if changed and not is_new:
            raise RecipeError(
                f"{self.path} holds a run of another recipe; changed: {', '.join(changed)}. Choose "
                "another folder with --out (finished work is still reused), or undo the change."
            )
        self.write_json(IDENTITY, now)


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
