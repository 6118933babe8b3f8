"""Resend: up to 100 mails a call, each accepted or refused on its own, and a call made twice sends once.

https://resend.com/docs/api-reference/emails/send-batch-emails, .../api-reference/errors and
https://resend.com/docs/dashboard/emails/idempotency-keys. A batch is sent with `x-batch-validation: permissive`,
so that a mail that Resend cannot read does not keep back the other 99. Its key is made of those of its mails
and holds for 24 hours; a call whose answer was lost is made again with it. Resend tracks opens and clicks by
the domain, not by the mail: it is off there until somebody turns it on.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from enum import Enum, auto
from hashlib import blake2b
from typing import Any, ClassVar

from pydantic import Field

from drumbeat.delivery import Answer, Mail, Outcome, Scope
from drumbeat.delivery.halves import HalvingBackend, refused
from drumbeat.delivery.http import BaseUrl, Call, HttpSettings, Reply, api_key, mailbox, retry_after
from drumbeat.delivery.http_wire import LONGEST_TEXT
from drumbeat.delivery.parts import json_call, parts_of
from drumbeat.errors import DeliveryError
from drumbeat.settings import Variable


class ResendSettings(HttpSettings):
    """`delivery.resend` of project.yaml."""

    base_url: BaseUrl = "https://api.resend.com"
    api_key_env: Variable = Field("RESEND_API_KEY", description="A key with sending access")
    webhook_secret_env: Variable = Field(
        "RESEND_WEBHOOK_SECRET", description="The webhook's signing secret, whsec_..."
    )


class _Verdict(Enum):
    """What the name of an error says."""

    REFUSED = auto()  # this mail, for good
    LATER = auto()  # not now
    UNCERTAIN = auto()  # a call with this key was made before
    ACCOUNT = auto()  # our account or its set-up; every mail would get the same


ERRORS: Mapping[str, _Verdict] = {
    "missing_api_key": _Verdict.ACCOUNT,
    "restricted_api_key": _Verdict.ACCOUNT,
    "invalid_api_key": _Verdict.ACCOUNT,
    "invalid_access": _Verdict.ACCOUNT,
    "invalid_region": _Verdict.ACCOUNT,
    "invalid_from_address": _Verdict.ACCOUNT,
    "invalid_idempotency_key": _Verdict.ACCOUNT,
    "not_found": _Verdict.ACCOUNT,
    "method_not_allowed": _Verdict.ACCOUNT,
    "monthly_quota_exceeded": _Verdict.ACCOUNT,
    "daily_quota_exceeded": _Verdict.LATER,
    "rate_limit_exceeded": _Verdict.LATER,
    "concurrent_idempotent_requests": _Verdict.UNCERTAIN,
    "invalid_idempotent_request": _Verdict.UNCERTAIN,
    "validation_error": _Verdict.REFUSED,
    "missing_required_field": _Verdict.REFUSED,
    "invalid_parameter": _Verdict.REFUSED,
    "invalid_attachment": _Verdict.REFUSED,
    "security_error": _Verdict.REFUSED,
}
"""By the error's `name`; under 403 even a validation_error is the account's: its domain is not verified.
What is not here, such as application_error and internal_server_error, goes by the HTTP status."""

PAUSES: Mapping[str, timedelta] = {
    "daily_quota_exceeded": timedelta(hours=1),
    "rate_limit_exceeded": timedelta(seconds=1),
}
"""How long to wait where Resend's `retry-after` does not say."""

_TAG = re.compile(r"[A-Za-z0-9_-]{1,256}")


