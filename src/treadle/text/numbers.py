"""The numbers that a text names: what tells two problems of one template apart.

    numbers("Tom has 12 apples and 1,500 pears.")   -> ("12", "1500")

A sentence encoder hardly sees numbers: "Tom has 12 apples" and "Tom has 21 apples" are one to it.
Words for numbers ("twelve") are not read, so a text that says "12" and one that says "twelve" name
different numbers.
"""

from __future__ import annotations

import re

_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")


def numbers(text: str) -> tuple[str, ...]:
    """Return the numbers of a text, sorted and with repeats; commas inside a number are dropped."""
    return tuple(sorted(found.replace(",", "") for found in _NUMBER.findall(text)))
