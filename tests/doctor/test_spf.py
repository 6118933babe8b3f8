"""SPF: records are read and evaluated as RFC 7208 has it, and each way to get it wrong is told."""

from __future__ import annotations

import contextlib
import ipaddress
import random
import string
from collections.abc import Callable
from typing import Any

import pytest
from servers.dns import DnsServer
from support.findings import told

from drumbeat.doctor.dns import Dns
from drumbeat.doctor.findings import Finding, Level
from drumbeat.doctor.spf_evaluate import Walk, check_host
from drumbeat.doctor.spf_record import SpfSyntaxError, is_spf, parse_spf

Check = Callable[..., list[Finding]]
Start = Callable[..., DnsServer]


def host(dns: Start, zones: dict[str, Any], address: str | None, domain: str = "example.com") -> Walk:
    server = dns(zones)
    ip = ipaddress.ip_address(address) if address else None
    return check_host(Dns([("127.0.0.1", server.port)]), domain, ip, f"bounces+x@{domain}")


def txt(record: str) -> dict[str, list[str]]:
    return {"TXT": [record]}


@pytest.mark.parametrize(
    ("record", "terms"),
    [
        ("v=spf1", []),
        ("v=spf1 -all", ["-all"]),
        ("V=SPF1 A MX ~ALL", ["a", "mx", "~all"]),
        ("v=spf1 ip4:192.0.2.0/24 ip6:2001:db8::/32 ?all", ["ip4:192.0.2.0/24", "ip6:2001:db8::/32", "?all"]),
        (
            "v=spf1 a:x.example/24//64 mx/28 ptr:y.example -all",
            ["a:x.example", "mx", "ptr:y.example", "-all"],
        ),
        ("v=spf1  include:_spf.x.example   +all", ["include:_spf.x.example", "all"]),
        ("v=spf1 exists:%{ir}.%{l1r-}._spf.%{d2} -all", ["exists:%{ir}.%{l1r-}._spf.%{d2}", "-all"]),
        ("v=spf1 unknown=thing moo.cow-far_out=man:dog/cat -all", ["-all"]),
    ],
)
def test_a_record_is_read_term_by_term(record: str, terms: list[str]) -> None:
    assert [str(one) for one in parse_spf(record).mechanisms] == terms


@pytest.mark.parametrize(
    "term",
    [
        "ipv4:192.0.2.1",
        "ip4:192.0.2.300",
        "ip4:2001:db8::1",
        "ip6:192.0.2.1",
        "ip4",
        "include",
        "include:",
        "a:",
        "a:x.example/33",
        "mx//129",
        "mx/ab",
        "ptr:x.example/24",
        "exists",
        "all:x",
        "-redirect=x.example",
        "redirect=",
        "redirect=a.example redirect=b.example",
        "exists:%{z}.x.example",
        "exists:%",
        "-",
        "192.0.2.1",
        "\u00fc",
        "-al l",
    ],
)
def test_a_term_that_cannot_be_read_is_named(term: str) -> None:
    with pytest.raises(SpfSyntaxError):
        parse_spf(f"v=spf1 {term} -all")


def test_only_the_version_itself_makes_a_record_one_of_spf() -> None:
    assert [
        is_spf(text) for text in ("v=spf1", "v=spf1 -all", "V=spf1 a", "v=spf10 -all", "v=spf1-all", "")
    ] == [
        True,
        True,
        True,
        False,
        False,
        False,
    ]