class ResendBackend(HalvingBackend):
    """Hands mails to Resend, a single one to /emails, several to /emails/batch."""

    name = "resend"
    batch_size: ClassVar[int] = 100

    def __init__(self, settings: ResendSettings) -> None:
        super().__init__(
            settings.base_url, timeout=settings.timeout.total_seconds(), connections=settings.connections
        )
        self._headers = {
            "Authorization": f"Bearer {api_key(settings.api_key_env, 'delivery.resend.api_key_env')}"
        }

    def call(self, parcels: Sequence[Mail]) -> Call:
        """Return the call; its key is the same for the same mails in the same order."""
        headers = {**self._headers, "Idempotency-Key": _key(parcels)}
        if len(parcels) == 1:
            call = json_call("/emails", _message(parcels[0]), headers=headers)
        else:
            headers["x-batch-validation"] = "permissive"
            call = json_call("/emails/batch", [_message(mail) for mail in parcels], headers=headers)
        return replace(call, idempotent=True)

    def accepted(self, reply: Reply, parcels: Sequence[Mail]) -> Sequence[Answer]:
        """Read `id`, or `data` with an id for each mail taken, in their order, and `errors` by position."""
        said = reply.json
        if len(parcels) == 1 and "id" in said:
            return [_taken(said, reply)]
        places = range(len(parcels))
        faults = {error["index"]: error["message"] for error in said.get("errors") or []}
        if not all(type(place) is int and place in places for place in faults):
            raise ValueError("expected `errors` by position")
        taken = [place for place in places if place not in faults]
        # Of more or fewer ids than mails nobody can say whose they are; which were refused still is known.
        results = said["data"] if len(said["data"]) == len(taken) else [None] * len(taken)
        answers = {place: refused(f"{words}"[:LONGEST_TEXT], reply.status) for place, words in faults.items()}
        answers |= {place: _taken(result, reply) for place, result in zip(taken, results, strict=True)}
        return [answers[place] for place in places]

    def refusal(self, reply: Reply, parcels: Sequence[Mail]) -> Answer | Sequence[Answer] | None:
        """Read an answer to the call as a whole; nothing of it was sent, but by an earlier one with its key."""
        said = reply.json
        fault = said.get("name") if isinstance(said, dict) else None
        verdict = ERRORS.get(fault) if isinstance(fault, str) else None
        if reply.status in (401, 403):
            verdict = _Verdict.ACCOUNT
        if verdict is _Verdict.ACCOUNT:
            raise DeliveryError(
                f"Resend refuses our account: {reply.text}; see its keys, domains and usage at resend.com"
            )
        if verdict is _Verdict.LATER:
            pause = retry_after(reply.headers) or PAUSES[str(fault)]
            return Answer(Outcome.DEFERRED, reply.text, reply.status, None, pause, Scope.SERVER)
        if verdict is _Verdict.UNCERTAIN:
            return Answer(Outcome.UNCERTAIN, f"handed over before: {reply.text}"[:LONGEST_TEXT], reply.status)
        if verdict is _Verdict.REFUSED or reply.status == 413:
            return self.by_halves(refused(reply.text, reply.status), parcels)
        return None


def _key(parcels: Sequence[Mail]) -> str:
    """Return the idempotency key: a mail's own, or a hash of a batch's keys (at most 256 characters)."""
    if len(parcels) == 1 and len(parcels[0].key) <= 256:
        return parcels[0].key
    return blake2b("\n".join(mail.key for mail in parcels).encode(), digest_size=32).hexdigest()


def _message(mail: Mail) -> dict[str, Any]:
    parts = parts_of(mail)
    tags = {"drumbeat": mail.token, "campaign": mail.campaign}
    message: dict[str, Any] = {
        "from": mailbox(parts.from_name, parts.from_address),
        "to": [mailbox(parts.to_name, parts.to_address)],
        "subject": parts.subject,
        "html": parts.html,
        "text": parts.text,
        "headers": dict(parts.headers),
        "tags": [{"name": tag, "value": value} for tag, value in tags.items() if _TAG.fullmatch(value)],
    }
    if parts.reply_to:
        message["reply_to"] = parts.reply_to
    return message


def _taken(result: Any, reply: Reply) -> Answer:
    """Return how a mail with this result ended: taken under its id, or nobody knows."""
    remote = result.get("id") if isinstance(result, dict) else None
    if not (isinstance(remote, str) and remote):
        return Answer(Outcome.UNCERTAIN, f"no id for this mail: {reply.text}"[:LONGEST_TEXT], reply.status)
    return Answer(
        Outcome.ACCEPTED, reply.text if len(reply.body) < 200 else "", reply.status, remote_id=remote
    )
