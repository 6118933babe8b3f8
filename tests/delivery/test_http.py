"""What each end of an HTTP call means for the mails in it, on a real server that answers as it is told."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from servers.provider import DROP_AFTER, DROP_BEFORE, Recorded, Response, provider_server
from servers.smtp import Certificate

from drumbeat.delivery import Answer, Mail, Outcome, Scope
from drumbeat.delivery.http import Call, HttpBackend, HttpSettings, Reply, api_key, mailbox, retry_after
from drumbeat.errors import DeliveryError


class Plain(HttpBackend):
    """A provider with nothing of its own."""

    name = "plain"
    idempotent = False

    def call(self, parcels: Sequence[Mail]) -> Call:
        keys = [mail.key for mail in parcels]
        return Call("/send", json=keys, headers={"Authorization": "Bearer k"}, idempotent=self.idempotent)

    def accepted(self, reply: Reply, parcels: Sequence[Mail]) -> Sequence[Answer]:
        return [Answer(Outcome.ACCEPTED, remote_id=reply.json["ids"][n]) for n in range(len(parcels))]


class Batching(Plain):
    """A provider that takes three at a time."""

    batch_size = 3


class Repeatable(Plain):
    """A provider with an idempotency key."""

    idempotent = True


@dataclass
class Course:
    """Notes what a backend did with `begin` and `done`."""

    refuse: Callable[[Mail], bool] = lambda mail: False
    begun: list[str] = field(default_factory=list)
    answers: dict[str, Answer] = field(default_factory=dict)
    threads: set[int] = field(default_factory=set)

    def begin(self, mail: Mail) -> bool:
        self.threads.add(threading.get_ident())
        if self.refuse(mail):
            return False
        self.begun.append(mail.key)
        return True

    def done(self, mail: Mail, answer: Answer) -> None:
        self.threads.add(threading.get_ident())
        assert mail.key not in self.answers, "done is called once a parcel"
        self.answers[mail.key] = answer


def mails(count: int) -> list[Mail]:
    return [Mail(f"k{n}", "shop@example.com", f"r{n}@example.com", b"") for n in range(count)]


def send(backend: HttpBackend, count: int = 1, course: Course | None = None) -> Course:
    course = course or Course()
    try:
        backend.hand_over(mails(count), course.begin, course.done)
    finally:
        backend.close()
    return course


def quick(kind: type[HttpBackend], url: str, **more: Any) -> HttpBackend:
    return kind(url, **{"timeout": 5, "sleep": lambda seconds: None, **more})


def ids(call: Recorded) -> Response:
    return Response(json={"ids": call.json})


def test_a_mail_is_accepted_under_the_providers_name_for_it() -> None:
    with provider_server(ids) as server:
        course = send(quick(Plain, server.url))
    assert course.answers == {"k0": Answer(Outcome.ACCEPTED, remote_id="k0")}
    (call,) = server.requests
    assert (call.method, call.path, call.json) == ("POST", "/send", ["k0"])
    assert call.headers["authorization"] == "Bearer k"
    assert call.headers["content-type"] == "application/json"


@pytest.mark.parametrize(
    ("answer", "outcome", "scope"),
    [
        (Response(400, body="bad"), Outcome.REFUSED, Scope.MESSAGE),
        (Response(413, body="big"), Outcome.REFUSED, Scope.MESSAGE),
        (Response(422, body="bad"), Outcome.REFUSED, Scope.MESSAGE),
        (Response(408, body="slow"), Outcome.DEFERRED, Scope.SERVER),
        (Response(429, body="many"), Outcome.DEFERRED, Scope.SERVER),
        (Response(503, body="busy"), Outcome.DEFERRED, Scope.SERVER),
        (Response(500, body="oops"), Outcome.UNCERTAIN, Scope.MESSAGE),
        (Response(502, body="gate"), Outcome.UNCERTAIN, Scope.MESSAGE),
        (Response(200, body="<html>"), Outcome.UNCERTAIN, Scope.MESSAGE),
        (Response(200, body="[" * 100_000), Outcome.UNCERTAIN, Scope.MESSAGE),
        (Response(200, json={"ids": []}), Outcome.UNCERTAIN, Scope.MESSAGE),
        (Response(200, json={"ids": ["a", "b"]}, cut=5), Outcome.UNCERTAIN, Scope.MESSAGE),
        (DROP_BEFORE, Outcome.UNCERTAIN, Scope.MESSAGE),
        (DROP_AFTER, Outcome.UNCERTAIN, Scope.MESSAGE),
    ],
)
def test_every_end_of_a_call_has_one_meaning(answer: Response, outcome: Outcome, scope: Scope) -> None:
    with provider_server(answer) as server:
        got = send(quick(Plain, server.url)).answers["k0"]
    assert (got.outcome, got.scope) == (outcome, scope)
    assert len(got.text) <= 500
    assert "\n" not in got.text
    assert len(server.requests) == 1, "what may have been sent is not sent again"


@pytest.mark.parametrize("status", [301, 307, 401, 402, 403, 404, 405])
def test_what_every_mail_would_meet_stops_the_backend_and_harms_no_mail(status: int) -> None:
    """The mails of the refused call were certainly not sent; those after it did not begin."""
    answer = Response(status, body="no", headers={"Location": "http://127.0.0.1:9/"})
    course = Course()
    with provider_server(answer) as server, pytest.raises(DeliveryError, match=rf"plain.*{status} no"):
        send(quick(Plain, server.url), 3, course)
    assert course.begun == ["k0"]
    assert {key: got.outcome for key, got in course.answers.items()} == {"k0": Outcome.DEFERRED}
    assert len(server.requests) == 1


def test_an_answer_that_does_not_come_in_time_leaves_the_mail_uncertain() -> None:
    with provider_server(Response(delay=2)) as server:
        got = send(quick(Plain, server.url, timeout=0.2)).answers["k0"]
    assert got.outcome is Outcome.UNCERTAIN
    assert "timed out" in got.text


def test_where_nobody_listens_the_mail_is_tried_again_and_then_deferred() -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        waits: list[float] = []
        url = f"http://127.0.0.1:{held.getsockname()[1]}"
        course = send(quick(Plain, url, sleep=waits.append), 5)
    assert waits == [0.5, 2.0]
    assert {got.outcome for got in course.answers.values()} == {Outcome.DEFERRED}
    assert {got.scope for got in course.answers.values()} == {Scope.SERVER}
    assert course.begun == ["k0"], "no mail begins towards a provider that cannot be reached"
    assert course.answers["k0"].text == f"cannot reach {url}: Connection refused"


def test_a_name_that_does_not_resolve_and_an_address_that_is_none_are_certainly_not_sent() -> None:
    for url in ("http://no-such-host.invalid", "http://[", f"http://{'a' * 80}.invalid"):
        assert send(quick(Plain, url)).answers["k0"].outcome is Outcome.DEFERRED


def test_a_certificate_that_is_not_trusted_stops_the_call_before_its_content(
    certificate: Certificate,
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate.certificate, certificate.key)
    with provider_server(ids, tls=context) as server:
        got = send(quick(Plain, server.url)).answers["k0"]
    assert got.outcome is Outcome.DEFERRED
    assert "certificate verify failed" in got.text
    assert server.requests == []


def test_over_tls_a_connection_cut_after_the_content_is_uncertain_not_deferred(
    certificate: Certificate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both are errors of TLS to the libraries; only what was sent tells them apart."""
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate.ca))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate.certificate, certificate.key)
    with provider_server(ids, tls=context) as server:
        assert send(quick(Plain, server.url)).answers["k0"].outcome is Outcome.ACCEPTED
    with provider_server(DROP_AFTER, tls=context) as server:
        assert send(quick(Plain, server.url)).answers["k0"].outcome is Outcome.UNCERTAIN


