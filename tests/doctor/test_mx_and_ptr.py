"""Bounces and answers can come back, and each sending address has a name that leads back to it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from servers.smtp import smtp_server
from support.findings import told

from drumbeat.doctor.findings import Finding, Level

Check = Callable[..., list[Finding]]


def test_mail_servers_that_are_there_are_ok(check: Check) -> None:
    found = check("mx", sender={"reply_to": "care@mail.example.com"})
    assert told(found, Level.OK).splitlines() == [
        "mail.example.com: bounces and answers go to mx.example.com -> ",
        "example.com: answers go to mx.example.com -> ",
    ]
    assert len(found) == 2


@pytest.mark.parametrize(
    ("records", "level", "words"),
    [
        (None, Level.FAIL, "takes no mail (no MX, no address): bounces are lost"),
        ({"A": ["192.0.2.10"]}, Level.WARN, "no MX record; some servers try the domain's own address"),
        ({"MX": ["0 ."]}, Level.FAIL, "says that it takes no mail (MX 0 .): bounces are lost"),
        ({"MX": ["10 gone.example.com."]}, Level.FAIL, "its mail server gone.example.com has no address"),
        ({"MX": ["10 192.0.2.10."]}, Level.FAIL, "its MX is the address 192.0.2.10"),
        (
            {"MX": ["10 alias.example.com."]},
            Level.WARN,
            "its mail server alias.example.com is an alias of mx.example.com",
        ),
        ({"MX": ["20 gone.example.com.", "10 mx.example.com."]}, Level.OK, "bounces go to mx.example.com"),
    ],
)
def test_a_return_path_that_nothing_comes_back_to_is_told(
    check: Check, records: dict[str, Any] | None, level: Level, words: str
) -> None:
    zones = {"mail.example.com": records, "alias.example.com": {"CNAME": "mx.example.com."}}
    assert f"mail.example.com: {words}" in told(check("mx", zones), level)


def test_a_reply_address_that_is_none_is_told(check: Check) -> None:
    assert "is no mail address" in told(check("mx", sender={"reply_to": "care"}), Level.FAIL)


def test_an_address_with_a_name_that_leads_back_is_ok(check: Check) -> None:
    assert told(check("ptr"), Level.OK) == "192.0.2.10: is mx.example.com and back -> "


@pytest.mark.parametrize(
    ("zones", "level", "words"),
    [
        ({"10.2.0.192.in-addr.arpa": None}, Level.FAIL, "192.0.2.10: has no name (no PTR record)"),
        (
            {"mx.example.com": {"A": ["192.0.2.11"]}},
            Level.FAIL,
            "its name mx.example.com does not lead back to it",
        ),
        ({"mx.example.com": None}, Level.FAIL, "does not lead back to it"),
        (
            {"10.2.0.192.in-addr.arpa": {"PTR": ["old.example.com.", "mx.example.com."]}},
            Level.OK,
            "is mx.example.com and back",
        ),
        (
            {
                "10.2.0.192.in-addr.arpa": {"PTR": ["10-2-0-192.static.isp.example."]},
                "10-2-0-192.static.isp.example": {"A": ["192.0.2.10"]},
            },
            Level.WARN,
            "is made of the address, as dial-up lines have it",
        ),
        ({"10.2.0.192.in-addr.arpa": "SERVFAIL"}, Level.FAIL, "192.0.2.10: could not be looked at"),
    ],
)
def test_reverse_dns_that_does_not_hold_is_told(
    check: Check, zones: dict[str, Any], level: Level, words: str
) -> None:
    assert words in told(check("ptr", zones), level)


def test_an_address_of_ipv6_is_looked_at_as_well(check: Check) -> None:
    zones = {
        f"0.1.{'0.' * 22}8.b.d.0.1.0.0.2.ip6.arpa": {"PTR": ["six.example.com."]},
        "six.example.com": {"AAAA": ["2001:db8::10"]},
    }
    found = check("ptr", zones, addresses=("2001:db8::10",))
    assert told(found, Level.OK) == "2001:db8::10: is six.example.com and back -> "


@pytest.mark.smtp
@pytest.mark.parametrize(
    ("greeting", "level", "words"),
    [
        ("220 mx.example.com ESMTP", Level.OK, "greets as mx.example.com, which is a sending address"),
        ("220 other.example.com ESMTP", Level.WARN, "greets as other.example.com, which leads to 192.0.2.99"),
        ("220 inside.local ESMTP", Level.WARN, "greets as inside.local, which has no address"),
    ],
)
def test_the_mail_server_greets_with_a_name_of_its_address(
    check: Check, tmp_path: Path, greeting: str, level: Level, words: str
) -> None:
    zones = {"other.example.com": {"A": ["192.0.2.99"]}}
    with smtp_server(tmp_path / "log", script={"greeting": {"": greeting}}) as server:
        smtp = {"backend": "smtp", "smtp": {"host": "127.0.0.1", "port": server.port}}
        assert words in told(check("ptr", zones, delivery=smtp), level)
