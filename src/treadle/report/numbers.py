"""Numbers as people read them: thousands separators, 3 significant digits, a true minus sign.

    count(12345) == "12,345"    figure(0.012345) == "0.0123"    signed(-0.5, 2) == "−0.50"

Missing is not zero: None and NaN become an en dash. Within one table the numbers of a column share
their decimals (`decimals`), so that they line up.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

ABSENT = "–"
MINUS = "−"


def number(value: object) -> float | None:
    """Return a finite float, or None for anything that is not a finite number."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if math.isfinite(value) else None


def count(value: float | None) -> str:
    """Format a whole number: `12,345`."""
    found = number(value)
    return ABSENT if found is None else f"{round(found):,}".replace("-", MINUS)


def plural(value: float | None, noun: str) -> str:
    """Format a count with its noun: `1 row`, `2 rows`."""
    return f"{count(value)} {noun}{'' if value == 1 else 's'}"


def figure(value: float | None) -> str:
    """Format a measured number with 3 significant digits; from 1,000 on as a whole number."""
    found = number(value)
    if found is None:
        return ABSENT
    mantissa, power = f"{found:.2e}".split("e")
    if found == int(found) or int(power) >= 3:
        return count(found)
    if int(power) < -4:
        return f"{mantissa}e{int(power)}".replace("-", MINUS)
    return f"{found:.{max(0, 2 - int(power))}f}".replace("-", MINUS)


def flops(value: float | None) -> str:
    """Format floating-point operations with 3 significant digits: `2.15e15`."""
    found = number(value)
    if found is None:
        return ABSENT
    mantissa, power = f"{found:.2e}".split("e")
    return f"{float(mantissa):g}e{int(power)}" if found else "0"


def decimals(widths: Iterable[float | None]) -> int:
    """Return the decimals that show interval half-widths with 2 significant digits.

    The narrowest counts, but one that is far narrower than the others does not stretch them all.
    """
    known = sorted(w for w in map(number, widths) if w is not None and w > 0)
    if not known:
        return 3
    narrow, middle = (1 - math.floor(math.log10(w)) for w in (known[0], known[len(known) // 2]))
    return min(6, max(0, min(narrow, middle + 1)))


def fixed(value: float | None, places: int) -> str:
    """Format with a given number of decimals."""
    found = number(value)
    return ABSENT if found is None else f"{found:,.{places}f}".replace("-", MINUS)


def signed(value: float | None, places: int) -> str:
    """Format a difference: always with its sign."""
    found = number(value)
    return ABSENT if found is None else f"{found:+,.{places}f}".replace("-", MINUS)


def interval(low: float | None, high: float | None, places: int) -> str:
    """Format an interval: `[−0.012, 0.050]`."""
    return f"[{fixed(low, places)}, {fixed(high, places)}]"


def share(part: float | None, whole: float | None) -> str:
    """Format a share as a percentage with at most 3 significant digits."""
    top, bottom = number(part), number(whole)
    if top is None or not bottom:
        return ABSENT
    percent = 100 * top / bottom
    if percent in (0.0, 100.0):
        return f"{percent:.0f}%"
    if 0 < percent < 0.1:
        return "<0.1%"
    return f"{percent:.1f}%" if percent < 100 else f"{percent:,.0f}%"


def probability(value: float | None) -> str:
    """Format a p-value: 3 decimals, `<0.001` below."""
    found = number(value)
    if found is None:
        return ABSENT
    return "<0.001" if found < 0.001 else f"{found:.3f}"


def duration(seconds: float | None) -> str:
    """Format seconds as `0.42 s`, `12.3 s`, `4 min 10 s` or `2 h 05 min`."""
    found = number(seconds)
    if found is None:
        return ABSENT
    if found < 60:
        return f"{figure(found)} s" if found else "0 s"
    minutes, rest = divmod(round(found), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60:,} h {minutes % 60:02d} min"


def size(size_bytes: int) -> str:
    """Format a file size in decimal units."""
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size_bytes >= factor:
            return f"{figure(size_bytes / factor)} {unit}"
    return f"{size_bytes} B"
