"""The licence of a judge: which power it earned, on which questions, with which figures, and who signed it.

    licence = earn(judge, benchmark, store=store, by="ana")
    licence = load(path, judge, store=store)     # asks everything again, from the call book

A licence is no promise but a receipt: loading it makes the benchmark again from its seed, reads the
judge's replies from the call book, computes every figure anew and refuses the file where anything
differs. It is bound to one judge: address, model, prompt and rubric; any other needs a licence of its own.

`load` must be given a judge that may spend nothing (a session with `Limits(requests=0)`), so that what
is not in the book is not asked.
"""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, cast

from treadle import __version__
from treadle.errors import BudgetError, DataError, LicenceError, StoreError
from treadle.judge.benchmark.whole import (
    GIVEN,
    Benchmark,
    code_of_benchmark,
    from_blobs,
    is_complete,
    to_blobs,
)
from treadle.judge.figures.powers import Power
from treadle.judge.licensing.examination import PHASES, Examination, Heard, ask, findings, nobody
from treadle.judge.pairs import Compares, Identity, Scores
from treadle.machinery.disk import Disk, explained
from treadle.machinery.store import Store

KIND = "treadle judge licence, form 1"
KEYS = (
    "kind", "treadle", "identity", "rubric", "benchmark", "findings", "unanswered", "signed", "seal",
)  # fmt: skip
TOLERANCE = 1e-9
"""Figures are computed again on another day and perhaps with another numpy: the last digits may differ."""
WHAT = {
    "url": "the address", "model": "the model", "kind": "the kind of judge",
    "prompt": "the prompt, or the code that asks and reads", "rubric": "the rubric",
    "rubric_hash": "the content of the rubric",
}  # fmt: skip


@dataclass(frozen=True)
class Licence:
    """What a judge earned. `benchmark` names its blobs in the store; `findings` holds every figure.

    `rubric` is its whole content, so that the judge can be put together again.
    """

    identity: Identity
    benchmark: Mapping[str, Any]
    findings: Mapping[str, Any]
    unanswered: Mapping[str, tuple[str, ...]]
    by: str
    when: str
    rubric: Mapping[str, Any] = field(default_factory=dict)
    version: str = __version__

    @property
    def power(self) -> Power:
        return cast(Power, self.findings["power"])

    def as_json(self) -> dict[str, Any]:
        """The file's content, sealed."""
        body = {
            "kind": KIND, "treadle": self.version, "identity": asdict(self.identity),
            "rubric": dict(self.rubric), "benchmark": dict(self.benchmark), "findings": dict(self.findings),
            "unanswered": {phase: list(keys) for phase, keys in self.unanswered.items()},
            "signed": {"by": self.by, "when": self.when},
        }  # fmt: skip
        return {**body, "seal": _seal(body)}


def licence_path(root: Path, identity: Identity) -> Path:
    """Where the licence of a judge lies in a store folder."""
    return root / "licences" / f"{identity.hash}.json"


def earn(
    judge: Compares,
    benchmark: Benchmark,
    *,
    store: Store,
    scorer: Scores | None = None,
    by: str = "",
    rubric: Mapping[str, Any] | None = None,
    on_progress: Heard = nobody,
) -> tuple[Licence, Examination]:
    """Examine a judge and write its licence, whatever power it earned: "nothing" is a result too.

    What was answered before is not asked again, so a call that was interrupted goes on.

    Args:
        judge: Without canaries, which it would be asked beside the benchmark.
        scorer: The same judge, if it scores single answers: for those that people scored.
        rubric: The content of its rubric, as plain JSON.

    Raises:
        BudgetError, ModelError: the endpoint stopped; call again.
        StoreError: the store cannot be written.
    """
    exam = ask(judge, benchmark, scorer=scorer, on_progress=on_progress)
    pairs, labels = (store.put(blob) for blob in to_blobs(benchmark))
    about = {
        "seed": benchmark.seed, "size": benchmark.size, "code": code_of_benchmark(),
        "given": list(benchmark.given), "pairs": pairs, "labels": labels, "sets": benchmark.counts,
    }  # fmt: skip
    when = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    licence = Licence(
        judge.identity, about, findings(exam), exam.unanswered, by, when, rubric or {}
    )
    text = json.dumps(licence.as_json(), indent=1, ensure_ascii=False, allow_nan=False)
    Disk().publish(licence_path(store.root, judge.identity), text.encode())
    return licence, exam


def load(path: Path, judge: Compares, *, store: Store, scorer: Scores | None = None) -> Licence:
    """Return the licence at a path, after everything in it was computed again.

    Raises:
        LicenceError: there is none, it is of another judge, it was edited, or the replies that it
            rests on are not in the call book.
    """
    return recomputed(path, judge, store=store, scorer=scorer)[0]


