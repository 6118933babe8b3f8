"""A message of ours that comes back, and reports about it to write by hand."""

from __future__ import annotations

from drumbeat.rendering.identity import message_id, return_path
from drumbeat.rendering.links import Links

LINKS = Links("https://shop.example", b"a key of sixteen bytes")
TOKEN = LINKS.mail_token(4711)
RETURN_PATH = return_path("bounces@mail.shop.example", TOKEN)
MESSAGE_ID = message_id(b"k" * 16, "shop.example", "hello", token=TOKEN)
ORIGINAL = f"""Return-Path: <{RETURN_PATH}>
From: The Shop <shop@shop.example>
To: Ada <ada@example.com>
Message-ID: {MESSAGE_ID}
Subject: Hello

Hello
"""


def report(fields: str, *, to: str = RETURN_PATH, words: str = "See below.", original: str = ORIGINAL) -> str:
    """A delivery status notification."""
    return f"""From: MAILER-DAEMON@mx.example.com
To: {to}
Subject: Undelivered Mail Returned to Sender
Message-ID: <1@mx.example.com>
MIME-Version: 1.0
Content-Type: multipart/report; report-type=delivery-status; boundary="b"

--b
Content-Type: text/plain

{words}

--b
Content-Type: message/delivery-status

Reporting-MTA: dns; mx.example.com

{fields}
--b
Content-Type: message/rfc822

{original}
--b--
"""


def feedback(kind: str, fields: str = "Original-Rcpt-To: ada@example.com\n") -> str:
    """A feedback report."""
    return f"""From: fbl@provider.example
To: abuse@shop.example
Subject: complaint
Content-Type: multipart/report; report-type=feedback-report; boundary="b"

--b
Content-Type: text/plain

A complaint.

--b
Content-Type: message/feedback-report

Feedback-Type: {kind}
User-Agent: SomeGenerator/1.0
Version: 1
{fields}
--b
Content-Type: message/rfc822

{ORIGINAL}
--b--
"""
