"""What must hold for hits by machines, and behind proxies, against a real server."""

from __future__ import annotations

from datetime import timedelta

import pytest

from drumbeat.rendering.links import Links, tracked
from drumbeat.responses.machines import load_machines

TARGET = "https://shop.example.com/sale"
CHROME = {"User-Agent": "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/140.0.0.0 Safari/537.36"}


def classes(scene):
    rows = sorted(scene.rows("responses"), key=lambda row: row.id)
    return [(row.kind, row._mapping["class"], row.raw.get("rule")) for row in rows]


@pytest.fixture
def message(scene):
    return scene.message(scene.customer(), hours=-1)


def test_the_hidden_link_leads_nowhere_and_tells_what_came_with_it(server, scene, message):
    assert server.get(server.links.click(message, TARGET), headers=CHROME).status_code == 302
    answer = server.get(server.links.hidden(message), headers=CHROME)
    assert (answer.status_code, answer.content, "Location" in answer.headers) == (204, b"", False)
    assert answer.headers["Cache-Control"] == "no-store"
    assert classes(scene) == [("clicked", "machine", "hidden_link")] * 2
    server.clock.advance(timedelta(minutes=30))
    server.get(server.links.click(message, TARGET), headers=CHROME)
    assert classes(scene)[-1] == ("clicked", "unknown", None)


def test_the_hidden_link_of_a_mail_is_one_that_the_server_knows_and_no_reader_sees(server, scene, message):
    links = Links(server.url, b"a key for tests, long enough", hidden_link=True)
    html = tracked(f'<body><p><a href="{TARGET}">Sale</a></p></body>', links, message)
    hidden = links.hidden(message)
    assert f'<a href="{hidden}" tabindex="-1" aria-hidden="true"></a>' in html
    assert "display:none" not in html
    assert "visibility" not in html
    assert server.get(hidden).status_code == 204
    assert hidden not in tracked("<body></body>", server.links, message)


def test_a_hidden_links_token_opens_and_unsubscribes_nothing(server, scene, message):
    token = server.links.hidden(message).rpartition("/")[2]
    assert server.get(f"/o/{token}").status_code == 404
    assert server.request("POST", f"/u/{token}").status_code == 404
    assert scene.count("responses") == 0


def test_a_click_while_the_mail_is_delivered_is_a_scanners(server, scene):
    message = scene.message(scene.customer(), hours=0)
    server.clock.advance(timedelta(seconds=1))
    server.get(server.links.click(message, TARGET), headers=CHROME)
    server.clock.advance(timedelta(seconds=60))
    server.get(server.links.click(message, TARGET), headers=CHROME)
    assert classes(scene) == [("clicked", "machine", "at_delivery"), ("clicked", "unknown", None)]


def test_an_unsubscribe_by_a_scanner_is_honoured_all_the_same(server, scene, message):
    server.get(server.links.hidden(message))
    assert server.one_click(message).status_code == 200
    assert scene.count("suppressions") == 1


@pytest.mark.parametrize(
    ("proxies", "forwarded", "machine"),
    [
        ((), "40.107.1.1", False),
        (("127.0.0.1",), "40.107.1.1", True),
        (("127.0.0.0/8", "10.0.0.0/8"), "40.107.1.1, 10.1.2.3", True),
        (("127.0.0.1",), "40.107.1.1, 203.0.113.9", False),
        (("127.0.0.1",), "[2a01:111:f403::7]:4711", True),
        (("127.0.0.1",), "40.107.1.1:4711", True),
        (("127.0.0.1",), "nonsense, ,", False),
        (("192.0.2.1",), "40.107.1.1", False),
    ],
)
def test_only_what_our_own_proxy_says_of_the_caller_is_believed(
    store, serve, scene, proxies, forwarded, machine
):
    message = scene.message(scene.customer(), hours=-1)
    with serve(store, proxies=proxies) as server:
        server.get(server.links.open(message), headers={**CHROME, "X-Forwarded-For": forwarded})
    (row,) = scene.rows("responses")
    assert row._mapping["class"] == ("machine" if machine else "unknown")
    assert not any(part in str(row.raw) for part in ("40.107", "127.0", "2a01", "203.0"))


def test_a_projects_own_rules_are_asked(store, serve, scene, tmp_path):
    (tmp_path / "machines.yaml").write_text("- {rule: here, class: machine, network: [127.0.0.0/8]}\n")
    message = scene.message(scene.customer(), hours=-1)
    with serve(store, machines=load_machines(tmp_path)) as server:
        server.get(server.links.open(message), headers=CHROME)
    assert classes(scene) == [("opened", "machine", "here")]


def test_a_target_with_letters_of_all_the_world_is_led_to_in_ascii(server, message):
    for target, location in (
        (
            "https://shop.example.com/käse?q=ü&x=%C3%A9",
            "https://shop.example.com/k%C3%A4se?q=%C3%BC&x=%C3%A9",
        ),
        ("https://shop.example.com/a|b{c}", "https://shop.example.com/a%7Cb%7Bc%7D"),
    ):
        assert server.get(server.links.click(message, target)).headers["Location"] == location


def test_a_reader_of_a_mail_of_uncertain_end_proves_that_it_was_sent(server, scene):
    message = scene.message(scene.customer(), state="uncertain", hours=-1)
    server.get(server.links.open(message), headers=CHROME)
    assert [row.state for row in scene.rows("messages")] == ["sent"]
