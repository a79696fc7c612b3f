"""HTML that is safe by construction: text is escaped, only `Safe` passes as it is.

    tag("p", "1 < 2", class_="note")  ->  <p class="note">1 &lt; 2</p>

Attributes that could run code or leave the page (`on…`, `style`, `src`, links other than `#…`) are
refused, so a mistake in a section is an error here and not a hole in the report. Row texts do not
come this way: see `explorer`.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

Text = str | int | float
_NAME = re.compile(r"[a-zA-Z][a-zA-Z0-9-]*\Z")
# C0 and C1 controls (ANSI colours among them) and the marks that turn the direction of text: shown,
# never obeyed.
_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")


@dataclass(frozen=True, slots=True)
class Safe:
    """Markup that was built here."""

    text: str


Child = Safe | Text | None


@dataclass(frozen=True, slots=True)
class Section:
    """One part of the page: its anchor, its title, its short name in the navigation, its body."""

    anchor: str
    title: str
    short: str
    body: Safe


def visible(text: str) -> str:
    """Show control characters as pictures or code points, so that text cannot play tricks."""
    return _CONTROLS.sub(_picture, text)


def _picture(hit: re.Match[str]) -> str:
    code = ord(hit[0])
    return chr(0x2400 + code) if code < 0x20 else f"⟨U+{code:04X}⟩"


def escape(text: Text) -> str:
    """Escape text for element content and quoted attributes."""
    return html.escape(visible(str(text)), quote=True)


def tag(name: str, /, *children: Child, **attributes: Text | bool | None) -> Safe:
    """Build an element. `class_` becomes `class`, `aria_label` becomes `aria-label`.

    Raises:
        ValueError: an attribute that could run code or leave the page.
    """
    opening = "".join(_attribute(key, value) for key, value in attributes.items())
    inside = "".join(_child(child) for child in children)
    if name in ("meta", "link", "br", "input", "col"):
        return Safe(f"<{name}{opening}>")
    return Safe(f"<{name}{opening}>{inside}</{name}>")


def _child(child: Child) -> str:
    if child is None:
        return ""
    return child.text if isinstance(child, Safe) else escape(child)


def _attribute(key: str, value: Text | bool | None) -> str:
    if value is None or value is False:
        return ""
    name = key.rstrip("_").replace("_", "-")
    is_link_away = name in ("href", "xlink-href") and not str(value).startswith("#")
    if not _NAME.match(name) or name.lower().startswith("on") or name in ("style", "src", "srcdoc"):
        raise ValueError(f"the report does not use the attribute {name!r}")
    if is_link_away and value != "data:,":
        raise ValueError(f"the report does not link away from itself: {value!r}")
    return f" {name}" if value is True else f' {name}="{escape(value)}"'


def join(parts: Iterable[Child]) -> Safe:
    """Concatenate parts."""
    return Safe("".join(_child(part) for part in parts))


def explain(*parts: Child) -> Safe:
    """A plain sentence that says what a figure means."""
    return tag("p", *parts, class_="explain")


def absent(*parts: Child) -> Safe:
    """A sentence that says what is not there, and why."""
    return tag("p", *parts, class_="absent")


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table: its heading and whether it holds numbers."""

    title: str
    is_number: bool = False
    kind: str = ""


def table(
    caption: str, columns: Sequence[Column], rows: Iterable[Sequence[Child]], *, class_: str = ""
) -> Safe:
    """Build a table. The first cell of each row is its heading."""
    head = [tag("th", c.title, scope="col", class_=_kind(c)) for c in columns]
    body = [_table_row(columns, row) for row in rows]
    return tag(
        "div",
        tag(
            "table",
            tag("caption", caption),
            tag("thead", tag("tr", *head)),
            tag("tbody", *body),
            class_=class_ or None,
        ),
        class_="scroll",
        tabindex=0,
    )


def _table_row(columns: Sequence[Column], row: Sequence[Child]) -> Safe:
    cells = []
    for i, (column, value) in enumerate(zip(columns, row, strict=True)):
        cell = tag("th", value, scope="row") if i == 0 else tag("td", value, class_=_kind(column))
        cells.append(cell)
    return tag("tr", *cells)


def _kind(column: Column) -> str | None:
    return " ".join(filter(None, ["n" if column.is_number else "", column.kind])) or None


def label(key: str) -> str:
    """Turn a metric key into words: `items_too_short` -> `Items too short`."""
    words = key.replace("_", " ").strip()
    return words[:1].upper() + words[1:]
