"""What a person sees while a run works: one line a stage, a bar while it lasts, what an ask has cost so far."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Protocol

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as _Bars

from treadle.machinery.disk import Disk
from treadle.models.endpoint.answers import Progress


class Observer(Protocol):
    """Hears how a run goes on."""

    def stage(self, name: str) -> None:
        """A stage of the wheel begins."""
        ...

    def tasks(self, name: str, done: int, total: int, *, is_cached: bool) -> None:
        """A task of a stage is done."""
        ...

    def tick(self) -> None:
        """A training step or a batch is done."""
        ...

    def asking(self, progress: Progress) -> None:
        """An endpoint is being asked; called several times a second."""
        ...

    def note(self, text: str) -> None:
        """Something worth a line, at the end of a stage."""
        ...


class Silent:
    """Says nothing."""

    def stage(self, name: str) -> None:
        return None

    def tasks(self, name: str, done: int, total: int, *, is_cached: bool) -> None:
        return None

    def tick(self) -> None:
        return None

    def asking(self, progress: Progress) -> None:
        return None

    def note(self, text: str) -> None:
        return None


def told(progress: Progress) -> str:
    """Say in one line how far an ask is, how fast, and what it costs: so far, and in all as it looks."""
    parts = [f"{progress.done - progress.failed:,} answered"]
    if progress.from_book:
        parts.append(f"{progress.from_book:,} of them for nothing, from the call book")
    if progress.failed:
        parts.append(f"{progress.failed:,} failed")
    parts.append(f"{progress.in_flight:,} in flight")
    if progress.seconds:
        parts.append(f"{progress.tokens / progress.seconds:,.0f} tokens/s")
    if progress.usd:
        parts.append(f"${progress.usd:,.4f} of about ${progress.forecast_usd:,.4f}")
    return ", ".join(parts)


KEEP_EVERY_S = 2.0


@dataclass
class Kept:
    """Keeps the figures of an ask in a file, so that `treadle cost` can tell what a run will cost."""

    path: Path
    disk: Disk = field(default_factory=Disk)
    _last: float = -KEEP_EVERY_S

    def keep(self, progress: Progress) -> None:
        """Write them down, but not too often."""
        if time.monotonic() - self._last >= KEEP_EVERY_S:
            self._last = time.monotonic()
            self.disk.publish(self.path, json.dumps(asdict(progress)).encode())

    def forget(self) -> None:
        """Nothing is going on any more."""
        self.path.unlink(missing_ok=True)


def read_kept(path: Path) -> Progress | None:
    """Return the figures of an ask that is going on; None if none is, or nobody can tell."""
    with contextlib.suppress(OSError, ValueError, TypeError):
        return Progress(**json.loads(path.read_bytes()))
    return None


class Bars:
    """Progress bars on a terminal; plain lines where there is none."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._bars = _Bars(
            TextColumn("  [dim]{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("[dim]{task.fields[steps]}"),
            console=console,
            transient=True,
        )
        self._current: str | None = None
        self._bar = self._bars.add_task("", total=None, steps="", visible=False)
        self._steps = 0
        self._began = time.monotonic()
        self._stage = ""

    def __enter__(self) -> Bars:
        if self.console.is_terminal:
            self._bars.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if (
            self.console.is_terminal
        ):  # else there is nothing to stop, and it would print an empty line
            self._bars.stop()

    def stage(self, name: str) -> None:
        self._stage, self._began = name, time.monotonic()
        self._bars.update(self._bar, visible=False)

    def tasks(self, name: str, done: int, total: int, *, is_cached: bool) -> None:
        self._steps = 0
        self._bars.update(
            self._bar, description=name, completed=done, total=total, steps="", visible=True
        )

    def tick(self) -> None:
        self._steps += 1
        self._bars.update(self._bar, steps=f"{self._steps} steps", visible=True)

    def asking(self, progress: Progress) -> None:
        self._bars.update(
            self._bar, description="asking", completed=progress.done, total=progress.calls,
            steps=told(progress), visible=True,
        )  # fmt: skip

    def note(self, text: str) -> None:
        seconds = time.monotonic() - self._began
        self.console.print(
            f"[bold cyan]{self._stage:>9}[/]  {escape(text)}  [dim]{seconds:.1f} s[/]",
            highlight=False,
            soft_wrap=True,
        )


@contextmanager
def watched(progress: bool | Observer) -> Iterator[Observer]:
    """Give who is to hear how work goes on: bars for True, nobody for False, or the one given."""
    if progress is True:
        with Bars(Console(stderr=True)) as bars:
            yield bars
    else:
        yield Silent() if progress is False else progress