@pytest.mark.parametrize(
    ("record", "address", "result"),
    [
        ("v=spf1 ip4:192.0.2.0/28 -all", "192.0.2.10", "pass"),
        ("v=spf1 ip4:192.0.2.0/28 -all", "192.0.2.16", "fail"),
        ("v=spf1 ip6:2001:db8::/32 ~all", "2001:db8:1::1", "pass"),
        ("v=spf1 ip6:2001:db8::/32 ~all", "192.0.2.1", "softfail"),
        ("v=spf1 mx -all", "192.0.2.10", "pass"),
        ("v=spf1 a:mx.example.com/24 -all", "192.0.2.200", "pass"),
        ("v=spf1 a:mx.example.com -all", "2001:db8::1", "fail"),
        ("v=spf1 a:six.example.com -all", "2001:db8::6", "pass"),
        ("v=spf1 a:six.example.com//32 -all", "2001:db8:ffff::6", "pass"),
        ("v=spf1 a:six.example.com/8//64 -all", "2001:db8:0:1::6", "fail"),
        ("v=spf1 ?ip4:192.0.2.10 -all", "192.0.2.10", "neutral"),
        ("v=spf1", "192.0.2.10", "neutral"),
        ("v=spf1 redirect=_spf.example.com", "192.0.2.10", "pass"),
        ("v=spf1 redirect=_spf.example.com", "192.0.2.11", "fail"),
        ("v=spf1 -all redirect=_spf.example.com", "192.0.2.10", "fail"),
        ("v=spf1 include:_spf.example.com ?all", "192.0.2.10", "pass"),
        ("v=spf1 include:_spf.example.com ?all", "192.0.2.11", "neutral"),
        ("v=spf1 include:none.example.com -all", "192.0.2.10", "permerror"),
        ("v=spf1 redirect=none.example.com", "192.0.2.10", "permerror"),
        ("v=spf1 include:example.com -all", "192.0.2.10", "permerror"),
        ("v=spf1 include:wrong.example.com -all", "192.0.2.10", "permerror"),
        ("v=spf1 ptr:example.com -all", "192.0.2.10", "pass"),
        ("v=spf1 ptr:example.net -all", "192.0.2.10", "fail"),
        ("v=spf1 exists:%{i}._ok.%{d} -all", "192.0.2.10", "pass"),
        ("v=spf1 exists:%{ir}.%{v}._ok.%{d} -all", "192.0.2.10", "pass"),
        ("v=spf1 exists:%{l1r+}._ok.%{o} -all", "192.0.2.10", "pass"),
        ("v=spf1 exists:%{i}._ok.%{d} -all", "192.0.2.11", "fail"),
        ("v=spf1 a:a1.x a:a2.x a:a3.x -all", "192.0.2.10", "permerror"),
        ("v=spf1 " + "include:_spf.example.com " * 11 + "-all", "192.0.2.11", "permerror"),
        ("v=spf1 " + "include:_spf.example.com " * 10 + "-all", "192.0.2.11", "fail"),
        ("v=spf1 mx:many.example.com -all", "192.0.2.11", "permerror"),
        (None, "192.0.2.10", "none"),
    ],
)
def test_whether_an_address_may_send(dns: Start, record: str | None, address: str, result: str) -> None:
    zones = {
        "example.com": {"MX": ["10 mx.example.com."], **(txt(record) if record else {})},
        "six.example.com": {"AAAA": ["2001:db8::6"]},
        "_spf.example.com": txt("v=spf1 ip4:192.0.2.10 -all"),
        "wrong.example.com": txt("v=spf1 ipv4:192.0.2.10 -all"),
        "192.0.2.10._ok.example.com": {"A": ["127.0.0.2"]},
        "10.2.0.192.in-addr._ok.example.com": {"A": ["127.0.0.2"]},
        "bounces._ok.example.com": {"A": ["127.0.0.2"]},
        "many.example.com": {"MX": [f"10 mx{number}.example.com." for number in range(11)]},
    }
    assert host(dns, zones, address).result == result


def test_a_domain_with_two_records_has_none_that_counts(dns: Start) -> None:
    walk = host(dns, {"example.com": {"TXT": ["v=spf1 mx -all", "v=spf1 a -all"]}}, "192.0.2.10")
    assert walk.result == "permerror"
    assert "has 2 SPF records" in walk.problem


