"""Amazon SES, API version 2: one finished MIME message a call.

https://docs.aws.amazon.com/ses/latest/APIReference-V2/API_SendEmail.html. `Raw` content keeps our headers and
the form of the mail; `Simple` would have SES write it anew, with at most 15 headers. SES still puts its own
Message-ID, Date and Return-Path into every mail, so a DKIM signature of ours must not cover them: let SES sign.
SendBulkEmail is not used: all its mails share one template, and ours have bodies of their own. There is no
idempotency key, so a call without an answer leaves its mail uncertain.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping, Sequence
from datetime import timedelta
from enum import Enum, auto
from typing import Any, ClassVar
from urllib.parse import urlsplit

from pydantic import Field

from drumbeat.clock import Clock, SystemClock
from drumbeat.delivery import Answer, Mail, Outcome, Scope
from drumbeat.delivery.http import Call, HttpBackend, HttpSettings, Reply, api_key, retry_after
from drumbeat.delivery.sigv4 import Credentials, Place, signed_headers
from drumbeat.errors import DeliveryError
from drumbeat.settings import Variable

PATH = "/v2/email/outbound-emails"

QUOTA_WAIT = timedelta(minutes=10)
"""After the day's quota is used up: it is one of rolling 24 hours, and AWS asks to wait "up to 10 minutes".
https://docs.aws.amazon.com/ses/latest/dg/manage-sending-quotas-errors.html"""

REGION = r"[a-z]{2}(-[a-z]+)+-[0-9]"


class SesSettings(HttpSettings):
    """`delivery.ses` of project.yaml."""

    region: str = Field("us-east-1", pattern=rf"^{REGION}$", description="Where the sender is verified")
    access_key_env: Variable = "AWS_ACCESS_KEY_ID"
    secret_key_env: Variable = "AWS_SECRET_ACCESS_KEY"  # noqa: S105 - the name of a variable, not a secret
    session_token_env: Variable | None = Field(None, description="For temporary credentials alone")
    configuration_set: str | None = Field(
        None, pattern=r"^[A-Za-z0-9_-]{1,64}$", description="Says where SES publishes its events"
    )
    bounces_to_return_path: bool = Field(
        False, description="Have SES forward bounces to our return path; its domain must be verified"
    )
    topics: tuple[str, ...] = Field(
        (), description="ARNs of the SNS topics whose calls to /hooks/ses are believed, and no others"
    )


class _Verdict(Enum):
    ACCOUNT = auto()  # holds for every mail
    LATER = auto()
    REFUSED = auto()


ERRORS: Mapping[str, _Verdict] = {
    # Of SendEmail
    "AccountSuspendedException": _Verdict.ACCOUNT,
    "SendingPausedException": _Verdict.ACCOUNT,
    "MailFromDomainNotVerifiedException": _Verdict.ACCOUNT,
    "NotFoundException": _Verdict.ACCOUNT,  # the configuration set
    "LimitExceededException": _Verdict.LATER,
    "TooManyRequestsException": _Verdict.LATER,
    "BadRequestException": _Verdict.REFUSED,
    "MessageRejected": _Verdict.REFUSED,
    # Of every AWS service: https://docs.aws.amazon.com/ses/latest/APIReference-V2/CommonErrors.html
    "AccessDeniedException": _Verdict.ACCOUNT,
    "ExpiredTokenException": _Verdict.ACCOUNT,
    "IncompleteSignature": _Verdict.ACCOUNT,
    "InvalidClientTokenId": _Verdict.ACCOUNT,
    "InvalidSignatureException": _Verdict.ACCOUNT,
    "MissingAuthenticationToken": _Verdict.ACCOUNT,
    "NotAuthorized": _Verdict.ACCOUNT,
    "OptInRequired": _Verdict.ACCOUNT,
    "RequestExpired": _Verdict.ACCOUNT,  # our clock is wrong
    "SignatureDoesNotMatch": _Verdict.ACCOUNT,
    "UnrecognizedClientException": _Verdict.ACCOUNT,
    "ServiceUnavailable": _Verdict.LATER,
    "Throttling": _Verdict.LATER,
    "ThrottlingException": _Verdict.LATER,
    "ValidationError": _Verdict.REFUSED,
}
"""What else SES may say is read by its HTTP status."""

_TAG_VALUE = re.compile(r"[A-Za-z0-9_-]{1,256}")
_UNVERIFIED = re.compile(r"identities failed the check in region [^:]*:(.*)", re.DOTALL)


