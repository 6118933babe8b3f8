"""Mails to write and to read back: a plain one, made-up ones of every kind, and what holds for each."""

from __future__ import annotations

import email
import email.policy
import random
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from email.header import decode_header
from email.message import EmailMessage, Message
from typing import Any

from drumbeat.rendering.compose import Composed, Skeleton

DATE = datetime(2011, 12, 5, 9, 0, tzinfo=UTC)
PLAIN: dict[str, Any] = {
    "sender_name": "Hearthside",
    "sender_address": "hello@hearthside.example.com",
    "to_name": "Emma Clarke",
    "to_address": "emma@example.com",
    "subject": "Your basket",
    "html": "<p>Hi</p>\n",
    "text": "Hi\n",
    "message_id": "<abc@hearthside.example.com>",
    "date": DATE,
}
SHARED = {
    "sender_name",
    "sender_address",
    "reply_to",
    "list_id",
    "feedback_id",
    "auto_submitted",
    "signer",
}
"""What a skeleton takes; the rest differs from mail to mail."""


def composed(**changes: Any) -> Composed:
    """The plain mail with changes, of a skeleton of its own."""
    given = {**PLAIN, **changes}
    skeleton = Skeleton(**{name: value for name, value in given.items() if name in SHARED})
    return skeleton.compose(**{name: value for name, value in given.items() if name not in SHARED})


def written(**changes: Any) -> bytes:
    """The bytes of the plain mail with changes."""
    return composed(**changes).content


def parsed(raw: bytes) -> EmailMessage:
    """Read a mail with the standard library's thorough parser."""
    message = email.message_from_bytes(raw, policy=email.policy.default)
    assert isinstance(message, EmailMessage)
    return message


def bodies(message: Message) -> list[str]:
    """The parts' texts, decoded, with bare line feeds."""
    payloads = [part.get_payload(decode=True) for part in message.walk() if not part.is_multipart()]
    return [payload.decode().replace("\r\n", "\n") for payload in payloads if isinstance(payload, bytes)]


def as_read(text: str) -> str:
    """A part as `bodies` gives it back: line ends are not told apart, and a last one belongs to the boundary."""
    return text.replace("\r\n", "\n").replace("\r", "\n").removesuffix("\n")


def check_form(raw: bytes, *, eight_bit: bool = False) -> None:
    """Every line ends in CRLF and has at most 998 octets, of a header at most 78 where it can be folded.

    Nothing in quoted-printable has what mail systems alter: blanks at a line's end, `From ` or a lone dot.
    Encoded-words have at most 75 characters and stand in lines of at most 76.
    """
    assert raw.endswith(b"\r\n")
    lines = raw.split(b"\r\n")
    assert not any(b"\r" in line or b"\n" in line or b"\0" in line for line in lines)
    assert max(map(len, lines)) <= 998
    head, _, body = raw.partition(b"\r\n\r\n")
    assert head.isascii()
    assert eight_bit or raw.isascii()
    for line in head.split(b"\r\n"):
        foldable = line.strip().count(b" ") > (0 if line.startswith(b" ") else 1)
        assert len(line) <= 78 or not foldable
        for word in re.findall(rb"=\?utf-8\?[^ ]*?\?=", line):
            assert len(word) <= 75
            assert len(line) <= 76
    for line in body.split(b"\r\n"):
        assert not line.endswith((b" ", b"\t"))
        assert not line.startswith(b"From ")
        assert line != b"."
    if not eight_bit:
        assert max(map(len, body.split(b"\r\n"))) <= 76


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
    """Whether two texts are the same but for their blanks."""
    return "".join(one.split()) == "".join(other.split())


