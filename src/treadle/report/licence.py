"""The page of a judge's licence: what it may do, what stands in the way, and what it got wrong."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from treadle.judge.benchmark.whole import Benchmark
from treadle.judge.figures.powers import ALL, Power
from treadle.judge.licensing.examination import Examination
from treadle.judge.licensing.licence import Licence
from treadle.report import licence_examples, plot
from treadle.report.licence_figures import POWER, bars, robustness, stands
from treadle.report.markup import Child, Column, Safe, Section, absent, explain, join, table, tag
from treadle.report.numbers import count, fixed, interval, number, plural
from treadle.report.shell import contents, document, shown
from treadle.report.verdict import icon

Line = Mapping[str, Any]
WORDS: dict[Power, str] = {
    "gate": "May gate", "filter": "May filter", "break_ties": "May only break ties",
    "nothing": "May do nothing",
}  # fmt: skip
KINDS: dict[Power, str] = {
    "gate": "accept", "filter": "accept", "break_ties": "hold", "nothing": "roll_back",
}  # fmt: skip
MEANING: dict[Power, str] = {
    "gate": "It may decide whether a round helped, drop or keep rows, and rank them.",
    "filter": "It may drop or keep rows and rank them. Whether a round helped is not its to decide.",
    "break_ties": "It may rank rows that a verifier holds for equal, and feed estimates that labels of "
    "people correct. No row may be dropped on its word.",
    "nothing": "Its verdicts may be looked at, and nothing may rest on them.",
}
SETS = {
    "verifier": "Right against wrong, worded alike", "adversarial": "Made to mislead",
    "given": "Your pairs", "people": "Labelled by people", "own": "One answer is its own",
}  # fmt: skip


def licence_page(licence: Licence, exam: Examination) -> str:
    """Return the whole page: one file that loads nothing."""
    sections = [
        bars(licence), robustness(licence), accuracy(licence), people(licence), calibration(licence),
        licence_examples.worst(exam), asked(licence, exam.benchmark),
    ]  # fmt: skip
    power, model = licence.power, licence.identity.model
    pill = tag("a", WORDS[power], href="#verdict", class_=f"pill {KINDS[power]}")
    return document(
        f"{model}: {WORDS[power].lower()} · treadle",
        contents(model, sections, pill),
        [banner(licence), *(shown(section) for section in sections)],
    )


def banner(licence: Licence) -> Safe:
    """Say what the judge may do, and what keeps it from more."""
    who, power = licence.identity, licence.power
    pairs = sum(licence.benchmark["sets"].values())
    sentence = f"{who.model} with the rubric {who.rubric} was examined on {count(pairs)} pairs, each in both orders."
    facts: list[tuple[str, Child]] = [
        ("Address", who.url), ("Signed", f"{licence.by or 'nobody'}, {licence.when}"),
        ("Judge", tag("code", who.hash)), ("Seed", licence.benchmark["seed"]),
        ("treadle", licence.version),
    ]  # fmt: skip
    return tag(
        "header",
        tag("p", "treadle judge license ", tag("strong", who.model), class_="eyebrow"),
        tag(
            "div",
            icon(KINDS[power]),
            tag(
                "div",
                tag("h1", WORDS[power]),
                tag("p", sentence, class_="sentence"),
                tag("p", MEANING[power], class_="meaning"),
            ),
            class_="decision",
        ),
        _in_the_way(licence),
        tag("dl", *(tag("div", tag("dt", k), tag("dd", v)) for k, v in facts), class_="facts"),
        id="verdict",
        class_=f"banner {KINDS[power]}",
    )


def _in_the_way(licence: Licence) -> Safe | None:
    """One line a power that the judge does not have; what bars a lesser power bars the greater."""
    order = list(ALL)
    missing = order[: order.index(licence.power)] if licence.power in order else order
    figures = {one["name"]: one for one in licence.findings["figures"]}
    lines, told = [], set[str]()
    for power in reversed(missing):
        names = [name for name in licence.findings["in_the_way"][power] if name not in told]
        reasons = ["all of the above", *stands([figures[name] for name in names])]
        lines.append(
            tag("li", tag("strong", f"To {POWER[power]}: "), "; ".join(reasons[0 if told else 1 :]))
        )
        told |= set(names)
    return tag("ul", *lines, class_="notes") if lines else None


def accuracy(licence: Licence) -> Section:
    """How often it is right: set by set and order by order, and by kind of task."""
    columns = [Column("Pairs"), *(Column(x, True) for x in ("Shown as they are", "Swapped", "Right in both", "95% interval", "Pairs"))]  # fmt: skip
    rows = [
        (SETS[name], *(fixed(by[order]["value"], 3) for order in ("first", "second", "both")),
         interval(by["both"]["low"], by["both"]["high"], 3), count(by["both"]["items"]))
        for name, by in licence.findings["orders"].items()
    ]  # fmt: skip
    families = sorted(
        licence.findings["families"].items(), key=lambda x: number(x[1]["value"]) or 0.0
    )
    tasks = [
        (name, fixed(one["value"], 3), interval(one["low"], one["high"], 3),
         plot.bar(one["value"] or 0.0, 1.0, "fill tested"), count(one["items"]))
        for name, one in families
    ]  # fmt: skip
    kinds = [Column("Task"), Column("Right in both", True), Column("95% interval", True), Column("", kind="w"), Column("Pairs", True)]  # fmt: skip
    body = [
        explain(
            "Pairs labelled a tie do not count. A verdict that could not be read is not right. A coin "
            "has 0.25 in both orders, one that sticks to its side 0.5."
        ),
        table("By set", columns, rows),
        table("By kind of task, hardest first", kinds, tasks),
    ]
    return Section("accuracy", "How often is it right?", "Accuracy", join(body))


def people(licence: Licence) -> Section:
    """Agreement with people beside their own."""
    found = licence.findings["people"]
    title = "Does it agree with people?"
    if found is None:
        return Section("people", title, "People", absent(
            "No labels of people were given (--people FILE), so it cannot earn the power to gate."
        ))  # fmt: skip
    ceiling, rows = found["ceiling"], []
    if (kappa := found.get("kappa")) is not None:
        rows.append(("Cohen's kappa of the judge with the majority", fixed(kappa["value"], 3), interval(kappa["low"], kappa["high"], 3)))  # fmt: skip
    if ceiling is not None and ceiling["one_against_rest"] is not None:
        rows.append(("The same of one person with the others (people's own ceiling)", fixed(ceiling["one_against_rest"], 3), ""))  # fmt: skip
    if ceiling is not None:
        rows.append(("Krippendorff's alpha among people", fixed(ceiling["alpha"], 3), ""))
    for name in ("spearman", "kendall"):
        if name in found:
            words = f"{name.capitalize()} correlation of its scores with people's mean"
            rows.append((words, fixed(found[name], 3), f"{plural(found['compared'], 'answer')}"))
    what = plural(found["pairs"], "pair") if found["pairs"] else plural(found["scored"], "answer")
    body = [
        explain(
            f"{plural(found['labels'], 'label')} by {_persons(len(found['annotators']))} on {what}. On "
            f"{count(found['split'])} people are split, and these are left out; "
            f"{plural(found['changed_minds'], 'label')} were changed later. No judge can be asked to agree "
            "with people more than they do with each other."
        ),
        table("Agreement beyond chance", [Column("Figure"), Column("Value", True), Column("", True)], rows),
    ]  # fmt: skip
    return Section("people", title, "People", join(body))


def _persons(number: int) -> str:
    return "one person" if number == 1 else f"{count(number)} people"


def calibration(licence: Licence) -> Section:
    """A plot of how often it is right against how sure it is."""
    bins = licence.findings["calibration"]
    title = "Does it know when it is right?"
    if not bins:
        return Section("calibration", title, "Calibration", absent(
            "This judge does not tell how sure it is (no log-probabilities), so nothing is held against it."
        ))  # fmt: skip
    x, y = plot.Axis(0.0, 1.0, 60, 400), plot.Axis(0.0, 1.0, 270, 16)
    shapes: list[Child] = [*plot.grid_x(x, 16, 270), *plot.grid_y(y, 60, 400)]
    shapes.append(plot.line(x(0), y(0), x(1), y(1), "zero"))
    shapes.append(plot.text(230, 306, "how sure it was", "hint", anchor="middle"))
    shapes.append(plot.text(66, 12, "how often it was right", "hint"))
    for one in bins:
        px = x(one["confidence"])
        tip = f"{fixed(one['value'], 3)} right of {count(one['items'])}"
        shapes.append(plot.line(px, y(one["low"]), px, y(one["high"]), "whisker tested"))
        shapes.append(plot.dot(px, y(one["value"]), 4.5, "mean tested", tip))
    drawn = tag(
        "figure",
        plot.svg(420, 312, "Share of right verdicts against confidence", *shapes),
        class_="small-multiples",
    )
    body = [
        explain(
            "Settled verdicts on verifier-made pairs, in bins of confidence; bars are 95% intervals. On the "
            "line it is right as often as it is sure; below it, too sure."
        ),
        drawn,
    ]
    return Section("calibration", title, "Calibration", join(body))


def asked(licence: Licence, benchmark: Benchmark) -> Section:
    """What the licence rests on, and when it ends."""
    who, about = licence.identity, licence.benchmark
    rows = [(name, count(n), "given" if name in benchmark.given else "made") for name, n in about["sets"].items()]  # fmt: skip
    silent = {phase: len(keys) for phase, keys in licence.unanswered.items() if keys}
    hashes = [
        ("Judge", who.hash), ("Prompt and code that asks", who.prompt), ("Rubric", who.rubric_hash),
        ("Code of the benchmark", about["code"]), ("Pairs", about["pairs"]), ("Labels", about["labels"]),
    ]  # fmt: skip
    body: list[Child] = [
        explain(
            "Made pairs follow from the seed, and what they are is computed, not remembered. The licence ends "
            "when the address, the model, the prompt or the rubric changes. Whoever loads it makes the pairs "
            "again, reads the replies from the call book and computes every figure anew: a file in which "
            "anything differs is refused."
        ),
        table("Pairs", [Column("Set"), Column("Pairs", True), Column("Where from")], rows, class_="compact"),
    ]  # fmt: skip
    if silent:
        words = ", ".join(f"{count(n)} ({phase})" for phase, n in silent.items())
        body.append(
            tag(
                "p",
                f"Without a verdict that could be read in both orders: {words}.",
                class_="notice",
            )
        )
    body.append(
        table("What it is bound to", [Column("Hash of"), Column("", kind="hash")],
              [(name, tag("code", value)) for name, value in hashes], class_="compact")
    )  # fmt: skip
    return Section("asked", "What does it rest on?", "Grounds", join(body))
