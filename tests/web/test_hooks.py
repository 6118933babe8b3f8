"""What must hold for providers' calls, against a real server: Mailgun's signed ones, and a slow provider's."""

from __future__ import annotations

import hmac
import json
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from threading import Event as Flag

import pytest
import requests

from drumbeat.delivery.mailgun import MailgunSettings
from drumbeat.errors import DeliveryError
from drumbeat.responses.inbox import Desk, work
from drumbeat.responses.webhooks import Verified
from drumbeat.responses.webhooks.mailgun import MailgunWebhook
from drumbeat.web.hooks import MAX_CALL

KEY = "a signing key for tests"


@pytest.fixture
def mailgun(monkeypatch):
    monkeypatch.setenv("TEST_MAILGUN_KEY", KEY)
    return MailgunWebhook(MailgunSettings(domain="mg.example.com", webhook_key_env="TEST_MAILGUN_KEY"))


@pytest.fixture
def hooked(store, serve, mailgun):
    with serve(
        store, webhooks={"mailgun": mailgun}, unserved={"ses": "the environment variable X is not set"}
    ) as server:
        yield server


def call(server, token="t1", event="delivered", *, age=0, key=KEY, **values):
    """A body as Mailgun sends it, signed."""
    stamp = str(int(server.clock.now().timestamp()) - age)
    signature = hmac.new(key.encode(), f"{stamp}{token}".encode(), "sha256").hexdigest()
    told = {"event": event, "id": token, "timestamp": float(stamp), "recipient": "a@example.com", **values}
    return json.dumps(
        {"signature": {"timestamp": stamp, "token": token, "signature": signature}, "event-data": told}
    ).encode()


def post(server, body, name="mailgun", **options):
    headers = {"Content-Type": "application/json", **options.pop("headers", {})}
    return server.request("POST", f"/hooks/{name}", data=body, headers=headers, **options)


def test_a_genuine_call_is_stored_as_it_came_before_it_is_answered(hooked, scene):
    body = call(hooked)
    answer = post(hooked, body, headers={"Authorization": "Basic c2VjcmV0"})
    assert (answer.status_code, answer.content) == (200, b"")
    (row,) = scene.rows("inbox")
    assert (row.source, row.state, bytes(row.body), row.received_at) == ("mailgun", "new", body, scene.start)
    assert row.headers["content-type"] == "application/json"
    assert "c2VjcmV0" not in str(row.headers)


def test_the_same_call_again_is_answered_alike_and_stored_once(hooked, scene):
    body = call(hooked)
    assert [post(hooked, body).status_code for _ in range(3)] == [200, 200, 200]
    assert scene.count("inbox") == 1


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"key": "another key"}, "signature is wrong"),
        ({"age": 3_600}, "at most 0:05:00 may lie between"),
        ({"age": -3_600}, "at most 0:05:00 may lie between"),
    ],
)
def test_a_forged_or_stale_call_is_refused_and_told_in_a_line_without_the_reader(
    hooked, scene, caplog, wrong, told
):
    answer = post(hooked, call(hooked, recipient="private@example.com", **wrong))
    assert (answer.status_code, answer.content) == (403, b"")
    assert scene.count("inbox") == 0
    (line,) = [record.getMessage() for record in caplog.records if record.name == "drumbeat.web"]
    assert line.startswith("refused a call of mailgun: ")
    assert told in line
    assert "private" not in line
    assert "\n" not in line


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b"\xff\xfe", b'{"signature": 7}', b"[" * 50_000])
def test_rubbish_is_refused(hooked, scene, body):
    assert post(hooked, body).status_code == 403
    assert scene.count("inbox") == 0


def test_many_forged_calls_are_few_lines_in_the_log(hooked, caplog):
    for _ in range(20):
        post(hooked, call(hooked, key="another"))
    lines = [record for record in caplog.records if record.name == "drumbeat.web"]
    assert 1 <= len(lines) < 10


def test_a_provider_that_is_not_served_is_told_in_the_log_and_a_stranger_is_not(hooked, scene, caplog):
    assert post(hooked, b"{}", "ses").status_code == 404
    assert post(hooked, b"{}", "nobody").status_code == 404
    lines = [record.getMessage() for record in caplog.records if record.name == "drumbeat.web"]
    assert lines == ["a call of ses is not served: the environment variable X is not set"]
    assert scene.count("inbox") == 0


def test_a_provider_that_asks_whether_we_are_there_is_told_so(hooked, scene):
    assert hooked.get("/hooks/mailgun").status_code == 200
    assert hooked.request("HEAD", "/hooks/mailgun").status_code == 200
    assert hooked.get("/hooks/nobody").status_code == 404
    assert hooked.request("PUT", "/hooks/mailgun").status_code == 405
    assert scene.count("inbox") == 0


