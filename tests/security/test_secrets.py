"""Keys of endpoints: sent in a header, and found nowhere else, whatever a server does with them.

Twenty keys are planted; a server echoes them in bodies, errors, headers and redirects, in several
spellings, also where a message is cut. Then every byte that was written is searched, and what was
printed too.
"""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from asking import write_asking_turn
from command_line import treadle_process
from treadle.errors import TreadleError
from treadle.machinery.calls import CallBook
from treadle.models.endpoint import Address, Chat, Completion, Embedding, Endpoint

KEYS = {
    f"PLANTED_{n:02}": f"sk-{n:02}+Zq{n * 7919 % 1000:03}/canary=do_not_write" for n in range(20)
}


def spellings(key: str) -> list[bytes]:
    """How a key may be told from bytes: its forms, and any twelve characters of it in a row."""
    forms = [
        key,
        quote(key, safe=""),
        key.replace("/", "\\/"),
        base64.b64encode(key.encode()).decode(),
    ]
    pieces = [key[i : i + 12] for i in range(len(key) - 11)]
    return [form.encode() for form in (*forms, *pieces) if form != "/canary=do_n"]


def told_back(case: str, key: str) -> tuple[int, dict[str, str], bytes]:
    """Return the reply of a server that says the key back."""
    message = {
        "error": f"wrong key {key}", "cut": "x" * 285 + key, "far": "y" * 1_985 + key,
        "quoted": quote(key, safe=""), "slashes": key.replace("/", "\\/"),
        "base64": base64.b64encode(key.encode()).decode(),
    }.get(case, key)  # fmt: skip
    answer: dict[str, Any] = {
        "id": key, "model": key, "choices": [{"message": {"content": f"you sent {message}",
        "role": "assistant"}, "text": message, "finish_reason": key}], "headers": {"auth": key},
        "data": [{"embedding": [1.0], "key": key}], "usage": {"prompt_tokens": 3, "completion_tokens": 3},
    }  # fmt: skip
    headers = {"X-Echo": key, "Retry-After": key, "Set-Cookie": f"key={key}"}
    if case in ("error", "cut", "far", "quoted", "slashes", "base64"):
        return 400, headers, json.dumps({"error": {"message": message}}).encode()
    if case in ("401", "404", "500"):
        models = {"error": f"{key} may use", "models": [{"id": key}]}
        return int(case), headers, json.dumps(models).encode()
    if case == "redirect":
        return 302, {**headers, "Location": f"http://127.0.0.1:9/?key={quote(key)}&k={key}"}, b""
    if case == "html":
        return 200, headers, f"<html>{key}</html>".encode()
    if case == "cut_json":
        return 200, headers, json.dumps(answer).encode()[:-30]
    return 200, headers, json.dumps(answer).encode()


