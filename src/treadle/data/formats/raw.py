"""A raw record: what a file holds before anyone has asked which layout it follows."""

from __future__ import annotations

import json
from dataclasses import dataclass

from treadle.data.formats.turns import MalformedError, type_name


@dataclass(frozen=True, slots=True)
class Raw:
    """One record as it was found: its fields, or the error that kept them from being read.

    `line` is the line in the file for JSON Lines and CSV, and the 1-based record number elsewhere.
    `blank_is_absent`: the file has no null (CSV), so an empty text in a user's column means none.
    """

    line: int
    fields: dict[str, object]
    raw: bytes | None = None
    error: MalformedError | None = None
    blank_is_absent: bool = False

    @classmethod
    def of(cls, value: object, line: int, raw: bytes | None = None) -> Raw:
        """Wrap a parsed value; anything but an object is an error."""
        if isinstance(value, dict):
            return cls(line, value, raw)
        detail = f"the record is {type_name(value)}, not an object"
        return cls(line, {}, raw, MalformedError("not_an_object", detail))

    @classmethod
    def broken(cls, line: int, raw: bytes, error: MalformedError) -> Raw:
        """A record that could not be parsed."""
        return cls(line, {}, raw, error)

    def blob(self) -> bytes:
        """The record's bytes; typed files have none, so there it is the fields as JSON."""
        if self.raw is not None:
            return self.raw
        return json.dumps(self.fields, sort_keys=True, default=str).encode()
