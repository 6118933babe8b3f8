"""What the senders to a URL of the project's own choosing share: the URL itself, headers with secrets, placeholders.

In headers and bodies `{to}`, `{text}` and the like stand for the message's own values, `{SOME_NAME}` in capitals
for the environment variable of that name, so that no secret stands in a file; `{{` and `}}` are plain braces.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field

from drumbeat.delivery.http import api_key
from drumbeat.settings import Duration, Model

_PLACE = re.compile(r"\{\{|\}\}|\{([A-Za-z_][A-Za-z0-9_]*)\}|[{}]")
_SECRET = re.compile(r"[A-Z][A-Z0-9_]*")
_HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")

Url = Annotated[
    str,
    Field(
        pattern=r"^(https://[^\s/?#@]+|http://(localhost|127\.0\.0\.1|\[::1\])(:[0-9]+)?)(/[^\s#]*)?(\?[^\s#]*)?$"
    ),
]
"""Where messages go. Without TLS on this machine alone: they carry people's data."""


def _header_names(value: dict[str, str]) -> dict[str, str]:
    for name, text in value.items():
        if not _HEADER.fullmatch(name):
            raise ValueError(f"found {name!r}; expected a header's name, such as Authorization")
        check_places(text, ())
    return value


Headers = Annotated[dict[str, str], AfterValidator(_header_names)]
"""Headers by name; `{SOME_NAME}` stands for an environment variable."""


class EndpointSettings(Model):
    """What such senders' settings share."""

    headers: Headers = Field(
        default_factory=dict, description="Further headers; {NAME} is an environment variable"
    )
    timeout: Duration = Field(
        default="30s", validate_default=True, description="How long to wait for an answer"
    )
    connections: int = Field(4, ge=1, le=64, description="How many calls may be under way at once")


def parted(url: str) -> tuple[str, str]:
    """Return a URL as the place that is connected to and the path with its query, just as they stand."""
    parts = urlsplit(url)
    base = f"{parts.scheme}://{parts.netloc}"
    return base, url[len(base) :]


def check_places(text: str, known: tuple[str, ...]) -> None:
    """Raise ValueError for a placeholder that nothing fills."""
    for found in _PLACE.finditer(text):
        name = found.group(1)
        if found.group() in "{}":
            raise ValueError(
                f"a lone {found.group()} stands in {text!r}; write it twice, or {{to}} and the like"
            )
        if name is not None and name not in known and not _SECRET.fullmatch(name):
            given = ", ".join(f"{{{one}}}" for one in known) or "none"
            raise ValueError(
                f"unknown placeholder {{{name}}}; known: {given}, and environment variables in capitals"
            )


def filled(text: str, values: Mapping[str, str], secret: Callable[[str], str]) -> str:
    """Return the text with each placeholder replaced. `secret`: gives an environment variable's value."""

    def value(found: re.Match[str]) -> str:
        name = found.group(1)
        if name is None:
            return found.group()[0]
        return values[name] if name in values else secret(name)

    return _PLACE.sub(value, text)


def filled_in(value: Any, values: Mapping[str, str], secret: Callable[[str], str]) -> Any:
    """Return a JSON value with the placeholders in all its texts replaced."""
    if isinstance(value, str):
        return filled(value, values, secret)
    if isinstance(value, dict):
        return {key: filled_in(inner, values, secret) for key, inner in value.items()}
    return [filled_in(inner, values, secret) for inner in value] if isinstance(value, list) else value


def secrets_in(value: Any) -> set[str]:
    """Return the environment variables that a text, or all texts of a JSON value, name."""
    if isinstance(value, str):
        return {
            found.group(1)
            for found in _PLACE.finditer(value)
            if found.group(1) and _SECRET.fullmatch(found.group(1))
        }
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return set().union(*(secrets_in(one) for one in inner))


class Secrets:
    """The values of the environment variables that some settings name, read once. Raises DeliveryError."""

    def __init__(self, setting: str, *values: Any) -> None:
        names = set().union(*(secrets_in(value) for value in values))
        self._known = {name: api_key(name, setting) for name in sorted(names)}

    def __call__(self, name: str) -> str:
        """Return a variable's value."""
        return self._known[name]
