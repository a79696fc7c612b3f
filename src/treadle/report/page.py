"""Put the page of a run together: sections in the order in which a sceptic asks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from treadle.machinery.disk import Disk
from treadle.report import by_set, compared, comparison
from treadle.report.audits import audit, lint, planted
from treadle.report.browse import browse
from treadle.report.costs import costs
from treadle.report.flow import dropped, flow
from treadle.report.folder import RunFolder, read_run
from treadle.report.items import items
from treadle.report.markup import Safe, Section, tag
from treadle.report.provenance import provenance, recipe
from treadle.report.scores import scores
from treadle.report.shell import FILE_NAME, contents, document, shown
from treadle.report.shift import shift
from treadle.report.spread import spread
from treadle.report.training import training
from treadle.report.unlicensed import stamp
from treadle.report.verdict import WORDS, banner


def write_report(folder: Path) -> Path:
    """Write `report.html` into the folder of a run or of a comparison, and return its path.

    The same folder gives the same bytes, apart from times and costs. A run that has not finished
    gives a shorter page that says what is not there yet.

    Raises:
        DataError: the folder holds no part of a run.
        StoreError: the page cannot be written; an older page is still whole.
    """
    if (folder / compared.FILE).is_file():
        return comparison.write_comparison(folder)
    run = read_run(folder)
    path = folder / FILE_NAME
    # A lone surrogate (possible in JSON) has no UTF-8 form: it becomes a question mark.
    Disk().publish(path, page(run).encode("utf-8", "replace"))
    return path


def page(run: RunFolder) -> str:
    """Return the whole page."""
    sections = _sections(run)
    main = [
        stamp(run.figures.get("unlicensed")),
        banner(run),
        *(shown(section) for section in sections),
    ]
    return document(_title(run), _navigation(run, sections), main, with_script=True)


def _sections(run: RunFolder) -> list[Section]:
    parts = [
        scores(run),
        by_set.of_run(run),
        flow(run),
        dropped(run),
        spread(run),
        shift(run),
        training(run),
        audit(run),
        lint(run),
        planted(run),
        costs(run),
        browse(run),
        items(run),
        recipe(run),
        provenance(run),
    ]
    return [part for part in parts if part is not None]


def _navigation(run: RunFolder, sections: Sequence[Section]) -> Safe:
    decision = run.verdict.decision if run.verdict is not None else "undecided"
    verdict = tag(
        "a", WORDS.get(decision, "No verdict"), href="#verdict", class_=f"pill {decision}"
    )
    return contents(run.name, sections, verdict)


def _title(run: RunFolder) -> str:
    decision = WORDS.get(run.verdict.decision, "") if run.verdict is not None else "no verdict yet"
    return f"{run.name}: {decision.lower()} · treadle"
