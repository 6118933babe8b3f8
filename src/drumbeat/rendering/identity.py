"""The names that one message bears on its way: Message-ID and return path, and how to find them again.

Both carry the message's mail token (links.py), so that a bounce or a complaint, however it was forwarded
and rewritten, tells which message it is about, and nobody can make one up.
"""

from __future__ import annotations

import re
from hashlib import blake2b

from drumbeat.rendering.headers import domain_in_ascii
from drumbeat.rendering.links import MAIL_TOKEN, Links

_RUNS = re.compile(rf"[A-Za-z2-7]{{{MAIL_TOKEN},}}")
_MOST_TRIES = 200
"""A text of letters alone could ask for a MAC at each of them."""


def message_id(key: bytes, domain: str, *parts: object, token: str = "") -> str:
    """Return a Message-ID that is always the same for the same parts, and tells a reader nothing of them.

    `<HASH.TOKEN@domain>`, without a token `<HASH@domain>`. A mail that is handed over twice carries the same
    one, so some receivers drop the second.
    """
    named = "\x1f".join(str(part) for part in parts).encode("utf-8", "surrogatepass")
    digest = blake2b(
        named, key=blake2b(key, digest_size=32).digest(), digest_size=16, person=b"drumbeat.msgid"
    )
    dotted = f".{token}" if token else ""
    return f"<{digest.hexdigest()}{dotted}@{domain_in_ascii(domain)}>"


def return_path(mailbox: str, token: str) -> str:
    """Return the address that a message's bounces go to: `bounces+TOKEN@domain` (VERP, RFC 5233's `+`)."""
    local, _, domain = mailbox.rpartition("@")
    return f"{local}+{token}@{domain_in_ascii(domain)}"


def find_token(text: str, links: Links) -> int | None:
    """Return the message that an address or Message-ID names; None where no token of ours is in it.

    The token is found wherever it stands and however it was written, since its MAC tells ours from others:
    `bounces+TOKEN@...`, `<HASH.TOKEN@...>`, in capitals, behind `prvs=` (BATV), inside an SRS address
    (`SRS0=..=..=domain=bounces+TOKEN@..`), with `%` or `=` for the `@`, or with `%2B` for the `+`.
    """
    tries = 0
    for run in _RUNS.finditer(text):
        letters = run.group()
        # What comes before the token may touch it (%2B), so each place in the run is tried.
        for start in range(len(letters) - MAIL_TOKEN + 1):
            if (found := links.read_mail_token(letters[start : start + MAIL_TOKEN])) is not None:
                return found
            tries += 1
            if tries == _MOST_TRIES:
                return None
    return None
