"""DMARC: the record that applies is found by walking up, and the From domain must agree with SPF or DKIM."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from servers.dns import DnsServer
from support.findings import told

from drumbeat.doctor.dmarc_record import is_dmarc, organisational, policy_for, walk
from drumbeat.doctor.dns import Dns
from drumbeat.doctor.findings import Finding, Level
from drumbeat.doctor.setup import organisation

Check = Callable[..., list[Finding]]
Start = Callable[..., DnsServer]


def dmarc(text: str) -> dict[str, list[str]]:
    return {"TXT": [text]}


@pytest.mark.parametrize(
    ("zones", "domain", "organisation", "applies"),
    [
        ({"example.com": "v=DMARC1"}, "example.com", "example.com", "example.com"),
        ({"example.com": "v=DMARC1"}, "a.mail.example.com", "example.com", "example.com"),
        (
            {"example.com": "v=DMARC1", "mail.example.com": "v=DMARC1"},
            "a.mail.example.com",
            "example.com",
            "example.com",
        ),
        (
            {"mail.example.com": "v=DMARC1; psd=n"},
            "a.mail.example.com",
            "mail.example.com",
            "mail.example.com",
        ),
        ({"com": "v=DMARC1; psd=y"}, "a.mail.example.com", "example.com", "com"),
        ({"com": "v=DMARC1; psd=y"}, "example.com", "example.com", "com"),
        (
            {"com": "v=DMARC1; psd=y", "example.com": "v=DMARC1"},
            "mail.example.com",
            "example.com",
            "example.com",
        ),
        ({}, "mail.example.com", "mail.example.com", None),
        ({"example.com": "v=spf1"}, "example.com", "example.com", None),
    ],
)
def test_the_organisation_is_found_as_rfc_9989_has_it(
    dns: Start, zones: dict[str, str], domain: str, organisation: str, applies: str | None
) -> None:
    server = dns(
        {"_dmarc.example.com": None, **{f"_dmarc.{name}": dmarc(text) for name, text in zones.items()}}
    )
    asked = Dns([("127.0.0.1", server.port)])
    assert organisational(asked, domain) == organisation
    record = policy_for(walk(asked, domain), domain, organisation)
    assert (record.domain if record else None) == applies


def test_a_name_of_many_labels_costs_eight_questions(dns: Start) -> None:
    server = dns({"_dmarc.example.com": None})
    walk(Dns([("127.0.0.1", server.port)]), "a.b.c.d.e.f.g.h.i.j.mail.example.com")
    assert [name for name, _ in server.asked] == [
        "_dmarc.a.b.c.d.e.f.g.h.i.j.mail.example.com",
        "_dmarc.g.h.i.j.mail.example.com",
        "_dmarc.h.i.j.mail.example.com",
        "_dmarc.i.j.mail.example.com",
        "_dmarc.j.mail.example.com",
        "_dmarc.mail.example.com",
        "_dmarc.example.com",
        "_dmarc.com",
    ]


def test_the_version_comes_first_and_in_capitals() -> None:
    assert [is_dmarc(text) for text in ("v=DMARC1", "v = DMARC1 ;p=none", "V=DMARC1; p=none")] == [True] * 3
    assert not any(is_dmarc(text) for text in ("v=dmarc1", "p=none; v=DMARC1", "v=DMARC10", "", "DMARC1"))


def test_a_sound_record_is_ok(check: Check) -> None:
    found = check("dmarc")
    assert {f.level for f in found} == {Level.OK}
    assert "agrees with DKIM (example.com) and SPF (mail.example.com)" in told(found, Level.OK)


@pytest.mark.parametrize(
    ("records", "level", "words"),
    [
        (
            None,
            Level.FAIL,
            'no DMARC record, here or above -> Publish at _dmarc.example.com: TXT "v=DMARC1; p=none;',
        ),
        (
            ["v=DMARC1; p=none", "v=DMARC1; p=reject"],
            Level.FAIL,
            "several DMARC records; receivers then use none",
        ),
        (["v=DMARC1; p=nothing; rua=mailto:a@example.com"], Level.FAIL, "p=nothing is no policy"),
        (["v=DMARC1; p=none; rua=mailto:a@example.com"], Level.OK, "then p=reject"),
        (["v=DMARC1; p=reject"], Level.WARN, "nobody gets reports"),
        (
            ["v=DMARC1; p=reject; rua=https://x.example"],
            Level.WARN,
            "rua=https://x.example is no mailto: address",
        ),
        (["v=DMARC1; p=reject; rua=mailto:"], Level.WARN, "is no mailto: address"),
        (["v=DMARC1; p=reject; pct=20; rua=mailto:a@example.com"], Level.WARN, "pct=20: only a part"),
        (
            ["v=DMARC1; p=reject; rua=mailto:a@reports.example!10m"],
            Level.WARN,
            "reports.example has not agreed",
        ),
    ],
)
def test_each_way_to_get_it_wrong_is_told(
    check: Check, records: list[str] | None, level: Level, words: str
) -> None:
    found = check("dmarc", {"_dmarc.example.com": {"TXT": records} if records else None})
    assert words in told(found, level)


def test_reports_to_another_organisation_need_its_consent(check: Check) -> None:
    zones = {
        "_dmarc.example.com": dmarc(
            "v=DMARC1; p=reject; rua=mailto:a@x.reports.example,mailto:b@mail.example.com"
        ),
        "example.com._report._dmarc.x.reports.example": dmarc("v=DMARC1;"),
    }
    assert not told(check("dmarc", zones), Level.WARN)


def test_a_subdomains_policy_is_that_of_its_organisation(check: Check) -> None:
    record = dmarc("v=DMARC1; p=reject; sp=quarantnie; rua=mailto:a@example.com")
    found = check("dmarc", {"_dmarc.example.com": record}, sender={"address": "shop@news.example.com"})
    assert "news.example.com: sp=quarantnie is no policy" in told(found, Level.FAIL)
    assert "(at example.com)" in told(found, Level.FAIL)


@pytest.mark.parametrize(
    ("record", "sender", "level", "words"),
    [
        ("adkim=s", {}, Level.OK, "agrees with DKIM (example.com) and SPF (mail.example.com)"),
        ("adkim=s; aspf=s", {}, Level.OK, "agrees with DKIM (example.com), not with SPF (mail.example.com)"),
        (
            "",
            {"dkim": None},
            Level.WARN,
            "agrees with SPF (mail.example.com) alone; forwarded mails will fail",
        ),
        (
            "aspf=s",
            {"dkim": None},
            Level.WARN,
            "agrees with neither DKIM (example.com) nor SPF (mail.example.com)",
        ),
        (
            "",
            {
                "bounces": "b@other.example",
                "dkim": {"selector": "s1", "domain": "mailer.example", "key_env": "SHOP_DKIM"},
            },
            Level.FAIL,
            "agrees with neither DKIM (mailer.example) nor SPF (other.example): DMARC fails",
        ),
        (
            "adkim=s",
            {"dkim": {"selector": "s1", "domain": "mail.example.com", "key_env": "SHOP_DKIM"}},
            Level.WARN,
            "agrees with SPF (mail.example.com) alone",
        ),
    ],
)
def test_the_from_domain_must_agree_with_dkim_or_spf(
    check: Check, record: str, sender: dict[str, Any], level: Level, words: str
) -> None:
    zones = {"_dmarc.example.com": dmarc(f"v=DMARC1; p=reject; {record}; rua=mailto:a@example.com")}
    assert words in told(check("dmarc", zones, sender=sender), level)


@pytest.mark.parametrize(
    ("domain", "expected"),
    [
        ("example.com", "example.com"),
        ("a.b.example.com", "example.com"),
        ("shop.example.co.uk", "example.co.uk"),
        ("example.co", "example.co"),
        ("com", "com"),
    ],
)
def test_the_likely_organisation_is_enough_for_advice(domain: str, expected: str) -> None:
    assert organisation(domain) == expected
