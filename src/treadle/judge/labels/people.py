"""What people said: who, about which pair or answer, what, and when; their majority and their own ceiling.

A label belongs to the text that was labelled, not to its name: another answer under the same name is
another thing. Where somebody labels the same thing again, the later label counts.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from treadle.judge.figures.agreement import Scale, cohen_kappa, krippendorff_alpha
from treadle.judge.pairs import Item, Pair

Votes = Mapping[str, Mapping[str, float]]
"""Values by annotator, by content."""


@dataclass(frozen=True, slots=True)
class Label:
    """One person's word on a pair (1, 2, or 0 for a tie) or on an answer (a score).

    `content` is the hash of what was shown. `when` is ISO 8601, so later is greater.
    """

    content: str
    annotator: str
    value: float
    when: str


@dataclass(frozen=True, slots=True)
class Ceiling:
    """How far people agree with each other: no judge can be asked to agree with them more."""

    annotators: int
    items: int
    alpha: float
    one_against_rest: float | None


@dataclass(frozen=True)
class People:
    """Labelled things and their labels: pairs or answers."""

    pairs: tuple[Pair, ...] = ()
    items: tuple[Item, ...] = ()
    labels: tuple[Label, ...] = ()

    @cached_property
    def votes(self) -> Votes:
        """The label that counts of each annotator, by content."""
        found: dict[str, dict[str, tuple[str, float]]] = defaultdict(dict)
        for label in self.labels:
            known = found[label.content].get(label.annotator)
            if known is None or label.when >= known[0]:
                found[label.content][label.annotator] = (label.when, label.value)
        return {
            content: {who: value for who, (_, value) in by.items()} for content, by in found.items()
        }

    @property
    def labelled_pairs(self) -> tuple[Pair, ...]:
        """Pairs with the label of the majority; those on which people are split are left out."""
        found = []
        for pair in self.pairs:
            label = majority(self.votes.get(content(pair), {}).values())
            if label is not None:
                found.append(replace(pair, label=int(label)))
        return tuple(found)

    @property
    def mean_scores(self) -> dict[str, float]:
        """The mean score of each answer that has any, by name."""
        found = {}
        for item in self.items:
            values = list(self.votes.get(content(item), {}).values())
            if values:
                found[item.name] = sum(values) / len(values)
        return found

    @property
    def split(self) -> int:
        """Labelled pairs on which no answer has more votes than every other."""
        return len(self.pairs) - len(self.labelled_pairs)

    @property
    def changed_minds(self) -> int:
        """How often somebody contradicts a label of their own."""
        values: dict[tuple[str, str], set[float]] = defaultdict(set)
        for label in self.labels:
            values[label.content, label.annotator].add(label.value)
        return sum(len(one) > 1 for one in values.values())

    def ceiling(self) -> Ceiling | None:
        """Return how far people agree, where things were labelled by two or more of them."""
        votes = {key: by for key, by in self.votes.items() if len(by) > 1}
        if not votes:
            return None
        annotators = sorted({who for by in votes.values() for who in by})
        scale: Scale = "nominal" if self.pairs else "interval"
        alpha = krippendorff_alpha(_matrix(votes, annotators), scale)
        rest = _one_against_rest(votes, annotators) if self.pairs else None
        return Ceiling(len(annotators), len(votes), alpha, rest)


def content(thing: Pair | Item) -> str:
    """Hash what was shown: sixteen hexadecimal digits."""
    texts = (
        [thing.request, thing.answer_1, thing.answer_2]
        if isinstance(thing, Pair)
        else [thing.request, thing.answer]
    )
    return hashlib.sha256(json.dumps(texts).encode()).hexdigest()[:16]


def majority(values: Iterable[float]) -> float | None:
    """Return the value with more votes than every other, None where there is none."""
    ranked = Counter(values).most_common(2)
    if not ranked or (len(ranked) == 2 and ranked[0][1] == ranked[1][1]):
        return None
    return ranked[0][0]


def _matrix(votes: Votes, annotators: list[str]) -> NDArray[np.float64]:
    found = np.full((len(annotators), len(votes)), np.nan)
    place = {who: i for i, who in enumerate(annotators)}
    for column, by in enumerate(votes.values()):
        for who, value in by.items():
            found[place[who], column] = value
    return found


def _one_against_rest(votes: Votes, annotators: list[str]) -> float | None:
    """Return the mean kappa of each annotator with the majority of the others, as a judge's is taken."""
    kappas = []
    for who in annotators:
        both = []
        for by in votes.values():
            rest = majority(value for other, value in by.items() if other != who)
            if who in by and rest is not None:
                both.append((by[who], rest))
        if both:
            mine, theirs = zip(*both, strict=True)
            kappas.append(cohen_kappa(mine, theirs))
    known = [kappa for kappa in kappas if not np.isnan(kappa)]
    return sum(known) / len(known) if known else None
