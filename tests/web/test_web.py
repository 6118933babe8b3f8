"""What must hold for a reader's browser, a mail program and a scanner, against a real server."""

from __future__ import annotations

import base64
import json
import re
import socket
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
import requests
from sqlalchemy import select

from drumbeat.ledger.reach import unreachable
from drumbeat.rendering.links import Links
from drumbeat.store.engine import connect, reading
from drumbeat.store.tables import customers
from drumbeat.web.headers import MAX_BODY

TARGET = "https://shop.example.com/sale?a=1&b=%C3%A9#top"


def responses_of(scene):
    return sorted((row.message_id, row.kind, row._mapping["class"]) for row in scene.rows("responses"))


def suppressed(scene, reader):
    with reading(scene.engine) as connection:
        question = select(unreachable(marketing=True, topic="offers", at=scene.at(1))).where(
            customers.c.id == reader
        )
        return connection.execute(question).scalar_one() == "suppressed"


@pytest.fixture
def message(scene):
    reader = scene.customer()
    scene.consent(reader)
    return scene.message(reader, hours=-1)


def test_a_click_is_stored_before_it_is_led_on_to_the_signed_target(server, scene, message):
    answer = server.get(server.links.click(message, TARGET))
    assert (answer.status_code, answer.headers["Location"]) == (302, TARGET)
    (row,) = scene.rows("responses")
    assert (row.message_id, row.kind, row.url, row.at) == (message, "clicked", TARGET, scene.start)


def test_an_open_is_stored_and_answered_with_a_picture_that_nobody_keeps(server, scene, message):
    for suffix in ("", ".gif"):
        answer = server.get(server.links.open(message) + suffix)
        assert answer.status_code == 200
        assert answer.headers["Content-Type"] == "image/gif"
        assert answer.headers["Cache-Control"] == "no-store"
        assert answer.content.startswith(b"GIF89a")
    assert responses_of(scene) == [(message, "opened", "unknown")]


def test_clicks_an_hour_apart_are_two(server, scene, message):
    server.get(server.links.click(message, TARGET))
    server.get(server.links.click(message, TARGET))
    server.clock.advance(timedelta(hours=1))
    server.get(server.links.click(message, TARGET))
    assert scene.count("responses") == 2


def test_one_click_unsubscribes_without_cookie_or_redirect(server, scene, message):
    answer = server.one_click(message)
    assert answer.status_code == 200
    assert "Location" not in answer.headers
    assert "Set-Cookie" not in answer.headers
    assert responses_of(scene) == [(message, "unsubscribed", "unknown")]
    (row,) = scene.rows("responses")
    assert row.raw["one_click"] is True
    assert [(row.reason, row.topic) for row in scene.rows("suppressions")] == [("unsubscribed", "")]
    assert [row.granted for row in scene.rows("consents")] == [False]


def test_one_click_as_multipart_form_counts_too(server, scene, message):
    link = server.links.unsubscribe(message)
    answer = server.request("POST", link, files={"List-Unsubscribe": (None, "One-Click")})
    assert answer.status_code == 200
    assert scene.rows("responses")[0].raw["one_click"] is True


def test_a_second_post_changes_nothing_and_is_answered_alike(server, scene, message):
    first, second = server.one_click(message), server.one_click(message)
    assert (first.status_code, first.text) == (second.status_code, second.text)
    assert (scene.count("responses"), scene.count("suppressions")) == (1, 1)


def test_reading_the_page_does_not_unsubscribe_and_its_button_does(server, scene, message):
    link = server.links.unsubscribe(message)
    page = server.get(link)
    assert page.status_code == 200
    assert scene.count("responses") == scene.count("suppressions") == 0
    assert [row.granted for row in scene.rows("consents")] == [True]
    form = re.search(r'<form method="post">\s*<button[^>]* name="(\w+)" value="([^"]+)"', page.text)
    assert form is not None
    done = server.request("POST", link, data={form[1]: form[2]})
    assert "You are unsubscribed" in done.text
    assert "<form" not in done.text
    assert responses_of(scene) == [(message, "unsubscribed", "human")]
    assert suppressed(scene, scene.rows("messages")[0].customer_id)


