"""What receivers conclude from an SPF record: `check_host` of RFC 7208, with its limits counted.

Beyond a receiver's question, whether one address may send, this walks a whole record with no address at all:
what it costs the receiver of a mail that matches nothing is what the limits are about.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass, field
from typing import TypeAlias

from drumbeat.doctor.dns import Dns
from drumbeat.doctor.spf_record import Mechanism, SpfSyntaxError, is_spf, parse_spf

Address: TypeAlias = "ipaddress.IPv4Address | ipaddress.IPv6Address"

MOST_LOOKUPS = 10
"""Terms that ask the DNS. RFC 7208, 4.6.4."""
MOST_VOID = 2
"""Lookups without an answer. RFC 7208, 4.6.4."""
_MOST_NAMES = 10
"""Mail servers of one mx, names of one ptr."""
_GIVE_UP = 40
"""A record that asks more than this is not followed to its end: how far above ten it is does not matter."""

_RESULTS = {"+": "pass", "-": "fail", "~": "softfail", "?": "neutral"}
_MACRO = re.compile(r"%(?:\{([a-zA-Z])(\d*)(r?)([.\-+,/_=]*)\}|([%_-]))")


class PermError(Exception):
    """The record cannot be used: receivers treat it as none, or as a failure."""


@dataclass
class Walk:
    """One evaluation: what it found and what it cost.

    `result`: pass, fail, softfail, neutral, none or permerror. `by`: the terms that decided, outermost first.
    `problem`: why it is a permerror. `lookups`, `void`: what counts towards the limits. `uses_ptr`: RFC 7208,
    5.5, says not to. `included`: the domains of all includes and redirects.
    """

    result: str = "none"
    by: tuple[str, ...] = ()
    problem: str = ""
    lookups: int = 0
    void: int = 0
    uses_ptr: bool = False
    included: list[str] = field(default_factory=list)


def check_host(dns: Dns, domain: str, address: Address | None, sender: str = "") -> Walk:
    """Evaluate the domain's record for an IP address; without one for an address that matches nothing.

    `sender`: the envelope address, for records with macros. Without an address the limits are counted and not
    enforced. Raises NoDnsAnswerError where the DNS does not answer.
    """
    walk = Walk()
    try:
        walk.result, walk.by = _Host(dns, address, sender or f"postmaster@{domain}", walk).check(domain, ())
    except PermError as error:
        walk.result, walk.problem = "permerror", str(error)
    return walk


class _Host:
    def __init__(self, dns: Dns, address: Address | None, sender: str, walk: Walk) -> None:
        self._dns, self._address, self._sender, self._walk = dns, address, sender, walk

    def check(self, domain: str, way: tuple[str, ...]) -> tuple[str, tuple[str, ...]]:
        """Return the result for a domain and the terms that led to it."""
        if domain in way:
            raise PermError(f"{domain} includes itself")
        records = [text for text in self._dns.txt(domain) if is_spf(text)]
        if not records:
            return "none", ()
        if len(records) > 1:
            raise PermError(f"{domain} has {len(records)} SPF records, and only one is allowed")
        try:
            record = parse_spf(records[0])
        except SpfSyntaxError as error:
            raise PermError(f"{domain}: {error}") from None
        for mechanism in record.mechanisms:
            matched = self._matches(mechanism, domain, (*way, domain))
            if matched is not None:
                return _RESULTS[mechanism.qualifier], matched
        if record.redirect is None:
            return "neutral", ()
        self._count()
        target = self._expanded(record.redirect, domain)
        self._walk.included.append(target)
        result, by = self.check(target, (*way, domain))
        if result == "none":
            raise PermError(f"redirect={target} leads to a domain without an SPF record")
        return result, (f"redirect={target}", *by)

    def _matches(self, mechanism: Mechanism, domain: str, way: tuple[str, ...]) -> tuple[str, ...] | None:
        """Return the terms that matched, or None."""
        said = (str(mechanism),)
        if mechanism.name == "all":
            return said
        if mechanism.network is not None:
            return said if self._address is not None and self._address in mechanism.network else None
        self._count()
        target = self._expanded(mechanism.value, domain) if mechanism.value else domain
        if mechanism.name == "include":
            self._walk.included.append(target)
            result, by = self.check(target, way)
            if result == "none":
                raise PermError(f"include:{target} leads to a domain without an SPF record")
            return (*said, *by) if result == "pass" else None  # without an address only by +all
        if mechanism.name == "ptr":
            self._walk.uses_ptr = True
            return said if self._has_name_in(target) else None
        if mechanism.name == "exists":
            if self._address is None and "%" in mechanism.value:
                return None
            found = self._found(self._dns.addresses(target, ["A"]))
            return said if found and self._address is not None else None
        hosts = [target]
        if mechanism.name == "mx":
            hosts = [host for _, host in self._dns.mx(target)]
            self._found(hosts)
            if len(hosts) > _MOST_NAMES:
                raise PermError(f"{mechanism} has {len(hosts)} mail servers, and {_MOST_NAMES} are allowed")
        return said if self._has_address(hosts, mechanism, counted=mechanism.name == "a") else None

    def _has_address(self, hosts: list[str], mechanism: Mechanism, *, counted: bool) -> bool:
        wide = self._address is not None and self._address.version == 6
        kinds = ("A", "AAAA") if self._address is None else ("AAAA",) if wide else ("A",)
        prefix = mechanism.prefix6 if wide else mechanism.prefix4
        for host in hosts:
            found = self._dns.addresses(host, kinds)
            if counted:
                self._found(found)
            if self._address is not None and any(
                self._address in ipaddress.ip_network(f"{one}/{prefix}", strict=False) for one in found
            ):
                return True
        return False

    def _has_name_in(self, domain: str) -> bool:
        if self._address is None:
            return False
        names = self._dns.names_of(str(self._address))[:_MOST_NAMES]
        self._found(names)
        inside = [n for n in names if n.lower() == domain.lower() or n.lower().endswith(f".{domain.lower()}")]
        return any(str(self._address) in self._dns.addresses(name) for name in inside)

    def _found(self, records: list[str]) -> bool:
        if not records:
            self._walk.void += 1
            if self._walk.void > MOST_VOID and self._address is not None:
                raise PermError(f"more than {MOST_VOID} lookups find nothing")
        return bool(records)

    def _count(self) -> None:
        self._walk.lookups += 1
        most = MOST_LOOKUPS if self._address is not None else _GIVE_UP
        if self._walk.lookups > most:
            raise PermError(f"more than {most} lookups")

    def _expanded(self, spec: str, domain: str) -> str:
        """Fill in the macros of a domain (RFC 7208, 7)."""
        local, _, sender_domain = self._sender.rpartition("@")
        address = self._address or ipaddress.ip_address("192.0.2.0")
        dotted = ".".join(address.exploded.replace(":", "")) if address.version == 6 else str(address)
        values = {
            "s": self._sender,
            "l": local or "postmaster",
            "o": sender_domain,
            "d": domain,
            "i": dotted,
            "p": "unknown",
            "v": "ip6" if address.version == 6 else "in-addr",
            "h": domain,
        }

        def fill(found: re.Match[str]) -> str:
            letter, digits, backwards, delimiters, literal = found.groups()
            if literal:
                return {"%": "%", "_": " ", "-": "%20"}[literal]
            value = values.get(letter.lower(), "unknown")
            parts = re.split(f"[{re.escape(delimiters or '.')}]", value)
            if backwards:
                parts.reverse()
            return ".".join(parts[-int(digits) :] if digits and int(digits) else parts)

        # Names over 253 characters lose labels on the left (7.3).
        name = _MACRO.sub(fill, spec).rstrip(".")
        while len(name) > 253 and "." in name:
            name = name.partition(".")[2]
        return name
