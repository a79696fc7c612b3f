"""Whether a judge may do something here: its licence is found by who it is, and computed again.

    require(judge, "filter", store_folder)      # LicenceError, with the command that helps

A judge is read from its call book alone: its own session may have money, the check spends none.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

from treadle.errors import LicenceError
from treadle.judge.examination import Examination
from treadle.judge.licence import Licence, licence_path, recomputed
from treadle.judge.pairs import Compares, Scores
from treadle.judge.pairwise import PairwiseJudge
from treadle.judge.powers import ALL, Power
from treadle.judge.scoring import RubricJudge
from treadle.machinery.calls import Limits
from treadle.machinery.store import Store
from treadle.models.endpoint.client import Endpoint

PAYER = "licence check"
Judge = PairwiseJudge | RubricJudge


@contextmanager
def from_the_book(judge: Judge) -> Iterator[Judge]:
    """The same judge, which may ask nothing that the call book does not hold.

    Without canaries: these belong to batches of real rows, and a licence has shells of its own.
    """
    session = judge.endpoint.session.book.session(PAYER, Limits(requests=0))
    with Endpoint(judge.endpoint.address, session) as endpoint:
        kind = type(judge)
        yield kind(endpoint, judge.rubric, canary_share=0.0)


def scorer_of(judge: Judge) -> Scores | None:
    """The judge as one of single answers, if it is."""
    return judge if isinstance(judge, RubricJudge) else None


def checked(judge: Judge, path: Path, store: Store) -> tuple[Licence, Examination]:
    """Return the licence at a path and the examination behind it, computed again from the book.

    Raises:
        LicenceError: there is none, or it does not hold.
    """
    with from_the_book(judge) as reader:
        return recomputed(path, cast(Compares, reader), store=store, scorer=scorer_of(reader))


def require(judge: Judge, power: Power, store: Path) -> Licence:
    """Return the licence of a judge that has a power.

    Raises:
        LicenceError: it has none, it does not hold, or it gives less.
    """
    identity = judge.identity
    path = licence_path(store, identity)
    command = (
        f"treadle judge license --url {identity.url} --model {identity.model} "
        f"--rubric {identity.rubric} --store {store}"
    )
    who = f"{identity.model} at {identity.url} with the rubric {identity.rubric}"
    if not path.is_file():
        raise LicenceError(
            f"{who} has no licence here, and needs one to {said(power)}. Let it earn one:\n  {command}"
        )
    licence, _ = checked(judge, path, Store(store))
    if not allows(licence.power, power):
        stands = ", ".join(licence.findings["in_the_way"][power])
        raise LicenceError(
            f"{who} may {said(licence.power)}, and is asked to {said(power)}. In the way: {stands}. "
            f"See {path.with_suffix('.html')}, and let it be examined again once it has changed:\n  {command}"
        )
    return licence


def allows(has: Power, needed: Power) -> bool:
    """Whether one power includes another: who may gate may also filter and break ties."""
    order: dict[Any, int] = {power: place for place, power in enumerate(ALL)}
    return order.get(has, len(ALL)) <= order.get(needed, len(ALL))


def said(power: Power) -> str:
    """A power in words."""
    return {
        "gate": "gate",
        "filter": "filter",
        "break_ties": "break ties",
        "nothing": "do nothing",
    }[power]
