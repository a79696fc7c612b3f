"""A loopback server that judges by script: for tests, and to see what a benchmark of judges finds.

    python -m treadle.judge.scripted_judge --gold pairs.jsonl --accuracy 0.85 --primacy 0.2

    with ScriptedJudge(gold=path, accuracy=0.85) as server:
        Address(server.url, "any")

The persona `knobs` judges as well as it is told to. What is right comes from `gold`, JSON lines of
pairs (`name`, `request`, `answer_1`, `answer_2`, `label`, and `own` for the judge's own answer) and of
items (`name`, `request`, `answer`, `score`); canaries it solves itself. A pair keeps its draws: both
orders, every sample, and every line of one `name` share them.

    accuracy   how often it sees the better answer     longer   how often the longer answer decides
    primacy    how often the first place decides       own      how often its own answer decides
    noise      how often one call gets a coin instead (a new one each sample)
    fooled     how often it takes the bad answer of a canary

The other personas read no gold: `silent` says nothing, `echo` what it was given to judge, `parrot` the
whole prompt, `verbose` all that looks like a verdict, `obedient` word for word what a row tells it to
say, and `understanding` names the answer that asks for it, with the code: nothing but canaries and the
licence stands against that one.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from treadle.judge.scripted_personas import PERSONAS, Knobs, Shown, logprobs, read_gold
from treadle.models.endpoint.loopback import Loopback

KNOBS = ("accuracy", "primacy", "longer", "own", "noise", "fooled")


class ScriptedJudge(Loopback):
    """The server as a process, for the length of a `with`."""

    def __init__(
        self, *, persona: str = "knobs", gold: Path | None = None, seed: int = 0, port: int = 0,
        log: Path | None = None, **knobs: float,
    ) -> None:  # fmt: skip
        """Prepare to serve. `knobs` are those named above; `log` gets every request's body."""
        arguments = ["--persona", persona, "--seed", str(seed)]
        for name, path in (("gold", gold), ("log", log)):
            arguments += [f"--{name}", str(path)] if path else []
        for name, value in knobs.items():
            if name not in KNOBS:
                raise TypeError(f"no knob {name!r}; there are {', '.join(KNOBS)}")
            arguments += [f"--{name}", str(value)]
        super().__init__("treadle.judge.scripted_judge", arguments, port)


def write_gold(path: Path, lines: list[Mapping[str, Any]]) -> None:
    """Write what is right, for `gold`."""
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, options: argparse.Namespace) -> None:
        super().__init__(("127.0.0.1", options.port), _Handler)
        gold = read_gold(Path(options.gold)) if options.gold else {}
        knobs = {name: getattr(options, name) for name in KNOBS}
        self.knobs = Knobs(gold=gold, seed=options.seed, **knobs)
        self.persona = PERSONAS[options.persona]
        self.log = open(options.log, "ab", buffering=0) if options.log else None  # noqa: SIM115


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        if self.server.log is not None:
            self.server.log.write(body + b"\n")
        asked = json.loads(body)
        shown = Shown.of(asked)
        text = self.server.persona(shown, self.server.knobs)
        message = {"role": "assistant", "content": text}
        choice: dict[str, Any] = {"index": 0, "finish_reason": "stop", "message": message}
        if asked.get("logprobs"):
            choice["logprobs"] = {"content": logprobs(text, shown)}
        usage = {"prompt_tokens": math.ceil(len(body) / 6), "completion_tokens": len(text) // 4 + 1}
        reply = json.dumps({"choices": [choice], "usage": usage}).encode()
        head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(reply)}\r\n\r\n"
        self.wfile.write(head.encode() + reply)  # in one piece: two would wait for each other

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--persona", default="knobs", choices=sorted(PERSONAS))
    parser.add_argument("--gold", default="", help="JSON lines of what is right")
    parser.add_argument("--accuracy", type=float, default=1.0)
    for name in KNOBS[1:]:
        parser.add_argument(f"--{name}", type=float, default=0.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--port", type=int, default=0, help="0: any that is free")
    parser.add_argument("--log", default="", help="file that gets the body of each request")
    with _Server(parser.parse_args()) as server, contextlib.suppress(KeyboardInterrupt):
        print(server.server_address[1], flush=True)
        server.serve_forever()


if __name__ == "__main__":
    main()
