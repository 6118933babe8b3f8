"""An SPF record read into its terms. RFC 7208, sections 4.6, 5 and 12."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import TypeAlias

Network: TypeAlias = "ipaddress.IPv4Network | ipaddress.IPv6Network"

MECHANISMS = ("all", "include", "a", "mx", "ptr", "ip4", "ip6", "exists")
_TERM = re.compile(r"([+\-?~]?)([A-Za-z][A-Za-z0-9._-]*)(?:([:=/])(.*))?", re.DOTALL)
_CIDR = re.compile(r"(?:/(\d{1,3}))?(?://(\d{1,3}))?")
_SPEC = re.compile(r"(?:[!-$&-~]|%\{[slodiphcrtvSLODIPHCRTV]\d*r?[.\-+,/_=]*\}|%%|%_|%-)*")


class SpfSyntaxError(Exception):
    """A term that receivers cannot read, which makes the whole record worthless to them (permerror)."""


@dataclass(frozen=True)
class Mechanism:
    """One mechanism: `qualifier` is +, -, ~ or ?; `value` a domain; `network` of ip4 and ip6."""

    qualifier: str
    name: str
    value: str = ""
    network: Network | None = None
    prefix4: int = 32
    prefix6: int = 128

    def __str__(self) -> str:
        sign = "" if self.qualifier == "+" else self.qualifier
        if self.network is not None:
            whole = self.network.prefixlen == self.network.max_prefixlen
            return f"{sign}{self.name}:{self.network.network_address if whole else self.network}"
        return f"{sign}{self.name}{':' if self.value else ''}{self.value}"


@dataclass(frozen=True)
class SpfRecord:
    """The mechanisms in order, and where the record leads when none matched.

    `misspelt`: mechanisms written with `=`, which receivers take for unknown modifiers and ignore.
    """

    mechanisms: tuple[Mechanism, ...]
    redirect: str | None = None
    misspelt: tuple[str, ...] = ()

    @property
    def last_word(self) -> str | None:
        """Return the qualifier of `all`, or None where the record ends without one."""
        return next((one.qualifier for one in self.mechanisms if one.name == "all"), None)


def is_spf(text: str) -> bool:
    """Say whether a TXT record is one of SPF (RFC 7208, 4.5)."""
    return text.lower() == "v=spf1" or text.lower().startswith("v=spf1 ")


def parse_spf(text: str) -> SpfRecord:
    """Return the record's terms. Raises SpfSyntaxError with the first term that is wrong."""
    mechanisms: list[Mechanism] = []
    modifiers: dict[str, str] = {}
    misspelt: list[str] = []
    for term in text[len("v=spf1") :].split(" "):
        if not term:
            continue
        found = _TERM.fullmatch(term)
        if found is None:
            raise SpfSyntaxError(f"'{term}' is no term of SPF")
        sign, name, separator, value = found.group(1), found.group(2).lower(), found.group(3), found.group(4)
        if separator == "=":
            if sign:
                raise SpfSyntaxError(f"'{term}' has a sign before a modifier")
            if name in ("redirect", "exp") and name in modifiers:
                raise SpfSyntaxError(f"{name}= stands twice")
            modifiers[name] = _domain(term, value) if name in ("redirect", "exp") else value
            misspelt += [term] if name in MECHANISMS else []
        elif name in MECHANISMS:
            given = value if separator == ":" else f"/{value}" if separator else None
            mechanisms.append(_mechanism(term, sign or "+", name, given, separator))
        else:
            raise SpfSyntaxError(f"'{term}' is no mechanism of SPF ({', '.join(MECHANISMS)})")
    return SpfRecord(tuple(mechanisms), modifiers.get("redirect"), tuple(misspelt))


def _mechanism(term: str, sign: str, name: str, value: str | None, separator: str | None) -> Mechanism:
    if name == "all":
        if value is not None:
            raise SpfSyntaxError(f"'{term}' has something behind all")
        return Mechanism(sign, name)
    if name in ("ip4", "ip6"):
        return Mechanism(sign, name, network=_network(term, name, value))
    if name in ("include", "exists"):
        if separator != ":":
            raise SpfSyntaxError(f"'{term}' names no domain")
        return Mechanism(sign, name, _domain(term, value))
    domain, slash, rest = (value or "").partition("/")
    if separator == ":" and not domain:
        raise SpfSyntaxError(f"'{term}' names no domain")
    if name == "ptr":
        if slash:
            raise SpfSyntaxError(f"'{term}' has a prefix length, which ptr cannot have")
        return Mechanism(sign, name, _domain(term, domain) if domain else "")
    cidr = _CIDR.fullmatch(slash + rest)
    prefix4, prefix6 = (int(n) if n else None for n in cidr.groups()) if cidr else (None, None)
    if cidr is None or (prefix4 or 0) > 32 or (prefix6 or 0) > 128:
        raise SpfSyntaxError(f"'{term}' has a wrong prefix length")
    return Mechanism(
        sign,
        name,
        _domain(term, domain) if domain else "",
        None,
        32 if prefix4 is None else prefix4,
        128 if prefix6 is None else prefix6,
    )


def _network(term: str, name: str, value: str | None) -> Network:
    try:
        network = ipaddress.ip_network(value or "", strict=False)
    except ValueError:
        raise SpfSyntaxError(f"'{term}' has no IP address behind {name}:") from None
    if network.version != int(name[2]):
        raise SpfSyntaxError(f"'{term}' has an IPv{network.version} address behind {name}:")
    return network


def _domain(term: str, value: str | None) -> str:
    if not value or not _SPEC.fullmatch(value):
        raise SpfSyntaxError(f"'{term}' names no domain that can be looked up")
    return value