def test_a_long_record_in_several_strings_is_one(dns: Start) -> None:
    """255 octets a string; they are joined without a blank (RFC 7208, 3.3), over TCP where they are too many."""
    many = " ".join(f"ip4:198.51.100.{number}" for number in range(90))
    zones = {"example.com": txt(f"v=spf1 {many} ip4:192.0.2.10 -all")}
    assert host(dns, zones, "192.0.2.10").result == "pass"


def test_all_lookups_are_counted_and_not_only_those_before_a_match(dns: Start) -> None:
    zones = {
        "example.com": txt("v=spf1 ip4:192.0.2.10 a mx include:one.example.com ptr exists:%{i}.x -all"),
        "one.example.com": txt("v=spf1 a:gone.example.com include:two.example.com -all"),
        "two.example.com": txt("v=spf1 ip4:198.51.100.1 -all"),
    }
    walk = host(dns, zones, None)
    assert (walk.lookups, walk.void, walk.uses_ptr) == (7, 3, True)
    assert walk.included == ["one.example.com", "two.example.com"]
    assert walk.result == "fail"


def test_a_world_that_may_send_is_seen_through_an_include(dns: Start) -> None:
    zones = {
        "example.com": txt("v=spf1 include:open.example.com -all"),
        "open.example.com": txt("v=spf1 +all"),
    }
    assert host(dns, zones, None).result == "pass"


def test_any_record_is_read_or_refused_and_never_crashes() -> None:
    dice = random.Random(7)
    pieces = ["a", "mx", "ip4:", "ip6:", "include:", "-", "~", "all", "=", "/", "//", "%{", "}", "redirect="]
    read = 0
    for _ in range(5_000):
        noise = dice.choices([*pieces, *string.printable, "ü", "\ufffd"], k=dice.randint(0, 20))
        with contextlib.suppress(SpfSyntaxError):
            read += bool(parse_spf("v=spf1 " + "".join(noise)))
    assert 100 < read < 4_900


def test_a_sound_set_up_is_ok(check: Check) -> None:
    found = check("spf")
    assert {f.level for f in found} == {Level.OK}
    assert {f.about for f in found} == {"mail.example.com"}, "the return path counts, not the From address"
    assert "192.0.2.10 may send (ip4:192.0.2.10)" in told(found, Level.OK)


@pytest.mark.parametrize(
    ("records", "level", "words"),
    [
        ([], Level.FAIL, 'no SPF record -> Publish at mail.example.com: TXT "v=spf1 ip4:192.0.2.10 ~all"'),
        (["v=spf1 a -all", "v=spf1 mx -all"], Level.FAIL, "2 SPF records; receivers then use none"),
        (["v=spf1 ipv4:192.0.2.10 -all"], Level.FAIL, "'ipv4:192.0.2.10' is no mechanism of SPF"),
        (["v=spf1 ip4:192.0.2.10"], Level.WARN, "has no all at its end"),
        (["v=spf1 ip4:192.0.2.10 ?all"], Level.WARN, "ends with ?all"),
        (["v=spf1 +all"], Level.FAIL, "lets the whole world send"),
        (["v=spf1 ip4:192.0.2.10 ptr -all"], Level.WARN, "uses ptr"),
        (
            ["v=spf1 ip4:192.0.2.10 ip4=192.0.2.9 -all"],
            Level.WARN,
            "'ip4=192.0.2.9' is ignored -> Write ip4:",
        ),
        (["v=spf1 -all ip4:192.0.2.10"], Level.WARN, "'ip4:192.0.2.10' stands behind all"),
        (["v=spf1 -all"], Level.FAIL, "192.0.2.10 may not send: fail by -all -> Add ip4:192.0.2.10"),
        (["v=spf1 ip4:192.0.2.9 ~all"], Level.FAIL, "may not send: softfail by ~all"),
        (["v=spf1 ip4:192.0.2.10 " + "mx " * 9 + "-all"], Level.WARN, "9 of 10 DNS lookups"),
        (["v=spf1 ip4:192.0.2.10 " + "mx " * 11 + "-all"], Level.FAIL, "11 DNS lookups; receivers give up"),
        (["v=spf1 ip4:192.0.2.10 a:a.x a:b.x a:c.x -all"], Level.FAIL, "3 lookups find nothing"),
        (["v=spf1 include:gone.example.com -all"], Level.FAIL, "leads to a domain without an SPF record"),
        (["v=spf1 include:mail.example.com -all"], Level.FAIL, "mail.example.com includes itself"),
    ],
)
def test_each_way_to_get_it_wrong_is_told(check: Check, records: list[str], level: Level, words: str) -> None:
    found = check("spf", {"mail.example.com": {"TXT": records, "MX": ["10 mx.example.com."]}})
    assert words in told(found, level)


