"""Webhooks of providers that sign nothing: a password shows who calls, the events themselves when.

Nothing shows that the body is as the provider wrote it: use TLS. Nor is the time of the call known: what is
older than `webhook_max_age` by its newest event is stale, and within that time a call that was seen before is
told by its replay key. The age is generous by default, since providers repeat a call for up to a day and may
be late themselves; the inbox must remember the replay keys for as long.
"""

from __future__ import annotations

import hashlib
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, ClassVar

from drumbeat.delivery.unsigned import UnsignedWebhookSettings
from drumbeat.errors import DeliveryError, InputError
from drumbeat.responses.webhooks import Event, Forged, Stale, Verified, WebhookCall
from drumbeat.responses.webhooks.payload import basic_auth, document, instant, same, table
from drumbeat.settings import needed_secret

LONGEST_LINK = 8_000
"""Characters of a link; one that is cut off leads elsewhere."""

DEEPEST = 20
"""Levels of lists and objects in a body; providers use four. What is deeper could not be stored again."""


@dataclass(frozen=True)
class Credentials:
    """What a genuine call shows; all of it that is set up. The secrets are compared in constant time."""

    basic: tuple[str, str] | None = field(default=None, repr=False)
    bearer: str | None = field(default=None, repr=False)
    header: tuple[str, str] | None = field(default=None, repr=False)
    """A header's name in small letters, and its value."""

    def check(self, call: WebhookCall) -> None:
        """Raises Forged where the call does not show them."""
        if self.basic is not None:
            # As one text, so that the time does not tell whether the user alone was right.
            given = ":".join(basic_auth(call.headers) or ())
            if not same(given, ":".join(self.basic)):
                raise Forged("the call's user and password are missing or wrong; check the webhook's URL")
        if self.bearer is not None:
            scheme, _, token = call.headers.get("authorization", "").partition(" ")
            if not same(token.strip(), self.bearer) or scheme.lower() != "bearer":
                raise Forged("the call's bearer token is missing or wrong; check how the webhook was created")
        if self.header is not None and not same(call.headers.get(self.header[0]), self.header[1]):
            raise Forged(
                f"the call's header {self.header[0]} is missing or wrong; check the webhook's headers"
            )


def credentials(
    name: str,
    settings: UnsignedWebhookSettings,
    *,
    token_env: str | None = None,
    header: str | None = None,
    header_env: str | None = None,
) -> Credentials:
    """Return what the provider's calls must show.

    Raises DeliveryError where a variable is not set, or where nothing is to be shown: a webhook that believes
    everybody lets anyone unsubscribe anyone.
    """
    here = f"delivery.{name}"
    user, password = settings.webhook_username_env, settings.webhook_password_env
    if (user is None) != (password is None):
        raise DeliveryError(
            f"{here} has one of webhook_username_env and webhook_password_env; set both or none"
        )
    if (header is None) != (header_env is None):
        raise DeliveryError(f"{here} has one of webhook_header and webhook_header_env; set both or none")
    if user and token_env:
        # Both would stand in the Authorization header, of which a call has one.
        raise DeliveryError(
            f"{here} asks webhook calls for a password and for a token; set one of them to null"
        )
    basic = bearer = named = None
    if user and password:
        basic = (
            needed_secret(user, f"{here}.webhook_username_env"),
            needed_secret(password, f"{here}.webhook_password_env"),
        )
    if token_env:
        bearer = needed_secret(token_env, f"{here}.webhook_token_env")
    if header and header_env:
        named = (header.lower(), needed_secret(header_env, f"{here}.webhook_header_env"))
    if not (basic or bearer or named):
        raise DeliveryError(
            f"{here} asks webhook calls for nothing; name the variables with their user and password"
        )
    return Credentials(basic, bearer, named)


class UnsignedWebhook:
    """Base of such a provider's webhook. Subclasses read one event and say where its time stands."""

    name: str
    times: ClassVar[tuple[str, ...]]
    """The fields that may say when an event was; the first that can be read counts."""

    def __init__(self, settings: UnsignedWebhookSettings, shown: Credentials) -> None:
        self.settings = settings
        self.credentials = shown

    def verify(self, call: WebhookCall) -> Verified:
        """Check who calls, then how old the news is. Raises Forged or Stale.

        A body that cannot be read is genuine all the same: it is kept, and `events` says what is wrong.
        """
        self.credentials.check(call)
        whole = "sha256:" + hashlib.sha256(call.body).hexdigest()
        try:
            found = entries(call.body)
        except InputError:
            return Verified(whole, keep=bool(call.body.strip()))
        moments = [self.moment(entry, call.received_at) for entry in found]
        if moments and call.received_at - max(moments) > self.settings.webhook_max_age:
            raise Stale(
                f"the newest event is of {max(moments):%Y-%m-%d %H:%M} UTC, older than delivery.{self.name}."
                "webhook_max_age allows"
            )
        own = self.own_key(found[0]) if len(found) == 1 else None
        return Verified(own or whole, keep=bool(found))

    def events(self, call: WebhookCall) -> Sequence[Event]:
        """Read every event of a stored call. Raises InputError where it cannot be read at all."""
        return [self.event(entry, self.moment(entry, call.received_at)) for entry in entries(call.body)]

    def follow_up(self, call: WebhookCall) -> None:
        """Nothing is left to do."""

    @abstractmethod
    def event(self, entry: Mapping[str, Any], at: datetime) -> Event:
        """Return the normalised event. Every value of `entry` may be anything."""

    def own_key(self, entry: Mapping[str, Any]) -> str | None:
        """Return the provider's own name of this one fact, where it has one."""
        del entry
        return None

    def moment(self, entry: Mapping[str, Any], received_at: datetime) -> datetime:
        """Return when the event was; the time of the call where it does not say."""
        for name in self.times:
            if (at := instant(entry.get(name), received_at)) != received_at:
                return at
        return received_at


def entries(body: bytes) -> list[Mapping[str, Any]]:
    """Return the objects of a body: one object, or a list of them.

    An element that is no object becomes `{"unreadable": element}`, so that the rest of its list is not lost.
    Raises InputError where the body is no JSON, something else than that, or nested too deep.
    """
    found = document(body)
    if _deeper(found, DEEPEST):
        raise InputError(f"the call's body is nested more than {DEEPEST} levels deep; expected events")
    if isinstance(found, dict):
        return [found]
    if not isinstance(found, list):
        raise InputError(f"the call's body is {type(found).__name__}; expected an event or a list of events")
    return [entry if isinstance(entry, dict) else {"unreadable": entry} for entry in found]


def within(value: Any) -> Mapping[str, Any]:
    """Return the object that stands as JSON in a text; an empty one for anything else."""
    if not isinstance(value, str):
        return {}
    try:
        return table(document(value.encode("utf-8", "replace")))
    except InputError:
        return {}


def _deeper(value: Any, levels: int) -> bool:
    if isinstance(value, dict):
        return levels == 0 or any(_deeper(inner, levels - 1) for inner in value.values())
    if isinstance(value, list):
        return levels == 0 or any(_deeper(inner, levels - 1) for inner in value)
    return False
