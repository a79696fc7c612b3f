"""The first thing on the page: the decision in colour, sign and word, and the sentence behind it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import yaml

from treadle.data.verdict import Comparison, Verdict
from treadle.report import plot
from treadle.report.folder import RunFolder
from treadle.report.markup import Child, Safe, tag
from treadle.report.numbers import count, decimals, duration, interval, number, signed
from treadle.report.scores import verdict_of

WORDS = {"accept": "Accept", "hold": "Hold", "roll_back": "Roll back"}
MEANING = {
    "accept": "These rows are worth training on. The verdict is about the mean of all seeds; "
    "adapter/ holds one student, that of the first seed.",
    "hold": "Not decided: more items, seeds or rows could decide it. adapter/ holds a student of "
    "these rows all the same, that of the first seed.",
    "roll_back": "What this round selected is not to be used, and neither is adapter/: it holds a "
    "student of these rows, that of the first seed.",
}
UNDECIDED = "not decided"
MAX_NAMES = 5


def banner(run: RunFolder) -> Safe:
    """Return the head of the page."""
    decision = run.verdict.decision if run.verdict is not None else UNDECIDED
    kind = decision if decision in WORDS else "undecided"
    word = WORDS.get(decision, "No verdict yet")
    sentence = run.verdict.sentence if run.verdict is not None else _missing(run)
    # The word stands above in large letters already.
    sentence = sentence.removeprefix(f"{word}: ")
    sentence = sentence[:1].upper() + sentence[1:]
    return tag(
        "header",
        tag("p", "treadle run ", tag("strong", run.name), class_="eyebrow"),
        tag(
            "div",
            icon(kind),
            tag(
                "div",
                tag("h1", word),
                tag("p", sentence, class_="sentence"),
                tag("p", MEANING[decision], class_="meaning") if decision in MEANING else None,
            ),
            class_="decision",
        ),
        _tiles(run),
        _facts(run),
        _notes(run),
        id="verdict",
        class_=f"banner {kind}",
    )


def icon(kind: str) -> Safe:
    """A sign for each decision, so that the colour never stands alone."""
    strokes = {
        "accept": [[(14, 25), (21, 32), (35, 17)]],
        "hold": [[(19, 16), (19, 32)], [(29, 16), (29, 32)]],
        "roll_back": [
            [(21, 13), (13, 20), (21, 27)],
            [(13, 20), (29, 20), (34, 24), (34, 30), (29, 34), (18, 34)],
        ],
        "undecided": [[(14, 24), (34, 24)]],
    }
    lines = [plot.path(points, "sign") for points in strokes[kind]]
    return tag(
        "svg",
        plot.dot(24, 24, 23, "disc"),
        *lines,
        viewBox="0 0 48 48",
        class_=f"icon {kind}",
        aria_hidden="true",
    )


def _missing(run: RunFolder) -> str:
    parts = [
        (run.findings is not None, "the audit"),
        (run.selection is not None, "the selection"),
        (bool(run.figures.get("train")), "training"),
        (run.results is not None, "the evaluation"),
    ]
    done = [name for is_there, name in parts if is_there]
    reached = f"It has written: {', '.join(done)}." if done else "No stage has finished."
    return f"This run has not reached the gate. {reached} Run the same command again to go on."


def _tiles(run: RunFolder) -> Safe | None:
    """The few numbers that a reader looks for first."""
    verdict, counts = run.verdict, run.counts
    tiles: list[Safe] = []
    if verdict is not None:
        shown = [c for c in _headline(verdict) if number(c.effect) is not None]
        places = decimals([(c.high - c.low) / 2 for c in shown])
        tiles += [_tile(f"against {c.against}", *_effect(c, verdict.alpha, places)) for c in shown]
    if counts is not None and counts.selected is not None:
        whole = count(counts.rows if counts.rows is not None else counts.read)
        tiles.append(_tile("rows selected", count(counts.selected), f"of {whole}", ""))
    elif counts is not None and counts.read is not None:
        tiles.append(_tile("rows read", count(counts.read), "", ""))
    if run.costs:
        seconds = sum(cost.seconds for cost in run.costs)
        tokens = sum(cost.tokens for cost in run.costs)
        tiles.append(_tile("work done", duration(seconds), f"{count(tokens)} tokens", ""))
    return tag("div", *tiles, class_="tiles") if tiles else None


def _headline(verdict: Verdict) -> list[Comparison]:
    """The comparisons that decide, at most three: controls and the incumbent."""
    return [c for c in verdict.comparisons if c.role in ("control", "incumbent")][:3]


def _effect(one: Comparison, alpha: float, places: int) -> tuple[str, str, str]:
    return signed(one.effect, places), interval(one.low, one.high, places), verdict_of(one, alpha)


def _tile(title: str, value: str, note: str, kind: str) -> Safe:
    return tag(
        "div",
        tag("div", title, class_="tile-title"),
        tag("div", value, class_=f"tile-value is-{kind}" if kind else "tile-value"),
        tag("div", note, class_="tile-note"),
        class_="tile",
    )


def _facts(run: RunFolder) -> Safe:
    facts: list[tuple[str, Child]] = []
    if run.verdict is not None:
        facts += [("Metric", run.verdict.metric), ("Alpha", f"{run.verdict.alpha:g}")]
    facts += [("Student", student_name(run) or "not recorded"), ("Data", data_name(run))]
    pairs = [tag("div", tag("dt", name), tag("dd", value)) for name, value in facts]
    return tag("dl", *pairs, class_="facts")


def student_name(run: RunFolder) -> str:
    """The name of the model that was trained."""
    return str(_of_run(run, "student") or "")


def data_name(run: RunFolder) -> str:
    """What the run calls its data (file names without folders)."""
    names = list(dict.fromkeys(_names(_of_run(run, "data"))))
    more = f" and {count(len(names) - MAX_NAMES)} more" if len(names) > MAX_NAMES else ""
    return f"{', '.join(names[:MAX_NAMES])}{more}" or "not recorded"


def _of_run(run: RunFolder, key: str) -> object:
    """What figures.json records about the run, or else what the recipe says."""
    recorded = run.figures.get("run")
    if isinstance(recorded, Mapping) and recorded.get(key):
        return recorded[key]
    try:
        recipe = yaml.safe_load(run.recipe or "")
    except yaml.YAMLError:
        return None
    return recipe.get(key) if isinstance(recipe, Mapping) else None


def _names(data: object) -> list[str]:
    if isinstance(data, str):
        return [data.replace("\\", "/").rstrip("/").rsplit("/", 1)[-1]]
    if isinstance(data, Mapping):
        return _names(data.get("train"))
    if isinstance(data, Sequence):
        return [name for one in data for name in _names(one)]
    return []


def _notes(run: RunFolder) -> Safe | None:
    notes = list(run.verdict.notes) if run.verdict is not None else []
    problems = [f"Could not be read and is left out here: {one}" for one in run.problems]
    if not notes and not problems:
        return None
    items = [tag("li", note) for note in notes] + [
        tag("li", problem, class_="problem") for problem in problems
    ]
    return tag("ul", *items, class_="notes")
