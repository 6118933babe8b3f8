"""Everything that comes back by mail: bounces, delays, complaints, unsubscribes, automatic answers.

    raw mail -> take_apart -> complaint? report? automatic answer? bounce in words? unsubscribe? -> events

`read_mail` is pure: bytes and the instant they arrived in, events out. It never raises, whatever it is given,
and its work is bounded (mime.py). Where the mails come from: mailboxes/.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from hashlib import blake2b
from typing import Any

from drumbeat.responses.bounces.addresses import addresses_in, header_addresses
from drumbeat.responses.bounces.answers import read_answer
from drumbeat.responses.bounces.complaints import read_complaint
from drumbeat.responses.bounces.findings import Finding
from drumbeat.responses.bounces.freeform import from_machine, read_freeform
from drumbeat.responses.bounces.mime import Headers, Mail, take_apart
from drumbeat.responses.bounces.notices import read_notice
from drumbeat.responses.bounces.prose import split_original
from drumbeat.responses.bounces.reply import one_line
from drumbeat.responses.bounces.reports import read_report
from drumbeat.responses.bounces.returned import message_id_of, token_of
from drumbeat.responses.kinds import Kind
from drumbeat.responses.webhooks import Event

SAMPLE = 300
"""Letters of an unknown mail's text that are kept beside its subject."""


@dataclass(frozen=True)
class _Whose:
    """Which message the mail is about, and whom that message went to."""

    token: str | None
    message_id: str | None
    recipients: frozenset[str]


def read_mail(raw: bytes, received_at: datetime) -> list[Event]:
    """Return what a mail tells of our messages: at least one event, of Kind.UNKNOWN where nothing is understood.

    `received_at`: aware; it is the time of every event, since what the mail itself says of time anybody can
    write. Event.recipient is the address that was written to (Original-Recipient), where forwarding or an
    alias made another of it that one stands in `raw["final_recipient"]`. Never raises.
    """
    mail = take_apart(raw)
    name = _name(mail, raw)
    try:
        whose = _whose(mail)
        found = _findings(mail)
    except Exception as error:  # noqa: BLE001 - one mail that a reader has a fault with must not stop the others
        fault = f"a fault in Drumbeat: {type(error).__name__}"
        return [
            Event(Kind.UNKNOWN, received_at, event_id=f"{name}:0", raw={"format": "unknown", "fault": fault})
        ]
    if not found:
        return [_unknown(mail, whose, received_at, name)]
    return [_event(finding, number, found, whose, received_at, name) for number, finding in enumerate(found)]


def _whose(mail: Mail) -> _Whose:
    below = split_original(mail.text)[1]
    return _Whose(token_of(mail, below), message_id_of(mail, below), _recipients(mail.original, below))


def _findings(mail: Mail) -> list[Finding]:
    """Ask the readers in order, the surest first."""
    if found := read_complaint(mail) or read_report(mail) or read_notice(mail) or _forwarded(mail):
        return found
    answer = read_answer(mail)
    # Bounces are marked as automatic answers too: who wrote tells them apart.
    if answer is not None and not (answer.kind is Kind.AUTORESPONDED and from_machine(mail.headers)):
        return [answer] if not mail.headers.get("x-failed-recipients") else read_freeform(mail) or [answer]
    return read_freeform(mail) or ([answer] if answer is not None else [])


def _forwarded(mail: Mail) -> list[Finding]:
    """Read a report that somebody, such as a gateway, sends on as an attachment."""
    for part in mail.parts:
        if part.kind == "message/rfc822" and mail.original.get("content-type").startswith("multipart/report"):
            inner = take_apart(part.body)
            return read_complaint(inner) or read_report(inner)
    return []


def _event(
    finding: Finding, number: int, found: list[Finding], whose: _Whose, at: datetime, name: str
) -> Event:
    verdict = finding.verdict
    raw: dict[str, Any] = {"format": finding.format, **finding.more}
    if verdict is not None:
        raw["rule"] = verdict.rule
    ours = _is_ours(finding, found, whose)
    return Event(
        kind=finding.kind,
        at=at,
        recipient=finding.recipient,
        event_id=f"{name}:{number}",
        token=whose.token if ours else None,
        message_id=whose.message_id if ours else None,
        bounce=("hard" if verdict.hard else "soft") if verdict and finding.kind is Kind.BOUNCED else None,
        reason=str(verdict.reason) if verdict is not None else None,
        status=finding.status,
        text=finding.text or None,
        raw=raw,
    )


def _is_ours(finding: Finding, found: list[Finding], whose: _Whose) -> bool:
    """Say whether a finding is about the reader we wrote to.

    A message of ours has one recipient. Where a report names several, a list or alias took it apart: one dead
    member of it must not cost the others our mails.
    """
    if len(found) == 1 or not whose.recipients:
        return True
    named = {other.recipient.lower() for other in found if other.recipient}
    if not named & whose.recipients:
        return True
    return finding.recipient is not None and finding.recipient.lower() in whose.recipients


def _unknown(mail: Mail, whose: _Whose, at: datetime, name: str) -> Event:
    return Event(
        kind=Kind.UNKNOWN,
        at=at,
        recipient=next(iter(addresses_in(mail.headers.get("from"))), None),
        event_id=f"{name}:0",
        token=whose.token,
        message_id=whose.message_id,
        raw={
            "format": "unknown",
            "subject": one_line(mail.headers.words("subject"))[:200],
            "text": one_line(mail.text[: 4 * SAMPLE])[:SAMPLE],
            "cut": mail.cut,
        },
    )


def _recipients(*originals: Headers) -> frozenset[str]:
    return frozenset(
        name.lower() for headers in originals for name in header_addresses(*headers.all("to", "cc"))
    )


def _name(mail: Mail, raw: bytes) -> str:
    """Return a name of the mail that a second copy of it bears too: its Message-ID, else its bytes."""
    named = mail.headers.get("message-id").encode("utf-8", "surrogateescape") or raw
    return blake2b(named, digest_size=12, person=b"drumbeat.mail").hexdigest()
