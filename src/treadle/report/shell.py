"""The shell of every page: head, style and script inline, and a policy that allows nothing else.

The policy names the hash of the one script and of the one style sheet, so that even markup that
slipped through could neither run nor load anything.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from importlib.resources import files

from treadle.report.markup import Child, Safe, Section, join, tag

FILE_NAME = "report.html"


def document(
    title: str, navigation: Safe, main: Sequence[Child], *, with_script: bool = False
) -> str:
    """Return a whole page; `with_script` adds the row browser's."""
    style = _asset("report.css")
    script = _asset("report.js") if with_script else ""
    body = tag(
        "body",
        tag("a", "Skip to the report", href="#main", class_="skip"),
        navigation,
        tag(
            "main",
            *main,
            tag("footer", "Made by treadle. This file is complete: it loads nothing."),
            id="main",
        ),
        tag("script", Safe(script)) if script else None,
    )
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=_policy(style, script)),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("meta", name="referrer", content="no-referrer"),
        tag("link", rel="icon", href="data:,"),
        tag("title", title),
        tag("style", Safe(style)),
    )
    return f"<!doctype html>\n{tag('html', head, body, lang='en').text}\n"


def _policy(style: str, script: str) -> str:
    """This script, this style sheet, and nothing else."""
    return "; ".join(
        [
            "default-src 'none'",
            *([f"script-src {_source(script)}"] if script else []),
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


def shown(section: Section) -> Safe:
    """Return a section with its heading."""
    heading = tag("h2", section.title, id=f"{section.anchor}-title")
    return tag(
        "section",
        heading,
        section.body,
        id=section.anchor,
        aria_labelledby=f"{section.anchor}-title",
    )


def contents(name: str, sections: Sequence[Section], pill: Safe | None = None) -> Safe:
    """Return the navigation."""
    links = [tag("li", tag("a", s.short, href=f"#{s.anchor}")) for s in sections]
    head = join([tag("strong", "treadle"), tag("span", name, class_="run-name"), pill])
    return tag(
        "nav",
        tag("div", head, class_="nav-head"),
        tag("ul", *links),
        id="contents",
        aria_label="Contents",
    )
