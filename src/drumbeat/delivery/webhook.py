"""A webhook of our own: each message is a POST of JSON to one URL, signed, and safe to repeat.

Signed as Standard Webhooks says (https://www.standardwebhooks.com), for which there are libraries in most
languages: `webhook-signature: v1,<base64>` is the HMAC-SHA256 of `<webhook-id>.<webhook-timestamp>.<body>`.

`webhook-id`, and `Idempotency-Key` with the same value, is the message's own key: it stays the same however often
a call is made again. A receiver must take each once; then a lost answer costs nothing, and the call is made again
until one comes.
"""

from __future__ import annotations

import hmac
from base64 import b64decode, b64encode
from binascii import Error as NotBase64
from collections.abc import Sequence
from dataclasses import replace
from hashlib import sha256
from typing import ClassVar, Literal

from pydantic import Field

from drumbeat.clock import Clock, SystemClock
from drumbeat.delivery import Answer, Note, Outcome, Scope
from drumbeat.delivery.endpoint import EndpointSettings, Secrets, Url, filled, parted
from drumbeat.delivery.http import Call, HttpBackend, Reply
from drumbeat.errors import DeliveryError
from drumbeat.settings import Variable, needed_secret

PREFIX = "whsec_"
"""What a secret in Standard Webhooks' form begins with; base64 follows."""

SHORTEST = 24
"""Bytes of a key, as Standard Webhooks asks."""


class WebhookSettings(EndpointSettings):
    """`delivery.webhook` of project.yaml."""

    backend: Literal["file", "http"] = Field("file", description="`file` writes payloads into a folder")
    url: Url | None = Field(None, description="Where payloads are posted to")
    secret_env: Variable | None = Field(
        "DRUMBEAT_WEBHOOK_SECRET", description="The key of signatures, whsec_ and base64; null: not signed"
    )
    idempotent: bool = Field(
        True, description="The receiver takes each webhook-id once, so a call may be made again"
    )

    @property
    def lacks(self) -> str | None:
        """Return what is missing to send by it."""
        return "url" if self.url is None else None


class WebhookBackend(HttpBackend):
    """Posts payloads."""

    name = "webhook"
    batch_size: ClassVar[int] = 1

    def __init__(self, settings: WebhookSettings, clock: Clock | None = None) -> None:
        if settings.url is None:
            raise DeliveryError("delivery.webhook in project.yaml has no url; set it, or backend: file")
        base, self._path = parted(settings.url)
        super().__init__(base, timeout=settings.timeout.total_seconds(), connections=settings.connections)
        self.settings = settings
        # The machine's own time: a receiver compares it with its own, whatever day a demo plays.
        self._clock = clock or SystemClock()
        self._secret = Secrets("delivery.webhook.headers", settings.headers)
        self._key = None if settings.secret_env is None else signing_key(settings.secret_env)

    def call(self, parcels: Sequence[Note]) -> Call:
        """Return the call that posts one payload."""
        (note,) = parcels
        body = note.text.encode()
        stamp = str(int(self._clock.now().timestamp()))
        headers = {name: filled(text, {}, self._secret) for name, text in self.settings.headers.items()}
        headers |= {
            "Content-Type": "application/json",
            "Idempotency-Key": note.key,
            "webhook-id": note.key,
            "webhook-timestamp": stamp,
        }
        if self._key is not None:
            headers["webhook-signature"] = signature(self._key, note.key, stamp, body)
        return Call(self._path, body=body, headers=headers, idempotent=self.settings.idempotent)

    def accepted(self, reply: Reply, parcels: Sequence[Note]) -> Sequence[Answer]:
        """Take any 2xx."""
        del parcels
        return [Answer(Outcome.ACCEPTED, reply.text, reply.status)]

    def refusal(self, reply: Reply, parcels: Sequence[Note]) -> Answer | None:
        """Read 410: Standard Webhooks' word for an endpoint that wants no more calls."""
        del parcels
        if reply.status == 410:
            raise DeliveryError(
                f"the receiver at {self.base_url} wants no more calls: {reply.text}; check delivery.webhook.url"
            )
        return None

    def _reply(self, call: Call) -> Reply | Answer:
        found = super()._reply(call)
        if call.idempotent and isinstance(found, Answer) and found.outcome is Outcome.UNCERTAIN:
            # Taken or not, the same call is safe to make again. An answer may be about this payload alone.
            scope = Scope.SERVER if found.code is None else Scope.MESSAGE
            return replace(found, outcome=Outcome.DEFERRED, scope=scope)
        return found


def signing_key(variable: str) -> bytes:
    """Return the key from an environment variable: base64 after `whsec_`, else the text itself. Raises DeliveryError."""
    value = needed_secret(variable, "delivery.webhook.secret_env").strip()
    key = value.encode()
    if value.startswith(PREFIX):
        try:
            key = b64decode(value.removeprefix(PREFIX), validate=True)
        except (NotBase64, ValueError):
            key = b""
    if len(key) < SHORTEST:
        raise DeliveryError(
            f"the environment variable {variable} (delivery.webhook.secret_env in project.yaml) is no key of"
            f" at least {SHORTEST} bytes; make one: echo whsec_$(openssl rand -base64 32)"
        )
    return key


def signature(key: bytes, name: str, stamp: str, body: bytes) -> str:
    """Return the header's value for a call."""
    signed = f"{name}.{stamp}.".encode() + body
    return "v1," + b64encode(hmac.new(key, signed, sha256).digest()).decode()