def test_a_proxy_that_is_away_or_refuses_is_certainly_not_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{held.getsockname()[1]}")
        assert send(quick(Plain, "https://api.example.com")).answers["k0"].outcome is Outcome.DEFERRED
    with provider_server(Response(407)) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        got = send(quick(Plain, "https://api.example.com")).answers["k0"]
    assert got.outcome is Outcome.DEFERRED
    assert {call.method for call in proxy.requests} == {"CONNECT"}


def test_a_netrc_file_does_not_replace_the_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login someone password other\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    with provider_server(ids) as server:
        send(quick(Plain, server.url))
    assert server.requests[0].headers["authorization"] == "Bearer k"


def test_the_wait_that_the_provider_asks_for_is_told() -> None:
    with provider_server(Response(429, headers={"Retry-After": "17"})) as server:
        got = send(quick(Plain, server.url)).answers["k0"]
    assert got.retry_after == timedelta(seconds=17)


def test_after_not_now_the_rest_is_deferred_without_a_call() -> None:
    answers = iter([ids, lambda call: Response(429, body="slow down", headers={"Retry-After": "9"})])
    with provider_server(lambda call: next(answers)(call)) as server:
        course = send(quick(Plain, server.url), 4)
    assert [got.outcome.value for got in course.answers.values()] == ["accepted"] + ["deferred"] * 3
    assert [got.retry_after for got in course.answers.values()][1:] == [timedelta(seconds=9)] * 3
    assert course.answers["k3"].text == "not tried after: 429 slow down"
    assert course.begun == ["k0", "k1"]
    assert len(server.requests) == 2


