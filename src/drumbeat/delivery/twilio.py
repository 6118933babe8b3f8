"""Twilio: one call a message. https://www.twilio.com/docs/messaging/api/message-resource

There is no idempotency key for messages: a call whose answer is lost leaves its message UNCERTAIN, until a status
callback tells. Error codes: https://www.twilio.com/docs/api/errors; what carriers say (30001 and up) comes by
status callback alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import Enum, auto
from typing import Any, ClassVar
from urllib.parse import quote, urlsplit

from pydantic import Field, model_validator

from drumbeat.delivery import Answer, Note, Outcome, Scope
from drumbeat.delivery.http import BaseUrl, Call, HttpBackend, HttpSettings, Reply, api_key, retry_after
from drumbeat.delivery.http_wire import LONGEST_TEXT
from drumbeat.errors import DeliveryError
from drumbeat.settings import Variable

STOP_WORDS = ("STOP", "STOPALL", "UNSUBSCRIBE", "CANCEL", "END", "QUIT", "ARRET", "ARRETE", "ARRETT", "STOPP")
"""What readers send to end messages; Twilio itself acts on the English ones."""


class TwilioSettings(HttpSettings):
    """`delivery.twilio` of project.yaml. Either `from` or `messaging_service_sid` says who it is from."""

    base_url: BaseUrl = "https://api.twilio.com"
    account_sid_env: Variable = "TWILIO_ACCOUNT_SID"
    auth_token_env: Variable = Field(
        "TWILIO_AUTH_TOKEN", description="The account's token; it also proves that callbacks are Twilio's"
    )
    key_sid_env: Variable | None = Field(None, description="An API key to send with, in the token's place")
    key_secret_env: Variable | None = None
    from_: str | None = Field(
        None,
        alias="from",
        pattern=r"^(\+[1-9][0-9]{5,14}|[0-9]{3,8}|[A-Za-z0-9 _-]{1,11})$",
        description="A number of yours, a short code, or an alphanumeric name, where the country allows one",
    )
    messaging_service_sid: str | None = Field(None, pattern=r"^MG[0-9a-fA-F]{32}$")
    validity: int | None = Field(
        None, ge=1, le=36000, description="Seconds after which Twilio gives up a message still in its queue"
    )
    stop_words: tuple[str, ...] = Field(
        STOP_WORDS, description="Messages of one of these words end marketing to that number"
    )

    @model_validator(mode="after")
    def _one_of_two(self) -> TwilioSettings:
        if self.from_ is not None and self.messaging_service_sid is not None:
            raise ValueError("from and messaging_service_sid are both given; keep one")
        if (self.key_sid_env is None) != (self.key_secret_env is None):
            raise ValueError("key_sid_env and key_secret_env go together; set both or none")
        return self

    @property
    def lacks(self) -> str | None:
        """Return what is missing to send by it."""
        return None if self.from_ or self.messaging_service_sid else "from or messaging_service_sid"


class _Verdict(Enum):
    DEAD = auto()  # this number, for good
    UNSUBSCRIBED = auto()  # its owner replied STOP
    REFUSED = auto()  # this message, for good
    LATER = auto()  # not now
    ACCOUNT = auto()  # our account or its set-up: every message would get the same


ERRORS: Mapping[int, _Verdict] = {
    10001: _Verdict.ACCOUNT,  # account is not active
    14107: _Verdict.LATER,  # message rate limit exceeded
    20003: _Verdict.ACCOUNT,  # authenticate
    20005: _Verdict.ACCOUNT,  # account not active
    20006: _Verdict.ACCOUNT,  # access denied
    20008: _Verdict.ACCOUNT,  # test credentials cannot do this
    20404: _Verdict.ACCOUNT,  # no such account
    20429: _Verdict.LATER,  # too many requests; never processed, as documented
    21211: _Verdict.DEAD,  # invalid To
    21212: _Verdict.ACCOUNT,  # invalid From
    21217: _Verdict.DEAD,  # the number does not appear to be valid
    21408: _Verdict.REFUSED,  # the account may not send to that country
    21602: _Verdict.REFUSED,  # no body
    21603: _Verdict.ACCOUNT,  # no From
    21604: _Verdict.DEAD,  # no To
    21606: _Verdict.ACCOUNT,  # From cannot send SMS
    21608: _Verdict.REFUSED,  # a trial account, and To is not verified
    21609: _Verdict.ACCOUNT,  # invalid StatusCallback
    21610: _Verdict.UNSUBSCRIBED,  # the recipient has replied STOP
    21611: _Verdict.LATER,  # From has too many messages queued
    21612: _Verdict.REFUSED,  # no route from this From to that To
    21614: _Verdict.DEAD,  # To is no mobile number
    21617: _Verdict.REFUSED,  # more than 1,600 characters
    21659: _Verdict.ACCOUNT,  # From is no Twilio number or short code
    21660: _Verdict.ACCOUNT,  # From belongs to another account
    21703: _Verdict.ACCOUNT,  # the messaging service has no numbers
    21705: _Verdict.ACCOUNT,  # invalid messaging service
    21730: _Verdict.LATER,  # maintenance
}
"""Twilio's error codes, as far as a send can meet them. Any other refuses the message."""


