"""Find mail addresses in headers, report fields and prose."""

from __future__ import annotations

import re
from collections.abc import Iterable

# Letters beyond ASCII may stand in both halves (RFC 6531). Chinese and Japanese prose touches an address
# without a blank, so a part that began in other letters ends there.
_FAR = r"\u3005-\u30ff\u3400-\u9fff\uac00-\ud7a3"
_NEAR = r"\u00c0-\u0fff"
_ATOM = r"A-Za-z0-9!#$%&'*+/=?^_`{|}~.\-"
_LOCAL = rf"[{_ATOM}{_NEAR}]{{1,64}}|[{_FAR}][{_ATOM}{_FAR}]{{0,63}}|\"[^\"\n]{{1,62}}\""
_LABEL = rf"[A-Za-z0-9_{_NEAR}-]{{1,63}}|[{_FAR}][A-Za-z0-9{_FAR}-]{{0,62}}"
_DOMAIN = rf"(?:{_LABEL})(?:\.(?:{_LABEL})){{0,20}}"
ADDRESS = re.compile(rf"(?:{_LOCAL})@(?:{_DOMAIN})")
_ENTRIES = re.compile(r"(?:\"[^\"]{0,300}\"|[^,\"]|\")+")
_ESCAPED = re.compile(r"\\x\{([0-9A-Fa-f]{2,6})\}")


def addresses_in(text: str) -> list[str]:
    """Return the addresses in a text, in order, each once. Spelling is kept but for what stands around them."""
    return unique(filter(None, (tidy(match.group()) for match in ADDRESS.finditer(text))))


def header_addresses(*values: str) -> list[str]:
    """Return the addresses of header fields; one in angle brackets outdoes what stands before it as a name."""
    found: list[str] = []
    for value in values:
        for entry in _ENTRIES.findall(value):
            bracketed = re.findall(r"<([^<>]{1,330})>", entry)
            found += addresses_in(bracketed[-1] if bracketed else entry)
    return unique(found)


def first_address(text: str) -> str | None:
    """Return the first address in a text; None without one."""
    return next(iter(addresses_in(text)), None)


def field_address(value: str) -> str | None:
    """Return the address of a recipient field of a report, such as `rfc822; <ada@example.com>`.

    `utf-8` addresses (RFC 6533) have their `\\x{..}` read. None for what is no mail address (`x400;...`, a pipe).
    """
    kind, semicolon, rest = value.partition(";")
    address = rest if semicolon else kind
    if kind.strip().lower().startswith("utf-8"):
        address = _ESCAPED.sub(_letter, address)
    return first_address(address)


def unique(values: Iterable[str]) -> list[str]:
    """Return each value once, in order; letters' case does not tell two apart."""
    return list({value.lower(): value for value in reversed(list(values))}.values())[::-1]


def same(one: str, other: str) -> bool:
    """Say whether two addresses are the same but for the case of letters."""
    return one.lower() == other.lower()


def tidy(found: str) -> str | None:
    """Return an address that ADDRESS found without the marks around it; None for what is none after all."""
    local, _, domain = found.rpartition("@")
    # Prose and mailto links leave their marks around an address.
    local = local.removeprefix("mailto:").lstrip("'`*") if not local.startswith('"') else local
    domain = domain.rstrip(".!?*'")
    if not local or not domain or domain.startswith((".", "-")) or ".." in domain:
        return None
    return f"{local}@{domain}"


def _letter(match: re.Match[str]) -> str:
    number = int(match.group(1), 16)
    return chr(number) if number < 0x110000 and not 0xD800 <= number < 0xE000 else ""
