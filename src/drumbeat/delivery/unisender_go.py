"""Unisender Go: one mail a call, as its parts.

https://godocs.unisender.ru/web-api-ref (in English, under the service's other name: https://docs.unione.io/en/web-api-ref).
A call takes 500 recipients, but one body for all of them with fields to fill in; ours is each reader's own, so
there is no batch. The same `idempotence_key` is declined for a minute: a call whose answer was lost is made
again within it, and a key that is declined then says that the first one arrived, not what became of it.

Only headers that begin with `X-` are taken, and once support has granted the right to leave out Unisender's own
unsubscribe block (`own_unsubscribe`) List-Unsubscribe and List-Unsubscribe-Post too. Message-ID, List-Id,
Feedback-ID and Auto-Submitted never arrive.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from email.utils import parseaddr
from enum import Enum, auto
from hashlib import blake2b
from typing import Any

from pydantic import Field

from drumbeat.delivery import Answer, Mail, Outcome, Scope
from drumbeat.delivery.http import BaseUrl, Call, HttpBackend, HttpSettings, Reply, api_key, retry_after
from drumbeat.delivery.http_wire import LONGEST_TEXT
from drumbeat.delivery.parts import json_call, parts_of
from drumbeat.errors import DeliveryError
from drumbeat.settings import Duration, Variable

LONGEST_KEY = 64
LONGEST_TAG = 50
LONGEST_NAME = 78
"""Characters of an `idempotence_key`, a tag and a recipient's name."""

_BRACES = "drumbeat_braces"


class UnisenderGoSettings(HttpSettings):
    """`delivery.unisender_go` of project.yaml."""

    base_url: BaseUrl = Field(
        "https://go1.unisender.ru/ru/transactional/api/v1",
        description="go1 or go2, where the account was opened; the address bar of its pages shows it",
    )
    timeout: Duration = Field(
        default="15s",
        validate_default=True,
        # Two further tries must end within the minute for which a key is kept.
        le=timedelta(seconds=15),
        description="How long to wait for an answer",
    )
    api_key_env: Variable = Field(
        "UNISENDER_GO_API_KEY", description="The key of the user or project; it signs the webhook too"
    )
    own_unsubscribe: bool = Field(
        False, description="Support lets us leave out Unisender's unsubscribe block; ours takes its place"
    )
    track_opens: bool = Field(False, description="Let Unisender add its own pixel besides Drumbeat's")
    track_clicks: bool = Field(False, description="Let Unisender rewrite links besides Drumbeat")
    webhook_max_age: Duration = Field(
        default="7d",
        validate_default=True,
        description="Refuse a call whose newest event is older; Unisender repeats a call for a day",
    )


class _Verdict(Enum):
    """What an error code, or the status of a failed address, says."""

    REFUSED = auto()  # this mail, for good
    DEAD = auto()  # this address, for good
    AWAY = auto()  # this address, for some days
    LATER = auto()  # not now
    KNOWN = auto()  # a call with this key was made before
    ACCOUNT = auto()  # our account or its set-up; every mail would get the same


