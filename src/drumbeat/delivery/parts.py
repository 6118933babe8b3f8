"""What providers that take a mail's parts as JSON have in common."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from drumbeat.delivery import Mail, Parts
from drumbeat.delivery.http import Call
from drumbeat.errors import DeliveryError


def parts_of(mail: Mail) -> Parts:
    """Return the mail's parts. Raises DeliveryError where it has none, which only a fault of ours can cause."""
    if mail.parts is None:
        raise DeliveryError(f"the mail {mail.key} came without its parts; providers take no finished message")
    return mail.parts


def json_call(
    path: str,
    content: Any,
    *,
    headers: Mapping[str, str] | None = None,
    auth: tuple[str, str] | None = None,
) -> Call:
    r"""Return a POST of the content as JSON in UTF-8.

    Not by `requests`, whose JSON writes each letter beyond ASCII as `\uXXXX`: three times the bytes for a
    mail in Cyrillic, while providers limit the bytes of a call. Lone surrogates, which no UTF-8 has, become
    question marks.
    """
    body = json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")
    kinds = {"Content-Type": "application/json", "Accept": "application/json"}
    return Call(path, body=body, headers={**kinds, **(headers or {})}, auth=auth)
