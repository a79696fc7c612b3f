"""Send a request once: headers and key, one deadline, a bounded read, and what came of it.

Redirects are not followed, proxies of the environment are not used, and the key goes into a header
and nowhere else: what a server says or echoes is kept without it.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import email.utils
import json
import ssl
import time
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote, quote_plus

import httpx2

from treadle.machinery.calls import Request
from treadle.models.endpoint.address import Address

TOO_MUCH = (429, 503, 529)
AGAIN = (408, 409, 425, 500, 502, 504, 520, 522, 524, *TOO_MUCH)
WRONG_ADDRESS = {
    401: "it does not accept the key",
    402: "the account has no credit left",
    403: "the key may not use this model",
    404: "there is no such model or path",
    405: "there is no such path",
}
MOST_BYTES = 8 * 2**20
"""A longer reply is not read to its end: no reply to a call of ours needs as much."""


@dataclass(frozen=True, slots=True)
class Sent:
    """What came of one send: a status and the body of a good reply, or a fault before there was one."""

    status: int | None
    body: bytes | None
    fault: str | None
    retry_after_s: float | None = None
    has_reached_server: bool = True

    @property
    def is_redirect(self) -> bool:
        return self.status is not None and 300 <= self.status < 400


class Sender:
    """The connections to one address. Lives in one event loop."""

    def __init__(self, address: Address) -> None:
        self.address = address
        self._secret = address.secret
        self._echoes = echoes(self._secret) if self._secret else ()
        headers = {"Accept-Encoding": "identity", **address.headers}
        if self._secret and address.wire == "openai":
            headers["Authorization"] = f"Bearer {self._secret}"
        if address.wire == "anthropic":
            headers["anthropic-version"] = "2023-06-01"
            if self._secret:
                headers["x-api-key"] = self._secret
        trusted, most = address.certificate_authority, address.concurrency
        self._client = httpx2.AsyncClient(
            headers=headers,
            timeout=None,  # one deadline a send, ours
            follow_redirects=False,
            limits=httpx2.Limits(max_connections=most, max_keepalive_connections=most),
            verify=ssl.create_default_context(cafile=trusted) if trusted else True,
            trust_env=False,
        )

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def post(self, path: str, request: Request) -> Sent:
        """Send a request once and read the reply to its end, within the deadline."""
        headers = {"Content-Type": "application/json", "Idempotency-Key": request.key}
        return await self.send("POST", path, headers, request.body.encode())

    async def send(
        self,
        verb: str,
        path: str,
        headers: Mapping[str, str] | None = None,
        content: bytes | None = None,
        *,
        most_bytes: int = MOST_BYTES,
    ) -> Sent:
        """Send anything once."""
        url = self.address.base + path
        try:
            async with (
                asyncio.timeout(self.address.deadline_s),
                self._client.stream(verb, url, content=content, headers=headers) as response,
            ):
                body, fault = await _read(response, most_bytes)
                retry_after_s = self._retry_after(response.headers.get("retry-after"))
                status = response.status_code
        except TimeoutError:
            return Sent(None, None, f"no reply within {self.address.deadline_s:g} s")
        except (httpx2.ConnectError, httpx2.UnsupportedProtocol) as error:
            return Sent(None, None, self._hidden(f"{error or type(error).__name__}"), None, False)
        except httpx2.HTTPError as error:
            return Sent(None, None, self._hidden(f"{type(error).__name__}: {error}"))
        if 300 <= status < 400:
            where = self._hidden(str(response.headers.get("location", "nowhere")))
            return Sent(status, None, f"it redirects to {where[:200]}, and redirects are off")
        if status != 200:
            return Sent(status, None, self._complaint(status, body), retry_after_s)
        return Sent(status, self._without_key(body), fault)

    def _retry_after(self, text: str | None) -> float | None:
        """Return the seconds that a `Retry-After` asks for, no more than is sensible."""
        if not text:
            return None
        try:
            seconds = float(text)
        except ValueError:
            try:
                seconds = email.utils.parsedate_to_datetime(text).timestamp() - time.time()
            except (TypeError, ValueError):
                return None
        if not seconds > 0:  # NaN as well
            return None
        return min(seconds, self.address.longest_wait_s)

    def _complaint(self, status: int, body: bytes) -> str:
        """Return what the server says, on one line and without the key."""
        text = self._without_key(body)[:2_000].decode("utf-8", "replace")
        with contextlib.suppress(ValueError, RecursionError, AttributeError):
            error = json.loads(text).get("error")
            text = error.get("message", text) if isinstance(error, dict) else error or text
        # Hidden before it is cut, or half a key would stay.
        return f"HTTP {status}: {self._hidden(' '.join(str(text).split()))[:300]}"

    def _hidden(self, text: str) -> str:
        for echo in self._echoes:
            text = text.replace(echo, "[key]")
        return text

    def _without_key(self, body: bytes) -> bytes:
        for echo in self._echoes:
            body = body.replace(echo.encode(), b"[key]")
        return body


def echoes(secret: str) -> tuple[str, ...]:
    """Return the forms in which a server may say a key: as it is, in a URL, in JSON, in base64."""
    in_json = json.dumps(secret)[1:-1]
    forms = [
        secret, quote(secret, safe=""), quote(secret), quote_plus(secret), in_json,
        in_json.replace("/", "\\/"), base64.b64encode(secret.encode()).decode(),
        base64.urlsafe_b64encode(secret.encode()).decode(),
    ]  # fmt: skip
    return tuple(sorted(dict.fromkeys(forms), key=len, reverse=True))


async def _read(response: httpx2.Response, most_bytes: int) -> tuple[bytes, str | None]:
    """Read a body, decoded, but never more than `most_bytes` of it."""
    encoding = response.headers.get("content-encoding", "identity").lower()
    if encoding not in ("identity", "gzip", "deflate"):
        return b"", f"a reply in an encoding that was not asked for ({encoding[:20]})"
    unpack = None if encoding == "identity" else zlib.decompressobj(47)
    parts: list[bytes] = []
    size = 0
    async for chunk in response.aiter_raw():
        try:
            part = unpack.decompress(chunk, most_bytes - size + 1) if unpack else chunk
        except zlib.error:
            return b"".join(parts), "a reply that cannot be unpacked"
        parts.append(part)
        size += len(part)
        if size > most_bytes:
            return b"".join(parts)[:2_000], f"a reply of more than {most_bytes // 2**20} MB"
    return b"".join(parts), None
