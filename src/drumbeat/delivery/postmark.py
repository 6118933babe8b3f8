"""Postmark: up to 500 mails a call, each with an answer of its own.

https://postmarkapp.com/developer/api/email-api (batch), .../developer/api/overview#error-codes. Postmark has
no idempotency key: a call whose answer is lost leaves its mails UNCERTAIN, until a webhook tells.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from enum import Enum, auto
from typing import Any, ClassVar

from pydantic import Field

from drumbeat.delivery import Answer, Mail, Outcome
from drumbeat.delivery.halves import HalvingBackend, later, refused
from drumbeat.delivery.http import BaseUrl, Call, HttpSettings, Reply, api_key, mailbox
from drumbeat.delivery.http_wire import LONGEST_TEXT
from drumbeat.delivery.parts import json_call, parts_of
from drumbeat.delivery.unsigned import UnsignedWebhookSettings
from drumbeat.errors import DeliveryError
from drumbeat.settings import Variable

TEST_TOKEN = "POSTMARK_API_TEST"  # noqa: S105 - a documented word, not a secret
"""Stands in for a server's token: the call is checked and answered, nothing is sent."""

LARGEST_CALL = 50_000_000
"""Bytes in one call (50 MB, as documented)."""


class PostmarkSettings(HttpSettings, UnsignedWebhookSettings):
    """`delivery.postmark` of project.yaml."""

    base_url: BaseUrl = "https://api.postmarkapp.com"
    token_env: Variable = Field("POSTMARK_SERVER_TOKEN", description="The server's API token")
    stream: str = Field("broadcast", description="The message stream of mails that can be unsubscribed")
    service_stream: str = Field("outbound", description="The message stream of all other mails")
    track_opens: bool = Field(False, description="Let Postmark add its own pixel besides Drumbeat's")
    track_links: bool = Field(False, description="Let Postmark rewrite links besides Drumbeat")
    sandbox: bool = Field(False, description="Have mails checked and answered, not sent")
    webhook_username_env: Variable | None = "POSTMARK_WEBHOOK_USERNAME"
    webhook_password_env: Variable | None = "POSTMARK_WEBHOOK_PASSWORD"  # noqa: S105 - a name
    webhook_header: str | None = Field(
        None, pattern=r"^[A-Za-z0-9-]+$", description="The name of a further header that proves a call"
    )
    webhook_header_env: Variable | None = None


class _Verdict(Enum):
    """What an error code says."""

    REFUSED = auto()  # this mail, for good
    DEAD = auto()  # this address, for good
    LATER = auto()  # not now
    ACCOUNT = auto()  # our account or its set-up; every mail would get the same


ERRORS: Mapping[int, _Verdict] = {
    10: _Verdict.ACCOUNT,  # bad or missing API token
    100: _Verdict.LATER,  # maintenance
    300: _Verdict.REFUSED,  # invalid email request
    400: _Verdict.ACCOUNT,  # sender signature not found
    401: _Verdict.ACCOUNT,  # sender signature not confirmed
    402: _Verdict.REFUSED,  # invalid JSON
    403: _Verdict.REFUSED,  # incompatible JSON
    405: _Verdict.ACCOUNT,  # not allowed to send: no credits are left
    406: _Verdict.DEAD,  # inactive recipient
    409: _Verdict.REFUSED,  # JSON required
    410: _Verdict.REFUSED,  # too many messages in one call
    411: _Verdict.REFUSED,  # forbidden type of attachment
    412: _Verdict.ACCOUNT,  # account is pending
    413: _Verdict.ACCOUNT,  # account may not send
    429: _Verdict.LATER,  # rate limit exceeded
    1235: _Verdict.ACCOUNT,  # the message stream does not exist
}
"""Postmark's error codes, as far as a send can meet them. Any other refuses the mail."""

_BAD_RECIPIENT = re.compile(r"(?:Invalid|Error parsing) 'To'", re.IGNORECASE)
"""How 300 says that the recipient's address is none; the same code tells of every other field too."""


