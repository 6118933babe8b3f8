"""SparkPost: one mail a call, as the finished message.

https://developers.sparkpost.com/api/transmissions, .../api/#header-errors and
https://support.sparkpost.com/docs/tech-resources/extended-error-codes. The message goes as `email_rfc822`:
"content headers are not generated" for it, so that our Message-ID, List-Id, Feedback-ID and Auto-Submitted
stand as we wrote them, while of `content.headers` SparkPost drops some without a word. A transmission has one
content for all its recipients, and ours is each reader's own, so there is no batch; nor is there an
idempotency key, so a call whose answer is lost leaves its mail UNCERTAIN, until a webhook tells.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from enum import Enum, auto
from typing import Any

from pydantic import Field

from drumbeat.delivery import Answer, Mail, Outcome, Scope
from drumbeat.delivery.http import BaseUrl, Call, HttpBackend, HttpSettings, Reply, api_key, retry_after
from drumbeat.delivery.parts import json_call
from drumbeat.delivery.unsigned import UnsignedWebhookSettings
from drumbeat.errors import DeliveryError
from drumbeat.settings import Variable

LONGEST_CAMPAIGN = 64
"""Bytes of a `campaign_id`."""

_BRACES = "drumbeat_braces"


class SparkPostSettings(HttpSettings, UnsignedWebhookSettings):
    """`delivery.sparkpost` of project.yaml."""

    base_url: BaseUrl = Field(
        "https://api.sparkpost.com/api/v1",
        description="https://api.eu.sparkpost.com/api/v1 for an account of SparkPost EU",
    )
    api_key_env: Variable = Field("SPARKPOST_API_KEY", description="A key with Transmissions: Read/Write")
    subaccount: int | None = Field(None, ge=1, description="Send for this subaccount with the main key")
    ip_pool: str | None = Field(None, description="A pool of dedicated IPs")
    bounce_domain: str | None = Field(
        None, pattern=r"^[^@\s]+$", description="A verified bounce domain, if not the account's default"
    )
    own_unsubscribe: bool = Field(
        False,
        description="Mark every mail as transactional, so that our List-Unsubscribe stays in place of SparkPost's",
    )
    track_opens: bool = Field(False, description="Let SparkPost add its own pixels besides Drumbeat's")
    track_clicks: bool = Field(False, description="Let SparkPost rewrite links besides Drumbeat")
    webhook_username_env: Variable | None = "SPARKPOST_WEBHOOK_USERNAME"
    webhook_password_env: Variable | None = "SPARKPOST_WEBHOOK_PASSWORD"  # noqa: S105 - a variable's name
    webhook_token_env: Variable | None = Field(None, description="A bearer token that never changes")
    webhook_header: str | None = Field(
        None, pattern=r"^[A-Za-z0-9-]+$", description="The name of a custom header that proves a call"
    )
    webhook_header_env: Variable | None = None


class _Verdict(Enum):
    """What an error code says."""

    REFUSED = auto()  # this mail, for good
    AGAIN = auto()  # this mail, not now
    LATER = auto()  # not now
    ACCOUNT = auto()  # our account or its set-up; every mail would get the same


ERRORS: Mapping[int, _Verdict] = {
    1100: _Verdict.ACCOUNT,  # permission denied; an unknown DKIM key
    1101: _Verdict.ACCOUNT,  # invalid URI
    1102: _Verdict.ACCOUNT,  # invalid method
    1200: _Verdict.REFUSED,  # invalid parameters
    1300: _Verdict.REFUSED,  # invalid data format, type or length
    1301: _Verdict.REFUSED,  # invalid combination of fields
    1303: _Verdict.ACCOUNT,  # invalid customer
    1304: _Verdict.ACCOUNT,  # invalid user
    1305: _Verdict.REFUSED,  # not UTF-8
    1400: _Verdict.REFUSED,  # required field is missing
    1401: _Verdict.REFUSED,  # required parameter is missing
    1502: _Verdict.LATER,  # server resources unavailable
    1600: _Verdict.ACCOUNT,  # resource not found
    1601: _Verdict.ACCOUNT,  # no license
    1602: _Verdict.AGAIN,  # resource in use
    1603: _Verdict.REFUSED,  # subresource not found
    1700: _Verdict.ACCOUNT,  # unsupported Content-Type
    1800: _Verdict.ACCOUNT,  # header value not acceptable
    1900: _Verdict.LATER,  # message generation not available, likely for a moment
    1901: _Verdict.REFUSED,  # message failed to generate
    1902: _Verdict.REFUSED,  # message generation rejected
    1910: _Verdict.ACCOUNT,  # message generation not configured
    2006: _Verdict.REFUSED,  # transmission in an invalid state
    2007: _Verdict.REFUSED,  # metadata too large
    2008: _Verdict.ACCOUNT,  # no local part in the sender's address
    2101: _Verdict.LATER,  # sending limit of the hour
    2102: _Verdict.LATER,  # sending limit of the day
    2103: _Verdict.ACCOUNT,  # sending limit of the sandbox, for good
    2105: _Verdict.ACCOUNT,  # sending limit of the month
    3000: _Verdict.REFUSED,  # template language, syntax
    3001: _Verdict.REFUSED,  # template language, render
    3002: _Verdict.REFUSED,  # invalid header
    3010: _Verdict.REFUSED,  # MIME construction
    3020: _Verdict.REFUSED,  # MIME parsing
    5002: _Verdict.REFUSED,  # no valid recipients
    7000: _Verdict.ACCOUNT,  # sending domain on a block list
    7001: _Verdict.ACCOUNT,  # sending or tracking domain not verified
}
"""SparkPost's extended error codes, as far as a send can meet them. What is not here goes by the HTTP status."""

