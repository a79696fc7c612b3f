"""Personal data and secrets that give themselves away by their form.

    find_personal("Write to ada@lovelace.org or +44 20 7946 0958")
        -> [Finding(9, 25, "email"), Finding(29, 45, "phone")]

A pattern proposes and a check decides: a checksum where there is one (IBAN, payment card, GitHub
token), the rules of the numbering plan where there is none. What is reserved for documentation and
fiction (example.org, 192.0.2.1, 555-0123) and for hotlines (800) belongs to nobody and is no finding.

Not here: names, addresses, birthdays, national ids, phone numbers written without `+` outside North
America. They have no form of their own; finding them takes a model.
"""

from __future__ import annotations

import ipaddress
import re
import string
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

Kind = Literal[
    "api_key", "email", "iban", "ip_address", "payment_card", "phone", "private_key",
]  # fmt: skip


@dataclass(frozen=True, slots=True, order=True)
class Finding:
    """What was found at `text[start:end]`."""

    start: int
    end: int
    kind: Kind


def find_personal(text: str) -> list[Finding]:
    """Return the findings in a text, in order; none overlaps another."""
    found: list[Finding] = []
    is_claimed = bytearray(len(text))
    for kind, pattern, check in _RULES:
        for match in pattern.finditer(text):
            start, end = match.span()
            if not any(is_claimed[start:end]) and check(match):
                is_claimed[start:end] = b"\1" * (end - start)
                found.append(Finding(start, end, kind))
    return sorted(found)


def luhn(digits: str) -> bool:
    """Whether the last digit is the check digit of those before it (ISO/IEC 7812)."""
    doubled = [sum(divmod(2 * int(digit), 10)) for digit in digits[-2::-2]]
    return (sum(doubled) + sum(map(int, digits[-1::-2]))) % 10 == 0


def _is_email(match: re.Match[str]) -> bool:
    local, domain = match[0].rsplit("@", 1)
    labels = domain.lower().split(".")
    if ".." in local or local.endswith(".") or local == "git":
        return False
    if any(label.startswith("-") or label.endswith("-") for label in labels):
        return False
    is_reserved = labels[-1] in _RESERVED_ENDINGS or labels[-2] == "example"
    return not is_reserved and labels[-1] not in _FILE_ENDINGS


_RESERVED_ENDINGS = {"example", "invalid", "localhost", "test"}
_FILE_ENDINGS = {"css", "gif", "html", "jpeg", "jpg", "js", "json", "png", "svg", "txt", "webp"}


def _is_iban(match: re.Match[str]) -> bool:
    """ISO 13616: 97 leaves 1 once the first four stand last and letters are 10 to 35."""
    code = match[0].replace(" ", "")
    return int("".join(str(int(char, 36)) for char in code[4:] + code[:4])) % 97 == 1


_IBAN_LENGTHS = """
    15:NO 16:BE 18:DK,FI,FO,GL,NL,SD 19:MK,SI 20:AT,BA,EE,KZ,LT,LU,XK 21:CH,HR,LI,LV
    22:BG,BH,CR,DE,GB,GE,IE,ME,RS,VA 23:AE,GI,IL,IQ,TL 24:AD,CZ,ES,MD,PK,RO,SA,SE,SK,TN,VG
    25:LY,PT,ST 26:IS,TR 27:FR,GR,IT,MC,MR,SM 28:AL,AZ,BY,CY,DO,GT,HU,LB,PL,SV 29:BR,EG,PS,QA,UA
    30:JO,KW,MU 31:MT,SC 32:LC
"""


def _iban_pattern() -> str:
    parts = [entry.split(":") for entry in _IBAN_LENGTHS.split()]
    return "|".join(
        rf"(?:{countries.replace(',', '|')})\d\d(?: ?[A-Z0-9]){{{int(length) - 4}}}"
        for length, countries in parts
    )


def _is_card(match: re.Match[str]) -> bool:
    """An issuer's prefix and length, and the check digit; no test number like 4242 4242 …"""
    digits = re.sub("[ -]", "", match[0])
    return bool(_CARD.fullmatch(digits)) and len(set(digits)) > 2 and luhn(digits)


_CARD = re.compile(
    r"4\d{15}(?:\d{3})?"  # Visa
    r"|5[1-5]\d{14}|2(?:22[1-9]|2[3-9]\d|[3-6]\d\d|7[01]\d|720)\d{12}"  # Mastercard
    r"|3[47]\d{13}"  # American Express
    r"|3(?:0[0-5]|[68]\d)\d{11}"  # Diners Club
    r"|6(?:011|5\d\d|4[4-9]\d)\d{12}"  # Discover
    r"|35(?:2[89]|[3-8]\d)\d{12}"  # JCB
    r"|62\d{14,17}"  # UnionPay
)


def _is_address(match: re.Match[str]) -> bool:
    """A public unicast address; four numbers below 10 are more often a version."""
    try:
        address = ipaddress.ip_address(match[0])
    except ValueError:
        return False
    if address.version == 6:
        return address in _GLOBAL_UNICAST and address.is_global
    before = match.string[max(0, match.start() - 20) : match.start()]
    before = before.rstrip(" :=").rpartition(" ")[2].lower()
    if before.strip("(.") in _BEFORE_VERSIONS or before.endswith("§"):
        return False
    return address.is_global and not address.is_multicast and max(address.packed) >= 10


_GLOBAL_UNICAST = ipaddress.ip_network("2000::/3")
_BEFORE_VERSIONS = {
    "chapter", "clause", "firmware", "release", "section", "v", "ver", "version",
}  # fmt: skip