class Echo(BaseHTTPRequestHandler):
    """Reads the case from the path and the key from the headers."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        said = self.headers.get("Authorization", "") or self.headers.get("x-api-key", "")
        key = said.removeprefix("Bearer ")
        self.server.keys.add(key)  # type: ignore[attr-defined]
        status, headers, body = told_back(self.path.split("/")[1], key)
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        return


@pytest.fixture
def server() -> Iterator[ThreadingHTTPServer]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Echo)
    server.keys = set()  # type: ignore[attr-defined]
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


ASKED = ("ok", "error", "cut", "far", "quoted", "slashes", "base64", "401", "404", "500", "redirect",
         "html", "cut_json")  # fmt: skip
PRINTED: list[str] = []


def ask(url: str, case: str, variable: str, book: CallBook) -> None:
    """Ask in every way, with an address whose server echoes, and keep what could be printed."""
    wire: Any = "anthropic" if case == "ok" else "openai"
    address = Address(
        f"{url}/{case}/v1", "m", wire=wire, key_env=variable, tries=2, backoff_s=0.001
    )
    calls: list[Any] = [Chat.of("?", max_tokens=9)]
    if wire == "openai":
        calls += [Completion("?", 9), Embedding(("?",))]
    with Endpoint(address, book.session(case)) as endpoint:
        PRINTED.append(repr(endpoint.address))
        for call in calls:
            try:
                PRINTED.append(repr(endpoint.ask([call])))
            except TreadleError as error:
                PRINTED.append(repr(error))


@pytest.mark.slow
def test_no_key_is_written_or_printed_anywhere(
    server: ThreadingHTTPServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, key in KEYS.items():
        monkeypatch.setenv(name, key)
    url = f"http://127.0.0.1:{server.server_address[1]}"
    store = tmp_path / "runs" / ".store"
    store.mkdir(parents=True)
    book = CallBook(store / "calls.sqlite")
    names = list(KEYS)
    PRINTED.clear()
    for variable, case in zip(names, ASKED, strict=False):
        ask(url, case, variable, book)
    rest = names[len(ASKED) :]
    assert len(rest) == 7
    words = {
        "run": ("run", "recipe.yaml", "--unlicensed", "--debug"),
        "measure": ("measure", "pool.jsonl", "-f", "said", "--model", "scripted", "--unlicensed"),
        "report": ("report", "runs/recipe"),
        "cost": ("cost", "--json"),
    }  # fmt: skip
    for variable, case in zip(
        rest, ("ok2", "401", "cut", "redirect", "html", "500", "error"), strict=True
    ):
        more = f", key_env: {variable}, tries: 2, backoff_s: 0.001"
        write_asking_turn(tmp_path, f"{url}/{case}/v1", more=more)
        judge = f"{{url: '{url}/{case}/v1', model: m{more}}}"
        for command in ("run", "measure") if case in ("ok2", "401") else ("measure",):
            given = [*words[command], "--plugin", "plugin.py"]
            if command == "measure":
                given += ["--judge", judge, "--debug", "--json"]
            done = treadle_process(*given, cwd=tmp_path)
            PRINTED.extend([done.stdout, done.stderr])
    for command in ("report", "cost"):
        done = treadle_process(*words[command], cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        PRINTED.extend([done.stdout, done.stderr])
    assert server.keys == set(KEYS.values()), "every key was sent"  # type: ignore[attr-defined]
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert any(path.name == "calls.sqlite-wal" for path in files), "the log of the book is searched"
    assert any(path.name == "report.html" for path in files)
    texts = {str(path): path.read_bytes() for path in files}
    texts |= {f"printed {i}": text.encode() for i, text in enumerate(PRINTED)}
    assert sum(b"[key]" in text for text in texts.values()) > 5, "echoes did come back"
    found = [
        (where, name, form)
        for where, text in texts.items()
        for name, key in KEYS.items()
        for form in spellings(key)
        if form in text
    ]
    assert found == []
    book.close()


@pytest.mark.parametrize("field", ["key_env: {key}", "headers: {{X-Org-Token: {key}}}"])
def test_a_key_that_was_written_into_a_recipe_is_refused_and_not_repeated(
    tmp_path: Path, field: str
) -> None:
    key = "sk-live-abcdefghijklmnop"
    write_asking_turn(tmp_path, "http://127.0.0.1:9/v1", more=", " + field.format(key=key))
    done = treadle_process("check", "recipe.yaml", "--plugin", "plugin.py", "--debug", cwd=tmp_path)
    assert done.returncode != 0
    assert "environment variable" in done.stderr
    assert key not in done.stderr + done.stdout


def test_the_search_finds_a_key_that_is_there() -> None:
    """Else it would prove nothing."""
    key = KEYS["PLANTED_03"]
    for text in (
        key,
        f"a{key}b",
        key[3:20],
        quote(key, safe=""),
        base64.b64encode(key.encode()).decode(),
    ):
        assert any(form in text.encode() for form in spellings(key)), text
