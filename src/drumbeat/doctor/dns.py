"""Questions to the DNS, each with a time-out and all of them with one together."""

from __future__ import annotations

import ipaddress
import re
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from drumbeat.doctor.findings import Finding, Reporter
from drumbeat.errors import DrumbeatError, UsageError

if TYPE_CHECKING:
    import dns.resolver

PORT = 53
EACH_S = 3.0
"""Seconds for one question, further tries included."""
TOTAL_S = 30.0
"""Seconds of waiting for all questions of an examination together."""
_UDP_PAYLOAD = 1232
"""Octets that pass everywhere unfragmented (DNS flag day 2020); longer answers are asked for over TCP."""


class NoDnsAnswerError(DrumbeatError):
    """The DNS did not answer, or answered that it cannot: nothing is known about the name."""


class SilenceError(NoDnsAnswerError):
    """Nothing came back in time: the resolver itself may be out of reach."""


@dataclass(frozen=True)
class Reply:
    """Records of one kind; `missing`: the name does not exist at all (NXDOMAIN)."""

    records: tuple[Any, ...] = ()
    missing: bool = False


class Dns:
    """Asks a resolver and remembers what it said.

    `servers`: addresses and ports; the machine's own resolvers where None. Names are in ASCII. Every method
    raises NoDnsAnswerError where the DNS does not answer; an answer that there is nothing is an empty one.
    """

    def __init__(
        self,
        servers: Sequence[tuple[str, int]] | None = None,
        *,
        each: float = EACH_S,
        total: float = TOTAL_S,
    ) -> None:
        self._resolver = _resolver(servers)
        self._each, self._total, self._left = each, total, total
        self._known: dict[tuple[str, str], Reply | NoDnsAnswerError] = {}
        self.name = _shown(servers) if servers else "this machine's resolver"

    def txt(self, name: str) -> list[str]:
        """Return the TXT records, each with its strings joined (RFC 7208, 3.3)."""
        return [
            b"".join(record.strings).decode("utf-8", "replace") for record in self._ask(name, "TXT").records
        ]

    def addresses(self, name: str, kinds: Sequence[str] = ("A", "AAAA")) -> list[str]:
        """Return the IP addresses of a host."""
        return [record.address for kind in kinds for record in self._ask(name, kind).records]

    def mx(self, name: str) -> list[tuple[int, str]]:
        """Return the mail servers of a domain with their preferences, the first to be tried first."""
        records = self._ask(name, "MX").records
        return sorted((record.preference, _text(record.exchange)) for record in records)

    def names_of(self, address: str) -> list[str]:
        """Return the names of an IP address (PTR)."""
        pointer = ipaddress.ip_address(address).reverse_pointer
        return [_text(record.target) for record in self._ask(pointer, "PTR").records]

    def alias(self, name: str) -> str | None:
        """Return what the name is an alias of (CNAME), or None."""
        return next((_text(record.target) for record in self._ask(name, "CNAME").records), None)

    def exists(self, name: str) -> bool:
        """Say whether there is such a name, with records of whatever kind."""
        return not self._ask(name, "A").missing

    def _ask(self, name: str, kind: str) -> Reply:
        key = (name.lower().rstrip("."), kind)
        if key not in self._known:
            self._known[key] = self._answer(*key)
        if isinstance(known := self._known[key], NoDnsAnswerError):
            raise known
        return known

    def _answer(self, name: str, kind: str) -> Reply | NoDnsAnswerError:
        import dns.exception
        import dns.name
        import dns.resolver

        if self._left <= 0:
            return SilenceError(
                f"{kind} of {name} was not asked for: {self._total:g} s of waiting are used up"
            )
        started = time.monotonic()
        try:
            answer = self._resolver.resolve(
                dns.name.from_text(name), kind, raise_on_no_answer=False, lifetime=min(self._each, self._left)
            )
            return Reply(tuple(answer.rrset or ()))
        except dns.resolver.NXDOMAIN:
            return Reply(missing=True)
        except dns.resolver.LifetimeTimeout:
            waited = time.monotonic() - started
            return SilenceError(f"no answer from {self.name} about {kind} of {name} within {waited:.0f} s")
        except dns.resolver.NoNameservers as error:
            return NoDnsAnswerError(f"{self.name} cannot tell {kind} of {name}: {_why(error)}")
        except (dns.exception.DNSException, UnicodeError, ValueError):
            return Reply(missing=True)  # no name that DNS could hold
        finally:
            self._left -= time.monotonic() - started


def as_far_as_answered(says: Reporter, about: str, findings: Iterable[Finding]) -> Iterator[Finding]:
    """Pass findings on; where the DNS does not answer, end with one that says so."""
    try:
        yield from findings
    except NoDnsAnswerError as error:
        yield says.fail(about, f"could not be looked at: {error}", "Try again, or with another --resolver.")


def read_resolver(text: str) -> tuple[str, int]:
    """Return the address and port of `--resolver`: `9.9.9.9`, `127.0.0.1:5353`, `[::1]:5353`. Raises UsageError."""
    found = re.fullmatch(r"\[([^\]]+)\](?::(\d{1,5}))?|([^:]+):(\d{1,5})|(.+)", text.strip())
    host = next((part for part in found.group(1, 3, 5) if part), "") if found else ""
    port = next((part for part in found.group(2, 4) if part), str(PORT)) if found else ""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        host = ""
    if not host or not 0 < int(port) < 65536:
        raise UsageError(
            f"'{text}' is no resolver; expected an IP address, with a port if not 53: 127.0.0.1:5353"
        )
    return host, int(port)


def _resolver(servers: Sequence[tuple[str, int]] | None) -> dns.resolver.Resolver:
    import dns.exception
    import dns.nameserver
    import dns.resolver

    try:
        resolver = dns.resolver.Resolver(configure=servers is None)
    except dns.exception.DNSException as error:
        raise UsageError(f"this machine has no resolver set up ({error}); name one with --resolver") from None
    if servers is not None:
        resolver.nameservers = [dns.nameserver.Do53Nameserver(host, port) for host, port in servers]
    resolver.timeout = 1.5
    resolver.use_edns(0, 0, _UDP_PAYLOAD)
    return resolver


def _shown(servers: Sequence[tuple[str, int]]) -> str:
    return ", ".join(f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in servers)


def _text(name: Any) -> str:
    """Return a name without its last dot; the root is `.`."""
    return name.to_text(omit_final_dot=True) or "."


def _why(error: Exception) -> str:
    """Return the word of each server that answered, such as SERVFAIL."""
    words = {str(trouble[3]) for trouble in getattr(error, "kwargs", {}).get("errors", ())}
    return ", ".join(sorted(word.removeprefix("The DNS ") for word in words)) or "no usable answer"
