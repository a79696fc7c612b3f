"""A loopback server that speaks like an endpoint and misbehaves on purpose: for tests.

    python -m treadle.models.endpoint.fault_server --share 0.2 --payments payments.txt

    with FaultServer(share=0.2, folder=tmp_path) as server:
        Address(server.url, "any")
        server.payments()          # how often each request was paid for, counted over there

It runs in a process of its own, so that it outlives the client that a test kills, and writes one line
for each reply that a real provider would bill. A request is known by its `Idempotency-Key` header.
`plan` names what happens to the first, second … try of every question; `share` of all tries meet a
fault drawn from `kinds`, the same one for the same question and try. A repair is one more try.

Replies are made up: a hash of the question, an object that fits the schema that was sent, or what
the question says after `REPLY:`.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import email.utils
import gzip
import hashlib
import json
import os
import socket
import struct
import time
from collections import Counter
from pathlib import Path
from typing import Any

from treadle.models.endpoint.fault_batches import Batches
from treadle.models.endpoint.loopback import Loopback

STATUSES = {
    "429_seconds": (429, {"Retry-After": "0.02"}),
    "429_date": (429, {"Retry-After": "DATE"}),
    "429_absurd": (429, {"Retry-After": "soon"}),
    "429_huge": (429, {"Retry-After": "1e9"}),
    "429_absent": (429, {}),
    "408": (408, {}),
    "409": (409, {}),
    "425": (425, {}),
    "500": (500, {}),
    "502_html": (502, {}),
    "503": (503, {"Retry-After": "0.01"}),
    "504": (504, {}),
    "529": (529, {}),
    "redirect": (302, {"Location": "http://127.0.0.1:9/elsewhere"}),
}
CONNECTIONS = ("close_before_reply", "reset", "hang", "cut_headers", "cut_body", "garbage_headers")
PAID = (
    "slow_drip", "truncated_json", "html", "empty_body", "empty_choices", "null_content",
    "not_an_object", "deep_json", "invalid_utf8", "wrong_schema", "prose_around_json", "length",
    "nan_usage", "negative_usage", "huge_usage", "text_usage", "missing_usage", "gzip_bomb",
    "big_body", "chunked",
)  # fmt: skip
ALWAYS = {"401": 401, "402": 402, "403": 403, "404": 404, "400": 400, "content_filter": 200}
KINDS = (*STATUSES, *CONNECTIONS, *PAID)
"""What `share` draws from. `ALWAYS` holds what no retry mends: by `plan` only."""
HARMLESS = ("slow_drip", "chunked", "prose_around_json")
"""Odd, but good replies."""


class FaultServer(Loopback):
    """The server as a process, for the length of a `with`."""

    def __init__(
        self,
        folder: Path,
        *,
        share: float = 0.0,
        plan: tuple[str, ...] = (),
        kinds: tuple[str, ...] = KINDS,
        latency_s: float = 0.0,
        seed: int = 0,
        port: int = 0,
        batch_polls: int = 1,
        batch_fault: str = "",
    ) -> None:
        self._payments = folder / "payments.txt"
        self._requests = folder / "requests.txt"
        arguments = [
            "--share", str(share), "--plan", ",".join(plan), "--kinds", ",".join(kinds),
            "--latency", str(latency_s), "--seed", str(seed),
            "--payments", str(self._payments), "--requests", str(self._requests),
            "--batch-polls", str(batch_polls), "--batch-fault", batch_fault,
        ]  # fmt: skip
        super().__init__("treadle.models.endpoint.fault_server", arguments, port)

    def payments(self) -> Counter[str]:
        """How often each request was paid for, by its key."""
        return _lines(self._payments)

    def requests(self) -> Counter[str]:
        """How often each request came, by its key."""
        return _lines(self._requests)


def _lines(path: Path) -> Counter[str]:
    return Counter(path.read_text().split()) if path.exists() else Counter()


class _Server:
    """What the process runs."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.plan = [kind for kind in options.plan.split(",") if kind]
        self.kinds = [kind for kind in options.kinds.split(",") if kind]
        self.tries: Counter[str] = Counter()
        self.paid = _opened(options.payments)
        self.seen = _opened(options.requests)
        self.batches = Batches(options.batch_polls, options.batch_fault)
        self.bomb = gzip.compress(b" " * 64 * 2**20, 9)

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while await self.one(reader, writer):
                pass
        with contextlib.suppress(ConnectionError):
            writer.close()

    async def one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Answer one request; return whether the connection stays open."""
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers = {
            name.lower(): value.strip()
            for name, _, value in (line.partition(":") for line in head[1:] if line)
        }
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        key = headers.get("idempotency-key") or hashlib.sha256(body).hexdigest()
        verb, path = head[0].split(" ")[:2]
        if "/files" in path or "/batches" in path:
            status, told = self.batches.answer(verb, path, body, self.batch_line)
            writer.write(_response(status, told, {}))
            await writer.drain()
            return True
        asked = json.loads(body)
        subject = _subject(asked, key)
        self.tries[subject] += 1
        _note(self.seen, key)
        await asyncio.sleep(self.options.latency)
        return await self.answer(self.kind(subject), key, path, asked, headers, writer)

    def batch_line(self, key: str, path: str, asked: dict[str, Any]) -> tuple[int | None, Any]:
        """Return status and body of one request of a batch; no status where it was not got to."""
        subject = _subject(asked, key)
        self.tries[subject] += 1
        _note(self.seen, key)
        kind = self.kind(subject)
        if kind == "expired":
            return None, None
        if kind in STATUSES or (kind in ALWAYS and kind != "content_filter"):
            status = STATUSES.get(kind, (ALWAYS.get(kind, 500), {}))[0]
            return status, {"error": {"message": f"fault {kind}"}}
        _note(self.paid, key)
        return 200, _reply(path, asked, kind)

    def kind(self, subject: str) -> str:
        """Return what happens to this try."""
        number = self.tries[subject]
        if number <= len(self.plan):
            return str(self.plan[number - 1])
        draw = hashlib.sha256(f"{self.options.seed}/{subject}/{number}".encode()).digest()
        if int.from_bytes(draw[:6], "big") / 2**48 >= self.options.share:
            return "ok"
        return str(self.kinds[int.from_bytes(draw[6:10], "big") % len(self.kinds)])

    async def answer(
        self, kind: str, key: str, path: str, asked: dict[str, Any], headers: dict[str, str],
        writer: asyncio.StreamWriter,
    ) -> bool:  # fmt: skip
        if kind in CONNECTIONS:
            return await self.fail(kind, key, path, asked, writer)
        if kind in STATUSES or (kind in ALWAYS and kind != "content_filter"):
            status, extra = STATUSES.get(kind, (ALWAYS.get(kind, 500), {}))
            extra = {n: _soon() if v == "DATE" else v for n, v in extra.items()}
            shown = headers.get("authorization", headers.get("x-api-key", ""))
            told = {"error": {"message": f"fault {kind} for {shown}"}}
            text = "<html>bad gateway</html>" if kind.endswith("html") else json.dumps(told)
            writer.write(_response(status, text.encode(), extra))
            await writer.drain()
            return True
        _note(self.paid, key)
        payload, extra = self.payload(kind, path, asked)
        if kind == "slow_drip":
            whole = _response(200, payload, extra)
            for start in range(0, len(whole), 64):
                writer.write(whole[start : start + 64])
                await writer.drain()
                await asyncio.sleep(0.002)
        elif kind == "chunked":
            writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            for start in range(0, len(payload), 50):
                part = payload[start : start + 50]
                writer.write(f"{len(part):x}\r\n".encode() + part + b"\r\n")
            writer.write(b"0\r\n\r\n")
        else:
            writer.write(_response(200, payload, extra))
        await writer.drain()
        return True

    async def fail(
        self, kind: str, key: str, path: str, asked: dict[str, Any], writer: asyncio.StreamWriter
    ) -> bool:
        if kind == "hang":
            await asyncio.sleep(3600)
        elif kind == "cut_headers":
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Le")
        elif kind == "garbage_headers":
            writer.write(b"\x00\xff not http at all\r\n\r\n")
        elif kind == "cut_body":
            _note(self.paid, key)
            whole = _response(200, self.payload("ok", path, asked)[0], {})
            writer.write(whole[: len(whole) // 2 + 40])
        with contextlib.suppress(ConnectionError):
            await writer.drain()
        if kind == "reset" and (sock := writer.get_extra_info("socket")) is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        return False

    def payload(self, kind: str, path: str, asked: dict[str, Any]) -> tuple[bytes, dict[str, str]]:
        if kind == "html":
            return b"<html><body>Welcome to the proxy</body></html>", {}
        if kind == "empty_body":
            return b"", {}
        if kind == "not_an_object":
            return b"[1, 2]", {}
        if kind == "deep_json":
            return b"[" * 100_000, {}
        if kind == "gzip_bomb":
            return self.bomb, {"Content-Encoding": "gzip"}
        if kind == "big_body":
            return b'{"choices": "' + b"x" * 50 * 2**20 + b'"}', {}
        reply = _reply(path, asked, kind)
        text = json.dumps(reply, allow_nan=True)
        if kind == "truncated_json":
            return text[: len(text) // 2].encode(), {}
        if kind == "invalid_utf8":
            return text.encode().replace(b'"choices"', b'"choi\xff\xfe"', 1), {}
        return text.encode(), {}


def _subject(asked: dict[str, Any], key: str) -> str:
    """Return what a request is about: a repair is about the same as what it repairs."""
    users = [turn["content"] for turn in asked.get("messages", ()) if turn["role"] == "user"]
    return json.dumps([users[0], asked.get("seed")]) if users else key


def _reply(path: str, asked: dict[str, Any], kind: str) -> dict[str, Any]:
    """Return a made-up reply in the format of the path."""
    if path.endswith("/embeddings"):
        texts = asked["input"]
        vectors = [[b / 255 for b in hashlib.sha256(t.encode()).digest()[:8]] for t in texts]
        data = [{"index": i, "embedding": v} for i, v in enumerate(vectors)]
        return {
            "data": data,
            "usage": {"prompt_tokens": sum(map(len, texts)) // 4, "total_tokens": 0},
        }
    text = _text(asked, kind)
    prompt = len(json.dumps(asked)) // 6
    usage = _usage(kind, prompt, max(1, len(text) // 4))
    if path.endswith("/messages"):
        names = {"prompt_tokens": "input_tokens", "completion_tokens": "output_tokens"}
        content = [{"type": "text", "text": text}] if kind != "empty_choices" else []
        stop = {"length": "max_tokens", "content_filter": "refusal"}.get(kind, "end_turn")
        told = {names.get(n, n): v for n, v in usage.items()} if isinstance(usage, dict) else usage
        return {"content": content, "stop_reason": stop, "usage": told}
    finish = {"length": "length", "content_filter": "content_filter"}.get(kind, "stop")
    choice: dict[str, Any] = {"index": 0, "finish_reason": finish}
    if path.endswith("/chat/completions"):
        is_empty = kind in ("null_content", "content_filter")
        choice["message"] = {"role": "assistant", "content": None if is_empty else text}
        if asked.get("logprobs"):
            token = {"token": text[:1], "logprob": -0.1, "top_logprobs": []}
            choice["logprobs"] = {"content": [token]}
    else:
        choice["text"] = None if kind == "null_content" else text
    found = {"choices": [] if kind == "empty_choices" else [choice], "usage": usage}
    return {n: v for n, v in found.items() if not (n == "usage" and kind == "missing_usage")}


def _text(asked: dict[str, Any], kind: str) -> str:
    messages = asked.get("messages")
    question = str(messages[0]["content"] if messages else asked.get("prompt", ""))
    if messages:
        users = [turn["content"] for turn in messages if turn["role"] == "user"]
        question = str(users[0])
    wants = "response_format" in asked or "JSON object that fits" in str(asked.get("system", ""))
    if kind == "wrong_schema":
        return '{"nothing": "of what was asked"}' if wants else "words"
    if "REPLY:" in question:
        text = question.split("REPLY:", 1)[1].strip()
    elif wants:
        schema = asked.get("response_format", {}).get("json_schema", {}).get("schema")
        schema = schema or json.loads(str(asked["system"]).rsplit("nothing else: ", 1)[1])
        text = json.dumps(_example(schema, schema, question))
    else:
        text = (
            "answer " + hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()[:12]
        )
    if kind == "prose_around_json" and wants:
        return f"Here it is:\n```json\n{text}\n```\nAnything else?"
    if kind == "length" and wants:
        return text[:-2]
    return text


def _example(schema: dict[str, Any], root: dict[str, Any], question: str) -> Any:
    """Return an object that fits a simple JSON schema."""
    if "$ref" in schema:
        return _example(root["$defs"][schema["$ref"].rsplit("/", 1)[1]], root, question)
    if "enum" in schema:
        return schema["enum"][len(question) % len(schema["enum"])]
    kind = schema.get("type")
    if kind == "object" or "properties" in schema:
        return {n: _example(s, root, question) for n, s in schema.get("properties", {}).items()}
    if kind == "array":
        return [_example(schema.get("items", {}), root, question)]
    if kind in ("integer", "number"):
        low = schema.get("minimum", 0)
        return low + len(question) % (schema.get("maximum", low + 4) - low + 1)
    return len(question) % 2 == 0 if kind == "boolean" else "made up"


def _usage(kind: str, prompt: int, reply: int) -> Any:
    odd: dict[str, tuple[Any, Any]] = {
        "nan_usage": (float("nan"), float("nan")),
        "negative_usage": (-5, -5),
        "huge_usage": (10**15, 10**15),
        "text_usage": ("many", "few"),
    }
    counts = odd.get(kind, (prompt, reply))
    return {"prompt_tokens": counts[0], "completion_tokens": counts[1]}


def _response(status: int, body: bytes, extra: dict[str, str]) -> bytes:
    lines = [
        f"HTTP/1.1 {status} X",
        f"Content-Length: {len(body)}",
        "Content-Type: application/json",
    ]
    lines += [f"{name}: {value}" for name, value in extra.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body


def _soon() -> str:
    return email.utils.formatdate(time.time() + 1, usegmt=True)


def _opened(path: str) -> int | None:
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600) if path else None


def _note(file: int | None, key: str) -> None:
    if file is not None:
        os.write(file, f"{key}\n".encode())


async def _serve(options: argparse.Namespace) -> None:
    server = _Server(options)
    listening = await asyncio.start_server(server.handle, "127.0.0.1", options.port, limit=2**24)
    print(listening.sockets[0].getsockname()[1], flush=True)
    async with listening:
        await listening.serve_forever()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--share", type=float, default=0.0, help="of tries that meet a fault")
    parser.add_argument(
        "--plan", default="", help="faults of the first, second … try of each request"
    )
    parser.add_argument("--kinds", default=",".join(KINDS), help="what --share draws from")
    parser.add_argument("--latency", type=float, default=0.0, help="seconds before each reply")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--port", type=int, default=0, help="0: any that is free")
    parser.add_argument("--payments", default="", help="file that gets a line for each paid reply")
    parser.add_argument("--requests", default="", help="file that gets a line for each request")
    parser.add_argument("--batch-polls", type=int, default=1, help="polls until a batch is done")
    parser.add_argument("--batch-fault", default="", help="failed, refused, down, or forgotten")
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_serve(parser.parse_args()))


if __name__ == "__main__":
    main()
