"""A shop whose mail set-up is right in every respect, for tests to break in one."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from servers.dns import DnsServer, dns_server

from drumbeat.doctor.checks import examine
from drumbeat.doctor.dns import Dns
from drumbeat.doctor.findings import Finding
from drumbeat.doctor.setup import Setup
from drumbeat.rendering.dkim import public_half

NOW = datetime(2026, 11, 5, 9, 0, tzinfo=UTC)
KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
PEM = KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
SENDER: dict[str, Any] = {
    "name": "The Shop",
    "address": "shop@example.com",
    "postal_address": "1 High Street",
    "bounces": "bounces@mail.example.com",
    "dkim": {"selector": "s1", "key_env": "SHOP_DKIM"},
}
SOUND: dict[str, Any] = {
    "example.com": {"MX": ["10 mx.example.com."], "TXT": ["v=spf1 mx -all", "site-verification=1"]},
    "mail.example.com": {"MX": ["10 mx.example.com."], "TXT": ["v=spf1 ip4:192.0.2.10 -all"]},
    "mx.example.com": {"A": ["192.0.2.10"]},
    "10.2.0.192.in-addr.arpa": {"PTR": ["mx.example.com."]},
    "s1._domainkey.example.com": {"TXT": [f"v=DKIM1; k=rsa; p={public_half(KEY)}"]},
    "_dmarc.example.com": {"TXT": ["v=DMARC1; p=reject; rua=mailto:dmarc@example.com"]},
    "click.example.com": {"A": ["127.0.0.1"]},
}

Examine = Callable[..., list[Finding]]


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    """The shop's DKIM key is where its project says."""
    monkeypatch.setenv("SHOP_DKIM", PEM)


@pytest.fixture
def dns() -> Iterator[Callable[..., DnsServer]]:
    """Run a DNS server with the sound zones changed: `dns({"example.com": {...}, "mx.example.com": None})`."""
    with ExitStack() as stack:

        def start(changes: dict[str, Any] | None = None) -> DnsServer:
            return stack.enter_context(dns_server(zones(changes)))

        yield start


def zones(changes: dict[str, Any] | None = None) -> dict[str, Any]:
    """The sound zones; a change of None removes a name."""
    found = {**copy.deepcopy(SOUND), **(changes or {})}
    return {name: records for name, records in found.items() if records is not None}


@pytest.fixture
def setup(make_project: Any, dns: Callable[..., DnsServer]) -> Callable[..., Setup]:
    """Make what is examined: `setup(zones={...}, sender={...}, delivery={...}, base_url=..., addresses=[...])`."""

    def make(
        zones: dict[str, Any] | None = None,
        *,
        sender: dict[str, Any] | None = None,
        senders: dict[str, Any] | None = None,
        delivery: dict[str, Any] | None = None,
        base_url: str = "https://click.example.com",
        files: dict[str, str] | None = None,
        campaigns: dict[str, Any] | None = None,
        total: float = 20.0,
        each: float = 3.0,
        **options: Any,
    ) -> Setup:
        changed = {k: v for k, v in {**SENDER, **(sender or {})}.items() if v is not None}
        project = {
            "project": "minimal",
            "senders": senders or {"shop": changed},
            "topics": {"offers": "Offers", "news": "News"},
            "delivery": delivery or {"backend": "file"},
            "tracking": {"base_url": base_url},
        }
        loaded = make_project({"project.yaml": json.dumps(project), **(files or {})}, campaigns=campaigns)
        server = dns(zones)
        options.setdefault("addresses", ("192.0.2.10",))
        return Setup(
            project=loaded,
            dns=Dns([("127.0.0.1", server.port)], each=each, total=total),
            now=NOW,
            timeout=1.5,
            **options,
        )

    return make


@pytest.fixture
def check(setup: Callable[..., Setup]) -> Examine:
    """Make one check and return its findings: `check("spf", {"mail.example.com": {...}})`."""

    def made(name: str, *arguments: Any, **options: Any) -> list[Finding]:
        return [f for f in examine(setup(*arguments, **options), only=[name]) if f.check == name]

    return made
