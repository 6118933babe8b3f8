"""Amazon SES notifications that a topic sends as mail: JSON in the body instead of a report.

The shapes are those of "Amazon SNS notification contents for Amazon SES" in the SES developer guide.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from drumbeat.responses.bounces.addresses import first_address
from drumbeat.responses.bounces.findings import Finding
from drumbeat.responses.bounces.mime import Mail
from drumbeat.responses.bounces.reply import best_status, judge, one_line, read_reply, statuses_in
from drumbeat.responses.kinds import Kind

MOST_RECIPIENTS = 50


def read_notice(mail: Mail) -> list[Finding]:
    """Return what a notification says of each recipient; nothing where the mail is none."""
    # Old mail servers break lines that are too long, and mark it so.
    text = mail.text.lstrip().replace("!\n ", "")
    if not text.startswith("{"):
        return []
    notice = _json(text)
    if notice.get("Type") == "Notification":
        # The topic's envelope, where "raw message delivery" is off.
        notice = _json(str(notice.get("Message", "")))
    return list(_findings(notice))[:MOST_RECIPIENTS]


def _json(text: str) -> Mapping[str, Any]:
    try:
        value, _ = json.JSONDecoder(strict=False).raw_decode(text)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _findings(notice: Mapping[str, Any]) -> Iterator[Finding]:
    what = str(notice.get("notificationType") or notice.get("eventType") or "").lower()
    body = notice.get(what)
    if not isinstance(body, dict):
        return
    more = {"notice": what[:20]}
    if what == "delivery":
        said = read_reply(str(body.get("smtpResponse", "")))
        for address in _list(body.get("recipients")):
            yield Finding(
                Kind.DELIVERED,
                "ses",
                first_address(str(address)),
                status=best_status(said.statuses),
                text=one_line(said.words),
                more=more,
            )
    elif what == "bounce":
        for recipient in _list(body.get("bouncedRecipients")):
            if isinstance(recipient, dict):
                yield _bounced(recipient, more)
    elif what == "complaint":
        feedback = str(body.get("complaintFeedbackType") or "abuse")[:40]
        for recipient in _list(body.get("complainedRecipients")):
            if isinstance(recipient, dict):
                address = first_address(str(recipient.get("emailAddress", "")))
                yield Finding(Kind.COMPLAINED, "ses", address, more={**more, "feedback_type": feedback})


def _bounced(recipient: Mapping[str, Any], more: Mapping[str, Any]) -> Finding:
    diagnosis = str(recipient.get("diagnosticCode", "")).partition(";")[2].strip() or str(
        recipient.get("diagnosticCode", "")
    )
    said = read_reply(diagnosis)
    statuses = said.statuses + statuses_in(str(recipient.get("status", "")))
    address = first_address(str(recipient.get("emailAddress", "")))
    delayed = str(recipient.get("action", "")).startswith("delay")
    return Finding(
        Kind.DEFERRED if delayed else Kind.BOUNCED,
        "ses",
        address,
        judge(said, statuses, [diagnosis], address),
        best_status(statuses),
        one_line(diagnosis),
        more,
    )


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
