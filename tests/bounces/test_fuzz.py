"""No input stops it: real mails cut, flipped, shuffled and blown up, and bombs made on purpose."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drumbeat.responses.bounces import read_mail
from drumbeat.responses.kinds import Kind
from drumbeat.responses.webhooks import Event

NOW = datetime(2026, 11, 1, tzinfo=UTC)
CASES = 2_400
LONGEST_S = 5.0
"""The slowest of tens of thousands took 0.7 s; what runs away takes minutes."""

MOST_RAW = 2_000
"""Letters of an event's `raw`: it goes into the database beside every response."""

SWAPS = (
    b"utf-8",
    b"us-ascii",
    b"iso-2022-jp",
    b"7bit",
    b"boundary",
    b"\n\n",
    b"multipart",
    b"@",
    b"rfc822",
    b":",
)
FOR = (
    *(
        b"punycode",
        b"x-none",
        b"utf-7",
        b"base64",
        b"quoted-printable",
        b"zlib",
        b"idna",
        b"utf-16",
        b"rot13",
    ),
    *(b"\0", b"<", b"(", b"\n", "\u202e\u0130".encode(), b"\xff\xfe", b";", b'"'),
)
BLOWN_UP = (
    *(
        b"a",
        b"@",
        b"<",
        b"=?",
        b"=?utf-8?q?",
        b" ",
        b"\n",
        b"--",
        b"user ",
        b"550 ",
        b"a@b.c ",
        b"(",
        b'"',
        b":",
    ),
    *(b"\t", b">", b"\r", b"=\n", b"mailbox is ", b"Final-Recipient: rfc822;a@b.c\n\n", b"> ", b"\\"),
)


def mutated(source: random.Random, mails: list[bytes]) -> bytes:
    """A real mail, spoilt in one to six ways."""
    mail = bytearray(source.choice(mails))
    for _ in range(source.randint(1, 6)):
        mail = mail or bytearray(b"x")
        start = source.randrange(len(mail))
        end = min(len(mail), start + source.randrange(1, 400))
        match source.randrange(9):
            case 0:
                mail = mail[:start]
            case 1:
                mail = mail[start:]
            case 2:
                for _ in range(source.randint(1, 60)):
                    mail[source.randrange(len(mail))] ^= 1 << source.randrange(8)
            case 3:
                mail[start:end] = source.randbytes(source.randrange(300))
            case 4:
                lines = bytes(mail).split(b"\n")
                source.shuffle(lines)
                mail = bytearray(b"\n".join(lines))
            case 5:
                mail[start:start] = mail[start:end] * source.randint(2, 40)
            case 6:
                other = source.choice(mails)
                mail[start:start] = other[: source.randrange(len(other))]
            case 7:
                mail = bytearray(bytes(mail).replace(source.choice(SWAPS), source.choice(FOR)))
            case 8:
                mail[start:start] = source.choice(BLOWN_UP) * source.randint(100, 5_000)
    return bytes(mail)


def checked(mail: bytes) -> list[Event]:
    """Read a mail; what comes must be well formed."""
    events = read_mail(mail, NOW)
    assert events
    for event in events:
        assert "fault" not in event.raw, event.raw
        assert event.at == NOW
        assert event.bounce is None or event.kind is Kind.BOUNCED
        assert len(repr(event.raw)) <= MOST_RAW
        assert event.recipient is None or ("@" in event.recipient and len(event.recipient) <= 330)
        assert event.text is None or len(event.text) <= 500
        written = repr((event.recipient, event.text, dict(event.raw)))
        assert "\\x00" not in written
        written.encode("utf-8")  # no lone surrogates: databases refuse them
    return events


