"""What must hold when several hits are judged together: cases as rows, then the same against the stores."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import pytest

from drumbeat.responses.evidence import HIDDEN, Seen, judged_together, weigh
from drumbeat.responses.kinds import Actor, Kind
from drumbeat.responses.record import Response, record
from drumbeat.store.engine import writing

START = datetime(2026, 1, 1, tzinfo=UTC)
BROWSER, SCANNER = "Firefox/140.0", "Chrome/99.0"


class Case(NamedTuple):
    """`hits`: second after the mail was sent, what, by which program. `machine`: per hit the rule, '' for a reader."""

    says: str
    hits: list[tuple]
    machine: list[str]


TRAP = "trap"
CASES = [
    Case("a click an hour after is a reader's", [(3600, "a")], [""]),
    Case("one before the mail was sent is not", [(-5, "a")], ["at_delivery"]),
    Case("one within two seconds after is not", [(1.9, "a")], ["at_delivery"]),
    Case("one at two seconds is", [(2, "a")], [""]),
    Case("an open at delivery is not", [(1, "open")], ["at_delivery"]),
    Case(
        "what came before a late delivery is not",
        [(30, "a"), (60, "delivered"), (90, "b")],
        ["at_delivery", "", ""],
    ),
    Case(
        "three links within a second are not",
        [(60, "open"), (99, "a"), (99.4, "b"), (99.9, "c")],
        ["", *["burst_of_links"] * 3],
    ),
    Case("two are, where the mail was opened", [(60, "open"), (99, "a"), (99.4, "b")], ["", "", ""]),
    Case("one link three times is", [(60, "open"), (99, "a"), (99.4, "a"), (99.9, "a")], ["", "", "", ""]),
    Case(
        "three within two seconds are, where it was opened",
        [(60, "open"), (99, "a"), (100, "b"), (101, "c")],
        [""] * 4,
    ),
    Case(
        "two links in ten seconds are not where no picture was fetched",
        [(99, "a"), (108, "b")],
        ["links_before_open"] * 2,
    ),
    Case(
        "nor where pictures came after",
        [(99, "a"), (108, "b"), (109, "open")],
        [*["links_before_open"] * 2, ""],
    ),
    Case("two links ten seconds apart are", [(99, "a"), (109, "b")], ["", ""]),
    Case("a single click without an open is", [(99, "a")], [""]),
    Case(
        "whoever follows the hidden link is none, nor what came with it",
        [(60, "a", SCANNER), (61, TRAP, SCANNER), (200, "b", SCANNER)],
        [HIDDEN, "", HIDDEN],
    ),
    Case(
        "within a minute another name hides no scanner",
        [(60, "open", BROWSER), (61, TRAP, SCANNER), (121, "b", "x/1")],
        [HIDDEN, "", HIDDEN],
    ),
    Case(
        "after it another program is a reader's",
        [(61, TRAP, SCANNER), (122, "open", BROWSER), (123, "b", BROWSER)],
        ["", "", ""],
    ),
    Case("ten minutes later the same program is too", [(61, TRAP, SCANNER), (662, "b", SCANNER)], ["", ""]),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.says)
def test_hits_of_one_mail(case):
    seen = [_seen(place, *hit) for place, hit in enumerate(case.hits)]
    found = {hit.id: rule for hit, rule in judged_together(seen)}
    assert [found.get(place, "") for place in range(len(seen))] == case.machine


def _seen(place, seconds, what, agent=BROWSER):
    trap = what == TRAP
    kind = {"open": Kind.OPENED, "delivered": Kind.DELIVERED}.get(what, Kind.CLICKED)
    return Seen(
        id=place,
        message_id=1,
        kind=str(kind),
        at=START + timedelta(seconds=seconds),
        actor=Actor.MACHINE if trap else Actor.UNKNOWN,
        url=None if trap or kind is not Kind.CLICKED else f"https://shop.example.com/{what}",
        raw={"agent": agent, "rule": HIDDEN if trap else ""},
        sent_at=START,
        state="sent",
    )


def test_before_a_mail_of_uncertain_end_was_found_to_be_sent_its_time_says_nothing():
    assert judged_together([_seen(0, -60, "a")._replace(state="uncertain")]) == []
    assert judged_together([_seen(0, -60, "a")._replace(sent_at=None, state="handing_over")]) == []


def hit(message, at, kind=Kind.CLICKED, url=None, actor=Actor.UNKNOWN, **raw):
    return Response(message, kind, at, f"{kind}:{message}:{at.isoformat()}:{url}", actor, url, raw)


def tell(scene, *hits):
    with writing(scene.engine) as connection:
        record(connection, hits)
        return weigh(connection, hits)


def classes(scene):
    rows = sorted(scene.rows("responses"), key=lambda row: row.at)
    return [(row.kind, row._mapping["class"], row.raw.get("rule", "")) for row in rows]


def test_a_delivery_that_is_heard_of_late_classes_what_came_before_it_however_long_before(scene):
    message = scene.message(scene.customer(), hours=0)
    early, late = (
        hit(message, scene.at(hours), url="https://a.example/", agent="x", rule="navigated")
        for hours in (1, 9)
    )
    assert tell(scene, early) == tell(scene, late) == 0
    assert tell(scene, hit(message, scene.at(8), Kind.DELIVERED)) == 1
    assert classes(scene) == [
        ("clicked", "machine", "at_delivery"),
        ("delivered", "unknown", ""),
        ("clicked", "unknown", "navigated"),
    ]
    (first,) = [row for row in scene.rows("responses") if row.at == early.at]
    assert first.raw == {"agent": "x", "rule": "at_delivery", "before": "navigated"}


def test_a_link_followed_before_its_picture_is_a_readers_where_the_mail_was_opened_long_before(scene):
    message = scene.message(scene.customer(), hours=0)
    tell(scene, hit(message, scene.at(1), Kind.OPENED))
    clicks = [hit(message, scene.at(9) + timedelta(seconds=n), url=f"https://a.example/{n}") for n in (0, 3)]
    assert tell(scene, *clicks) == 0


def test_hits_that_are_told_one_by_one_are_judged_as_those_told_together(scene):
    one, other = (scene.message(scene.customer(), hours=0) for _ in range(2))
    hits = [
        [
            hit(m, scene.at(1), Kind.OPENED),
            *(
                hit(m, scene.at(2) + timedelta(milliseconds=300 * n), url=f"https://a.example/{n}")
                for n in range(4)
            ),
        ]
        for m in (one, other)
    ]
    for each in hits[0]:
        tell(scene, each)
    tell(scene, *hits[1])
    judged = {
        message: sorted(
            (r.at, r._mapping["class"]) for r in scene.rows("responses") if r.message_id == message
        )
        for message in (one, other)
    }
    assert judged[one] == judged[other]
    assert [actor for _, actor in judged[one]] == ["unknown", *["machine"] * 4]


def test_a_hit_on_a_mail_of_uncertain_end_proves_that_it_was_sent(scene):
    message = scene.message(scene.customer(), state="uncertain")
    tell(scene, hit(message, scene.at(1), Kind.OPENED, actor=Actor.MACHINE))
    assert [row.state for row in scene.rows("messages")] == ["sent"]
    (event,) = scene.rows("message_events")
    assert (event.state, event.detail) == ("sent", "opened, so it was sent")


def test_messages_that_the_ledger_lacks_are_judged_nowhere(scene):
    assert tell(scene, hit(77, scene.at(1), url="https://a.example/"), hit(2**70, scene.at(1))) == 0


def test_ten_thousand_hits_on_one_mail_are_judged_in_a_moment():
    seen = [
        _seen(n, 100 + n / 8, f"link{n % 20}" if n % 3 else TRAP, f"agent {n % 7}") for n in range(10_000)
    ]
    started = time.perf_counter()
    found = judged_together(seen)
    assert time.perf_counter() - started < 2
    assert len(found) == sum(1 for one in seen if one.actor is not Actor.MACHINE)
