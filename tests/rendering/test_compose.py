"""What compose writes, the standard library's parser reads back unchanged, and nothing can slip in."""

from __future__ import annotations

import email
import email.policy
import random
import re
from datetime import UTC, datetime, timedelta, timezone
from email.header import decode_header
from email.message import EmailMessage
from typing import Any

import pytest

from drumbeat.errors import InputError
from drumbeat.rendering.compose import address, compose, message_id

DATE = datetime(2011, 12, 5, 9, 0, tzinfo=UTC)
PLAIN: dict[str, Any] = {
    "sender_name": "Hearthside",
    "sender_address": "hello@hearthside.example.com",
    "reply_to": None,
    "to_name": "Emma Clarke",
    "to_address": "emma@example.com",
    "subject": "Your basket",
    "html": "<p>Hi</p>\n",
    "text": "Hi\n",
    "message_id": "<abc@hearthside.example.com>",
    "date": DATE,
}
NAMES = {
    "From",
    "To",
    "Subject",
    "Date",
    "Message-ID",
    "Reply-To",
    "List-Id",
    "List-Unsubscribe",
    "List-Unsubscribe-Post",
    "Feedback-ID",
    "Auto-Submitted",
    "MIME-Version",
    "Content-Type",
}


def written(**changes: Any) -> bytes:
    return compose(**{**PLAIN, **changes})


def parsed(raw: bytes) -> EmailMessage:
    message = email.message_from_bytes(raw, policy=email.policy.default)
    assert isinstance(message, EmailMessage)
    return message


def check_form(raw: bytes) -> None:
    """Every line ends in CRLF, is short enough, and holds 7-bit text; encoded-words keep their limit."""
    assert raw.endswith(b"\r\n")
    lines = raw.split(b"\r\n")
    assert not any(b"\r" in line or b"\n" in line or b"\0" in line for line in lines)
    assert max(map(len, lines)) <= 998
    assert raw.isascii()
    head = raw.partition(b"\r\n\r\n")[0]
    for line in head.split(b"\r\n"):
        assert len(line) <= 78 or line.startswith(
            (b"List-Unsubscribe: <", b" <", b"From: ", b"Reply-To: ", b"To: ")
        )
        for word in re.findall(rb"=\?utf-8\?[^ ]*?\?=", line):
            assert len(word) <= 75
            assert len(line) <= 76


def test_a_mail_as_it_goes_out() -> None:
    raw = written(
        to_name="Jürgen Groß",
        subject="Ihr Warenkorb 🧺",
        text="Grüße\n",
        list_id="offers.hearthside.example.com",
        unsubscribe_url="https://click.example.com/u/abc",
        feedback_id="cart:offers:mail:hearthside",
        reply_to="care@hearthside.example.com",
    )
    assert raw.decode().split("\r\n") == [
        "From: Hearthside <hello@hearthside.example.com>",
        "To: =?utf-8?Q?J=C3=BCrgen_Gro=C3=9F?= <emma@example.com>",
        "Subject: =?utf-8?Q?Ihr_Warenkorb_=F0=9F=A7=BA?=",
        "Date: Mon, 05 Dec 2011 09:00:00 +0000",
        "Message-ID: <abc@hearthside.example.com>",
        "Reply-To: care@hearthside.example.com",
        "List-Id: <offers.hearthside.example.com>",
        "List-Unsubscribe: <https://click.example.com/u/abc>",
        "List-Unsubscribe-Post: List-Unsubscribe=One-Click",
        "Feedback-ID: cart:offers:mail:hearthside",
        "MIME-Version: 1.0",
        'Content-Type: multipart/alternative; boundary="=_cf15e337f4770652ae344493"',
        "",
        "--=_cf15e337f4770652ae344493",
        "Content-Type: text/plain; charset=utf-8",
        "Content-Transfer-Encoding: quoted-printable",
        "",
        "Gr=C3=BC=C3=9Fe",
        "--=_cf15e337f4770652ae344493",
        "Content-Type: text/html; charset=utf-8",
        "Content-Transfer-Encoding: quoted-printable",
        "",
        "<p>Hi</p>",
        "--=_cf15e337f4770652ae344493--",
        "",
    ]


