"""Write rows as files that trainers read unchanged, user columns included.

    write(pool, "train.jsonl")                                chat → `messages`, as TRL reads it
    write(pool, "train.parquet", layout="prompt_completion")  TRL trains on the last turn alone
    write(pool, "train", layout="sharegpt")                   a folder for `datasets.load_from_disk`

What is written can be read back: the same ids, the same loss, the same columns (`records` refuses a
layout that cannot hold a row). Each record carries the user's own columns and `treadle_id`; a user
column whose name would change how a reader takes the file (`prompt`, `system` …) is written as
`user_<name>`. A row that was merged from several records is written once, with the columns of its
first origin, filled up from later ones.

Every record has every column, null where it has none, because Arrow readers take the columns from
the first records. Files are put in place whole, and the same rows give the same bytes.
CSV has no types: all columns come back as text, and empty ones as absent.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from treadle.data.formats import files
from treadle.data.formats.layouts import ID_NAMES, TREADLE_ID
from treadle.data.formats.llama_factory import write_llama_factory
from treadle.data.formats.records import Form, encode, form_for, has_silent_reply
from treadle.data.pool import Pool
from treadle.data.row import Row, from_frame
from treadle.errors import DataError

__all__ = ["write", "write_llama_factory"]

CHUNK_ROWS = 1024
# Names that readers (ours, TRL) act on wherever they stand: as rows, as tokens and masks that are
# ready to train on, as pictures, or as arguments of the chat template.
_TAKEN = {TREADLE_ID, "messages", "conversations", "prompt", "completion", "chosen", "rejected"}
_TAKEN |= {"ground_truth", "verifiable", "system", "system_prompt"}
_TAKEN |= {"input_ids", "labels", "completion_mask", "assistant_masks", "seq_lengths"}
_TAKEN |= {"ref_chosen_logps", "ref_rejected_logps", "image", "images"}
_TAKEN |= {"tools", "chat_template_kwargs"}
_TAKEN_BY_ALPACA = {"instruction", "input", "output", "history"}

Record = dict[str, object]


@dataclass(frozen=True, slots=True)
class _Plan:
    """What one pass over the rows decides for all of them: the form and the columns."""

    form: Form
    names: Mapping[str, str]  # the user's column → the column written
    added: Mapping[str, str]  # the caller's column → the column written
    extra: Mapping[str, Mapping[str, object]]  # row id → the caller's columns


def write(
    rows: Pool | Iterable[Row],
    path: str | Path,
    *,
    layout: str | None = None,
    extra_columns: Mapping[str, Mapping[str, object]] | None = None,
) -> None:
    """Write rows to a file (.jsonl, .json, .csv, .tsv, .parquet) or a saved dataset (no suffix).

    Args:
        rows: a pool (written in the order of its ids) or rows in the order wanted.
        layout: `openai`, `sharegpt`, `alpaca`, `prompt_completion`, `preference` or
            `prompt_answer`; by default the one that holds rows of this kind.
        extra_columns: further columns for each row id, such as scores and reasons.

    Raises:
        DataError: the layout cannot hold a row, or the kind of file is unknown.
        RecipeError: the layout is unknown.
        StoreError: the file cannot be written.
    """
    target = Path(path)
    kind = target.suffix.lower()
    if kind not in files.WRITERS:
        known = ", ".join(filter(None, files.WRITERS))
        raise DataError(
            f"{target}: cannot write {kind!r}. Known: {known}; without a suffix, a saved dataset."
        )
    kept = rows if isinstance(rows, Pool) else list(rows)
    plan = _plan(kept, layout, extra_columns or {})

    def chunks() -> Iterator[list[Record]]:
        for chunk in _chunks(kept):
            yield [_record(row, plan) for row in chunk]

    files.WRITERS[kind](chunks, target)


def _chunks(rows: Pool | Sequence[Row]) -> Iterator[list[Row]]:
    for start in range(0, len(rows), CHUNK_ROWS):
        if isinstance(rows, Pool):
            yield from_frame(rows.frame.slice(start, CHUNK_ROWS))
        else:
            yield list(rows[start : start + CHUNK_ROWS])


def _plan(
    rows: Pool | Sequence[Row],
    layout: str | None,
    extra: Mapping[str, Mapping[str, object]],
) -> _Plan:
    columns: set[str] = set()
    kinds: dict[str, Row] = {}
    weighs = False
    for chunk in _chunks(rows):
        for row in chunk:
            kinds.setdefault(row.kind, row)
            weighs = weighs or has_silent_reply(row)
            columns.update(user_columns(row))
    form = form_for(list(kinds.values()), layout, weighs=weighs)
    taken = _TAKEN | (_TAKEN_BY_ALPACA if form.layout == "alpaca" else set())
    names = _free_names(columns, taken, "user_")
    more = {name for fields in extra.values() for name in fields}
    added = _free_names(more, taken | set(names.values()), "treadle_")
    return _Plan(form, names, added, extra)


def _free_names(columns: Iterable[str], taken: set[str], prefix: str) -> dict[str, str]:
    """Give each column a name that nothing else has, its own where that is free."""
    wanted = sorted(columns)
    used = taken | {name for name in wanted if name not in taken}
    names: dict[str, str] = {}
    for name in wanted:
        free = name
        while name in taken and free in used:
            free = prefix + free
        used.add(free)
        names[name] = free
    return names


def user_columns(row: Row) -> Record:
    """Return the user's columns of a row: the first origin's, filled up from later ones."""
    found: Record = {}
    for origin in row.origins:
        columns = json.loads(origin.extra)
        if origin.id is not None and not any(name in columns for name in ID_NAMES):
            columns["id"] = origin.id
        for name, value in columns.items():
            if value is not None:
                found.setdefault(name, value)
    return found


def _record(row: Row, plan: _Plan) -> Record:
    key = row.id
    own, more = user_columns(row), plan.extra.get(key, {})
    record = encode(row, plan.form)
    record |= {written: own.get(name) for name, written in plan.names.items()}
    record |= {written: more.get(name) for name, written in plan.added.items()}
    record[TREADLE_ID] = key
    return record