class PostmarkBackend(HalvingBackend):
    """Hands mails to Postmark's batch call."""

    name = "postmark"
    batch_size: ClassVar[int] = 500

    def __init__(self, settings: PostmarkSettings) -> None:
        super().__init__(
            settings.base_url,
            timeout=settings.timeout.total_seconds(),
            connections=settings.connections,
        )
        self.settings = settings
        self._token = (
            TEST_TOKEN if settings.sandbox else api_key(settings.token_env, "delivery.postmark.token_env")
        )

    def batches(self, parcels: Sequence[Any]) -> Iterator[Sequence[Any]]:
        """Give at most 500 mails and 50 MB at a time; a letter is counted as the four bytes it may take."""
        start = size = 0
        for position, mail in enumerate(parcels):
            parts = parts_of(mail)
            bytes_at_most = 4 * (len(parts.html) + len(parts.text)) + 10_000
            if position > start and (
                position - start == self.batch_size or size + bytes_at_most > LARGEST_CALL
            ):
                yield parcels[start:position]
                start, size = position, 0
            size += bytes_at_most
        if start < len(parcels):
            yield parcels[start:]

    def call(self, parcels: Sequence[Mail]) -> Call:
        """Return one batch call."""
        return json_call(
            "/email/batch",
            [self._message(mail) for mail in parcels],
            headers={"X-Postmark-Server-Token": self._token},
        )

    def _message(self, mail: Mail) -> dict[str, Any]:
        parts = parts_of(mail)
        headers = [{"Name": name, "Value": value} for name, value in parts.headers]
        names = {name.lower() for name, _ in parts.headers}
        if "message-id" in names:
            # Without it Postmark puts a Message-ID of its own in the place of ours.
            headers.append({"Name": "X-PM-KeepID", "Value": "true"})
        settings = self.settings
        message = {
            "From": mailbox(parts.from_name, parts.from_address),
            "To": mailbox(parts.to_name, parts.to_address),
            "Subject": parts.subject,
            "HtmlBody": parts.html,
            "TextBody": parts.text,
            "Headers": headers,
            "MessageStream": settings.stream if "list-unsubscribe" in names else settings.service_stream,
            "TrackOpens": settings.track_opens,
            "TrackLinks": "HtmlAndText" if settings.track_links else "None",
        }
        if parts.reply_to:
            message["ReplyTo"] = parts.reply_to
        if mail.campaign:
            message["Tag"] = mail.campaign
        if mail.token:
            message["Metadata"] = {"drumbeat": mail.token}
        return message

    def accepted(self, reply: Reply, parcels: Sequence[Mail]) -> Sequence[Answer]:
        """Read one result for each mail, in their order."""
        results = reply.json
        if not isinstance(results, list):
            raise ValueError("expected a list of results")
        return [_answer(result, reply.status) for result in results]

    def refusal(self, reply: Reply, parcels: Sequence[Mail]) -> Sequence[Answer] | None:
        """Read an answer to the call as a whole; nothing of it was sent."""
        said = reply.json
        code = said.get("ErrorCode") if isinstance(said, dict) else None
        if reply.status == 413:
            return self.by_halves(refused(f"the mail is too large: {reply.text}", 413), parcels)
        if reply.status != 422 or type(code) is not int:
            return None
        text = _text(said)
        verdict = _verdict(code, text)
        if verdict is _Verdict.ACCOUNT:
            raise DeliveryError(
                f"Postmark refuses our account: {text}; see the account at account.postmarkapp.com"
            )
        if verdict is _Verdict.LATER:
            return [later(text, reply.status)] * len(parcels)
        return self.by_halves(refused(text, reply.status, dead=verdict is _Verdict.DEAD), parcels)


def _answer(result: Any, status: int) -> Answer:
    """Return how one mail of a batch ended."""
    code = result.get("ErrorCode") if isinstance(result, dict) else None
    if type(code) is not int:
        return Answer(
            Outcome.UNCERTAIN, f"a result that cannot be read: {result!r}"[:LONGEST_TEXT], code=status
        )
    if code == 0:
        name = result.get("MessageID")
        return Answer(
            Outcome.ACCEPTED,
            str(result.get("Message", ""))[:LONGEST_TEXT],
            code=status,
            remote_id=name if isinstance(name, str) and name else None,
        )
    text = _text(result)
    verdict = _verdict(code, text)
    if verdict in (_Verdict.LATER, _Verdict.ACCOUNT):
        # Not raised: other mails of this call may have been taken.
        return later(text, status)
    return refused(text, status, dead=verdict is _Verdict.DEAD)


def _verdict(code: int, text: str) -> _Verdict:
    verdict = ERRORS.get(code, _Verdict.REFUSED)
    return _Verdict.DEAD if code == 300 and _BAD_RECIPIENT.search(text) else verdict


def _text(said: Mapping[str, Any]) -> str:
    words = " ".join(str(said.get("Message", "")).split())
    return f"ErrorCode {said.get('ErrorCode')}: {words}"[:LONGEST_TEXT]