def test_a_provider_that_keeps_dropping_calls_does_not_make_every_mail_uncertain() -> None:
    with provider_server(DROP_AFTER) as server:
        course = send(quick(Plain, server.url), 10)
    assert [got.outcome.value for got in course.answers.values()] == ["uncertain"] * 3 + ["deferred"] * 7
    assert len(server.requests) == 3


def test_one_mail_that_the_provider_chokes_on_does_not_stop_the_others() -> None:
    def answer(call: Recorded) -> Response:
        return Response(500) if call.json[0] in ("k1", "k3", "k5") else ids(call)

    with provider_server(answer) as server:
        course = send(quick(Plain, server.url), 8)
    outcomes = [got.outcome for got in course.answers.values()]
    assert outcomes.count(Outcome.UNCERTAIN) == 3
    assert outcomes.count(Outcome.ACCEPTED) == 5


@pytest.mark.parametrize("trouble", [DROP_AFTER, DROP_BEFORE, Response(500), Response(504)])
def test_an_idempotent_call_is_made_again_where_nobody_knows(trouble: Response) -> None:
    answers = iter([trouble, trouble, None])
    waits: list[float] = []
    with provider_server(lambda call: next(answers) or ids(call)) as server:
        course = send(quick(Repeatable, server.url, sleep=waits.append))
    assert course.answers["k0"].outcome is Outcome.ACCEPTED
    assert len(server.requests) == 3
    assert {call.body for call in server.requests} <= {b'["k0"]', b""}
    assert waits == [0.5, 2.0]


@pytest.mark.parametrize("trouble", [DROP_AFTER, Response(500)])
def test_an_idempotent_call_that_never_gets_an_answer_is_uncertain(trouble: Response) -> None:
    with provider_server(trouble) as server:
        assert send(quick(Repeatable, server.url)).answers["k0"].outcome is Outcome.UNCERTAIN
    assert len(server.requests) == 3


@pytest.mark.parametrize("answer", [Response(429), Response(503), Response(400)])
def test_an_idempotent_call_that_got_an_answer_is_not_made_again(answer: Response) -> None:
    with provider_server(answer) as server:
        send(quick(Repeatable, server.url))
    assert len(server.requests) == 1


@pytest.mark.parametrize("later", [DROP_AFTER, Response(400), Response(401), Response(429), Response(503)])
def test_once_nobody_knows_only_a_success_says_how_an_idempotent_call_ended(later: Response) -> None:
    """The first call may have been taken; a refusal of the second says nothing of it."""
    answers = iter([DROP_AFTER, later, later])
    with provider_server(lambda call: next(answers)) as server:
        assert send(quick(Repeatable, server.url)).answers["k0"].outcome is Outcome.UNCERTAIN


def test_a_provider_that_went_away_after_a_lost_answer_leaves_an_idempotent_call_uncertain() -> None:
    with provider_server(DROP_AFTER) as server:
        backend = quick(Repeatable, server.url)
        backend._sleep = lambda seconds: server.stop()
        assert send(backend).answers["k0"].outcome is Outcome.UNCERTAIN
        assert len(server.requests) == 1


def test_a_batch_is_one_call_without_those_that_were_withdrawn() -> None:
    course = Course(refuse=lambda mail: mail.key in ("k1", "k3", "k4", "k5"))
    with provider_server(ids) as server:
        send(quick(Batching, server.url), 8, course)
    assert [call.json for call in server.requests] == [["k0", "k2"], ["k6", "k7"]]
    assert {key for key, got in course.answers.items() if got.outcome is Outcome.WITHDRAWN} == {
        "k1", "k3", "k4", "k5",
    }  # fmt: skip
    assert {got.remote_id for got in course.answers.values()} - {None} == {"k0", "k2", "k6", "k7"}


