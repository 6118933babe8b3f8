"""Brevo: one mail a call, safe to repeat for 30 minutes.

https://developers.brevo.com/reference/send-transac-email. Brevo's batch call (`messageVersions`) is not used:
its versions have recipients, subject and bodies of their own, but one set of headers and tags for all, so that
no mail could have its own List-Unsubscribe and token, and one bad address refuses up to a thousand mails.
Brevo allows 1,000 calls a second instead; `connections` says how many are under way at once.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from email.header import Header
from typing import Any

from pydantic import Field

from drumbeat.delivery import Answer, Mail, Outcome, Parts
from drumbeat.delivery.halves import later, refused
from drumbeat.delivery.http import (
    LONGEST_WAIT,
    MORE_TRIES,
    BaseUrl,
    Call,
    HttpBackend,
    HttpSettings,
    Reply,
    api_key,
)
from drumbeat.delivery.parts import json_call, parts_of
from drumbeat.delivery.unsigned import UnsignedWebhookSettings
from drumbeat.errors import DeliveryError
from drumbeat.settings import Variable

NAMESPACE = uuid.UUID("5f0c1f0e-9a1b-5d57-8f43-3d2b7f0c6a11")
"""Of the idempotency keys, which must be UUIDs; any fixed one does."""


class BrevoSettings(HttpSettings, UnsignedWebhookSettings):
    """`delivery.brevo` of project.yaml."""

    base_url: BaseUrl = "https://api.brevo.com/v3"
    key_env: Variable = Field("BREVO_API_KEY", description="An API key of version 3, not an SMTP key")
    sandbox: bool = Field(False, description="Have mails checked and answered, not sent")
    webhook_token_env: Variable | None = Field(
        "BREVO_WEBHOOK_TOKEN", description="The bearer token that Brevo's webhook was created with"
    )
    webhook_header: str | None = Field(
        None, pattern=r"^[A-Za-z0-9-]+$", description="The name of a further header that proves a call"
    )
    webhook_header_env: Variable | None = None


ACCOUNT = frozenset({"unauthorized", "permission_denied", "not_enough_credits", "account_under_validation"})
"""Error codes that hold for every mail, whatever the HTTP status."""

DUPLICATE = frozenset({"duplicate_parameter", "duplicate_request"})
"""Error codes for an idempotency key that came before, within 30 minutes: this call was not processed."""

OWN_HEADERS = frozenset({"message-id"})
"""Headers that Brevo gives itself and takes from nobody."""

_BAD_RECIPIENT = re.compile(r"\bnot valid in to\b", re.IGNORECASE)
_SPECIALS = re.compile(r'[()<>\[\]:;@\\,."]')


class BrevoBackend(HttpBackend):
    """Hands mails to Brevo, one a call."""

    name = "brevo"

    def __init__(self, settings: BrevoSettings) -> None:
        super().__init__(
            settings.base_url,
            timeout=settings.timeout.total_seconds(),
            connections=settings.connections,
        )
        self.settings = settings
        self._key = api_key(settings.key_env, "delivery.brevo.key_env")

    def call(self, parcels: Sequence[Mail]) -> Call:
        """Return the call for one mail."""
        (mail,) = parcels
        parts = parts_of(mail)
        content: dict[str, Any] = {
            "sender": _person(parts.from_name, parts.from_address),
            "to": [_person(parts.to_name, parts.to_address)],
            "subject": parts.subject,
            "htmlContent": parts.html,
            "textContent": parts.text,
            "headers": self._headers(mail, parts),
        }
        if parts.reply_to:
            content["replyTo"] = {"email": parts.reply_to}
        if mail.campaign:
            content["tags"] = [mail.campaign]
        return json_call("/smtp/email", content, headers={"api-key": self._key})

    def _headers(self, mail: Mail, parts: Parts) -> dict[str, str]:
        headers = {
            name: value
            for name, value in parts.headers
            # Brevo writes letters beyond ASCII raw into a header, which no mail may have (RFC 5322).
            if name.lower() not in OWN_HEADERS and value.isascii()
        }
        if mail.token:
            headers["X-Mailin-custom"] = f'{{"drumbeat":"{mail.token}"}}'
        headers["idempotencyKey"] = str(uuid.uuid5(NAMESPACE, mail.key))
        if self.settings.sandbox:
            headers["X-Sib-Sandbox"] = "drop"
        return headers

    def _reply(self, call: Call) -> Reply | Answer:
        """Make the call, and again with the same key where nobody knows how it ended.

        Brevo does not give the first answer again, it refuses the key. After a call without a whole answer
        that says that Brevo had taken it; after a 5xx it says nothing. A second call that was not let in says
        nothing of the first either.
        """
        reply = super()._reply(call)
        failed = isinstance(reply, Reply)
        for tried in range(MORE_TRIES):
            if not _unknown(reply):
                break
            self._sleep(0.5 * 4**tried)
            again = super()._reply(call)
            if isinstance(again, Answer) or again.status // 100 not in (2, 4, 5):
                continue
            if again.status // 100 == 5:
                failed = failed or again.status != 503
            elif _code(again) in DUPLICATE and not failed:
                return Answer(Outcome.ACCEPTED, "taken by a call whose answer was lost", again.status)
            elif again.status // 100 == 2 or (again.status == 400 and _code(again) not in DUPLICATE):
                return again
        return reply

    def accepted(self, reply: Reply, parcels: Sequence[Mail]) -> Sequence[Answer]:
        """Read the one message's name."""
        return [
            Answer(
                Outcome.ACCEPTED,
                reply.text,
                code=reply.status,
                remote_id=reply.json["messageId"].strip("<> ") or None,
            )
        ]

    def refusal(self, reply: Reply, parcels: Sequence[Mail]) -> Answer | None:
        """Read Brevo's error code."""
        code = _code(reply)
        if code in ACCOUNT:
            raise DeliveryError(f"Brevo refuses our account: {reply.text}; see the account at app.brevo.com")
        if reply.status == 429:
            return replace(later(reply.text, 429), retry_after=_reset(reply.headers))
        if code in DUPLICATE:
            return Answer(
                Outcome.UNCERTAIN, f"the same mail was handed over before: {reply.text}", reply.status
            )
        if reply.status == 400:
            return refused(reply.text, 400, dead=bool(_BAD_RECIPIENT.search(reply.text)))
        return None


