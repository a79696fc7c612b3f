"""A JSON array as raw records: `[{…}, {…}]`, also as the `data` of an object.

An element that cannot be parsed is yielded with its error and costs one record, as long as its end
can be told. Otherwise the records behind it could not even be counted, so the file ends with a
`DataError`; only where the file itself ends inside an element is that element torn and no more.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import BinaryIO

from treadle.data.formats.raw import Raw
from treadle.data.formats.strict_json import StrictJson
from treadle.data.formats.text_files import json_lines
from treadle.data.formats.turns import MalformedError
from treadle.errors import DataError

_BLANKS = " \t\r\n"
_ARRAY = re.compile(r'\s*(\{\s*"data"\s*:\s*)?\[')
_OPENING = re.compile(r'\{\s*("(?:[^"\\]|\\.)*+")\s*:')
_ADVICE = "Repair the file, or write it as JSON Lines (.jsonl), where one bad line costs one row."


def json_array(stream: BinaryIO, path: Path) -> Iterator[Raw]:
    """Yield the objects of an array or of `{"data": [...]}`; JSON Lines are let through too.

    Raises:
        DataError: the array's form is lost.
    """
    blob = stream.read()
    try:
        text = blob.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8 at byte {error.start + 1}.") from None
    if opening := _ARRAY.match(text):
        return _elements(text, opening.end(), path, is_whole=opening[1] is None)
    try:
        whole = StrictJson().value(text)
    except MalformedError as error:
        if _looks_like_lines(blob):
            return json_lines(io.BytesIO(blob))
        raise DataError(f"{path}: {error}. Expected an array of objects.") from None
    inner = whole.get("data") if isinstance(whole, dict) else None
    items = inner if isinstance(inner, list) else [whole]
    return (Raw.of(item, i, json.dumps(item).encode()) for i, item in enumerate(items, 1))


def _looks_like_lines(blob: bytes) -> bool:
    """Whether one of the first lines is an object by itself: many `.json` files are JSON Lines."""
    first = islice(json_lines(io.BytesIO(blob)), 5)
    return any(raw.error is None for raw in first)


def _elements(text: str, at: int, path: Path, *, is_whole: bool) -> Iterator[Raw]:
    """Yield the elements of the array whose first character after the bracket is at `at`."""
    strict, number, line, spent = StrictJson(), 0, 1, 0
    at = _skip_blanks(text, at)
    while not text.startswith("]", at):
        number += 1
        value, end, error = strict.element(text, at)
        after = len(text) if end is None else _skip_blanks(text, end)
        fault = "" if error is None else error.reason
        is_lost = end is None and fault != "torn_record"
        is_doubtful = after == len(text) or fault == "bad_json"
        if is_lost or (is_doubtful and _begins_again(text, at, after)):
            what = f"where record {number} ends cannot be told ({error or 'it holds others'})"
            raise _lost(path, line + text.count("\n", 0, at), what)
        raw = text[at:end].encode()
        yield Raw.of(value, number, raw) if error is None else Raw.broken(number, raw, error)
        if end is None:
            return
        if after < len(text) and text[after] not in ",]":
            what = f"expected a comma after record {number}, found {text[after]!r}"
            raise _lost(path, line + text.count("\n", 0, after), what)
        # To say where an error is, Python's parser counts the lines from the start of the text.
        # Once that has cost as much as copying the rest would, the text is cut.
        spent += at if error is not None else 0
        at = _skip_blanks(text, after + 1) if text.startswith(",", after) else after
        if spent > len(text) - at:
            line, text, at, spent = line + text.count("\n", 0, at), text[at:], 0, 0
    _check_rest(text, at, path, line, is_whole=is_whole)


def _begins_again(text: str, start: int, end: int) -> bool:
    """Whether the element holds an object that begins with the same key, as the next one would.

    What a wrong bracket or quote made swallow the next elements does so; they may even be well
    formed inside it. One broken for another reason hardly ever does.
    """
    opening = _OPENING.match(text, start)
    if opening is None:
        return text.find("{", start, end) != -1
    return any(inner[1] == opening[1] for inner in _OPENING.finditer(text, start + 1, end))


def _check_rest(text: str, at: int, path: Path, line: int, *, is_whole: bool) -> None:
    """Check what stands behind the array's last bracket at `at`: the rest of its object, if any."""
    rest = text[at + 1 :]
    problem = "there is text after the end of it" if is_whole and rest.strip(_BLANKS) else ""
    if not is_whole:
        try:
            StrictJson().value('{"data":0' + rest)
        except MalformedError as error:
            problem = f"the rest of its object cannot be read ({error})"
    if problem:
        raise _lost(path, line + text.count("\n", 0, at), f"here the array ends, but {problem}")


def _lost(path: Path, line: int, what: str) -> DataError:
    return DataError(f"{path}:{line}: {what}. {_ADVICE}")


def _skip_blanks(text: str, at: int) -> int:
    while at < len(text) and text[at] in _BLANKS:
        at += 1
    return at