def test_a_batch_of_megabytes_is_taken_and_more_than_ten_are_not(hooked, scene):
    large = call(hooked, padding="x" * 5_000_000)
    assert post(hooked, large).status_code == 200
    assert len(scene.rows("inbox")[0].body) == len(large)
    assert post(hooked, b"x" * (MAX_CALL + 1)).status_code == 413
    assert post(hooked, iter([b"x" * 1_000_000] * 12)).status_code == 413
    assert scene.count("inbox") == 1


def test_what_a_call_tells_holds_once_it_was_worked_on(hooked, scene, mailgun):
    message = scene.message(scene.customer("a@example.com"), hours=-1, address_key="a@example.com")
    variables = {"drumbeat": hooked.links.mail_token(message)}
    status = {"code": 550, "message": "5.1.1 no such user", "enhanced-code": "5.1.1"}
    told = {"severity": "permanent", "reason": "bounce", "delivery-status": status}
    for _ in range(2):
        post(hooked, call(hooked, event="failed", **{"user-variables": variables}, **told))
    worked = work(scene.engine, Desk(hooked.links, hooked.clock, {"mailgun": mailgun}))
    assert (worked.done, worked.stored, worked.suppressed) == (1, 1, 1)
    assert [(row.email_key, row.reason, row.source) for row in scene.rows("suppressions")] == [
        ("a@example.com", "bounced", "webhook:mailgun")
    ]


class Slow:
    """A provider whose certificate takes its time, and who only asks whether we are there."""

    name = "slow"

    def __init__(self):
        self.go = Flag()

    def verify(self, call):
        assert self.go.wait(30)
        return Verified("x", keep=False)


def test_a_slow_check_keeps_no_reader_waiting_and_a_call_that_only_asks_is_not_stored(store, serve, scene):
    slow = Slow()
    message = scene.message(scene.customer(), hours=-1)
    with serve(store, webhooks={"slow": slow}) as server, ThreadPoolExecutor(8) as pool:
        calls = [
            pool.submit(requests.post, f"{server.url}/hooks/slow", data=b"{}", timeout=60) for _ in range(8)
        ]
        started = time.monotonic()
        assert server.get(server.links.open(message)).status_code == 200
        assert time.monotonic() - started < 5
        assert not any(call.done() for call in calls)
        slow.go.set()
        assert {call.result().status_code for call in calls} == {200}
    assert scene.count("inbox") == 0
    assert scene.count("responses") == 1


def test_the_call_is_checked_as_the_caller_wrote_it(store, serve):
    seen = []

    class Looking:
        name = "looking"

        def verify(self, call):
            seen.append(call)
            return Verified("x", keep=False)

    with serve(store, webhooks={"looking": Looking()}) as server:
        server.links.base_url = "https://mail.example.com"
        post(server, b"a=1", "looking?key=v%20w", headers={"X-Signature": "Abc"})
    (call_,) = seen
    assert call_.url == "https://mail.example.com/hooks/looking?key=v%20w"
    assert (call_.method, call_.body, call_.headers["x-signature"]) == ("POST", b"a=1", "Abc")


def test_a_caller_that_hangs_up_in_the_middle_of_a_call_leaves_nothing(hooked, scene):
    host, port = hooked.url.removeprefix("http://").split(":")
    for _ in range(3):
        with socket.create_connection((host, int(port))) as plain:
            plain.sendall(b"POST /hooks/mailgun HTTP/1.1\r\nHost: x\r\nContent-Length: 9000000\r\n\r\n{")
    assert post(hooked, call(hooked)).status_code == 200
    assert scene.count("inbox") == 1


def test_a_fault_of_ours_in_the_check_is_told_and_the_provider_calls_again(store, serve, scene, caplog):
    class Broken:
        name = "broken"

        def verify(self, call):
            raise ZeroDivisionError("private@example.com")

    with serve(store, webhooks={"broken": Broken()}) as server:
        answer = post(server, b"{}", "broken")
        assert (answer.status_code, answer.content) == (500, b"")
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert "a call of broken cannot be checked" in caplog.text
    assert scene.count("inbox") == 0


def test_a_call_that_cannot_be_checked_now_comes_again(store, serve, scene, caplog):
    class Unreachable:
        name = "unreachable"

        def verify(self, call):
            raise DeliveryError("the certificate cannot be fetched: no route to host")

    with serve(store, webhooks={"unreachable": Unreachable()}) as server:
        answer = post(server, b"{}", "unreachable")
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")
    assert "a call of unreachable cannot be checked now: the certificate" in caplog.text
    assert scene.count("inbox") == 0
