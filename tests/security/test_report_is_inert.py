"""Row text must never run in the report. Markup that would is put wherever a run folder holds text;
the page is then read by a parser, which must find nothing unexpected, and opened in a browser."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import quote

import pytest

from browser import Browser, find_chromium
from run_folder import make_run
from treadle.data.pool import load_pool
from treadle.report import write_report

RUN = "document.documentElement.dataset.owned='1';document.title='owned';alert(1)"
PAYLOADS = (
    f"<script>{RUN}</script>",
    f"<SCRIPT>{RUN}</SCRIPT>",
    f"<script type=module>{RUN}</script>",
    f"<script/x>{RUN}</script >",
    f"</script><script>{RUN}</script>",
    f"</ScRiPt\t><script>{RUN}</script>",
    f"<!--<script>{RUN}</script>-->",
    f"<!--<script>{RUN}",
    f"--><script>{RUN}</script><!--",
    f"--!><img src=x onerror={RUN}>",
    f"]]><script>{RUN}</script>",
    f"<![CDATA[<script>{RUN}</script>]]>",
    f"</style><script>{RUN}</script>",
    f"</title><script>{RUN}</script>",
    f"</textarea><script>{RUN}</script>",
    f"</noscript><script>{RUN}</script>",
    f"</template><script>{RUN}</script>",
    f"</svg></math><script>{RUN}</script>",
    f"</pre></details></td></table><script>{RUN}</script>",
    f"<noscript><p title=\"</noscript><img src=x onerror={RUN}>\">",
    f"<img src=x onerror={RUN}>",
    f"<img src=x onerror=\"{RUN}\">",
    f"<img/src=x/onerror={RUN}>",
    f"<img src=x:x onerror\n=\n{RUN}>",
    f"\"><img src=x onerror={RUN}>",
    f"'><img src=x onerror={RUN}>",
    f"\" onmouseover=\"{RUN}\" autofocus onfocus=\"{RUN}\" x=\"",
    f"' onmouseover='{RUN}' autofocus onfocus='{RUN}' x='",
    f"` onerror={RUN} `",
    f"<body onload={RUN}>",
    f"<body onpageshow={RUN}>",
    f"<input autofocus onfocus={RUN}>",
    f"<select autofocus onfocus={RUN}></select>",
    f"<details open ontoggle={RUN}>x</details>",
    f"<video><source onerror={RUN}></video>",
    f"<audio src=x onerror={RUN}></audio>",
    f"<marquee onstart={RUN}>x</marquee>",
    f"<object data=\"javascript:{RUN}\"></object>",
    f"<embed src=\"javascript:{RUN}\">",
    f"<iframe src=\"javascript:{RUN}\"></iframe>",
    f"<iframe srcdoc=\"<script>parent.{RUN}</script>\"></iframe>",
    "<iframe src=https://example.invalid/a></iframe>",
    "<link rel=stylesheet href=https://example.invalid/a.css>",
    "<script src=https://example.invalid/a.js></script>",
    "<img src=https://example.invalid/a.png>",
    "<style>@import 'https://example.invalid/b.css'; body{display:none}</style>",
    "<meta http-equiv=refresh content=\"0;url=https://example.invalid/\">",
    f"<base href=\"javascript:{RUN}//\">",
    f"<form action=\"javascript:{RUN}\"><button autofocus>x</button></form>",
    f"<a href=\"javascript:{RUN}\" autofocus>x</a>",
    f"javascript:{RUN}",
    f"data:text/html,<script>{RUN}</script>",
    f"[x](javascript:{RUN})",
    f"![x](x){{onerror={RUN}}}",
    f"<svg onload={RUN}>",
    f"<svg><script>{RUN}</script></svg>",
    f"<svg><animate onbegin={RUN} attributeName=x dur=1s></svg>",
    f"<svg><a xlink:href=\"javascript:{RUN}\"><text y=20>x</text></a></svg>",
    f"<svg><foreignObject><img src=x onerror={RUN}></foreignObject></svg>",
    f"<math><mtext></form><form><mglyph><style></math><img src=x onerror={RUN}>",
    "{{constructor.constructor('" + RUN.replace("'", "\\'") + "')()}}",
    "${" + RUN + "}",
    "{% raw %}<%= 7*7 %>#{7*7}${{7*7}}",
    "__proto__",
    "constructor",
    "\x1b[31mred\x1b[0m\x1b]0;owned\x07",
    "\u2028\u2029</script>\u2028<script>" + RUN + "</script>",
    "\u202egnp.exe\u2066 turned \u2069",
    f"\x00<script>\x00{RUN}</script>",
    f"\ufeff<script>{RUN}</script>",
    f"+ADw-script+AD4-{RUN}+ADw-/script+AD4-",
    f"&lt;script&gt;{RUN}&lt;/script&gt;&#60;script&#62;",
    f"\\u003cscript\\u003e{RUN}\\u003c/script\\u003e",
    f"\\\"}};{RUN};//",
    "\\",
    "\r\n\r\n<script>\r" + RUN + "</script>",
    "#rows?status=selected&q=<img src=x onerror=alert(1)>",
    "",
)  # fmt: skip

TAGS = re.compile(
    "html|head|meta|link|title|style|body|a|nav|div|strong|span|ul|li|main|header|p|h[1-5]|dl|dt|dd|"
    "section|table|caption|thead|tbody|tr|th|td|svg|line|text|circle|path|rect|small|code|footer|"
    "figure|figcaption|pre|details|summary|noscript|input|label|select|button|script"
)


class Page(HTMLParser):
    """Collects elements, and the text of scripts and style sheets."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.raw: list[tuple[dict[str, str | None], str]] = []
        self.comments: list[str] = []
        self._inside = False
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._inside = tag in ("script", "style")

    def handle_endtag(self, tag: str) -> None:
        self._inside = False

    def handle_data(self, data: str) -> None:
        if self._inside:
            self.raw.append((self.elements[-1][1], data))

    def handle_comment(self, data: str) -> None:
        self.comments.append(data)


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder with payloads as every text, in a folder with a hostile name."""
    folder = tmp_path_factory.mktemp("hostile") / "run\"'<img src=x onerror=alert(1)>&amp;"
    return make_run(folder, rows=160, items=len(PAYLOADS), hostile=PAYLOADS)


@pytest.fixture(scope="module")
def report(hostile: Path) -> Path:
    return write_report(hostile)


def test_there_are_enough_payloads() -> None:
    assert len(set(PAYLOADS)) >= 60


def test_the_page_holds_only_elements_that_it_means_to_hold(report: Path) -> None:
    page = Page(report.read_text(encoding="utf-8"))
    assert [tag for tag, _ in page.elements if not TAGS.fullmatch(tag)] == []
    assert page.comments == []
    scripts = [attributes for tag, attributes in page.elements if tag == "script"]
    assert scripts == [{"type": "application/json", "id": "row-data"}, {}]
    assert [tag for tag, _ in page.elements].count("style") == 1


def test_no_attribute_runs_loads_or_leaves(report: Path) -> None:
    page = Page(report.read_text(encoding="utf-8"))
    for tag, attributes in page.elements:
        for name, value in attributes.items():
            assert not name.startswith("on"), (tag, name, value)
            assert name not in ("style", "src", "srcdoc", "action", "formaction", "xlink:href")
            if name == "href":
                assert str(value).startswith("#") or (tag, value) == ("link", "data:,")
            assert re.fullmatch(r"[a-zA-Z][a-zA-Z0-9-]*", name), (tag, name)


def test_the_policy_allows_the_one_script_and_nothing_else(report: Path) -> None:
    page = Page(report.read_text(encoding="utf-8"))
    (policy,) = (
        str(a["content"])
        for _, a in page.elements
        if a.get("http-equiv") == "Content-Security-Policy"
    )
    script = next(
        text for attributes, text in page.raw if attributes == {} and '"use strict"' in text
    )
    style = next(text for _, text in page.raw if text.lstrip().startswith("/*"))
    for text in (script, style):
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"'sha256-{digest}'" in policy
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "unsafe" not in policy
    assert "http" not in policy


def test_row_data_is_json_with_the_exact_texts_and_cannot_end_its_element(
    hostile: Path, report: Path
) -> None:
    page = report.read_bytes().decode()
    (text,) = (text for a, text in Page(page).raw if a.get("type") == "application/json")
    assert not re.search("[<>&\u2028\u2029]", text)
    shown = {row["id"]: row for row in json.loads(text)["rows"]}
    rows = load_pool(hostile / "pool").rows()
    texts = {m.content for row in rows for m in row.messages}
    assert texts >= set(PAYLOADS)
    for row in rows:
        turns = [[m.role, m.content, int(m.trains)] for m in row.conversation]
        assert shown[row.id]["turns"] == turns
        assert [tuple(o[:3]) for o in shown[row.id]["origins"]] == [
            (o.file, o.line, o.id) for o in row.origins
        ]


def test_control_characters_are_shown_and_not_sent(report: Path) -> None:
    page = report.read_bytes().decode()
    assert not re.search(
        "[\x00-\x08\x0b-\x1f\x7f\u202a-\u202e\u2066-\u2069]", page.split('id="row-data"')[0]
    )
    assert "␛[31mred" in page


needs_chromium = pytest.mark.skipif(find_chromium() is None, reason="no Chromium on this machine")


def assert_inert(browser: Browser) -> None:
    assert browser.value("document.documentElement.dataset.owned ?? null") is None
    assert browser.value("document.title") != "owned"
    assert browser.events("Page.javascriptDialogOpening") == []
    assert browser.events("Runtime.exceptionThrown") == []
    assert browser.events("Log.entryAdded") == []  # a breach of the content policy is logged
    urls = {event["request"]["url"] for event in browser.events("Network.requestWillBeSent")}
    assert {url.split(":")[0] for url in urls} <= {"file", "data"}
    assert len({url.split("#")[0] for url in urls if url.startswith("file")}) == 1


@needs_chromium
def test_the_detector_sees_a_payload_that_runs(tmp_path: Path) -> None:
    page = tmp_path / "naive.html"
    body = f"<p>{PAYLOADS[0]}</p><p>{PAYLOADS[20]}</p>"
    page.write_text(f"<!doctype html><title>naive</title>{body}", encoding="utf-8")
    with Browser() as browser:
        browser.open(page)
        assert browser.value("document.documentElement.dataset.owned") == "1"
        assert browser.events("Page.javascriptDialogOpening")


@needs_chromium
@pytest.mark.slow
def test_nothing_runs_in_a_browser_on_any_page_of_rows(report: Path) -> None:
    with Browser() as browser:
        browser.open(report)
        assert_inert(browser)
        # The script has run, or this test would prove nothing.
        assert browser.value("document.querySelectorAll('article.row').length") > 0
        for status in ("", "selected", "left", "dropped", "quarantined"):
            browser.value(f"location.hash = '#rows?status={status}&page=1'; 1")
            browser.settle(0.05)
            while True:
                last = browser.value("document.getElementById('row-next').disabled")
                if last:
                    break
                browser.value("document.getElementById('row-next').click(); 1")
            assert browser.value("document.querySelectorAll('article.row').length") > 0
        browser.settle()
        assert (
            browser.value("document.querySelectorAll('main script, main iframe, main img').length")
            == 1
        )
        assert_inert(browser)


@needs_chromium
@pytest.mark.slow
def test_nothing_runs_when_the_address_is_hostile(report: Path) -> None:
    with Browser() as browser:
        browser.open(report)
        for text in PAYLOADS[::3]:
            wanted = quote(text, safe="")
            state = f"#rows?q={wanted}&status={wanted}&reason={wanted}&sort={wanted}"
            browser.value(f"location.hash = {json.dumps(state)}; 1")
        for text in PAYLOADS[::3]:
            state = (
                f"#rows?q={quote(text, safe='')}"  # this one finds rows, and marks what it found
            )
            browser.value(f"location.hash = {json.dumps(state)}; 1")
        browser.settle()
        assert_inert(browser)


@needs_chromium
def test_the_policy_stops_what_slips_through(report: Path) -> None:
    with Browser() as browser:
        browser.open(report)
        slip = (
            "(() => { const e = document.createElement('div');"
            " try { e.innerHTML = '<img src=x onerror=1>'; return 'set'; }"
            " catch (error) { return error.name; } })()"
        )
        assert browser.value(slip) == "TypeError"
        add = (
            "(() => { const e = document.createElement('img');"
            f" e.setAttribute('src', 'x'); e.setAttribute('onerror', {json.dumps(RUN)});"
            " document.body.append(e); return 1; })()"
        )
        # Trusted types refuse the handler, or else the policy refuses to run it.
        with contextlib.suppress(AssertionError):
            browser.value(add)
        browser.settle()
        assert browser.value("document.documentElement.dataset.owned ?? null") is None
        assert browser.events("Page.javascriptDialogOpening") == []