class TwilioBackend(HttpBackend):
    """Hands SMS to Twilio. `base_url`: the public address of `drumbeat serve`, where status callbacks go."""

    name = "twilio"
    batch_size: ClassVar[int] = 1

    def __init__(self, settings: TwilioSettings, base_url: str = "") -> None:
        super().__init__(
            settings.base_url,
            timeout=settings.timeout.total_seconds(),
            connections=settings.connections,
        )
        if settings.lacks is not None:
            raise DeliveryError(
                f"delivery.twilio in project.yaml has no {settings.lacks}; set one of the two"
            )
        self.settings = settings
        here = "delivery.twilio"
        sid = api_key(settings.account_sid_env, f"{here}.account_sid_env")
        if settings.key_sid_env and settings.key_secret_env:
            self._auth = (
                api_key(settings.key_sid_env, f"{here}.key_sid_env"),
                api_key(settings.key_secret_env, f"{here}.key_secret_env"),
            )
        else:
            self._auth = (sid, api_key(settings.auth_token_env, f"{here}.auth_token_env"))
        self._path = f"/2010-04-01/Accounts/{quote(sid, safe='')}/Messages.json"
        self._callback = f"{base_url.rstrip('/')}/hooks/twilio" if _is_public(base_url) else None

    def call(self, parcels: Sequence[Note]) -> Call:
        """Return the call that creates one message."""
        (note,) = parcels
        settings = self.settings
        form: dict[str, Any] = {"To": note.to, "Body": note.text}
        if settings.messaging_service_sid:
            form["MessagingServiceSid"] = settings.messaging_service_sid
        else:
            form["From"] = settings.from_
        if settings.validity is not None:
            form["ValidityPeriod"] = settings.validity
        if self._callback is not None:
            # Twilio signs the whole URL, so nobody else can name a message by it.
            form["StatusCallback"] = (
                f"{self._callback}?drumbeat={note.token}" if note.token else self._callback
            )
        return Call(self._path, data=form, auth=self._auth)

    def accepted(self, reply: Reply, parcels: Sequence[Note]) -> Sequence[Answer]:
        """Read the message as Twilio created it."""
        del parcels
        said = reply.json
        sid, status, code = said["sid"], said.get("status"), said.get("error_code")
        if status in ("failed", "undelivered", "canceled"):
            return [
                _answer(
                    code if type(code) is int else 0, f"{status} {code}: {said.get('error_message')}", reply
                )
            ]
        return [Answer(Outcome.ACCEPTED, str(status), reply.status, remote_id=str(sid))]

    def refusal(self, reply: Reply, parcels: Sequence[Note]) -> Answer | None:
        """Read an error by its code."""
        del parcels
        said = reply.json
        code = said.get("code") if isinstance(said, dict) else None
        if type(code) is not int or (code not in ERRORS and reply.status != 400):
            return None
        return _answer(code, f"{code}: {said.get('message')}", reply)


def _answer(code: int, words: str, reply: Reply) -> Answer:
    text = " ".join(words.split())[:LONGEST_TEXT]
    verdict = ERRORS.get(code, _Verdict.REFUSED)
    if verdict is _Verdict.ACCOUNT:
        raise DeliveryError(
            f"Twilio refuses our account or its set-up: {text}; check delivery.twilio in project.yaml and"
            " console.twilio.com"
        )
    if verdict is _Verdict.LATER:
        return Answer(Outcome.DEFERRED, text, reply.status, None, retry_after(reply.headers), Scope.SERVER)
    return Answer(
        Outcome.REFUSED,
        text,
        reply.status,
        dead_address=verdict is _Verdict.DEAD,
        unsubscribed=verdict is _Verdict.UNSUBSCRIBED,
    )


def _is_public(base_url: str) -> bool:
    """Say whether Twilio could reach the address: it refuses a message with a callback that it cannot (21609)."""
    host = urlsplit(base_url).hostname or ""
    return "." in host.strip(".") and "_" not in host and not host.startswith("127.") and host != "0.0.0.0"  # noqa: S104
