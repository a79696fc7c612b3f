"""Any row survives every layout and kind of file; any garbage is counted and costs nothing else."""

import json
import tempfile
from collections.abc import Callable
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from treadle.data.formats.read import read
from treadle.data.formats.strict_json import StrictJson
from treadle.data.formats.write import write
from treadle.data.pool import Pool
from treadle.data.row import Message, Origin, Row, frame_of, to_frame
from treadle.errors import DataError

QUICK = settings(max_examples=40)
NASTY = ("", " ", "a\u2028b\u2029c\x85d", "\x00", "\u202e\u200b", "a\u0301" * 9, "a\r\nb\rc\n", "\ufeff",
         '[{"role": "user", "content": "x"}]', "\n\nHuman: a\n\nAssistant: b", '","', "=1+1", "<|im_end|>",
         "{answer} %s ${x}", "null", "\x1c\x1d\x1e\x0b\x0c", "\U0001f469\u200d\U0001f680", "\uffff")  # fmt: skip
texts = st.text(st.characters(codec="utf-8"), max_size=30) | st.sampled_from(NASTY)

USER_COLUMNS = st.sampled_from(["id", "uid", "tag", "score", "input", "answer", "context", "text"])
plain_names = USER_COLUMNS | st.text(st.characters(codec="ascii", categories=["L"]), min_size=3)
scalars = (
    st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False)
    | texts
)  # fmt: skip
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner | st.none(), max_size=3) | st.dictionaries(texts, inner, max_size=3)
    ),
    max_leaves=6,
)
RESERVED = {"messages", "conversations", "prompt", "completion", "chosen", "rejected", "system",
            "ground_truth", "verifiable", "instruction", "input", "output", "history",
            "system_prompt", "treadle_id", "input_ids", "labels", "completion_mask",
            "assistant_masks", "seq_lengths", "ref_chosen_logps", "ref_rejected_logps", "image",
            "images", "tools", "chat_template_kwargs"}  # fmt: skip
columns = st.dictionaries(plain_names.filter(lambda name: name not in RESERVED), values, max_size=4)


@st.composite
def chats(draw: st.DrawFn, layout: str) -> Row:
    turns = [Message("system", draw(texts.filter(bool)))] if draw(st.booleans()) else []
    count = draw(st.integers(1, 3))
    for i in range(count):
        turns.append(Message("user", draw(texts)))
        if layout in ("openai", "sharegpt") and draw(st.booleans()):
            turns.append(Message("tool", draw(texts)))
        is_last = i == count - 1
        trains = is_last or layout == "alpaca"
        if layout in ("openai", "sharegpt") and not is_last:
            trains = draw(st.booleans())
        turns.append(Message("assistant", draw(texts), trains))
    return Row("chat", tuple(turns), origins=(draw(origins()),))


@st.composite
def origins(draw: st.DrawFn) -> Origin:
    extra = draw(columns)
    return Origin("a", 1, None, json.dumps(extra, sort_keys=True, ensure_ascii=False))


@st.composite
def rows(draw: st.DrawFn, layout: str) -> Row:
    if layout == "preference":
        prompt, place = (Message("user", draw(texts)),), (draw(origins()),)
        return Row("preference", prompt, draw(texts), draw(texts), origins=place)
    if layout == "prompt_answer":
        prompt, place = (Message("user", draw(texts)),), (draw(origins()),)
        return Row("answer", prompt, answer=draw(texts), origins=place)
    return draw(chats(layout))


LAYOUTS = ["openai", "sharegpt", "alpaca", "prompt_completion", "preference", "prompt_answer"]


def as_csv(extra: dict[str, object]) -> dict[str, object]:
    """What CSV can keep of columns: text, and nothing where there is none."""
    cells = {
        k: v if isinstance(v, str) else json.dumps(v, ensure_ascii=False) for k, v in extra.items()
    }
    return {k: v for k, v in cells.items() if v}


@settings(max_examples=150)
@given(
    st.sampled_from(LAYOUTS),
    st.sampled_from([".jsonl", ".json", ".csv", ".parquet", ""]),
    st.data(),
)
def test_any_row_survives_writing_and_reading(layout: str, kind: str, data: st.DataObject) -> None:
    made = data.draw(st.lists(rows(layout), min_size=1, max_size=4, unique_by=lambda row: row.id))
    pool = Pool.of(made)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"out{kind}"
        write(pool, path, layout=layout)
        again = read(path)
    assert (again.read, again.merged, again.quarantine) == (len(pool), 0, ())
    assert again.pool.ids == pool.ids
    for before, after in zip(pool.rows(), again.pool.rows(), strict=True):
        assert after == before
        extra = json.loads(before.origins[0].extra)
        expected = as_csv(extra) if kind == ".csv" else extra
        found = json.loads(after.origins[0].extra)
        assert json.dumps(found, sort_keys=True) == json.dumps(expected, sort_keys=True)


