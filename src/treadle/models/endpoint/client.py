"""The call path to an endpoint: reserve, send, commit the raw reply, read it, repair once at most.

Every send is a try in the call book. What is in flight already is not sent twice; what is in the
book is not sent at all. A reply that was paid for and cannot be used is asked for once more, never
twice; a send that cost nothing (a refused connection, 429, 5xx) is tried again with growing pauses.
A try whose bill is unknown (a cut connection, a deadline that passed) counts at its worst case.

Redirects are not followed, and the key goes into a header and nowhere else.
"""

from __future__ import annotations

import asyncio
import contextlib
import email.utils
import hashlib
import json
import random
import ssl
import threading
import time
import zlib
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import httpx2

from treadle.errors import BudgetError, ModelError
from treadle.machinery.calls import Outcome, Price, Request, Session
from treadle.models.endpoint.address import Address
from treadle.models.endpoint.answers import Answer, Failure, Reason
from treadle.models.endpoint.pace import Pace
from treadle.models.endpoint.wire import (
    Call,
    Chat,
    MalformedReplyError,
    Reading,
    WrongSchemaError,
    parse,
    usage,
)

T = TypeVar("T")

MOST_BYTES = 8 * 2**20
"""A longer reply is not read to its end: no reply to a call of ours needs as much."""
PAID_TRIES = 2
"""A reply that was paid for and cannot be used is asked for once more."""
TOO_MUCH = (429, 503, 529)
AGAIN = (408, 409, 425, 500, 502, 504, 520, 522, 524, *TOO_MUCH)
WRONG_ADDRESS = {
    401: "it does not accept the key",
    402: "the account has no credit left",
    403: "the key may not use this model",
    404: "there is no such model or path",
    405: "there is no such path",
}
POLL_S = 0.1


@dataclass(slots=True)
class Progress:
    """Live figures of an `ask`: for progress bars and forecasts."""

    calls: int = 0
    done: int = 0
    failed: int = 0
    from_book: int = 0
    in_flight: int = 0
    tries: int = 0
    tokens: int = 0
    usd: float = 0.0
    seconds: float = 0.0

    @property
    def forecast_usd(self) -> float:
        """What all calls will have cost at the end, if the rest is like those so far."""
        asked = self.done - self.from_book
        left = self.calls - self.done
        return self.usd + (self.usd / asked * left if asked else 0.0)


@dataclass(frozen=True, slots=True)
class _Sent:
    """What came of one send."""

    status: int | None
    body: bytes | None
    fault: str | None
    retry_after_s: float | None = None
    has_reached_server: bool = True


