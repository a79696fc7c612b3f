"""How far questions to an endpoint are, on one line that changes: done, failed, in flight, speed, cost."""

from __future__ import annotations

import time
from types import TracebackType
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar

if TYPE_CHECKING:
    from treadle.models.endpoint.answers import Progress


class Live:
    """A bar on a terminal, and one line at the end of each phase; silent if nobody is to hear."""

    def __init__(self, *, is_shown: bool = True) -> None:
        self._console = Console(stderr=True, quiet=not is_shown)
        self._bar = Bar(
            TextColumn("  [dim]{task.description}"), BarColumn(bar_width=24), MofNCompleteColumn(),
            TimeElapsedColumn(), TextColumn("[dim]{task.fields[told]}"),
            console=self._console, transient=True,
        )  # fmt: skip
        self._task = self._bar.add_task("", total=None, told="", visible=False)
        self._phase = ""
        self._last: Progress | None = None
        self._began = time.monotonic()

    def __enter__(self) -> Live:
        if self._console.is_terminal:
            self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._console.is_terminal:
            self._bar.stop()
        self._note()

    def __call__(self, phase: str, progress: Progress) -> None:
        """Show how far a phase is."""
        if phase != self._phase:
            self._note()
            self._phase, self._began = phase, time.monotonic()
        self._last = progress
        told = said(progress, time.monotonic() - self._began)
        self._bar.update(
            self._task, description=phase, completed=progress.done, total=progress.calls, told=told,
            visible=True,
        )  # fmt: skip

    def _note(self) -> None:
        if self._last is None:
            return
        seconds = time.monotonic() - self._began
        text = f"{self._last.done:,} of {self._last.calls:,} calls, {said(self._last, seconds)}"
        self._console.print(
            f"[bold cyan]{self._phase:>12}[/]  {text}  [dim]{seconds:.1f} s[/]",
            highlight=False, soft_wrap=True,
        )  # fmt: skip
        self._last = None


def said(progress: Progress, seconds: float) -> str:
    """What is known of a phase so far, in words."""
    parts = []
    if progress.from_book:
        parts.append(f"{progress.from_book:,} from the call book")
    if progress.failed:
        parts.append(f"{progress.failed:,} failed")
    if progress.in_flight:
        parts.append(f"{progress.in_flight:,} in flight")
    if progress.tokens and seconds > 0:
        parts.append(f"{progress.tokens / seconds:,.0f} tokens/s")
    cost = f"{progress.usd:.2f} dollars"
    if progress.done < progress.calls:
        cost += f" of about {progress.forecast_usd:.2f}"
    return ", ".join([*parts, cost])
