"""The names that a text mentions: what tells two questions of one template apart.

    names("Which coast is Oregon on, and Maine's?")      -> {"oregon", "maine"}
    told_apart = Names.of(texts).apart(some, others)      -> a matrix: does either name what the other lacks

A sentence encoder hardly sees which name stands in a template: students of Slytherin and of Hufflepuff
are nearly one to it. A name is a word with a capital that does not begin a sentence or a line, or a
word with a capital behind its first letter (SQL). Two texts are told apart when each has a name that is
no word of the other at all: a rewording may leave a name out, or write it small, and rarely exchanges
one. Languages that write every noun with a capital have more names than they should; scripts without
capitals have none.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from treadle.text.words import words

_TOKEN = re.compile(r"(?P<before>^|[.!?\n][\s\"'”’)\]*#>-]*|\s|[^\w\s])?(?P<word>[^\W\d_]+)")
Positions = NDArray[np.int64]


def names(text: str) -> frozenset[str]:
    """Return the names of a text, as `words` writes them."""
    found: set[str] = set()
    for token in _TOKEN.finditer(text):
        word, before = token["word"], token["before"] or ""
        begins = token.start() == 0 or before[:1] in (".", "!", "?", "\n")
        is_inner = token["before"] is None
        if not is_inner and (word[1:].lower() != word[1:] or (word[0].isupper() and not begins)):
            found.update(words(word))
    return frozenset(found - {"i"})


@dataclass(frozen=True, slots=True)
class Names:
    """Which names each text has, and which of all names are among its words (texts x names)."""

    own: sparse.csr_array
    said: sparse.csr_array

    @classmethod
    def of(cls, texts: Iterable[str], tick: Callable[[], None] = lambda: None) -> Names:
        """Read the names of texts; `tick` is called once a thousand."""
        own: list[frozenset[str]] = []
        said: list[frozenset[str]] = []
        for number, text in enumerate(texts):
            if number % 1000 == 0:
                tick()
            own.append(names(text))
            said.append(frozenset(words(text)))
        numbers = {name: i for i, name in enumerate(sorted(frozenset().union(*own)))}
        return cls(_matrix(own, numbers), _matrix(said, numbers))

    def apart(self, some: Positions, others: Positions) -> NDArray[np.bool_]:
        """Return for each pair whether each text has a name that the other does not say."""
        return (
            _lacks(self.own[some], self.said[others]) & _lacks(self.own[others], self.said[some]).T
        )


def _lacks(own: sparse.csr_array, said: sparse.csr_array) -> NDArray[np.bool_]:
    """Return where a row of `own` has a name that a row of `said` has not."""
    shared = (own @ said.T).toarray()
    missing: NDArray[np.bool_] = shared < own.sum(axis=1)[:, None]
    return missing


def _matrix(sets: Sequence[frozenset[str]], numbers: dict[str, int]) -> sparse.csr_array:
    columns = [sorted(numbers[word] for word in one if word in numbers) for one in sets]
    ends = np.cumsum([0, *map(len, columns)])
    flat = np.array([column for one in columns for column in one], dtype=np.int64)
    ones = np.ones(len(flat), dtype=np.int32)
    return sparse.csr_array((ones, flat, ends), shape=(len(sets), max(1, len(numbers))))