def recomputed(
    path: Path, judge: Compares, *, store: Store, scorer: Scores | None = None
) -> tuple[Licence, Examination]:
    """Return a licence and the examination behind it, as `load` does."""
    licence = read(path)
    _refuse_another_judge(path, licence.identity, judge.identity)
    benchmark = _benchmark(path, licence, store)
    try:
        exam = ask(judge, benchmark, scorer=scorer, unanswered=licence.unanswered)
    except BudgetError as error:
        raise LicenceError(
            f"{path}: replies that this licence rests on are not in the call book here. {AGAIN}"
        ) from error
    stated = licence.findings
    if difference := _difference(stated, findings(exam), "findings"):
        raise LicenceError(
            f"{path}: {difference}, by the judge's own replies. The file was edited, or is of another "
            f"store: it is refused. {AGAIN}"
        )
    if any(set(exam.unanswered[phase]) != set(licence.unanswered[phase]) for phase in PHASES):
        raise LicenceError(
            f"{path}: pairs are listed as unanswered that have an answer. The file was edited: it is "
            f"refused. {AGAIN}"
        )
    return licence, exam


def read(path: Path) -> Licence:
    """Read a licence as it stands; nothing in it is believed yet.

    Raises:
        LicenceError: it is missing, is none, or its seal is broken.
    """
    with explained(path):
        if not path.is_file():
            raise LicenceError(f"{path}: no licence is here. {AGAIN}")
        raw = path.read_bytes()
    try:
        found = json.loads(raw)
        if not isinstance(found, dict) or sorted(found) != sorted(KEYS) or found["kind"] != KIND:
            raise ValueError("it has not the parts that a licence has")
        seal = found.pop("seal")
        identity = Identity(**{key: str(found["identity"][key]) for key in _NAMES})
        unanswered = {phase: tuple(found["unanswered"][phase]) for phase in PHASES}
        licence = Licence(
            identity, found["benchmark"], found["findings"], unanswered, found["signed"]["by"],
            found["signed"]["when"], found["rubric"], found["treadle"],
        )  # fmt: skip
        power = licence.power
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise LicenceError(f"{path}: this is no licence of ours ({error}). {AGAIN}") from error
    if seal != _seal(found):
        raise LicenceError(
            f"{path}: it says that this judge may {power.replace('_', ' ')}, and the file was edited after "
            f"it was signed: it is refused. {AGAIN}"
        )
    return licence


AGAIN = "Run `treadle judge license` again: what is in the call book already costs nothing."
_NAMES = tuple(one.name for one in fields(Identity))


def _benchmark(path: Path, licence: Licence, store: Store) -> Benchmark:
    """Return the questions, from the store and whole."""
    about = licence.benchmark
    try:
        if about["code"] != code_of_benchmark():
            raise LicenceError(
                f"{path}: the benchmark was made by another version of treadle ({licence.version}). {AGAIN}"
            )
        blobs = [store.get(str(about[name])) for name in ("pairs", "labels")]
        seed, size, given = int(about["seed"]), int(about["size"]), tuple(about["given"])
        is_about_requests = licence.rubric.get("about") == "request"
        benchmark = from_blobs(
            seed, size, "request" if is_about_requests else "answer", given, blobs[0], blobs[1]
        )
    except (DataError, StoreError, KeyError, ValueError, TypeError) as error:
        raise LicenceError(
            f"{path}: the pairs that this licence rests on are not in the store ({error}). {AGAIN}"
        ) from error
    people = benchmark.people.labelled_pairs
    is_whole = set(given) <= set(GIVEN) and is_complete(benchmark)
    if (
        not is_whole
        or benchmark.sets.get("people", ()) != people
        or benchmark.counts != about["sets"]
    ):
        raise LicenceError(
            f"{path}: its pairs are not those that follow from the seed {seed} and the labels. The file was "
            f"edited: it is refused. {AGAIN}"
        )
    return benchmark


def _refuse_another_judge(path: Path, stated: Identity, real: Identity) -> None:
    changed = [WHAT[name] for name in _NAMES if getattr(stated, name) != getattr(real, name)]
    if changed:
        raise LicenceError(
            f"{path}: this is the licence of another judge ({stated.model} at {stated.url}, rubric "
            f"{stated.rubric}): {' and '.join(changed)} changed. {AGAIN}"
        )


def _difference(stated: Any, real: Any, where: str) -> str | None:
    """Say where two findings differ, or return None."""
    if isinstance(stated, Mapping) and isinstance(real, Mapping):
        if sorted(stated) != sorted(real):
            return f"{where} has {sorted(stated)}, and it is {sorted(real)}"
        parts = ((stated[key], real[key], f"{where}.{key}") for key in real)
    elif isinstance(stated, list) and isinstance(real, list) and len(stated) == len(real):
        parts = (
            (one, other, f"{where}.{_label(other, i)}")
            for i, (one, other) in enumerate(zip(stated, real, strict=True))
        )
    elif _is_number(stated) and _is_number(real):
        close = math.isclose(stated, real, rel_tol=TOLERANCE, abs_tol=TOLERANCE)
        return None if close else f"{where} is {stated:.6g}, and it is {real:.6g}"
    else:
        return None if stated == real else f"{where} is {stated!r:.80}, and it is {real!r:.80}"
    return next((found for part in parts if (found := _difference(*part))), None)


def _label(part: Any, place: int) -> str:
    return str(part["name"]) if isinstance(part, Mapping) and "name" in part else str(place)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _seal(body: Mapping[str, Any]) -> str:
    text = json.dumps(body, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
