"""All pairs of similar rows, as stages of tasks over bytes: bounded memory, on any engine.

    sign     a shard of texts       -> its shingle sets, and its band hashes split into parts
    pair     one part of all shards -> pairs of rows that share a band
    unite    a slice of all pairs   -> distinct pairs in blocks, and which rows each block needs
    fetch    a shard's sets         -> the sets that each block needs
    verify   a block                -> exact sizes of intersection and union of its pairs

`sign` and `fetch` write a blob for each shard and part and for each shard and block. Time and bytes
are linear in rows, but the number of blobs grows with their square: 2,300 at a million rows and
230,000 at ten million. What is held at once is a shard, a part, a slice or a block, and at the end
a few figures for each row and for each pair that is similar.

Rows of different kinds never meet: an answer to check is no copy of a chat. The words of a rejected
reply differ from the same words elsewhere: two rows with the replies swapped contradict each other.

Between stages a row is its shard and its place in it, in the order of ids. So neither the size of
shards nor the order of tasks can change the answer, and a task's result is reused as long as its
own shard stays the same.

Not an op: `near_duplicates` decides what to do with the pairs.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

from treadle.data.pool import Pool, from_parquet, to_parquet
from treadle.data.row import texts
from treadle.machinery.engine import Commit, Engine, Output, Stage, Task, Work, gather
from treadle.text.minhash import (
    Banding,
    Entries,
    band_hashes,
    bucket_pairs,
    overlap,
    set_hashes,
    shared,
    signatures,
)
from treadle.text.words import Hashes, Ragged, hash_words, joined, mix, shingle_sets

SHARD_SHIFT = 32
"""A row's key is (shard << SHARD_SHIFT) + its place in the shard: keys sort as ids do."""

PAIRS = {"first": pl.Int64, "second": pl.Int64}
EDGES = {**PAIRS, "shared": pl.Int64, "union": pl.Int64}


@dataclass(frozen=True, slots=True)
class Settings:
    """What counts as similar: shingles of `shingle` words, Jaccard of at least `threshold`.

    The last four bound the memory of a task and leave the answer alone.
    """

    threshold: float
    shingle: int
    leaders: int
    banding: Banding
    shard_rows: int = 8_192
    part_entries: int = 1 << 20
    """Band hashes that one `pair` task reads, about."""
    slice_pairs: int = 1 << 20
    """Pairs that one `unite` task makes distinct, about."""
    block_pairs: int = 1 << 16
    """Pairs that one `verify` task checks."""


@dataclass(frozen=True, slots=True)
class SimilarPairs:
    """Verified pairs of a pool and what was counted on the way.

    `edges` has the columns first, second (positions in the pool; the longer text first, then the
    lower position), shared and union (numbers of shingles). `words` and `chars` are the lengths of
    all rows. `most_not_compared` is an upper bound: pairs that a crowded bucket left out, though
    another may have compared them.
    """

    edges: pl.DataFrame
    words: NDArray[np.int64]
    chars: NDArray[np.int64]
    candidates: int
    capped_buckets: int
    most_not_compared: int


@dataclass(frozen=True, slots=True)
class _Runner:
    engine: Engine
    fingerprint: str
    tick: Callable[[], None]

    def __call__(
        self, work: Work, tasks: Sequence[Task], options: Mapping[str, Any]
    ) -> list[Commit]:
        self.tick()
        name = f"near_duplicates.{work.__name__}"
        return gather(self.engine, Stage(name, work, tasks, self.fingerprint, options))

    def read(self, key: str) -> pl.DataFrame:
        return from_parquet(self.engine.store.get(key))