def _unknown(reply: Reply | Answer) -> bool:
    """Say whether nobody knows how the call ended."""
    if isinstance(reply, Answer):
        return reply.outcome is Outcome.UNCERTAIN
    return reply.status // 100 == 5 and reply.status != 503


def _code(reply: Reply) -> str | None:
    said = reply.json
    code = said.get("code") if isinstance(said, dict) and reply.status // 100 != 2 else None
    return code if isinstance(code, str) else None


def _reset(headers: Mapping[str, str]) -> timedelta | None:
    """Return the wait until Brevo's limit starts anew: it sends no Retry-After (docs/limit-headers)."""
    value = headers.get("x-sib-ratelimit-reset", "").strip()
    if not (value.isascii() and value.isdigit()):
        return None
    return min(timedelta(seconds=int(value[:9])), LONGEST_WAIT)


def _person(name: str | None, address: str) -> dict[str, str]:
    """Return an address as Brevo takes it.

    It loses a name that has both letters beyond ASCII and a comma or the like, unless it comes encoded
    (RFC 2047).
    """
    clean = "".join(letter for letter in name or "" if letter.isprintable()).strip()
    if not clean:
        return {"email": address}
    if not clean.isascii() and _SPECIALS.search(clean):
        clean = Header(clean, "utf-8").encode(linesep="")
    return {"email": address, "name": clean}
