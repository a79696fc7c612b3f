"""How the scripts of this folder take times and print their lines.

    both = take_turns({"ours": run, "loop": other}, tries=3)
    head()
    line("what was measured", f"{both['ours']}", f"{both['loop']} (loop)", ratio, bar="at least 5x", met=True)

Contenders take turns, so that a machine that slows down slows down all; the best try counts, in wall
time and in processor time (user and system, of all threads). Ratios are those of processor time: other
programs on the machine disturb it less. A bar on speed is one at whole sizes: with `--quick` nothing is
judged but whether the answers are right.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

COLUMNS = ("figure", "ours", "alternative", "ratio", "bar", "met")


@dataclass(frozen=True, slots=True)
class Seconds:
    """The best of several tries."""

    wall: float
    cpu: float

    def __str__(self) -> str:
        return f"{self.wall:.3g} s ({self.cpu:.3g} s cpu)"


def take_turns(
    runs: Mapping[str, Callable[[], object]], *, tries: int
) -> tuple[dict[str, Seconds], dict[str, object]]:
    """Run every contender `tries` times, in turns; return the best seconds and the last answers."""
    seen: dict[str, list[Seconds]] = {name: [] for name in runs}
    answers: dict[str, object] = {}
    for _ in range(tries):
        for name, run in runs.items():
            wall, cpu = time.perf_counter(), time.process_time()
            answers[name] = run()
            seen[name].append(Seconds(time.perf_counter() - wall, time.process_time() - cpu))
    best = {
        name: Seconds(min(s.wall for s in all_), min(s.cpu for s in all_))
        for name, all_ in seen.items()
    }
    return best, answers


def head() -> None:
    """Print the table's head."""
    print("| " + " | ".join(COLUMNS) + " |")
    print("|" + "---|" * len(COLUMNS), flush=True)


def line(
    figure: str,
    ours: str,
    other: str = "–",
    ratio: float | None = None,
    *,
    bar: str = "–",
    met: bool | None = None,
    middle: str = "–",
) -> None:
    """Print a line. `ratio`: how often the alternative costs ours; `middle` stands in its place."""
    times = middle if ratio is None else f"{ratio:.3g}x"
    is_met = "–" if met is None else "yes" if met else "NO"
    print(f"| {figure} | {ours} | {other} | {times} | {bar} | {is_met} |", flush=True)
