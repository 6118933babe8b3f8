"""What receiving sides send back: reports, complaints, answers and webhook calls about mails that a server kept."""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

REPORT = """From: MAILER-DAEMON@mx.example.com
To: {to}
Subject: Undelivered Mail Returned to Sender
Auto-Submitted: auto-replied
MIME-Version: 1.0
Content-Type: multipart/report; report-type=delivery-status; boundary="b"

--b
Content-Type: text/plain

Your mail could not be delivered.

--b
Content-Type: message/delivery-status

Reporting-MTA: dns; mx.example.com

Final-Recipient: rfc822; {recipient}
Action: failed
Status: {status}
Diagnostic-Code: smtp; {diagnostic}

--b
Content-Type: text/rfc822-headers

{headers}
--b--
"""

COMPLAINT = """From: feedback@provider.example
To: abuse@shop.example
Subject: complaint about a message
MIME-Version: 1.0
Content-Type: multipart/report; report-type=feedback-report; boundary="b"

--b
Content-Type: text/plain

A reader of ours calls this spam.

--b
Content-Type: message/feedback-report

Feedback-Type: abuse
User-Agent: Provider-FBL/1.0
Version: 1

--b
Content-Type: message/rfc822

{original}
--b--
"""

AWAY = """From: {recipient}
To: {to}
Subject: Out of office: Your cart
Auto-Submitted: auto-replied
Content-Type: text/plain

I am away until Monday.
"""


class Postmaster:
    """Writes into a maildir, as the mail server of our bounce domain would, and makes webhook calls."""

    def __init__(self, maildir: Path, mails: dict[str, dict[str, Any]]) -> None:
        self.maildir, self.mails = maildir, mails
        for part in ("tmp", "new", "cur"):
            (maildir / part).mkdir(parents=True, exist_ok=True)

    def bounce(self, recipient: str, status: str, diagnostic: str) -> None:
        """Return a delivery status report to the mail's own return path."""
        mail = self.mails[recipient]
        head = mail["text"].partition("\n\n")[0]
        self._put(
            REPORT.format(
                to=mail["from"], recipient=recipient, status=status, diagnostic=diagnostic, headers=head
            )
        )

    def complain(self, recipient: str) -> None:
        """Send a feedback report with the whole mail; the reader is named nowhere else."""
        self._put(COMPLAINT.format(original=self.mails[recipient]["text"]))

    def answer_away(self, recipient: str) -> None:
        """Answer as a mailbox does whose owner is on holiday."""
        self._put(AWAY.format(recipient=recipient, to=self.mails[recipient]["from"]))

    def token(self, recipient: str) -> str:
        """Return the token that names the mail."""
        found = re.search(r"\+([a-z2-7]{26})@", self.mails[recipient]["from"])
        assert found is not None
        return found.group(1)

    def postmark(self, recipient: str, kind: str, at: datetime, **more: Any) -> dict[str, Any]:
        """Return the body of a Postmark webhook call."""
        return {
            "RecordType": kind,
            "MessageID": str(uuid4()),
            "ID": abs(hash((recipient, kind))) % 10**9,
            "Email": recipient,
            "Recipient": recipient,
            "BouncedAt": at.isoformat(),
            "DeliveredAt": at.isoformat(),
            "Metadata": {"drumbeat": self.token(recipient)},
            **more,
        }

    def mailgun(self, recipient: str, event: str, at: datetime, key: str, **more: Any) -> dict[str, Any]:
        """Return the body of a Mailgun webhook call, signed."""
        nonce, timestamp = uuid4().hex + uuid4().hex[:18], str(int(at.timestamp()))
        signature = hmac.new(key.encode(), (timestamp + nonce).encode(), hashlib.sha256).hexdigest()
        return {
            "signature": {"timestamp": timestamp, "token": nonce, "signature": signature},
            "event-data": {
                "event": event,
                "id": uuid4().hex,
                "timestamp": at.timestamp(),
                "recipient": recipient,
                "user-variables": {"drumbeat": self.token(recipient)},
                **more,
            },
        }

    def _put(self, text: str) -> None:
        name = uuid4().hex
        draft = self.maildir / "tmp" / name
        draft.write_bytes(text.replace("\r\n", "\n").encode())
        draft.rename(self.maildir / "new" / name)


def as_json(body: dict[str, Any]) -> bytes:
    """Return a body as bytes."""
    return json.dumps(body).encode()