class SesBackend(HttpBackend):
    """Hands mails over by SendEmail. Raises DeliveryError where a key's environment variable is not set."""

    name = "ses"
    eight_bit: ClassVar[bool] = False
    """AWS asks for content in ASCII."""

    def __init__(self, settings: SesSettings, *, clock: Clock | None = None, **options: Any) -> None:
        end = "amazonaws.com.cn" if settings.region.startswith("cn-") else "amazonaws.com"
        super().__init__(
            settings.base_url or f"https://email.{settings.region}.{end}",
            timeout=settings.timeout.total_seconds(),
            connections=settings.connections,
            **options,
        )
        self.settings = settings
        self._clock = clock or SystemClock()
        self._place = Place(settings.region, "ses")
        token = settings.session_token_env
        self._credentials = Credentials(
            api_key(settings.access_key_env, "delivery.ses.access_key_env"),
            api_key(settings.secret_key_env, "delivery.ses.secret_key_env"),
            api_key(token, "delivery.ses.session_token_env") if token else None,
        )

    def call(self, parcels: Sequence[Mail]) -> Call:
        """Return SendEmail for one mail, signed as of now."""
        (mail,) = parcels
        tags = {"drumbeat": mail.token, "campaign": mail.campaign}
        content: dict[str, Any] = {
            "Destination": {"ToAddresses": [mail.envelope_to]},
            "Content": {"Raw": {"Data": base64.b64encode(mail.content).decode()}},
            "EmailTags": [{"Name": n, "Value": v} for n, v in tags.items() if _TAG_VALUE.fullmatch(v)],
        }
        if self.settings.configuration_set:
            content["ConfigurationSetName"] = self.settings.configuration_set
        if self.settings.bounces_to_return_path:
            content["FeedbackForwardingEmailAddress"] = mail.envelope_from
        body = json.dumps(content).encode()
        base = urlsplit(self.base_url)
        headers = {"Content-Type": "application/json"}
        signed = signed_headers(
            self._credentials,
            self._place,
            method="POST",
            path=f"{base.path}{PATH}",
            host=base.netloc,
            now=self._clock.now(),
            headers=headers.items(),
            body=body,
        )
        return Call(PATH, body=body, headers={**headers, **signed})

    def accepted(self, reply: Reply, parcels: Sequence[Mail]) -> Sequence[Answer]:
        """Read the id that SES gave the mail."""
        del parcels
        return [Answer(Outcome.ACCEPTED, code=reply.status, remote_id=str(reply.json["MessageId"]))]

    def refusal(self, reply: Reply, parcels: Sequence[Mail]) -> Answer | None:
        """Read the name of the error, from its header or the body."""
        name, words = _error(reply)
        text = f"{reply.status} {name}: {words}"[:500]
        verdict = ERRORS.get(name)
        if verdict is _Verdict.REFUSED:
            others = _unverified(words) - {parcels[0].envelope_to.lower()}
            if others or "configuration set" in words.lower():
                verdict = _Verdict.ACCOUNT
        if verdict is _Verdict.ACCOUNT:
            raise DeliveryError(f"Amazon SES refuses our account: {text}; check delivery.ses in project.yaml")
        if verdict is _Verdict.LATER:
            daily = name == "LimitExceededException" or "quota" in words.lower()
            pause = retry_after(reply.headers) or (QUOTA_WAIT if daily else None)
            return Answer(Outcome.DEFERRED, text, reply.status, None, pause, Scope.SERVER)
        if verdict is _Verdict.REFUSED:
            return Answer(Outcome.REFUSED, text, reply.status)
        return None


def _error(reply: Reply) -> tuple[str, str]:
    """Return the error's name, without the namespace or link that AWS may add, and its words."""
    said = reply.json if isinstance(reply.json, dict) else {}
    name = reply.headers.get("x-amzn-ErrorType") or said.get("__type") or said.get("code")
    words = said.get("message") or said.get("Message")
    return (
        str(name or "").partition(":")[0].rpartition("#")[2],
        " ".join(str(words or "").split()),
    )


def _unverified(words: str) -> set[str]:
    """Return the identities that AWS does not let send, or, in the sandbox, be sent to."""
    found = _UNVERIFIED.search(words)
    return {one.strip().lower() for one in found[1].split(",") if one.strip()} if found else set()
