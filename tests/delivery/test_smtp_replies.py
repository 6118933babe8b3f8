"""What real servers say, and what it means for the mail, its domain, the server and the address."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drumbeat.delivery import Outcome, Scope
from drumbeat.delivery.smtp_replies import About, Step, accepted, asked_wait, judge, read

M, R, D, C = Step.MAIL, Step.RCPT, Step.DATA, Step.CONTENT
MESSAGE, DOMAIN, SERVER = Scope.MESSAGE, Scope.DOMAIN, Scope.SERVER
FIVE = timedelta(minutes=5)

TEMPORARY = [
    # Greylisting: the mail alone, with the wait that the text asks for, else five minutes.
    (R, "450 4.2.0 <a@b.example>: Recipient address rejected: Greylisted, see http://postgrey.example/", MESSAGE, FIVE),
    (R, "450 4.7.1 <a@b.example>: Recipient address rejected: Greylisted, please try again in 300 seconds", MESSAGE, FIVE),
    (R, "451 4.7.1 Greylisting in action, please come back in 00:04:59", MESSAGE, timedelta(seconds=299)),
    (R, "451 Graylisted for 10 minutes", MESSAGE, timedelta(minutes=10)),
    (C, "451 4.7.1 Service unavailable - try again later", MESSAGE, FIVE),
    (R, "451 Temporary failure, please try again later.", MESSAGE, FIVE),
    (M, "451 4.7.1 Greylisted", MESSAGE, FIVE),
    (R, "421 4.7.1 Greylisting in action, please try again later", MESSAGE, FIVE),
    # The mailbox.
    (R, "452 4.2.2 The email account that you tried to reach is over quota.", MESSAGE, None),
    (R, "452 4.2.2 mailbox full", MESSAGE, None),
    (C, "450 4.2.1 The user you are trying to contact is receiving mail too quickly.", MESSAGE, None),
    (C, "432 4.3.2 STOREDRV.Deliver; recipient thread limit exceeded", MESSAGE, None),
    (R, "450 4.1.1 <a@b.example>: Recipient address rejected: unverified address", MESSAGE, None),
    (R, "450 mailbox busy", MESSAGE, None),
    # The domain: its rate limit, its doubts about us.
    (C, "421-4.7.28 [192.0.2.1] Our system has detected an unusual rate of\r\n421 4.7.28 unsolicited mail", DOMAIN, None),
    (R, "421 4.7.0 [TSS04] Messages from 192.0.2.1 temporarily deferred due to unexpected volume", DOMAIN, None),
    (R, "451 4.7.650 The mail server [192.0.2.1] has been temporarily rate limited due to IP reputation. (S775)", DOMAIN, None),
    (R, "421 RP-001 (BAY) The mail server IP has exceeded the rate limit allowed", DOMAIN, None),
    (R, "450 4.7.500 Server busy. Please try again later from [192.0.2.1]. (AS77713)", DOMAIN, None),
    (R, "451 Too many messages from your address, slow down", DOMAIN, None),
    (R, "454 4.7.1 Service unavailable; Client host [192.0.2.1] blocked using zen.dnsbl.example", DOMAIN, None),
    (R, "450 4.1.2 <a@b.example>: Recipient address rejected: Domain not found", DOMAIN, None),
    (C, "451 4.4.1 no answer from host", DOMAIN, None),
    # The server, or our account there.
    (M, "421 4.7.0 [TSS04] Messages from 192.0.2.1 temporarily deferred", SERVER, None),
    (C, "454 4.7.0 Throttling failure: Maximum sending rate exceeded.", SERVER, None),
    (C, "454 Throttling failure: Daily message quota exceeded", SERVER, None),
    (R, "450 4.2.1 Peak SMTP relay limit exceeded for customer.", SERVER, None),
    (R, "421 4.7.0 Too many concurrent SMTP connections", SERVER, None),
    (R, "451 4.3.2 Please try again later", SERVER, None),
    (R, "452 4.3.1 Insufficient system storage", SERVER, None),
    (R, "421 Service not available, closing transmission channel", SERVER, None),
    (C, "421 4.4.2 timeout exceeded", SERVER, None),
    (M, "451 4.3.0 queue file write error", SERVER, None),
    (M, "421 4.3.2 going down, retry in 2 hours", SERVER, timedelta(hours=2)),
    # Nothing that is known.
    (R, "451 4.3.0 Mail server temporarily rejected message", MESSAGE, None),
    (C, "451 4.3.0 content filter failed", MESSAGE, None),
    (D, "499 what", MESSAGE, None),
]  # fmt: skip


@pytest.mark.parametrize(("step", "text", "scope", "wait"), TEMPORARY, ids=[row[1][:40] for row in TEMPORARY])
def test_a_temporary_refusal_holds_for_what_it_is_about(
    step: Step, text: str, scope: Scope, wait: timedelta | None
) -> None:
    answer, about = judge(step, f"{text}\r\n".encode(), "mx:25")
    assert (answer.outcome, answer.scope, answer.retry_after) == (Outcome.DEFERRED, scope, wait)
    assert (answer.dead_address, about, answer.via) == (False, None, "mx:25")
    assert answer.code == int(text[:3])


DEAD, ALIVE = True, False
PERMANENT = [
    (R, "550-5.1.1 The email account that you tried to reach does not exist. Please try\r\n550 5.1.1 - gsmtp", DEAD),
    (R, "550 5.1.1 <a@b.example>: Recipient address rejected: User unknown in relay recipient table", DEAD),
    (R, "550 5.1.10 RESOLVER.ADR.RecipientNotFound; Recipient not found by SMTP address lookup", DEAD),
    (R, "556 5.1.10 Recipient address has null MX", DEAD),
    (R, "550 5.1.2 Bad destination system address", DEAD),
    (R, "550 5.7.1 No such user!", DEAD),
    (R, "550 5.5.0 Requested action not taken: mailbox unavailable (S2017062302).", DEAD),
    (R, "550 Requested action not taken: mailbox unavailable", DEAD),
    (R, "550 5.4.1 Recipient address rejected: Access denied. [X.prod.protection.outlook.com]", DEAD),
    (R, "550 Unrouteable address", DEAD),
    (R, "550 Message was not accepted -- invalid mailbox.  Local mailbox a@b.example is unavailable: user not found", DEAD),
    (R, "550 sorry, no mailbox here by that name (#5.1.1)", DEAD),
    (C, "554 delivery error: dd This user doesn't have a yahoo.com account (a@b.example) [0]", DEAD),
    (C, "550 5.1.1 user unknown", DEAD),
    # About us, whatever it says of the address: the address may be good.
    (R, "550 5.1.1 Blocked for spam", ALIVE),
    (R, "550-Verification failed for <bounces@shop.example>\r\n550-Unrouteable address\r\n550 Sender verify failed", ALIVE),
    (R, "550 5.2.1 Mailbox unavailable. Your IP address 192.0.2.1 is blacklisted using a list", ALIVE),
    (R, "550 5.7.1 Unfortunately, messages from [192.0.2.1] weren't sent; on our block list (S3150).", ALIVE),
    (R, "554 5.7.1 Service unavailable; Client host [192.0.2.1] blocked using zen.dnsbl.example", ALIVE),
    (C, "550-5.7.26 Your email has been blocked because the sender is unauthenticated.\r\n550 5.7.26 Gmail", ALIVE),
    (C, "550 5.7.515 Access denied, sending domain shop.example does not meet the required authentication level", ALIVE),
    (C, "550 Requested action not taken: mailbox unavailable", ALIVE),
    # The mailbox exists.
    (R, "552 5.2.2 mailbox full", ALIVE),
    (R, "550 5.2.1 The email account that you tried to reach is disabled.", ALIVE),
    (C, "554 5.7.1 spam message rejected.", ALIVE),
    (R, "599 what", ALIVE),
    (M, "552 5.3.4 message size exceeds fixed limit", ALIVE),
    (M, "550 5.6.7 internationalised addresses are not supported", ALIVE),
]  # fmt: skip


@pytest.mark.parametrize(("step", "text", "dead"), PERMANENT, ids=[row[1][:40] for row in PERMANENT])
def test_a_permanent_refusal_says_whether_the_address_is_dead(step: Step, text: str, dead: bool) -> None:
    answer, about = judge(step, f"{text}\r\n".encode(), "mx:25")
    assert (answer.outcome, answer.dead_address, answer.retry_after) == (Outcome.REFUSED, dead, None)
    assert about is None


@pytest.mark.parametrize(
    "text",
    [
        "550 5.4.5 Daily user sending limit exceeded. For more information on Gmail sending limits",
        "550-5.4.5 Daily sending quota exceeded.\r\n550 5.4.5 https://support.google.com/",
        "550 5.7.1 Daily SMTP relay limit exceeded for customer.",
        "550 Domain shop.example has exceeded the max emails per hour (500/500 (100%)) allowed.",
    ],
)
@pytest.mark.parametrize("step", [M, R, C])
def test_a_share_that_is_used_up_burns_no_mail_though_the_code_is_permanent(step: Step, text: str) -> None:
    answer, about = judge(step, f"{text}\r\n".encode(), "mx:25")
    assert (answer.outcome, answer.scope, about) == (Outcome.DEFERRED, SERVER, None)


@pytest.mark.parametrize(
    ("step", "text", "about"),
    [
        (M, "530 5.7.0 Must issue a STARTTLS command first", About.LOGIN),
        (R, "530 5.7.1 Authentication required", About.LOGIN),
        (R, "535 5.7.8 no", About.LOGIN),
        (M, "550 5.1.8 Access denied, bad outbound sender", About.SENDER),
        (M, "553 5.7.1 <a@b.example>: Sender address rejected: not owned by user", About.SENDER),
        (R, "554 5.7.1 <a@b.example>: Relay access denied", About.RELAY),
        (R, "550 relay not permitted, authentication required", About.RELAY),
        (R, "550 5.7.54 SMTP; Unable to relay recipient in non-accepted domain", About.RELAY),
        (R, "503 AUTH first", About.RELAY),
        (C, "530 5.7.57 Client not authenticated to send mail", None),
    ],
)
def test_a_refusal_that_is_not_for_the_mails_sake_says_whom_it_is_about(
    step: Step, text: str, about: About | None
) -> None:
    """After the content it is too late for that: the mail is refused."""
    answer, found = judge(step, f"{text}\r\n".encode(), "mx:25")
    assert (answer.outcome, answer.dead_address, found) == (Outcome.REFUSED, False, about)


@pytest.mark.parametrize(
    ("raw", "code", "status", "text"),
    [
        (b"250 2.0.0 Ok: queued as 4F1\r\n", 250, "2.0.0", "250 2.0.0 Ok: queued as 4F1"),
        (b"250-2.0.0 one\r\n250 2.0.0 two\r\n", 250, "2.0.0", "250 2.0.0 one two"),
        (b"250\r\n", 250, None, "250"),
        (b"250-\n250\n", 250, None, "250"),
        (b"550 5.1.1\r\n", 550, "5.1.1", "550 5.1.1"),
        (b"250  Requested \t mail   action\r\n", 250, None, "250 Requested mail action"),
        (b"550 4.1.1 the classes differ\r\n", 550, None, "550 4.1.1 the classes differ"),
        (b"550 1.2.3.4 is blocked\r\n", 550, None, "550 1.2.3.4 is blocked"),
        (b"550 5.1.1.2 odd\r\n", 550, None, "550 5.1.1.2 odd"),
        (b"450 \x1b[31mred\x07\r\n", 450, None, "450 [31mred"),
        (b"450 \xd0\xbf\xd0\xbe\xd1\x87\xd1\x82\xd0\xb0 \xff\r\n", 450, None, "450 почта \ufffd"),
    ],
)
def test_a_reply_is_taken_apart(raw: bytes, code: int, status: str | None, text: str) -> None:
    assert read(raw) == (code, status, text)
    answer = accepted(raw, "mx:25")
    assert (answer.outcome, answer.code, answer.status, answer.text) == (Outcome.ACCEPTED, code, status, text)


def test_a_very_long_reply_is_cut() -> None:
    raw = b"".join(b"550-5.7.1 " + b"x" * 400 + b"\r\n" for _ in range(50)) + b"550 5.7.1 end\r\n"
    assert len(read(raw).text) == 500
    assert len(read(b"550 " + b"y" * 8000 + b"\r\n").text) == 500


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("try again in 300 seconds", 300),
        ("retry in 5 minutes", 300),
        ("come back in 00:04:59", 299),
        ("retry in 04:30", 270),
        ("Greylisted for 180s", 180),
        ("wait 2 min", 120),
        ("after 1 hour", 3600),
        ("in 1 hr", 3600),
        ("in 99999 hours", 6 * 3600),
        ("in 0 seconds", None),
        ("in 5 mails", None),
        ("too many in the last 10 minutes", None),
        ("in 300", None),
        ("later", None),
    ],
)
def test_the_wait_that_a_text_asks_for_is_read(text: str, seconds: int | None) -> None:
    assert asked_wait(text) == (None if seconds is None else timedelta(seconds=seconds))


@given(
    st.sampled_from(list(Step)),
    st.integers(400, 599),
    st.sampled_from([b" ", b"-"]),
    st.lists(st.binary(max_size=60).filter(lambda line: b"\n" not in line), min_size=1, max_size=4),
)
def test_every_refusal_means_something_whatever_bytes_it_has(
    step: Step, code: int, sep: bytes, lines: list[bytes]
) -> None:
    raw = b"".join(b"%d%b%b\r\n" % (code, sep, line) for line in lines)
    answer, _ = judge(step, raw, "mx:25")
    assert answer.outcome in (Outcome.DEFERRED, Outcome.REFUSED)
    assert answer.text.isprintable()
    assert answer.code == code
    assert not (answer.dead_address and step is M)
