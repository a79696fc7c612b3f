"""What messages quote from data: short and printable, for no escape sequence may reach a terminal.

Column names and records are written by strangers. A lone surrogate in them could not even be
encoded, so one bad record would cost every message and file that quotes it.
"""

from __future__ import annotations

from collections.abc import Sequence

NAME_CHARACTERS = 40
MOST_NAMES = 20


def printable(text: str, most: int) -> str:
    """Return the first `most` characters with blanks and marks in place of what cannot be shown."""
    return "".join(c if c.isprintable() else " " if c.isspace() else "\ufffd" for c in text[:most])


def listed(names: Sequence[str], most: int = MOST_NAMES) -> str:
    """Return the first names as a list to read, and say how many more there are."""
    shown = ", ".join(printable(name, NAME_CHARACTERS) for name in names[:most])
    more = len(names) - most
    return f"{shown} and {more:,} more" if more > 0 else shown or "none"
