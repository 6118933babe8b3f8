"""Mailjet, Send API v3.1: up to 50 mails a call, each with an answer of its own.

https://dev.mailjet.com/email/guides/send-api-v31/. Mailjet has no idempotency key: a call whose answer is lost
leaves its mails UNCERTAIN, until a webhook tells. A call with one faulty mail among good ones is answered with
that mail's status, mostly 400, while the good ones are sent: the list of messages counts, not the status.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import IntEnum
from typing import Any, ClassVar

from pydantic import Field

from drumbeat.delivery import Answer, Mail, Outcome
from drumbeat.delivery.halves import HalvingBackend, later, refused
from drumbeat.delivery.http import BaseUrl, Call, HttpSettings, Reply, api_key
from drumbeat.delivery.http_wire import LONGEST_TEXT
from drumbeat.delivery.parts import json_call, parts_of
from drumbeat.delivery.unsigned import UnsignedWebhookSettings
from drumbeat.errors import DeliveryError
from drumbeat.settings import Variable


class MailjetSettings(HttpSettings, UnsignedWebhookSettings):
    """`delivery.mailjet` of project.yaml."""

    base_url: BaseUrl = "https://api.mailjet.com"
    key_env: Variable = Field("MAILJET_API_KEY", description="The API key")
    secret_env: Variable = Field("MAILJET_SECRET_KEY", description="The secret key that belongs to it")
    track_opens: bool = Field(False, description="Let Mailjet add its own pixel besides Drumbeat's")
    track_links: bool = Field(False, description="Let Mailjet rewrite links besides Drumbeat")
    sandbox: bool = Field(False, description="Have mails checked and answered, not sent")
    webhook_username_env: Variable | None = "MAILJET_WEBHOOK_USERNAME"
    webhook_password_env: Variable | None = "MAILJET_WEBHOOK_PASSWORD"  # noqa: S105 - a name


class _Verdict(IntEnum):
    """What an error says; of several errors the greatest counts."""

    REFUSED = 0  # this mail, for good
    DEAD = 1  # this address, for good
    LATER = 2  # not now
    UNKNOWN = 3  # nobody knows
    ACCOUNT = 4  # our account or its set-up; every mail would get the same


ERRORS: Mapping[str, _Verdict] = {
    "send-0003": _Verdict.REFUSED,  # neither text, HTML nor template
    "send-0004": _Verdict.REFUSED,  # content given twice
    "send-0006": _Verdict.ACCOUNT,  # the key may not use a Sender header
    "send-0007": _Verdict.ACCOUNT,  # the Sender is not validated
    "send-0008": _Verdict.ACCOUNT,  # the From address is not authorised
    "send-0010": _Verdict.REFUSED,  # the template is not ours
    "send-0011": _Verdict.REFUSED,  # a header that may not be set
    "send-0012": _Verdict.REFUSED,  # DeduplicateCampaign without a campaign
    "send-0015": _Verdict.REFUSED,  # too many recipients
    "send-0016": _Verdict.REFUSED,  # TemplateLanguage is missing
    "mj-0001": _Verdict.ACCOUNT,  # the API key is suspended
    "mj-0002": _Verdict.REFUSED,  # invalid JSON
    "mj-0003": _Verdict.REFUSED,  # a property is missing
    "mj-0004": _Verdict.REFUSED,  # a property has the wrong type
    "mj-0005": _Verdict.REFUSED,  # a value is not allowed
    "mj-0006": _Verdict.REFUSED,  # a value is too long
    "mj-0007": _Verdict.REFUSED,  # an empty list
    "mj-0008": _Verdict.REFUSED,  # a list is too long
    "mj-0011": _Verdict.REFUSED,  # the call is too large
    "mj-0012": _Verdict.REFUSED,  # an empty value
    "mj-0013": _Verdict.REFUSED,  # an invalid address; whose, says ErrorRelatedTo
    "mj-0015": _Verdict.ACCOUNT,  # wrong keys
}
"""Mailjet's documented error codes. Any other is read by the error's own status."""

OWN_HEADERS = frozenset({"message-id", "list-id"})
"""Of our headers those that Mailjet forbids: it gives them itself, and refuses a mail that has one."""


WHERE = "see the account and its senders at app.mailjet.com"


class MailjetBackend(HalvingBackend):
    """Hands mails to Mailjet's Send API."""

    name = "mailjet"
    batch_size: ClassVar[int] = 50

    def __init__(self, settings: MailjetSettings) -> None:
        super().__init__(
            settings.base_url,
            timeout=settings.timeout.total_seconds(),
            connections=settings.connections,
        )
        self.settings = settings
        self._auth = (
            api_key(settings.key_env, "delivery.mailjet.key_env"),
            api_key(settings.secret_env, "delivery.mailjet.secret_env"),
        )

    def call(self, parcels: Sequence[Mail]) -> Call:
        """Return one call for up to 50 mails."""
        content: dict[str, Any] = {"Messages": [self._message(mail) for mail in parcels]}
        if self.settings.sandbox:
            content["SandboxMode"] = True
        return json_call("/v3.1/send", content, auth=self._auth)

    def _message(self, mail: Mail) -> dict[str, Any]:
        parts = parts_of(mail)
        settings = self.settings
        message: dict[str, Any] = {
            "From": _person(parts.from_name, parts.from_address),
            "To": [_person(parts.to_name, parts.to_address)],
            "Subject": parts.subject,
            "HTMLPart": parts.html,
            "TextPart": parts.text,
            "Headers": {name: value for name, value in parts.headers if name.lower() not in OWN_HEADERS},
            "TrackOpens": "enabled" if settings.track_opens else "disabled",
            "TrackClicks": "enabled" if settings.track_links else "disabled",
            # Mailjet's own {{...}} in a customer's text is text.
            "TemplateLanguage": False,
        }
        if parts.reply_to:
            message["ReplyTo"] = {"Email": parts.reply_to}
        if mail.campaign:
            message["CustomCampaign"] = mail.campaign
        if mail.token:
            message["CustomID"] = mail.token
        return message

    def accepted(self, reply: Reply, parcels: Sequence[Mail]) -> Sequence[Answer]:
        """Read one result for each mail, in their order."""
        results = _results(reply)
        if results is None:
            raise ValueError("expected Messages")
        return [_answer(result, reply.status) for result in results]

    def refusal(self, reply: Reply, parcels: Sequence[Mail]) -> Sequence[Answer] | None:
        """Read the results under a 4xx too, else the error of the call as a whole; nothing was sent then."""
        if (results := _results(reply)) is not None:
            if results and all(_gravest(_errors(result)) is _Verdict.ACCOUNT for result in results):
                raise DeliveryError(f"Mailjet refuses our account: {_words(_errors(results[0]))}; {WHERE}")
            if len(results) == len(parcels):
                return [_answer(result, reply.status) for result in results]
            text = f"an answer for {len(results)} of {len(parcels)} messages: {reply.text}"[:LONGEST_TEXT]
            return [Answer(Outcome.UNCERTAIN, text, code=reply.status)] * len(parcels)
        said = reply.json
        code = said.get("ErrorCode") if isinstance(said, dict) else None
        if isinstance(code, str) and ERRORS.get(code) is _Verdict.ACCOUNT:
            raise DeliveryError(f"Mailjet refuses our account: {reply.text}; {WHERE}")
        if reply.status in (400, 413):
            return self.by_halves(refused(reply.text, reply.status), parcels)
        return None


