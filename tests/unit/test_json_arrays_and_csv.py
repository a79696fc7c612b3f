"""JSON arrays and CSV: where their form is lost, records must not be lost with it."""

import hashlib
import json
from pathlib import Path

import pytest

from files import GOOD, OTHER, RECORDS, lines_of, put, replies
from treadle.data.formats.read import read
from treadle.errors import DataError


@pytest.mark.parametrize(
    "text",
    [
        json.dumps(RECORDS),
        json.dumps(RECORDS, indent=4),
        "\ufeff" + json.dumps(RECORDS),
        json.dumps({"data": RECORDS}),
        json.dumps({"version": 1, "data": RECORDS}),
        json.dumps({"data": RECORDS, "version": 1}, indent=1),
        lines_of(*(json.dumps(r) for r in RECORDS)),
    ],
)
def test_json_may_be_an_array_or_hold_data_or_be_lines(tmp_path: Path, text: str) -> None:
    loaded = read(put(tmp_path, "a.json", text))
    assert (loaded.read, len(loaded.pool)) == (5, 5)
    assert {o.id for row in loaded.pool.rows() for o in row.origins} == set("01234")


def test_one_bad_element_of_an_array_costs_one_row(tmp_path: Path) -> None:
    elements = [
        GOOD,
        '{"prompt": "a", "prompt": "b", "completion": "c"}',
        '{"prompt": nope, "completion": ["]", "\\""]}',
        "nope",
        '{"prompt": "a", "completion": "c", "x": ' + "[" * 5000 + "]" * 5000 + "}",
        '{"prompt": "a", "completion": "c", "x": NaN}',
        OTHER,
    ]
    loaded = read(put(tmp_path, "a.json", "[" + ",\n".join(elements) + "]"))
    assert replies(loaded) == {"4", "6"}
    assert [(q.line, q.reason) for q in loaded.quarantine] == [
        (2, "duplicate_key"),
        (3, "bad_json"),
        (4, "bad_json"),
        (5, "nested_too_deep"),
        (6, "not_a_number"),
    ]


def test_an_array_cut_off_loses_its_last_record_only(tmp_path: Path) -> None:
    loaded = read(put(tmp_path, "a.json", f"[{GOOD},\n{OTHER[:-8]}"))
    assert [q.reason for q in loaded.quarantine] == ["torn_record"]
    assert replies(loaded) == {"4"}


@pytest.mark.parametrize("tail", [",\n", "\n"])
def test_an_array_cut_off_between_two_records_is_torn_too(tmp_path: Path, tail: str) -> None:
    loaded = read(put(tmp_path, "a.json", f"[{GOOD},\n{OTHER}{tail}"))
    assert [(q.line, q.reason) for q in loaded.quarantine] == [(3, "torn_record")]
    assert replies(loaded) == {"4", "6"}


@pytest.mark.parametrize("end", ["]", "\n]\n", ""])
@pytest.mark.parametrize("missing", ["}", '"}'])
def test_a_last_record_that_is_not_closed_costs_one_row(
    tmp_path: Path, missing: str, end: str
) -> None:
    text = f"[\n{GOOD},\n{OTHER.removesuffix(missing)}{end}"
    loaded = read(put(tmp_path, "a.json", text))
    assert [(q.line, q.reason) for q in loaded.quarantine] == [(2, "torn_record")]
    assert replies(loaded) == {"4"}


@pytest.mark.parametrize(
    "text",
    [
        f"[{GOOD} {OTHER}]",
        f"[{GOOD}] {OTHER}",
        '{"data": [1',
        f'{{"data": [{GOOD}]',
        f'{{"data": [{GOOD}]}} garbage',
        f'{{"data": [{GOOD}], "data": [{OTHER}]}}',
        f'{{"data": [{GOOD}], "version": nope}}',
        lines_of(*[f'{{"data": [{GOOD}, {OTHER}]}}'] * 3),
    ],
)
def test_json_whose_form_is_lost_is_refused_as_a_whole(tmp_path: Path, text: str) -> None:
    with pytest.raises(DataError, match=r"a\.json"):
        read(put(tmp_path, "a.json", text))


TURNS = '{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}'


@pytest.mark.parametrize("between", [",\n", ", "])
@pytest.mark.parametrize("frame", ["[\n{}]", '{{"data": [\n{}], "version": 1}}'])
@pytest.mark.parametrize(
    "broken",
    [GOOD[:-1], GOOD[:-2], GOOD.replace('4"', "4"), GOOD[:20], TURNS[:-2], TURNS.replace("]", "")],
)
def test_a_broken_record_that_hides_where_the_next_ones_begin_is_named(
    tmp_path: Path, broken: str, frame: str, between: str
) -> None:
    text = frame.format(between.join([GOOD] * 9 + [broken] + [TURNS] * 90))
    line = 11 if "\n" in between else 2
    with pytest.raises(DataError, match=rf"a\.json:{line}: .*record 10 .*JSON Lines"):
        read(put(tmp_path, "a.json", text))


