"""DKIM signatures as dkimpy verifies them: valid over every kind of mail, and for the mail that was signed alone."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from pathlib import Path

import dkim
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
)
from support.mails import DATE, SHARED, composed, random_case

from drumbeat.errors import InputError, UsageError
from drumbeat.rendering.compose import Skeleton
from drumbeat.rendering.dkim import Signer, load_key, public_half, read_key

KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
SIGNER = Signer("example.com", "s1", KEY)
MARKETING = {
    "sender_address": "hello@example.com",
    "list_id": "offers.example.com",
    "feedback_id": "cart:offers:marketing:hearthside",
    "unsubscribe_url": "https://click.example.com/u/abc",
    "signer": SIGNER,
}


def record(name: bytes, timeout: int = 5) -> bytes:
    del timeout
    assert name == b"s1._domainkey.example.com."
    return f"v=DKIM1; k=rsa; p={public_half(KEY)}".encode()


def valid(raw: bytes) -> bool:
    return dkim.verify(raw, dnsfunc=record)


def pem(
    key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey,
    form: PrivateFormat = PrivateFormat.PKCS8,
    lock: KeySerializationEncryption | None = None,
) -> str:
    return key.private_bytes(Encoding.PEM, form, lock or NoEncryption()).decode()


def tags(raw: bytes) -> dict[str, str]:
    head = raw.partition(b"\r\n\r\n")[0].decode().replace("\r\n ", "")
    found = re.search(r"^DKIM-Signature: (.*)$", head, re.M)
    assert found
    pairs = (pair.partition("=") for pair in found.group(1).split(";"))
    return {name.strip(): value.replace(" ", "").rstrip("\r") for name, _, value in pairs}


@pytest.mark.parametrize(
    "text",
    [
        "Hi\n",
        "Hi\n\n\n\n",
        ".\n..\n...\n.",
        "From me\n. \nblank \t\n",
        "Grüße 🧺\n",
        "x" * 3_000,
        "ü" * 498 + "\n" + "ü" * 499,
        "one\r\ntwo\rthree",
    ],
)
@pytest.mark.parametrize("eight_bit", [False, True])
def test_a_signature_is_valid_whatever_the_text(text: str, eight_bit: bool) -> None:
    mail = composed(**MARKETING, text=text, html=f"<pre>{text}</pre>", eight_bit=eight_bit)
    assert valid(mail.content)
    assert mail.seven_bit is None or valid(mail.seven_bit())


def test_mails_of_every_kind_are_signed_validly_in_both_encodings() -> None:
    dice = random.Random(9)
    signed = 0
    for number in range(150):
        case = random_case(dice, number)
        try:
            skeleton = Skeleton(**{**case.shared, "sender_address": "hello@example.com", "signer": SIGNER})
            mails = [skeleton.compose(**case.own, eight_bit=eight_bit) for eight_bit in (False, True)]
        except InputError:
            assert case.bad
            continue
        for mail in mails:
            signed += 1
            assert valid(mail.content)
            assert all(
                len(line) <= 78
                for line in re.search(rb"\ADKIM-Sig.*?\r\n(?! )", mail.content, re.S)[0].split(b"\r\n")
            )
    assert signed > 120


def test_what_was_signed_and_when() -> None:
    found = tags(composed(**MARKETING, auto_submitted=True, reply_to="care@example.com").content)
    assert {name: found[name] for name in ("v", "a", "c", "d", "s")} == {
        "v": "1",
        "a": "rsa-sha256",
        "c": "relaxed/simple",
        "d": "example.com",
        "s": "s1",
    }
    assert int(found["t"]) == DATE.timestamp()
    names = found["h"].split(":")
    assert all(names.count(name) == 2 for name in ("From", "To", "Subject", "Date", "Reply-To", "Message-ID"))
    assert names.count("Cc") == 1, "nobody may add one"
    for once in ("List-Unsubscribe", "List-Unsubscribe-Post", "Feedback-ID", "List-Id", "Auto-Submitted"):
        assert names.count(once) == 1


def test_the_same_mail_has_the_same_signature() -> None:
    assert composed(**MARKETING).content == composed(**MARKETING).content


@pytest.mark.parametrize(
    "change",
    [
        lambda raw: raw.replace(b"Your basket", b"Your bucket"),
        lambda raw: raw.replace(b"<p>Hi</p>", b"<p>Ho</p>"),
        lambda raw: raw.replace(b"/u/abc>", b"/u/abd>"),
        lambda raw: raw.replace(b"List-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n", b""),
        lambda raw: raw.replace(b"cart:offers", b"cart:orders"),
        lambda raw: raw.replace(b"\r\nFrom: ", b"\r\nFrom: x@evil.example\r\nFrom: "),
        lambda raw: raw.replace(b"MIME-Version", b"Subject: another\r\nMIME-Version"),
        lambda raw: raw.replace(b"MIME-Version", b"Cc: x@evil.example\r\nMIME-Version"),
        lambda raw: raw.replace(b"MIME-Version", b"Reply-To: x@evil.example\r\nMIME-Version"),
        lambda raw: raw.replace(b"MIME-Version", b'Content-Type: text/html; charset="x"\r\nMIME-Version'),
        lambda raw: raw.replace(b" t=13230", b" t=13231"),
        lambda raw: raw.replace(b"--\r\n", b"--\r\nmore\r\n"),
    ],
)
def test_a_mail_that_was_altered_is_not_valid(change: Callable[[bytes], bytes]) -> None:
    raw = composed(**MARKETING).content
    assert valid(raw)
    assert change(raw) != raw
    assert not valid(change(raw))


def test_what_relays_may_do_to_headers_leaves_it_valid() -> None:
    """Relaxed headers: other folds, blanks and capitals of names; headers on top; lines added at the end."""
    raw = composed(**MARKETING, subject="A subject of several words").content
    assert valid(raw.replace(b"Subject: A subject", b"SUBJECT:  A\r\n\tsubject"))
    assert valid(b"Received: from x by y; Mon, 05 Dec 2011 09:00:00 +0000\r\n" + raw)
    assert valid(raw + b"\r\n\r\n")


@pytest.mark.parametrize("body", [b"Hi\r\n", b"Hi\r\n\r\n\r\n", b"Hi", b"", b"\r\n\r\n", b" \r\n.\r\n"])
@pytest.mark.parametrize(
    "subject", ["one", "two  blanks", "a\ttab", " \t in front and behind \t ", "fold\r\n \tfold"]
)
def test_any_body_and_any_blanks_in_headers_are_signed_as_the_standard_has_it(
    body: bytes, subject: str
) -> None:
    """Beyond what a skeleton writes: empty lines at the end count as none, blanks in headers as one."""
    lines = ["From: a@example.com", f"Subject:{subject}", "subject: another", "To: b@example.com"]
    head = [SIGNER.header(lines, body, 1_323_072_000), *lines]
    assert valid("\r\n".join(head).encode() + b"\r\n\r\n" + body)


def test_keys_are_read_from_a_variable_or_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = pem(KEY)
    (tmp_path / "dkim.pem").write_text(pem(KEY, PrivateFormat.TraditionalOpenSSL))
    monkeypatch.setenv("DKIM_KEY", text.replace("\n", "\\n"))
    for key in (
        load_key(tmp_path, "DKIM_KEY", None, "senders.shop.dkim"),
        load_key(tmp_path, None, "dkim.pem", "senders.shop.dkim"),
        read_key(f"\n  {text}\n", "a test"),
    ):
        assert public_half(key) == public_half(KEY)


WEAK = """-----BEGIN RSA PRIVATE KEY-----
MIIBygIBAAJhAMRchwxs7xkw/BE2+QpWuN8sAM1wMvlH4C36Y+CP7Z06QOTcHKFi
Jm0UqayXzeZOmGyU9YcftS+QMEoqlN2WnqaZNQuF3KFb6nguoayUD/dqLHjvPkoI
WzhNOuFUbSoijwIDAQABAmBKz9ngIQzDc0dGI8SkbMAIvxIbM1koYnsF6XTuFMf5
9DzPNRFvZx6uxoWSrU+UJHMAZLHyT2S6g7caA/6FldAwHV+LyNDwL9igzlKZOAu5
DTCl8bQP/hopugQYpjLkXfECMQD6K7lz8adU8Q88z8GXTXkdsUq/wsk0+KZTvAq7
S6XygHU486cf2YP5Xk2tvTNV3ikCMQDI79Qsgsg6j9tDw9P8flcLvsuJQ6sSPORl
Vmk4WRsswYH8V46ofAWJ4Pl0+sDxofcCMH+Om9jKdo+Q+jv/kq4bCo5hP8PXBdDE
l8pKLw6g29RyO1L2qVhMCEa2FtVniy1VQQIwU4PS1Pk6jZSTFrRC3JQKS9huMkwM
w1TJvRDQRNpMQCrhgudFZOO/TZJTPHqoTQX7AjEA2BtENqVohXAqsyz9yuf2xXz3
2CE/qNddpUzWtYX8Tgqnau6d7NM5sXLxwruCHSYG
-----END RSA PRIVATE KEY-----
"""
"""768 bits, made for this test; the library makes none so short any more."""


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "holds no private key in PEM"),
        ("-----BEGIN PRIVATE KEY-----\nabc\n-----END PRIVATE KEY-----", "holds no private key in PEM"),
        ("ssh-rsa AAAA", "holds no private key in PEM"),
        ("\ud800", "holds no private key in PEM"),
        (pem(ec.generate_private_key(ec.SECP256R1())), "no RSA key"),
        (pem(KEY, lock=BestAvailableEncryption(b"secret")), "protected by a password"),
        (pem(KEY)[:-60], "holds no private key in PEM"),
        (WEAK, "has 768 bits, and receivers take none under 1024"),
    ],
    ids=["empty", "garbled", "ssh", "no text", "elliptic", "locked", "cut off", "short"],
)
def test_a_key_that_cannot_sign_is_refused_in_one_line(text: str, words: str) -> None:
    with pytest.raises(UsageError, match=words) as caught:
        read_key(text, "the environment variable DKIM_KEY")
    assert len(str(caught.value).splitlines()) == 1
    assert "DKIM_KEY" in str(caught.value)


def test_a_key_that_is_not_there_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DKIM_KEY", raising=False)
    with pytest.raises(UsageError, match=r"DKIM_KEY is not set; senders\.shop\.dkim\.key_env"):
        load_key(tmp_path, "DKIM_KEY", None, "senders.shop.dkim")
    with pytest.raises(UsageError, match=r"cannot read none\.pem: No such file"):
        load_key(tmp_path, None, "none.pem", "senders.shop.dkim")
    (tmp_path / "odd.pem").write_bytes(b"\xff\xfe")
    with pytest.raises(UsageError, match="is not text"):
        load_key(tmp_path, None, "odd.pem", "senders.shop.dkim")


def test_shared_settings_are_those_of_a_skeleton() -> None:
    """What `composed` sorts out by name exists: a misspelt one would be lost in these tests."""
    import inspect

    assert set(inspect.signature(Skeleton.__init__).parameters) - {"self"} == SHARED