def test_the_page_speaks_the_readers_language_and_escapes_names(lone_server):
    link = lone_server.links.unsubscribe(7)
    for asked, heading in (
        ("de-AT,en;q=0.5", "Keine Mails mehr?"),
        ("fr, ru;q=0.4, de;q=0.1", "Больше не присылать писем?"),
        ("fr", "No more mails?"),
        ("en;q=nonsense, ;;;", "No more mails?"),
    ):
        page = lone_server.get(link, headers={"Accept-Language": asked})
        assert f"<h1>{heading}</h1>" in page.text
    assert "Shop &amp; Söhne" in page.text
    assert "News &lt;of&gt; the week" in page.text


def test_an_unsubscribe_by_a_suspected_machine_is_honoured(server, scene, message):
    server.one_click(message, headers={"User-Agent": "Googlebot/2.1"})
    assert responses_of(scene) == [(message, "unsubscribed", "machine")]
    assert scene.count("suppressions") == 1


@pytest.mark.parametrize("kind", ["click", "open", "unsubscribe"])
def test_no_altered_token_is_taken(server, scene, message, kind):
    links = server.links
    link = {
        "click": lambda: links.click(message, TARGET),
        "open": lambda: links.open(message),
        "unsubscribe": lambda: links.unsubscribe(message),
    }[kind]()
    start, _, token = link.rpartition("/")
    raw = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
    forged = [
        base64.urlsafe_b64encode(raw[:n] + bytes([raw[n] ^ bit]) + raw[n + 1 :]).rstrip(b"=").decode()
        for n in range(len(raw))
        for bit in (1 << n % 8,)
    ]
    forged += [token[:n] for n in range(1, len(token), 7)] + [token + "A", "A" * 4_000, "%00", "%F0%9F%98%80"]
    method = "POST" if kind == "unsubscribe" else "GET"
    answers = [server.request(method, f"{start}/{text}") for text in forged]
    assert {answer.status_code for answer in answers} == {404}
    assert not any("Location" in answer.headers for answer in answers)
    assert scene.count("responses") == scene.count("suppressions") == 0


def test_a_token_works_for_its_own_purpose_only(server, scene, message):
    tokens = {
        "c": server.links.click(message, TARGET),
        "o": server.links.open(message),
        "u": server.links.unsubscribe(message),
    }
    for purpose, link in tokens.items():
        token = link.rpartition("/")[2]
        for other in set(tokens) - {purpose}:
            assert server.get(f"/{other}/{token}").status_code == 404
            assert server.request("POST", f"/{other}/{token}").status_code in (404, 405)
    assert scene.count("responses") == 0


def test_a_token_signed_with_another_key_leads_nowhere(server, message):
    stranger = Links(server.url, b"another key, just as long")
    assert server.get(stranger.click(message, "https://evil.example.com/")).status_code == 404


@pytest.mark.parametrize(
    "path",
    [
        "/c/https://evil.example.com/",
        "/c//evil.example.com",
        "//evil.example.com/c/x",
        "/c/?url=https://evil.example.com",
        "/c/%2F%2Fevil.example.com",
        "/c/%0d%0aLocation:%20https://evil.example.com",
        "/nothing",
        "/",
        "/health/",
        "/robots.txt",
    ],
)
def test_no_address_leads_where_we_did_not_sign(lone_server, path):
    answer = lone_server.get(path)
    assert (answer.status_code, "Location" in answer.headers) == (404, False)
    assert "This link does not work" in answer.text


def test_what_is_added_to_a_signed_link_does_not_change_its_target(server, message):
    answer = server.get(server.links.click(message, TARGET) + "?url=https://evil.example.com&next=//evil")
    assert answer.headers["Location"] == TARGET


def test_a_token_of_a_message_that_is_gone_still_leads_on_and_unsubscribes_nobody(server, scene, message):
    assert server.get(server.links.click(message + 1, TARGET)).headers["Location"] == TARGET
    assert server.get(server.links.click(2**64 - 1, TARGET)).status_code == 302
    assert server.one_click(message + 1).status_code == 200
    assert scene.count("responses") == scene.count("suppressions") == 0


def test_a_head_request_is_answered_like_a_get_and_classed_as_machine(server, scene, message):
    for link, status in (
        (server.links.click(message, TARGET), 302),
        (server.links.open(message), 200),
        (server.links.unsubscribe(message), 200),
        ("/health", 200),
        ("/nothing", 404),
    ):
        answer = server.request("HEAD", link)
        assert (answer.status_code, answer.content) == (status, b"")
    assert responses_of(scene) == [(message, "clicked", "machine"), (message, "opened", "machine")]


