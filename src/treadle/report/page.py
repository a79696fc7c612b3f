"""Put the page together: sections in the order in which a sceptic asks, style and script inline,
and a content policy that allows nothing else.

The policy names the hash of the one script and of the one style sheet, so that even markup that
slipped through could neither run nor load anything.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

from treadle.machinery.disk import Disk
from treadle.report.audits import audit, lint, planted
from treadle.report.browse import browse
from treadle.report.costs import costs
from treadle.report.flow import dropped, flow
from treadle.report.folder import RunFolder, read_run
from treadle.report.items import items
from treadle.report.markup import Safe, Section, join, tag
from treadle.report.provenance import provenance, recipe
from treadle.report.scores import scores
from treadle.report.spread import spread
from treadle.report.training import training
from treadle.report.verdict import WORDS, banner

FILE_NAME = "report.html"


def write_report(folder: Path) -> Path:
    """Write `report.html` into a run folder and return its path.

    The same folder gives the same bytes, apart from times and costs. A run that has not finished
    gives a shorter page that says what is not there yet.

    Raises:
        DataError: the folder holds no part of a run.
        StoreError: the page cannot be written; an older page is still whole.
    """
    run = read_run(folder)
    path = folder / FILE_NAME
    # A lone surrogate (possible in JSON) has no UTF-8 form: it becomes a question mark.
    Disk().publish(path, page(run).encode("utf-8", "replace"))
    return path


def page(run: RunFolder) -> str:
    """Return the whole page."""
    style, script = _asset("report.css"), _asset("report.js")
    sections = _sections(run)
    body = tag(
        "body",
        tag("a", "Skip to the report", href="#main", class_="skip"),
        _navigation(run, sections),
        tag(
            "main",
            banner(run),
            *(_shown(section) for section in sections),
            tag("footer", "Made by treadle. This file is complete: it loads nothing."),
            id="main",
        ),
        tag("script", Safe(script)),
    )
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=policy(style, script)),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("meta", name="referrer", content="no-referrer"),
        tag("link", rel="icon", href="data:,"),
        tag("title", _title(run)),
        tag("style", Safe(style)),
    )
    return f"<!doctype html>\n{tag('html', head, body, lang='en').text}\n"


def policy(style: str, script: str) -> str:
    """Return the content policy: this script, this style sheet, and nothing else."""
    return "; ".join(
        [
            "default-src 'none'",
            f"script-src {_source(script)}",
            f"style-src {_source(style)}",
            "img-src data:",
            "base-uri 'none'",
            "form-action 'none'",
            "require-trusted-types-for 'script'",
            "trusted-types 'none'",
        ]
    )


def _source(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


def _asset(name: str) -> str:
    # Browsers turn \r\n into \n before they hash, so the hash is taken over \n as well.
    text = (files("treadle.report") / name).read_text(encoding="utf-8")
    return text.replace("\r\n", "\n")


def _sections(run: RunFolder) -> list[Section]:
    parts = [
        scores(run),
        flow(run),
        dropped(run),
        spread(run),
        training(run),
        audit(run),
        lint(run),
        planted(run),
        costs(run),
        browse(run),
        items(run),
        recipe(run),
        provenance(run),
    ]
    return [part for part in parts if part is not None]


def _shown(section: Section) -> Safe:
    heading = tag("h2", section.title, id=f"{section.anchor}-title")
    return tag(
        "section",
        heading,
        section.body,
        id=section.anchor,
        aria_labelledby=f"{section.anchor}-title",
    )


def _navigation(run: RunFolder, sections: Sequence[Section]) -> Safe:
    decision = run.verdict.decision if run.verdict is not None else "undecided"
    verdict = tag(
        "a", WORDS.get(decision, "No verdict"), href="#verdict", class_=f"pill {decision}"
    )
    links = [tag("li", tag("a", s.short, href=f"#{s.anchor}")) for s in sections]
    head = join([tag("strong", "treadle"), tag("span", run.name, class_="run-name"), verdict])
    return tag(
        "nav",
        tag("div", head, class_="nav-head"),
        tag("ul", *links),
        id="contents",
        aria_label="Contents",
    )


def _title(run: RunFolder) -> str:
    decision = WORDS.get(run.verdict.decision, "") if run.verdict is not None else "no verdict yet"
    return f"{run.name}: {decision.lower()} · treadle"
