"""The parts `privacy` and `retention` of project.yaml: how erased people are known again, and what is kept how long."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, PlainSerializer, WithJsonSchema, field_validator

from drumbeat.clock import format_duration, parse_duration
from drumbeat.errors import UsageError
from drumbeat.settings import Model, Variable

NEVER = "never"

REPLAYS = timedelta(days=7)
"""Providers try a call again for hours or days; for so long it is known again by its row in the inbox."""


def _period(value: Any) -> timedelta | None:
    if value == NEVER:
        return None
    if isinstance(value, timedelta):
        return value
    if isinstance(value, str):
        try:
            span = parse_duration(value)
        except UsageError as error:
            raise ValueError(f"{error}; or never") from None
        if not span:
            raise ValueError("must be longer than 0s; to keep it for ever say never")
        return span
    raise ValueError(
        f"cannot read {value!r} as a period; expected a number with h, d or w, such as 30d, or never"
    )


Period = Annotated[
    timedelta | None,
    BeforeValidator(_period),
    PlainSerializer(lambda span: NEVER if span is None else format_duration(span)),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "pattern": r"^(\s*\d+\s*[smhdw])+\s*$", "examples": ["30d", "52w"]},
                {"const": NEVER},
            ]
        }
    ),
]
"""How long something is kept: `30d`, `52w`, or `never`: it is never removed."""


class Retention(Model):
    """How long what is kept; figures of reports stay the same whatever is removed."""

    inbox: Period = Field(
        default="30d",
        validate_default=True,
        description="Providers' calls and mails as they came, once worked on; at least 7d. Failed ones stay.",
    )
    responses_raw: Period = Field(
        default="180d",
        validate_default=True,
        description="What a response was read from: the program, the server's words",
    )
    message_details: Period = Field(
        default="365d", validate_default=True, description="Servers' answers to messages, beyond their codes"
    )
    unconfirmed: Period = Field(
        default="30d",
        validate_default=True,
        description="Sign-ups that nobody confirmed, with the customers that only they made",
    )
    tasks: Period = Field(
        default="365d", validate_default=True, description="Texts of tasks that are done or cancelled"
    )
    events: Period = Field(
        default=NEVER,
        validate_default=True,
        description="Imported events; triggers and segments look back no further then",
    )
    consents_proof: Period = Field(
        default=NEVER,
        validate_default=True,
        description="What readers saw and did when they changed a consent",
    )
    audit: Period = Field(default="3650d", validate_default=True, description="Entries of the audit log")
    inactive_customers: Period = Field(
        default=NEVER,
        validate_default=True,
        description="Customers of whom nothing was heard for so long; they are made anonymous",
    )

    @field_validator("inbox")
    @classmethod
    def _not_before_replays(cls, value: timedelta | None) -> timedelta | None:
        if value is not None and value < REPLAYS:
            raise ValueError(
                f"must be at least {REPLAYS.days}d: a provider's call that comes again is known by its row"
            )
        return value


class Privacy(Model):
    """How erased people are known again."""

    key_env: Variable | None = Field(
        None,
        description="The variable with the secrets that erased addresses are hashed with, the present one first. "
        "Default: the links' secret. Secrets that links no longer accept must stay here.",
    )
