"""Hashed n-grams as in DSIR: counts of a text's n-grams in a fixed number of buckets.

    hash_bucket("alice")                    -> 6720
    hash_bucket("alice went")               -> 114
    count_ngrams(["Alice went"], n=2, buckets=10_000)
        -> one row: buckets [114, 6720, ...], counts [1, 1, ...], tokens 2

Tokens are those of NLTK's WordPunctTokenizer over the lower-cased text: runs of word characters and
runs of anything else but white space, as Python's `re` knows them (NLTK 3.10 uses `regex`,
which joins combining marks to words: Indic scripts and phonetics come out otherwise there). They
differ from `text.words` on purpose: counts are comparable with DSIR's own.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence

import numpy as np
import polars as pl

SCHEMA: dict[str, pl.DataType | type[pl.DataType]] = {
    "buckets": pl.List(pl.UInt32),
    "counts": pl.List(pl.UInt32),
    "tokens": pl.UInt32,
}
_TOKEN = re.compile(r"\w+|[^\w\s]+")


def tokens(text: str) -> list[str]:
    """Return the lower-cased tokens of a text."""
    return _TOKEN.findall(text.lower())


def hash_bucket(ngram: str, buckets: int = 10_000) -> int:
    """Return the bucket of an n-gram: its SHA-256, as one large number, modulo `buckets`."""
    digest = hashlib.sha256(ngram.encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest, "big") % buckets


def count_ngrams(texts: Sequence[str | None], *, n: int, buckets: int) -> pl.DataFrame:
    """Count the 1- to n-grams of each text by bucket; each distinct n-gram is hashed once a call.

    Buckets rise within a row, and every count is at least 1. None, and a text without tokens, give
    a row of nulls.
    """
    memo = _Buckets(buckets)
    rows = []
    for text in texts:
        found = tokens(text or "")
        hashed = np.fromiter(map(memo.__getitem__, _ngrams(found, n)), np.uint32)
        filled, counts = np.unique(hashed, return_counts=True)
        rows.append((filled.tolist(), counts.tolist(), len(found)) if found else (None, None, None))
    return pl.DataFrame(rows, schema=SCHEMA, orient="row")


def _ngrams(found: Sequence[str], n: int) -> Iterator[str]:
    for size in range(1, n + 1):
        yield from map(" ".join, zip(*(found[start:] for start in range(size)), strict=False))


class _Buckets(dict[str, int]):
    """N-gram -> bucket, filled on first sight."""

    def __init__(self, buckets: int) -> None:
        self.buckets = buckets

    def __missing__(self, ngram: str) -> int:
        self[ngram] = value = hash_bucket(ngram, self.buckets)
        return value
