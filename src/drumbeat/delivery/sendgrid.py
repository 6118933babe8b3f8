"""SendGrid, Web API version 3: one mail a call, made of its parts.

https://www.twilio.com/docs/sendgrid/api-reference/mail-send/mail-send. SendGrid takes no finished MIME message
over HTTP. Its batch (up to 1,000 "personalizations" in one call) is not used: all of them share one body, the
only difference being substitutions of at most 10,000 bytes a recipient, which is less than a newsletter has,
and one address that SendGrid does not like has the whole call refused. `connections` says how many calls are
under way at once instead. There is no idempotency key, so a call without an answer leaves its mail uncertain.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from pydantic import Field

from drumbeat.delivery import Answer, Mail, Outcome, Scope
from drumbeat.delivery.http import LONGEST_WAIT, Call, HttpBackend, HttpSettings, Reply, api_key, retry_after
from drumbeat.delivery.parts import json_call, parts_of
from drumbeat.errors import DeliveryError
from drumbeat.settings import Variable

PATH = "/v3/mail/send"

PLACES: Mapping[str, str] = {"global": "https://api.sendgrid.com", "eu": "https://api.eu.sendgrid.com"}

_RECIPIENT = re.compile(r"personalizations\.\d+\.to\b")

OWN_TRACKING = {
    "click_tracking": {"enable": False, "enable_text": False},
    "open_tracking": {"enable": False},
    "subscription_tracking": {"enable": False},
    "ganalytics": {"enable": False},
}


class SendgridSettings(HttpSettings):
    """`delivery.sendgrid` of project.yaml."""

    key_env: Variable = Field("SENDGRID_API_KEY", description="A key that may send mail")
    region: Literal["global", "eu"] = "global"
    sandbox: bool = Field(False, description="Have mails checked and answered, not sent")
    tracking: bool = Field(
        False, description="Leave SendGrid's own tracking as the account has it; Drumbeat tracks by itself"
    )
    webhook_key_env: Variable | None = Field(
        None, description="The verification key of the signed event webhook"
    )


class SendgridBackend(HttpBackend):
    """Hands mails over by Mail Send. Raises DeliveryError where the key's environment variable is not set."""

    name = "sendgrid"

    def __init__(self, settings: SendgridSettings, **options: Any) -> None:
        super().__init__(
            settings.base_url or PLACES[settings.region],
            timeout=settings.timeout.total_seconds(),
            connections=settings.connections,
            **options,
        )
        self.settings = settings
        self._key = api_key(settings.key_env, "delivery.sendgrid.key_env")

    def call(self, parcels: Sequence[Mail]) -> Call:
        """Return Mail Send for one mail."""
        from email.utils import parseaddr

        (mail,) = parcels
        parts = parts_of(mail)
        content: dict[str, Any] = {
            "personalizations": [{"to": [_address(parts.to_name, parts.to_address)]}],
            "from": _address(parts.from_name, parts.from_address),
            "subject": parts.subject,
            # SendGrid wants the plain text first.
            "content": [
                {"type": kind, "value": text}
                for kind, text in (("text/plain", parts.text), ("text/html", parts.html))
                if text
            ],
            "headers": dict(parts.headers),
            "custom_args": {"drumbeat": mail.token},
        }
        if parts.reply_to:
            content["reply_to"] = _address(*parseaddr(parts.reply_to))
        if mail.campaign:
            content["categories"] = [mail.campaign]
        if not self.settings.tracking:
            content["tracking_settings"] = OWN_TRACKING
        if self.settings.sandbox:
            content["mail_settings"] = {"sandbox_mode": {"enable": True}}
        return json_call(PATH, content, headers={"Authorization": f"Bearer {self._key}"})

    def accepted(self, reply: Reply, parcels: Sequence[Mail]) -> Sequence[Answer]:
        """Read the mail's id; the body is empty. The sandbox gives none."""
        del parcels
        return [Answer(Outcome.ACCEPTED, code=reply.status, remote_id=reply.headers.get("X-Message-Id"))]

    def refusal(self, reply: Reply, parcels: Sequence[Mail]) -> Answer | None:
        """Read the list of errors: which field, and what is wrong with it."""
        del parcels
        errors = _errors(reply)
        text = f"{reply.status} {'; '.join(words for _, words in errors)}"[:500] if errors else reply.text
        sender = reply.status == 400 and any(field.partition(".")[0] == "from" for field, _ in errors)
        if sender or reply.status == 451:  # 451: the account may not use this region
            raise DeliveryError(
                f"SendGrid refuses our account: {text}; check the sender and delivery.sendgrid in project.yaml"
            )
        if reply.status == 400:
            dead = any(_RECIPIENT.match(field) and "valid" in words for field, words in errors)
            return Answer(Outcome.REFUSED, text, reply.status, dead_address=dead)
        if reply.status == 429:
            pause = retry_after(reply.headers) or _until_reset(reply.headers)
            return Answer(Outcome.DEFERRED, text, reply.status, None, pause, Scope.SERVER)
        return None


def _address(name: str | None, address: str) -> dict[str, str]:
    if not name:
        return {"email": address}
    # SendGrid does not quote a name with these by itself, and takes it for several addresses then.
    if "," in name or ";" in name:
        name = '"' + name.replace("\\", "\\\\").replace('"', '\\"') + '"'
    return {"email": address, "name": name}


def _errors(reply: Reply) -> list[tuple[str, str]]:
    """Return field and words of each error; the field is '' where none is named."""
    said = reply.json
    errors = said.get("errors") if isinstance(said, dict) else None
    return [
        (str(error.get("field") or ""), " ".join(str(error.get("message") or "").split()))
        for error in (errors if isinstance(errors, list) else [])
        if isinstance(error, dict)
    ]


def _until_reset(headers: Mapping[str, str]) -> timedelta | None:
    """Return the wait until X-RateLimit-Reset (seconds since 1970), by the provider's own clock."""
    from email.utils import parsedate_to_datetime

    try:
        reset = datetime.fromtimestamp(int(headers.get("X-RateLimit-Reset", "")), UTC)
        now = parsedate_to_datetime(headers.get("Date", ""))
        return min(max(reset - now, timedelta()), LONGEST_WAIT)
    except (TypeError, ValueError, OverflowError, OSError):
        return None
