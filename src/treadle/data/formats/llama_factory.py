"""Export for LLaMA-Factory: a JSON Lines file and its entry in `dataset_info.json`.

LLaMA-Factory trains on every reply of a chat, or with `mask_history: true` on the last one only; it
cannot be told turn by turn. It skips chats that do not alternate, with a warning that is easily
missed. So rows that it would skip, or would train on otherwise than their loss says, are left out
here and named, and the export says whether training needs `mask_history`.

Unlike `write` this is one way: a row with a verifiable answer becomes a chat with that reply.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from treadle.data.formats.files import json_text
from treadle.data.formats.layouts import TREADLE_ID
from treadle.data.pool import Pool
from treadle.data.publishing import published
from treadle.data.row import Message, Row
from treadle.errors import DataError

INFO_FILE = "dataset_info.json"
_TAGS = {
    "role_tag": "role",
    "content_tag": "content",
    "user_tag": "user",
    "assistant_tag": "assistant",
    "observation_tag": "tool",
    "system_tag": "system",
}


@dataclass(frozen=True, slots=True)
class LlamaFactoryExport:
    """What was written. `left_out` gives a reason for each row id that is not in the file.

    `mask_history`: the training configuration must say `mask_history: true`.
    """

    file: Path
    rows: int
    left_out: Mapping[str, str]
    mask_history: bool


def write_llama_factory(pool: Pool, folder: str | Path, name: str) -> LlamaFactoryExport:
    """Write `<name>.jsonl` and enter it in the folder's `dataset_info.json` under `name`.

    Raises:
        DataError: preference rows and chats are mixed, some chats train on all replies and others
            on the last only, no row is left, or the existing `dataset_info.json` is damaged.
        StoreError: a file cannot be written.
    """
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]*", name):
        raise DataError(f"{name!r}: a dataset's name has letters, digits, and _ . - only.")
    folder = Path(folder)
    rows = pool.rows()
    is_ranking = _is_ranking(rows)
    left_out = {row.id: why for row in rows if (why := _obstacle(row))}
    kept = [row for row in rows if row.id not in left_out]
    if not kept:
        reasons = ", ".join(sorted(set(left_out.values()))) or "the pool is empty"
        raise DataError(f"{name}: LLaMA-Factory could use none of {len(rows)} rows ({reasons}).")
    mask_history = _needs_mask(kept)
    info = _info(folder / INFO_FILE)
    target = folder / f"{name}.jsonl"
    with published(target) as file:
        file.writelines((json_text(_record(row)) + "\n").encode() for row in kept)
    info[name] = _entry(target.name, is_ranking=is_ranking)
    with published(folder / INFO_FILE) as file:
        file.write((json.dumps(info, indent=2, ensure_ascii=False) + "\n").encode())
    return LlamaFactoryExport(target, len(kept), left_out, mask_history)


def _is_ranking(rows: Iterable[Row]) -> bool:
    kinds = {row.kind == "preference" for row in rows}
    if len(kinds) > 1:
        raise DataError(
            "preference rows and chats need a dataset each: LLaMA-Factory ranks all or none."
        )
    return True in kinds


def _obstacle(row: Row) -> str:
    """Why LLaMA-Factory would skip this row or train on it wrongly ('' when it would not)."""
    prompt = row.messages if row.kind == "preference" else row.conversation[:-1]
    turns = [m for m in prompt if m.role != "system"]
    expected = [("user", "tool"), ("assistant",)]
    if len(turns) % 2 == 0 or any(m.role not in expected[i % 2] for i, m in enumerate(turns)):
        return "turns_do_not_alternate"
    if row.kind != "preference" and not (_trains_all(row) or _trains_last(row)):
        return "loss_on_some_earlier_replies"
    return ""


def _replies(row: Row) -> list[Message]:
    return [m for m in row.conversation if m.role == "assistant"]


def _trains_all(row: Row) -> bool:
    return all(m.trains for m in _replies(row))


def _trains_last(row: Row) -> bool:
    *earlier, last = _replies(row)
    return last.trains and not any(m.trains for m in earlier)


def _needs_mask(rows: Iterable[Row]) -> bool:
    chats = [row for row in rows if row.kind != "preference"]
    masked = [row for row in chats if not _trains_all(row)]
    unmasked = [row for row in chats if not _trains_last(row)]
    if masked and unmasked:
        raise DataError(
            f"{len(unmasked)} chats train on every reply (such as {unmasked[0].id}) and {len(masked)} "
            f"on the last only (such as {masked[0].id}); LLaMA-Factory takes one rule a run. "
            "Export them as two datasets."
        )
    return bool(masked)


def _record(row: Row) -> dict[str, object]:
    record: dict[str, object] = {}
    if row.kind == "preference":
        record = {
            "messages": [_turn(m) for m in row.messages],
            "chosen": {"role": "assistant", "content": row.chosen},
            "rejected": {"role": "assistant", "content": row.rejected},
        }
    else:
        record = {"messages": [_turn(m) for m in row.conversation]}
    return record | {TREADLE_ID: row.id}


def _turn(message: Message) -> dict[str, object]:
    return {"role": message.role, "content": message.content}


def _entry(file_name: str, *, is_ranking: bool) -> dict[str, object]:
    columns = {"messages": "messages"}
    if is_ranking:
        columns |= {"chosen": "chosen", "rejected": "rejected"}
    entry: dict[str, object] = {"file_name": file_name, "formatting": "sharegpt"}
    if is_ranking:
        entry["ranking"] = True
    return entry | {"columns": columns, "tags": dict(_TAGS)}


def _info(path: Path) -> dict[str, object]:
    """The entries that are there already; other datasets keep theirs."""
    if not path.exists():
        return {}
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(
            f"{path}: cannot be read ({error}). Repair it or name another folder."
        ) from None
    if not isinstance(found, dict):
        raise DataError(f"{path}: is not an object of datasets. Name another folder.")
    return found