def similar_pairs(
    engine: Engine, pool: Pool, settings: Settings, fingerprint: str, tick: Callable[[], None]
) -> SimilarPairs:
    """Return every pair of rows that shares a band and has a Jaccard of at least the threshold."""
    if not len(pool):
        return SimilarPairs(pl.DataFrame(schema=EDGES), np.zeros(0, int), np.zeros(0, int), 0, 0, 0)
    run = _Runner(engine, fingerprint, tick)
    shards, sizes = [], [0]
    for shard in pool.shards(settings.shard_rows):
        shards.append(engine.store.put(to_parquet(_said(shard))))
        sizes.append(shard.height)
    bands, rows = settings.banding.bands, settings.banding.rows
    parts = 1 + len(pool) * bands // settings.part_entries
    how = {"shingle": settings.shingle, "bands": bands, "rows": rows, "parts": parts}
    signed = [one.blobs for one in run(sign, [Task((key,)) for key in shards], how)]
    inputs = [tuple(k for one in signed for k in (one[0], one[2 + p])) for p in range(parts)]
    tasks = [Task(keys, part=p) for p, keys in enumerate(inputs)]
    limits = {"leaders": settings.leaders, "threshold": settings.threshold}
    paired = [one.blobs for one in run(pair, tasks, limits)]
    counts = [json.loads(engine.store.get(one[1])) for one in paired]
    slices = 1 + sum(one["pairs"] for one in counts) // settings.slice_pairs
    pairs = tuple(one[0] for one in paired)
    cuts = ({"slice": number, "slices": slices} for number in range(slices))
    checked = [one for cut in cuts for one in _verified(run, signed, pairs, cut, settings)]
    candidates = sum(one.rows_in for one in checked)
    edges = [run.read(one.blobs[0]) for one in checked]
    lengths = pl.concat(run.read(one[0]) for one in signed)
    left_out = sum(one["left_out"] for one in counts)
    return SimilarPairs(
        _positions(pl.concat([pl.DataFrame(schema=EDGES), *edges]), np.cumsum(sizes)),
        lengths["words"].to_numpy(),
        lengths["chars"].to_numpy(),
        candidates,
        capped_buckets=sum(one["capped_buckets"] for one in counts),
        most_not_compared=min(left_out, len(pool) * (len(pool) - 1) // 2 - candidates),
    )


def _said(shard: pl.DataFrame) -> pl.DataFrame:
    """What is compared of each row: its kind, its conversation, and the rejected reply."""
    nothing = pl.lit(None, dtype=pl.String).alias("rejected")
    said = pl.Series("text", texts(shard.with_columns(nothing)), dtype=pl.String)
    return shard.select("kind", said, "rejected")


def _verified(
    run: _Runner,
    signed: Sequence[Sequence[str]],
    pairs: tuple[str, ...],
    cut: Mapping[str, int],
    settings: Settings,
) -> list[Commit]:
    """Check the candidate pairs of one slice, a block at a time."""
    how = {"shards": len(signed), "block_pairs": settings.block_pairs, **cut}
    (united,) = run(unite, [Task(pairs)], how)
    wanted, blocks = united.blobs[: len(signed)], united.blobs[len(signed) :]
    if not blocks:
        return []
    asks = [Task((one[1], want)) for one, want in zip(signed, wanted, strict=True)]
    fetched = run(fetch, asks, {"blocks": len(blocks)})
    checks = [Task((key, *(one.blobs[b] for one in fetched))) for b, key in enumerate(blocks)]
    return run(verify, checks, {"threshold": settings.threshold})


def sign(blobs: Sequence[bytes], options: Mapping[str, Any], _: object) -> Output:
    """Shard of texts -> lengths and set hashes; shingle sets; one blob of band hashes a part."""
    frame = from_parquet(blobs[0])
    kinds, said, rejected = (hash_words(frame[name].fill_null("")) for name in frame.columns)
    hashed = joined(said, Ragged(mix(rejected.values), rejected.bounds))
    sets = shingle_sets(hashed, options["shingle"])
    banding = Banding(options["bands"], options["rows"])
    keys = band_hashes(signatures(sets, banding.used), banding)
    keys = mix(keys ^ kinds.values[:, None])  # a kind is one word
    about = pl.DataFrame(
        {
            "words": hashed.counts,
            "chars": _chars(frame),
            "twin": set_hashes(sets),
            "shingles": sets.counts,
        }
    )
    rows = np.repeat(np.flatnonzero(sets.counts), banding.bands)
    buckets = keys[sets.counts > 0].ravel()
    # A crowded bucket is split by the next band: alike rows share that one too, mostly.
    second = np.roll(keys, -1, axis=1)[sets.counts > 0].ravel()
    entries = pl.DataFrame({"bucket": buckets, "second": second, "row": rows})
    part = buckets % np.uint64(options["parts"])
    cut = [to_parquet(entries.filter(part == p), squeeze=False) for p in range(options["parts"])]
    n = frame.height
    packed = to_parquet(_packed(sets), squeeze=False)
    return Output([to_parquet(about), packed, *cut], rows_in=n, kept=n)


def _chars(frame: pl.DataFrame) -> pl.Series:
    """The length of `Row.text`, where a rejected reply stands on a line of its own."""
    rejected = (pl.col("rejected").str.len_chars().cast(pl.Int64) + 1).fill_null(0)
    return frame.select(pl.col("text").str.len_chars().cast(pl.Int64) + rejected).to_series()


def pair(blobs: Sequence[bytes], options: Mapping[str, Any], _: object) -> Output:
    """Lengths and band hashes of all shards, in turn -> candidate pairs, and counts as JSON."""
    parts = [from_parquet(part) for part in blobs[1::2]]
    ends = np.cumsum([part.height for part in parts])
    is_met = np.split(shared(np.concatenate([part["bucket"] for part in parts])), ends[:-1])
    frames = []
    for shard, (about, part, is_mine) in enumerate(zip(blobs[::2], parts, is_met, strict=True)):
        entries = part.filter(pl.Series(is_mine))
        rows = from_parquet(about)[entries["row"]]
        key = (entries["row"] + (shard << SHARD_SHIFT)).alias("key")
        frames.append(rows.with_columns(key, entries["bucket"], entries["second"]))
    met = pl.concat(frames)
    rows = met.unique("key").sort("chars", "key", descending=[True, False])
    rows = rows.select("key", "shingles").with_row_index("item")
    items = met.join(rows, on="key", maintain_order="left")["item"].cast(pl.Int64).to_numpy()
    columns = (met[name].to_numpy() for name in ("bucket", "twin", "second"))
    bucket, twin, second = columns
    found = bucket_pairs(Entries(bucket, items, twin, second), options["leaders"])
    sizes, keys = rows["shingles"].to_numpy(), rows["key"].to_numpy()
    one, other = sizes[found.first], sizes[found.second]
    # Sets of very different size cannot be alike enough, whatever they share.
    is_possible = np.minimum(one, other) / np.maximum(one, other) >= options["threshold"]
    first, later = found.first[is_possible], found.second[is_possible]
    pairs = pl.DataFrame({"first": keys[first], "second": keys[later]}, schema=PAIRS)
    counts = {
        "pairs": pairs.height,
        "capped_buckets": found.capped_buckets,
        "left_out": found.left_out,
    }
    return Output([to_parquet(pairs), json.dumps(counts).encode()])


def unite(blobs: Sequence[bytes], options: Mapping[str, Any], _: object) -> Output:
    """Pairs of all parts -> for each shard the rows that each block needs; then the blocks."""
    is_mine = (pl.col("first") + pl.col("second")) % options["slices"] == options["slice"]
    mine = (from_parquet(blob).filter(is_mine) for blob in blobs)
    pairs = pl.concat(mine).unique().sort("first", "second")
    size = options["block_pairs"]
    blocks = [pairs.slice(i, size) for i in range(0, pairs.height, size)]
    number = pl.int_range(pl.len()) // size
    needs = pairs.select(number.alias("block"), pl.concat_list("first", "second").alias("key"))
    needs = needs.explode("key").unique().sort("block", "key")
    shard = (pl.col("key") // (1 << SHARD_SHIFT)).alias("shard")
    needs = needs.select("block", shard, (pl.col("key") % (1 << SHARD_SHIFT)).alias("row"))
    split = needs.partition_by("shard", as_dict=True, include_key=False, maintain_order=True)
    nothing = needs.clear().drop("shard")
    wanted = [split.get((number,), nothing) for number in range(options["shards"])]
    return Output([to_parquet(frame) for frame in (*wanted, *blocks)])


def fetch(blobs: Sequence[bytes], options: Mapping[str, Any], _: object) -> Output:
    """A shard's sets and the rows wanted -> for each block, the rows and their sets."""
    sets, wanted = from_parquet(blobs[0]), from_parquet(blobs[1])
    taken = wanted.with_columns(sets["set"].gather(wanted["row"]))
    split = taken.partition_by("block", as_dict=True, include_key=False, maintain_order=True)
    nothing = taken.clear().drop("block")
    return Output([to_parquet(split.get((b,), nothing)) for b in range(options["blocks"])])


def verify(blobs: Sequence[bytes], options: Mapping[str, Any], _: object) -> Output:
    """A block of pairs and the sets that it needs -> the pairs that reach the threshold."""
    pairs = from_parquet(blobs[0])
    frames = [from_parquet(blob) for blob in blobs[1:]]
    keys = np.concatenate(
        [one["row"].to_numpy() + (shard << SHARD_SHIFT) for shard, one in enumerate(frames)]
    )
    sets = _unpacked(pl.concat(frames))
    left, right = (np.searchsorted(keys, pairs[name].to_numpy()) for name in PAIRS)
    common, union = overlap(sets, left, right)
    reached = pairs.with_columns(shared=common, union=union).filter(
        common / union >= options["threshold"]
    )
    kept = reached.height
    n = pairs.height
    return Output(
        [to_parquet(reached.select(EDGES.keys()))], rows_in=n, kept=kept, dropped=n - kept
    )


def _positions(edges: pl.DataFrame, starts: NDArray[np.int64]) -> pl.DataFrame:
    """Turn shard and place into positions in the pool."""
    places = {}
    for name in PAIRS:
        keys = edges[name].to_numpy()
        places[name] = starts[keys >> SHARD_SHIFT] + (keys & ((1 << SHARD_SHIFT) - 1))
    return edges.with_columns(**{k: pl.Series(v, dtype=pl.Int64) for k, v in places.items()})


def _packed(sets: Ragged) -> pl.DataFrame:
    lists = pa.LargeListArray.from_arrays(
        pl.Series(sets.bounds).to_arrow(), pl.Series(sets.values).to_arrow()
    )
    return pl.DataFrame({"set": pl.Series(lists, dtype=pl.List(pl.UInt64))})


def _unpacked(frame: pl.DataFrame) -> Ragged:
    counts = frame["set"].list.len().cast(pl.Int64).to_numpy()
    values: Hashes = frame["set"].explode().to_numpy()
    return Ragged(values, np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)]))