ERRORS: Mapping[int, _Verdict] = {
    101: _Verdict.ACCOUNT,  # no API key
    102: _Verdict.ACCOUNT,  # wrong API key
    105: _Verdict.ACCOUNT,  # the API is switched off
    106: _Verdict.ACCOUNT,  # the user is inactive
    114: _Verdict.ACCOUNT,  # no such user: the account is on the other host
    202: _Verdict.ACCOUNT,  # no sender
    205: _Verdict.ACCOUNT,  # invalid sender
    206: _Verdict.ACCOUNT,  # sender's domain not verified
    213: _Verdict.ACCOUNT,  # unknown dedicated IP
    215: _Verdict.ACCOUNT,  # the user may not send
    227: _Verdict.ACCOUNT,  # unknown pool
    228: _Verdict.ACCOUNT,  # pool without dedicated IP
    229: _Verdict.ACCOUNT,  # needs a domain for tracking
    230: _Verdict.ACCOUNT,  # needs the default domain for tracking
    901: _Verdict.LATER,  # limit of the day
    902: _Verdict.ACCOUNT,  # limit of the free tariff
    903: _Verdict.ACCOUNT,  # the free tariff reaches own domains alone
    904: _Verdict.ACCOUNT,  # no money
    905: _Verdict.ACCOUNT,  # limit of the subscription
    1523: _Verdict.ACCOUNT,  # template_engine not allowed
    1538: _Verdict.ACCOUNT,  # bypass_unsubscribed not allowed
    1539: _Verdict.ACCOUNT,  # bypass_complained not allowed
    1573: _Verdict.KNOWN,  # idempotence_key seen before
    1574: _Verdict.ACCOUNT,  # sender denied
    1575: _Verdict.ACCOUNT,  # the user may not send
    1587: _Verdict.ACCOUNT,  # force_send not allowed
    1588: _Verdict.ACCOUNT,  # skip_unsubscribe not allowed
    1598: _Verdict.ACCOUNT,  # sandbox domain
    1599: _Verdict.LATER,  # limit of the sandbox's day
}
"""Unisender's error codes that say more than "this mail cannot be sent", which is what any other 400 says."""

FAILED_EMAILS: Mapping[str, _Verdict] = {
    "unsubscribed": _Verdict.REFUSED,
    "complained": _Verdict.REFUSED,
    "blocked": _Verdict.REFUSED,
    "duplicate": _Verdict.KNOWN,
    "invalid": _Verdict.DEAD,
    "permanent_unavailable": _Verdict.DEAD,
    "temporary_unavailable": _Verdict.AWAY,
}
"""Why an address is not sent to. A status that came up later refuses the mail."""

UNAVAILABLE = timedelta(days=3)
"""For so long a temporary_unavailable address is refused, as documented."""

DAILY_PAUSE = timedelta(hours=1)
"""How long to wait after a limit of the day, which is lifted in the night."""


