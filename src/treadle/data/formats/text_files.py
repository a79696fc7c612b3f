"""Text files as raw records, read line by line: JSON Lines and CSV.

JSON Lines are cut at `\\n` only: other characters that Python counts as line ends (U+2028, U+0085)
stay inside rows. A record that cannot be parsed is yielded with its error and does not end the
file, unless a quote in a CSV record swallows others: they could not even be counted.

CSV has no types: cells are text, an empty cell is an empty text to a layout and absence in a
user's own column, and message columns hold JSON text.
"""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from treadle.data.formats.quoting import listed
from treadle.data.formats.raw import Raw
from treadle.data.formats.strict_json import StrictJson
from treadle.data.formats.turns import MalformedError
from treadle.errors import DataError

MAX_RECORD_BYTES = 64 * 2**20
_LIST_CELLS = ("messages", "conversations", "history")
_TEXT_OR_LIST_CELLS = ("prompt", "completion", "chosen", "rejected")


def json_lines(stream: BinaryIO) -> Iterator[Raw]:
    """Yield a record a line. Blank lines are no records; a byte order mark is let through."""
    strict, number = StrictJson(), 0
    while chunk := stream.readline(MAX_RECORD_BYTES):
        number += 1
        if len(chunk) == MAX_RECORD_BYTES and not chunk.endswith(b"\n"):
            yield _oversized(stream, chunk, number)
            continue
        raw = chunk.removeprefix(b"\xef\xbb\xbf") if number == 1 else chunk
        raw = raw.rstrip(b"\r\n")
        if raw.strip():
            yield _json_line(strict, raw, number, is_whole=chunk.endswith(b"\n"))


def _oversized(stream: BinaryIO, chunk: bytes, number: int) -> Raw:
    """Pass over the rest of a line that no row can fill, keeping the digest of all of it."""
    digest = hashlib.sha256(chunk)
    while rest := stream.readline(1 << 20):
        digest.update(rest)
        if rest.endswith(b"\n"):
            break
    detail = f"over {MAX_RECORD_BYTES:,} bytes long (sha256 of the line: {digest.hexdigest()})"
    return Raw.broken(number, chunk[:1000], MalformedError("oversized_record", detail))


def _json_line(strict: StrictJson, raw: bytes, number: int, *, is_whole: bool) -> Raw:
    try:
        return Raw.of(strict.value(raw.decode("utf-8")), number, raw)
    except UnicodeDecodeError as error:
        fault = MalformedError("not_utf8", f"not UTF-8 at byte {error.start + 1}")
    except MalformedError as error:
        fault = error
        if not is_whole and error.reason == "bad_json":
            fault = MalformedError("torn_record", f"the file ends inside this record ({error})")
    return Raw.broken(number, raw, fault)


def separated(stream: BinaryIO, path: Path, delimiter: str) -> Iterator[Raw]:
    """Yield the records of a CSV or TSV file with a header.

    Raises:
        DataError: the header is broken or names a column twice; or a quote that is not closed in
            its own record has swallowed others, so that records cannot be counted.
    """
    csv.field_size_limit(max(csv.field_size_limit(), MAX_RECORD_BYTES))
    # Bytes that are not UTF-8 become lone surrogates, which only their own row pays for.
    lines = io.TextIOWrapper(stream, "utf-8-sig", "surrogateescape", newline="")
    tape: list[str] = []
    parser = csv.reader(_recorded(lines, tape), delimiter=delimiter, strict=True)
    strict = StrictJson()
    header: list[str] | None = None
    for line, values, taken in _parsed(parser, tape):
        raw = "".join(taken).rstrip("\r\n").encode("utf-8", "surrogateescape")
        if header is None:
            header = _header(values, path, line)
        elif not isinstance(values, MalformedError) and len(values) == len(header):
            yield _csv_record(strict, header, values, line, raw)
        elif _swallowed(taken[1:], len(header), delimiter):
            raise DataError(
                f"{path}:{line}: a quote that opens in this record swallows lines which look like "
                "records of their own. Close the quote, or double it if it belongs to the text."
            )
        elif isinstance(values, MalformedError):
            yield Raw.broken(line, raw, values)
        else:
            detail = f"{len(values)} cells, but the header has {len(header)}"
            yield Raw.broken(line, raw, MalformedError("wrong_cell_count", detail))


def _swallowed(lines: Iterable[str], cells: int, delimiter: str) -> bool:
    """Whether one of the later lines of a bad record is, taken alone, a record of so many cells."""
    whole = (x for x in lines if x.count('"') % 2 == 0 and len(x) < MAX_RECORD_BYTES)
    return any(len(next(csv.reader([line], delimiter=delimiter), [])) == cells for line in whole)


def _recorded(lines: Iterator[str], tape: list[str]) -> Iterator[str]:
    for line in lines:
        tape.append(line)
        yield line


def _parsed(
    parser: Iterator[list[str]], tape: list[str]
) -> Iterator[tuple[int, list[str] | MalformedError, list[str]]]:
    """Yield first line, cells (or what is wrong) and lines of each record that is not blank."""
    next_line = 1
    while True:
        values: list[str] | MalformedError
        try:
            values = next(parser)
        except StopIteration:
            return
        except csv.Error as error:
            values = MalformedError("bad_csv", f"not CSV: {error}")
        line, next_line = next_line, next_line + len(tape)
        taken = tape.copy()
        tape.clear()
        if values:
            yield line, values, taken


def _header(values: list[str] | MalformedError, path: Path, line: int) -> list[str]:
    if isinstance(values, MalformedError):
        raise DataError(f"{path}:{line}: the header is {values}.")
    names = [name.strip() for name in values]
    if len(set(names)) != len(names):
        raise DataError(f"{path}: the header names a column twice: {listed(names)}.")
    return names


def _csv_record(
    strict: StrictJson, header: list[str], values: list[str], line: int, raw: bytes
) -> Raw:
    fields: dict[str, object] = {}
    try:
        for name, cell in zip(header, values, strict=True):
            if cell or name not in _LIST_CELLS:
                fields[name] = _field(strict, name, cell)
    except MalformedError as error:
        return Raw.broken(line, raw, error)
    return Raw(line, fields, raw, blank_is_absent=True)


def _field(strict: StrictJson, name: str, cell: str) -> object:
    """Read the JSON text of a message column; where text may stand too, only if it is messages."""
    is_list = name in _LIST_CELLS
    if not is_list and (name not in _TEXT_OR_LIST_CELLS or not cell.startswith("[{")):
        return cell
    try:
        value = strict.value(cell)
    except MalformedError:
        if is_list:
            raise
        return cell
    is_messages = isinstance(value, list) and all(isinstance(item, dict) for item in value)
    return value if is_list or is_messages else cell
