"""A pool: an immutable set of rows, sorted by id, cut into shards by id.

Shards are cut by the leading bits of the id, not by position: a new row changes one shard only
(until there are twice as many rows and shards are halved), so cached work on all others stays
valid. On disk a pool is Parquet shards and a manifest.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import polars as pl
import pyarrow.parquet as pq
from polars.exceptions import PolarsError

from treadle.data.publishing import is_plain, published, published_folder
from treadle.data.row import SCHEMA, Row, from_frame, to_frame
from treadle.errors import DataError

SHARD_ROWS = 256
MANIFEST = "manifest.json"
_ADVICE = "Write the pool again."


@dataclass(frozen=True)
class Pool:
    """An immutable set of rows. `frame` follows `row.SCHEMA` and is sorted by id."""

    frame: pl.DataFrame

    @classmethod
    def of(cls, rows: Iterable[Row]) -> Pool:
        """Build a pool; rows with equal content become one row with every origin."""
        return cls(to_frame(rows))

    def __len__(self) -> int:
        return self.frame.height

    @cached_property
    def id(self) -> str:
        """Hash of the row ids: two pools with equal rows are one pool."""
        return hashlib.sha256("\n".join(self.frame["id"]).encode()).hexdigest()[:32]

    @property
    def ids(self) -> list[str]:
        return self.frame["id"].to_list()

    @property
    def content(self) -> Pool:
        """The same rows without their origins, for cached work.

        Equal rows are equal work, whatever files, lines and user columns they came with.
        """
        nowhere = pl.lit([], dtype=SCHEMA["origins"]).alias("origins")
        return Pool(self.frame.with_columns(nowhere))

    def rows(self) -> list[Row]:
        """Return the rows as objects (small pools only: this copies every text)."""
        return from_frame(self.frame)

    def keep(self, ids: Iterable[str]) -> Pool:
        """Return the pool of the rows with these ids."""
        wanted = pl.Series("id", list(ids), dtype=pl.String)
        return Pool(self.frame.join(wanted.to_frame(), on="id", how="semi").sort("id"))

    def without(self, ids: Iterable[str]) -> Pool:
        """Return the pool of the rows without these ids."""
        unwanted = pl.Series("id", list(ids), dtype=pl.String)
        return Pool(self.frame.join(unwanted.to_frame(), on="id", how="anti").sort("id"))

    def shards(self, target_rows: int = SHARD_ROWS) -> Iterator[pl.DataFrame]:
        """Yield non-empty frames of about `target_rows` rows, cut by id prefix, in id order."""
        bits = 0
        while (len(self) >> bits) > target_rows and bits < 20:
            bits += 1
        prefix = self.frame["id"].str.slice(0, 5).str.to_integer(base=16)
        keyed = self.frame.with_columns((prefix // (1 << (20 - bits))).alias("_shard"))
        for part in keyed.partition_by("_shard", maintain_order=True, include_key=False):
            if part.height:
                yield part


def to_parquet(frame: pl.DataFrame, *, squeeze: bool = True) -> bytes:
    """Encode a frame as Parquet. The same frame always gives the same bytes.

    Without `squeeze`, values are written as they are: hashes cannot be made smaller.
    """
    buffer = io.BytesIO()
    table = frame.rechunk().to_arrow(compat_level=pl.CompatLevel.oldest())
    how = {"compression": "zstd"} if squeeze else {"compression": "none", "use_dictionary": False}
    pq.write_table(table, buffer, row_group_size=65_536, **how)
    return buffer.getvalue()


def from_parquet(blob: bytes) -> pl.DataFrame:
    """Decode what `to_parquet` wrote."""
    return pl.read_parquet(io.BytesIO(blob), use_pyarrow=False)


def _manifest(pool: Pool, shards: Mapping[str, tuple[int, bytes]]) -> dict[str, object]:
    """Return the manifest of shards given as `{file name: (rows, bytes)}`."""
    listed = [
        {"file": name, "rows": rows, "sha256": hashlib.sha256(blob).hexdigest()}
        for name, (rows, blob) in shards.items()
    ]
    return {"pool": pool.id, "rows": len(pool), "shards": listed}


def encode_pool(pool: Pool) -> dict[str, bytes]:
    """Return the files of a pool folder: Parquet shards and, last, the manifest."""
    shards = {
        f"shard-{number:05d}.parquet": (shard.height, to_parquet(shard))
        for number, shard in enumerate(pool.shards(65_536))
    }
    manifest = json.dumps(_manifest(pool, shards), indent=1) + "\n"
    return {**{name: blob for name, (_, blob) in shards.items()}, MANIFEST: manifest.encode()}


def save_pool(pool: Pool, folder: Path) -> None:
    """Write Parquet shards and a manifest; the folder appears whole, in place of an older pool.

    Raises:
        DataError: the folder exists and holds something else.
        StoreError: it cannot be written.
    """
    if folder.is_dir() and any(folder.iterdir()) and not (folder / MANIFEST).is_file():
        raise DataError(f"{folder}: exists and is no saved pool. Choose another folder.")
    with published_folder(folder) as fresh:
        for name, blob in encode_pool(pool).items():
            with published(fresh / name) as file:
                file.write(blob)


def load_pool(folder: Path) -> Pool:
    """Read a pool that `save_pool` wrote, checking every shard against the manifest.

    Raises:
        DataError: the manifest is missing or damaged, or what it says is not what is there.
    """
    path = folder / MANIFEST
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        shards = [_shard(folder, entry) for entry in manifest["shards"]]
        pool = Pool(pl.concat(shards) if shards else pl.DataFrame(schema=SCHEMA))
        is_as_saved = (manifest["pool"], manifest["rows"]) == (pool.id, len(pool))
    except (ValueError, KeyError, TypeError, RecursionError, OSError, PolarsError) as error:
        detail = f"{type(error).__name__}: {error}"
        raise DataError(f"{path}: not a treadle pool ({detail}).") from error
    if not is_as_saved:
        raise DataError(f"{path}: its shards hold other rows than were saved. {_ADVICE}")
    return pool


def _shard(folder: Path, entry: Mapping[str, object]) -> pl.DataFrame:
    name = entry["file"]
    if not is_plain(name):
        raise DataError(
            f"{folder / MANIFEST}: a shard must be a file of this folder, not {name!r}."
        )
    blob = (folder / name).read_bytes()
    if hashlib.sha256(blob).hexdigest() != entry["sha256"]:
        raise DataError(f"{folder / name}: damaged. {_ADVICE}")
    frame = from_parquet(blob)
    if frame.schema != SCHEMA or frame.height != entry["rows"]:
        raise DataError(f"{folder / name}: holds something else than the rows of a pool. {_ADVICE}")
    return frame
