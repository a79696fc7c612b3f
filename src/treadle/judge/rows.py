"""What a judge is shown of rows, and how a measure asks the run's judge about them.

    scores = score(judge, "alpagasus", items_of(rows), tick=..., on_progress=...)

A row's request is all before the reply that it ends with; a row without a request or a reply has
nothing to judge, and is unscored without asking. A judge whose scores decide which rows stay needs the
licence for that, under the rubric it is asked with.

Rubrics are options of measures by name or file, and their content counts where a result is cached
(`op.measure`), so an edited file is another judge.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Annotated

from pydantic import AfterValidator

from treadle.data.row import Message, Row
from treadle.errors import RecipeError
from treadle.judge.model import JudgeModel
from treadle.judge.pairs import Item, Score
from treadle.judge.rubric import Kind, read_rubric, shipped
from treadle.judge.scoring import RubricJudge
from treadle.judge.tagging import Tagged, TagJudge
from treadle.models.endpoint.answers import Progress

NO_REPLY, NO_REQUEST = "no reply to judge", "no request to judge"
Tick = Callable[[], None]
Watch = Callable[[Progress], None]


def _of_kind(kind: Kind) -> Callable[[str], str]:
    def check(name: str) -> str:
        try:
            rubric = read_rubric(name)
        except RecipeError as error:
            raise ValueError(str(error)) from error
        if rubric.kind != kind:
            known = [name for name in shipped() if read_rubric(name).kind == kind]
            raise ValueError(f"a rubric of kind {kind} is needed, such as {', '.join(known)}")
        return name

    return check


ScoreRubric = Annotated[str, AfterValidator(_of_kind("score"))]
"""An option: the name of a rubric that scores, or the path of a YAML file with one."""
TagRubric = Annotated[str, AfterValidator(_of_kind("tags"))]
"""An option: the name of a rubric that names tags, or the path of a YAML file with one."""


def licensed(judge: JudgeModel, rubrics: Iterable[str]) -> None:
    """Refuse a judge that may not filter by these rubrics; those that name tags need no licence.

    Raises:
        LicenceError: it may not.
    """
    for name in rubrics:
        rubric = read_rubric(name)
        if rubric.kind == "score":
            judge.require(RubricJudge(judge.endpoint, rubric).identity, "filter")


def items_of(rows: Iterable[Row]) -> list[Item]:
    """Return the request and the reply that a row ends with, named by its id."""
    return [Item(row.id, said(row.prompt), row.reply) for row in rows]


def turns_of(row: Row) -> list[Item]:
    """Return each reply that carries loss with the turn before it, and nothing of what came earlier."""
    turns = row.conversation
    return [
        Item(f"{row.id}\n{i}", turns[i - 1].content if i else "", turn.content)
        for i, turn in enumerate(turns)
        if turn.trains
    ]


def said(turns: Sequence[Message]) -> str:
    """Return a request as a judge reads it: a lone turn as it is, several with who said each."""
    if len(turns) == 1:
        return turns[0].content
    return "\n\n".join(f"{turn.role}:\n{turn.content}" for turn in turns)


def score(
    judge: JudgeModel, rubric: str, items: Sequence[Item], *, tick: Tick, on_progress: Watch
) -> list[Score]:
    """Score each item, in order. The judge needs the licence to filter by this rubric.

    Raises:
        LicenceError: it has none.
        JudgeError: it lets known bad answers pass.
        BudgetError: the budget does not allow the next request; what was answered is kept.
        ModelError: the endpoint is down or refuses everything.
    """
    asked = RubricJudge(judge.endpoint, rubric)
    judge.require(asked.identity, "filter")
    missing = [_missing(item, needs_reply=asked.rubric.about == "answer") for item in items]
    there = [item for item, why in zip(items, missing, strict=True) if why is None]
    found = iter(asked.score(there, tick=tick, on_progress=on_progress))
    return [next(found) if why is None else Score(None, why) for why in missing]


def tag(
    judge: JudgeModel, rubric: str, items: Sequence[Item], *, tick: Tick, on_progress: Watch
) -> list[Tagged]:
    """Name the tags of each item's request, in order. No licence: there is none for naming things.

    Raises:
        BudgetError: the budget does not allow the next request; what was answered is kept.
        ModelError: the endpoint is down or refuses everything.
    """
    asked = TagJudge(judge.endpoint, rubric)
    missing = [_missing(item, needs_reply=False) for item in items]
    there = [item for item, why in zip(items, missing, strict=True) if why is None]
    found = iter(asked.tag(there, tick=tick, on_progress=on_progress))
    return [next(found) if why is None else Tagged(None, why) for why in missing]


def _missing(item: Item, *, needs_reply: bool) -> str | None:
    if not item.request.strip():
        return NO_REQUEST
    return NO_REPLY if needs_reply and not item.answer.strip() else None
