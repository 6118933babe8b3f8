"""SMS through any provider with an HTTP API: one call a message, made up as project.yaml says.

    delivery:
      sms:
        backend: http
        http:
          url: https://api.provider.example/v1/messages
          headers: {Authorization: "Bearer {SMS_API_KEY}"}
          json: {to: "{to}", text: "{text}", reference: "{key}"}
          id: data.0.id

The body is `json`, or a `form`. What an answer means is told by its status, as with every HTTP provider
(delivery.http); a provider that answers 200 to everything says in its body how it went: `accepted_if`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from drumbeat.delivery import Answer, Note, Outcome, Scope
from drumbeat.delivery.endpoint import EndpointSettings, Secrets, Url, check_places, filled, filled_in, parted
from drumbeat.delivery.http import Call, HttpBackend, Reply, retry_after
from drumbeat.delivery.http_wire import LONGEST_TEXT
from drumbeat.settings import Model

PLACES = ("to", "digits", "text", "key", "token", "campaign")
"""What may stand in braces: the number as +44..., its digits alone, the text, the message's own stable key (an
idempotency key), its signed token, and the campaign's name."""


class AcceptedIf(Model):
    """Where an answer's JSON says whether the message was taken."""

    path: str = Field(min_length=1, description="Where to look, such as status or messages.0.error")
    one_of: tuple[str | int | bool | None, ...] = Field(
        min_length=1, description="What stands there where it was"
    )


class SmsHttpSettings(EndpointSettings):
    """`delivery.sms.http` of project.yaml."""

    url: Url | None = None
    method: Literal["POST", "PUT"] = "POST"
    json_: dict[str, Any] | list[Any] | None = Field(
        None, alias="json", description="The body as JSON, with {to}, {text} and the like"
    )
    form: dict[str, str] | None = Field(
        None, description="The body as a form, with {to}, {text} and the like"
    )
    id: str | None = Field(None, description="Where the provider's name of the message stands: data.0.id")
    accepted_if: AcceptedIf | None = None
    dead: tuple[str | int, ...] = Field(
        (), description="Error codes, as `error` finds them, that say the number takes no SMS at all"
    )
    unsubscribed: tuple[str | int, ...] = Field((), description="Error codes that say its owner opted out")
    later: tuple[str | int, ...] = Field((), description="Error codes that ask to try again later")
    error: str | None = Field(None, description="Where a refusal's error code stands: error.code")
    idempotent: bool = Field(
        False, description="The provider takes the same {key} once, so a call may be repeated"
    )

    @field_validator("json_", "form")
    @classmethod
    def _known_places(cls, value: Any) -> Any:
        for text in _texts(value):
            check_places(text, PLACES)
        return value

    @model_validator(mode="after")
    def _one_body(self) -> SmsHttpSettings:
        if self.json_ is not None and self.form is not None:
            raise ValueError("json and form are both given; a call has one body")
        if self.error is None and (self.dead or self.unsubscribed or self.later):
            raise ValueError("dead, unsubscribed and later need error, which says where a code stands")
        body = self.json_ if self.json_ is not None else self.form
        if self.idempotent and body is not None and not any("{key}" in text for text in _texts(body)):
            raise ValueError(
                "idempotent needs {key} in the body: it is what the provider tells a repetition by"
            )
        return self

    @property
    def lacks(self) -> str | None:
        """Return what is missing to send by it."""
        if self.url is None:
            return "url"
        return "json or form" if self.json_ is None and self.form is None else None


class SmsHttpBackend(HttpBackend):
    """Hands SMS to the API that the settings describe."""

    name = "sms_http"
    batch_size: ClassVar[int] = 1

    def __init__(self, settings: SmsHttpSettings) -> None:
        base, self._path = parted(str(settings.url))
        super().__init__(base, timeout=settings.timeout.total_seconds(), connections=settings.connections)
        self.settings = settings
        self._secret = Secrets("delivery.sms.http", settings.headers, settings.json_, settings.form)

    def call(self, parcels: Sequence[Note]) -> Call:
        """Return the call that sends one message."""
        (note,) = parcels
        settings = self.settings
        values = {
            "to": note.to,
            "digits": note.to.removeprefix("+"),
            "text": note.text,
            "key": note.key,
            "token": note.token,
            "campaign": note.campaign,
        }
        headers = {name: filled(text, {}, self._secret) for name, text in settings.headers.items()}
        return Call(
            self._path,
            json=None if settings.json_ is None else filled_in(settings.json_, values, self._secret),
            data=None if settings.form is None else filled_in(settings.form, values, self._secret),
            headers=headers,
            idempotent=settings.idempotent,
            method=settings.method,
        )

    def accepted(self, reply: Reply, parcels: Sequence[Note]) -> Sequence[Answer]:
        """Read a 2xx: taken, unless the body says otherwise."""
        del parcels
        settings, said = self.settings, reply.json
        if settings.accepted_if is not None:
            found = at(said, settings.accepted_if.path)
            if said is None:
                raise ValueError("expected JSON")
            if found not in settings.accepted_if.one_of:
                return [self._refused(reply)]
        name = at(said, settings.id) if settings.id is not None else None
        remote_id = str(name) if isinstance(name, str | int) and not isinstance(name, bool) else None
        return [Answer(Outcome.ACCEPTED, reply.text, reply.status, remote_id=remote_id)]

    def refusal(self, reply: Reply, parcels: Sequence[Note]) -> Answer | None:
        """Read a 4xx whose code the settings know."""
        del parcels
        if self.settings.error is None or reply.status // 100 != 4:
            return None
        code = at(reply.json, self.settings.error)
        settings = self.settings
        known = (*settings.dead, *settings.unsubscribed, *settings.later)
        return self._refused(reply) if _among(code, known) else None

    def _refused(self, reply: Reply) -> Answer:
        settings = self.settings
        code = at(reply.json, settings.error) if settings.error is not None else None
        if _among(code, settings.later):
            wait = retry_after(reply.headers)
            return Answer(Outcome.DEFERRED, reply.text, reply.status, None, wait, Scope.SERVER)
        return Answer(
            Outcome.REFUSED,
            reply.text[:LONGEST_TEXT],
            reply.status,
            dead_address=_among(code, settings.dead),
            unsubscribed=_among(code, settings.unsubscribed),
        )


def at(value: Any, path: str) -> Any:
    """Return what stands at a path such as `data.0.id` in a JSON value; None where there is nothing."""
    for step in path.split("."):
        if isinstance(value, dict):
            value = value.get(step)
        elif isinstance(value, list) and step.isascii() and step.isdigit() and int(step) < len(value):
            value = value[int(step)]
        else:
            return None
    return value


def _among(code: Any, known: Sequence[str | int]) -> bool:
    """Compare codes as they are written: some providers send `21610`, some `"21610"`."""
    return isinstance(code, str | int) and not isinstance(code, bool) and str(code) in map(str, known)


def _texts(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [text for one in inner for text in _texts(one)]
