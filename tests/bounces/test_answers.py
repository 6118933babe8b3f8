"""Readers' answers by mail: unsubscribes, automatic answers, and what people write."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
from support.bounced import MESSAGE_ID, RETURN_PATH, TOKEN

from drumbeat.responses.kinds import Kind
from drumbeat.responses.webhooks import Event

Read = Callable[[str | bytes], Sequence[Event]]


@pytest.mark.parametrize(
    "subject",
    [
        f"unsubscribe {TOKEN}",
        "Unsubscribe",
        "Re: UNSUBSCRIBE!",
        "Abmelden",
        "AW: abbestellen",
        "Désinscription",
        "darme de baja",
        "отписаться",
        "Re: Отписка",
    ],
)
def test_a_mail_that_asks_to_unsubscribe_does(read: Read, subject: str) -> None:
    (event,) = read(f"From: Ada <ada@example.com>\nTo: unsub@shop.example\nSubject: {subject}\n\n\n")
    assert (event.kind, event.recipient) == (Kind.UNSUBSCRIBED, "ada@example.com")
    assert event.token == (TOKEN if TOKEN in subject else None)


def test_an_unsubscribe_counts_though_a_machine_wrote_it(read: Read) -> None:
    (event,) = read(
        "From: ada@icloud.com\nTo: unsubscribe@shop.example\nSubject: hello\nAuto-Submitted: auto-replied\n\nx"
    )
    assert event.kind is Kind.UNSUBSCRIBED


@pytest.mark.parametrize(
    "body",
    [
        "unsubscribe\n\n> Hello, dear reader\n",
        "\nPlease unsubscribe me.\n",
        "Bitte um Rat, wie man sich abmelden kann",
    ],
)
def test_a_first_line_that_asks_and_nothing_more_unsubscribes(read: Read, body: str) -> None:
    (event,) = read(f"From: ada@example.com\nTo: {RETURN_PATH}\nSubject: Re: Hello\n\n{body}")
    asks = not body.startswith("Bitte")
    assert event.kind is (Kind.UNSUBSCRIBED if asks else Kind.UNKNOWN)


@pytest.mark.parametrize(
    "header",
    [
        "Auto-Submitted: auto-replied",
        'Auto-Submitted: auto-replied; owner-email="ada@example.com"',
        "X-Autoreply: yes",
        "X-Autorespond: on",
        "Precedence: auto_reply",
        "Delivered-To: Autoresponder",
        "Subject: Automatic reply: Hello",
        "Subject: Out of Office: Hello",
        "Subject: Automatische Antwort: Hello",
        "Subject: =?utf-8?q?R=C3=A9ponse_automatique=3A_Hello?=",
        "Subject: Respuesta automática: Hello",
        "Subject: Автоматический ответ: Hello",
        "Subject: 自動返信: Hello",
        "Subject: Risposta automatica: Hello",
    ],
)
def test_an_automatic_answer_is_no_bounce_and_no_reply(read: Read, header: str) -> None:
    subject = "" if header.startswith("Subject") else "Subject: Re: Hello\n"
    (event,) = read(
        f"From: Ada <ada@example.com>\nTo: {RETURN_PATH}\n{subject}{header}\nIn-Reply-To: {MESSAGE_ID}\n\n"
        "I am away until Monday. My mailbox is full of mail that could not be delivered.\n"
    )
    assert (event.kind, event.recipient, event.bounce) == (Kind.AUTORESPONDED, "ada@example.com", None)
    assert (event.token, event.message_id) == (TOKEN, MESSAGE_ID)


def test_a_receipt_is_an_automatic_answer(read: Read) -> None:
    (event,) = read(
        "From: ada@example.com\nSubject: Read: Hello\n"
        'Content-Type: multipart/report; report-type=disposition-notification; boundary="b"\n\n'
        "--b\nContent-Type: text/plain\n\nread\n--b--\n"
    )
    assert event.kind is Kind.AUTORESPONDED


@pytest.mark.parametrize(
    "mail",
    [
        "From: Ada <ada@example.com>\nSubject: Re: Hello\nAuto-Submitted: no\n\nThank you! Where is my order?\n",
        "From: ada@example.com\nSubject: My mail was not delivered\n\nThe parcel could not be delivered, 550 euros.\n",
        "From: ada@example.com\nSubject: Fwd: Undeliverable\n\nLook: <bob@example.com>: 550 user unknown\n",
    ],
)
def test_what_people_write_is_kept_and_changes_nothing(read: Read, mail: str) -> None:
    (event,) = read(mail)
    assert (event.kind, event.recipient, event.bounce) == (Kind.UNKNOWN, "ada@example.com", None)
    assert event.raw["subject"]
    assert event.raw["text"]