class UnisenderGoBackend(HttpBackend):
    """Hands mails to Unisender Go's email/send."""

    name = "unisender_go"

    def __init__(self, settings: UnisenderGoSettings) -> None:
        super().__init__(
            settings.base_url, timeout=settings.timeout.total_seconds(), connections=settings.connections
        )
        self.settings = settings
        self._headers = {"X-API-KEY": api_key(settings.api_key_env, "delivery.unisender_go.api_key_env")}

    def call(self, parcels: Sequence[Mail]) -> Call:
        """Return a call for one recipient."""
        (mail,) = parcels
        call = json_call("/email/send.json", {"message": self._message(mail)}, headers=self._headers)
        return replace(call, idempotent=True)

    def _message(self, mail: Mail) -> dict[str, Any]:
        parts, settings = parts_of(mail), self.settings
        recipient: dict[str, Any] = {"email": parts.to_address}
        fields = {"to_name": (parts.to_name or "")[:LONGEST_NAME]} if parts.to_name else {}
        if mail.token:
            recipient["metadata"] = {"drumbeat": mail.token}
        message: dict[str, Any] = {
            "recipients": [recipient],
            "from_email": parts.from_address,
            "track_links": int(settings.track_clicks),
            "track_read": int(settings.track_opens),
            "idempotence_key": _key(mail.key),
            "headers": self._passed_on(parts.headers),
        }
        texts = {
            "from_name": parts.from_name,
            "subject": parts.subject,
            "text": parts.text,
            "html": parts.html,
        }
        if settings.own_unsubscribe:
            # The right to switch off the template language comes with it.
            message |= {"skip_unsubscribe": 1, "template_engine": "none"}
        elif any("{{" in words for words in texts.values()):
            # Else {{name}} in a mail would be replaced by nothing.
            fields[_BRACES] = "{{"
            texts = {place: words.replace("{{", "{{" + _BRACES + "}}") for place, words in texts.items()}
        if fields:
            recipient["substitutions"] = fields
        message |= {"from_name": texts["from_name"], "subject": texts["subject"]}
        message["body"] = {"html": texts["html"], "plaintext": texts["text"]}
        if parts.reply_to:
            name, message["reply_to"] = parseaddr(parts.reply_to)
            if name:
                message["reply_to_name"] = name
        if mail.campaign:
            message["tags"] = [mail.campaign[:LONGEST_TAG]]
        return message

    def _passed_on(self, headers: Sequence[tuple[str, str]]) -> dict[str, str]:
        allowed = ("list-unsubscribe", "list-unsubscribe-post") if self.settings.own_unsubscribe else ()
        return {
            name: value for name, value in headers if name.lower().startswith("x-") or name.lower() in allowed
        }

    def accepted(self, reply: Reply, parcels: Sequence[Mail]) -> Sequence[Answer]:
        """Read `emails` and `failed_emails`, in one of which the recipient stands."""
        (mail,) = parcels
        said = reply.json
        address = parts_of(mail).to_address.lower()
        if address in (str(email).lower() for email in said.get("emails") or []):
            job = said.get("job_id")
            remote = job if isinstance(job, str) and job else None
            return [Answer(Outcome.ACCEPTED, "", reply.status, remote_id=remote)]
        failed = _failed(said, mail)
        if failed is None:
            raise ValueError("expected the recipient among emails or failed_emails")
        return [_address_answer(failed, reply)]

    def refusal(self, reply: Reply, parcels: Sequence[Mail]) -> Answer | None:
        """Read `code`, and under 204 why the one address was not sent to. Nothing was sent."""
        said = reply.json
        code = said.get("code") if isinstance(said, dict) else None
        code = code if type(code) is int else 0
        if code == 204 and (failed := _failed(said, parcels[0])):
            return _address_answer(failed, reply)
        verdict = ERRORS.get(code)
        if reply.status in (401, 403) and verdict is None:
            verdict = _Verdict.ACCOUNT
        if verdict is _Verdict.ACCOUNT:
            raise DeliveryError(f"Unisender Go refuses our account: {reply.text}; {_advice(code)}")
        if verdict is _Verdict.LATER:
            pause = retry_after(reply.headers) or DAILY_PAUSE
            return Answer(Outcome.DEFERRED, reply.text, reply.status, None, pause, Scope.SERVER)
        if verdict is _Verdict.KNOWN:
            return Answer(Outcome.UNCERTAIN, f"handed over before: {reply.text}"[:LONGEST_TEXT], reply.status)
        return None


def _advice(code: int) -> str:
    if code == 114:
        return "set delivery.unisender_go.base_url to the host where the account was opened, go1 or go2"
    if code in (1523, 1588):
        return "ask support for the right to leave out the unsubscribe block, or set own_unsubscribe to false"
    return "check delivery.unisender_go.api_key_env and the account's domains and tariff"


def _failed(said: Any, mail: Mail) -> str | None:
    """Return the status of the mail's address in `failed_emails`."""
    failed = said.get("failed_emails")
    if not isinstance(failed, dict):
        return None
    address = parts_of(mail).to_address.lower()
    return next((str(status) for email, status in failed.items() if email.lower() == address), None)


def _address_answer(status: str, reply: Reply) -> Answer:
    """Return what the status of a failed address means for its mail."""
    verdict = FAILED_EMAILS.get(status, _Verdict.REFUSED)
    text = f"{status[:40]}: {reply.text}"[:LONGEST_TEXT]
    if verdict is _Verdict.AWAY:
        return Answer(Outcome.DEFERRED, text, reply.status, retry_after=UNAVAILABLE)
    if verdict is _Verdict.KNOWN:
        return Answer(Outcome.UNCERTAIN, text, reply.status)
    return Answer(Outcome.REFUSED, text, reply.status, dead_address=verdict is _Verdict.DEAD)


def _key(key: str) -> str:
    """Return the mail's key, or its hash where it is longer than Unisender takes."""
    return key if len(key) <= LONGEST_KEY else blake2b(key.encode(), digest_size=32).hexdigest()
