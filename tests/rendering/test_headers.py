"""Names, addresses and subjects in headers: written as the standards have it, or refused."""

from __future__ import annotations

import re
from email.header import decode_header

import pytest
from support.mails import check_form, exactly, parsed, same_words, written

from drumbeat.errors import InputError
from drumbeat.rendering.headers import address


def test_an_address_with_a_foreign_domain_is_written_as_dns_has_it() -> None:
    assert address("käthe.mueller@x.example".replace("ä", "ae")) == "kaethe.mueller@x.example"
    assert address("info@bücher.example") == "info@xn--bcher-kva.example"
    assert address("info@ПРИМЕР.example") == "info@xn--e1afmkfd.example"
    raw = written(to_address="info@bücher.example", to_name="Bücher")
    assert b"<info@xn--bcher-kva.example>" in raw


@pytest.mark.parametrize(
    "wrong",
    [
        "",
        "a",
        "@x.example",
        "a@",
        "a b@x.example",
        "a@x.example>",
        "a@x.example\r\nBcc: b@x.example",
        "ü@x.example",
        "a@x..example",
        "a\0@x.example",
        "a@x.example, b@x.example",
        f"{'a' * 65}@x.example",
        f"a@{'b' * 64}.example",
        f"a@{('b' * 60 + '.') * 4}bbbbbbbb.example",
        "a@\ud800.example",
        "a@-x.example",
        "<a@x.example>",
    ],
)
def test_what_is_no_address_is_refused(wrong: str) -> None:
    for field in ("to_address", "sender_address", "reply_to"):
        if not (field == "reply_to" and not wrong):
            with pytest.raises(InputError):
                written(**{field: wrong})


BREAKS = [
    "\r",
    "\n",
    "\r\n",
    "\0",
    "\x0b",
    "\x0c",
    "\x1b",
    "\x7f",
    "\x85",
    "\u2028",
    "\u2029",
    "\ud800",
    "\t",
]


@pytest.mark.parametrize("character", BREAKS)
@pytest.mark.parametrize("field", ["subject", "to_name", "sender_name"])
def test_control_characters_in_headers_are_refused(field: str, character: str) -> None:
    for value in (f"a{character}Bcc: b@x.example", f"ü{character}", character):
        with pytest.raises(InputError) as caught:
            written(**{field: value})
        assert len(str(caught.value).splitlines()) == 1


def test_a_subject_that_looks_encoded_is_shown_as_written() -> None:
    for subject in ("=?utf-8?q?x?=", "a =?utf-8?q?x?= b", "=?", "?=", "=?x"):
        assert parsed(written(subject=subject))["Subject"] == subject


def test_an_emoji_of_several_signs_survives_at_every_place_in_a_long_subject() -> None:
    family = "👩\u200d👩\u200d👧\u200d👦"
    for before in range(80):
        subject = "x" * before + family + " é"
        raw = written(subject=subject)
        check_form(raw)
        assert parsed(raw)["Subject"] == subject
        for word in re.findall(rb"=\?utf-8\?[BQ]\?[^?]*\?=", raw):
            ((octets, charset),) = decode_header(word.decode())
            assert isinstance(octets, bytes)
            octets.decode(charset or "ascii")  # each word holds whole characters (RFC 2047, 5)


@pytest.mark.parametrize(
    "name",
    [
        '"' * 60,
        "\\" * 40,
        "x" * 71,
        "x" * 72,
        "ab" * 40,
        'a "b" c',
        "O'Neil, Ann-Marie",
        "a@b.example",
        "(x)",
    ],
)
def test_a_name_of_any_length_is_read_back_from_lines_that_are_short_enough(name: str) -> None:
    raw = written(to_name=name, to_address=f"{'a' * 60}@example.com")
    check_form(raw)
    assert all(len(line) <= 76 for line in raw.partition(b"\r\n\r\n")[0].split(b"\r\n"))
    (to,) = parsed(raw)["To"].addresses
    assert exactly(raw, "To") == name
    # The thorough parser puts a blank between the encoded-words of a name, against RFC 2047, 6.2.
    assert same_words(to.display_name, name)
    assert to.addr_spec == f"{'a' * 60}@example.com"


def test_the_date_is_in_utc_and_knows_no_fractions() -> None:
    from datetime import UTC, datetime, timedelta, timezone

    at = datetime(2026, 1, 1, 1, 30, 0, 999_999, tzinfo=timezone(timedelta(hours=2)))
    raw = written(date=at)
    assert b"\r\nDate: Wed, 31 Dec 2025 23:30:00 +0000\r\n" in raw
    assert raw == written(date=at.astimezone(UTC))
