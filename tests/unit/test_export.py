"""Writing files: the same rows come back, other tools read them, and nothing is put half-written."""

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from treadle.data.formats.read import read
from treadle.data.formats.write import write, write_llama_factory
from treadle.data.pool import Pool
from treadle.data.row import Message, Origin, Row
from treadle.errors import DataError, RecipeError, StoreError

KINDS = [".jsonl", ".json", ".csv", ".tsv", ".parquet", ""]


def user(text: str) -> Message:
    return Message("user", text)


def reply(text: str, trains: bool = True) -> Message:
    return Message("assistant", text, trains)


def chat(*turns: Message, **extra: object) -> Row:
    return Row("chat", turns, origins=(Origin("a.jsonl", 1, None, json.dumps(extra)),))


PLAIN = chat(user("2+2?"), reply("4"), id=7, tag="sum")
LONG = chat(Message("system", "s"), user("a"), reply("b"), user("c"), reply("d"))
MASKED = chat(user("a"), reply("b", False), user("c"), reply("d"))
MIDDLE = chat(user("a"), reply("b"), user("c"), reply("d", False), user("e"), reply("f"))
TOOLS = chat(user("a"), reply("call", False), Message("tool", "42"), reply("d"))
RANKED = Row("preference", (user("2+2?"),), chosen="4", rejected="5")
CHECKED = Row("answer", (user("2+2?"),), answer="4")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("layout", "rows"),
    [
        ("openai", [PLAIN, LONG, MASKED, MIDDLE, TOOLS]),
        ("sharegpt", [PLAIN, LONG, MASKED, MIDDLE, TOOLS]),
        ("alpaca", [PLAIN, LONG]),
        ("prompt_completion", [PLAIN, MASKED, TOOLS]),
        ("preference", [RANKED]),
        ("prompt_answer", [CHECKED]),
    ],
)
def test_what_was_written_is_read_back_in_every_layout_and_kind_of_file(
    tmp_path: Path, layout: str, rows: list[Row], kind: str
) -> None:
    pool = Pool.of(rows)
    write(pool, tmp_path / f"out{kind}", layout=layout)
    again = read(tmp_path / f"out{kind}")
    assert again.layout == layout
    assert again.pool.ids == pool.ids
    assert [row.messages for row in again.pool.rows()] == [row.messages for row in pool.rows()]


def test_without_a_layout_the_kind_of_row_decides(tmp_path: Path) -> None:
    found = []
    for row in (PLAIN, RANKED, CHECKED):
        write([row], tmp_path / "out.jsonl")
        found.append(read(tmp_path / "out.jsonl").layout)
    assert found == ["openai", "preference", "prompt_answer"]
    with pytest.raises(DataError, match="several kinds"):
        write([PLAIN, RANKED], tmp_path / "out.jsonl")


@pytest.mark.parametrize(
    ("layout", "row", "why"),
    [
        ("alpaca", MASKED, "loss on every reply"),
        ("alpaca", TOOLS, "user and assistant in turn"),
        ("prompt_completion", LONG, "last turn alone"),
        ("openai", RANKED, "preference row"),
        ("preference", PLAIN, "chat row"),
        ("openai", chat(user("a"), reply("b", False)), "no assistant turn carries loss"),
    ],
)
def test_a_layout_that_cannot_say_everything_is_refused(
    tmp_path: Path, layout: str, row: Row, why: str
) -> None:
    with pytest.raises(DataError, match=why) as caught:
        write([row], tmp_path / "out.jsonl", layout=layout)
    assert row.id in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_columns_of_the_user_keep_their_values_and_free_names(tmp_path: Path) -> None:
    extra = {"id": 7, "prompt": "p", "system": "s", "user_prompt": "u", "output": "o"}
    row = chat(user("a"), reply("b"), **extra)
    write([row], tmp_path / "out.jsonl", extra_columns={row.id: {"score": 0.5, "id": 1}})
    assert json.loads((tmp_path / "out.jsonl").read_text()) == {
        "messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}],
        "id": 7,
        "output": "o",
        "user_prompt": "u",
        "user_user_prompt": "p",
        "user_system": "s",
        "score": 0.5,
        "treadle_treadle_id": 1,
        "treadle_id": row.id,
    }
    again = read(tmp_path / "out.jsonl")
    assert (again.layout, again.pool.ids) == ("openai", [row.id])


