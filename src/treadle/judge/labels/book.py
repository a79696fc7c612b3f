"""Labels of people, kept beside the store: files of lines that only grow.

    labels/pairs.jsonl     {"request": …, "answer_1": …, "answer_2": …, "label": 1, "annotator": "ana", …}
    labels/scores.jsonl    {"request": …, "answer": …, "score": 4.0, "annotator": "ana", …}

Each line stands for itself, in the form that is imported, so the file can be read by anybody and
brought to another machine. Importing a file twice adds nothing.
"""

from __future__ import annotations

import json
from pathlib import Path

from treadle.judge.labels.files import read_people
from treadle.judge.labels.people import Label, People, content
from treadle.judge.pairs import Item, Pair
from treadle.machinery.disk import Disk, explained
from treadle.machinery.lock import only_writer


class LabelBook:
    """The labels of a store."""

    def __init__(self, store: Path) -> None:
        self.folder = store / "labels"

    def read(self, kind: str) -> People | None:
        """Return all labels of `pairs` or of `scores`; None where there are none.

        Raises:
            DataError: somebody edited the file, and a line cannot be used.
        """
        path = self._path(kind)
        return read_people(path) if path.is_file() else None

    def add(self, people: People, came_from: str) -> int:
        """Keep labels that are not here yet; return how many.

        Raises:
            StoreError: another process is adding labels, or the disk refuses.
            DataError: what is here cannot be read.
        """
        kind = "pairs" if people.pairs else "scores"
        path = self._path(kind)
        with only_writer(self.folder):
            known = self.read(kind)
            here = set(map(_key, known.labels)) if known is not None else set()
            fresh = [label for label in people.labels if _key(label) not in here]
            if fresh:
                things: dict[str, Pair | Item] = {content(one): one for one in people.pairs}
                things |= {content(one): one for one in people.items}
                lines = [_line(things[label.content], label, came_from) for label in fresh]
                with explained(path):
                    before = path.read_bytes() if path.is_file() else b""
                Disk().publish(path, before + "".join(lines).encode())
        return len(fresh)

    def _path(self, kind: str) -> Path:
        return self.folder / f"{kind}.jsonl"


def _key(label: Label) -> tuple[str, str, float, str]:
    return label.content, label.annotator, label.value, label.when


def _line(thing: Pair | Item, label: Label, came_from: str) -> str:
    if isinstance(thing, Pair):
        line: dict[str, object] = {
            "request": thing.request, "answer_1": thing.answer_1, "answer_2": thing.answer_2,
            **({} if thing.own is None else {"own": thing.own}), "label": int(label.value),
        }  # fmt: skip
    else:
        line = {"request": thing.request, "answer": thing.answer, "score": label.value}
    who = {"annotator": label.annotator, "when": label.when, "came_from": came_from}
    return json.dumps({**line, **who}) + "\n"