class Endpoint:
    """A model behind an address. Any threads may ask; close it at the end."""

    def __init__(self, address: Address, session: Session) -> None:
        """Prepare to ask; nothing is sent yet.

        Raises:
            RecipeError: its key or its price is not known.
        """
        self.address, self.session = address, session
        self.name = f"{address.model} at {address.base}"
        self.fingerprint = hashlib.sha256(f"{address.base}\n{address.model}".encode()).hexdigest()[
            :32
        ]
        self._secret = address.secret
        self._price = address.token_price
        self._flying: dict[str, asyncio.Task[Answer | Failure]] = {}
        self._last_reply = 0.0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="endpoint", daemon=True)
        self._thread.start()
        self._pace, self._client = self._run(self._open())

    def ask(
        self,
        calls: Sequence[Call],
        *,
        tick: Callable[[], None] = lambda: None,
        on_progress: Callable[[Progress], None] = lambda progress: None,
    ) -> list[Answer | Failure]:
        """Ask, and return what came back, in the order of the calls.

        `tick` is called often, from this thread; if it raises, what is in flight is given up.

        Raises:
            BudgetError: a budget does not allow the next request. What is in flight is awaited.
            ModelError: the endpoint is down, or refuses every request (key, model, address).
            ValueError: the wire format of this address cannot carry such a call.
        """
        bodies = [self._body(call) for call in calls]
        progress = Progress(calls=len(calls))
        future = asyncio.run_coroutine_threadsafe(self._ask(calls, bodies, progress), self._loop)
        try:
            while True:
                tick()
                on_progress(progress)
                with contextlib.suppress(TimeoutError):
                    answers = future.result(POLL_S)
                    on_progress(progress)
                    return answers
        except BaseException:
            future.cancel()
            raise

    def close(self) -> None:
        """Close the connections."""
        self._run(self._client.aclose())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def __enter__(self) -> Endpoint:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    async def _open(self) -> tuple[Pace, httpx2.AsyncClient]:
        address = self.address
        headers = {"Accept-Encoding": "identity", **address.headers}
        if self._secret and address.wire == "openai":
            headers["Authorization"] = f"Bearer {self._secret}"
        if address.wire == "anthropic":
            headers["anthropic-version"] = "2023-06-01"
            if self._secret:
                headers["x-api-key"] = self._secret
        trusted = address.certificate_authority
        client = httpx2.AsyncClient(
            headers=headers,
            timeout=None,  # one deadline a send, ours
            follow_redirects=False,
            limits=httpx2.Limits(
                max_connections=address.concurrency, max_keepalive_connections=address.concurrency
            ),
            verify=ssl.create_default_context(cafile=trusted) if trusted else True,
            trust_env=False,
        )
        return Pace(address.concurrency), client

    def _body(self, call: Call) -> str:
        body = call.body(self.address.model, self.address.wire)
        return json.dumps(body, sort_keys=True, ensure_ascii=False, separators=(",", ":"))

    def _request(self, call: Call, body: str) -> Request:
        base, path = self.address.base, call.path(self.address.wire)
        parts = json.dumps([base, path, self.address.model, body, call.sample])
        key = hashlib.sha256(parts.encode()).hexdigest()
        return Request(key, base, self.address.model, body)

    async def _ask(
        self, calls: Sequence[Call], bodies: Sequence[str], progress: Progress
    ) -> list[Answer | Failure]:
        """Work through the calls with as many workers as may be in flight."""
        began = time.monotonic()
        self._last_reply = began
        requests = [self._request(call, body) for call, body in zip(calls, bodies, strict=True)]
        known = await asyncio.to_thread(
            self.session.book.known, list(dict.fromkeys(request.key for request in requests))
        )
        found: list[Answer | Failure | None] = [
            self._from_book(call, known.get(request.key, ()))
            for call, request in zip(calls, requests, strict=True)
        ]
        waiting = deque(place for place, answer in enumerate(found) if answer is None)
        progress.done = progress.from_book = len(calls) - len(waiting)
        errors: list[Exception] = []

        async def work() -> None:
            while waiting and not errors:
                place = waiting.popleft()
                request = requests[place]
                try:
                    answer = await self._once(
                        calls[place], request, known.get(request.key, []), progress
                    )
                except (BudgetError, ModelError) as error:
                    errors.append(error)
                    return
                found[place] = answer
                progress.done += 1
                progress.failed += isinstance(answer, Failure)
                progress.from_book += isinstance(answer, Answer) and answer.is_from_book
                progress.seconds = time.monotonic() - began

        workers = [
            asyncio.create_task(work()) for _ in range(min(len(calls), self.address.concurrency))
        ]
        try:
            await asyncio.gather(*workers)
        finally:
            for worker in workers:
                worker.cancel()
        if errors:
            raise errors[0]
        return [answer for answer in found if answer is not None]

    def _from_book(self, call: Call, bodies: Sequence[bytes]) -> Answer | None:
        """Return the answer that the first reply in the book holds, the usual case of a second run."""
        if not bodies:
            return None
        try:
            reading = call.read(parse(bodies[0]), self.address.wire)
        except (MalformedReplyError, WrongSchemaError):
            return None
        told = _told(reading, 1, is_from_book=True, raw=bodies[0])
        return told if isinstance(told, Answer) else None

    async def _once(
        self, call: Call, request: Request, bodies: list[bytes], progress: Progress
    ) -> Answer | Failure:
        """Answer a call, or wait for whoever is at it already."""
        if (flying := self._flying.get(request.key)) is None:
            flying = asyncio.create_task(self._answer(call, request, bodies, progress))
            self._flying[request.key] = flying
            flying.add_done_callback(lambda _: self._flying.pop(request.key, None))
            try:
                return await flying
            except asyncio.CancelledError:
                flying.cancel()
                raise
        return await asyncio.shield(flying)

    async def _answer(
        self, call: Call, request: Request, bodies: list[bytes], progress: Progress
    ) -> Answer | Failure:
        """Return the first usable reply: from the book, from the server, or from its repair."""
        paid = list(bodies)
        if not paid:  # it may have come since the book was asked
            paid = self.session.book.replies(request.key)
        known, tries, repair_of = len(paid), len(paid), call
        place = 0
        while True:
            while place < len(paid):
                raw = paid[place]
                place += 1
                try:
                    reading = repair_of.read(parse(raw), self.address.wire)
                except WrongSchemaError as error:
                    if place >= PAID_TRIES or not isinstance(call, Chat):
                        return Failure("wrong_schema", str(error), tries, raw)
                    text = call_text(raw, call, self.address.wire)
                    repair_of = call.repaired(text, str(error))
                    request = self._request(repair_of, self._body(repair_of))
                    more = self.session.book.replies(request.key)
                    known, tries = known + len(more), tries + len(more)
                    paid = [*paid[:place], *more]
                except MalformedReplyError as error:
                    if place >= PAID_TRIES:
                        return Failure("malformed", str(error), tries, raw)
                else:
                    return _told(reading, tries, is_from_book=place <= known, raw=raw)
            raw_or_failure, sends = await self._paid_reply(repair_of, request, progress)
            tries += sends
            if isinstance(raw_or_failure, Failure):
                return Failure(
                    raw_or_failure.reason, raw_or_failure.detail, tries, raw_or_failure.raw
                )
            paid.append(raw_or_failure)

    async def _paid_reply(
        self, call: Call, request: Request, progress: Progress
    ) -> tuple[bytes | Failure, int]:
        """Send until a reply with status 200 is committed, and return it with the number of sends."""
        address = self.address
        detail = ""
        for number in range(address.tries):
            sent = await self._send(call, request, progress)
            if sent.status == 200 and sent.body is not None:
                if number == 0:
                    self._pace.went_well()
                self._last_reply = time.monotonic()
                return sent.body, number + 1
            detail = sent.fault or f"HTTP {sent.status}"
            if sent.status in WRONG_ADDRESS:
                raise ModelError(
                    f"{address.base} answers {sent.status}: {WRONG_ADDRESS[sent.status]} "
                    f"(model {address.model!r}). It says: {detail}"
                )
            if (
                sent.status is not None
                and sent.status not in AGAIN
                and not _is_redirect(sent.status)
            ):
                self._last_reply = time.monotonic()
                return Failure("refused", detail, number + 1), number + 1
            if sent.status is not None:
                self._last_reply = (
                    time.monotonic() if sent.status not in AGAIN else self._last_reply
                )
            if time.monotonic() - self._last_reply > address.give_up_after_s:
                raise ModelError(
                    f"{address.base} has not answered for {address.give_up_after_s:g} s (last: {detail}). "
                    "Every reply so far is kept: run the same command again when it is back.",
                    retryable=True,
                )
            if sent.status in TOO_MUCH:
                self._pace.was_refused(sent.retry_after_s)
            if number + 1 < address.tries:
                pause = min(address.backoff_s * 2**number, address.longest_wait_s)
                await asyncio.sleep(
                    max(pause * random.uniform(0.5, 1.0), sent.retry_after_s or 0.0)
                )
        if not sent.has_reached_server:
            raise ModelError(
                f"{address.base} cannot be reached: {detail}. Is the address right, and the server up?",
                retryable=True,
            )
        return Failure(
            "no_answer", f"after {address.tries} tries: {detail}", address.tries
        ), address.tries

    async def _send(self, call: Call, request: Request, progress: Progress) -> _Sent:
        """Reserve, send once, commit what came."""
        worst = self._price.of(call.most_prompt_tokens, call.max_tokens)
        await self._pace.enter()
        try:
            number = await asyncio.wrap_future(self.session.reserve(request, worst))
            progress.in_flight += 1
            progress.tries += 1
            began = time.monotonic()
            sent = _Sent(None, None, "given up")
            try:
                sent = await self._post(call, request)
            finally:
                seconds = time.monotonic() - began
                cost = self._cost(call, sent, worst)
                body = sent.body if sent.status == 200 else None
                outcome = Outcome(cost, seconds, sent.status, sent.fault, body)
                settled = self.session.settle(number, worst, outcome)
                await asyncio.shield(asyncio.wrap_future(settled))
                progress.in_flight -= 1
                progress.tokens += cost.tokens
                progress.usd += cost.nano_usd / 1e9
        finally:
            await self._pace.leave()
        return sent

    async def _post(self, call: Call, request: Request) -> _Sent:
        """Send once and read the reply to its end, within the deadline."""
        url = self.address.base + call.path(self.address.wire)
        headers = {"Content-Type": "application/json", "Idempotency-Key": request.key}
        content = request.body.encode()
        try:
            async with (
                asyncio.timeout(self.address.deadline_s),
                self._client.stream("POST", url, content=content, headers=headers) as response,
            ):
                body, fault = await _read(response)
                retry_after_s = self._retry_after(response.headers.get("retry-after"))
                status = response.status_code
        except TimeoutError:
            return _Sent(None, None, f"no reply within {self.address.deadline_s:g} s")
        except (httpx2.ConnectError, httpx2.UnsupportedProtocol) as error:
            return _Sent(None, None, self._hidden(f"{error or type(error).__name__}"), None, False)
        except httpx2.HTTPError as error:
            return _Sent(None, None, self._hidden(f"{type(error).__name__}: {error}"))
        if _is_redirect(status):
            where = self._hidden(str(response.headers.get("location", "nowhere")))
            return _Sent(status, None, f"it redirects to {where[:200]}, and redirects are off")
        if status != 200:
            return _Sent(status, None, self._complaint(status, body), retry_after_s)
        if self._secret:
            body = body.replace(self._secret.encode(), b"[key]")
        return _Sent(status, body, fault)

    def _cost(self, call: Call, sent: _Sent, worst: Price) -> Price:
        """Return what a send cost: nothing, what its reply says, or the worst case if nobody knows."""
        if not sent.has_reached_server or (sent.status is not None and sent.status != 200):
            return Price(0, 0)
        if sent.status is None or sent.body is None:
            return worst
        try:
            prompt, reply = usage(parse(sent.body), self.address.wire)
        except MalformedReplyError:
            return worst
        if prompt is None or reply is None:
            return worst
        cost = self._price.of(prompt, reply)
        # Counts above what is possible are not credible, and never break a limit.
        return worst if cost.tokens > worst.tokens or cost.nano_usd > worst.nano_usd else cost

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
        text = body[:2_000].decode("utf-8", "replace")
        with contextlib.suppress(ValueError, RecursionError, AttributeError):
            error = json.loads(text).get("error")
            text = error.get("message", text) if isinstance(error, dict) else error or text
        return self._hidden(f"HTTP {status}: {' '.join(str(text).split())[:300]}")

    def _hidden(self, text: str) -> str:
        return text.replace(self._secret, "[key]") if self._secret else text


