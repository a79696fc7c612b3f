"""How two providers take batches: what is uploaded, how they say that they are done, and results.

`openai` takes a file of lines and then a batch over it, and writes one file of answers and one of
errors. `anthropic` takes all requests in one body and serves one file of results.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from treadle.machinery.calls import Request
from treadle.models.endpoint.wire import MalformedReplyError, parse

BOUNDARY = "treadle-a-batch-of-lines-7f3c"
JSON = {"Content-Type": "application/json"}
FORM = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}


@dataclass(frozen=True, slots=True)
class Result:
    """What a batch says of one request: a body with status 200, or why there is none."""

    key: str
    status: int | None
    body: bytes | None
    fault: str | None


@dataclass(frozen=True, slots=True)
class State:
    """Where a batch is: done or not, the paths of its results, and why it failed as a whole."""

    is_done: bool
    results: tuple[str, ...] = ()
    failure: str | None = None


def openai_upload(path: str, requests: Sequence[Request]) -> bytes:
    """Return the form that uploads a file of lines; `path` is as the server's root has it."""
    lines = (
        json.dumps({"custom_id": r.key, "method": "POST", "url": path, "body": json.loads(r.body)})
        for r in requests
    )
    head = (
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n'
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="calls.jsonl"\r\n'
        "Content-Type: application/jsonl\r\n\r\n"
    )
    return f"{head}{chr(10).join(lines)}\n\r\n--{BOUNDARY}--\r\n".encode()


def openai_create(path: str, file: str) -> bytes:
    body = {"input_file_id": file, "endpoint": path, "completion_window": "24h"}
    return json.dumps(body).encode()


def anthropic_create(requests: Sequence[Request]) -> bytes:
    lines = [{"custom_id": r.key, "params": json.loads(r.body)} for r in requests]
    return json.dumps({"requests": lines}).encode()


def named(raw: bytes) -> str:
    """Return the id in a reply.

    Raises:
        MalformedReplyError: there is none.
    """
    found = parse(raw).get("id")
    if (
        not isinstance(found, str)
        or not found
        or not found.replace("-", "").replace("_", "").isalnum()
    ):
        raise MalformedReplyError(f"it names no id: {raw[:80]!r}")
    return found


def openai_state(raw: bytes) -> State:
    """Read what `GET /batches/ID` says."""
    found = parse(raw)
    status = found.get("status")
    files = (found.get("output_file_id"), found.get("error_file_id"))
    results = tuple(f"/files/{file}/content" for file in files if isinstance(file, str))
    if status == "failed":
        return State(True, results, str(found.get("errors"))[:300])
    return State(status in ("completed", "expired", "cancelled"), results)


def anthropic_state(raw: bytes, remote: str) -> State:
    """Read what `GET /messages/batches/ID` says."""
    is_done = parse(raw).get("processing_status") == "ended"
    return State(is_done, (f"/messages/batches/{remote}/results",) if is_done else ())


def results(raw: bytes) -> Iterator[Result]:
    """Read lines of results of either kind; a line that cannot be read says nothing of any request."""
    for line in raw.split(b"\n"):
        try:
            found = parse(line)
        except MalformedReplyError:
            continue
        key = found.get("custom_id")
        if isinstance(key, str):
            yield _anthropic(key, found["result"]) if "result" in found else _openai(key, found)


def _openai(key: str, found: dict[str, Any]) -> Result:
    response = found.get("response")
    if isinstance(response, dict) and response.get("status_code") == 200:
        return Result(key, 200, _bytes(response.get("body")), None)
    status = response.get("status_code") if isinstance(response, dict) else None
    said = found.get("error") or (response.get("body") if isinstance(response, dict) else None)
    return Result(key, status if isinstance(status, int) else None, None, _short(said))


def _anthropic(key: str, result: Any) -> Result:
    kind = result.get("type") if isinstance(result, dict) else None
    if kind == "succeeded":
        return Result(key, 200, _bytes(result.get("message")), None)
    said = result.get("error") if isinstance(result, dict) else None
    inner = said.get("error", said) if isinstance(said, dict) else None
    is_final = isinstance(inner, dict) and inner.get("type") == "invalid_request_error"
    return Result(key, 400 if is_final else None, None, _short(said or kind))


def _bytes(body: Any) -> bytes:
    return json.dumps(body, ensure_ascii=False).encode("utf-8", "replace")


def _short(said: Any) -> str:
    return f"in a batch: {' '.join(str(said).split())[:300]}"
