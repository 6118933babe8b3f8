"""What every model of a YAML file shares: unknown keys are faults, spans and names have one spelling."""

from __future__ import annotations

import os
import re
from datetime import timedelta
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, WithJsonSchema

from drumbeat.clock import format_duration, parse_duration
from drumbeat.errors import DeliveryError, UsageError

NAME_PATTERN = r"^[a-z][a-z0-9_]{0,62}$"

Name = Annotated[str, Field(pattern=NAME_PATTERN)]
"""A name in YAML: small letters, digits and underscores."""

Variable = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
"""The name of an environment variable that holds a secret. Secrets themselves never stand in a file."""


def _duration(value: Any) -> timedelta:
    if isinstance(value, timedelta):
        return value
    if isinstance(value, str):
        try:
            return parse_duration(value)
        except UsageError as error:
            raise ValueError(str(error)) from None
    raise ValueError(
        f"cannot read {value!r} as a duration; expected a number with s, m, h, d or w, such as 4h"
    )


Duration = Annotated[
    timedelta,
    BeforeValidator(_duration),
    PlainSerializer(format_duration),
    WithJsonSchema(
        {"type": "string", "pattern": r"^(\s*\d+\s*[smhdw])+\s*$", "examples": ["30m", "4h", "3d", "2w"]}
    ),
]
"""A span of time as a marketer writes it: `30m`, `4h`, `3d`, `1d12h`. A day is 24 hours."""


_RATE = re.compile(r"(\d{1,9})\s*/\s*(s|m|h|d)")
_SPANS = {
    "s": timedelta(seconds=1),
    "m": timedelta(minutes=1),
    "h": timedelta(hours=1),
    "d": timedelta(days=1),
}


def _rate(value: Any) -> str:
    found = _RATE.fullmatch(value.strip()) if isinstance(value, str) else None
    if found is None or int(found.group(1)) == 0:
        raise ValueError(
            f"cannot read {value!r} as a rate; expected for example 10/s, 100/m, 2000/h or 50000/d"
        )
    return str(value).strip()


Rate = Annotated[
    str,
    BeforeValidator(_rate),
    WithJsonSchema({"type": "string", "pattern": r"^\s*\d+\s*/\s*[smhd]\s*$", "examples": ["100/m"]}),
]
"""So many messages in a span: `10/s`, `100/m`, `2000/h`, `50000/d`."""


def interval(rate: str) -> timedelta:
    """Return the time between two messages at a checked Rate."""
    found = _RATE.fullmatch(rate)
    assert found is not None  # noqa: S101 - a Rate was checked when it was read
    return _SPANS[found.group(2)] / int(found.group(1))


class Model(BaseModel):
    """Base of all: frozen, unknown keys refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


def secret(variable: str | None, setting: str) -> str | None:
    """Return the value of the environment variable that the setting names; None where it names none.

    `setting`: its place in project.yaml, such as `delivery.smtp.password_env`. Raises DeliveryError where the
    variable is not set or empty.
    """
    if variable is None:
        return None
    if not (value := os.environ.get(variable)):
        raise DeliveryError(
            f"the environment variable {variable} is not set; {setting} in project.yaml names it"
        )
    return value


def needed_secret(variable: str, setting: str) -> str:
    """Return the value of an environment variable that must be set. Raises DeliveryError."""
    value = secret(variable, setting)
    assert value is not None  # noqa: S101 - only a setting without a variable gives None
    return value
