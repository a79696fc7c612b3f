"""Calls that a provider answers together, within a day and mostly at half the price.

Opt-in, by `batch: true` in an address. The worst case of all calls is reserved before anything is sent;
the batch's name is in the call book before anybody waits for it, so a process that was killed waits on
when it comes back, and pays for nothing twice. Every result is one try in the book, like any other.
What needs a repair is repaired one call at a time, at the usual price.

Written from the providers' documentation and tested against a server of our own.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Mapping, Sequence
from urllib.parse import urlsplit

from treadle.errors import ModelError
from treadle.machinery.call_batches import Batch, Batches, Try
from treadle.machinery.calls import Outcome, Price, Request, Session
from treadle.models.endpoint import batch_wire as wire
from treadle.models.endpoint.address import Address
from treadle.models.endpoint.answers import Failure, Progress, Reason
from treadle.models.endpoint.billing import cost_of
from treadle.models.endpoint.sending import AGAIN, Sender, Sent
from treadle.models.endpoint.wire import Call

MOST_CALLS = 50_000
MOST_BYTES = 90 * 2**20
MOST_RESULT_BYTES = 2**30
ROUNDS = 2
"""What a batch leaves unanswered, because it expired or the server failed, goes into one more."""
Asked = tuple[Call, Request]


class Batcher:
    """Hands calls in, waits, and settles what comes. Lives in the endpoint's event loop."""

    def __init__(self, address: Address, session: Session, sender: Sender) -> None:
        self.address, self.session = address, session
        self._sender, self._price = sender, address.batch_price
        self._book = Batches(session, address.base, address.model)
        self._one_at_a_time = asyncio.Lock()

    async def answer(self, asked: Mapping[str, Asked], progress: Progress) -> dict[str, Failure]:
        """Bring a reply to each of these calls into the book; return why some have none, by key.

        Raises:
            BudgetError: the worst case of a batch is over a limit. Nothing of it was sent.
            ModelError: the provider takes no such batch, or is down.
        """
        async with self._one_at_a_time:
            for batch in self._book.open():  # of a process that was killed
                await self._finish(batch, progress)
            failures: dict[str, Failure] = {}
            left = self._unanswered(asked)
            for _ in range(ROUNDS):
                for part in self._parts([asked[key] for key in left]):
                    failures |= await self._finish(await self._hand_in(part), progress)
                left = {
                    key: one
                    for key, one in self._unanswered(left).items()
                    if failures[key].reason != "refused"
                }
            return {key: failures[key] for key in self._unanswered(asked)}

    def _unanswered(self, asked: Mapping[str, Asked]) -> dict[str, Asked]:
        known = self.session.book.known(list(asked))
        return {key: one for key, one in asked.items() if key not in known}

    def _parts(self, asked: Sequence[Asked]) -> Iterator[list[Asked]]:
        """Cut into what one batch may hold: one path, so many calls, so many bytes."""
        for path in sorted({call.path(self.address.wire) for call, _ in asked}):
            part: list[Asked] = []
            size = 0
            for call, request in asked:
                if call.path(self.address.wire) != path:
                    continue
                if part and (len(part) == MOST_CALLS or size > MOST_BYTES):
                    yield part
                    part, size = [], 0
                part.append((call, request))
                size += len(request.body.encode())
            yield part

    async def _hand_in(self, part: Sequence[Asked]) -> Batch:
        """Reserve, send, and write down the provider's name for it."""
        path = part[0][0].path(self.address.wire)
        requests = [request for _, request in part]
        worsts = [self._price.of(call.most_prompt_tokens, call.max_tokens) for call, _ in part]
        batch = await asyncio.wrap_future(self._book.reserve(path, requests, worsts))

        async def create() -> Batch:
            remote = await self._create(batch, path, requests)
            await asyncio.wrap_future(self._book.handed_in(batch, remote))
            return Batch(batch.row, path, batch.tries, remote)

        return await asyncio.shield(create())  # given up here, it would be paid and forgotten

    async def _create(self, batch: Batch, path: str, requests: Sequence[Request]) -> str:
        if self.address.wire == "anthropic":
            place, content = "/messages/batches", wire.anthropic_create(requests)
        else:
            rooted = urlsplit(self.address.base).path + path
            form = wire.openai_upload(rooted, requests)
            file = wire.named(await self._given(batch, "/files", wire.FORM, form))
            place, content = "/batches", wire.openai_create(rooted, file)
        return wire.named(await self._given(batch, place, wire.JSON, content))

    async def _given(
        self, batch: Batch, path: str, headers: Mapping[str, str], content: bytes
    ) -> bytes:
        """Post a part of a batch; what is refused costs nothing.

        Raises:
            ModelError: it is refused, or nobody knows whether it was taken.
        """
        sent = Sent(None, None, "not sent", has_reached_server=False)
        for number in range(self.address.tries):
            sent = await self._sender.send("POST", path, headers, content)
            if sent.status == 200 and sent.body is not None:
                return sent.body
            is_unknown = sent.has_reached_server and sent.status is None
            if is_unknown or (sent.status is not None and sent.status not in AGAIN):
                break
            await asyncio.sleep(
                min(self.address.backoff_s * 2**number, self.address.longest_wait_s)
            )
        if sent.has_reached_server and sent.status is None:
            raise ModelError(
                f"{self.address.base}{path}: nobody knows whether the batch was taken ({sent.fault}). Its "
                "calls count at their worst case; the same command hands them in again.",
                retryable=True,
            )
        await self._settle(batch, {}, sent.fault or "refused", Progress(), 0.0)
        raise ModelError(
            f"{self.address.base}{path} takes no batch: {sent.fault}. Nothing was paid for it. Is "
            f"`batch: true` right for {self.address.model}?",
            retryable=sent.status is None or sent.status in AGAIN,
        )

    async def _finish(self, batch: Batch, progress: Progress) -> dict[str, Failure]:
        """Wait for a batch and settle its tries; return why some of them have no reply."""
        began = time.monotonic()
        progress.in_flight += len(batch.tries)
        progress.tries += len(batch.tries)
        try:
            state = await self._wait(batch.remote or "", progress, began)
            found: dict[str, wire.Result] = {}
            for path in state.results:
                raw = await self._got(path, MOST_RESULT_BYTES)
                found |= {result.key: result for result in wire.results(raw)}
        finally:
            progress.in_flight -= len(batch.tries)
        took = time.monotonic() - began
        missing = state.failure or "in a batch: it ended without a result"
        failures = await self._settle(batch, found, missing, progress, took)
        if state.failure and not found:
            raise ModelError(
                f"{self.address.base} has refused batch {batch.remote}: {state.failure}. Nothing was "
                "paid for it."
            )
        return failures

    async def _wait(self, remote: str, progress: Progress, began: float) -> wire.State:
        is_anthropic = self.address.wire == "anthropic"
        path = f"{'/messages' if is_anthropic else ''}/batches/{remote}"
        while True:
            raw = await self._got(path)
            state = wire.anthropic_state(raw, remote) if is_anthropic else wire.openai_state(raw)
            progress.seconds = time.monotonic() - began
            if state.is_done:
                return state
            await asyncio.sleep(self.address.batch_poll_s)

    async def _got(self, path: str, most_bytes: int = 2**20) -> bytes:
        """Get something that costs nothing, as patiently as the address allows.

        Raises:
            ModelError: it is not to be had. The batch stays in the book.
        """
        began, number = time.monotonic(), 0
        while True:
            sent = await self._sender.send("GET", path, most_bytes=most_bytes)
            if sent.status == 200 and sent.body is not None and sent.fault is None:
                return sent.body
            is_final = sent.status is not None and sent.status not in AGAIN
            if is_final or time.monotonic() - began > self.address.give_up_after_s:
                raise ModelError(
                    f"{self.address.base}{path}: {sent.fault}. The batch is kept: run the same command "
                    "again, and it is waited for.",
                    retryable=not is_final,
                )
            await asyncio.sleep(
                min(self.address.backoff_s * 2**number, self.address.longest_wait_s)
            )
            number += 1

    async def _settle(
        self, batch: Batch, found: Mapping[str, wire.Result], missing: str, progress: Progress,
        seconds: float,
    ) -> dict[str, Failure]:  # fmt: skip
        """Write down each result as one try, then that the batch is over."""
        failures: dict[str, Failure] = {}
        done = []
        for one in batch.tries:
            result = found.get(one.key, wire.Result(one.key, None, None, missing))
            outcome = self._outcome(one, result, seconds)
            done.append(self.session.settle(one.number, one.worst, outcome))
            progress.tokens += outcome.cost.tokens
            progress.usd += outcome.cost.nano_usd / 1e9
            if result.body is None:
                is_final = result.status is not None and result.status not in AGAIN
                reason: Reason = "refused" if is_final else "no_answer"
                failures[one.key] = Failure(reason, result.fault or missing, 1)
        await asyncio.gather(*map(asyncio.wrap_future, done))
        await asyncio.wrap_future(self._book.end(batch))
        return failures

    def _outcome(self, one: Try, result: wire.Result, seconds: float) -> Outcome:
        if result.body is None:  # what has no result is not billed
            return Outcome(Price(0, 0), seconds, result.status, result.fault)
        sent = Sent(200, result.body, None)
        cost = cost_of(sent, one.worst, self._price, self.address.wire)
        return Outcome(cost, seconds, 200, None, result.body)
