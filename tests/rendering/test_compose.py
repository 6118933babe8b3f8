"""What compose writes, the standard library's parser reads back unchanged, and nothing can slip in."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest
from support.mails import DATE, PLAIN, bodies, check_form, composed, parsed, written

from drumbeat.errors import InputError
from drumbeat.rendering.compose import Skeleton, compose


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
        "Reply-To: care@hearthside.example.com",
        "Message-ID: <abc@hearthside.example.com>",
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


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("unsubscribe_url", "https://x.example/>\r\nBcc: a@b.example"),
        ("unsubscribe_url", "javascript:alert(1)"),
        ("unsubscribe_url", "https://x.example/a b"),
        ("unsubscribe_url", "https://x.example/ü"),
        ("unsubscribe_url", ""),
        ("unsubscribe_mailto", "leave@example.com"),
        ("unsubscribe_mailto", "mailto:leave@example.com>\r\nBcc: a@b.example"),
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
    assert message["Precedence"] is None


@pytest.mark.parametrize(
    ("url", "offered"),
    [
        ("https://click.example.com/u/abc", True),
        ("http://127.0.0.1:8025/u/abc", True),
        ("http://localhost/u/abc", True),
        ("http://click.example.com/u/abc", False),
        ("http://127.0.0.1.example.com/u/abc", False),
        ("http://localhost.example.com/u/abc", False),
    ],
)
def test_one_click_needs_https_except_on_this_machine(url: str, offered: bool) -> None:
    """RFC 8058, 3.1: the address that is posted to must be https."""
    message = parsed(written(unsubscribe_url=url))
    assert message["List-Unsubscribe"] == f"<{url}>"
    assert (message["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click") is offered


def test_an_address_for_unsubscribes_by_mail_stands_beside_the_link_on_a_line_of_its_own() -> None:
    mail = composed(
        unsubscribe_url="https://click.example.com/u/" + "a" * 60,
        unsubscribe_mailto="mailto:leave@example.com?subject=unsubscribe%20abc",
    )
    both = f"<https://click.example.com/u/{'a' * 60}>, <mailto:leave@example.com?subject=unsubscribe%20abc>"
    assert f"\r\nList-Unsubscribe: {both.replace(' ', chr(13) + chr(10) + ' ')}\r\n".encode() in mail.content
    assert parsed(mail.content)["List-Unsubscribe"] == both
    assert ("List-Unsubscribe", both) in mail.headers, "providers get it unfolded"
    check_form(mail.content)


def test_the_other_headers_are_told_apart_for_providers_that_take_no_mime() -> None:
    mail = composed(
        list_id="offers.example.com",
        feedback_id="cart:offers:marketing:hearthside",
        unsubscribe_url="https://click.example.com/u/abc",
        reply_to="care@example.com",
    )
    assert [name for name, _ in mail.headers] == [
        "Message-ID",
        "List-Id",
        "List-Unsubscribe",
        "List-Unsubscribe-Post",
        "Feedback-ID",
    ]
    message = parsed(mail.content)
    assert all(message[name] == value for name, value in mail.headers)


def test_a_skeleton_writes_each_mail_as_one_made_for_it_alone() -> None:
    """What is remembered of earlier mails, lines above all, changes none of the later ones."""
    skeleton = Skeleton(sender_name="Hearthside", sender_address="hello@hearthside.example.com")
    for number in range(6):
        own = {
            "to_name": f"Jürgen {number % 2}",
            "to_address": "emma@example.com",
            "subject": "Ihr Körbchen",
            "html": f"<p>Für dich</p>\n<p>{number}</p>\n<p>Ende . </p> \n",
            "text": "Für dich\n\n.\nFrom here\n",
            "message_id": f"<{number}@x.example>",
            "date": DATE,
        }
        for eight_bit in (False, True):
            kept = skeleton.compose(**own, eight_bit=eight_bit)
            assert kept.content == composed(**own, eight_bit=eight_bit).content
        assert bodies(parsed(kept.content)) == [
            own["text"].removesuffix("\n"),
            own["html"].removesuffix("\n"),
        ]


def test_a_mail_with_letters_beyond_ascii_goes_as_it_is_where_that_was_asked_for() -> None:
    mail = composed(text="Grüße\n", html="<p>Grüße</p>\n", eight_bit=True)
    assert "\r\nGrüße\r\n".encode() in mail.content
    assert mail.content.count(b"Content-Transfer-Encoding: 8bit\r\n") == 3, "the whole and both parts"
    assert mail.seven_bit is not None
    assert mail.seven_bit() == written(text="Grüße\n", html="<p>Grüße</p>\n")
    assert mail.seven_bit().isascii()


def test_a_part_that_would_suffer_is_encoded_alone() -> None:
    mail = composed(text="Grüße\n.\n", html="<p>Grüße</p>\n", eight_bit=True)
    encodings = [part["Content-Transfer-Encoding"] for part in parsed(mail.content).walk()]
    assert encodings == ["8bit", "quoted-printable", "8bit"]


def test_a_mail_in_ascii_needs_no_eight_bits() -> None:
    mail = composed(eight_bit=True)
    assert mail.content.isascii()
    assert mail.seven_bit is None
    assert [part["Content-Transfer-Encoding"] for part in parsed(mail.content).walk()] == [
        None,
        "7bit",
        "7bit",
    ]


def test_a_single_mail_is_that_of_a_skeleton() -> None:
    assert compose(**PLAIN, reply_to=None) == written()
