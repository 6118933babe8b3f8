"""Where a provider sends, the doctor asks for what the provider asks for, and leaves the rest to it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, get_args

import pytest
from support.findings import told

from drumbeat.doctor.checks import examine
from drumbeat.doctor.findings import Finding, Level
from drumbeat.doctor.providers import PROVIDERS, provider_of
from drumbeat.doctor.setup import Setup
from drumbeat.project.models import Delivery

Make = Callable[..., Setup]
KEY = "k=rsa; p=MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQC0"


def examined(setup: Make, zones: dict[str, Any] | None = None, **options: Any) -> list[Finding]:
    made = setup(zones, sender={"dkim": None}, addresses=(), **options)
    return examine(made, only=["spf", "dkim", "dmarc", "mx", "ptr", "tls"])


def of(findings: list[Finding], check: str) -> list[Finding]:
    return [finding for finding in findings if finding.check == check]


def test_every_provider_that_mails_can_go_through_is_known() -> None:
    backends = set(get_args(Delivery.model_fields["backend"].annotation))
    assert set(PROVIDERS) == backends - {"smtp", "file", "console"}


@pytest.mark.parametrize("name", PROVIDERS)
def test_a_providers_facts_are_domains_and_a_page(name: str) -> None:
    provider = PROVIDERS[name]
    assert provider.docs.startswith("https://")
    assert all("." in domain and domain == domain.lower() for domain in provider.includes)
    for relay in provider.relays:
        assert provider_of(f"eu{relay}" if relay.startswith(".") else relay) is provider
        assert provider_of(f"{relay.strip('.')}.evil.example") is None


def test_through_an_api_the_return_path_is_the_providers(setup: Make) -> None:
    found = examined(setup, {"mail.example.com": None}, delivery={"backend": "postmark"})
    assert "no SPF record; Postmark sends with a return path of its own" in told(of(found, "spf"), Level.NOTE)
    assert [f.about for f in of(found, "mx")] == ["example.com"], "bounces do not come to us"
    assert told(of(found, "ptr"), Level.NOTE).startswith("Postmark: sends from its own addresses")
    assert of(found, "tls") == []


def test_through_an_api_an_include_is_welcome_and_not_asked_for(setup: Make) -> None:
    found = examined(setup, delivery={"backend": "sendgrid"})
    assert "does not include SendGrid, which is right as long as" in told(of(found, "spf"), Level.NOTE)
    assert not told(of(found, "spf"), Level.FAIL)
    zones = {
        "mail.example.com": {"TXT": ["v=spf1 include:sendgrid.net ~all"]},
        "sendgrid.net": {"TXT": ["v=spf1 ip4:198.51.100.0/24 ~all"]},
    }
    found = examined(setup, zones, delivery={"backend": "sendgrid"})
    assert "includes SendGrid (sendgrid.net)" in told(of(found, "spf"), Level.OK)


def test_through_an_api_dmarc_rests_on_the_providers_signature(setup: Make) -> None:
    delivery = {"backend": "sendgrid"}
    found = examined(setup, delivery=delivery)
    assert "none of SendGrid's selectors exists (s1, s2)" not in told(of(found, "dkim"), Level.FAIL)
    assert told(of(found, "dmarc"), Level.OK).endswith("agrees with DKIM (example.com) -> ")
    found = examined(setup, {"s1._domainkey.example.com": None}, delivery=delivery)
    assert "none of SendGrid's selectors exists (s1, s2)" in told(of(found, "dkim"), Level.FAIL)


def test_a_provider_without_fixed_selectors_has_to_be_told_which(setup: Make) -> None:
    found = examined(setup, delivery={"backend": "ses"})
    assert "Name its selector (--selector NAME)" in told(of(found, "dkim"), Level.WARN)
