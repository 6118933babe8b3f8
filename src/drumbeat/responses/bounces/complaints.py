"""Feedback reports (ARF, RFC 5965): a reader, or the mailbox provider for one, complains or opts out."""

from __future__ import annotations

import re
from collections.abc import Mapping

from drumbeat.responses.bounces.addresses import addresses_in, header_addresses, unique
from drumbeat.responses.bounces.fields import groups_in
from drumbeat.responses.bounces.findings import Finding
from drumbeat.responses.bounces.mime import Headers, Mail
from drumbeat.responses.kinds import Kind

MOST_RECIPIENTS = 50

KINDS: Mapping[str, Kind] = {
    # The registered types of RFC 5965 and RFC 6591, and those of drafts that are still sent.
    "abuse": Kind.COMPLAINED,
    "fraud": Kind.COMPLAINED,  # taken for phishing
    "virus": Kind.COMPLAINED,  # taken for malware
    "other": Kind.COMPLAINED,  # the reader reported it, for whatever reason: silence does no harm
    "miscategorized": Kind.COMPLAINED,
    "opt-out": Kind.UNSUBSCRIBED,
    "opt-out-list": Kind.UNSUBSCRIBED,
    "not-spam": Kind.UNKNOWN,  # taken out of the junk folder: nothing to do, and nothing to undo
    "auth-failure": Kind.UNKNOWN,  # about our DNS and keys, not about a reader
    "dmarc": Kind.UNKNOWN,
}
"""What each feedback type means. A type that is not listed counts as a complaint."""

_HOTMAIL = re.compile(r"^staff@(?:hotmail|outlook|msn|live)\.", re.IGNORECASE)
_COMPLAINT = re.compile(r"complaint about message from", re.IGNORECASE)


def read_complaint(mail: Mail) -> list[Finding]:
    """Return what a feedback report says, for each recipient it names; nothing where the mail is none."""
    fields = _report(mail)
    if fields is None:
        return []
    feedback = fields.get("feedback-type").partition(";")[0].strip().lower() or "abuse"
    kind = KINDS.get(feedback, Kind.COMPLAINED)
    more = {"feedback_type": feedback}
    if fields.get("user-agent"):
        more["agent"] = fields.get("user-agent")[:100]
    recipients = header_addresses(*fields.all("original-rcpt-to", "removal-recipient"))
    if not recipients:
        # Hotmail's loop names the reader in a header of its own; others leave To as it was.
        for name in ("x-hmxmroriginalrecipient", "to"):
            if recipients := header_addresses(*mail.original.all(name)):
                break
    found: list[str | None] = [*unique(recipients)[:MOST_RECIPIENTS]] or [None]
    return [Finding(kind, "arf", name, text=f"feedback type {feedback}", more=more) for name in found]


def _report(mail: Mail) -> Headers | None:
    """Return the report's fields, none of them where a loop sends the original alone; None: no complaint."""
    for part in mail.parts:
        if part.kind == "message/feedback-report":
            return next(groups_in(part.text), Headers())
    if mail.parameters.get("report-type", "").lower() == "feedback-report":
        for part in mail.parts:
            for group in groups_in(part.text) if part.kind.startswith("text/") else ():
                if group.get("feedback-type"):
                    return group
    sender = next(iter(addresses_in(mail.headers.get("from"))), "")
    if _HOTMAIL.match(sender) and _COMPLAINT.search(mail.headers.words("subject")) and mail.original.rows:
        return Headers()
    return None
