"""`drumbeat suppressions` and `drumbeat consent` as they are typed, on both databases."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import click
import pytest
from sqlalchemy import select, text

from drumbeat.cli import consent, suppressions
from drumbeat.cli.output import guarded
from drumbeat.responses.suppress import suppress
from drumbeat.store.engine import connect, reading, writing
from drumbeat.store.tables import audit, metadata
from drumbeat.store.upgrade import upgrade

PROJECT = """
project: shop
time_zone: Europe/Berlin
senders: {shop: {name: Shop, address: shop@example.com, postal_address: "1 High Street"}}
topics: {offers: Offers, news: News, alerts: {text: Alerts, channel: sms}}
"""


class Shop:
    """A project on a store, and its commands."""

    def __init__(self, root: Path, url: str, capture: pytest.CaptureFixture[str]) -> None:
        self.root, self.engine, self._capture = root, connect(url), capture

    def run(self, command: click.Command, *words: str) -> tuple[int, str, str]:
        """Return the exit code, stdout and stderr."""
        code = guarded(command, [*words, "--project", str(self.root)])
        out, err = self._capture.readouterr()
        return code, out, err

    def suppressions(self, *words: str) -> tuple[int, str, str]:
        return self.run(suppressions.command, *words)

    def json(self, *words: str) -> Any:
        code, out, _ = self.suppressions(*words, "--json")
        assert code == 0
        return json.loads(out)

    def log(self) -> list[tuple[str, str, str | None]]:
        with reading(self.engine) as connection:
            return [
                (row.actor, row.action, row.subject)
                for row in connection.execute(select(audit).order_by(audit.c.id))
            ]


@pytest.fixture
def shop(store_url: str, tmp_path: Path, project_root: Path, monkeypatch, capsys):
    """The smallest project, on a store of this version."""
    root = tmp_path / "shop"
    (root / "triggers").mkdir(parents=True)
    (root / "project.yaml").write_text(PROJECT)
    (root / "segments.yaml").write_text("{}\n")
    (root / "triggers" / "__init__.py").write_text("KINDS = {}\n")
    monkeypatch.setenv("DRUMBEAT_DATABASE_URL", store_url)
    monkeypatch.setenv("DRUMBEAT_ACTOR", "ann")
    made = Shop(root, store_url, capsys)
    upgrade(made.engine)
    yield made
    made.engine.dispose()


def add_customer(shop: Shop, **values: Any) -> None:
    row = {"external_id": "C1", "email": "A@example.com", "email_key": "a@example.com", **values}
    with writing(shop.engine) as connection:
        connection.execute(
            metadata.tables["customers"].insert().values(loaded_at=_at("2011-01-01"), person_id=1, **row)
        )


def _at(day: str):
    from drumbeat.clock import parse_instant

    return parse_instant(day)


def give_consent(shop: Shop, *topics: str) -> None:
    with writing(shop.engine) as connection:
        number = connection.execute(text("SELECT max(id) FROM customers")).scalar()
        for topic in topics:
            connection.execute(
                metadata.tables["consents"]
                .insert()
                .values(
                    customer_id=number,
                    topic=topic,
                    granted=True,
                    at=_at("2011-01-01"),
                    source="checkout",
                    loaded_at=_at("2011-01-01"),
                )
            )


def test_adding_listing_and_taking_back(shop):
    assert shop.suppressions("list")[1] == "No address is suppressed.\n"
    assert shop.suppressions("add", "A@Example.com", "--topic", "news")[1] == (
        "a@example.com gets no mail of the topic news any more (manual).\n"
    )
    assert "already" in shop.suppressions("add", "a@example.com", "--topic", "news")[1]
    assert shop.json("add", "@Example.org", "--reason", "complaint") == {
        "address": "@example.org",
        "topic": "",
        "reason": "complained",
        "changed": True,
    }
    found = shop.json("list")
    assert found["total"] == 2
    assert [
        (row["address"], row["topic"], row["reason"], row["source"]) for row in found["suppressions"]
    ] == [
        ("@example.org", "", "complained", "by ann"),
        ("a@example.com", "news", "manual", "by ann"),
    ]
    assert [row["address"] for row in shop.json("list", "--domain", "example.org")["suppressions"]] == [
        "@example.org"
    ]
    assert shop.json("list", "--reason", "manual", "--topic", "news")["total"] == 1
    assert "1 more" in shop.suppressions("list", "--limit", "1")[2]
    code, _, err = shop.suppressions("remove", "a@example.com")
    assert (code, err) == (
        2,
        "drumbeat: this would take back of a@example.com: news (manual); say --yes to do it\n",
    )
    assert shop.json("list")["total"] == 2
    assert (
        shop.suppressions("remove", "a@example.com", "--yes")[1]
        == "Taken back of a@example.com: news (manual).\n"
    )
    assert shop.json("list")["total"] == 1
    assert shop.log() == [
        ("ann", "suppressions add", "a@example.com"),
        ("ann", "suppressions add", "a@example.com"),
        ("ann", "suppressions add", "@example.org"),
        ("ann", "suppressions remove", "a@example.com"),
    ]
    with reading(shop.engine) as connection:
        detail = connection.execute(select(audit.c.detail).order_by(audit.c.id.desc())).scalars().first()
    assert [(row["topic"], row["reason"]) for row in detail["removed"]] == [("news", "manual")]


@pytest.mark.parametrize(
    ("words", "fault"),
    [
        (
            ["add", "nobody"],
            "'nobody' is no address; expected name@example.com, or @example.com for a whole domain",
        ),
        (["add", "a@example.com", "--topic", "ofers"], "unknown topic 'ofers'. Did you mean 'offers'?"),
        (["add", "a@example.com", "--reason", "bord"], "unknown reason 'bord'"),
        (["add", "a@example.com", "--reason", "soft bounce"], "not that the address is dead"),
        (["add", "a@example.com", "--reason", "erased"], "`erased` is what `drumbeat customer erase` says"),
        (["add", "@example.com", "--reason", "unsubscribed"], "not a whole domain"),
        (["remove", "a@example.com", "--yes"], "there is no such suppression of a@example.com"),
        (["export", "--json"], "say --output FILE"),
        (["list", "--topic", "x"], "unknown topic 'x'"),
    ],
)
def test_what_cannot_be_done_is_one_line_and_changes_nothing(shop, words, fault):
    code, out, err = shop.suppressions(*words)
    assert (code, out) == (2, "")
    assert fault in err
    assert err.count("\n") == 1
    assert shop.log() == []


def test_an_erased_address_cannot_be_taken_back(shop):
    with writing(shop.engine) as connection:
        suppress(connection, "a@example.com", reason="erased", at=_at("2011-01-01"), source="x")
    code, _, err = shop.suppressions("remove", "a@example.com", "--yes")
    assert (code, err) == (
        2,
        "drumbeat: a@example.com was erased at its owner's request; that cannot be taken back\n",
    )


def test_lists_go_out_and_come_back(shop, tmp_path):
    file = tmp_path / "bounced.txt"
    file.write_text("a@example.com\nb@example.com\nnobody\n")
    code, out, err = shop.suppressions("import", str(file), "--reason", "hard bounce", "--topic", "news")
    assert code == 0
    assert out == (
        "bounced.txt (addresses): 3 rows read: 2 new, 0 for a stronger reason, 0 unchanged, 0 repeated\n"
        f"  1 rejected; see {tmp_path / 'bounced.txt.rejected.csv'}\n"
    )
    assert err == ""
    assert shop.json("import", str(file))["unchanged"] == 0, "for all topics is another suppression"
    out = shop.suppressions("export")[1]
    assert [row[:3] for row in csv.reader(io.StringIO(out))] == [
        ["address", "topic", "reason"],
        ["a@example.com", "news", "bounced"],
        ["b@example.com", "news", "bounced"],
        ["a@example.com", "", "manual"],
        ["b@example.com", "", "manual"],
    ]
    target = tmp_path / "all.csv"
    assert shop.json("export", "--output", str(target)) == {"file": str(target), "addresses": 4}
    assert target.read_text() == out
    again = shop.json("import", str(target))
    assert (again["shape"], again["unchanged"], again["rejected"], again["rejects_file"]) == (
        "drumbeat",
        4,
        0,
        None,
    )
    assert [entry[1] for entry in shop.log()] == [
        "suppressions import",
        "suppressions import",
        "suppressions export",
        "suppressions export",
        "suppressions import",
    ]
    target.write_text("email,topic\nc@example.com,gone\n")
    assert "topics that project.yaml does not have: gone" in shop.suppressions("import", str(target))[2]
    target.write_text("no list\n")
    code, _, err = shop.suppressions("import", str(target))
    assert code == 4
    assert err.count("\n") == 1
    assert shop.suppressions("export", "-o", str(tmp_path / "none" / "x.csv"))[0] == 4


def test_check_tells_whether_and_why_an_address_gets_no_mail(shop):
    add_customer(shop, phone="+442079460000")
    give_consent(shop, "offers", "alerts")
    assert shop.suppressions("check", "a@Example.com")[1].splitlines() == [
        "a@example.com: gets messages",
        "  customer: C1",
        "  topic offers: yes",
        "  topic news: no, no consent",
        "  service messages: yes",
    ]
    with writing(shop.engine) as connection:
        suppress(
            connection,
            "a@example.com",
            topic="offers",
            reason="unsubscribed",
            at=_at("2011-12-05"),
            source="link",
        )
        suppress(connection, "@example.com", reason="bounced", at=_at("2011-12-06"), source=None)
        connection.execute(
            metadata.tables["preferences"]
            .insert()
            .values(
                email_key="a@example.com",
                max_messages=2,
                paused_until=_at("2099-01-01"),
                at=_at("2011-12-05"),
            )
        )
    assert shop.suppressions("check", "a@example.com")[1].splitlines() == [
        "a@example.com: gets no messages",
        "  customer: C1",
        "  suppressed since 2011-12-05 00:00 UTC for offers: unsubscribed (link)",
        "  suppressed since 2011-12-06 00:00 UTC for all topics: bounced, as all of @example.com",
        "  topic offers: no, suppressed",
        "  topic news: no, suppressed",
        "  service messages: no, suppressed",
        "  the reader chose at most 2 messages in the cap's span",
        "  the reader chose a break until 2099-01-01 00:00 UTC",
    ]
    assert shop.json("check", "a@example.com")["topics"] == {"offers": "suppressed", "news": "suppressed"}
    assert shop.suppressions("check", "tel:+442079460000")[1].splitlines() == [
        "tel:+442079460000: gets messages",
        "  customer: C1",
        "  topic alerts: no, the reader takes a break",
        "  service messages: yes",
        "  the reader chose at most 2 messages in the cap's span",
        "  the reader chose a break until 2099-01-01 00:00 UTC",
    ]
    unknown = shop.json("check", "x@example.org")
    assert (unknown["customers"], unknown["topics"], unknown["service"]) == (
        [],
        {"offers": "no_consent", "news": "no_consent"},
        "no_address",
    )
    with writing(shop.engine) as connection:
        suppress(connection, "x@example.org", reason="complained", at=_at("2011-12-06"), source=None)
    assert shop.json("check", "x@example.org")["service"] == "suppressed"


def test_consent_show_prints_every_change_with_what_was_seen(shop):
    add_customer(shop)
    give_consent(shop, "offers")
    code, out, err = shop.run(consent.command, "show", "C1")
    assert (code, out) == (0, "customer C1\n  offers: granted since 2011-01-01 00:00 UTC (checkout)\n")
    assert "there is no proof" in err
    from drumbeat.responses.consent import Change, change

    with writing(shop.engine) as connection:
        number = connection.execute(text("SELECT max(id) FROM customers")).scalar_one()
        proof = {"text": "One line\nAnother", "language": "de", "asked": {"at": "then"}}
        change(connection, [Change(number, "offers", False, _at("2011-12-05"), "preferences", proof)])
    head, *lines = shop.run(consent.command, "show", "a@example.com")[1].splitlines()[1:]
    assert head == "  offers: withdrawn since 2011-12-05 00:00 UTC (preferences)"
    assert lines[0] == "  2011-12-05 00:00:00 UTC  offers withdrawn, preferences"
    # PostgreSQL keeps the entries of a document in an order of its own.
    told = "\n".join(lines)
    assert "      text:\n        | One line\n        | Another" in told
    assert "      asked:\n        at: then" in told
    assert "      language: de" in told
    (one,) = json.loads(shop.run(consent.command, "show", "C1", "--json")[1])
    assert one["customer"] == "C1"
    assert one["now"][0]["granted"] is False
    assert one["history"][0]["proof"] == proof
    code, _, err = shop.run(consent.command, "show", "nobody")
    assert (code, err.count("\n")) == (2, 1)
