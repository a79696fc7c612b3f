"""A panel: several judges on the same pairs, their majority, and how far they agree.

    panel = Panel([PairwiseJudge(one, "helpful"), PairwiseJudge(other, "helpful"), …])
    panel.compare(pairs)             # a judge like any other
    panel.hear(pairs).alpha          # Krippendorff's alpha of its members

Three small judges of different families can beat one large one (arXiv:2404.18796); three copies of one
model share its mistakes, and agree for that reason. So alpha says how far members agree, never how far
they are right: a panel earns its licence as a whole.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from treadle.errors import RecipeError
from treadle.judge.figures.agreement import krippendorff_alpha
from treadle.judge.figures.verdicts import UNSCORED, Verdicts
from treadle.judge.pairs import Compares, Identity, Pair, as_verdicts, nothing, unseen
from treadle.models.endpoint.answers import Progress


@dataclass(frozen=True, slots=True)
class Heard:
    """What a panel said, and what each member said, in the members' order.

    `alpha` is taken over the settled verdicts, ties included, as names without an order; NaN where
    nothing differs.
    """

    majority: Verdicts
    members: tuple[Verdicts, ...]
    alpha: float


class Panel:
    """Judges of pairs that vote."""

    def __init__(self, judges: Sequence[Compares]) -> None:
        """Seat the judges.

        Raises:
            RecipeError: there are fewer than two, or one sits twice and would vote twice.
        """
        names = [judge.identity.hash for judge in judges]
        if len(names) < 2 or len(set(names)) < len(names):
            raise RecipeError(
                f"a panel of {len(set(names))} different judges (of {len(names)} named): name at least "
                "two that differ in model, address or rubric; three or more give majorities."
            )
        self.judges = tuple(judges)

    @property
    def identity(self) -> Identity:
        """The members' identities together, whatever their order."""
        members = sorted((judge.identity for judge in self.judges), key=lambda one: one.hash)

        def joined(of: Callable[[Identity], str]) -> str:
            return " + ".join(dict.fromkeys(map(of, members)))

        text = json.dumps([asdict(one) for one in members], sort_keys=True)
        return Identity(
            joined(lambda one: one.url), joined(lambda one: one.model), "panel",
            hashlib.sha256(text.encode()).hexdigest()[:16],
            joined(lambda one: one.rubric), joined(lambda one: one.rubric_hash),
        )  # fmt: skip

    def compare(
        self,
        pairs: Sequence[Pair],
        *,
        sample: int = 0,
        tick: Callable[[], None] = nothing,
        on_progress: Callable[[Progress], None] = unseen,
    ) -> Verdicts:
        """Return the majority in each order (`majority`)."""
        return self.hear(pairs, sample=sample, tick=tick, on_progress=on_progress).majority

    def hear(
        self,
        pairs: Sequence[Pair],
        *,
        sample: int = 0,
        tick: Callable[[], None] = nothing,
        on_progress: Callable[[Progress], None] = unseen,
    ) -> Heard:
        """Ask every member, one after the other; whatever one raises ends the hearing."""
        members = tuple(
            judge.compare(pairs, sample=sample, tick=tick, on_progress=on_progress)
            for judge in self.judges
        )
        said = [
            (
                majority([int(one.first[i]) for one in members]),
                majority([int(one.second[i]) for one in members]),
            )
            for i in range(len(pairs))
        ]
        settled_RN = np.array([one.settled for one in members], dtype=np.float64)
        settled_RN[settled_RN == UNSCORED] = np.nan
        return Heard(as_verdicts(pairs, said), members, krippendorff_alpha(settled_RN))


def majority(votes: Sequence[int]) -> int | None:
    """Return what more than half of the votes say, 0 (a tie) if nothing is said by so many.

    A member that was not read does not vote. Where half of them or more were not, the panel has not
    said anything.
    """
    cast = [vote for vote in votes if vote != UNSCORED]
    if 2 * len(cast) <= len(votes):
        return None
    winner, count = Counter(cast).most_common(1)[0]
    return winner if 2 * count > len(cast) else 0
