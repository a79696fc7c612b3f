"""The judge of a run: a model behind an endpoint, and where its licences are.

    judge = context.model("judge")
    judge.require(rubric_judge.identity, "filter")    # LicenceError without a licence for that
    rubric_judge.score(items)

`--unlicensed` lifts the requirement for one command. It is on the command line only, in no recipe and
not in Python's door, so that nobody inherits it; and every page and every JSON that came about with a
judge says so (`Unlicensed`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import asdict, dataclass, field
from pathlib import Path

from treadle.errors import LicenceError
from treadle.judge.figures.powers import Power
from treadle.judge.licensing import checking
from treadle.judge.pairs import Identity
from treadle.models.endpoint import Endpoint

FOLDER = "licences"


@dataclass(frozen=True, slots=True)
class Unlicensed:
    """A judge that was asked although nobody looked for its licence."""

    url: str
    model: str

    @property
    def sentence(self) -> str:
        return (
            f"JUDGE WITHOUT A LICENCE (--unlicensed): {self.model} at {self.url} was asked, and nobody "
            "looked whether its verdicts can be trusted. Prove nothing with what came of them."
        )

    def as_json(self) -> dict[str, str]:
        return {**asdict(self), "sentence": self.sentence}


@dataclass
class Permit:
    """The leave to ask judges without a licence, and which were asked by it."""

    used: list[Unlicensed] = field(default_factory=list)

    def note(self, endpoint: Endpoint) -> Unlicensed:
        """Remember a judge."""
        found = Unlicensed(endpoint.address.base, endpoint.address.model)
        if found not in self.used:
            self.used.append(found)
        return found

    def as_json(self) -> dict[str, list[dict[str, str]]]:
        """What goes into every JSON that a judge had a part in; nothing if none had."""
        return {"unlicensed": [one.as_json() for one in self.used]} if self.used else {}


_PERMIT: ContextVar[Permit | None] = ContextVar("permit", default=None)


@contextmanager
def unlicensed(is_allowed: bool = True) -> Iterator[Permit]:
    """Let what is opened inside ask judges without a licence. For the command line's own flag."""
    permit = Permit()
    token = _PERMIT.set(permit if is_allowed else None)
    try:
        yield permit
    finally:
        _PERMIT.reset(token)


def permitted() -> Permit | None:
    """The leave that the command line gave, if it did."""
    return _PERMIT.get()


@dataclass(frozen=True, slots=True)
class JudgeModel:
    """A model that judges, and the folder with the licences of all judges here."""

    endpoint: Endpoint
    licences: Path
    is_unlicensed_allowed: bool = False
    _checked: set[object] = field(default_factory=set, compare=False, repr=False)
    """Licences that hold, as they were when they were checked: once is enough for many batches."""

    @property
    def fingerprint(self) -> str:
        """Hash of who answers. What was judged without a licence is not taken for licensed later."""
        parts = [self.endpoint.fingerprint, *(["unlicensed"] if self.is_unlicensed_allowed else [])]
        return hashlib.sha256("/".join(parts).encode()).hexdigest()[:32]

    def require(self, identity: Identity, power: Power) -> None:
        """Refuse a judge that has no licence for a power.

        Raises:
            LicenceError: it has none here, one that does not hold, or one for less; the message says
                how it can earn one.
        """
        if self.is_unlicensed_allowed:
            return
        path = self.licences / f"{identity.hash}.json"
        state = path.stat() if path.is_file() else None
        seen = (identity.hash, power, state and (state.st_mtime_ns, state.st_size, state.st_ino))
        if seen in self._checked:
            return
        try:
            checking.require(self.endpoint, identity, power, self.licences.parent)
        except LicenceError as error:
            raise LicenceError(
                f"{error}\nOr add --unlicensed to this command, and everything that comes of it will say so."
            ) from error
        self._checked.add(seen)
