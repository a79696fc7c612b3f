"""The batches of the fault server: files, batches, results, as both providers have them.

A batch is done after so many polls. Its requests meet the faults of the server's plan, with one more,
`expired`: the day was over before this request's turn.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

Line = Callable[[str, str, dict[str, Any]], tuple[int | None, Any]]
NO = b'{"error": {"message": "no such thing"}}'


class Batches:
    """What was uploaded, and what is being worked on. `fault` is what befalls whole batches."""

    def __init__(self, polls: int, fault: str) -> None:
        self.polls, self.fault = polls, fault
        self.files: dict[str, bytes] = {}
        self.batches: dict[str, dict[str, Any]] = {}

    def answer(self, verb: str, path: str, body: bytes, line: Line) -> tuple[int, bytes]:
        """Answer a request about files or batches with a status and a body."""
        parts = path.split("/v1/", 1)[1].split("/")
        if self.fault == "down":
            return 503, b"down"
        if verb == "POST" and self.fault == "refused":
            return 400, b'{"error": {"message": "no batches for this model"}}'
        if parts == ["files"]:
            start, end = body.index(b"jsonl\r\n\r\n") + 9, body.rindex(b"\r\n--")
            return 200, self._kept(body[start:end])
        if verb == "POST" and parts[-1] == "batches":
            return 200, self._begin(json.loads(body), parts[0] == "messages", line)
        if parts[0] == "files" and parts[1] in self.files:
            return 200, self.files[parts[1]]
        if (
            self.fault == "forgotten"
            or parts[-1 if parts[-1] != "results" else -2] not in self.batches
        ):
            return 404, NO
        if parts[-1] == "results":
            return 200, self.batches[parts[-2]]["lines"]
        return 200, self._state(parts[-1], parts[0] == "messages")

    def _kept(self, content: bytes) -> bytes:
        name = f"file-{len(self.files)}"
        self.files[name] = content
        return json.dumps({"id": name}).encode()

    def _begin(self, asked: dict[str, Any], is_anthropic: bool, line: Line) -> bytes:
        if is_anthropic:
            requests = [
                (one["custom_id"], "/v1/messages", one["params"]) for one in asked["requests"]
            ]
        else:
            lines = [json.loads(x) for x in self.files[asked["input_file_id"]].split(b"\n") if x]
            assert all(one["url"] == asked["endpoint"] for one in lines)
            requests = [(one["custom_id"], one["url"], one["body"]) for one in lines]
        results = {"failed": []}.get(
            self.fault, [(k, *line(k, p, body)) for k, p, body in requests]
        )
        told = _anthropic if is_anthropic else _openai
        name = f"batch_{len(self.batches)}"
        good = [told(*one) for one in results if one[1] == 200]
        bad = [told(*one) for one in results if one[1] != 200]
        self.batches[name] = {
            "polls": 0, "lines": _joined([*reversed(good), *bad]), "is_late": any(r[1] is None for r in results),
        }  # fmt: skip
        if not is_anthropic:
            for part, kind in ((good, "output"), (bad, "error")):
                if part:
                    self.files[f"{name}-{kind}"] = _joined(list(reversed(part)))
        return json.dumps({"id": name}).encode()

    def _state(self, name: str, is_anthropic: bool) -> bytes:
        batch = self.batches[name]
        batch["polls"] += 1
        is_done = batch["polls"] > self.polls
        if is_anthropic:
            return json.dumps({"processing_status": "ended" if is_done else "in_progress"}).encode()
        if is_done and self.fault == "failed":
            told = {"status": "failed", "errors": {"data": [{"message": "line 1 is bad"}]}}
            return json.dumps(told).encode()
        status = "expired" if batch["is_late"] else "completed"
        found = {"status": status if is_done else "in_progress"}
        for kind in ("output", "error"):
            if is_done and f"{name}-{kind}" in self.files:
                found[f"{kind}_file_id"] = f"{name}-{kind}"
        return json.dumps(found).encode()


def _openai(key: str, status: int | None, body: Any) -> dict[str, Any]:
    if status is None:
        error = {"code": "batch_expired", "message": "This request could not be executed in time."}
        return {"custom_id": key, "response": None, "error": error}
    return {"custom_id": key, "response": {"status_code": status, "body": body}, "error": None}


def _anthropic(key: str, status: int | None, body: Any) -> dict[str, Any]:
    if status is None:
        return {"custom_id": key, "result": {"type": "expired"}}
    if status == 200:
        return {"custom_id": key, "result": {"type": "succeeded", "message": body}}
    kind = "invalid_request_error" if status == 400 else "api_error"
    error = {"type": "error", "error": {"type": kind, "message": str(body)}}
    return {"custom_id": key, "result": {"type": "errored", "error": error}}


def _joined(lines: list[dict[str, Any]]) -> bytes:
    return "".join(json.dumps(one) + "\n" for one in lines).encode()