def test_a_merged_row_is_written_once_with_the_columns_of_all_its_origins(tmp_path: Path) -> None:
    origins = (Origin("a", 1, "x", '{"a": 1}'), Origin("b", 1, None, '{"a": 2, "b": 3}'))
    row = Row("chat", (user("a"), reply("b")), origins=origins)
    write([row], tmp_path / "out.jsonl")
    record = json.loads((tmp_path / "out.jsonl").read_text())
    assert (record["id"], record["a"], record["b"]) == ("x", 1, 3)


@pytest.mark.parametrize("kind", [".jsonl", ".parquet", ""])
def test_columns_of_mixed_types_come_back_as_they_were(tmp_path: Path, kind: str) -> None:
    values = [1, 1.0, "1", True, None, [], [1, "a"], {}, {"a": {"b": []}}, 2**62, [[]], ["é"]]
    rows = [chat(user(str(i)), reply("x"), mixed=v, i=i) for i, v in enumerate(values)]
    same = {"ints": [1], "texts": ["a"], "none": [], "deep": [[0.5]], "object": {"k": None}}
    rows.append(chat(user("z"), reply("x"), i=99, **same))
    write(rows, tmp_path / f"out{kind}")
    found = {}
    for row in read(tmp_path / f"out{kind}").pool.rows():
        extra = json.loads(row.origins[0].extra)
        found[extra.pop("i")] = extra
    for i, value in enumerate(values):
        assert json.dumps(found[i]) == json.dumps({} if value is None else {"mixed": value})
    assert found[99] == same


def test_numbers_and_texts_keep_a_type_of_their_own_in_parquet(tmp_path: Path) -> None:
    write([chat(user("a"), reply("b"), n=1, x=0.5, t="s", l=["q"])], tmp_path / "out.parquet")
    schema = pq.read_schema(tmp_path / "out.parquet")
    kinds = {name: str(schema.field(name).type) for name in ("n", "x", "t", "l")}
    assert kinds == {"n": "int64", "x": "double", "t": "string", "l": "list<element: string>"}


def test_every_record_of_a_file_has_the_same_columns(tmp_path: Path) -> None:
    write(
        [chat(user("a"), reply("b"), x=1), chat(user("c"), reply("d"), y=2)], tmp_path / "o.jsonl"
    )
    lines = (tmp_path / "o.jsonl").read_text().splitlines()
    assert [list(json.loads(line)) for line in lines] == [["messages", "x", "y", "treadle_id"]] * 2


def test_no_character_inside_a_row_looks_like_the_end_of_a_line(tmp_path: Path) -> None:
    text = "a\u2028b\u2029c\x85d\x1ce\x0bf\r\n"
    write([chat(user(text), reply("x"))], tmp_path / "out.jsonl")
    assert len((tmp_path / "out.jsonl").read_text(encoding="utf-8").splitlines()) == 1
    assert read(tmp_path / "out.jsonl").pool.rows()[0].messages[0].content == text


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_rows_give_the_same_bytes_and_a_pool_does_not_depend_on_order(
    tmp_path: Path, kind: str
) -> None:
    rows = [chat(user(str(i)), reply("x"), **{f"c{i}": i}) for i in range(30)]
    blobs = []
    for i, pool in enumerate((Pool.of(rows), Pool.of(rows[::-1]))):
        write(pool, tmp_path / f"{i}" / f"out{kind}")
        files = sorted(p for p in (tmp_path / f"{i}").rglob("*") if p.is_file())
        blobs.append([(p.name, p.read_bytes()) for p in files])
    assert blobs[0] == blobs[1]


def test_rows_keep_the_order_they_are_given_in(tmp_path: Path) -> None:
    rows = [chat(user(str(i)), reply("x")) for i in (3, 1, 2)]
    write(iter(rows), tmp_path / "out.jsonl")
    texts = [json.loads(line)["treadle_id"] for line in (tmp_path / "out.jsonl").open()]
    assert texts == [row.id for row in rows]


@pytest.mark.parametrize("kind", KINDS)
def test_a_failed_write_leaves_what_was_there_and_nothing_else(tmp_path: Path, kind: str) -> None:
    target = tmp_path / f"out{kind}"
    write([PLAIN], target)
    with pytest.raises(DataError):
        write([PLAIN] * 1500 + [MASKED], target, layout="alpaca")
    assert read(target).pool.ids == [PLAIN.id]
    assert [p.name for p in tmp_path.iterdir()] == [target.name]
    write([LONG], target)
    assert read(target).pool.ids == [LONG.id]


def test_places_that_cannot_be_written_are_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(StoreError, match="cannot be written"):
        write([PLAIN], tmp_path / "file" / "out.jsonl")
    with pytest.raises(DataError, match="no saved dataset"):
        write([PLAIN], tmp_path)
    with pytest.raises(DataError, match=r"cannot write '\.xlsx'"):
        write([PLAIN], tmp_path / "out.xlsx")
    with pytest.raises(RecipeError, match="alpaca"):
        write([PLAIN], tmp_path / "out.jsonl", layout="alpacca")