def good_line(number: int) -> bytes:
    return json.dumps({"prompt": f"question {number}", "completion": f"reply {number}"}).encode()


@st.composite
def garbage(draw: st.DrawFn) -> bytes:
    whole = good_line(0)
    torn = st.integers(1, len(whole) - 1).map(lambda n: whole[:n])
    flipped = st.tuples(st.integers(0, len(whole) - 1), st.integers(0, 255)).map(
        lambda change: whole[: change[0]] + bytes([change[1]]) + whole[change[0] + 1 :]
    )
    odd = values.map(lambda value: json.dumps(value).encode())
    fields = st.dictionaries(st.sampled_from(sorted(RESERVED)), values, max_size=4)
    records = fields.map(lambda record: json.dumps(record).encode())
    line = draw(st.binary(max_size=40) | torn | flipped | odd | records)
    return line.replace(b"\n", b" ")


@QUICK
@given(st.lists(garbage() | st.integers(1, 5).map(good_line), max_size=12), st.booleans())
def test_counts_add_up_whatever_the_lines_are(lines: list[bytes], ends: bool) -> None:
    lines = [good_line(9), *lines]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.jsonl"
        path.write_bytes(b"\n".join(lines) + (b"\n" if ends else b""))
        loaded = read(path, max_malformed=1.0)
    assert loaded.read == sum(1 for line in lines if line.strip())
    assert loaded.read == len(loaded.pool) + loaded.merged + len(loaded.quarantine)
    origins = [o.line for row in loaded.pool.rows() for o in row.origins]
    places = sorted([*origins, *(q.line for q in loaded.quarantine)])
    assert places == [i for i, line in enumerate(lines, 1) if line.strip()]
    good = {good_line(number) for number in range(10)}
    assert {i for i, line in enumerate(lines, 1) if line in good} <= set(origins)
    assert all(q.reason and q.detail and q.excerpt.isprintable() for q in loaded.quarantine)


def turns_record(text: str) -> dict[str, object]:
    turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": text}]
    return {"messages": turns, "tag": {"of": [{"x": 1}]}}


def pair_record(text: str) -> dict[str, object]:
    return {"prompt": "a", "completion": text, "tag": {"of": [{"x": 1}]}}


@settings(max_examples=300)
@given(
    st.sampled_from([turns_record, pair_record]),
    st.sampled_from([",\n", ",", ",\n    "]),
    st.sampled_from(["[{}]", "[\n{}\n]\n", '{{"data": [{}], "version": 1}}']),
    st.sampled_from(["", "}", "{", "]", "[", '"', ",", "\\", "n"]),
    st.data(),
)
def test_a_broken_character_in_an_array_costs_one_record_or_the_file_is_refused(
    make: Callable[[str], object], between: str, frame: str, other: str, data: st.DataObject
) -> None:
    text = frame.format(between.join(json.dumps(make(str(i))) for i in range(6)))
    at = data.draw(st.integers(0, len(text) - 1))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.json"
        path.write_text(text[:at] + other + text[at + 1 :])
        try:
            loaded = read(path, max_malformed=1.0)
        except DataError:
            return
    assert loaded.read == len(loaded.pool) + loaded.merged + len(loaded.quarantine)
    assert loaded.read in (6, 7)
    replies = {row.reply for row in loaded.pool.rows()}
    assert len(replies & set("012345")) >= 5


@QUICK
@given(st.lists(st.integers(0, 3), min_size=1, max_size=12), st.randoms())
def test_the_pool_does_not_depend_on_the_order_of_lines_or_files(
    numbers: list[int], random
) -> None:  # type: ignore[no-untyped-def]
    with tempfile.TemporaryDirectory() as folder:
        one, two = Path(folder) / "one.jsonl", Path(folder) / "two.jsonl"
        one.write_bytes(b"\n".join(map(good_line, numbers)))
        two.write_bytes(b"\n".join(map(good_line, [*numbers, 4])))
        forth, back = read([one, two]), read([two, one])
    assert forth.pool.frame.equals(back.pool.frame)
    assert forth.merged == back.merged == 2 * len(numbers) + 1 - len({*numbers, 4})


@QUICK
@given(st.sampled_from(LAYOUTS).flatmap(lambda layout: st.lists(rows(layout), max_size=5)))
def test_the_quick_frame_is_the_frame_that_rows_define(made: list[Row]) -> None:
    distinct = sorted({row.id: row for row in made}.values(), key=lambda row: row.id)
    quick, plain = frame_of(distinct), to_frame(distinct)
    assert quick.schema == plain.schema
    assert quick.equals(plain)


@QUICK
@given(values | st.none())
def test_strict_json_reads_every_unambiguous_value_as_python_does(value: object) -> None:
    text = json.dumps(value)
    assert json.dumps(StrictJson().value(f" {text}\r\n")) == text
    found, end, error = StrictJson().element(f"[{text}, 1]", 1)
    assert (json.dumps(found), end, error) == (text, 1 + len(text), None)