def test_many_broken_elements_do_not_hide_the_line_where_the_form_is_lost(tmp_path: Path) -> None:
    text = "[\n" + ",\n".join([GOOD, *["nope"] * 5_000, GOOD[:-1], OTHER]) + "]"
    with pytest.raises(DataError, match=r"a\.json:5003: .*record 5,?002 "):
        read(put(tmp_path, "a.json", text))


def test_csv_keeps_quotes_line_ends_and_odd_characters(tmp_path: Path) -> None:
    text = 'id,prompt,completion,tag\n7,"a\r\nb, ""c""",d\x00\u2028e,\n8,f,,=g()\n'
    loaded = read(put(tmp_path, "a.csv", text))
    rows = {row.origins[0].id: row for row in loaded.pool.rows()}
    assert rows["7"].messages[0].content == 'a\r\nb, "c"'
    assert rows["7"].reply == "d\x00\u2028e"
    assert json.loads(rows["7"].origins[0].extra) == {"id": "7"}
    assert rows["8"].reply == ""
    assert json.loads(rows["8"].origins[0].extra) == {"id": "8", "tag": "=g()"}
    assert (rows["7"].origins[0].line, rows["8"].origins[0].line) == (2, 4)


def test_bad_csv_records_are_set_aside_with_their_line(tmp_path: Path) -> None:
    text = b'prompt,completion\na,b\nc\nd,e,f\n\n"g"h,i\n\xff,j\nk,l\n"m,n'
    loaded = read(put(tmp_path, "a.csv", text))
    assert replies(loaded) == {"b", "l"}
    assert [(q.line, q.reason) for q in loaded.quarantine] == [
        (3, "wrong_cell_count"),
        (4, "wrong_cell_count"),
        (6, "bad_csv"),
        (7, "not_unicode"),
        (9, "bad_csv"),
    ]
    assert loaded.quarantine[3].sha256 == hashlib.sha256(b"\xff,j").hexdigest()


def csv_of(*changes: tuple[int, str]) -> str:
    rows = {number: f"question {number},reply {number}" for number in range(1, 1_001)}
    return lines_of("prompt,completion", *(rows | dict(changes)).values())


@pytest.mark.parametrize(
    "text",
    [
        csv_of((5, '"question 5,reply 5')),
        csv_of((5, '"question 5,reply 5'), (900, 'question 900,"reply 900"')),
        csv_of((5, 'question 5,"reply 5'), (900, '",x')),
    ],
)
def test_a_stray_quote_that_swallows_the_next_records_is_named(tmp_path: Path, text: str) -> None:
    with pytest.raises(DataError, match=r"a\.csv:6: .*quote"):
        read(put(tmp_path, "a.csv", text))


def test_a_bad_record_with_line_ends_in_its_text_costs_one_row(tmp_path: Path) -> None:
    text = 'prompt,completion\na,b\nc,"one\ntwo\nthree" d\ne,"f\ng",h\ni,j\nk,"l\nm'
    loaded = read(put(tmp_path, "a.csv", text))
    assert replies(loaded) == {"b", "j"}
    assert [(q.line, q.reason) for q in loaded.quarantine] == [
        (3, "bad_csv"),
        (6, "wrong_cell_count"),
        (9, "bad_csv"),
    ]


def test_a_header_that_cannot_be_parsed_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"a\.csv:1: .*header"):
        read(put(tmp_path, "a.csv", '"prompt"x,completion\na,b\nc,d\n'))


def test_csv_cells_may_hold_messages_and_long_texts(tmp_path: Path) -> None:
    turns = json.dumps([{"role": "user", "content": "x" * 200_000}])
    quoted = turns.replace('"', '""')
    loaded = read(put(tmp_path, "a.tsv", f'prompt\tcompletion\n"{quoted}"\t[1]\n'))
    row = loaded.pool.rows()[0]
    assert len(row.messages[0].content) == 200_000
    assert row.reply == "[1]"


def test_an_empty_cell_of_a_mapped_column_is_an_empty_text(tmp_path: Path) -> None:
    path = put(tmp_path, "a.csv", "ask,say\nhello,\n")
    loaded = read(path, columns={"prompt": "ask", "completion": "say"})
    assert replies(loaded) == {""}


def test_a_column_named_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="twice"):
        read(put(tmp_path, "a.csv", "prompt,completion,prompt\na,b,c\n"))
