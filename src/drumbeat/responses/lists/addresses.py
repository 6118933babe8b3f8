"""The keys of suppressions, as people write them."""

from __future__ import annotations

import re

from drumbeat.ingest.people import email_key

_PHONE = re.compile(r"tel:\+[1-9]\d{6,14}")
_CHAT = re.compile(r"tg:-?\d{1,20}")

LONGEST = 320
"""Characters of an address: 64 before the @ and 255 behind it (RFC 5321, 4.5.3.1)."""


def address_key(text: str) -> str:
    """Return the key of an address, `@example.com` (a whole domain), `tel:+44...` or `tg:...`.

    Raises ValueError for anything else.
    """
    written = text.strip()
    if _PHONE.fullmatch(written) or _CHAT.fullmatch(written):
        return written
    if written.startswith(("tel:", "tg:")):
        raise ValueError(
            f"'{written[:40]}' is neither a phone such as tel:+442079460000 nor a chat such as tg:12345"
        )
    if len(written) > LONGEST:
        raise ValueError(f"'{written[:40]}...' is longer than an address can be")
    if written.startswith("@"):
        try:
            return email_key(f"x{written}")[1:]
        except ValueError:
            raise ValueError(f"'{written[:80]}' is no domain; expected for example @example.com") from None
    if "@" not in written:
        raise ValueError(
            f"'{written[:80]}' is no address; expected name@example.com, or @example.com for a whole domain"
        )
    return email_key(written)
