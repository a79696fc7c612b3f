"""What a person would say about a verdict, with its numbers.

Hold: the selection is not shown to beat a random selection of the same size (NLL better by
0.012 a token, 90% interval -0.020 to 0.044; 3 seeds × 120 items). About 400 items or 9 seeds
an arm would be needed to see a gain of this size.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from treadle.data.verdict import Comparison, Decision
from treadle.gate.pairs import Pair
from treadle.gate.power import needed_items, needed_seeds
from treadle.gate.rule import FEWEST_SEEDS, MOST_UNSCORED, Doubt, condemning, doubts, lost, rivals
from treadle.gate.statistics import FEWEST_CLUSTERS

RIVALS = {
    "random": "a random selection of the same size",
    "longest": "the longest rows of the same size",
    "before": "the model before training",
    "full": "all rows",
}
METRICS = {"nll": "NLL"}
SEEDS_TO_TRY = (5, 10, 20, 50)
MOST_TIMES = 100
DOUBTS: dict[Doubt, str] = {
    "one_seed": "on one training seed, so the intervals cover the luck of items only",
    "one_source": "all items come from one source; this says nothing of others",
    "unscored": f"more than {100 * MOST_UNSCORED:g}% of the items have no score in some arm",
    "few_seeds": f"some arm has fewer than {FEWEST_SEEDS} training seeds",
}
MORE_SEEDS = f"Train at least {FEWEST_SEEDS} seeds an arm: "
ADVICE: dict[Doubt, str] = {
    "one_seed": f"{MORE_SEEDS}a difference on one seed may be luck of training.",
    "one_source": "Evaluate on items from several sources.",
    "unscored": "Find out why they have none: what fails to be scored may be what got worse.",
    "few_seeds": f"{MORE_SEEDS}fewer show too little of the luck of training.",
}


@dataclass(frozen=True, slots=True)
class Words:
    """How to speak of a metric: its name, its unit, and the factor from its figures to that unit."""

    name: str
    unit: str
    factor: float

    @classmethod
    def of(cls, metric: str, is_binary: bool) -> Words:
        """Scores of 0 and 1 are told in points of a hundred."""
        name = METRICS.get(metric, metric.replace("_", " "))
        if is_binary:
            return cls(name, " points", 100.0)
        return cls(name, " a token" if metric == "nll" else "", 1.0)


@dataclass(frozen=True, slots=True)
class Claim:
    """All that the sentence is made of."""

    decision: Decision
    pairs: tuple[Pair, ...]
    words: Words
    alpha: float

    @property
    def rivals(self) -> list[Pair]:
        """The pairs that decide."""
        return rivals(self.pairs)

    def unbeaten(self) -> list[Pair]:
        """The rivals that are not shown to be beaten."""
        return [pair for pair in self.rivals if pair.comparison.p_better > self.alpha]


def sentence(claim: Claim) -> str:
    """Say what was decided and why."""
    if claim.decision == "accept":
        return f"Accept: the selection beats {_told(claim.rivals, claim, 'and')}."
    worse = condemning(claim.pairs, claim.alpha) or lost(claim.pairs, claim.alpha)
    if claim.decision == "roll_back":
        return f"Roll back: the selection is worse than {_told(worse, claim, 'and')}."
    failing = claim.unbeaten()
    if failing and not worse:
        told = f"Hold: the selection is not shown to beat {_told(failing, claim, 'or')}."
        return f"{told} {_advice(claim, failing)}".rstrip()
    found = worse or claim.rivals
    way = "is worse than" if worse else "beats"
    doubt = doubts(found)[0]
    told = f"Hold: the selection {way} {_told(found, claim, 'and')}, but {DOUBTS[doubt]}."
    return f"{told} {ADVICE[doubt]}"


def _told(pairs: Sequence[Pair], claim: Claim, word: str) -> str:
    """Name the rivals with their figures; the seeds and items once, after the last."""
    parts = []
    for i, pair in enumerate(pairs):
        one = pair.comparison
        size = f"; {_size(pairs)}" if i == len(pairs) - 1 else ""
        rival = RIVALS.get(one.against, f"the control `{one.against}`")
        parts.append(f"{rival} ({difference(one, claim.words, claim.alpha)}{size})")
    if len(parts) == 1:
        return parts[0]
    return f"{', '.join(parts[:-1])} {word} {parts[-1]}"


def difference(one: Comparison, words: Words, alpha: float) -> str:
    """Say a difference and its interval, both as a gain or both as a loss."""
    sign = -1.0 if one.effect < 0 else 1.0
    low, high = sorted(sign * words.factor * bound for bound in (one.low, one.high))
    effect = sign * words.factor * one.effect
    places = _places(max(high - low, 1e-12) / 2 if high > low else abs(effect))
    level = f"{100 * (1 - 2 * alpha):.3g}%"
    interval = f"{level} interval {_fixed(low, places)} to {_fixed(high, places)}"
    if one.effect == 0:
        return f"{words.name} the same, {interval}{words.unit}"
    way = "better" if sign > 0 else "worse"
    return f"{words.name} {way} by {_fixed(effect, places)}{words.unit}, {interval}"


def _places(width: float) -> int:
    """Decimals that show two significant digits of the half width."""
    if width <= 0:
        return 1
    return min(9, max(0, 1 - math.floor(math.log10(width))))


def _fixed(value: float, places: int) -> str:
    text = f"{value:.{places}f}"
    return text.lstrip("-") if float(text) == 0 else text


def _size(pairs: Sequence[Pair]) -> str:
    found = [pair.comparison for pair in pairs]
    seeds, items = sorted({one.seeds for one in found}), sorted({one.items for one in found})
    told = f"{_range(seeds)} seed{'s' if seeds != [1] else ''} × {_range(items)} items"
    clusters = sorted({one.clusters for one in found})
    if clusters == items:
        return told
    return f"{told} in {_range(clusters)} cluster{'s' if clusters != [1] else ''}"


def _range(values: Sequence[int]) -> str:
    return str(values[0]) if len(values) == 1 else f"{values[0]} to {values[-1]}"


def _advice(claim: Claim, failing: Sequence[Pair]) -> str:
    """Say what would settle it, for the rival that is hardest to beat."""
    grave = [doubt for doubt in doubts(claim.rivals) if doubt != "unscored"]
    if grave:
        return ADVICE[grave[0]]
    hardest = max(failing, key=lambda pair: (pair.comparison.p_better, pair.comparison.against))
    if hardest.comparison.effect <= 0:
        return ""
    ways = _ways(hardest, claim.alpha)
    if not ways:
        return "No practical number of items or seeds would show a gain this small."
    name = hardest.comparison.against
    which = "" if len(failing) == 1 else f" over {RIVALS.get(name, name)}"
    return f"About {' or '.join(ways)} would be needed to see a gain of this size{which}."


def _ways(pair: Pair, alpha: float) -> list[str]:
    """Return what would do: more items, or more seeds, or else the fewest seeds with some items."""
    one = pair.comparison
    # More seeds an arm are also more of a rival that was trained once.
    as_often = math.sqrt(2 / (one.seeds + 1)) if pair.is_other_once else 1.0
    error_seeds = one.sd_seeds * as_often

    def items_at(seeds: int, error_seeds: float) -> int | None:
        less = math.sqrt(one.seeds / seeds)
        found = needed_items(
            one.effect, error_items=one.sd_items, error_seeds=error_seeds * less,
            error_answers=pair.error_answers * less, items=one.items, seeds=seeds, alpha=alpha,
        )  # fmt: skip
        return None if found is None or found > MOST_TIMES * one.items else found

    items = items_at(one.seeds, one.sd_seeds)
    seeds = needed_seeds(
        one.effect, error_items=one.sd_items, error_seeds=error_seeds, seeds=one.seeds, alpha=alpha
    )
    least = one.seeds if pair.is_other_once else one.seeds + 1
    if items is None and seeds is None:
        both = ((count, items_at(count, error_seeds)) for count in SEEDS_TO_TRY if count >= least)
        enough = [(count, found) for count, found in both if found is not None]
        return [
            f"{count} seeds an arm and {_rounded(found):,} items" for count, found in enough[:1]
        ]
    ways = [] if items is None else [f"{max(_rounded(items), one.items + 1):,} items"]
    return ways if seeds is None else [*ways, f"{max(seeds, least)} seeds an arm"]


def _rounded(count: int) -> int:
    """Round up to two significant digits: more would pretend to knowledge."""
    step = int(10 ** max(0, len(str(count)) - 2))
    return math.ceil(count / step) * step


def notes_of(claim: Claim) -> tuple[str, ...]:
    """Say what a reader of the numbers has to know besides the sentence."""
    notes = []
    for pair in claim.pairs:
        one, name = pair.comparison, pair.comparison.against
        if one.role == "reference":
            told = difference(one, claim.words, claim.alpha)
            notes.append(f"Against {RIVALS.get(name, name)} (shown, does not decide): {told}.")
        if pair.unscored:
            notes.append(
                f"Against {name}: {pair.unscored:,} of {pair.items:,} items left out, because "
                "some seed of either arm has no score for them."
            )
        notes += _notes_on_seeds(pair)
    if any(pair.comparison.seeds == 1 for pair in claim.pairs):
        notes.append("With one training seed, intervals cover the luck of items only.")
    return (*notes, *_notes_on_items([pair.comparison for pair in claim.rivals]))


def _notes_on_seeds(pair: Pair) -> list[str]:
    one, name = pair.comparison, pair.comparison.against
    if pair.is_other_once:
        return [
            f"Against {name}: that arm was trained once; its luck of training is taken to be as "
            "large as that of the selection."
        ]
    if pair.other_seeds > 1 and pair.tested_seeds != pair.other_seeds:
        return [
            f"Against {name}: {pair.tested_seeds} seeds meet {pair.other_seeds}; the first "
            f"{one.seeds} of each are paired."
        ]
    return []


def _notes_on_items(found: Sequence[Comparison]) -> list[str]:
    fewest = min(found, key=lambda one: one.clusters)
    if fewest.clusters == 1:
        return [
            "All items come from one source, so each is counted as if it stood alone: this says "
            "nothing of others."
        ]
    if fewest.clusters == fewest.items or fewest.clusters >= FEWEST_CLUSTERS:
        few = fewest.items < FEWEST_CLUSTERS
        return [f"Only {fewest.items} items: hardly any gain can be seen."] if few else []
    return [
        f"The items come from only {fewest.clusters} clusters, and clusters are what is counted: "
        "hardly any gain can be seen. Evaluate on more, or leave the items unclustered if no other "
        "clusters matter to you."
    ]
