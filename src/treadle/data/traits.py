"""What can be said of a row without a model: its format, and which people it speaks of.

Used to see what a selection drops. A trait that is missed is missed for kept and dropped rows alike,
so simple patterns are enough; they are no detector of code or of persons.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray

Flags = NDArray[np.bool_]

FORMATS = {
    "code": r"```|^\s*(def|class|import|from|return|#include|public|function|SELECT)\b[^.\n]*$",
    "list": r"^\s*([-*•]|\d{1,2}[.)])\s+\S",
    "table": r"^\s*\|.*\|.*\|\s*$",
    "json": r"^\s*[\[{]\s*\"",
    "mathematics": r"\$[^$\n]+\$|\\\(|\\frac|[0-9]\s*[+*/=×÷]\s*[0-9]",
    "link": r"https?://",
}
"""Regular expressions on the text of a row, line by line."""

# Terms of Dixon et al. (2018), Measuring and Mitigating Unintended Bias in Text Classification.
IDENTITIES = {
    "gender": "male female nonbinary man men woman women boy boys girl girls transgender trans",
    "orientation": "lesbian gay bisexual queer lgbt lgbtq homosexual straight heterosexual",
    "religion": "christian muslim jewish buddhist catholic protestant sikh taoist hindu atheist",
    "origin": "african american black white european hispanic latino latina latinx mexican canadian "
    "asian indian chinese japanese arab immigrant immigrants refugee refugees",
    "age": "old older elderly young younger teenage teenager millennial senior seniors",
    "disability": "blind deaf paralyzed disabled disability autistic wheelchair",
}
_IDENTITY = {
    name: rf"(?i)\b({'|'.join(sorted(terms.split()))})\b" for name, terms in IDENTITIES.items()
}


def text_traits(texts: Sequence[str]) -> dict[str, dict[str, Flags]]:
    """Return, under `format` and `mentions`, which rows have each trait."""
    series = pl.Series(texts, dtype=pl.String)
    found = {
        "format": {
            name: series.str.contains(f"(?m){pattern}").to_numpy()
            for name, pattern in FORMATS.items()
        },
        "mentions": {
            name: series.str.contains(pattern).to_numpy() for name, pattern in _IDENTITY.items()
        },
    }
    found["format"]["plain text"] = ~np.any([*found["format"].values()], axis=0)
    return found


def value_traits(values: pl.Series, *, most: int = 40) -> dict[str, Flags]:
    """Return which rows have each value of a column, commonest first; rare ones as `(others)`."""
    texts = values.cast(pl.String).fill_null("(none)").rename("value")
    counts = texts.value_counts(name="rows").sort(["rows", "value"], descending=[True, False])
    common = counts["value"].head(most).to_list()
    found = {str(value): (texts == value).to_numpy() for value in common}
    rest = ~texts.is_in(common).to_numpy()
    return {**found, "(others)": rest} if rest.any() else found


def fifths(values: pl.Series, names: Sequence[str]) -> dict[str, Flags]:
    """Return which rows lie in each fifth of a numeric column; rows without a value in none."""
    known = values.is_not_null().to_numpy()
    numbers = values.cast(pl.Float64).fill_null(0.0).to_numpy()
    if not known.any():
        return {}
    edges = np.quantile(numbers[known], np.arange(1, len(names)) / len(names))
    place = np.searchsorted(edges, numbers, side="right")
    return {name: known & (place == i) for i, name in enumerate(names)}


def is_usable(traits: Mapping[str, Flags]) -> bool:
    """Whether a group of traits tells rows apart at all."""
    return any(0 < int(flags.sum()) < len(flags) for flags in traits.values())
