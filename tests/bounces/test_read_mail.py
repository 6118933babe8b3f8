"""What comes back by mail becomes events, format by format."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
from support.bounced import LINKS, MESSAGE_ID, ORIGINAL, RETURN_PATH, TOKEN, feedback, report

from drumbeat.responses.bounces.complaints import KINDS
from drumbeat.responses.kinds import Kind
from drumbeat.responses.webhooks import Event

Read = Callable[[str | bytes], Sequence[Event]]


def test_a_report_names_recipient_status_words_and_our_message(read: Read) -> None:
    (event,) = read(
        report(
            "Final-Recipient: rfc822; ada@example.com\nAction: failed\nStatus: 5.1.1\n"
            "Remote-MTA: dns; mx.example.com\nDiagnostic-Code: smtp; 550 5.1.1 <ada@example.com>\n  User unknown\n"
        )
    )
    assert (event.kind, event.bounce, event.reason, event.status) == (
        Kind.BOUNCED,
        "hard",
        "user_unknown",
        "5.1.1",
    )
    assert (event.recipient, event.text) == ("ada@example.com", "550 5.1.1 <ada@example.com> User unknown")
    assert (event.token, event.message_id) == (TOKEN, MESSAGE_ID)
    assert LINKS.read_mail_token(event.token or "") == 4711
    assert event.raw["remote"] == "mx.example.com"


@pytest.mark.parametrize(
    ("action", "kind"),
    [
        ("failed", Kind.BOUNCED),
        ("Failed (gave up)", Kind.BOUNCED),
        ("error", Kind.BOUNCED),
        ("delayed", Kind.DEFERRED),
        ("delivered", Kind.DELIVERED),
        ("relayed", Kind.DELIVERED),
        ("expanded", Kind.DELIVERED),
    ],
)
def test_what_happened_is_read_from_the_action(read: Read, action: str, kind: Kind) -> None:
    (event,) = read(report(f"Final-Recipient: rfc822; ada@example.com\nAction: {action}\nStatus: 4.4.1\n"))
    assert event.kind is kind
    assert event.bounce == ("soft" if kind is Kind.BOUNCED else None)


@pytest.mark.parametrize(("status", "kind"), [("2.0.0", Kind.DELIVERED), ("5.1.1", Kind.BOUNCED)])
def test_without_an_action_the_class_of_the_status_tells(read: Read, status: str, kind: Kind) -> None:
    (event,) = read(report(f"Final-Recipient: rfc822; ada@example.com\nStatus: {status}\n"))
    assert event.kind is kind


def test_the_address_that_was_written_to_counts_and_the_one_beyond_it_is_kept(read: Read) -> None:
    (event,) = read(
        report(
            "Original-Recipient: rfc822;ada@example.com\nFinal-Recipient: rfc822;ada.l@elsewhere.example\n"
            "Action: failed\nStatus: 5.1.1\n"
        )
    )
    assert event.recipient == "ada@example.com"
    assert event.raw["final_recipient"] == "ada.l@elsewhere.example"


def test_several_recipients_have_a_verdict_each(read: Read) -> None:
    """Parted by blank lines or, as AOL does it, by nothing."""
    for blank in ("\n", ""):
        events = read(
            report(
                "Final-Recipient: rfc822; ada@example.com\nAction: failed\nStatus: 5.1.1\n"
                f"{blank}Final-Recipient: rfc822; bob@example.com\nAction: failed\nStatus: 5.2.2\n"
            )
        )
        assert [(e.recipient, e.bounce, e.reason) for e in events] == [
            ("ada@example.com", "hard", "user_unknown"),
            ("bob@example.com", "soft", "mailbox_full"),
        ]


def test_one_dead_member_of_a_list_does_not_cost_the_reader_our_mails(read: Read) -> None:
    """Our mail went to ada alone; what the receiving side made of it is not ours to suppress her for."""
    events = read(
        report(
            "Final-Recipient: rfc822; bob@example.com\nAction: failed\nStatus: 5.1.1\n\n"
            "Final-Recipient: rfc822; ada@example.com\nAction: delivered\nStatus: 2.0.0\n"
        )
    )
    assert [(e.recipient, e.token, e.message_id) for e in events] == [
        ("bob@example.com", None, None),
        ("ada@example.com", TOKEN, MESSAGE_ID),
    ]


def test_addresses_beyond_ascii_are_read(read: Read) -> None:
    """RFC 6533: in UTF-8, and in its form for systems that have ASCII alone."""
    mail = report(
        "Original-Recipient: utf-8;\\x{e4}da@b\\x{fc}cher.example\nFinal-Recipient: utf-8; äda@bücher.example\n"
        "Action: failed\nStatus: 5.1.1\n"
    ).replace("message/delivery-status", "message/global-delivery-status")
    (event,) = read(mail.replace("message/rfc822", "message/global-headers"))
    assert event.recipient == "äda@bücher.example"
    assert "final_recipient" not in event.raw
    assert event.token == TOKEN


def test_words_for_people_say_why_where_the_report_does_not(read: Read) -> None:
    (event,) = read(
        report(
            "Final-Recipient: rfc822; ada@example.com\nAction: failed\nStatus: 5.0.0\n",
            words="ada@example.com: 552 5.2.2 Mailbox full",
        )
    )
    assert (event.reason, event.status) == ("mailbox_full", "5.2.2")


def test_a_recipient_that_is_a_file_is_the_one_we_wrote_to(read: Read) -> None:
    (event,) = read(report("Final-Recipient: rfc822;/var/mail/ada\nAction: failed\nStatus: 5.2.2\n"))
    assert event.recipient == "ada@example.com"


def test_a_report_that_lost_its_content_type_is_a_report(read: Read) -> None:
    mail = report("Final-Recipient: rfc822; ada@example.com\nAction: failed\nStatus: 5.1.1\n")
    kept = "\n".join(line for line in mail.split("\n") if not line.startswith(("Content-Type: mult", "MIME")))
    (event,) = read(kept)
    assert (event.recipient, event.bounce) == ("ada@example.com", "hard")


def test_a_report_that_a_gateway_sends_on_as_an_attachment_is_a_report(read: Read) -> None:
    inner = report("Final-Recipient: rfc822; ada@example.com\nAction: failed\nStatus: 5.1.1\n")
    (event,) = read(
        'From: gateway@corp.example\nTo: x@shop.example\nContent-Type: multipart/mixed; boundary="o"\n\n'
        f"--o\nContent-Type: text/plain\n\nattached\n--o\nContent-Type: message/rfc822\n\n{inner}\n--o--\n"
    )
    assert (event.recipient, event.bounce, event.token) == ("ada@example.com", "hard", TOKEN)


@pytest.mark.parametrize("kind", [*KINDS, "something-new"])
def test_each_type_of_feedback_has_its_kind(read: Read, kind: str) -> None:
    (event,) = read(feedback(kind))
    assert event.kind is KINDS.get(kind, Kind.COMPLAINED)
    assert (event.recipient, event.token, event.raw["feedback_type"]) == ("ada@example.com", TOKEN, kind)
    assert event.bounce is None


def test_a_complaint_that_hides_the_reader_is_about_the_one_we_wrote_to(read: Read) -> None:
    (event,) = read(feedback("abuse", fields=""))
    assert (event.kind, event.recipient, event.token) == (Kind.COMPLAINED, "ada@example.com", TOKEN)


def test_hotmails_complaint_is_the_original_and_nothing_else(read: Read) -> None:
    (event,) = read(
        "From: staff@hotmail.com\nSubject: complaint about message from 192.0.2.1\n"
        'Content-Type: multipart/mixed; boundary="b"\n\n--b\nContent-Type: message/rfc822\n\n'
        f"X-HmXmrOriginalRecipient: ada@hotmail.com\n{ORIGINAL}\n--b--\n"
    )
    assert (event.kind, event.recipient, event.token) == (Kind.COMPLAINED, "ada@hotmail.com", TOKEN)


@pytest.mark.parametrize(
    ("body", "reason", "lasting"),
    [
        (
            (
                "Hi. This is the qmail-send program at mx.example.com.\n\n<ada@example.com>:\n192.0.2.1 does not like "
                "recipient.\nRemote host said: 550 5.1.1 unknown user\nGiving up on 192.0.2.1.\n\n"
                "--- Below this line is a copy of the message.\n\n"
            ),
            "user_unknown",
            "hard",
        ),
        (
            (
                "This message was created automatically by mail delivery software.\n\nA message that you sent could not "
                "be delivered to one or more of its recipients.\n\n  ada@example.com\n    SMTP error from remote mail "
                "server after RCPT TO:<ada@example.com>:\n    552 mailbox is full\n\n"
                "------ This is a copy of the message, including all the headers. ------\n\n"
            ),
            "mailbox_full",
            "soft",
        ),
        (
            (
                "Your message did not reach some or all of the intended recipients.\n\n      ada@example.com on 4/29/26 "
                "11:34 PM\n            Recipient Not Found\n\n----- Original Message -----\n"
            ),
            "user_unknown",
            "hard",
        ),
        (
            (
                "------- Failure Reasons  --------\n\nUser ada (ada@example.com) not listed in Domino Directory\n"
                "ada@example.com\n\n------- Returned Message --------\n"
            ),
            "user_unknown",
            "hard",
        ),
        (
            (
                "   ----- Transcript of session follows -----\n>>> DATA\n<<< 550 unknown user\n"
                "550 5.1.1 <ada@example.com>... User unknown\n<<< 503 Valid RCPT command must precede DATA\n\n"
                "   ----- Original message follows -----\n"
            ),
            "user_unknown",
            "hard",
        ),
    ],
)
def test_bounces_in_words_tell_recipient_reason_and_message(
    read: Read, body: str, reason: str, lasting: str
) -> None:
    (event,) = read(
        f"From: Mail Delivery System <MAILER-DAEMON@mx.example.com>\nTo: x@shop.example\n"
        f"Subject: failure notice\n\n{body}{ORIGINAL}"
    )
    assert (event.kind, event.recipient) == (Kind.BOUNCED, "ada@example.com")
    assert (event.reason, event.bounce, event.token) == (reason, lasting, TOKEN)


def test_a_server_that_still_tries_is_no_bounce(read: Read) -> None:
    (event,) = read(
        "From: mailer-daemon@mx.example.com\nSubject: Warning: message delayed 24 hours\n\n"
        "A message that you sent has not yet been delivered to one or more of its recipients\n\n"
        "  ada@example.com\n    Delay reason: 450 4.2.0 greylisted\n\n"
        "No action is required on your part. Delivery attempts will continue for some time.\n"
    )
    assert (event.kind, event.recipient, event.bounce, event.reason) == (
        Kind.DEFERRED,
        "ada@example.com",
        None,
        "rate_limited",
    )


def test_a_bounce_that_names_nobody_is_told_by_the_address_it_came_to(read: Read) -> None:
    (event,) = read(
        f"From: MAILER-DAEMON\nTo: {RETURN_PATH}\nSubject: Delivery failure\n\nSorry, it could not be delivered.\n"
    )
    assert (event.kind, event.recipient, event.bounce, event.token) == (Kind.BOUNCED, None, "soft", TOKEN)


@pytest.mark.parametrize(
    "where",
    [
        f"To: {RETURN_PATH}",
        f"To: {RETURN_PATH.upper()}",
        f"Delivered-To: {RETURN_PATH}",
        f"X-Original-To: {RETURN_PATH}",
        f"Envelope-To: <{RETURN_PATH}>",
        f"To: SRS0=HHH=TT=mail.shop.example=bounces+{TOKEN}@forwarder.example",
        f"To: prvs=123456789={RETURN_PATH}",
        f"To: bounces%2B{TOKEN}%40mail.shop.example",
        f"In-Reply-To: {MESSAGE_ID}",
        f"References: <other@example.com> {MESSAGE_ID.upper()}",
    ],
)
def test_our_token_is_found_wherever_it_stands(read: Read, where: str) -> None:
    (event,) = read(f"From: ada@example.com\nSubject: Re: Hello\n{where}\n\nWhat is this?\n")
    assert event.token == TOKEN


def test_the_token_of_the_address_it_came_to_outdoes_what_the_text_quotes(read: Read) -> None:
    other = LINKS.mail_token(1)
    (event,) = read(
        f"From: a@example.com\nTo: {RETURN_PATH}\nSubject: x\n\n> bounces+{other}@mail.shop.example\n"
    )
    assert event.token == TOKEN


def test_a_second_copy_of_a_mail_is_the_same_event_and_another_mail_is_another(read: Read) -> None:
    mail = report("Final-Recipient: rfc822; ada@example.com\nAction: failed\nStatus: 5.1.1\n")
    (first,), (copy,) = read(mail), read(f"Received: from elsewhere\n{mail}")
    (other,) = read(mail.replace("<1@mx", "<2@mx"))
    assert first.event_id == copy.event_id != other.event_id


def test_notifications_of_ses_by_mail_are_read(read: Read) -> None:
    """As they are, and in the envelope of the topic."""
    notice = (
        '{"notificationType":"Bounce","bounce":{"bounceType":"Permanent","bouncedRecipients":[{"emailAddress":'
        '"ada@example.com","action":"failed","status":"5.1.1","diagnosticCode":"smtp; 550 5.1.1 user unknown"}]},'
        f'"mail":{{"headers":[{{"name":"Message-ID","value":"{MESSAGE_ID}"}}]}}}}'
    )
    escaped = notice.replace('"', '\\"')
    for body in (notice, f'{{"Type" : "Notification", "Message" : "{escaped}"}}'):
        (event,) = read(
            f"From: no-reply@sns.amazonaws.com\nSubject: AWS Notification Message\n\n{body}\n\n--\nbye\n"
        )
        assert (event.kind, event.recipient, event.bounce, event.token) == (
            Kind.BOUNCED,
            "ada@example.com",
            "hard",
            TOKEN,
        )
