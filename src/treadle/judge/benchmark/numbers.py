"""Tasks about quantities: what is computed is a number, a date or a time."""

from __future__ import annotations

import datetime
import random

from treadle.judge.benchmark.task import Draft, Family, is_number, nearby

Random = random.Random


def arithmetic(rng: Random) -> Draft:
    """A chain of four operations with brackets."""
    a, b, c, d = (rng.randint(11, 49) for _ in range(4))
    k = rng.randint(3, 9)
    right = (a + b) * k - c + d
    flat = a + b * k - c + d  # forgets the brackets
    return Draft(
        f"Compute ({a} + {b}) × {k} − {c} + {d}. Give the number.",
        str(right),
        nearby(right, rng, flat, (a + b) * k - (c + d), (a + b) * k - c, right + 2 * c),
        str((a + b) * k + c - d),
        is_number(right),
    )


def bill(rng: Random) -> Draft:
    """A sum of prices with a discount, in whole cents."""
    counts = [rng.randint(2, 9) for _ in range(3)]
    cents = [rng.randrange(120, 1990, 20) for _ in range(3)]
    off = rng.choice((5, 10, 15, 20, 25))
    full = sum(n * price for n, price in zip(counts, cents, strict=True))
    right = full * (100 - off) / 10_000
    items = ", ".join(
        f"{n} {what} at {price / 100:.2f}"
        for n, what, price in zip(counts, ("notebooks", "pens", "folders"), cents, strict=True)
    )
    slips = [right + s for s in (0.1, -0.1, 1, -1, 0.9, -0.9)]
    slips += [full / 100 - off, (full - counts[0] * cents[0]) * (100 - off) / 10_000]
    return Draft(
        f"Someone buys {items}, and gets {off}% off the whole bill. What is to be paid? Give the amount "
        "with two decimals.",
        f"{right:.2f}",
        tuple(f"{slip:.2f}" for slip in slips),
        f"{full / 100:.2f}",
        is_number(right, within=0.005),
    )


def unit(rng: Random) -> Draft:
    """A conversion of units whose result is exact in two decimals."""
    name, goal, factor, other = rng.choice(
        [
            ("kilometres per hour", "metres per minute", 1000 / 60, 60 / 1000),
            ("hours", "seconds", 3600, 60),
            ("inches", "centimetres", 2.54, 1 / 2.54),
            ("square metres", "square centimetres", 10_000, 100),
            ("pounds", "kilograms", 0.45359237, 1 / 0.45359237),
            ("feet", "metres", 0.3048, 1 / 0.3048),
            ("gallons (US)", "litres", 3.785411784, 1 / 3.785411784),
        ]
    )
    value = rng.randint(13, 480)
    right = round(value * factor, 2)
    slips = [right * 1.1, right * 0.9, right * 1.01, right * 0.99, right + 1, right - 1, right * 10]
    return Draft(
        f"Convert {value} {name} to {goal}, rounded to two decimals. Give the number.",
        f"{right:.2f}",
        tuple(f"{slip:.2f}" for slip in slips),
        f"{value * other:.2f}",
        is_number(right, within=0.0051),
    )


def base(rng: Random) -> Draft:
    """A number in binary."""
    value = rng.randint(130, 1000)
    right = f"{value:b}"
    flips = [value ^ (1 << bit) for bit in range(len(right) - 1)]
    return Draft(
        f"Write the decimal number {value} in binary, without a prefix.",
        right,
        tuple(f"{flip:b}" for flip in flips),
        f"{value:o}",
        lambda text: text.isdigit() and set(text) <= {"0", "1"} and int(text, 2) == value,
    )


def date(rng: Random) -> Draft:
    """A date some days after another."""
    start = datetime.date(rng.randint(1960, 2040), rng.randint(1, 12), rng.randint(1, 28))
    days = rng.randint(40, 320)

    def shown(offset: int) -> str:
        return (start + datetime.timedelta(days=offset)).isoformat()

    return Draft(
        f"Which date is {days} days after {start.isoformat()}? Give it as YYYY-MM-DD.",
        shown(days),
        tuple(shown(days + slip) for slip in (-30, -10, -2, -1, 1, 2, 10, 31)),
        shown(-days),
        lambda text: text == shown(days),
    )


def clock(rng: Random) -> Draft:
    """A time of day some hours and minutes later, over midnight as well."""
    start, later = rng.randrange(24 * 60), rng.randint(70, 900)

    def shown(minutes: int) -> str:
        return f"{minutes // 60 % 24:02d}:{minutes % 60:02d}"

    return Draft(
        f"It is {shown(start)}. What time is it {later // 60} hours and {later % 60} minutes later? Give it as "
        "HH:MM on the 24-hour clock.",
        shown(start + later),
        tuple(shown(start + later + slip) for slip in (-60, -40, -10, -1, 1, 10, 40, 60)),
        shown(start - later),
        lambda text: text == shown(start + later),
    )


NUMBERS: dict[str, Family] = {
    "arithmetic": arithmetic, "bill": bill, "unit": unit, "base": base, "date": date, "clock": clock,
}  # fmt: skip
