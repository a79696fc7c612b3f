"""Words and n-gram hashes: one meaning of "the same text" for every check that compares texts.

    normalise("Ｔhe  Cat—sat!")        -> "the cat sat"
    ngrams(hash_words(texts), 13)      -> 64-bit hashes of every 13 words in a row
    shingle_sets(hash_words(texts), 2) -> for each text, its set of 2-word hashes

Duplicates, contamination and the profile must agree on what a word is; otherwise a row may pass
one check only because another reads it differently. Hashes depend on the text alone: no salt, no
byte order, no table size. They may differ between Python versions only for characters that the
older version's Unicode tables do not know.

Not here: sub-word tokens (`template`), and any notion of language. Symbols separate words, so
`5 + 3` and `5 - 3` read alike; callers that need the difference compare raw text too.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import islice

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

Hashes = NDArray[np.uint64]
Bounds = NDArray[np.int64]

MOST_MARKS = 30
"""Marks kept on one letter, as in Unicode's stream-safe format (UAX #15)."""
# Longer runs make Unicode normalisation quadratic: 120,000 marks take 12 seconds.
_MARK_RUN = re.compile(rf"[^\w\s\x00-\x7f]{{{MOST_MARKS + 1},}}")

# Scripts written without spaces between words: each of their characters counts as one word.
_UNSPACED = (
    (0x0E00, 0x0EFF),  # Thai, Lao
    (0x1000, 0x109F),  # Myanmar
    (0x1780, 0x17FF),  # Khmer
    (0x3005, 0x3007),  # ideographic iteration marks and zero
    (0x3040, 0x312F),  # Hiragana, Katakana, Bopomofo
    (0x31A0, 0x31FF),
    (0x3400, 0x9FFF),  # Han
    (0x20000, 0x3FFFF),
)

TEXTS_AT_ONCE = 4096
CELLS = 2**18
"""Hashes sorted at a time."""

_SPACE, _LINE = ord(" "), ord("\n")

_BASE = np.uint64(0x9E3779B97F4A7C15)


@dataclass(frozen=True, slots=True)
class Ragged:
    """Hashes of several texts laid end to end: text i owns `values[bounds[i]:bounds[i + 1]]`."""

    values: Hashes
    bounds: Bounds

    def __len__(self) -> int:
        return len(self.bounds) - 1

    @property
    def counts(self) -> NDArray[np.int64]:
        """How many hashes each text owns."""
        return np.diff(self.bounds)

    @property
    def owners(self) -> NDArray[np.int64]:
        """For each hash, the number of the text that owns it."""
        return np.repeat(np.arange(len(self), dtype=np.int64), self.counts)

    def take(self, which: NDArray[np.int64]) -> Ragged:
        """Return the texts at these positions, in this order."""
        counts = self.counts[which]
        bounds = _bounds(counts)
        inside = np.arange(bounds[-1], dtype=np.int64) - np.repeat(bounds[:-1], counts)
        return Ragged(self.values[np.repeat(self.bounds[which], counts) + inside], bounds)


def joined(one: Ragged, other: Ragged) -> Ragged:
    """Return each text of `one` followed by its namesake of `other`."""
    owners = np.concatenate([one.owners, other.owners])
    values = np.concatenate([one.values, other.values])
    return Ragged(values[np.argsort(owners, kind="stable")], _bounds(one.counts + other.counts))


def normalise(text: str) -> str:
    """Fold case and compatibility forms, and put one space for each run of non-word characters.

    Letters, marks and numbers of any script are word characters; in scripts that put no spaces
    between words each character is a word. Invisible format characters (zero-width joiners,
    direction marks, soft hyphens) vanish, so they cannot hide a copy.
    """
    if text.isascii():
        return " ".join(text.lower().translate(_table()).split())
    composed = unicodedata.normalize("NFKC", _MARK_RUN.sub(_cut, text))
    folded = unicodedata.normalize("NFKC", composed.casefold())
    return " ".join(folded.translate(_table()).split())


def words(text: str) -> list[str]:
    """Return the normalised words of a text."""
    return normalise(text).split()


def words_hash(found: Sequence[str]) -> int:
    """Return the 64-bit hash of words in a row, as `words` returns them."""
    return _digest(" ".join(found))