def test_every_address_that_mails_leave_from_is_asked_about(check: Check) -> None:
    found = check("spf", addresses=("192.0.2.10", "192.0.2.11", "2001:db8::10"))
    assert "192.0.2.10 may send" in told(found, Level.OK)
    assert "192.0.2.11 may not send" in told(found, Level.FAIL)
    assert "Add ip6:2001:db8::10" in told(found, Level.FAIL)


def test_a_mail_server_inside_the_senders_domain_is_asked_about_by_itself(check: Check) -> None:
    zones = {"relay.example.com": {"A": ["192.0.2.77"]}}
    smtp = {"backend": "smtp", "smtp": {"host": "relay.example.com"}}
    found = check("spf", zones, delivery=smtp, addresses=())
    assert "192.0.2.77 may not send" in told(found, Level.FAIL)


def test_of_a_mail_server_on_this_machine_nothing_is_assumed(check: Check) -> None:
    found = check("spf", delivery={"backend": "smtp", "smtp": {"host": "127.0.0.1"}}, addresses=())
    assert "--ip ADDRESS" in told(found, Level.NOTE)
    assert not told(found, Level.FAIL)


def test_of_a_mail_server_under_a_foreign_name_nothing_is_assumed(check: Check) -> None:
    zones = {"relay.hoster.example": {"A": ["192.0.2.77"]}}
    smtp = {"backend": "smtp", "smtp": {"host": "relay.hoster.example"}}
    found = check("spf", zones, delivery=smtp, addresses=())
    assert "192.0.2.77" not in told(found, Level.FAIL)
    assert "relay.hoster.example:25 sends from to the world cannot be seen" in told(found, Level.NOTE)


def test_a_providers_mail_server_must_be_included(check: Check) -> None:
    smtp = {"backend": "smtp", "smtp": {"host": "smtp.sendgrid.net"}}
    found = check("spf", delivery=smtp, addresses=())
    assert "Add include:sendgrid.net" in told(found, Level.FAIL)
    zones = {
        "mail.example.com": txt("v=spf1 include:sendgrid.net -all"),
        "sendgrid.net": txt("v=spf1 ip4:198.51.100.0/24 ~all"),
    }
    found = check("spf", zones, delivery=smtp, addresses=())
    assert "includes SendGrid (sendgrid.net)" in told(found, Level.OK)
    assert not told(found, Level.FAIL)


def test_a_silent_name_is_told_and_the_rest_is_still_looked_at(check: Check) -> None:
    senders = {
        name: {"name": name, "address": f"a@{name}.example.com", "postal_address": "x"}
        for name in ("one", "two")
    }
    zones = {"one.example.com": "SERVFAIL", "two.example.com": txt("v=spf1 ip4:192.0.2.10 -all")}
    found = check("spf", zones, senders=senders)
    assert "one.example.com: could not be looked at" in told(found, Level.FAIL)
    assert "SERVFAIL" in told(found, Level.FAIL)
    assert "two.example.com: 192.0.2.10 may send" in told(found, Level.OK)
