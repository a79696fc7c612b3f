"""A judge of pairs: a model behind an endpoint that says which of two answers is better.

    judge = PairwiseJudge(endpoint, "helpful")
    judge.compare(pairs).settled

Every pair is shown in both orders, in one go; a verdict that changes with the order is a tie
(`Verdicts.settled`). Before anybody is asked, a plain rule decides what needs no judge: an answer that
is none (`shells`) loses against one that is, and two answers that read the same tie.

With `reading: confidence` in the rubric the verdicts say how sure the judge was, by its own
log-probabilities; what it says is read as ever.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from treadle.errors import RecipeError
from treadle.judge import asking, canaries
from treadle.judge.asking import Asker, Sheet
from treadle.judge.canaries import CanaryResult, Watch
from treadle.judge.figures.verdicts import Verdicts
from treadle.judge.pairs import Identity, Pair, as_verdicts, nothing, unseen
from treadle.judge.reading import read_confidence, read_word, text_of
from treadle.judge.rubric import Rubric, read_rubric
from treadle.judge.rulings import Ruling, Rulings, by_rule
from treadle.models.endpoint.answers import Answer, Failure, Progress
from treadle.models.endpoint.client import Endpoint


class PairwiseJudge:
    """A judge of pairs with a rubric of kind `pairwise`."""

    def __init__(
        self,
        endpoint: Endpoint,
        rubric: Rubric | str = "helpful",
        *,
        canary_share: float = canaries.SHARE,
    ) -> None:
        """Prepare to ask.

        Args:
            endpoint: The model.
            rubric: A rubric, or the name or file of one.
            canary_share: Canaries for each pair that is asked (`canaries`); 0 for none.

        Raises:
            RecipeError: the rubric has a mistake or is not of kind `pairwise`.
        """
        self.endpoint = endpoint
        self.rubric = rubric if isinstance(rubric, Rubric) else read_rubric(rubric)
        asking.refuse_kind(self.rubric, "pairwise")
        if self.rubric.reading == "confidence" and endpoint.address.wire == "anthropic":
            raise RecipeError(
                f"rubric {self.rubric.name} reads log-probabilities, and {endpoint.address.base} speaks "
                "a wire format without them. Use an OpenAI-compatible endpoint, or `reading: line`."
            )
        self._asker = Asker(self.rubric, endpoint.session.book.nonce_key())
        share = canary_share if self.rubric.canaries == "answers" else 0.0
        self._watch = Watch(asking.called(endpoint, self.rubric), share, canaries.answer_twins)

    @property
    def identity(self) -> Identity:
        return asking.identity(self.endpoint, "pairwise", self.rubric, __name__)

    @property
    def canaries(self) -> CanaryResult:
        """What became of the canaries so far."""
        return self._watch.result

    def compare(
        self,
        pairs: Sequence[Pair],
        *,
        sample: int = 0,
        tick: Callable[[], None] = nothing,
        on_progress: Callable[[Progress], None] = unseen,
    ) -> Verdicts:
        """Say which answer of each pair is better, in each order for itself.

        Raises:
            DataError: two pairs have one name.
            JudgeError: the judge lets known bad answers pass.
            BudgetError: the budget does not allow the next request; what was answered is kept.
            ModelError: the endpoint is down or refuses everything.
        """
        rulings = self.rulings(pairs, sample=sample, tick=tick, on_progress=on_progress)
        said = as_verdicts(pairs, [(one.first.verdict, one.second.verdict) for one in rulings])
        if self.rubric.reading != "confidence":
            return said
        sure = [[one.first.confidence, one.second.confidence] for one in rulings]
        return replace(said, confidence=np.array(sure, dtype=np.float64).mean(axis=1))

    def rulings(
        self,
        pairs: Sequence[Pair],
        *,
        sample: int = 0,
        tick: Callable[[], None] = nothing,
        on_progress: Callable[[Progress], None] = unseen,
    ) -> list[Rulings]:
        """As `compare`, with the reason of each verdict that is missing or was a rule's."""
        asking.refuse_twins([pair.name for pair in pairs], "pair")
        decided = [by_rule(pair) for pair in pairs]
        asked = [pair for pair, ruling in zip(pairs, decided, strict=True) if ruling is None]
        twins = self._watch.draw([f"{p.request}\n{p.answer_1}\n{p.answer_2}" for p in asked])
        # Good and bad ones take turns in being the first.
        known = [
            Pair(
                twin.good.name, twin.good.request, *((g, b) if i % 2 else (b, g)), 1 if i % 2 else 2
            )
            for i, twin in enumerate(twins)
            for g, b in [(twin.good.answer, twin.bad.answer)]
        ]
        found = self._ask([*asked, *known], sample, tick, on_progress)
        self._watch.note(
            [_is_passed(pair, one) for pair, one in zip(known, found[len(asked) :], strict=True)]
        )
        left = iter(found)
        return [next(left) if ruling is None else ruling for ruling in decided]

    def _ask(
        self,
        pairs: Sequence[Pair],
        sample: int,
        tick: Callable[[], None],
        on_progress: Callable[[Progress], None],
    ) -> list[Rulings]:
        """Ask all pairs in both orders."""
        if not pairs:
            return []
        ask = self._asker.pair
        sheets = [
            sheet
            for pair in pairs
            for sheet in (
                ask(pair.request, pair.answer_1, pair.answer_2, sample),
                ask(pair.request, pair.answer_2, pair.answer_1, sample),
            )
        ]
        answers = self.endpoint.ask(
            [sheet.chat for sheet in sheets], tick=tick, on_progress=on_progress
        )
        read = [self._read(sheet, one) for sheet, one in zip(sheets, answers, strict=True)]
        return [
            Rulings(first, second.swapped)
            for first, second in zip(read[::2], read[1::2], strict=True)
        ]

    def _read(self, sheet: Sheet, answer: Answer | Failure) -> Ruling:
        reply = text_of(answer)
        if reply.word is None:
            return Ruling(None, reply.unscored)
        words = self.rubric.words
        said = read_word(reply.word, sheet.fence.code, words.offered)
        if said.word is None:
            return Ruling(None, said.unscored)
        sure = None
        if self.rubric.reading == "confidence" and isinstance(answer, Answer):
            sure = read_confidence(answer.logprobs, sheet.fence.code, said.word, words.offered)
        return Ruling({words.first: 1, words.second: 2}.get(said.word, 0), confidence=sure)


def _is_passed(pair: Pair, rulings: Rulings) -> bool | None:
    """Whether the known bad answer of a canary won; None where an order is unscored."""
    assert pair.label is not None
    said = [rulings.first.verdict, rulings.second.verdict]
    if None in said:
        return None
    return said == [3 - pair.label] * 2
