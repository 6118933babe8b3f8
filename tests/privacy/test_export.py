"""The export: everything about one person and nothing of another, as one JSON document that programs can read."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

import pytest
from privacy.crowd import EMMA, KEY, TRACES, Crowd

from drumbeat.errors import InputError
from drumbeat.privacy.export import PORTION, export, sections
from drumbeat.privacy.keys import erased_of, link_secrets
from drumbeat.privacy.person import find_person
from drumbeat.privacy.registry import personal
from drumbeat.privacy.tokens import names_of
from drumbeat.responses.arrived import Arrived
from drumbeat.responses.kinds import Kind
from drumbeat.responses.webhooks import Event
from drumbeat.store.engine import reading, writing
from drumbeat.store.tables import events


def text_of(crowd: Crowd, asked: str = EMMA, read: Any = None) -> str:
    with reading(crowd.engine) as connection:
        person = find_person(connection, asked, erased_of(crowd.project))
        names = names_of(connection, person, link_secrets(crowd.project))
        return "".join(export(connection, person, names, project="shop", at=crowd.now, read=read))


def document(crowd: Crowd, asked: str = EMMA, read: Any = None) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(text_of(crowd, asked, read))
    return found


def test_an_export_holds_every_trace_of_the_person_and_none_of_anybody_else(crowd: Crowd) -> None:
    text = text_of(crowd).lower()
    # The row in the inbox that bears only a token, and the base64 one, tell nothing else.
    assert [trace for trace in TRACES if trace not in text] == []
    assert "ben@" not in text
    assert "-b1" not in text
    assert "olga" not in text.replace('"manager": "olga"', "")


def test_every_table_of_theirs_is_a_list_in_it(crowd: Crowd) -> None:
    found = document(crowd)
    assert list(found)[:7] == [
        *("shape", "project", "as_of", "asked_for", "customers_are"),
        *("addresses", "shared_addresses"),
    ]
    assert list(found)[7:] == sections()
    assert set(personal()) <= {*sections(), "order_items", "cart_items", "message_events", "outbox"}
    for name in sections():
        assert found[name], name
    assert found["customers_are"] == [EMMA, "kunde-4712"]
    assert found["addresses"][0] == KEY


def test_parts_stand_within_what_they_are_parts_of(crowd: Crowd) -> None:
    waiting = crowd.message(crowd.emma, "x", state="planned")
    crowd.add("outbox", message_id=waiting, due_at=crowd.now, priority=1)
    found = document(crowd)
    (order,) = found["orders"]
    assert (order["total"], order["items"][0]["title"], order["items"][0]["unit_price"]) == (
        "49.9",
        "Tea",
        "24.95",
    )
    assert found["carts"][0]["items"][0]["quantity"] == 2
    sent = next(one for one in found["messages"] if one["id"] == crowd.messages["e sent"])
    assert (sent["campaign"], sent["state"], sent["occasion"]) == ("reminder", "sent", "cart:cart-e1:v2")
    assert [one["detail"] for one in sent["events"]] == ["250 2.1.5 queued"]
    assert [one["kind"] for one in sent["responses"]] == ["opened", "clicked"]
    assert found["messages"][-1]["waiting"][0]["message_id"] == waiting
    assert [one["kind"] for one in found["responses"]] == ["complained"]


def test_instants_are_iso_8601_in_utc(crowd: Crowd) -> None:
    found = document(crowd)
    assert found["as_of"] == "2011-12-05T09:00:00+00:00"
    for row in found["messages"]:
        assert datetime.fromisoformat(row["planned_at"]).utcoffset() is not None
    assert found["customers"][0]["birth_date"] == "1987-03-21"


def test_the_same_data_gives_the_same_document(crowd: Crowd) -> None:
    assert text_of(crowd) == text_of(crowd)


def test_of_a_call_that_tells_of_many_only_their_part_is_told(crowd: Crowd) -> None:
    body = json.dumps([{"email": KEY, "n": 1}, {"email": "ben@example.com", "n": 2}]).encode()
    given = {"source": "sendgrid", "dedupe_key": "many", "received_at": crowd.now, "state": "done"}
    crowd.add("inbox", headers={}, body=body, **given)

    def read(arrived: Arrived) -> list[Event]:
        if arrived.source == "mail":
            raise InputError("no mail")
        if arrived.source != "sendgrid":
            return [Event(Kind.BOUNCED, crowd.now, recipient=KEY, ip="192.0.2.9")]
        told = json.loads(arrived.body)
        return [Event(Kind.OPENED, crowd.now, recipient=one["email"], raw=one) for one in told]

    calls = {row["id"]: row for row in document(crowd, read=read)["inbox"]}
    many = list(calls.values())[-1]
    assert [event["raw"]["n"] for event in many["events"]] == [1]
    assert many["body"] is None
    alone = next(row for row in calls.values() if row["source"] == "postmark")
    assert alone["events"][0]["ip"] == "192.0.2.9"
    assert KEY in alone["body"]
    mail = next(row for row in calls.values() if row["source"] == "mail")
    assert (mail["events"], KEY in mail["body"]) == (None, True)


def test_without_a_reader_no_call_is_told_that_may_hold_others(crowd: Crowd) -> None:
    for row in document(crowd)["inbox"]:
        assert row["events"] is None
        assert (row["body"] is None) == (row["source"] != "mail")


def test_many_rows_are_all_there_once_and_in_order(crowd: Crowd) -> None:
    """More than one portion, and rows with a key of two columns."""
    number = PORTION * 2 + 7
    for place in range(number):
        crowd.message(crowd.emma, f"many:{place}")
    with writing(crowd.engine) as connection:
        connection.execute(
            events.insert(),
            [
                {
                    "customer_id": crowd.emma,
                    "name": "n",
                    "at": crowd.now,
                    "properties": {"n": n},
                    "loaded_at": crowd.now,
                }
                for n in range(number)
            ],
        )
    found = document(crowd)
    occasions = [row["occasion"] for row in found["messages"]]
    assert [one for one in occasions if one.startswith("many")] == [f"many:{n}" for n in range(number)]
    assert [row["properties"].get("n") for row in found["events"][1:]] == list(range(number))
    assert [(row["customer_id"], row["topic"]) for row in found["consents"]] == [
        (crowd.emma, "offers"),
        (crowd.twin, "offers"),
    ]


def test_the_document_does_not_depend_on_the_portions_it_is_read_in(
    crowd: Crowd, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows with a key of two columns among them."""
    for topic in ("news", "alerts", "a"):
        crowd.add(
            "consents", customer_id=crowd.emma, topic=topic, granted=True, at=crowd.now, loaded_at=crowd.now
        )
    whole = text_of(crowd)
    monkeypatch.setattr("drumbeat.privacy.export.PORTION", 1)
    assert text_of(crowd) == whole
    assert len(json.loads(whole)["consents"]) == 5


def test_odd_texts_come_out_as_they_are(crowd: Crowd) -> None:
    odd = 'a "quote", \\ back\u2028line \u202eright 🧺 \t and </script>'
    crowd.add(
        "events", customer_id=crowd.emma, name=odd, at=crowd.now, properties={odd: [odd]}, loaded_at=crowd.now
    )
    (_, last) = document(crowd)["events"]
    assert (last["name"], last["properties"]) == (odd, {odd: [odd]})


def test_an_address_that_no_customer_has_can_be_exported(crowd: Crowd) -> None:
    crowd.add("suppressions", email_key="x@example.org", topic="", reason="complained", at=crowd.now)
    found = document(crowd, "x@example.org")
    assert [row["reason"] for row in found["suppressions"]] == ["complained"]
    assert found["customers"] == found["messages"] == found["inbox"] == []
