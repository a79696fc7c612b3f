"""The call path to an endpoint: reserve, send, commit the raw reply, read it, repair once at most.

Every send is a try in the call book. What is in flight already is not sent twice; what is in the
book is not sent at all. A reply that was paid for and cannot be used is asked for once more, never
twice; a send that cost nothing (a refused connection, 429, 5xx) is tried again with growing pauses.
A try whose bill is unknown (a cut connection, a deadline that passed) counts at its worst case.

"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import random
import threading
import time
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

from treadle.errors import BudgetError, ModelError
from treadle.machinery.calls import Outcome, Request, Session
from treadle.models.endpoint.address import Address, Wire
from treadle.models.endpoint.answers import Answer, Failure, Progress
from treadle.models.endpoint.batches import Batcher
from treadle.models.endpoint.billing import cost_of
from treadle.models.endpoint.pace import Pace
from treadle.models.endpoint.sending import AGAIN, TOO_MUCH, WRONG_ADDRESS, Sender, Sent
from treadle.models.endpoint.wire import (
    Call,
    Chat,
    MalformedReplyError,
    Reading,
    WrongSchemaError,
    parse,
)

T = TypeVar("T")

PAID_TRIES = 2
"""A reply that was paid for and cannot be used is asked for once more."""
HOPELESS_AFTER = 10
HOPELESS = ("refused", "malformed", "no_answer")
POLL_S = 0.1


class Endpoint:
    """A model behind an address. Any threads may ask; close it at the end."""

    def __init__(self, address: Address, session: Session) -> None:
        """Prepare to ask; nothing is sent yet.

        Raises:
            RecipeError: its key or its price is not known.
        """
        self.address, self.session = address, session
        self._price = address.token_price
        self._flying: dict[str, asyncio.Task[Answer | Failure]] = {}
        self._last_reply = 0.0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="endpoint", daemon=True)
        self._thread.start()
        self._pace, self._sender = self._run(self._open())
        self._batcher = Batcher(address, session, self._sender) if address.batch else None

    @property
    def fingerprint(self) -> str:
        """Hash of who answers: not of how it is asked, nor of what it costs."""
        parts = json.dumps([self.address.base, self.address.model, self.address.wire])
        return hashlib.sha256(parts.encode()).hexdigest()[:32]

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
        """Give up what is still in flight, write down what it may have cost, and close the connections."""
        self._run(self._give_up())
        self._run(self._sender.close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def __enter__(self) -> Endpoint:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    async def _give_up(self) -> None:
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _open(self) -> tuple[Pace, Sender]:
        return Pace(self.address.concurrency), Sender(self.address)

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
        if self._batcher is not None and waiting:
            asked = {requests[place].key: (calls[place], requests[place]) for place in waiting}
            failures = await self._batcher.answer(asked, progress)
            known |= await asyncio.to_thread(self.session.book.known, list(asked))
            for place in waiting:
                key = requests[place].key
                told = failures.get(key) or self._from_book(calls[place], known.get(key, ()))
                found[place] = (
                    replace(told, is_from_book=False) if isinstance(told, Answer) else told
                )
            progress.failed = len(failures)
            waiting = deque(place for place in waiting if found[place] is None)  # to be repaired
            progress.done = len(calls) - len(waiting)
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
                if isinstance(answer, Failure) and progress.failed == progress.done:
                    self._refuse_hopeless(answer, progress, errors)
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

    def _refuse_hopeless(self, last: Failure, progress: Progress, errors: list[Exception]) -> None:
        """Stop when nothing that came could be used: the address is wrong, not each of many requests."""
        if last.reason in HOPELESS and progress.failed >= HOPELESS_AFTER:
            errors.append(
                ModelError(
                    f"none of the first {progress.failed} replies of {self.address.model} at "
                    f"{self.address.base} could be used; the last: {last.reason}: {last.detail}. Is that "
                    f"the address of an API of the kind {self.address.wire!r}, up to its version?"
                )
            )

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
        while True:
            flying = self._flying.get(request.key)
            if flying is None or flying.done():
                flying = asyncio.create_task(self._answer(call, request, bodies, progress))
                self._flying[request.key] = flying
                flying.add_done_callback(partial(self._landed, request.key))
                try:
                    return await flying
                except asyncio.CancelledError:
                    flying.cancel()
                    raise
            try:
                return await asyncio.shield(flying)
            except asyncio.CancelledError:
                me = asyncio.current_task()
                if not flying.cancelled() or (me is not None and me.cancelling()):
                    raise  # we are given up ourselves; else only who was at it was: go on in its place

    def _landed(self, key: str, task: asyncio.Task[Answer | Failure]) -> None:
        if self._flying.get(key) is task:
            del self._flying[key]

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
                    text = _text(raw, call, self.address.wire)
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
            is_final = sent.status is not None and sent.status not in AGAIN
            if is_final and not sent.is_redirect:
                self._last_reply = time.monotonic()
                return Failure("refused", detail, number + 1), number + 1
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

    async def _send(self, call: Call, request: Request, progress: Progress) -> Sent:
        """Reserve, send once, commit what came."""
        worst = self._price.of(call.most_prompt_tokens, call.max_tokens)
        await self._pace.enter()
        try:
            number = await asyncio.wrap_future(self.session.reserve(request, worst))
            progress.in_flight += 1
            progress.tries += 1
            began = time.monotonic()
            sent = Sent(None, None, "given up")
            try:
                sent = await self._sender.post(call.path(self.address.wire), request)
            finally:
                seconds = time.monotonic() - began
                cost = cost_of(sent, worst, self._price, self.address.wire)
                body = sent.body if sent.status == 200 else None
                outcome = Outcome(cost, seconds, sent.status, sent.fault, body)
                settled = self.session.settle(number, worst, outcome)
                await _written(asyncio.wrap_future(settled))
                progress.in_flight -= 1
                progress.tokens += cost.tokens
                progress.usd += cost.nano_usd / 1e9
        finally:
            await self._pace.leave()
        return sent


async def _written(future: asyncio.Future[None]) -> None:
    """Wait until something is written down, however often we are given up meanwhile."""
    is_given_up = False
    while not future.done():
        try:
            await asyncio.shield(future)
        except asyncio.CancelledError:
            is_given_up = True
    if is_given_up:
        raise asyncio.CancelledError
    future.result()


def _text(raw: bytes, call: Chat, wire: Wire) -> str:
    """Return the text of a reply that did not fit its schema."""
    plain = Chat(call.messages, call.max_tokens)
    return plain.read(parse(raw), wire).text


def _told(reading: Reading, tries: int, *, is_from_book: bool, raw: bytes) -> Answer | Failure:
    if reading.finish == "content_filter":
        return Failure(
            "filtered", reading.text or "the content filter stopped the reply", tries, raw
        )
    return Answer(
        reading.text, reading.finish, reading.prompt_tokens or 0, reading.reply_tokens or 0, tries,
        is_from_book, reading.value, reading.logprobs,
    )  # fmt: skip
