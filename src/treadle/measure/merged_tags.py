"""What does a row ask for, in tags that mean the same in every row? InsTag's normalisation."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import combinations
from typing import Annotated, Any

import polars as pl
from pydantic import Field

from treadle.context import Context
from treadle.geometry.cosine import directions
from treadle.geometry.groups import chained
from treadle.op import measure

Tags = Sequence[str]


def spellings(rows: pl.DataFrame, options: Mapping[str, Any], context: Context) -> bytes:
    """Find, for each tag of the pool that is not too rare, the tag that stands for it."""
    lists = [plain(tags) for tags in rows["judged_tags"].to_list() if tags is not None]
    counts = Counter(tag for tags in lists for tag in tags)
    known = sorted(tag for tag, count in counts.items() if count >= options["fewest"])
    embedder = context.model("embedder")
    grid = directions(embedder.embed(known, tick=context.tick)) if known else None
    groups = chained(grid, options["alike"]).tolist() if grid is not None else []
    stands_for = spoken_for(known, groups, counts)
    merged = [renamed(tags, stands_for) for tags in lists]
    joined = joins(merged, options["together"], options["fewest_together"])
    found = {tag: joined.get(name, name) for tag, name in stands_for.items()}
    return json.dumps(found, sort_keys=True).encode()


@measure(
    reference="arXiv:2308.07074 (InsTag)",
    cost="none beyond judged_tags; 1 encoder pass a different tag, O(tags**2) once a pool",
    needs=("judged_tags",), models=("embedder",), fit=spellings,
)  # fmt: skip
def merged_tags(
    *,
    fewest: Annotated[int, Field(ge=1)] = 3,
    alike: Annotated[float, Field(gt=0, le=1)] = 0.85,
    together: Annotated[float, Field(gt=0, le=1)] = 0.99,
    fewest_together: Annotated[int, Field(ge=1)] = 40,
) -> Callable[[pl.DataFrame, Context], pl.DataFrame]:
    """Measure a row's tags once rare ones are dropped and those that say the same are made one.

    InsTag's steps over all tags of the pool: one spelling (letters and digits, lower case; we do not
    stem), rare tags dropped, tags with near vectors made one, and tags that hardly occur without
    another made that other. The commonest tag of a group stands for it. For `tag_cover`: the number
    of tags is its complexity, their coverage its diversity.

    Near vectors chain, so a limit that is too low makes one tag of many. The right one hangs on the
    encoder: under MiniLM "maths" and "mathematics" have a cosine of 0.87, "poem writing" and "poetry
    writing" 0.93, "code writing" and "code generation" 0.74, "french" and "spanish" 0.63. The hashed
    one sees spelling only. A row all of whose tags are rare has an empty list; one that `judged_tags`
    could not read is unscored.

    Args:
        fewest: rows that must carry a tag for it to stay. InsTag: 20, with some 300,000 rows.
        alike: the least cosine at which two tags are one.
        together: a tag is made another if this share of its rows carry that one too.
        fewest_together: and at least so many rows carry both. InsTag: 40.
    """

    def run(batch: pl.DataFrame, context: Context) -> pl.DataFrame:
        assert context.fitted is not None
        known: dict[str, str] = json.loads(context.fitted)
        lists = batch["judged_tags"].to_list()
        found = [None if tags is None else renamed(plain(tags), known) for tags in lists]
        return pl.DataFrame({"merged_tags": pl.Series(found, dtype=pl.List(pl.String))})

    return run


def plain(tags: Iterable[str]) -> list[str]:
    """Return tags in one spelling: letters and digits in lower case, parted by single spaces."""
    words = (" ".join(re.findall(r"[^\W_]+", tag.lower())) for tag in tags)
    return list(dict.fromkeys(tag for tag in words if tag))


def renamed(tags: Iterable[str], names: Mapping[str, str]) -> list[str]:
    """Return what stands for these tags, each once, without those that nothing stands for."""
    return list(dict.fromkeys(names[tag] for tag in tags if tag in names))


def spoken_for(tags: Tags, groups: Sequence[int], counts: Mapping[str, int]) -> dict[str, str]:
    """Return the commonest tag of each tag's group; of equally common ones the first by alphabet."""
    speakers: dict[int, str] = {}
    for tag, group in sorted(
        zip(tags, groups, strict=True), key=lambda one: (-counts[one[0]], one)
    ):
        speakers.setdefault(group, tag)
    return {tag: speakers[group] for tag, group in zip(tags, groups, strict=True)}


def joins(lists: Iterable[Tags], share: float, fewest: int) -> dict[str, str]:
    """Return the tags that are made another, commoner one, with which they nearly always occur.

    Of several such the commonest. Rules between pairs; larger sets of items add no other pair. A chain
    is followed to its end.
    """
    alone: Counter[str] = Counter()
    both: Counter[tuple[str, str]] = Counter()
    for tags in lists:
        alone.update(tags)
        both.update(combinations(sorted(tags), 2))
    found: dict[str, str] = {}
    order = {tag: place for place, tag in enumerate(sorted(alone, key=lambda t: (-alone[t], t)))}
    for pair, count in sorted(both.items()):
        common, rare = sorted(pair, key=order.__getitem__)
        if count >= fewest and count >= share * alone[rare]:
            before = found.get(rare)
            if before is None or order[common] < order[before]:
                found[rare] = common
    for rare in sorted(found, key=order.__getitem__):  # the commoner ones are settled first
        found[rare] = found.get(found[rare], found[rare])
    return found
