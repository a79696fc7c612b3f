"""JSON that means one thing only, or a reason why it does not.

Python's parser keeps the last of two equal keys, accepts NaN, and how deep it can go depends on
who calls it. A row must not depend on any of that, so each of these is refused with a reason.
Problems inside a well-formed value are noted and raised only after its end is known, so that the
reader of a JSON array can go on with the next element.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence

from treadle.data.formats.turns import MalformedError

MAX_DEPTH = 100
MAX_LITERAL = 8  # no literal, and no escape in a text, is longer
# A text that holds a raw line end is broken; it must not take the next lines for its own.
_TOKEN = re.compile(r'"(?:[^"\\\n]|\\.)*+"?|[\[\]{},:]', re.DOTALL)


class StrictJson:
    """A parser that refuses duplicate keys, NaN, infinities and very deep nesting."""

    def __init__(self) -> None:
        self._problem: MalformedError | None = None
        self._decoder = json.JSONDecoder(
            object_pairs_hook=self._object, parse_constant=self._constant
        )

    def value(self, text: str) -> object:
        """Parse a text that holds exactly one value.

        Raises:
            MalformedError: it does not, or the value is ambiguous.
        """
        start = len(text) - len(text.lstrip(" \t\r\n"))
        try:
            value, end = self._scan(text, start)
        except json.JSONDecodeError as error:
            raise _bad_json(error, start) from None
        rest = text[end:].strip(" \t\r\n")
        if rest:
            raise MalformedError("bad_json", f"not JSON: {rest[:20]!r} after the end of the record")
        self._judge(value, text, start, end)
        return value

    def element(self, text: str, start: int) -> tuple[object, int | None, MalformedError | None]:
        """Parse the value at `start` of an array's text; return it, its end and its problem.

        A broken value is skipped by counting brackets. Where they do not balance, it has no end:
        either the text ends inside the value (`torn_record`), or where it ends cannot be told.
        """
        end: int | None
        try:
            value, end = self._scan(text, start)
        except json.JSONDecodeError as error:
            end = _balanced_end(text, start)
            fault = _bad_json(error, start)
            if end is None and _is_cut(text, error):
                detail = f"the file ends inside this record ({fault})"
                fault = MalformedError("torn_record", detail)
            return None, end, fault
        except MalformedError as error:
            return None, _balanced_end(text, start), error
        try:
            self._judge(value, text, start, end)
        except MalformedError as error:
            return None, end, error
        return value, end, None

    def _scan(self, text: str, start: int) -> tuple[object, int]:
        self._problem = None
        try:
            return self._decoder.raw_decode(text, start)
        except json.JSONDecodeError:
            raise
        except RecursionError:
            raise _too_deep() from None
        except ValueError:  # Python refuses to read integers of more than 4,300 digits
            raise MalformedError(
                "oversized_integer", "an integer has thousands of digits"
            ) from None

    def _judge(self, value: object, text: str, start: int, end: int) -> None:
        if self._problem is not None:
            raise self._problem
        brackets = text.count("[", start, end) + text.count("{", start, end)
        if brackets > MAX_DEPTH and _is_deep(value):
            raise _too_deep()

    def _object(self, pairs: Sequence[tuple[str, object]]) -> dict[str, object]:
        found = dict(pairs)
        if len(found) != len(pairs):
            twice = _first_repeated(key for key, _ in pairs)
            self._problem = MalformedError(
                "duplicate_key", f"the key {twice[:40]!r} is there twice"
            )
        return found

    def _constant(self, name: str) -> None:
        self._problem = MalformedError("not_a_number", f"{name} is not JSON")


def _first_repeated(keys: Iterable[str]) -> str:
    seen: set[str] = set()
    return next(key for key in keys if key in seen or seen.add(key))  # type: ignore[func-returns-value]


def _bad_json(error: json.JSONDecodeError, start: int) -> MalformedError:
    return MalformedError("bad_json", f"not JSON: {error.msg} at character {error.pos - start + 1}")


def _is_cut(text: str, error: json.JSONDecodeError) -> bool:
    """Whether the error is that the text ends; the brackets of what holds the value may follow."""
    left = "".join(text[error.pos :].split())
    return len(left) <= MAX_LITERAL or error.msg.startswith("Unterminated string")


def _too_deep() -> MalformedError:
    return MalformedError("nested_too_deep", f"nested more than {MAX_DEPTH} levels deep")


def _is_deep(value: object) -> bool:
    level: list[object] = [value]
    for _ in range(MAX_DEPTH + 1):
        level = [
            child
            for node in level
            if isinstance(node, (dict, list))
            for child in (node.values() if isinstance(node, dict) else node)
        ]
        if not level:
            return False
    return True


def _balanced_end(text: str, start: int) -> int | None:
    """Where the broken value at `start` ends, or None where its brackets do not tell."""
    opened: list[str] = []
    before = ""
    for token in _TOKEN.finditer(text, start):
        mark = token[0]
        if mark in "[{":
            if mark == "{" and before == "," and opened[-1:] == ["{"]:
                return None  # an object holds keys: this one is the array's next element
            opened.append(mark)
        elif mark in "]}" and opened:
            opening = opened.pop()
            if not opened:  # a bracket of the other kind may be the array's own
                return token.end() if opening + mark in ("{}", "[]") else None
        elif mark in ",]}" and not opened:  # a bare word ends where the array goes on
            return token.start()
        before = mark
    return None