def test_llama_factory_gets_its_entry_beside_those_of_others(tmp_path: Path) -> None:
    (tmp_path / "dataset_info.json").write_text('{"other": {"file_name": "o.json"}}')
    export = write_llama_factory(Pool.of([PLAIN, LONG]), tmp_path, "mine")
    assert (export.rows, export.left_out, export.mask_history) == (2, {}, False)
    info = json.loads((tmp_path / "dataset_info.json").read_text())
    assert info["other"] == {"file_name": "o.json"}
    assert info["mine"] == {
        "file_name": "mine.jsonl",
        "formatting": "sharegpt",
        "columns": {"messages": "messages"},
        "tags": {
            "role_tag": "role",
            "content_tag": "content",
            "user_tag": "user",
            "assistant_tag": "assistant",
            "observation_tag": "tool",
            "system_tag": "system",
        },
    }
    assert read(export.file).pool.ids == Pool.of([PLAIN, LONG]).ids


def test_llama_factory_ranks_preference_rows(tmp_path: Path) -> None:
    export = write_llama_factory(Pool.of([RANKED]), tmp_path, "ranked")
    entry = json.loads((tmp_path / "dataset_info.json").read_text())["ranked"]
    assert entry["ranking"] is True
    names = {"messages": "messages", "chosen": "chosen", "rejected": "rejected"}
    assert entry["columns"] == names
    record = json.loads(export.file.read_text())
    assert record["chosen"] == {"role": "assistant", "content": "4"}
    assert read(export.file).pool.ids == [RANKED.id]


def test_llama_factory_is_not_given_what_it_would_skip_or_train_on_wrongly(tmp_path: Path) -> None:
    odd = chat(user("a"), user("b"), reply("c"))
    export = write_llama_factory(Pool.of([MASKED, MIDDLE, odd, PLAIN]), tmp_path, "mine")
    assert export.left_out == {
        MIDDLE.id: "loss_on_some_earlier_replies",
        odd.id: "turns_do_not_alternate",
    }
    assert (export.rows, export.mask_history) == (2, True)
    with pytest.raises(DataError, match="two datasets"):
        write_llama_factory(Pool.of([MASKED, LONG]), tmp_path, "mine")
    with pytest.raises(DataError, match="rank"):
        write_llama_factory(Pool.of([PLAIN, RANKED]), tmp_path, "mine")
    with pytest.raises(DataError, match="name"):
        write_llama_factory(Pool.of([PLAIN]), tmp_path, "../mine")
    with pytest.raises(DataError, match="none of 1 rows"):
        write_llama_factory(Pool.of([odd]), tmp_path, "mine")


def test_llama_factory_does_not_train_on_replies_of_a_verifiable_rows_prompt(
    tmp_path: Path,
) -> None:
    turns = (user("2+2?"), reply("5, I think", False), user("Sure?"))
    checked = Row("answer", turns, answer="4")
    export = write_llama_factory(Pool.of([checked, CHECKED]), tmp_path, "mine")
    assert (export.rows, export.left_out, export.mask_history) == (2, {}, True)
    with pytest.raises(DataError, match="two datasets"):
        write_llama_factory(Pool.of([checked, LONG]), tmp_path, "mine")
    silent = (user("a"), reply("b"), user("c"), reply("d", False), user("e"))
    middle = Row("answer", silent, answer="f")
    export = write_llama_factory(Pool.of([middle, CHECKED]), tmp_path, "mine")
    assert export.left_out == {middle.id: "loss_on_some_earlier_replies"}
    with pytest.raises(DataError, match="turns_do_not_alternate"):
        write_llama_factory(
            Pool.of([Row("answer", (user("a"), reply("b")), answer="c")]), tmp_path, "mine"
        )


@pytest.mark.parametrize(
    "name",
    [
        *("input_ids", "labels", "completion_mask", "assistant_masks", "seq_lengths"),
        *("tools", "image", "images", "chat_template_kwargs"),
        *("ref_chosen_logps", "ref_rejected_logps"),
    ],
)
def test_a_user_column_that_trl_would_act_on_is_renamed(tmp_path: Path, name: str) -> None:
    write([chat(user("a"), reply("b"), **{name: "x"})], tmp_path / "out.jsonl")
    record = json.loads((tmp_path / "out.jsonl").read_text())
    assert record[f"user_{name}"] == "x"
    assert name not in record
