"""How the arms trained: loss by step, one small panel an arm, one line a seed, one scale for all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from treadle.report import plot
from treadle.report.folder import RunFolder
from treadle.report.markup import Column, Safe, Section, absent, explain, join, table, tag
from treadle.report.numbers import count, figure, number, plural

MAX_POINTS = 160


@dataclass(frozen=True, slots=True)
class Training:
    """One arm trained with one seed."""

    arm: str
    seed: str
    steps: float | None
    tokens: float | None
    rows: float | None
    losses: tuple[float, ...]


def training(run: RunFolder) -> Section:
    """Return the section with the loss curves and what each arm was trained on."""
    title, short = "Training", "Training"
    trained = trainings(run)
    if not trained:
        body = absent("No arm has been trained yet.")
        return Section("training", title, short, body)
    body = join(
        [
            explain(
                "The loss is the mean negative log-likelihood of the trained tokens, in nats, of "
                "each step's batch. Arms see different rows, so a lower curve does not mean a better "
                "model: easy rows give low losses. What counts is the evaluation above."
            ),
            _panels(trained),
            _spent(trained),
        ]
    )
    return Section("training", title, short, body)


def trainings(run: RunFolder) -> list[Training]:
    """Return what `figures.json` says about each trained arm (`selected-0`: arm and seed)."""
    trained, arms = run.figures.get("train"), run.figures.get("arms")
    if not isinstance(trained, Mapping):
        return []
    found = []
    for key, figures in sorted(trained.items()):
        if not isinstance(figures, Mapping):
            continue
        arm, _, seed = str(key).rpartition("-")
        size = arms.get(key, arms.get(arm)) if isinstance(arms, Mapping) else None
        rows = size.get("rows") if isinstance(size, Mapping) else None
        tokens = figures.get("tokens")
        if tokens is None and isinstance(size, Mapping):
            tokens = size.get("tokens")
        losses = figures.get("losses")
        known = losses if isinstance(losses, Sequence) else []
        values = tuple(v for v in map(number, known) if v is not None)
        steps = number(figures.get("steps"))
        name = (arm, seed) if seed.isdigit() else (str(key), "")
        found.append(Training(*name, steps, number(tokens), number(rows), values))
    order = {"selected": 0, "random": 1, "longest": 2, "full": 3}
    return sorted(found, key=lambda t: (order.get(t.arm, 9), t.arm, len(t.seed), t.seed))


def _panels(trained: Sequence[Training]) -> Safe | None:
    drawn = [t for t in trained if len(t.losses) > 1]
    if not drawn:
        return absent("No losses were recorded.")
    curves = [(t, smooth(t.losses)) for t in drawn]
    up = plot.axis([v for _, curve in curves for v in curve], 140, 8)
    last = max(len(t.losses) for t in drawn)
    arms = list(dict.fromkeys(t.arm for t in drawn))
    wide = len(arms) in (1, 2, 4)
    width = 500 if wide else 320
    figures = [_panel(arm, [c for c in curves if c[0].arm == arm], up, last, width) for arm in arms]
    note = None
    if last > MAX_POINTS:
        note = explain(f"Curves are averaged into {MAX_POINTS} points.")
    kind = "small-multiples wide" if wide else "small-multiples"
    return join([tag("div", *figures, class_=kind), note])


def smooth(losses: Sequence[float]) -> list[float]:
    """Average a long curve into at most `MAX_POINTS` points."""
    if len(losses) <= MAX_POINTS:
        return list(losses)
    parts = np.array_split(np.asarray(losses), MAX_POINTS)
    return [float(part.mean()) for part in parts]


def _panel(
    arm: str, curves: Sequence[tuple[Training, list[float]]], up: plot.Axis, last: int, width: int
) -> Safe:
    bottom = 140
    across = plot.Axis(1, max(2, last), 40, width - 8)
    shapes = plot.grid_y(up, 40, width - 8)
    shapes.append(plot.line(40, bottom, width - 8, bottom, "zero"))
    kind = "tested" if arm == "selected" else "control"
    for one, curve in curves:
        ends = np.linspace(1, len(one.losses), len(curve))
        points = [(across(float(x)), up(y)) for x, y in zip(ends, curve, strict=True)]
        tip = f"{arm}, seed {one.seed or '–'}: last loss {figure(curve[-1])}"
        shapes.append(plot.path(points, f"curve {kind}", tip))
    for step in plot.ticks(1, last, 4):
        if step == int(step) and across(step) < width - 50:
            shapes.append(
                plot.text(across(step), bottom + 16, count(step), "tick", anchor="middle")
            )
    shapes.append(plot.text(width - 8, bottom + 16, "step", "hint", anchor="end"))
    drawn = plot.svg(width, bottom + 22, f"Loss of {arm} by step, one line a seed.", *shapes)
    seeds = tag("small", f" {plural(len(curves), 'seed')}")
    return tag("figure", tag("figcaption", arm, seeds), drawn)


def _spent(trained: Sequence[Training]) -> Safe:
    columns = [
        Column("Arm"),
        Column("Seed", True),
        Column("Rows", True),
        Column("Steps", True),
        Column("Tokens", True),
        Column("First loss", True),
        Column("Last loss", True),
    ]
    body = [
        (
            t.arm,
            t.seed or "–",
            count(t.rows),
            count(t.steps),
            count(t.tokens),
            figure(t.losses[0] if t.losses else None),
            figure(t.losses[-1] if t.losses else None),
        )
        for t in trained
    ]
    words = explain(
        "Controls are held to the same number of tokens as the tested arm, so that a win cannot come "
        "from more training. The full pool is a reference: it costs more."
    )
    return join([table("What each arm was trained on", columns, body), words])