def test_the_same_mail_is_the_same_bytes() -> None:
    assert written() == written(date=DATE.astimezone(timezone(timedelta(hours=5))))


def test_a_long_unsubscribe_address_stays_whole_on_one_line() -> None:
    """The standard library's writer makes encoded-words of it, which breaks one-click (cpython 85725)."""
    url = "https://click.example.com/u/" + "aB3-_" * 180
    raw = written(unsubscribe_url=url)
    assert f"\r\nList-Unsubscribe: <{url}>\r\n".encode() in raw
    with pytest.raises(InputError, match="longer than 998"):
        written(unsubscribe_url=url + "x" * 100)


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


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("unsubscribe_url", "https://x.example/>\r\nBcc: a@b.example"),
        ("unsubscribe_url", "javascript:alert(1)"),
        ("unsubscribe_url", "https://x.example/a b"),
        ("unsubscribe_url", "https://x.example/ü"),
        ("unsubscribe_url", ""),
        ("list_id", "a\r\nBcc: x"),
        ("list_id", "plain"),
        ("feedback_id", "a:b:c:d e"),
        ("feedback_id", "a:b:c:\n"),
        ("message_id", "abc@x.example"),
        ("message_id", "<a@x>\r\nBcc: x"),
        ("date", datetime(2011, 12, 5)),  # noqa: DTZ001 - what is refused
        ("subject", ""),
        ("subject", "  "),
        ("html", " \n"),
        ("text", ""),
        ("text", "a\0b"),
        ("html", "a\ud800b"),
    ],
)
def test_what_cannot_stand_in_a_mail_is_refused(field: str, value: object) -> None:
    with pytest.raises(InputError):
        written(**{field: value})


def test_one_click_is_only_offered_with_an_address() -> None:
    message = parsed(written(auto_submitted=True))
    assert message["List-Unsubscribe"] is None
    assert message["List-Unsubscribe-Post"] is None
    assert message["Auto-Submitted"] == "auto-generated"


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


def test_message_ids_are_stable_unlike_and_tell_nothing() -> None:
    first = message_id(b"k" * 16, "bücher.example", "cart", 1, "cart:123:v2")
    assert first == message_id(b"k" * 16, "bücher.example", "cart", 1, "cart:123:v2")
    assert re.fullmatch(r"<[0-9a-f]{32}@xn--bcher-kva\.example>", first)
    others = {
        message_id(b"k" * 16, "x.example", *parts)
        for parts in (("a", "b"), ("ab",), ("a", "b", ""), ("b", "a"), ("a\ud800",))
    } | {message_id(b"j" * 16, "x.example", "a", "b")}
    assert len(others) == 6


ALPHABETS = [
    "abc XYZ 019 .,-_'\"()<>@:;\\[]!?=#%&*+/^`{|}~$",
    "äöüß éèê ñ",
    "Привет, мир ",
    "שלום עולם \u200f\u202e",
    "🧺🎂👩\u200d👧🇬🇧 ",
    "漢字かな ",
    "= ? _ =?utf-8?Q? ?=",
    "  ",
    "\u00a0\u200b\ufeff\u2009a",
]
DANGEROUS = "\r\n\0\t\x0b\x0c\x1c\x7f\x85\u2028\u2029\ud800\udfff"


