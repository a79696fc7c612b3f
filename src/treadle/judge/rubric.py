"""Rubrics: what a judge is asked, in a file that people can read.

    name: polite                 # rubric.yaml
    kind: score                  # score, pairwise or tags
    instructions: |
      Rate how polite the answer is. 1: rude. 5: very polite.
    scale: {low: 1, high: 5}

A rubric holds words and numbers and nothing else: it names no model, no file and no code, its words
are never filled in, and how a verdict is asked for and read is not up to it (`asking`, `reading`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from functools import cached_property
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import pydantic
from pydantic import Field

from treadle.data.yaml_lines import Document, parse
from treadle.errors import RecipeError, nearest

Kind = Literal["score", "pairwise", "tags"]
Word = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9 _-]{0,19}$")]
Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,39}$")]
RESERVED = ("VERDICT", "NUMBER")
"""What stands in for a verdict where its form is shown; so that a copy of it is no verdict."""
_TOKENS = {"none": 64, "after": 400, "before": 1_000}


class _Strict(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid", frozen=True, strict=True)


class Scale(_Strict):
    """The numbers on offer: low, low + step, …, high. A step of 0 allows any between."""

    low: Annotated[float, Field(ge=-1_000, le=1_000)]
    high: Annotated[float, Field(ge=-1_000, le=1_000)]
    step: Annotated[float, Field(ge=0)] = 1.0

    @pydantic.model_validator(mode="after")
    def _has_numbers(self) -> Self:
        if not self.low < self.high:
            raise ValueError(f"low must be below high, got {self.low:g} and {self.high:g}")
        if self.step > 0 and not _is_whole((self.high - self.low) / self.step):
            raise ValueError(
                f"{self.high:g} cannot be reached from {self.low:g} in steps of {self.step:g}"
            )
        return self

    def offers(self, value: float) -> bool:
        """Whether a number is on offer."""
        inside = self.low <= value <= self.high
        return inside and (self.step == 0 or _is_whole((value - self.low) / self.step))

    @property
    def says(self) -> str:
        """The scale in words."""
        if self.step == 1:
            return f"a whole number from {self.low:g} to {self.high:g}"
        steps = f" in steps of {self.step:g}" if self.step else ""
        return f"a number from {self.low:g} to {self.high:g}{steps}"

    @property
    def digits(self) -> tuple[str, ...]:
        """The numbers on offer, if each is a single digit."""
        if self.step != 1 or not _is_whole(self.low) or self.low < 0 or self.high > 9:
            return ()
        return tuple(str(n) for n in range(int(self.low), int(self.high) + 1))


class Words(_Strict):
    """What answers and verdicts of pairs are called. Without a word for a tie there is none."""

    first: Word = "A"
    second: Word = "B"
    tie: Word | None = "tie"

    @pydantic.model_validator(mode="after")
    def _differ(self) -> Self:
        words = [word.casefold() for word in self.offered]
        if len(set(words)) < len(words) or {w.casefold() for w in RESERVED} & set(words):
            raise ValueError(f"{', '.join(self.offered)} must differ, and be none of {RESERVED}")
        return self

    @property
    def offered(self) -> tuple[str, ...]:
        return (self.first, self.second, *((self.tie,) if self.tie else ()))


class Rubric(_Strict):
    """A rubric. Its `hash` is that of all it says but its source."""

    name: Name
    kind: Kind
    instructions: Annotated[str, Field(min_length=1, max_length=20_000)]
    source: Annotated[str, Field(max_length=2_000)] = ""
    about: Literal["answer", "request"] = "answer"
    scale: Scale | None = None
    dimensions: Annotated[Mapping[Name, str], Field(max_length=12)] = {}
    reading: Literal["line", "expectation", "confidence"] = "line"
    reasons: Literal["none", "before", "after"] = "none"
    words: Words = Words()
    most_tokens: Annotated[int, Field(ge=16, le=32_768)] | None = None
    canaries: Literal["answers", "requests", "none"] = "answers"

    @pydantic.model_validator(mode="after")
    def _fits_its_kind(self) -> Self:
        if not self.instructions.strip():
            raise ValueError("instructions: say what is to be judged")
        if self.kind == "score" and self.scale is None:
            raise ValueError("a score needs a scale, such as `scale: {low: 1, high: 5}`")
        allowed = {
            "score": {"scale", "dimensions", "reading", "reasons", "about"},
            "pairwise": {"words", "reasons", "reading"},
            "tags": {"about"},
        }[self.kind]
        parts = {"scale", "dimensions", "reading", "reasons", "about", "words"} & (
            self.model_fields_set
        )
        if wrong := sorted(parts - allowed):
            raise ValueError(f"a rubric of kind {self.kind} has no {' and no '.join(wrong)}")
        if self.reading == {"score": "confidence", "pairwise": "expectation"}.get(self.kind):
            raise ValueError("a score is read by line or expectation, a pair by line or confidence")
        if self.reading == "expectation":
            self._check_expectation()
        if "rule" in self.dimensions:
            raise ValueError("no dimension can be called rule: that marks what a rule decided")
        return self

    def _check_expectation(self) -> None:
        if self.scale is None or not self.scale.digits:
            raise ValueError(
                "an expectation is taken over numbers of one digit: give a scale within 0 to 9, step 1"
            )
        if self.dimensions or self.reasons == "before":
            raise ValueError(
                "an expectation is one number, read at once: no dimensions, no reasons before"
            )

    @cached_property
    def hash(self) -> str:
        """Sixteen hexadecimal digits of all that is said, its source aside."""
        text = json.dumps(self.model_dump(mode="json", exclude={"source"}), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @property
    def tokens(self) -> int:
        """How long a reply may be."""
        return self.most_tokens or _TOKENS[self.reasons] + 24 * len(self.dimensions)


def shipped() -> dict[str, str]:
    """Return the text of every rubric that comes with treadle, by name."""
    folder = resources.files("treadle.judge") / "rubrics"
    files = sorted((f for f in folder.iterdir() if f.name.endswith(".yaml")), key=lambda f: f.name)
    return {file.name.removesuffix(".yaml"): file.read_text(encoding="utf-8") for file in files}


def read_rubric(name_or_path: str | Path) -> Rubric:
    """Read a rubric that comes with treadle, by its name, or from a YAML file.

    Raises:
        RecipeError: there is none, or it has a mistake: where, and what was meant.
    """
    where, text = _found(name_or_path)
    document = parse(text, where, noun="rubric", example="kind: score")
    try:
        return Rubric.model_validate(document.data)
    except pydantic.ValidationError as error:
        raise RecipeError(_complaint(document, error)) from error


def _found(name_or_path: str | Path) -> tuple[str, str]:
    known = shipped()
    if str(name_or_path) in known:
        return f"rubric {name_or_path}", known[str(name_or_path)]
    path = Path(name_or_path)
    is_path = (
        isinstance(name_or_path, Path) or path.suffix in (".yaml", ".yml") or len(path.parts) > 1
    )
    if not is_path:
        raise RecipeError(
            f"rubric {str(name_or_path)!r}: no rubric of that name.{nearest(str(name_or_path), known)} "
            "A file of your own ends in .yaml."
        )
    try:
        return str(path), path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise RecipeError(f"rubric {path}: cannot be read ({reason}).") from error


def _complaint(document: Document, error: pydantic.ValidationError) -> str:
    """Say in one paragraph what is wrong, where, and what may have been meant."""
    # A misspelt key is unknown, and the right one is missing: the first of these says more.
    first = min(error.errors(), key=lambda one: one["type"] != "extra_forbidden")
    path = tuple(str(part) for part in first["loc"] if part != "[key]")
    key, where = ".".join(path) or "rubric", document.where(*path)
    if first["type"] == "extra_forbidden":
        known = _keys(path[:-1])
        return f"{where}: a rubric has no key {key!r}.{nearest(path[-1], known)}"
    if first["type"] == "missing":
        return f"{where}: the rubric has no {key}. A rubric has name, kind and instructions."
    message = first["msg"].removeprefix("Value error, ")
    given = "" if isinstance(first["input"], dict | Rubric) else f", got {_short(first['input'])}"
    return f"{where}: {key}: {message[:1].lower()}{message[1:]}{given}."


def _keys(path: tuple[str, ...]) -> list[str]:
    inner: dict[str, Any] = {"scale": Scale, "words": Words}
    return list(inner.get(path[0] if path else "", Rubric).model_fields)


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}…"


def _is_whole(value: float) -> bool:
    return abs(value - round(value)) < 1e-9


def rubric_hash(name_or_path: str) -> str:
    """Return the hash of a rubric; of one that cannot be read, which whoever asks by it will say, none."""
    try:
        return read_rubric(name_or_path).hash
    except RecipeError:
        return "unreadable"
