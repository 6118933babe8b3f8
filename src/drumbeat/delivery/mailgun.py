"""Mailgun: one finished MIME message a call.

https://documentation.mailgun.com/docs/mailgun/api-reference/send/mailgun/messages, `messages.mime`: our
headers, Message-ID and DKIM signature arrive as they are. Mailgun's batch (up to 1,000 recipients in one call)
is not used: its mails share one body with variables in it, and one bad address has the whole call refused.
`connections` says how many calls are under way at once instead. There is no idempotency key, so a call without
an answer leaves its mail uncertain.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar, Literal
from urllib.parse import quote

from pydantic import Field

from drumbeat.delivery import Answer, Mail, Outcome, Scope
from drumbeat.delivery.http import LONGEST_WAIT, Call, HttpBackend, HttpSettings, Reply, api_key, retry_after
from drumbeat.errors import DeliveryError
from drumbeat.settings import Variable

PLACES: Mapping[str, str] = {"us": "https://api.mailgun.net", "eu": "https://api.eu.mailgun.net"}


class MailgunSettings(HttpSettings):
    """`delivery.mailgun` of project.yaml."""

    domain: str = Field(
        "", pattern=r"^([A-Za-z0-9-]+\.)*[A-Za-z0-9-]*$", description="The sending domain, as Mailgun has it"
    )
    key_env: Variable = Field("MAILGUN_API_KEY", description="An API key, or the domain's sending key")
    region: Literal["us", "eu"] = "us"
    sandbox: bool = Field(False, description="Mailgun's test mode: mails are taken and counted, not sent")
    tracking: bool = Field(
        False, description="Leave Mailgun's own tracking as the domain has it; Drumbeat tracks by itself"
    )
    sign: bool = Field(
        True, description="Have Mailgun sign with DKIM; false where our own signature is enough"
    )
    webhook_key_env: Variable | None = Field(None, description="The HTTP webhook signing key")


class MailgunBackend(HttpBackend):
    """Hands mails over by messages.mime. Raises DeliveryError where the key or the domain is not set."""

    name = "mailgun"
    eight_bit: ClassVar[bool] = False
    """Nothing is said of 8-bit content in the documentation."""

    def __init__(self, settings: MailgunSettings, **options: Any) -> None:
        super().__init__(
            settings.base_url or PLACES[settings.region],
            timeout=settings.timeout.total_seconds(),
            connections=settings.connections,
            **options,
        )
        if not settings.domain:
            raise DeliveryError(
                "delivery.mailgun.domain in project.yaml is not set; name the sending domain, as Mailgun has it"
            )
        self.settings = settings
        self._key = api_key(settings.key_env, "delivery.mailgun.key_env")

    def call(self, parcels: Sequence[Mail]) -> Call:
        """Return messages.mime for one mail."""
        (mail,) = parcels
        fields = {"to": mail.envelope_to, "v:drumbeat": mail.token}
        if mail.campaign:
            fields["o:tag"] = mail.campaign
        if not self.settings.tracking:
            fields.update({"o:tracking": "no", "o:tracking-clicks": "no", "o:tracking-opens": "no"})
        if not self.settings.sign:
            fields["o:dkim"] = "no"
        if self.settings.sandbox:
            fields["o:testmode"] = "yes"
        return Call(
            f"/v3/{quote(self.settings.domain, safe='')}/messages.mime",
            data=fields,
            files={"message": ("message.eml", mail.content, "message/rfc822")},
            auth=("api", self._key),
        )

    def accepted(self, reply: Reply, parcels: Sequence[Mail]) -> Sequence[Answer]:
        """Read the id, which is the Message-ID; events give it without its angle brackets."""
        del parcels
        return [Answer(Outcome.ACCEPTED, code=reply.status, remote_id=reply.json["id"].strip("<> "))]

    def refusal(self, reply: Reply, parcels: Sequence[Mail]) -> Answer | None:
        """Read Mailgun's words: its statuses alone do not tell an account from an address."""
        del parcels
        words = _message(reply)
        text = f"{reply.status} {words}"[:500]
        if reply.status in (401, 402, 403, 404) or (reply.status == 400 and _ACCOUNT.search(words)):
            raise DeliveryError(
                f"Mailgun refuses our account: {text}; check delivery.mailgun in project.yaml (region, domain, key)"
            )
        if reply.status == 400:
            dead = words.lower().startswith("to parameter is not a valid address")
            return Answer(Outcome.REFUSED, text, reply.status, dead_address=dead)
        if reply.status == 429:
            pause = retry_after(reply.headers) or _until(words, reply.headers)
            return Answer(Outcome.DEFERRED, text, reply.status, None, pause, Scope.SERVER)
        return None


_ACCOUNT = re.compile(r"is not allowed to send|is not a valid secondary dkim domain", re.IGNORECASE)
_AGAIN = re.compile(r"try again after (.+)", re.IGNORECASE)


def _message(reply: Reply) -> str:
    """Return the words of a refusal; a wrong key is answered in plain text."""
    said = reply.json
    words = said.get("message") if isinstance(said, dict) else None
    return " ".join(words.split()) if isinstance(words, str) else reply.text.partition(" ")[2]


def _until(words: str, headers: Mapping[str, str]) -> timedelta | None:
    """Return the wait until the time that Mailgun names in its words, by its own clock."""
    from email.utils import parsedate_to_datetime

    found = _AGAIN.search(words)
    try:
        until = parsedate_to_datetime(found[1]) if found else None
        now = parsedate_to_datetime(headers.get("Date", ""))
    except (TypeError, ValueError):
        return None
    return min(max(_utc(until) - _utc(now), timedelta()), LONGEST_WAIT) if until else None


def _utc(at: datetime) -> datetime:
    return at if at.tzinfo else at.replace(tzinfo=UTC)