PAUSES: Mapping[int, timedelta] = {2101: timedelta(hours=1), 2102: timedelta(hours=1)}
"""How long to wait after a sending limit, which SparkPost counts over a window that moves on."""

PAUSE = timedelta(seconds=5)
"""After 429 "wait 1 to 5 seconds", where no Retry-After says more."""


class SparkPostBackend(HttpBackend):
    """Hands mails to SparkPost's Transmissions API."""

    name = "sparkpost"
    eight_bit = False

    def __init__(self, settings: SparkPostSettings) -> None:
        super().__init__(
            settings.base_url, timeout=settings.timeout.total_seconds(), connections=settings.connections
        )
        self.settings = settings
        self._headers = {"Authorization": api_key(settings.api_key_env, "delivery.sparkpost.api_key_env")}
        if settings.subaccount is not None:
            self._headers["X-MSYS-SUBACCOUNT"] = str(settings.subaccount)

    def call(self, parcels: Sequence[Mail]) -> Call:
        """Return a transmission to one recipient."""
        (mail,) = parcels
        settings = self.settings
        content, substituted = _verbatim(mail)
        # SparkPost puts a List-Unsubscribe of its own on all mail but transactional.
        service = not re.search(rb"^list-unsubscribe:", mail.content.partition(b"\r\n\r\n")[0], re.I | re.M)
        options: dict[str, Any] = {
            "open_tracking": settings.track_opens,
            "initial_open": settings.track_opens,
            "click_tracking": settings.track_clicks,
            "transactional": service or settings.own_unsubscribe,
            "perform_substitutions": False,
        }
        if settings.ip_pool:
            options["ip_pool"] = settings.ip_pool
        transmission: dict[str, Any] = {
            "options": options,
            "recipients": [{"address": {"email": mail.envelope_to}}],
            "content": {"email_rfc822": content},
        }
        if substituted:
            transmission["substitution_data"] = substituted
        if mail.campaign:
            shortened = mail.campaign.encode("utf-8", "replace")[:LONGEST_CAMPAIGN]
            transmission["campaign_id"] = shortened.decode("utf-8", "ignore")
        if mail.token:
            transmission["metadata"] = {"drumbeat": mail.token}
        if settings.bounce_domain:
            # SparkPost writes its own local part, with which it finds out-of-band bounces.
            transmission["return_path"] = f"bounces@{settings.bounce_domain}"
        return json_call("/transmissions", transmission, headers=self._headers)

    def accepted(self, reply: Reply, parcels: Sequence[Mail]) -> Sequence[Answer]:
        """Read how many of the one recipient were accepted or rejected, and the transmission's id."""
        results = reply.json["results"]
        if results.get("total_accepted_recipients") == 1:
            name = results.get("id")
            remote = str(name) if type(name) in (str, int) and name else None
            return [Answer(Outcome.ACCEPTED, "", reply.status, remote_id=remote)]
        if results.get("total_rejected_recipients") == 1:
            return [Answer(Outcome.REFUSED, reply.text, reply.status)]
        raise ValueError("expected one recipient to be accepted or rejected")

    def refusal(self, reply: Reply, parcels: Sequence[Mail]) -> Answer | None:
        """Read the codes in `errors`; the first that is known counts. Nothing was sent."""
        code = next((code for code in _codes(reply.json) if code in ERRORS), 0)
        verdict = ERRORS.get(code)
        if reply.status in (401, 403):
            verdict = _Verdict.ACCOUNT
        elif reply.status in (420, 429):
            verdict = verdict or _Verdict.LATER
        if verdict is _Verdict.ACCOUNT:
            raise DeliveryError(
                f"SparkPost refuses our account: {reply.text}; see its keys, domains and limits at sparkpost.com"
            )
        if verdict in (_Verdict.LATER, _Verdict.AGAIN):
            pause = retry_after(reply.headers) or PAUSES.get(code) or (PAUSE if reply.status == 429 else None)
            scope = Scope.SERVER if verdict is _Verdict.LATER else Scope.MESSAGE
            return Answer(Outcome.DEFERRED, reply.text, reply.status, None, pause, scope)
        if verdict is _Verdict.REFUSED:
            return Answer(Outcome.REFUSED, reply.text, reply.status)
        return None


def _verbatim(mail: Mail) -> tuple[str, dict[str, str]]:
    """Return the message, and substitution data with which its headers come out as they are.

    `perform_substitutions` switches SparkPost's template language off in bodies alone: in headers `{{name}}`
    is still replaced. Two braces there become a substitution whose value is two braces.
    """
    content = mail.content if mail.content.isascii() or mail.seven_bit is None else mail.seven_bit()
    head, gap, body = content.decode("utf-8", "replace").partition("\r\n\r\n")
    if "{{" not in head:
        return head + gap + body, {}
    return head.replace("{{", "{{" + _BRACES + "}}") + gap + body, {_BRACES: "{{"}


def _codes(said: Any) -> Iterator[int]:
    """Give the error codes in an answer; SparkPost writes them as text."""
    errors = said.get("errors") if isinstance(said, dict) else None
    for error in errors if isinstance(errors, list) else []:
        code = str(error.get("code")) if isinstance(error, dict) else ""
        if code.isascii() and code.isdigit() and len(code) < 6:
            yield int(code)
