"""The target's own rows as a training set: does selecting by a target beat training on it?

A selector that looks for rows like a target's has used up labelled examples of the very capability that
is judged. Whoever has them could train on them instead; a comparison whose recipe has a target therefore
shows that as a reference (`target_rows`). They are few, so it is neither matched in tokens nor tested.
"""

from __future__ import annotations

from dataclasses import replace

from treadle.data.pool import Pool
from treadle.data.selection import Findings
from treadle.flywheel.features import Features, measure_pool
from treadle.flywheel.load import Inputs
from treadle.flywheel.measured import cut_at
from treadle.flywheel.round import Round

TARGET = "target_rows"


def target_of(one: Round, inputs: Inputs) -> tuple[Pool, Features] | None:
    """Return the target's rows without evaluation items, and their lengths; None if there are none."""
    pool, audit = inputs.target, one.recipe.audits.get("contamination")
    if pool is None:
        return None
    if audit is not None:
        index = inputs.sealed.index(ngram=int(audit.options["ngram"]))
        found: Findings = audit.make()(pool, replace(one.context, sealed=index))
        pool = pool.without(found.rows["id"])
        if found.rows.height:
            one.observer.note(
                f"{found.rows.height:,} target rows hold evaluation items: not trained on"
            )
    options = cut_at(one.max_tokens, one.recipe.measures)
    lengths = measure_pool(pool, ["length"], options, one.context)
    return (pool, lengths) if lengths.frame["length_total"].count() else None