def random_text(dice: random.Random, longest: int) -> str:
    text = ""
    while dice.random() < 0.8 and len(text) < longest:
        text += "".join(dice.choices(dice.choice(ALPHABETS), k=dice.randint(1, max(1, longest // 3))))
    return text[:longest]


def exactly(raw: bytes, name: str) -> str:
    """A header's words by `decode_header`; the newer parser drops some blanks beyond ASCII (U+2009, U+00A0)."""
    head = raw.partition(b"\r\n\r\n")[0].decode("ascii")
    value = re.search(rf"^{name}: ((?:.|\r\n )*)$", head.replace("\r\n ", "\x1f"), re.M)
    assert value
    words = (
        re.sub(r"[\x1f ]*<[^<>]*>\r?$", "", value.group(1)).rstrip("\r")
        if name != "Subject"
        else value.group(1)
    )
    words = words.rstrip("\r")
    if "=?" not in words:
        plain = words.replace("\x1f", " ")
        return re.sub(r"\\(.)", r"\1", plain[1:-1]) if plain.startswith('"') and name != "Subject" else plain
    return "".join(
        octets.decode(charset) for octets, charset in decode_header(words.replace("\x1f", "\r\n "))
    )


def same_words(one: str, other: str) -> bool:
    return "".join(one.split()) == "".join(other.split())


def test_ten_thousand_seeded_mails_are_read_back_unchanged() -> None:
    """Names, subjects, bodies, addresses and long URLs of every kind: refused, or read back as given."""
    dice = random.Random(20111205)
    refused = 0
    for number in range(10_000):
        subject, name, sender = random_text(dice, 120), random_text(dice, 90), random_text(dice, 40)
        if dice.random() < 0.15:
            at = dice.randint(0, len(subject))
            subject = (
                subject[:at]
                + dice.choice(DANGEROUS)
                + dice.choice(("", "\nBcc: x@x.example", " "))
                + subject[at:]
            )
        text = random_text(dice, 300) + dice.choice(
            ("", "\n.\n..\n", "\r\n", "\rFrom x\n", " \n\t\n", "x" * 2000, "\u2028", "🧺" * 700)
        )
        if dice.random() < 0.05:
            text += dice.choice("\0\ud800")
        html = f"<p>{random_text(dice, 200)}</p>"
        local = "".join(dice.choices("abcxyz019.!#$%&'*+/=?^_`{|}~-", k=dice.randint(1, 20)))
        domain = dice.choice(
            ("example.com", "bücher.example", "xn--bcher-kva.example", "a-b.co.uk", "пример.example")
        )
        url = f"https://click.example.com/u/{''.join(dice.choices('abcXYZ019-_', k=dice.randint(1, 900)))}"
        try:
            raw = written(
                sender_name=sender,
                to_name=name,
                to_address=f"{local}@{domain}",
                subject=subject,
                text=text,
                html=html,
                unsubscribe_url=url,
            )
        except InputError:
            refused += 1
            bad = set(DANGEROUS) & set(subject + name + sender) or {"\0", "\ud800"} & set(text)
            assert (
                bad
                or not subject.strip()
                or not text.strip()
                or local.startswith(".")
                or local.endswith(".")
                or ".." in local
            )
            continue
        check_form(raw)
        assert f"\r\nList-Unsubscribe: <{url}>\r\n".encode() in raw
        message = email.message_from_bytes(raw)
        assert set(message.keys()) <= NAMES
        assert len(message.keys()) == len(set(message.keys()))
        assert not message.defects
        assert exactly(raw, "Subject") == subject
        assert not name.strip(" ") or exactly(raw, "To") == re.sub(" +", " ", name).strip(" ")
        assert not sender.strip(" ") or exactly(raw, "From") == re.sub(" +", " ", sender).strip(" ")
        payloads = [part.get_payload(decode=True) for part in message.walk() if not part.is_multipart()]
        as_read = [
            p.decode().replace("\r\n", "\n").removesuffix("\n") for p in payloads if isinstance(p, bytes)
        ]
        as_given = [
            part.replace("\r\n", "\n").replace("\r", "\n").removesuffix("\n") for part in (text, html)
        ]
        assert as_read == as_given
        if number % 10 == 0:  # the thorough parser takes 2 ms a mail
            again = parsed(raw)
            (to,), (by,) = again["To"].addresses, again["From"].addresses
            assert (to.addr_spec, by.addr_spec) == (address(f"{local}@{domain}"), PLAIN["sender_address"])
            assert same_words(to.display_name, name)
            assert same_words(by.display_name, sender)
            assert same_words(again["Subject"], subject)
    assert 1_000 < refused < 5_000
