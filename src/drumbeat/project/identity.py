"""Who a sender is to mail servers: its DKIM key, the address that bounces go to, its name in Gmail's reports."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, WithJsonSchema, model_validator

from drumbeat.settings import Model, Variable

_HOST = r"(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)+[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_ROOM = 37
"""Characters before the @ of a bounce address: 64 (RFC 5321, 4.5.3.1.1) less a + and a token of 26."""
_MAILBOX = re.compile(rf"[A-Za-z0-9._-]{{1,{_ROOM}}}@{_HOST}")
_SENDER_ID = re.compile(r"[A-Za-z0-9._-]{5,15}")
_DOMAIN = re.compile(_HOST)
_SELECTOR = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")


def _text(pattern: re.Pattern[str], what: str, example: str) -> BeforeValidator:
    def checked(value: Any) -> Any:
        if not isinstance(value, str) or not pattern.fullmatch(value):
            raise ValueError(f"found {value!r}; expected {what}, such as {example}")
        return value

    return BeforeValidator(checked)


Mailbox = Annotated[
    str,
    _text(
        _MAILBOX,
        f"an address of letters, digits, dots and hyphens, at most {_ROOM} of them before the @",
        "bounces@mail.example.com",
    ),
    WithJsonSchema({"type": "string", "pattern": f"^{_MAILBOX.pattern}$"}),
]
"""An address that a token can be written into."""

SenderId = Annotated[
    str,
    _text(_SENDER_ID, "5 to 15 letters, digits, dots, hyphens or underscores", "hearthside"),
    WithJsonSchema({"type": "string", "pattern": f"^{_SENDER_ID.pattern}$"}),
]
"""The last field of Feedback-ID. https://support.google.com/mail/answer/6254652"""


class Dkim(Model):
    """The key that the sender's mails are signed with (RFC 6376), where the mail server does not do it.

    Its public half is the TXT record `selector._domainkey.domain`; `drumbeat doctor` compares them.
    """

    selector: Annotated[str, _text(_SELECTOR, "a DKIM selector", "s1")] = Field(
        description="The record's name, under _domainkey"
    )
    domain: Annotated[str, _text(_DOMAIN, "a domain", "example.com")] | None = Field(
        None, description="The signing domain (d=). Default: that of the sender's address"
    )
    key_env: Variable | None = Field(None, description="The environment variable that holds the key as PEM")
    key_file: str | None = Field(None, description="The PEM file that holds the key")

    @model_validator(mode="after")
    def _one_key(self) -> Dkim:
        if (self.key_env is None) == (self.key_file is None):
            raise ValueError("needs key_env or key_file, and not both: where the private key is")
        return self
