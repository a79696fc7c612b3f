"""The train-readiness lint: what would go wrong if a model were trained on this pool now?

Most training runs that fail quietly fail here: the stop token carries no loss, the template rewrites
earlier turns, replies are cut off, another model's stop string stands in every answer. The lint
renders and masks every row exactly as training does, and reads the result.

    report = lint(pool, student.tokenizer)
    report.is_ready                 # no errors
    report.warnings[0].message      # "3 rows hold control tokens …"
    report.examples[0].segments     # rendered text, cut where the loss mask changes

An *error* makes training wrong or pointless: it concerns the template, or more than 5% of the rows.
A *warning* names rows to look at. *Info* is worth knowing. A check that found nothing has count 0.

Not here: duplicates and contamination (`audit/`), malformed lines (`read`), printing (the command line).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Literal

import polars as pl

from treadle.data.lint_rules import MAX_BAD_SHARE, RULES
from treadle.data.lint_text import Hits, find_in_text
from treadle.data.lint_tokens import NO_LIMIT, Masks, read_masks
from treadle.data.pool import Pool
from treadle.data.row import Row
from treadle.data.template import Tokenizer, safe_turns, tokenise

Severity = Literal["error", "warning", "info"]

SHOWN_IDS = 5
SHOWN_KINDS = 5
QUANTILES = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99, 1.0)


@dataclass(frozen=True, slots=True)
class Check:
    """One check: how many rows it concerns, up to five of their ids, and what to do."""

    name: str
    severity: Severity
    count: int
    ids: tuple[str, ...]
    message: str
    seen: Mapping[str, int] = field(default_factory=dict)
    """What was seen, and in how many rows: tokens, error messages, replies."""


@dataclass(frozen=True, slots=True)
class Segment:
    """A stretch of rendered text. `trains`: carries loss; `is_cut`: lies beyond max_tokens."""

    text: str
    trains: bool
    is_cut: bool = False


@dataclass(frozen=True, slots=True)
class Example:
    """A rendered row with its loss mask."""

    id: str
    segments: tuple[Segment, ...]


@dataclass(frozen=True, slots=True)
class Lengths:
    """Token figures. Quantiles are keyed by share; `longest` holds row ids and their lengths."""

    tokens: int
    trained_tokens: int
    row: Mapping[str, int]
    reply: Mapping[str, int]
    longest: Mapping[str, int]

    @property
    def trained_share(self) -> float | None:
        """The share of tokens that carry loss, after the cut (None without tokens)."""
        return self.trained_tokens / self.tokens if self.tokens else None


@dataclass(frozen=True, slots=True)
class LintReport:
    """What the lint found. `checks` holds every check, in a fixed order, those with count 0 too."""

    rows: int
    max_tokens: int
    checks: tuple[Check, ...]
    lengths: Lengths
    examples: tuple[Example, ...]

    def found(self, severity: Severity) -> tuple[Check, ...]:
        """Return the checks of this severity that concern at least one row."""
        return tuple(c for c in self.checks if c.count and c.severity == severity)

    @property
    def errors(self) -> tuple[Check, ...]:
        return self.found("error")

    @property
    def warnings(self) -> tuple[Check, ...]:
        return self.found("warning")

    @property
    def is_ready(self) -> bool:
        """Whether training may start: there are no errors."""
        return not self.errors

    def as_json(self) -> dict[str, object]:
        """Return plain data for `lint.json`."""
        lengths = {**asdict(self.lengths), "trained_share": self.lengths.trained_share}
        return {**asdict(self), "lengths": lengths, "is_ready": self.is_ready}


def lint(
    pool: Pool, tokenizer: Tokenizer, *, max_tokens: int = 1024, examples: int = 3
) -> LintReport:
    """Check whether a pool is ready to train on; see the module for what an error is.

    Cost: each row is rendered and encoded once. No row stops the lint: those that cannot be
    tokenised are counted under the step that failed.

    Args:
        max_tokens: the length at which training cuts rows.
        examples: how many rendered rows to return, one for each shape of conversation first.
    """
    masks = read_masks(pool.frame, tokenizer, max_tokens=max_tokens)
    hits = find_in_text(pool.frame, tokenizer.control_tokens) | _find_in_masks(masks, max_tokens)
    of_pool = {"no_rows": not len(pool), "pad_is_stop": _pads_with_stop(tokenizer)}
    unstopped = masks.rows.filter((pl.col("trained") > 0) & ~pl.col("stops")).height
    checks = tuple(
        _pool_check(name, of_pool[name])
        if name in of_pool
        else _check(name, hits[name], len(pool), unstopped)
        for name in RULES
    )
    shown = _examples(pool, masks, tokenizer, max_tokens, examples)
    return LintReport(len(pool), max_tokens, checks, _lengths(masks, max_tokens), shown)


def _find_in_masks(masks: Masks, max_tokens: int) -> dict[str, Hits]:
    conditions = {
        "no_trained_stop": (pl.col("trained_kept") > 0) & ~pl.col("stops_kept"),
        "nothing_trains": pl.col("trained") == 0,
        "reply_lost": pl.col("reply_lost"),
        "reply_cut": pl.col("reply_cut"),
        "truncated": pl.col("tokens") > max_tokens,
    }
    found = {name: Hits(tuple(masks.rows.filter(test)["id"])) for name, test in conditions.items()}
    for name in ("template_fails", "cannot_encode", "mask_impossible"):
        failed = [f for f in masks.failures if f.check == name]
        said = Counter(f.message for f in failed)
        ordered = sorted(said.items(), key=lambda item: (-item[1], item[0]))
        found[name] = Hits(tuple(f.id for f in failed), dict(ordered))
    return found


def _pads_with_stop(tokenizer: Tokenizer) -> bool:
    """Whether the tokenizer (if it has a pad token at all) pads with a stop token."""
    return getattr(tokenizer, "pad_id", None) in tokenizer.stop_ids


def _pool_check(name: str, is_found: bool) -> Check:
    level, means, advice = RULES[name]
    severity: Severity = "error" if level == "error" else "info"
    return Check(name, severity, int(is_found), (), f"{means}. {advice}")


def _check(name: str, hits: Hits, total: int, unstopped: int) -> Check:
    """Name the severity of what a check found, and say it. `unstopped`: rows with no stop, uncut."""
    level, means, advice = RULES[name]
    count = len(hits.ids)
    bad = unstopped if name == "no_trained_stop" else count  # rows that are cut only warn
    severity: Severity = "info" if level == "info" else "warning"
    if level == "bad_row" and bad > MAX_BAD_SHARE * total:
        severity = "error"
    ids, seen = hits.ids[:SHOWN_IDS], dict(list(hits.seen.items())[:SHOWN_KINDS])
    return Check(name, severity, count, ids, f"{count:,} of {total:,} rows {means}. {advice}", seen)


def _lengths(masks: Masks, max_tokens: int) -> Lengths:
    rows = masks.rows
    longest = rows.sort("tokens", "id", descending=[True, False]).head(SHOWN_IDS)
    return Lengths(
        tokens=int(rows["tokens"].clip(upper_bound=max_tokens).sum()),
        trained_tokens=int(rows["trained_kept"].sum()),
        row=_quantiles(rows["tokens"]),
        reply=_quantiles(rows["reply"]),
        longest=dict(zip(longest["id"], longest["tokens"], strict=True)),
    )


def _quantiles(values: pl.Series) -> dict[str, int]:
    if values.is_empty():
        return {}
    return {f"{q:g}": int(values.quantile(q, "nearest") or 0) for q in QUANTILES}


def _examples(
    pool: Pool, masks: Masks, tokenizer: Tokenizer, max_tokens: int, wanted: int
) -> tuple[Example, ...]:
    """Show the row of median length of each shape of conversation, the commonest shape first."""
    shape = pl.concat_str(
        "kind", pl.col("messages").list.eval(pl.element().struct.field("role")).list.join(" ")
    )
    rows = masks.rows.join(pool.frame.select("id", shape=shape), on="id")
    middle = (pl.col("tokens") - pl.col("tokens").median().over("shape")).abs()
    rows = rows.with_columns(middle=middle, common=pl.len().over("shape")).sort("middle", "id")
    rows = rows.with_columns(nth=pl.int_range(pl.len()).over("shape"))
    order = rows.sort("nth", "common", "shape", descending=[False, True, False])
    chosen = order["id"].to_list()[: max(wanted, 0)]
    by_id = {row.id: row for row in pool.keep(chosen).rows()}
    shown = ((key, by_id[key]) for key in chosen)
    return tuple(Example(k, segments(r, tokenizer, max_tokens=max_tokens)) for k, r in shown)


def segments(row: Row, tokenizer: Tokenizer, *, max_tokens: int = NO_LIMIT) -> tuple[Segment, ...]:
    """Render a row and cut the text where the loss mask changes. Joined, it is the whole text.

    Raises:
        DataError: the template rewrites earlier turns, so that no mask can be right.
    """
    tokens = tokenise([row], tokenizer, max_tokens=NO_LIMIT)[0]
    text = tokenizer.render(safe_turns(row.conversation, tokenizer), open_reply=False)
    starts: Sequence[int] = tokenizer.encode([text])[0].starts.tolist()
    marks = [(bool(t), i >= max_tokens) for i, t in enumerate(tokens.trains)]
    flips = [i for i in range(1, len(marks)) if marks[i] != marks[i - 1]]
    begins = [0, *(starts[i] for i in flips)]
    kinds = [marks[i] for i in [0, *flips]] if marks else [(False, False)]
    ends = [*begins[1:], len(text)]
    return tuple(
        Segment(text[begin:end], trains, is_cut)
        for begin, end, (trains, is_cut) in zip(begins, ends, kinds, strict=True)
        if end > begin
    )