def _is_international(match: re.Match[str]) -> bool:
    """E.164: a country code in use, and 8 to 15 digits in all."""
    digits = re.sub(r"\D", "", match[0])
    return 8 <= len(digits) <= 15 and bool(_COUNTRY_CODE.match(digits)) and len(set(digits)) > 2


_COUNTRY_CODE = re.compile(
    r"1[2-9]|7|2(?:0|7|[1-6]\d|9[01789])|3(?:[0-469]|[578]\d)|4(?:[013-9]|2[013])"
    r"|5(?:[1-8]|0\d|9\d)|6(?:[0-6]|[7-9]\d)|8(?:[1246]|5[02356]|8[0-36])"
    r"|9(?:[0-58]|6[0-8]|7[0-79]|9[2-68])"
)


def _is_north_american(match: re.Match[str]) -> bool:
    """NANP: no service codes (N11), no toll-free hotlines, and no 555, which nobody subscribes to."""
    area, exchange = match["area"], match["exchange"]
    is_service = area.endswith("11") or exchange.endswith("11") or area in _TOLL_FREE
    return not is_service and "555" not in (area, exchange)


_TOLL_FREE = {"800", "833", "844", "855", "866", "877", "888"}


def _is_github_token(match: re.Match[str]) -> bool:
    """The last six characters are the CRC-32 of those before, in base 62."""
    secret = match[0][4:]
    return _base62(zlib.crc32(secret[:-6].encode())).rjust(6, "0") == secret[-6:]


def _base62(number: int) -> str:
    digits = ""
    while number:
        number, digit = divmod(number, 62)
        digits = _BASE62[digit] + digits
    return digits


_BASE62 = string.digits + string.ascii_uppercase + string.ascii_lowercase


def _is_random(match: re.Match[str]) -> bool:
    """Small and large letters and digits, and hardly any twice: no placeholder like sk-xxxx."""
    secret = match["secret"]
    kinds = (str.islower, str.isupper, str.isdigit)
    return all(any(map(kind, secret)) for kind in kinds) and len(set(secret)) >= 12


def _is_aws_key(match: re.Match[str]) -> bool:
    return not match[0].endswith("EXAMPLE") and len(set(match[0][4:])) >= 8


def _always(match: re.Match[str]) -> bool:
    return True


# Every pattern is anchored by what may not stand before it, so that none starts again inside a long
# run of letters or digits: that would take quadratic time. Earlier rules claim their text first.
_RULES: tuple[tuple[Kind, re.Pattern[str], Callable[[re.Match[str]], bool]], ...] = (
    (
        "private_key",
        re.compile(
            r"-----BEGIN (?:[A-Z]{2,9} )?PRIVATE KEY(?: BLOCK)?-----(?:\\n|\s){1,4}[\w+/=:., -]{16}"
        ),
        _always,
    ),
    ("api_key", re.compile(r"(?<!\w)gh[pousr]_[A-Za-z0-9]{36}(?!\w)"), _is_github_token),
    (
        "api_key",
        re.compile(r"(?<!\w)github_pat_(?P<secret>[A-Za-z0-9]{22}_[A-Za-z0-9]{59})(?!\w)"),
        _is_random,
    ),
    ("api_key", re.compile(r"(?<!\w)(?:AKIA|ASIA)[A-Z2-7]{16}(?!\w)"), _is_aws_key),
    (
        "api_key",
        re.compile(r"(?<![\w-])sk-(?:[a-z0-9]{2,8}-){0,2}(?P<secret>[\w-]{20,200})(?![\w-])"),
        _is_random,
    ),
    (
        "email",
        re.compile(
            r"(?<![\w.%+-])[A-Za-z0-9_][A-Za-z0-9._%+-]{0,63}"
            r"@(?:[A-Za-z0-9-]{1,63}\.){1,8}[A-Za-z]{2,24}(?![\w@-])"
        ),
        _is_email,
    ),
    ("iban", re.compile(rf"(?<!\w)(?:{_iban_pattern()})(?!\w)"), _is_iban),
    (
        "payment_card",
        re.compile(
            r"(?<![\w.,+-])(?:\d{14,19}|\d{4}(?P<gap>[ -])\d{4}(?P=gap)\d{4}(?P=gap)\d{4}"
            r"|\d{4}(?P<space>[ -])\d{6}(?P=space)\d{4,5})(?![\w-])(?!\.\d)"
        ),
        _is_card,
    ),
    (
        "ip_address",
        re.compile(r"(?<![\w.-])(?<![A-Za-z]/)(?:\d{1,3}\.){3}\d{1,3}(?![\w-])(?!\.\d)"),
        _is_address,
    ),
    (
        "ip_address",
        re.compile(r"(?<![\w:.])(?:[0-9A-Fa-f]{0,4}:){2,7}[0-9A-Fa-f]{0,4}(?![\w:])"),
        _is_address,
    ),
    (
        "phone",
        re.compile(r"(?<![\w+.)])\+[1-9](?:[ ./-]?(?:\d| ?\(\d{1,4}\))){4,15}(?![\w-])(?!\.\d)"),
        _is_international,
    ),
    (
        "phone",
        re.compile(
            r"(?<![\w.+-])(?:1[ .-])?(?P<open>\()?(?P<area>[2-9]\d\d)(?(open)\)[ ]?|[.-])"
            r"(?P<exchange>[2-9]\d\d)[.-]\d{4}(?![\w-])(?!\.\d)"
        ),
        _is_north_american,
    ),
)
