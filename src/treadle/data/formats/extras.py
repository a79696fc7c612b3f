"""The user's own columns as JSON text: what travels with a row without being part of it.

Equal columns must be equal text, and every later reader must be able to take the text, so what JSON
or a 64-bit column cannot hold makes the record malformed here and not some day in an export.
"""

from __future__ import annotations

import datetime
import decimal
import json
import re
from collections.abc import Iterable, Mapping

from treadle.data.formats.turns import MalformedError

_MANY_DIGITS = re.compile(r"\d{19}")


def extra_json(extra: Mapping[str, object]) -> str:
    """Encode the user's own columns, keys sorted, so that equal columns are equal text.

    Raises:
        MalformedError: NaN or infinity, an integer beyond 64 bits, or text that is not Unicode.
    """
    try:
        text = _ENCODER.encode(extra)
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise MalformedError("not_unicode", "a column's text is not valid Unicode") from None
    except (ValueError, TypeError, RecursionError) as error:
        raise MalformedError("bad_column", f"a column cannot be kept as JSON: {error}") from None
    if _MANY_DIGITS.search(text):
        _check_integers(extra)
    return text


def _plain(value: object) -> object:
    """Columns of typed files (Parquet, Arrow) that JSON has no type for."""
    if isinstance(value, (datetime.datetime, datetime.date, datetime.time)):
        return value.isoformat()
    if isinstance(value, (decimal.Decimal, datetime.timedelta)):
        return str(value)
    if isinstance(value, bytes):
        return value.hex()
    raise TypeError(f"type {type(value).__name__}")


_ENCODER = json.JSONEncoder(sort_keys=True, ensure_ascii=False, allow_nan=False, default=_plain)


def _check_integers(value: object) -> None:
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        raise MalformedError("oversized_integer", f"the integer {value} does not fit in 64 bits")
    for child in _children(value):
        _check_integers(child)


def _children(value: object) -> Iterable[object]:
    if isinstance(value, Mapping):
        return value.values()
    return value if isinstance(value, (list, tuple)) else ()
