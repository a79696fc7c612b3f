"""In which language is a row written?"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Annotated, Any

import polars as pl
from pydantic import Field

from treadle.context import Context
from treadle.data.parts import Part, part_texts
from treadle.errors import ModelError
from treadle.op import measure

READ_CHARS = 5_000
"""Languages do not become clearer after that; only the beginning of longer texts is read."""


@measure(
    reference="langid.py (ACL 2012), as py3langid",
    cost="1 s to load 5 MB of n-grams, then 1 µs a character",
)
def language(
    *, of: Part = "row", min_confidence: Annotated[float, Field(ge=0, le=1)] = 0.5
) -> Callable[[pl.DataFrame, Context], pl.DataFrame]:
    """Measure the most likely of 139 languages, by the byte n-grams of the first 5,000 characters.

    Columns: `language`, its ISO 639 code, or `zxx` for markup and the like; missing where the
    confidence is below `min_confidence`; `language_confidence`, the probability of the best guess
    even so. Short texts, lists of names and code give low confidence or odd languages; a row in two
    languages gets one. Close relatives (Bosnian and Croatian, English and Nigerian Pidgin) are mixed
    up. Of 2,996 English rows of Dolly 98% are named, and 9 of them wrongly; cut to their first 20
    characters, 77% are named and 0.4% of these wrongly. A part without text has neither. Needs the
    extra `text`.

    Raises:
        ModelError: py3langid is not installed.
    """

    def run(batch: pl.DataFrame, context: Context) -> pl.DataFrame:
        classify = _identifier().classify
        found: list[tuple[str | None, float | None]] = []
        for text in part_texts(batch, of):
            context.tick()
            code, confidence = (None, None) if text is None else classify(text[:READ_CHARS])
            found.append((code, None if confidence is None else round(confidence, 4)))
        schema = {"language": pl.String, "language_confidence": pl.Float64}
        columns = pl.DataFrame(found, schema=schema, orient="row")
        is_sure = pl.col("language_confidence") >= min_confidence
        return columns.with_columns(pl.when(is_sure).then("language"))

    return run


@cache
def _identifier() -> Any:
    """Load the model, once a process."""
    try:
        from py3langid.langid import MODEL_FILE, LanguageIdentifier
    except ModuleNotFoundError as error:
        raise ModelError(
            f"measure.language needs the package {error.name!r}. Run: pip install 'treadle[text]'"
        ) from error
    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
