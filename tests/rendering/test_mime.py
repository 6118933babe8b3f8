"""The two ways to write a part: quoted-printable, and as it is where nothing on the way can harm it."""

from __future__ import annotations

import quopri
import random

import pytest
from support.mails import random_text

from drumbeat.errors import InputError
from drumbeat.rendering.mime import MOST_LINES, PartWriter

MARK = b"=_0123456789abcdef01234567"


def quoted(text: str) -> bytes:
    return PartWriter("plain").quoted_printable(text).body


@pytest.mark.parametrize(
    ("text", "encoded"),
    [
        ("Grüße", b"Gr=C3=BC=C3=9Fe\r\n"),
        ("a \nb\t", b"a=20\r\nb=09\r\n"),
        (".\n..", b"=2E\r\n..\r\n"),
        ("From me\nFrom", b"=46rom me\r\nFrom\r\n"),
        (f"From {'x' * 69}", b"=46rom " + b"x" * 69 + b"\r\n"),
        (f"From {'x' * 70}", b"=46rom =\r\n" + b"x" * 70 + b"\r\n"),
        (f"{'x' * 75}From me", b"x" * 75 + b"=\r\n=46rom me\r\n"),
        (f"From From {'x' * 66}", b"=46rom =\r\n=46rom " + b"x" * 66 + b"\r\n"),
        ("x" * 77, b"x" * 75 + b"=\r\nxx\r\n"),
        ("x" * 75 + " ", b"x" * 75 + b"=\r\n=20\r\n"),
        ("a=b", b"a=3Db\r\n"),
        ("a\x0b\x1c\x85\u2028", b"a=0B=1C=C2=85=E2=80=A8\r\n"),
        ("one\rtwo\r\nthree\n", b"one\r\ntwo\r\nthree\r\n"),
    ],
)
def test_quoted_printable_as_it_goes_out(text: str, encoded: bytes) -> None:
    assert quoted(text) == encoded


def test_quoted_printable_is_read_back_by_the_standard_library() -> None:
    dice = random.Random(6)
    for _ in range(3_000):
        text = "\n".join(random_text(dice, 200) for _ in range(dice.randint(1, 4)))
        if not text.strip():
            continue
        body = quoted(text)
        assert quopri.decodestring(body).decode() == text.removesuffix("\n").replace("\n", "\r\n") + "\r\n"
        assert all(len(line) <= 76 for line in body.split(b"\r\n"))


def test_a_line_that_comes_again_is_written_as_the_first_time() -> None:
    """Lines are kept from the second time on; the third is the kept one."""
    writer = PartWriter("html")
    text = "<p>Grüße, Emma</p>\nFrom here \n.\n\nend"
    first = [writer.quoted_printable(text), writer.as_it_is("<p>Grüße</p>\n\nend", MARK)]
    for _ in range(3):
        assert [writer.quoted_printable(text), writer.as_it_is("<p>Grüße</p>\n\nend", MARK)] == first


def test_what_is_remembered_has_a_limit() -> None:
    """A hundred thousand different lines, as of a large run, leave at most two thousand behind."""
    writer = PartWriter("html")
    for number in range(50_000):
        writer.quoted_printable(f"line {number}")
        writer.quoted_printable(f"line {number}")
    lines = writer._quoted
    assert len(lines._known) <= MOST_LINES
    assert len(lines._met) <= MOST_LINES
    assert writer.quoted_printable("Grüße").body == b"Gr=C3=BC=C3=9Fe\r\n"


@pytest.mark.parametrize(
    "text",
    [
        "ü" * 499 + "x",
        "x" * 999,
        "blank at the end \nof a line",
        "or of all\t",
        "From the start",
        "in the\nFrom middle",
        "a\n.\nb",
        ".",
        "bell \x07",
        "a\x0c",
        f"has the boundary {MARK.decode()}",
    ],
)
def test_what_could_be_harmed_on_the_way_is_not_sent_as_it_is(text: str) -> None:
    assert PartWriter("plain").as_it_is(text, MARK) is None
    assert PartWriter("plain").as_it_is(f"fine\n{text}\nfine", MARK) is None


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("ü" * 499, "8bit"),
        ("x" * 998, "7bit"),
        ("..two dots\n.one", "7bit"),
        ("Not From me", "7bit"),
        ("a\u2028\x85", "8bit"),
        ("tab\tinside", "7bit"),
        ("👩\u200d👩\u200d👧", "8bit"),
    ],
)
def test_anything_else_is(text: str, encoding: str) -> None:
    part = PartWriter("plain").as_it_is(text, MARK)
    assert part == (encoding, text.replace("\n", "\r\n").encode() + b"\r\n")


@pytest.mark.parametrize("text", ["", " \n\r\t", "a\0b", "a\ud800"])
def test_what_is_no_text_is_refused_in_both_ways(text: str) -> None:
    with pytest.raises(InputError, match="the html part"):
        PartWriter("html").quoted_printable(text)
    with pytest.raises(InputError, match="the html part"):
        PartWriter("html").as_it_is(text, MARK)
