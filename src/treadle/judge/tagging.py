"""A judge that names what a request asks for, in open-set tags (InsTag).

    TagJudge(endpoint).tag(items)       # Tagged(("unit conversion", "arithmetic")), …

Tags come as they are said, in one spelling (lower case, single spaces), each once. Which of them are
rare, or mean the same, is for the measure to say.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from treadle.judge import asking
from treadle.judge.asking import Asker, Sheet, TagReply
from treadle.judge.pairs import Identity, Item, nothing, unseen
from treadle.judge.rubric import Rubric, read_rubric
from treadle.judge.shells import shell
from treadle.models.endpoint.answers import Answer, Failure, Progress
from treadle.models.endpoint.client import Endpoint

LONGEST_TAG = 60
MOST_TAGS = 32


@dataclass(frozen=True, slots=True)
class Tagged:
    """The tags of an item, or why there are none (`unscored`). Nothing to tag is an empty tuple."""

    tags: tuple[str, ...] | None
    unscored: str | None = None


class TagJudge:
    """A judge with a rubric of kind `tags`."""

    def __init__(self, endpoint: Endpoint, rubric: Rubric | str = "tags") -> None:
        """Prepare to ask.

        Raises:
            RecipeError: the rubric has a mistake or is not of kind `tags`.
        """
        self.endpoint = endpoint
        self.rubric = rubric if isinstance(rubric, Rubric) else read_rubric(rubric)
        asking.refuse_kind(self.rubric, "tags")
        self._asker = Asker(self.rubric, endpoint.session.book.nonce_key())

    @property
    def identity(self) -> Identity:
        return asking.identity(self.endpoint, "tags", self.rubric, __name__)

    def tag(
        self,
        items: Sequence[Item],
        *,
        sample: int = 0,
        tick: Callable[[], None] = nothing,
        on_progress: Callable[[Progress], None] = unseen,
    ) -> list[Tagged]:
        """Name the tags of each item's request, in order. A request that says nothing has none.

        Raises:
            DataError: two items have one name.
            BudgetError: the budget does not allow the next request; what was answered is kept.
            ModelError: the endpoint is down or refuses everything.
        """
        asking.refuse_twins([item.name for item in items], "item")
        decided = [_by_rule(item) for item in items]
        sheets = [
            self._asker.tags(item.request, sample)
            for item, tagged in zip(items, decided, strict=True)
            if tagged is None
        ]
        chats = [sheet.chat for sheet in sheets]
        answers = self.endpoint.ask(chats, tick=tick, on_progress=on_progress) if chats else []
        left = iter(_read(sheet, one) for sheet, one in zip(sheets, answers, strict=True))
        return [next(left) if tagged is None else tagged for tagged in decided]


def _by_rule(item: Item) -> Tagged | None:
    if problem := asking.too_long(item.request):
        return Tagged(None, problem)
    return Tagged(()) if shell(item.request) in ("empty", "punctuation") else None


def _read(sheet: Sheet, answer: Answer | Failure) -> Tagged:
    if isinstance(answer, Failure):
        return Tagged(None, f"{answer.reason}: {answer.detail}"[:300])
    assert isinstance(answer.value, TagReply)
    if answer.value.code != sheet.fence.code:
        return Tagged(None, "the reply does not carry this call's code")
    tags = list(dict.fromkeys(" ".join(tag.lower().split()) for tag in answer.value.tags))
    tags = [tag for tag in tags if shell(tag) is None]
    if len(tags) > MOST_TAGS:
        return Tagged(None, f"{len(tags)} tags, and {MOST_TAGS} are plenty")
    if long := next((tag for tag in tags if len(tag) > LONGEST_TAG), None):
        return Tagged(None, f"{long[:40]!r}… is no tag: {len(long)} characters")
    return Tagged(tuple(tags))