def as_written_hash(text: str) -> int:
    """Return the 64-bit hash of a text with its signs: only case and spacing are folded."""
    # No normalised text holds a colon, so this can never equal a `words_hash`.
    return _digest(f"as written: {' '.join(text.casefold().split())}")


def hash_words(texts: Iterable[str]) -> Ragged:
    """Return the 64-bit hash of every word of every text, in order: `hash_each(map(words, texts))`.

    Without an object for each word: words lie end to end in one buffer, Arrow numbers the distinct
    ones, and only these are hashed.
    """
    memo = _RawDigests()
    rest = iter(texts)
    values, counts = [np.empty(0, np.uint64)], [np.empty(0, np.int64)]
    while some := [_as_bytes(text) for text in islice(rest, TEXTS_AT_ONCE)]:
        # Two signs that no word holds: a space between words, a line between texts.
        signs = np.frombuffer(b" " + b" \n ".join(some) + b" ", np.uint8)
        inside = signs > _SPACE
        ends = np.flatnonzero(inside[:-1] > inside[1:]) + 1
        starts = np.flatnonzero(inside[:-1] < inside[1:]) + 1
        lines = np.flatnonzero(signs == _LINE)
        counts.append(np.diff(np.searchsorted(starts, lines), prepend=0, append=len(starts)))
        values.append(memo.of(signs[inside], ends - starts))
    return Ragged(np.concatenate(values), _bounds(np.concatenate(counts)))


def _as_bytes(text: str) -> bytes:
    """Return the words of a text with spaces around them, as UTF-8."""
    if text.isascii():
        return text.encode("ascii").translate(_ascii_table())
    # A lone surrogate is legal in a Python string and in JSON; it must not stop an audit.
    return normalise(text).encode("utf-8", "surrogatepass")


def hash_each(texts: Iterable[Sequence[str]]) -> Ragged:
    """Return what `hash_words` does for texts that are words already."""
    memo = _Digests()
    values: list[Hashes] = []
    counts: list[int] = []
    for found in texts:
        counts.append(len(found))
        values.append(np.fromiter(map(memo.__getitem__, found), np.uint64, len(found)))
    flat = np.concatenate(values) if values else np.empty(0, np.uint64)
    return Ragged(flat, _bounds(np.array(counts, dtype=np.int64)))


def ngrams(hashed: Ragged, n: int) -> Ragged:
    """Return the hash of every run of `n` words; a text with fewer words has none.

    A run's hash is a polynomial in its words' hashes modulo 2^64, passed through the finaliser of
    splitmix64 so that all of its bits are usable for sampling and ordering.
    """
    if n < 1:
        raise ValueError(f"an n-gram has at least 1 word, got n={n}")
    counts = np.maximum(hashed.counts - n + 1, 0)
    bounds = _bounds(counts)
    inside = np.arange(bounds[-1], dtype=np.int64) - np.repeat(bounds[:-1], counts)
    starts = np.repeat(hashed.bounds[:-1], counts) + inside
    total = np.zeros(len(starts), dtype=np.uint64)
    for offset in range(n):
        total = total * _BASE + hashed.values[starts + offset]
    return Ragged(mix(total), bounds)


def shingle_sets(hashed: Ragged, n: int) -> Ragged:
    """Return for each text the sorted set of its n-word hashes.

    A text with fewer than `n` words has one shingle, of all its words: it can equal another short
    text and can never be merely like one. A text without words has none and is like nothing.
    """
    parts = [ngrams(hashed, n)]
    for length in range(1, n):
        parts.append(_only(ngrams(hashed, length), hashed.counts == length))
    owners = np.concatenate([part.owners for part in parts])
    values = np.concatenate([part.values for part in parts])
    return sorted_sets(owners, values, len(hashed))


def sorted_sets(owners: NDArray[np.int64], values: Hashes, texts: int) -> Ragged:
    """Group hashes by owner, sort them inside each group and drop repeats."""
    order = np.argsort(owners, kind="stable")
    owners = owners[order]
    values = _sorted_inside(values[order], _bounds(np.bincount(owners, minlength=texts)))
    is_new = np.ones(len(values), dtype=bool)
    is_new[1:] = (values[1:] != values[:-1]) | (owners[1:] != owners[:-1])
    counts = np.bincount(owners[is_new], minlength=texts).astype(np.int64)
    return Ragged(values[is_new], _bounds(counts))


