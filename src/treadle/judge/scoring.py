"""A judge of single answers: a model behind an endpoint that gives each a number.

    judge = RubricJudge(endpoint, "alpagasus")
    judge.score(items)                  # Score(4.5), Score(None, unscored="…"), …
    judge.compare(pairs)                # scores both answers; the higher one wins

With `reading: expectation` the number is the mean over the judge's own log-probabilities (DEITA), and
`confidence` the chance of the likeliest one. What cannot be read is unscored: never the middle of the
scale, never the least. An answer that is none (`shells`) gets the least number without asking, and its
parts say so: `{"rule": 1.0}`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from treadle.errors import RecipeError
from treadle.judge import asking, canaries
from treadle.judge.asking import Asker, Sheet
from treadle.judge.canaries import CanaryResult, Twin, Watch
from treadle.judge.figures.verdicts import Verdicts
from treadle.judge.pairs import Identity, Item, Pair, Score, nothing, unseen
from treadle.judge.reading import read_dimensions, read_expectation, read_number, text_of
from treadle.judge.rubric import Rubric, Scale, read_rubric
from treadle.judge.rulings import compare_by_scores
from treadle.judge.shells import shell
from treadle.models.endpoint.answers import Answer, Failure, Progress
from treadle.models.endpoint.client import Endpoint

RULE = "rule"
"""The part that marks a score which a plain rule gave."""
_TWINS = {"answers": canaries.answer_twins, "requests": canaries.request_twins}


class RubricJudge:
    """A judge of answers, or of requests, with a rubric of kind `score`."""

    def __init__(
        self,
        endpoint: Endpoint,
        rubric: Rubric | str,
        *,
        canary_share: float = canaries.SHARE,
    ) -> None:
        """Prepare to ask.

        Args:
            endpoint: The model.
            rubric: A rubric, or the name or file of one.
            canary_share: Canaries for each item that is asked (`canaries`); 0 for none.

        Raises:
            RecipeError: the rubric has a mistake, is not of kind `score`, or wants log-probabilities
                that this kind of endpoint does not give.
        """
        self.endpoint = endpoint
        self.rubric = rubric if isinstance(rubric, Rubric) else read_rubric(rubric)
        asking.refuse_kind(self.rubric, "score")
        if self.rubric.reading == "expectation" and endpoint.address.wire == "anthropic":
            raise RecipeError(
                f"rubric {self.rubric.name} reads log-probabilities, and {endpoint.address.base} speaks "
                "a wire format without them. Use an OpenAI-compatible endpoint, or `reading: line`."
            )
        assert self.rubric.scale is not None
        self._scale: Scale = self.rubric.scale
        self._asker = Asker(self.rubric, endpoint.session.book.nonce_key())
        draw = _TWINS.get(self.rubric.canaries)
        self._watch = Watch(
            asking.called(endpoint, self.rubric), canary_share if draw else 0.0,
            draw or canaries.answer_twins,
        )  # fmt: skip

    @property
    def identity(self) -> Identity:
        return asking.identity(self.endpoint, "score", self.rubric, __name__)

    @property
    def canaries(self) -> CanaryResult:
        """What became of the canaries so far."""
        return self._watch.result

    def score(
        self,
        items: Sequence[Item],
        *,
        sample: int = 0,
        tick: Callable[[], None] = nothing,
        on_progress: Callable[[Progress], None] = unseen,
    ) -> list[Score]:
        """Score each item, in order. Equal items are asked, and paid for, once.

        Raises:
            DataError: two items have one name.
            JudgeError: the judge lets known bad answers pass.
            BudgetError: the budget does not allow the next request; what was answered is kept.
            ModelError: the endpoint is down or refuses everything.
        """
        asking.refuse_twins([item.name for item in items], "item")
        decided = [self._by_rule(item) for item in items]
        asked = [item for item, score in zip(items, decided, strict=True) if score is None]
        twins = self._watch.draw([self._text(item) for item in asked])
        known = [item for twin in twins for item in (twin.good, twin.bad)]
        found = self._ask([*asked, *known], sample, tick, on_progress)
        self._watch.note(_passes(twins, found[len(asked) :]))
        left = iter(found)
        return [next(left) if score is None else score for score in decided]

    def compare(
        self,
        pairs: Sequence[Pair],
        *,
        sample: int = 0,
        tick: Callable[[], None] = nothing,
        on_progress: Callable[[Progress], None] = unseen,
    ) -> Verdicts:
        """Score both answers of each pair: the higher one wins, equal scores tie.

        Each answer is seen alone, so there is no order, and both verdicts of a pair are the same. A
        rubric about requests takes the two texts of a pair as requests.
        """
        return compare_by_scores(
            pairs,
            lambda items: self.score(items, sample=sample, tick=tick, on_progress=on_progress),
            of_requests=self.rubric.about == "request",
        )

    def _text(self, item: Item) -> str:
        return item.request if self.rubric.about == "request" else f"{item.request}\n{item.answer}"

    def _by_rule(self, item: Item) -> Score | None:
        """Decide what needs no judge."""
        is_request = self.rubric.about == "request"
        if problem := asking.too_long(item.request, "" if is_request else item.answer):
            return Score(None, problem)
        if shell(item.request if is_request else item.answer) is None:
            return None
        least = dict.fromkeys(self.rubric.dimensions, self._scale.low)
        return Score(self._scale.low, parts={**least, RULE: 1.0})

    def _ask(
        self,
        items: Sequence[Item],
        sample: int,
        tick: Callable[[], None],
        on_progress: Callable[[Progress], None],
    ) -> list[Score]:
        if not items:
            return []
        sheets = [self._asker.item(item.request, item.answer, sample) for item in items]
        answers = self.endpoint.ask(
            [sheet.chat for sheet in sheets], tick=tick, on_progress=on_progress
        )
        return [self._read(sheet, one) for sheet, one in zip(sheets, answers, strict=True)]

    def _read(self, sheet: Sheet, answer: Answer | Failure) -> Score:
        reply = text_of(answer)
        if reply.word is None or isinstance(answer, Failure):
            return Score(None, reply.unscored)
        code, scale = sheet.fence.code, self._scale
        if self.rubric.reading == "expectation":
            found = read_expectation(reply.word, answer.logprobs, code, scale)
            return Score(found.value, found.unscored, confidence=found.confidence)
        if self.rubric.dimensions:
            parts, problem = read_dimensions(reply.word, code, list(self.rubric.dimensions), scale)
            mean = sum(parts.values()) / len(parts) if parts else None
            return Score(mean, problem, parts)
        return Score(*read_number(reply.word, code, scale))


def _passes(twins: Sequence[Twin], scores: Sequence[Score]) -> list[bool | None]:
    """Whether each bad twin scores as high as its good one; None where one is unscored."""
    passes: list[bool | None] = []
    for good, bad in zip(scores[::2], scores[1::2], strict=True):
        is_known = good.value is not None and bad.value is not None
        passes.append(bad.value >= good.value if is_known else None)  # type: ignore[operator]
    assert len(passes) == len(twins)
    return passes