ALPHABETS = [
    "abc XYZ 019 .,-_'\"()<>@:;\\[]!?=#%&*+/^`{|}~$",
    "äöüß éèê ñ",
    "Привет, мир ",
    "שלום עולם \u200f\u202e",
    "🧺🎂👩\u200d👧🇬🇧 ",
    "漢字かな ",
    "e\u0301n\u0303a\u0308o\u0302 \u0301",
    "= ? _ =?utf-8?Q? ?=",
    "  ",
    "\u00a0\u200b\ufeff\u2009a",
]
DANGEROUS = "\r\n\0\t\x0b\x0c\x1c\x7f\x85\u2028\u2029\ud800\udfff"
ENDS = (
    "",
    "\n.\n..\n",
    "\n.",
    "\r\n",
    "\rFrom x\n",
    "\nFrom here\n",
    f"\nFrom {'x' * 69}\nFrom From {'y' * 90}\n",
    f"\n{'z' * 75}From {'z' * 75}From ",
    " \n\t\n",
    "  ",
    "x" * 2000,
    "\u2028\x85",
    "🧺" * 700,
    "ü" * 499,
    "ü" * 499 + "x",
    "\x0c\x1b[0m",
    "\n\n\n\n",
    f"\n{'x' * 75} \n{'x' * 76} \n{'x' * 76}\t",
    "\n--=_abc\n--\n",
)
DOMAINS = (
    "example.com",
    "bücher.example",
    "xn--bcher-kva.example",
    "a-b.co.uk",
    "пример.example",
    f"{'long-label-' * 5}x.{'another-one.' * 4}example",
)


@dataclass
class Case:
    """One made-up mail: what a skeleton takes, what differs, and what in it cannot be written."""

    shared: dict[str, Any]
    own: dict[str, Any]
    bad: bool


def random_text(dice: random.Random, longest: int) -> str:
    """Letters of one or several alphabets, up to `longest`."""
    text = ""
    while dice.random() < 0.8 and len(text) < longest:
        text += "".join(dice.choices(dice.choice(ALPHABETS), k=dice.randint(1, max(1, longest // 3))))
    return text[:longest]


def random_case(dice: random.Random, number: int) -> Case:
    """Names, subjects, bodies, addresses and long URLs of every kind; some of them impossible."""
    subject, name, sender = random_text(dice, 120), random_text(dice, 90), random_text(dice, 40)
    words = [subject, name, sender]
    if dice.random() < 0.15:
        which = dice.randrange(3)
        at = dice.randint(0, len(words[which]))
        slipped = dice.choice(DANGEROUS) + dice.choice(("", "\nBcc: x@x.example", " "))
        words[which] = words[which][:at] + slipped + words[which][at:]
    subject, name, sender = words
    text = random_text(dice, 300) + dice.choice(ENDS)
    html = f"<p>{random_text(dice, 200)}</p>" + dice.choice(ENDS)
    if dice.random() < 0.05:
        text += dice.choice("\0\ud800")
    local = "".join(dice.choices("abcxyz019.!#$%&'*+/=?^_`{|}~-", k=dice.randint(1, 20)))
    address = f"{local}@{dice.choice(DOMAINS)}"
    url = f"https://click.example.com/u/{''.join(dice.choices('abcXYZ019-_', k=dice.randint(1, 990)))}"
    bad = (
        bool(set(DANGEROUS) & set("".join(words)))
        or bool({"\0", "\ud800"} & set(text))
        or not subject.strip()
        or not text.strip()
        or local.startswith(".")
        or local.endswith(".")
        or ".." in local
        or len(f"List-Unsubscribe: <{url}>") > 998
    )
    own = {
        "to_name": name,
        "to_address": address,
        "subject": subject,
        "text": text,
        "html": html,
        "message_id": f"<{number}@hearthside.example.com>",
        "date": DATE,
        "unsubscribe_url": url,
        "unsubscribe_mailto": "mailto:leave@example.com?subject=stop" if dice.random() < 0.2 else None,
    }
    if own["unsubscribe_mailto"]:
        bad = bad or len(f"List-Unsubscribe: <{url}>,") > 998
    shared = {
        "sender_name": sender,
        "sender_address": PLAIN["sender_address"],
        "reply_to": dice.choice((None, "care@bücher.example")),
        "list_id": "offers.hearthside.example.com",
        "feedback_id": "cart:offers:marketing:hearthside",
    }
    return Case(shared, own, bad)
