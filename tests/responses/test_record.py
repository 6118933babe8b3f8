"""What must hold when responses are stored."""

from __future__ import annotations

from datetime import timedelta

from drumbeat.responses.evidence import weigh
from drumbeat.responses.kinds import MEANING, Actor, Kind
from drumbeat.responses.record import Response, hit_key, record
from drumbeat.store.engine import writing

LINK = "https://shop.example.com/sale"


def click(message_id, at, url=LINK, actor=Actor.UNKNOWN):
    key = hit_key(message_id, Kind.CLICKED, at, url=url, actor=actor)
    return Response(message_id, Kind.CLICKED, at, key, actor, url, {"rule": ""})


def test_every_kind_has_a_meaning():
    assert set(MEANING) == set(Kind)


def test_the_same_click_told_twice_is_one_row_and_a_later_one_is_another(scene):
    message = scene.message(scene.customer())
    first, later = click(message, scene.at(1)), click(message, scene.at(2))
    with writing(scene.engine) as connection:
        assert record(connection, [first, first]) == 1
    with writing(scene.engine) as connection:
        assert record(connection, [first, later]) == 1
    with writing(scene.engine) as connection:
        assert record(connection, [later, first]) == 0
    assert sorted(row.at for row in scene.rows("responses")) == [scene.at(1), scene.at(2)]


def test_a_double_click_within_seconds_is_one_row(scene):
    message = scene.message(scene.customer())
    with writing(scene.engine) as connection:
        record(connection, [click(message, scene.at(1)), click(message, scene.at(1) + timedelta(seconds=2))])
    assert scene.count("responses") == 1


def test_another_link_another_mail_and_a_scanner_are_responses_of_their_own(scene):
    reader = scene.customer()
    one, two = scene.message(reader), scene.message(reader)
    hits = [
        click(one, scene.at(1)),
        click(one, scene.at(1), url=f"{LINK}/2"),
        click(two, scene.at(1)),
        click(one, scene.at(1), actor=Actor.MACHINE),
    ]
    with writing(scene.engine) as connection:
        assert record(connection, hits) == 4


def test_hits_on_messages_the_ledger_lacks_do_not_fail_the_others(scene):
    message = scene.message(scene.customer())
    strangers = [click(number, scene.at(1)) for number in (message + 1, -1, 2**63, 2**80)]
    with writing(scene.engine) as connection:
        assert record(connection, [*strangers, click(message, scene.at(1))]) == 1


def test_more_hits_than_one_statement_takes_are_all_stored(scene):
    message = scene.message(scene.customer())
    hits = [click(message, scene.at(hour)) for hour in range(2_500)]
    with writing(scene.engine) as connection:
        assert record(connection, hits) == 2_500
    with writing(scene.engine) as connection:
        assert record(connection, hits) == 0


def test_many_links_in_one_second_are_a_scanner_also_those_stored_before(scene):
    reader = scene.customer()
    scanned, read = scene.message(reader), scene.message(reader)
    at = scene.at(1)
    links = [click(scanned, at + timedelta(milliseconds=300 * n), url=f"{LINK}/{n}") for n in range(3)]
    alone = click(scanned, scene.at(3), url=f"{LINK}/0")
    opened = Response(scanned, Kind.OPENED, scene.at(0.5), "opened", raw={"rule": ""})
    calm = [click(read, at + timedelta(seconds=20 * n), url=f"{LINK}/{n}") for n in range(3)]
    for hits in ([opened], [links[0]], [links[1]], calm, [links[2]], [alone]):
        with writing(scene.engine) as connection:
            record(connection, hits)
            weigh(connection, hits)
    classes = {row.dedupe_key: (row._mapping["class"], row.raw["rule"]) for row in scene.rows("responses")}
    assert {classes[hit.dedupe_key] for hit in links} == {("machine", "burst_of_links")}
    assert {classes[hit.dedupe_key] for hit in [opened, alone, *calm]} == {("unknown", "")}
