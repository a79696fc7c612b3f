"""The phases of asking an endpoint, shown as the stages of a run are: a bar each, and a line when it ends."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from treadle.flywheel.progress import Observer, told, watched

if TYPE_CHECKING:
    from treadle.models.endpoint.answers import Progress

Live = Callable[[str, "Progress"], None]


class _Phases:
    """Tells an observer where a phase begins and ends, from whose progress it hears."""

    def __init__(self, observer: Observer) -> None:
        self._observer = observer
        self._phase = ""
        self._last: Progress | None = None

    def __call__(self, phase: str, progress: Progress) -> None:
        if phase != self._phase:
            self.end()
            self._phase = phase
            self._observer.stage(phase)
        self._last = progress
        self._observer.asking(progress)

    def end(self) -> None:
        """Leave a line about the phase, if there was one."""
        if self._last is not None:
            self._observer.note(
                f"{self._last.done:,} of {self._last.calls:,} calls: {told(self._last)}"
            )
        self._last = None


@contextmanager
def phases(*, is_shown: bool = True) -> Iterator[Live]:
    """Give a function that is told of each phase's progress."""
    with watched(is_shown) as observer:
        heard = _Phases(observer)
        try:
            yield heard
        finally:
            heard.end()
