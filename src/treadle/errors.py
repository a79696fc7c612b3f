"""The error tree. A message says what went wrong (with the value), where, and what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class TreadleError(Exception):
    """Any failure that treadle foresees. The command line prints it as one paragraph."""

    exit_code = 1


class RecipeError(TreadleError):
    """A recipe, option or argument is wrong. Nothing has been spent."""

    exit_code = 2


class DataError(TreadleError):
    """Input rows cannot be used: no such file, unknown layout, too many malformed rows."""


class ModelError(TreadleError):
    """A model cannot be loaded or failed; `retryable` says whether trying again may help."""

    def __init__(self, message: str, *, retryable: bool = False) -> None:
        super().__init__(message)
        self.retryable = retryable


class LicenceError(TreadleError):
    """A judge may not do what is asked of it: it has no licence, or one that does not hold."""


class JudgeError(TreadleError):
    """A judge lets known bad answers pass: its verdicts are not used."""


class BudgetError(TreadleError):
    """A budget ran out. The run stopped cleanly and resumes with a larger budget."""

    exit_code = 4


class SandboxError(TreadleError):
    """Model-written code cannot be run safely here."""


class StoreError(TreadleError):
    """A durable artefact is missing, damaged, locked or cannot be written."""


def nearest(name: str, known: Iterable[str]) -> str:
    """Return ` Did you mean 'x'?` for the nearest known name, or the list of known names."""
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    if close:
        return f" Did you mean {close[0]!r}?"
    return f" Known: {', '.join(names)}." if names else ""
