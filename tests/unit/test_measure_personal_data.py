"""Personal data: every kind is found, its look-alikes are not, and checksums are those of a slow sum."""

import zlib
from itertools import pairwise

import numpy as np
import pytest

from treadle.context import Context
from treadle.data.row import Message, Row, to_frame
from treadle.measure.personal_data import personal_data
from treadle.text.personal import Finding, find_personal, luhn


def github_token(prefix: str, secret: str) -> str:
    """Append the checksum, in base 62, digit by digit from the left."""
    digits = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
    number = zlib.crc32(secret.encode())
    places = [number // 62**place % 62 for place in range(5, -1, -1)]
    return prefix + secret + "".join(digits[place] for place in places)


TOKEN = github_token("ghp_", "zQWBuTSOoRi4A9spHcVY5ncnsDkxkJ")
KEY = "-----BEGIN RSA PRIVATE KEY-----\nMIIEowIBAAKCAQEAx3b1\n-----END RSA PRIVATE KEY-----"

TRUE = [
    ("email", "ada@lovelace.org"),
    ("email", "ada.k+news@mail.analytical-engine.co.uk"),
    ("email", "x_1@t-online.de"),
    ("iban", "DE89370400440532013000"),
    ("iban", "DE89 3704 0044 0532 0130 00"),
    ("iban", "GB82 WEST 1234 5698 7654 32"),
    ("iban", "ES91 2100 0418 4502 0005 1332"),
    ("iban", "NO93 8601 1117 947"),
    ("iban", "MT84MALT011000012345MTLCAST001S"),
    ("payment_card", "4539 1488 0343 6467"),
    ("payment_card", "4539-1488-0343-6467"),
    ("payment_card", "5425233430109903"),
    ("payment_card", "2223 0000 4841 0010"),
    ("payment_card", "3782 822463 10005"),
    ("payment_card", "30569309025904"),
    ("payment_card", "6011000990139424"),
    ("phone", "+44 20 7946 0958"),
    ("phone", "+4930901820"),
    ("phone", "+1 (917) 444-6321"),
    ("phone", "+91-98765-43210"),
    ("phone", "+1(917)444-6321"),
    ("phone", "+44 (0)20 7946 0958"),
    ("phone", "(212) 684-4700"),
    ("phone", "212-684-4700"),
    ("phone", "212.684.4700"),
    ("phone", "1-212-684-4700"),
    ("ip_address", "93.184.216.34"),
    ("ip_address", "2606:2800:220:1:248:1893:25c8:1946"),
    ("ip_address", "2a00:1450:4001::200e"),
    ("api_key", TOKEN),
    ("api_key", "github_pat_11ABCDEFG0aBcDeFgHiJkL_" + "aB3" * 19 + "xY"),
    ("api_key", "AKIAQ4XF7ZLM2N5TRW6D"),
    ("api_key", "sk-proj-Ab3dE5fG7hI9jK1lM3nO5pQ7"),
    ("api_key", "sk-Ab3dE5fG7hI9jK1lM3nO5pQ7rS9tU1vW"),
    ("private_key", KEY),
    ("private_key", KEY.replace("\n", "\\n")),
]

LOOK_ALIKES = [
    "someone@example.com", "user@localhost", "icon@2x.png", "git@github.com:org/repo.git",
    "a@b", "@property", "x..y@host.org", "me@-host.org", "admin@service.test",
    "DE89370400440532013001", "DE8937040044053201300", "GB00 WEST 1234 5698 7654 32",
    "ISBN 978-3-16-148410-0", "ISBN 9783161484100", "EAN 4006381333931",
    "order 4539148803436468", "order 1234567890123456", "4242 4242 4242 4242", "4111111111111111",
    "0.4539148803436467", "4539148803436467.25", "4539 1488-0343 6467", "45391488 03436467",
    "1700000000", "1700000000000", "2024-11-26 02:43:02", "20241126024302", "1969-07-20T20:17:40Z",
    "version 93.184.216.34", "firmware: 93.184.216.34", "1.2.3.4", "v1.2.3.4", "Chrome/91.0.44.124",
    "192.168.1.1", "127.0.0.1", "10.0.0.1", "192.0.2.44", "0.0.0.0", "224.0.0.251",
    "300.184.216.34", "93.184.216.34.5", "3.93.184.216.34", "§ 93.184.216.34",
    "2001:db8::1", "fe80::1", "::1", "12:30:45", "a::b", "std::cout", "de:ad:be:ef:00:01",
    "(212) 555-0123", "800-362-0101", "123-456-7890", "212-411-4700", "911-684-4700",
    "212-684-47001", "x-212-684-4700", "2126844700", "+1234567", "+999 12 345 678", "+0 123 456 789",
    "a = b +12", "1+12345678901", "+11111111111", "3.14159265358979", "1 234 567 890 123",
    TOKEN[:-1] + ("a" if TOKEN[-1] != "a" else "b"), TOKEN[:-1], "AKIAIOSFODNN7EXAMPLE",
    "AKIAAAAAAAAAAAAAAAAA", "sk-xxxxxxxxxxxxxxxxxxxxxxxx", "sk-your-api-key-goes-here-please",
    "task-Ab3dE5fG7hI9jK1lM3nO5pQ7", "-----BEGIN PUBLIC KEY-----\nMIIEowIBAAKCAQEAx3b1",
    "-----BEGIN RSA PRIVATE KEY-----", "1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19",
]  # fmt: skip


@pytest.mark.parametrize(("kind", "text"), TRUE)
@pytest.mark.parametrize("frame", ["{}", "Reach me: {}.", "({})", '"{}", ok', "a\n{}\nb 7 CODE"])
def test_each_kind_is_found_where_it_stands(kind: str, text: str, frame: str) -> None:
    whole = frame.format(text)
    (found,) = find_personal(whole)
    assert found.kind == kind
    held = whole[found.start : found.end]
    assert text.startswith(held) if kind == "private_key" else held == text


@pytest.mark.parametrize("text", LOOK_ALIKES)
@pytest.mark.parametrize("frame", ["{}", "see {} there"])
def test_look_alikes_are_left_alone(text: str, frame: str) -> None:
    assert find_personal(frame.format(text)) == []


def test_one_digit_changed_breaks_every_checksum() -> None:
    for kind, text in TRUE:
        if kind in ("iban", "payment_card"):
            for i, char in enumerate(text):
                if char.isdigit():
                    changed = text[:i] + str((int(char) + 1) % 10) + text[i + 1 :]
                    assert find_personal(changed) == [], changed


def test_luhn_agrees_with_a_slow_sum() -> None:
    rng = np.random.default_rng(0)
    for _ in range(300):
        digits = "".join(rng.choice(list("0123456789"), int(rng.integers(1, 20))))
        total = 0
        for place, char in enumerate(reversed(digits)):
            value = int(char)
            if place % 2:
                value = 2 * value - 9 if value > 4 else 2 * value
            total += value
        assert luhn(digits) == (total % 10 == 0)


def test_findings_are_in_order_and_do_not_overlap() -> None:
    text = "+44 20 7946 0958, ada@lovelace.org, 4539 1488 0343 6467 or bob@lovelace.org"
    found = find_personal(text)
    assert [one.kind for one in found] == ["phone", "email", "payment_card", "email"]
    assert all(one.end <= other.start for one, other in pairwise(found))
    assert found[0] == Finding(0, 16, "phone")


def test_an_iban_is_no_phone_and_its_digits_are_no_card() -> None:
    assert [f.kind for f in find_personal("NO93 8601 1117 947 and DE89370400440532013000")] == [
        "iban",
        "iban",
    ]


def test_the_measure_counts_findings_and_names_kinds() -> None:
    rows = [
        Row("chat", (Message("user", "bob@lovelace.org, ada@lovelace.org, +4930901820"),)),
        Row("chat", (Message("user", "nothing here"), Message("assistant", "ok", trains=True))),
        Row("chat", (Message("user", " "),)),
    ]
    frame = to_frame(rows)
    found = personal_data()(frame, Context()).with_columns(frame["id"])
    values = {key: (count, kinds) for count, kinds, key in found.iter_rows()}
    assert values[rows[0].id] == (3, ["email", "phone"])
    assert values[rows[1].id] == (0, []), "looked and found none"
    assert values[rows[2].id] == (None, None), "nothing to look at"


def test_the_measure_reads_the_part_that_was_asked_for() -> None:
    turns = (Message("user", "who?"), Message("assistant", "bob@lovelace.org", trains=True))
    frame = to_frame([Row("chat", turns)])
    assert personal_data(of="prompt")(frame, Context()).row(0) == (0, [])
    assert personal_data(of="reply")(frame, Context()).row(0) == (1, ["email"])
