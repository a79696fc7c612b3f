"""How many requests may be out at once: as many as the server bears.

Additive increase, multiplicative decrease: it starts small and doubles with every round of replies
until the first refusal; from then on a round of replies adds one, and a refusal takes a fifth away.
Refusals that come together are one. Growth counts only while the limit is really used. `Retry-After`
closes the door for everybody.
"""

from __future__ import annotations

import asyncio

START = 16
CUT = 0.8
USED = 0.8
ONE_EPISODE_S = 1.0


class Pace:
    """The door of one endpoint. Lives in one event loop."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.limit = float(min(START, most))
        self.flying = 0
        self._is_slow_start = True
        self._closed_until = 0.0
        self._last_cut = float("-inf")
        self._changed = asyncio.Condition()

    async def enter(self) -> None:
        """Wait for a place."""
        async with self._changed:
            while True:
                wait = self._closed_until - asyncio.get_running_loop().time()
                if wait <= 0 and self.flying < int(self.limit):
                    self.flying += 1
                    return
                try:
                    await asyncio.wait_for(self._changed.wait(), wait if wait > 0 else None)
                except TimeoutError:
                    continue

    async def leave(self) -> None:
        """Give the place back."""
        async with self._changed:
            self.flying -= 1
            self._changed.notify_all()

    def went_well(self) -> None:
        """A reply came at the first try: allow more, if what is allowed is used."""
        if self.flying >= USED * int(self.limit):
            step = 1.0 if self._is_slow_start else 1.0 / self.limit
            self.limit = min(self.limit + step, float(self.most))

    def was_refused(self, retry_after_s: float | None) -> None:
        """The server says that this is too much (429, 503, 529)."""
        now = asyncio.get_running_loop().time()
        if now >= self._last_cut + ONE_EPISODE_S and now >= self._closed_until:
            self.limit = max(1.0, self.limit * CUT)
            self._is_slow_start = False
            self._last_cut = now
        if retry_after_s:
            self._closed_until = max(self._closed_until, now + retry_after_s)