def test_a_scanner_that_follows_all_links_at_once_is_no_reader(server, scene, message):
    for number in range(4):
        server.get(server.links.click(message, f"{TARGET}&n={number}"))
    assert responses_of(scene) == [(message, "clicked", "machine")] * 4


@pytest.mark.parametrize("path", ["/health", "/nothing", "unsubscribe", "click", "forged"])
def test_every_answer_carries_the_security_headers(lone_server, path):
    link = {
        "unsubscribe": lone_server.links.unsubscribe(7),
        "click": lone_server.links.click(7, TARGET),
        "forged": "/c/forged",
    }.get(path, path)
    headers = lone_server.get(link).headers
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
    assert headers["Referrer-Policy"] == "no-referrer"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["X-Robots-Tag"] == "noindex, nofollow"
    assert headers["Cache-Control"] == "no-store"


def test_other_methods_are_refused(server, scene, message):
    for method in ("PUT", "DELETE", "PATCH", "OPTIONS", "POST"):
        assert server.request(method, server.links.click(message, TARGET)).status_code == 405
    assert server.request("DELETE", server.links.unsubscribe(message)).status_code == 405
    assert scene.count("responses") == 0


def test_a_body_that_is_too_long_is_refused_announced_or_not(server, scene, message):
    link = server.links.unsubscribe(message)
    assert server.request("POST", link, data=b"x" * (MAX_BODY + 1)).status_code == 413
    assert server.request("POST", link, data=iter([b"x" * 10_000] * 3)).status_code == 413
    assert scene.count("suppressions") == 0
    assert server.request("POST", link, data=b"x" * MAX_BODY).status_code == 200


def test_health_tells_that_all_is_well(server):
    answer = server.get("/health")
    assert answer.status_code == 200
    told = answer.json()
    assert told["status"] == "ok"
    assert told["database"] == {"reachable": True, "fault": None}
    assert told["responses_spilled"] == 0
    assert set(told) == {"status", "version", "database", "responses_spilled"}


def test_two_hundred_hits_at_once_are_all_stored_once(server, scene):
    sent = [scene.message(scene.customer(), hours=-1) for _ in range(50)]
    jobs = [
        job for message in sent for job in (("c", message), ("o", message), ("u", message), ("c", message))
    ]

    def hit(job):
        purpose, message = job
        link = {
            "c": lambda: server.links.click(message, TARGET),
            "o": lambda: server.links.open(message),
            "u": lambda: server.links.unsubscribe(message),
        }[purpose]()
        method = "POST" if purpose == "u" else "GET"
        agent = {"User-Agent": "Mozilla/5.0 (X11) Firefox/140.0"}
        return requests.request(method, link, allow_redirects=False, timeout=60, headers=agent).status_code

    with ThreadPoolExecutor(40) as pool:
        statuses = list(pool.map(hit, jobs))
    assert sorted(set(statuses)) == [200, 302]
    expected = sorted((m, kind, "unknown") for m in sent for kind in ("clicked", "opened"))
    found = responses_of(scene)
    assert [row for row in found if row[1] != "unsubscribed"] == expected
    assert len(found) == 150
    assert scene.count("suppressions") == 50


def test_a_request_that_is_no_http_does_not_stop_the_server(lone_server):
    with socket.create_connection(("127.0.0.1", int(lone_server.url.rpartition(":")[2]))) as plain:
        plain.sendall(b"\x16\x03\x01\x02\x00 not http at all\r\n\r\n")
        plain.recv(1000)
    assert lone_server.get("/health").status_code == 200


def test_a_database_without_tables_is_told_by_health_and_clicks_go_on(serve, tmp_path):
    engine = connect(f"sqlite:///{tmp_path / 'empty.db'}")
    with serve(engine) as server:
        answer = server.get("/health")
        assert answer.status_code == 503
        assert "drumbeat db upgrade" in answer.json()["database"]["fault"]
        assert server.get(server.links.click(7, TARGET)).headers["Location"] == TARGET
        lines = (server.folder / "spill" / "responses.jsonl").read_text().splitlines()
        assert json.loads(lines[0])["message_id"] == 7
    engine.dispose()