def _results(reply: Reply) -> list[Any] | None:
    said = reply.json
    results = said.get("Messages") if isinstance(said, dict) else None
    return results if isinstance(results, list) else None


def _answer(result: Any, status: int) -> Answer:
    """Return how one mail of a call ended."""
    if isinstance(result, dict) and result.get("Status") == "success":
        return Answer(Outcome.ACCEPTED, "success", code=status, remote_id=_name(result.get("To")))
    errors = _errors(result)
    if not errors:
        return Answer(
            Outcome.UNCERTAIN, f"a result that cannot be read: {result!r}"[:LONGEST_TEXT], code=status
        )
    text, verdict = _words(errors), _gravest(errors)
    if verdict in (_Verdict.LATER, _Verdict.ACCOUNT):
        # Not raised: other mails of this call may have been taken.
        return later(text, status)
    if verdict is _Verdict.UNKNOWN:
        return Answer(Outcome.UNCERTAIN, text, code=status)
    return refused(text, status, dead=verdict is _Verdict.DEAD)


def _errors(result: Any) -> list[dict[str, Any]]:
    errors = result.get("Errors") if isinstance(result, dict) and result.get("Status") == "error" else None
    return [error for error in errors if isinstance(error, dict)] if isinstance(errors, list) else []


def _words(errors: Sequence[Mapping[str, Any]]) -> str:
    said = "; ".join(f"{error.get('ErrorCode')}: {error.get('ErrorMessage')}" for error in errors)
    return " ".join(said.split())[:LONGEST_TEXT]


def _gravest(errors: Sequence[Mapping[str, Any]]) -> _Verdict | None:
    return max((_verdict(error) for error in errors), default=None)


def _verdict(error: Mapping[str, Any]) -> _Verdict:
    code, status, about = error.get("ErrorCode"), error.get("StatusCode"), error.get("ErrorRelatedTo")
    if code == "mj-0013" and isinstance(about, list) and any(str(name).startswith("To") for name in about):
        return _Verdict.DEAD
    if isinstance(code, str) and code in ERRORS:
        return ERRORS[code]
    if type(status) is not int:
        return _Verdict.REFUSED
    if status in (401, 402, 403):
        return _Verdict.ACCOUNT
    if status == 429:
        return _Verdict.LATER
    return _Verdict.UNKNOWN if status // 100 == 5 else _Verdict.REFUSED


def _name(recipients: Any) -> str | None:
    """Return the message's number, which the events carry; None where there is none, as in the sandbox."""
    first = recipients[0] if isinstance(recipients, list) and recipients else None
    number = first.get("MessageID") if isinstance(first, dict) else None
    return str(number) if type(number) is int and number else None


def _person(name: str | None, address: str) -> dict[str, str]:
    clean = "".join(letter for letter in name or "" if letter.isprintable()).strip()
    return {"Email": address, "Name": clean} if clean else {"Email": address}
