"""The DNS is asked a real server over loopback: whatever it does, the answer is known, empty, or a clear line."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from servers.dns import DnsServer
from support.findings import told

from drumbeat.doctor.checks import examine
from drumbeat.doctor.dns import Dns, NoDnsAnswerError, SilenceError, read_resolver
from drumbeat.doctor.findings import Level
from drumbeat.doctor.setup import Setup
from drumbeat.errors import UsageError

Start = Callable[..., DnsServer]


@pytest.fixture
def black_hole() -> Iterator[int]:
    """A port that takes questions and never answers."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        yield sock.getsockname()[1]


def client(server: DnsServer, **options: Any) -> Dns:
    return Dns([("127.0.0.1", server.port)], **options)


def test_records_of_each_kind_are_read(dns: Start) -> None:
    server = dns(
        {
            "x.example": {
                "TXT": ["one", 'a "quoted" \\ one', "ü"],
                "MX": ["20 b.example.", "10 a.example."],
                "A": ["192.0.2.1"],
                "AAAA": ["2001:db8::1"],
            },
            "alias.example": {"CNAME": "x.example."},
            "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa": {
                "PTR": ["x.example."]
            },
        }
    )
    asked = client(server)
    assert sorted(asked.txt("X.example.")) == ['a "quoted" \\ one', "one", "ü"]
    assert asked.mx("x.example") == [(10, "a.example"), (20, "b.example")]
    assert asked.addresses("x.example") == ["192.0.2.1", "2001:db8::1"]
    assert asked.addresses("alias.example", ["A"]) == ["192.0.2.1"]
    assert asked.alias("alias.example") == "x.example"
    assert asked.alias("x.example") is None
    assert asked.names_of("2001:db8::1") == ["x.example"]


def test_what_is_not_there_is_empty(dns: Start) -> None:
    asked = client(dns({"x.example": {"A": ["192.0.2.1"]}, "deep.down.example": {}}))
    assert asked.txt("x.example") == []
    assert asked.txt("gone.example") == []
    assert asked.exists("x.example")
    assert asked.exists("down.example"), "a name between two others exists (RFC 8020)"
    assert not asked.exists("gone.example")


@pytest.mark.parametrize(
    "name", ["a..example", f"{'x' * 64}.example", f"{'x.' * 130}example", "", "\ud800.example"]
)
def test_a_name_that_dns_could_not_hold_is_not_there(dns: Start, name: str) -> None:
    assert client(dns()).txt(name) == []


def test_a_truncated_answer_is_asked_for_again_over_tcp(dns: Start) -> None:
    server = dns({"x.example": {"TCP": {"TXT": ["whole"]}}, "y.example": {"TXT": ["z" * 4_000]}})
    asked = client(server)
    assert asked.txt("x.example") == ["whole"]
    assert asked.txt("y.example") == ["z" * 4_000]
    assert server.tcp_questions == 2


def test_a_question_is_asked_once(dns: Start) -> None:
    server = dns()
    asked = client(server)
    for name in ("example.com", "EXAMPLE.com", "example.com."):
        asked.txt(name)
    assert server.asked == [("example.com", "TXT")]


def test_a_server_that_fails_is_a_line_with_its_word(dns: Start) -> None:
    server = dns({"x.example": "SERVFAIL"})
    for _ in range(2):
        with pytest.raises(
            NoDnsAnswerError, match=r"127\.0\.0\.1:\d+ cannot tell TXT of x\.example: SERVFAIL"
        ):
            client(server).txt("x.example")


def test_rubbish_is_no_answer(dns: Start) -> None:
    with pytest.raises(NoDnsAnswerError):
        client(dns({"x.example": "GARBAGE"}), each=0.5).txt("x.example")


def test_silence_ends_with_the_time_for_one_question(black_hole: int) -> None:
    started = time.monotonic()
    with pytest.raises(SilenceError, match=r"no answer from 127\.0\.0\.1:\d+ about TXT of x\.example within"):
        Dns([("127.0.0.1", black_hole)], each=0.3).txt("x.example")
    assert time.monotonic() - started < 2


def test_all_silences_together_end_with_the_time_for_all(dns: Start) -> None:
    server = dns(
        {f"{number}.example": "SILENCE" for number in range(40)} | {"x.example": {"A": ["192.0.2.1"]}}
    )
    asked = client(server, each=0.2, total=0.6)
    started = time.monotonic()
    for number in range(40):
        with pytest.raises(SilenceError):
            asked.txt(f"{number}.example")
    assert time.monotonic() - started < 3
    with pytest.raises(SilenceError, match=r"was not asked for: 0\.6 s of waiting are used up"):
        asked.addresses("x.example")


def test_a_resolver_out_of_reach_costs_one_time_out_and_says_what_was_left_out(
    setup: Callable[..., Setup], black_hole: int
) -> None:
    examined = setup()
    examined.dns = Dns([("127.0.0.1", black_hole)], each=0.3)
    started = time.monotonic()
    found = examine(examined)
    assert time.monotonic() - started < 3
    assert "not looked at: SPF, DKIM, DMARC" in told(found, Level.FAIL)
    assert "Name a resolver that answers" in told(found, Level.FAIL)
    assert {f.check for f in found} == {"resolver", "unsubscribe", "size"}


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("9.9.9.9", ("9.9.9.9", 53)),
        ("127.0.0.1:5353", ("127.0.0.1", 5353)),
        ("[::1]:5353", ("::1", 5353)),
        ("[::1]", ("::1", 53)),
        ("2001:db8::1", ("2001:db8::1", 53)),
    ],
)
def test_a_resolver_is_an_address_with_or_without_a_port(text: str, where: tuple[str, int]) -> None:
    assert read_resolver(text) == where


@pytest.mark.parametrize(
    "text", ["", "dns.example", "127.0.0.1:", "127.0.0.1:0", "127.0.0.1:99999", "[::1", "a:b:c"]
)
def test_what_is_no_resolver_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="is no resolver"):
        read_resolver(text)
