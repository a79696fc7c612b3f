"""Hand audits what they declare: features of the rows, the sealed index, features of the items.

An audit cannot call a measure (folders of ops do not know each other). It names the features that
it reads, as a selector does; they are measured here, once, and shared with every later reader.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import polars as pl

from treadle.context import Context
from treadle.data.pool import Pool
from treadle.evaluate.sealed import SealedSets
from treadle.flywheel.features import measure_pool
from treadle.op import BoundOp

NGRAM = 13


def audit_context(
    audits: Mapping[str, BoundOp],
    pool: Pool,
    sealed: SealedSets | None,
    context: Context,
    options: Mapping[str, Mapping[str, Any]],
) -> Context:
    """Return a context with all that these audits read.

    A row on which a measure fails has no value; an audit that finds none does not compare that row.

    Args:
        options: of measures, by name.
    """
    needs = list(dict.fromkeys(name for bound in audits.values() for name in bound.needs))
    if needs:
        frame = measure_pool(pool, needs, options, context, stage="audit.measure").frame
        # A pool without rows has no columns.
        missing = [pl.lit(None).alias(name) for name in needs if name not in frame.columns]
        context = replace(context, features=frame.with_columns(missing))
    if sealed is None:
        return context
    contamination = audits.get("contamination")
    ngram = int(contamination.options["ngram"]) if contamination is not None else NGRAM
    context = replace(context, sealed=sealed.index(ngram=ngram))
    of_items = list(dict.fromkeys(name for bound in audits.values() for name in bound.items))
    if not of_items:
        return context

    def measure(items: Pool) -> pl.DataFrame:
        found = measure_pool(
            items, of_items, options, context, fitted_on=pool, stage="audit.measure"
        )
        return found.frame.select("id", *of_items)

    return replace(context, items=sealed.features(measure))