def _sorted_inside(values: Hashes, bounds: Bounds) -> Hashes:
    """Sort each text's values. Texts of like size share a matrix, sorted line by line."""
    result = np.empty_like(values)
    sizes = np.diff(bounds)
    widths = np.ceil(np.log2(np.maximum(sizes, 1))).astype(np.int64)
    for width in np.unique(widths).tolist():
        alike = np.flatnonzero(widths == width)
        step = max(1, CELLS >> width)
        columns = np.arange(1 << width)
        for first in range(0, len(alike), step):
            some = alike[first : first + step]
            is_filled = columns < sizes[some, None]
            places = (bounds[some, None] + columns)[is_filled]
            grid = np.full(is_filled.shape, np.iinfo(np.uint64).max, dtype=np.uint64)
            grid[is_filled] = values[places]
            grid.sort(axis=1)
            result[places] = grid[is_filled]
    return result


def mix(values: Hashes) -> Hashes:
    """Finalise 64-bit values with splitmix64's mixer (a bijection)."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def _only(ragged: Ragged, wanted: NDArray[np.bool_]) -> Ragged:
    counts = np.where(wanted, ragged.counts, 0)
    return Ragged(ragged.values[np.repeat(wanted, ragged.counts)], _bounds(counts))


def _bounds(counts: NDArray[np.int64]) -> Bounds:
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(counts, dtype=np.int64)])


def _digest(text: str) -> int:
    # A lone surrogate is legal in a Python string and in JSON; it must not stop an audit.
    return _raw_digest(text.encode("utf-8", "surrogatepass"))


def _raw_digest(raw: bytes) -> int:
    return int.from_bytes(hashlib.blake2b(raw, digest_size=8).digest(), "little")


class _Digests(dict[str, int]):
    """Word -> hash; each distinct word is hashed once a call."""

    def __missing__(self, word: str) -> int:
        self[word] = value = _digest(word)
        return value


class _RawDigests(dict[bytes, int]):
    """Word in UTF-8 -> hash; each distinct word is hashed once a call."""

    def __missing__(self, word: bytes) -> int:
        self[word] = value = _raw_digest(word)
        return value

    def of(self, letters: NDArray[np.uint8], lengths: NDArray[np.int64]) -> Hashes:
        """Return the hashes of words of these lengths that lie end to end."""
        offsets = pa.py_buffer(_bounds(lengths))
        array = pa.LargeBinaryArray.from_buffers(
            pa.large_binary(), len(lengths), [None, offsets, pa.py_buffer(letters)]
        )
        numbered = array.dictionary_encode()
        distinct = numbered.dictionary.to_pylist()
        found = np.fromiter(map(self.__getitem__, distinct), np.uint64, len(distinct))
        # Not `to_numpy`, which loads pandas where there is one.
        which = np.frombuffer(numbered.indices.buffers()[1], np.int32, count=len(lengths))
        return found[which]


@cache
def _ascii_table() -> bytes:
    """What `normalise` puts in the place of each ASCII sign; bytes of other signs never meet it."""
    return bytes(ord(_replacement(ord(chr(code).lower()))) for code in range(128)) + bytes(128)


class _Table(dict[int, str]):
    """Code point -> what `normalise` puts in its place, filled on first sight."""

    def __missing__(self, code: int) -> str:
        self[code] = value = _replacement(code)
        return value


@cache
def _table() -> _Table:
    return _Table()


def _replacement(code: int) -> str:
    char = chr(code)
    kind = unicodedata.category(char)
    if kind == "Cf":
        return ""
    # Private and unassigned characters count as letters: newer alphabets must not read as blanks.
    if kind[0] not in "LMN" and kind not in ("Co", "Cn"):
        return " "
    return f" {char} " if any(low <= code <= high for low, high in _UNSPACED) else char


def _cut(run: re.Match[str]) -> str:
    return run[0][:MOST_MARKS]
