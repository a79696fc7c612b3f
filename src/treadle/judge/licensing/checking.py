"""Whether a judge may do something here: its licence is found by who it is, and computed again.

    require(endpoint, judge.identity, "filter", store)      # LicenceError, with the command that helps

The judge is put together from the rubric in the licence and reads the call book alone: its endpoint may
have money, the check spends none. Who it is then must be who the licence says.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pydantic

from treadle.errors import LicenceError
from treadle.judge.figures.powers import ALL, Power
from treadle.judge.licensing.examination import Examination
from treadle.judge.licensing.licence import AGAIN, Licence, licence_path, read, recomputed
from treadle.judge.pairs import Identity, Scores
from treadle.judge.pairwise import PairwiseJudge
from treadle.judge.rubric import Rubric
from treadle.judge.scoring import RubricJudge
from treadle.machinery.calls import Limits
from treadle.machinery.store import Store
from treadle.models.endpoint import Endpoint

PAYER = "licence check"
Judge = PairwiseJudge | RubricJudge
KINDS: Mapping[str, type[PairwiseJudge] | type[RubricJudge]] = {
    "pairwise": PairwiseJudge, "score": RubricJudge,
}  # fmt: skip
SAID: Mapping[Power, str] = {
    "gate": "gate", "filter": "filter", "break_ties": "break ties", "nothing": "do nothing",
}  # fmt: skip


def judge_of(endpoint: Endpoint, rubric: Rubric) -> Judge:
    """Return the judge that an endpoint and a rubric make, to be examined: without canaries.

    Those belong to batches of real rows; the benchmark has shells and changes of its own.

    Raises:
        LicenceError: a rubric of this kind compares nothing, so there is nothing to examine.
    """
    if rubric.kind not in KINDS:
        raise LicenceError(
            f"rubric {rubric.name} names tags, and a licence is earned by telling better from worse. There "
            "is none for it: its results need people who look at them."
        )
    return KINDS[rubric.kind](endpoint, rubric, canary_share=0.0)


def scorer_of(judge: Judge) -> Scores | None:
    """The judge as one of single answers, if it is."""
    return judge if isinstance(judge, RubricJudge) else None


@contextmanager
def from_the_book(endpoint: Endpoint, rubric: Rubric) -> Iterator[Judge]:
    """A judge that may ask nothing that the call book does not hold."""
    session = endpoint.session.book.session(PAYER, Limits(requests=0))
    with Endpoint(endpoint.address, session) as reader:
        yield judge_of(reader, rubric)


def checked(endpoint: Endpoint, path: Path, store: Store) -> tuple[Licence, Examination]:
    """Return the licence at a path and the examination behind it, computed again from the book.

    Raises:
        LicenceError: there is none, or it does not hold.
    """
    stated = read(path)
    with from_the_book(endpoint, _rubric(path, stated.rubric)) as judge:
        return recomputed(path, judge, store=store, scorer=scorer_of(judge))


def require(endpoint: Endpoint, identity: Identity, power: Power, store: Path) -> Licence:
    """Return the licence of a judge that has a power.

    Raises:
        LicenceError: it has none in this store, it does not hold, or it gives less.
    """
    path = licence_path(store, identity)
    words = {
        "--url": identity.url, "--model": identity.model, "--rubric": identity.rubric,
        "--store": str(store),
    }  # fmt: skip
    options = " ".join(f"{name} {shlex.quote(word)}" for name, word in words.items())
    command = f"treadle judge license {options}"
    who = f"{identity.model} at {identity.url} with the rubric {identity.rubric}"
    if not path.is_file():
        raise LicenceError(
            f"{who} has no licence here, and needs one to {SAID[power]}. Let it earn one:\n  {command}"
        )
    licence, _ = checked(endpoint, path, Store(store))
    if licence.identity != identity:
        raise LicenceError(f"{path}: this is the licence of another judge. {AGAIN}\n  {command}")
    if not allows(licence.power, power):
        stands = ", ".join(licence.findings["in_the_way"][power])
        raise LicenceError(
            f"{who} may {SAID[licence.power]}, and is asked to {SAID[power]}. In the way: {stands}. "
            f"See {path.with_suffix('.html')}, or {path}."
        )
    return licence


def allows(has: Power, needed: Power) -> bool:
    """Whether one power includes another: who may gate may also filter and break ties."""
    order: dict[str, int] = {power: place for place, power in enumerate(ALL)}
    return order.get(has, len(ALL)) <= order.get(needed, len(ALL))


def _rubric(path: Path, content: Mapping[str, Any]) -> Rubric:
    try:
        return Rubric.model_validate(content, strict=False)
    except pydantic.ValidationError as error:
        raise LicenceError(f"{path}: its rubric cannot be read. {AGAIN}") from error