def call_text(raw: bytes, call: Chat, wire: Any) -> str:
    """Return the text of a reply that did not fit its schema."""
    plain = Chat(call.messages, call.max_tokens)
    return plain.read(parse(raw), wire).text


def _told(reading: Reading, tries: int, *, is_from_book: bool, raw: bytes) -> Answer | Failure:
    if reading.finish == "content_filter":
        reason: Reason = "filtered"
        return Failure(reason, reading.text or "the content filter stopped the reply", tries, raw)
    return Answer(
        reading.text, reading.finish, reading.prompt_tokens or 0, reading.reply_tokens or 0, tries,
        is_from_book, reading.value, reading.logprobs,
    )  # fmt: skip


async def _read(response: httpx2.Response) -> tuple[bytes, str | None]:
    """Read a body, decoded, but never more than `MOST_BYTES` of it."""
    encoding = response.headers.get("content-encoding", "identity").lower()
    if encoding not in ("identity", "gzip", "deflate"):
        return b"", f"a reply in an encoding that was not asked for ({encoding[:20]})"
    unpack = None if encoding == "identity" else zlib.decompressobj(47)
    parts: list[bytes] = []
    size = 0
    async for chunk in response.aiter_raw():
        try:
            part = unpack.decompress(chunk, MOST_BYTES - size + 1) if unpack else chunk
        except zlib.error:
            return b"".join(parts), "a reply that cannot be unpacked"
        parts.append(part)
        size += len(part)
        if size > MOST_BYTES:
            return b"".join(parts)[:2_000], f"a reply of more than {MOST_BYTES // 2**20} MB"
    return b"".join(parts), None


def _is_redirect(status: int) -> bool:
    return 300 <= status < 400