@pytest.mark.slow
@pytest.mark.parametrize("part", range(8))
def test_thousands_of_spoilt_mails_are_read_in_time(part: int, real_mails: list[bytes]) -> None:
    """An eighth of them; the seed is the part, so that what fails fails again."""
    source = random.Random(part)
    slowest = 0.0
    for _ in range(CASES // 8):
        mail = mutated(source, real_mails)
        started = time.perf_counter()
        checked(mail)
        slowest = max(slowest, time.perf_counter() - started)
    assert slowest < LONGEST_S


@given(st.binary(max_size=2_000))
@settings(max_examples=200, deadline=None)
def test_random_bytes_are_an_unknown_mail(raw: bytes) -> None:
    checked(raw)


HEADERS = st.sampled_from(
    [
        "From",
        "To",
        "Subject",
        "Content-Type",
        "Content-Transfer-Encoding",
        "Message-ID",
        "X-Failed-Recipients",
    ]
)
VALUES = st.text(max_size=80) | st.sampled_from(
    [
        "multipart/report; report-type=delivery-status; boundary=b",
        "multipart/mixed; boundary=b",
        "message/delivery-status",
        "message/feedback-report",
        "text/html; charset=punycode",
        "base64",
        "quoted-printable",
        "MAILER-DAEMON",
        "Undelivered Mail Returned to Sender",
        "ada@example.com",
    ]
)
LINES = st.text(max_size=60) | st.sampled_from(
    [
        "--b",
        "--b--",
        "",
        "Final-Recipient: rfc822;ada@example.com",
        "Action: failed",
        "550 5.1.1 no such user",
    ]
)


@given(st.lists(st.tuples(HEADERS, VALUES), max_size=8), st.lists(LINES, max_size=30))
@settings(max_examples=300, deadline=None)
def test_any_headers_and_any_lines_are_read(headers: list[tuple[str, str]], lines: list[str]) -> None:
    head = "\n".join(f"{name}: {value}" for name, value in headers)
    checked("\n".join([head, "", *lines]).encode("utf-8", "surrogatepass"))


FAILURE = b"From: mailer-daemon@b.example\nSubject: failure notice\n"
BOMBS: dict[str, Callable[[], bytes]] = {
    "nested parts": lambda: (
        FAILURE
        + b"".join(
            b'Content-Type: multipart/mixed; boundary="b%d"\n\n--b%d\n' % (n, n) for n in range(10_000)
        )
    ),
    "mails in mails": lambda: b"From: a@b.example\nContent-Type: message/rfc822\n\n" * 20_000,
    "a digest of nothing": lambda: b"Content-Type: multipart/digest; boundary=x\n\n" + b"--x\n\n" * 200_000,
    "blank lines in a report": lambda: (
        FAILURE
        + b"Content-Type: message/delivery-status\n\nFinal-Recipient: rfc822;a@b.example\n"
        + b"\n" * 900_000
    ),
    "recipients in a report": lambda: (
        FAILURE
        + b"Content-Type: message/delivery-status\n\n"
        + b"Final-Recipient: rfc822;a@b.example\nAction: failed\nStatus: 5.1.1\n\n" * 15_000
    ),
    "headers": lambda: b"".join(b"X-%d: y\n" % n for n in range(100_000)),
    "a folded header": lambda: b"Subject: a\n" + b" b\n" * 300_000,
    "an encoded header": lambda: b"Subject: " + b"=?utf-8?q?" * 5_000 + b"\n\nx",
    "quotes in a header": lambda: b"From: mailer-daemon@b\nTo: " + b'"' * 500_000 + b"\n\nx",
    "addresses in a header": lambda: FAILURE + b"To: " + b"a@b.example," * 80_000 + b"\n\n550 x",
    "one long line": lambda: FAILURE + b"\n" + b"a" * 1_000_000,
    "at signs": lambda: FAILURE + b"\n" + b"a@" * 500_000,
    "dashes": lambda: FAILURE + b"\n" + b"-" * 1_000_000,
    "blanks": lambda: FAILURE + b"\n" + b" " * 1_000_000,
    "failed addresses": lambda: (
        FAILURE + b"\n" + b"".join(b"<a%d@b.example>: 550 user unknown\n" % n for n in range(30_000))
    ),
    "words of refusal": lambda: FAILURE + b"\n550 " + b"user mailbox account " * 50_000,
    "open tags": lambda: FAILURE + b"Content-Type: text/html\n\n" + b"<style <script " * 60_000,
    "deep JSON": lambda: b"From: a@b.example\n\n" + b'{"a":' * 200_000,
    "transcripts": lambda: FAILURE + b"\n" + b">>> RCPT\n<<< 550\n" * 50_000,
    "returned mails": lambda: FAILURE + b"\n" + b"--- Original message ---\nFrom x\n" * 30_000,
    "thirty megabytes": lambda: FAILURE + b"\n" + b"x y z\n" * 5_000_000,
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_defused(name: str) -> None:
    mail = BOMBS[name]()
    started = time.perf_counter()
    events = checked(mail)
    assert time.perf_counter() - started < LONGEST_S
    assert len(events) <= 100
