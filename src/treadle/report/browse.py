"""The row browser: the shell that the page's script fills. Rows themselves come from `explorer`."""

from __future__ import annotations

from collections.abc import Mapping

from treadle.report.explorer import MAX_CHARS, Embedded, embed
from treadle.report.folder import RunFolder
from treadle.report.markup import Safe, Section, absent, explain, join, tag
from treadle.report.numbers import count

DATA_ID = "row-data"
WORDS = {"left": "not chosen", "kept": "passed the audit", "failed": "measure failed"}


def browse(run: RunFolder) -> Section:
    """Return the section with controls, an empty list and the embedded rows."""
    title, short = "The rows", "Rows"
    embedded = embed(run)
    if not embedded.totals:
        return Section("rows", title, short, absent("No rows yet: pool/ is not there."))
    body = join(
        [
            explain(
                "Every row with what became of it. A dropped duplicate stands beside the row that "
                "was kept, with the words that differ marked. Texts are shown as they are, never "
                "rendered; control characters are made visible."
            ),
            _missing(embedded),
            tag("noscript", tag("p", "Browsing needs scripts. The rows lie in pool/.")),
            _controls(),
            tag("p", id="row-count", class_="row-count", role="status"),
            tag("div", id="row-list", class_="row-list"),
            _pager(),
            # Safe: escape_json leaves no character that could end the element.
            tag("script", Safe(embedded.json), type="application/json", id=DATA_ID),
        ]
    )
    return Section("rows", title, short, body)


def _missing(embedded: Embedded) -> Safe | None:
    """Say how many rows are not in the page, how texts are cut, and where everything is."""
    total, shown = sum(embedded.totals.values()), sum(embedded.shown.values())
    words = []
    if shown < total:
        parts = _listed(embedded.shown, embedded.totals)
        words.append(
            f"This page holds {count(shown)} of {count(total)} rows, an equal share of every status "
            f"and reason: {parts}. Search sees these only."
        )
    if embedded.chars < MAX_CHARS:
        words.append(f"Texts are cut at {count(embedded.chars)} characters a row.")
    if not words:
        return None
    where = "All rows are in pool/, findings.parquet, selection.parquet and quarantine.jsonl."
    return tag("p", " ".join([*words, where]), class_="notice")


def _listed(shown: Mapping[str, int], totals: Mapping[str, int]) -> str:
    parts = [
        f"{WORDS.get(name, name)} {count(shown.get(name, 0))} of {count(n)}"
        for name, n in totals.items()
    ]
    return ", ".join(parts)


def _controls() -> Safe:
    return tag(
        "div",
        tag("div", id="row-status", class_="chips", role="group", aria_label="Status"),
        tag(
            "div",
            tag(
                "input",
                type="search",
                id="row-search",
                placeholder="Search text, id or file",
                aria_label="Search in the rows",
                autocomplete="off",
                spellcheck="false",
            ),
            _select("row-reason", "Reason"),
            _select("row-sort", "Order"),
            class_="fields",
        ),
        class_="controls",
        id="row-controls",
        hidden=True,
    )


def _select(key: str, words: str) -> Safe:
    return tag("label", tag("span", words), tag("select", id=key))


def _pager() -> Safe:
    return tag(
        "nav",
        tag("button", "← Previous", type="button", id="row-previous"),
        tag("span", id="row-page"),
        tag("button", "Next →", type="button", id="row-next"),
        class_="pager",
        id="row-pager",
        aria_label="Pages of rows",
        hidden=True,
    )