def test_several_calls_are_under_way_at_once_and_no_more_than_asked() -> None:
    """Calls of 60 ms each, 8 at once: 24 take about 180 ms, not 1,440."""
    under_way, most, lock = 0, 0, threading.Lock()
    together = threading.Barrier(8, timeout=5)

    def answer(call: Recorded) -> Response:
        nonlocal under_way, most
        with lock:
            under_way += 1
            most = max(most, under_way)
        together.wait()
        with lock:
            under_way -= 1
        return ids(call)

    with provider_server(answer) as server:
        course = send(quick(Plain, server.url, connections=8), 24)
    assert most == 8
    assert len(course.answers) == 24
    assert {got.outcome for got in course.answers.values()} == {Outcome.ACCEPTED}
    assert course.threads == {threading.get_ident()}, "begin and done stay in the caller's thread"
    assert server.connections == 8


def test_a_connection_gets_its_next_mail_only_when_its_last_answer_is_recorded() -> None:
    course = Course()
    seen: list[int] = []

    def answer(call: Recorded) -> Response:
        seen.append(len(course.begun) - len(course.answers))
        return ids(call)

    with provider_server(answer) as server:
        send(quick(Plain, server.url, connections=3), 30, course)
    assert max(seen) <= 3


def test_a_connection_is_kept_between_calls_and_dropped_when_it_was_idle(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with provider_server(ids) as server:
        backend = quick(Plain, server.url)
        for _ in range(2):
            backend.hand_over(mails(3), lambda mail: True, lambda mail, answer: None)
        assert server.connections == 1
        monkeypatch.setattr("drumbeat.delivery.http_wire.IDLE", -1.0)
        backend.hand_over(mails(1), lambda mail: True, lambda mail, answer: None)
        backend.close()
    assert server.connections == 2


def test_what_the_journal_raises_goes_up_as_it_is() -> None:
    def done(mail: Mail, answer: Answer) -> None:
        raise OSError("disk full")

    with provider_server(ids) as server:
        backend = quick(Plain, server.url, connections=2)
        with pytest.raises(OSError, match="disk full"):
            backend.hand_over(mails(5), lambda mail: True, done)
        backend.close()


@pytest.mark.parametrize(
    ("value", "wait"),
    [
        ("120", timedelta(seconds=120)),
        ("0", timedelta()),
        ("Mon, 05 Dec 2011 09:01:00 GMT", timedelta(minutes=1)),
        ("Mon, 05 Dec 2011 08:00:00 GMT", timedelta()),
        ("99999999999999999999", timedelta(hours=6)),
        ("Fri, 31 Dec 9999 23:59:59 GMT", timedelta(hours=6)),
        ("", None),
        ("soon", None),
        ("-5", None),
        ("١٢", None),
        ("Mon, 99 Dec 2011 08:00:00 GMT", None),
    ],
)
def test_retry_after_is_read_as_seconds_or_as_a_date(value: str, wait: timedelta | None) -> None:
    now = datetime(2011, 12, 5, 9, 0, tzinfo=UTC)
    assert retry_after({"Retry-After": value}, now) == wait


def test_a_date_in_retry_after_counts_from_the_answers_own_date() -> None:
    headers = {"Retry-After": "Mon, 05 Dec 2011 09:01:00 GMT", "Date": "Mon, 05 Dec 2011 09:00:30 GMT"}
    assert retry_after(headers) == timedelta(seconds=30)


@pytest.mark.parametrize("key", ["abc\n", "a b", "ключ", "\u200babc"])
def test_a_key_that_cannot_be_one_is_told_by_the_name_of_its_variable(
    key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHOP_KEY", key)
    with pytest.raises(DeliveryError, match=r"SHOP_KEY \(delivery\.x\.key_env in project\.yaml\)") as error:
        api_key("SHOP_KEY", "delivery.x.key_env")
    assert key.strip() not in str(error.value)


def test_a_name_in_an_address_is_quoted() -> None:
    assert mailbox(None, "a@b.c") == "a@b.c"
    assert mailbox("Ann", "a@b.c") == '"Ann" <a@b.c>'
    assert mailbox('A "B", \\C\r\nBcc: d', "a@b.c") == '"A \\"B\\", \\\\CBcc: d" <a@b.c>'


@pytest.mark.parametrize("url", ["https://api.example.com", "http://127.0.0.1:8080/v3", "http://localhost"])
def test_the_api_may_be_anywhere_with_tls_and_on_this_machine_without(url: str) -> None:
    assert HttpSettings(base_url=url).base_url == url


@pytest.mark.parametrize(
    "url",
    [
        "http://api.example.com",
        "http://localhost.example.com",
        "http://127.0.0.1@example.com",
        "ftp://a",
        "https://",
    ],
)
def test_a_key_never_leaves_this_machine_without_tls(url: str) -> None:
    with pytest.raises(ValidationError):
        HttpSettings(base_url=url)
