"""The send loop: what goes out, what does not, and what is written down about it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, time, timedelta
from pathlib import Path
from typing import Any

import pytest
from servers.shop import fill, make_shop, message, plan_mails, states, story, waiting
from sqlalchemy import Engine, delete, insert, select, update

from drumbeat.clock import FixedClock
from drumbeat.delivery import Begin, Done, Mail, Outcome
from drumbeat.errors import DeliveryError
from drumbeat.outbox.claim import claim
from drumbeat.outbox.deliver import Delivered, deliver
from drumbeat.outbox.record import back_off
from drumbeat.outbox.uncertain import list_uncertain
from drumbeat.project.load import Project, load_project
from drumbeat.store.engine import reading, writing
from drumbeat.store.tables import carts, consents, customers, messages, runs, suppressions
from drumbeat.testing import RecordingBackend


def run(
    store: Engine, project: Project, clock: FixedClock, backend: RecordingBackend, **more: Any
) -> Delivered:
    """Deliver with a fake backend."""
    return deliver(store, project, clock=clock, backend=backend, **more)


def change(store: Engine, *statements: Any) -> None:
    """Change rows."""
    with writing(store) as connection:
        for statement in statements:
            connection.execute(statement)


def test_what_is_due_goes_out_and_is_written_down(
    store: Engine, project: Project, clock: FixedClock, now: datetime
) -> None:
    ids = fill(store, 3, now)
    fill(store, 1, now + timedelta(seconds=1))
    backend = RecordingBackend()
    seen: list[int] = []
    assert run(store, project, clock, backend, progress=seen.append) == Delivered(sent=3)
    assert backend.addresses == ["r1@example.com", "r2@example.com", "r3@example.com"]
    row = message(store, ids[0])
    assert (row.state, row.sent_at, row.handing_over_at) == ("sent", now, now)
    assert row.answer == "accepted by the script"
    assert story(store, ids[0]) == ["sent"]
    assert [w.message_id for w in waiting(store)] == [4]
    assert seen == [1, 2, 3]
    assert not backend.is_open
    assert run(store, project, clock, backend) == Delivered()
    with reading(store) as connection:
        summaries = connection.execute(select(runs.c.summary).where(runs.c.kind == "deliver")).scalars().all()
    assert [summary["sent"] for summary in summaries] == [3]


def test_the_mail_is_complete(store: Engine, project: Project, clock: FixedClock, now: datetime) -> None:
    """Headers of RFC 8058, signed links, the trigger's context and the customer's name."""
    fill(store, 1, now, first_name="Zoë")
    backend = RecordingBackend()
    run(store, project, clock, backend)
    (mail,) = backend.accepted
    content = mail.content.decode("ascii")
    assert mail.envelope_from == "shop@example.com"
    assert f"Message-ID: <{mail.key}@example.com>\r\n" in content
    assert "List-Unsubscribe: <http://127.0.0.1:8025/u/" in content
    assert "List-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n" in content
    assert "Subject: Your cart a1\r\n" in content
    assert "Date: Mon, 05 Dec 2011 09:00:00 +0000\r\n" in content
    assert "Zo=C3=AB" in content
    assert "http://127.0.0.1:8025/c/" in content


def test_the_key_of_a_mail_stays_the_same_in_a_new_store(
    store: Engine, project: Project, clock: FixedClock, now: datetime
) -> None:
    """So that a mail handed over again is known by its Message-ID."""
    fill(store, 2, now)
    backend = RecordingBackend(script=[Outcome.DEFERRED], late=True)
    run(store, project, clock, backend)
    clock.advance(timedelta(hours=1))
    run(store, project, clock, backend)
    first, _, again = backend.tried
    assert first.envelope_to == again.envelope_to
    assert first.key == again.key


def test_higher_priority_goes_first(
    store: Engine, project: Project, clock: FixedClock, now: datetime
) -> None:
    fill(store, 2, now, priority=10)
    fill(store, 2, now, priority=90)
    backend = RecordingBackend()
    run(store, project, clock, backend)
    assert backend.addresses == [f"r{n}@example.com" for n in (3, 4, 1, 2)]


def test_a_limit_hands_over_no_more_than_that(
    store: Engine, project: Project, clock: FixedClock, now: datetime
) -> None:
    fill(store, 5, now)
    backend = RecordingBackend()
    assert run(store, project, clock, backend, limit=2).sent == 2
    assert len(backend.tried) == 2
    assert [w.lease_owner for w in waiting(store)] == [None] * 3


def test_skipped_mails_do_not_use_up_the_limit(
    store: Engine, project: Project, clock: FixedClock, now: datetime
) -> None:
    fill(store, 5, now)
    change(store, update(carts).where(carts.c.id <= 3).values(total=0))
    assert run(store, project, clock, RecordingBackend(), limit=2) == Delivered(sent=2, skipped=3)


@pytest.mark.parametrize("late", [False, True], ids=["at RCPT", "at the final dot"])
def test_a_refused_mail_is_refused_for_good(
    store: Engine, project: Project, clock: FixedClock, now: datetime, late: bool
) -> None:
    ids = fill(store, 2, now)
    backend = RecordingBackend(by_address={"r1@example.com": Outcome.REFUSED}, late=late)
    assert run(store, project, clock, backend) == Delivered(sent=1, refused=1)
    row = message(store, ids[0])
    assert (row.state, row.sent_at, row.answer) == ("refused", None, "refused by the script")
    assert waiting(store) == []


@pytest.mark.parametrize("late", [False, True], ids=["at RCPT", "at the final dot"])
def test_a_temporary_refusal_is_tried_again_with_growing_pauses_then_given_up(
    store: Engine, project: Project, clock: FixedClock, now: datetime, late: bool
) -> None:
    """Eight attempts: after 1, 5, 15, 60 and then each time 240 minutes."""
    (message_id,) = fill(store, 1, now)
    backend = RecordingBackend(by_address={"r1@example.com": Outcome.DEFERRED}, late=late)
    pauses = []
    for attempt in range(1, 8):
        assert run(store, project, clock, backend) == Delivered(deferred=1)
        assert run(store, project, clock, backend) == Delivered()
        (row,) = waiting(store)
        assert (row.attempts, row.lease_until, row.lease_owner) == (attempt, None, None)
        pauses.append((row.due_at - clock.now()) // timedelta(minutes=1))
        assert message(store, message_id).state == "planned"
        clock.at = row.due_at
    assert pauses == [1, 5, 15, 60, 240, 240, 240]
    assert run(store, project, clock, backend) == Delivered(failed=1)
    row = message(store, message_id)
    assert (row.state, row.reason, row.sent_at) == ("failed", "retries_used_up", None)
    assert len(backend.tried) == 8
    assert story(store, message_id).count("planned") == 7


def test_the_pause_before_the_first_retry_is_a_minute() -> None:
    assert back_off(1) == timedelta(minutes=1)
    assert back_off(100) == timedelta(hours=4)


def test_a_mail_that_was_put_off_goes_out_later(
    store: Engine, project: Project, clock: FixedClock, now: datetime
) -> None:
    fill(store, 1, now)
    backend = RecordingBackend(script=[Outcome.DEFERRED], late=True)
    run(store, project, clock, backend)
    clock.advance(timedelta(minutes=1))
    assert run(store, project, clock, backend) == Delivered(sent=1)


def test_an_uncertain_mail_counts_as_sent_is_listed_and_never_goes_out_again(
    store: Engine, project: Project, clock: FixedClock, now: datetime
) -> None:
    ids = fill(store, 2, now)
    backend = RecordingBackend(script=[Outcome.UNCERTAIN])
    assert run(store, project, clock, backend) == Delivered(sent=1, uncertain=1)
    row = message(store, ids[0])
    assert (row.state, row.sent_at) == ("uncertain", now)
    clock.advance(timedelta(days=2))
    assert run(store, project, clock, backend) == Delivered()
    with reading(store) as connection:
        (listed,) = list_uncertain(connection)
    assert (listed.customer, listed.campaign, listed.at) == ("c1", "reminder", now)


def test_a_mail_whose_time_is_over_expires(
    store: Engine, project: Project, clock: FixedClock, now: datetime
) -> None:
    (first,) = fill(store, 1, now, expires_at=now + timedelta(hours=1))
    fill(store, 1, now, expires_at=now + timedelta(hours=1, seconds=1))
    clock.advance(timedelta(hours=1))
    assert run(store, project, clock, RecordingBackend()) == Delivered(sent=1, expired=1)
    assert (message(store, first).state, message(store, first).reason) == ("expired", "too_late")


@pytest.mark.parametrize("how", ["removed", "disabled"])
def test_mails_of_a_campaign_that_is_gone_are_skipped(
    store: Engine, project: Project, clock: FixedClock, now: datetime, tmp_path: Path, how: str
) -> None:
    (message_id,) = fill(store, 1, now)
    if how == "removed":
        (project.root / "campaigns/reminder.yaml").unlink()
        project = load_project(project.root)
    else:
        project = load_project(make_shop(project.root, campaign={"enabled": False}))
    assert run(store, project, clock, RecordingBackend()) == Delivered(skipped=1)
    assert message(store, message_id).reason == "campaign_gone"


def test_a_cart_that_was_bought_meanwhile_is_not_mailed(
    store: Engine, project: Project, clock: FixedClock, now: datetime
) -> None:
    ids = fill(store, 3, now)
    change(store, update(carts).where(carts.c.id == 2).values(total=0))
    backend = RecordingBackend()
    assert run(store, project, clock, backend) == Delivered(sent=2, skipped=1)
    assert backend.addresses == ["r1@example.com", "r3@example.com"]
    assert message(store, ids[1]).reason == "no_longer_eligible"


def test_a_customer_who_left_the_segment_is_not_mailed(
    store: Engine, clock: FixedClock, now: datetime, tmp_path: Path
) -> None:
    project = load_project(make_shop(tmp_path / "shop", campaign={"segment": "at_home"}))
    ids = fill(store, 2, now)
    change(store, update(customers).where(customers.c.id == 1).values(country="DE"))
    assert run(store, project, clock, RecordingBackend()) == Delivered(sent=1, skipped=1)
    assert message(store, ids[0]).reason == "no_longer_eligible"


WITHDRAWALS: dict[str, Callable[[datetime], Any]] = {
    "no_consent": lambda at: update(consents).where(consents.c.customer_id == 1).values(granted=False),
    "suppressed": lambda at: insert(suppressions).values(email_key="r1@example.com", reason="manual", at=at),
    "no_address": lambda at: update(customers).where(customers.c.id == 1).values(email=None, email_key=None),
}


@pytest.mark.parametrize("reason", WITHDRAWALS)
@pytest.mark.parametrize("when", ["before the batch", "at the last moment"])
def test_consent_wins_until_the_last_moment(
    store: Engine, project: Project, clock: FixedClock, now: datetime, reason: str, when: str
) -> None:
    """Withdrawn a second before its turn, when the mail is already on the connection: no content leaves."""
    ids = fill(store, 2, now)
    backend = RecordingBackend()

    def withdraw(mail: Mail) -> None:
        if mail.envelope_to == "r1@example.com":
            change(store, WITHDRAWALS[reason](now))
            clock.advance(timedelta(seconds=1, microseconds=1))

    if when == "before the batch":
        change(store, WITHDRAWALS[reason](now))
    else:
        backend.before_each = withdraw
    assert run(store, project, clock, backend) == Delivered(sent=1, skipped=1)
    assert backend.addresses == ["r2@example.com"]
    assert (message(store, ids[0]).state, message(store, ids[0]).reason) == ("skipped", reason)


def test_a_mail_over_the_cap_is_held_back_at_the_last_moment_and_goes_out_when_a_place_is_free(
    store: Engine, clock: FixedClock, now: datetime, tmp_path: Path
) -> None:
    """The cap was lowered after planning."""
    project = load_project(make_shop(tmp_path / "shop", cap=1))
    fill(store, 1, now)
    with writing(store) as connection:
        cart = {
            "id": 77,
            "external_id": "a77",
            "customer_id": 1,
            "updated_at": now,
            "total": 9,
            "loaded_at": now,
        }
        connection.execute(insert(carts).values(**cart))
    plan_mails(store, [(1, "cart:a77", 77)], now)
    backend = RecordingBackend()
    assert run(store, project, clock, backend) == Delivered(sent=1, deferred=1)
    clock.advance(timedelta(hours=168) - timedelta(seconds=1))
    assert run(store, project, clock, backend) == Delivered()
    clock.advance(timedelta(seconds=1))
    assert run(store, project, clock, backend) == Delivered(sent=1)


def test_a_mail_outside_the_window_waits_for_it_in_the_readers_own_zone(
    store: Engine, clock: FixedClock, now: datetime, tmp_path: Path
) -> None:
    """09:00 UTC on 5 December: 18:00 in Tokyo, 04:00 in New York; an unknown zone takes the project's."""
    window = {"send": {"window": {"from": "09:00", "to": "18:00"}}}
    project = load_project(make_shop(tmp_path / "shop", campaign=window))
    for zone in ("Asia/Tokyo", "America/New_York", None, "Mars/Olympus"):
        fill(store, 1, now, time_zone=zone)
    backend = RecordingBackend()
    assert run(store, project, clock, backend) == Delivered(sent=2, deferred=2)
    assert backend.addresses == ["r3@example.com", "r4@example.com"]
    tokyo, new_york = waiting(store)
    assert tokyo.due_at == datetime(2011, 12, 6, 0, 0, tzinfo=UTC)
    assert new_york.due_at == datetime(2011, 12, 5, 14, 0, tzinfo=UTC)
    assert (tokyo.lease_owner, tokyo.attempts) == (None, 0)
    clock.at = new_york.due_at
    assert run(store, project, clock, backend) == Delivered(sent=1)


def test_a_mail_whose_window_opens_only_after_its_time_expires_at_once(
    store: Engine, clock: FixedClock, now: datetime, tmp_path: Path
) -> None:
    window = {"send": {"window": {"from": "20:00", "to": "21:00"}}}
    project = load_project(make_shop(tmp_path / "shop", campaign=window))
    fill(store, 1, now, expires_at=datetime.combine(now.date(), time(20), UTC))
    assert run(store, project, clock, RecordingBackend()) == Delivered(expired=1)


def test_a_mail_that_cannot_be_rendered_is_given_up_with_its_place_and_the_others_go_on(
    store: Engine, project: Project, clock: FixedClock, now: datetime
) -> None:
    ids = fill(store, 3, now)
    part = project.root / "templates/reminder/body.txt.j2"
    part.write_text("{% if cart.id == 'a2' %}{{ cart.colour }}{% endif %}{{ unsubscribe_url }}")
    assert run(store, project, clock, RecordingBackend()) == Delivered(sent=2, failed=1)
    row = message(store, ids[1])
    assert (row.state, row.reason) == ("failed", "not_rendered")
    assert "templates/reminder/body.txt.j2:1" in row.answer


def test_marketing_mail_without_an_unsubscribe_link_never_leaves(
    store: Engine, project: Project, clock: FixedClock, now: datetime
) -> None:
    fill(store, 1, now)
    (project.root / "templates/reminder/body.txt.j2").write_text("no way out\n")
    assert run(store, project, clock, RecordingBackend()) == Delivered(failed=1)
    assert "unsubscribe" in message(store, 1).answer


@pytest.mark.parametrize("after", [0, 2])
def test_a_backend_that_cannot_be_used_burns_nothing(
    store: Engine, project: Project, clock: FixedClock, now: datetime, after: int
) -> None:
    fill(store, 4, now)
    backend = RecordingBackend(unusable="the mail server is away", unusable_after=after)
    with pytest.raises(DeliveryError, match="the mail server is away"):
        run(store, project, clock, backend)
    assert states(store) == ({"planned": 4} if not after else {"planned": 2, "sent": 2})
    assert {(w.attempts, w.lease_owner, w.lease_until) for w in waiting(store)} == {(0, None, None)}
    assert run(store, project, clock, RecordingBackend()).sent == 4 - after


def test_a_crash_in_the_middle_of_a_hand_over_is_uncertain_and_the_rest_is_given_back(
    store: Engine, project: Project, clock: FixedClock, now: datetime
) -> None:
    class Breaks(RecordingBackend):
        def hand_over(self, parcels: Sequence[Mail], begin: Begin, done: Done) -> None:
            begin(parcels[0])
            raise KeyboardInterrupt

    fill(store, 3, now)
    with pytest.raises(KeyboardInterrupt):
        run(store, project, clock, Breaks())
    assert states(store) == {"uncertain": 1, "planned": 2}
    assert run(store, project, clock, RecordingBackend()).sent == 2


def test_a_stop_finishes_the_present_mail_and_gives_the_rest_back(
    store: Engine, project: Project, clock: FixedClock, now: datetime
) -> None:
    fill(store, 5, now)
    backend = RecordingBackend()
    assert run(store, project, clock, backend, stop=lambda: len(backend.accepted) == 2) == Delivered(sent=2)
    assert [w.lease_owner for w in waiting(store)] == [None] * 3


def test_a_worker_that_overslept_its_lease_hands_over_nothing_that_another_has(
    store: Engine, project: Project, clock: FixedClock, now: datetime
) -> None:
    """Another worker calls the sleeper's mails uncertain; those whose content never left wait again, unsent."""
    fill(store, 3, now)

    def oversleep(mail: Mail) -> None:
        if len(backend.tried) == 2:
            clock.advance(project.config.delivery.lease)
            other = RecordingBackend()
            assert run(store, project, clock, other) == Delivered(uncertain=3)
            assert other.tried == []

    backend = RecordingBackend(before_each=oversleep)
    assert run(store, project, clock, backend, limit=3) == Delivered(sent=3)
    assert backend.addresses == ["r1@example.com", "r2@example.com", "r3@example.com"]
    assert story(store, 2) == ["uncertain", "planned", "sent"]


def test_a_worker_that_overslept_its_lease_goes_on_with_what_is_still_its_own(
    store: Engine, project: Project, clock: FixedClock, now: datetime
) -> None:
    fill(store, 3, now)
    backend = RecordingBackend(before_each=lambda mail: clock.advance(project.config.delivery.lease) and None)
    assert run(store, project, clock, backend) == Delivered(sent=3)
    assert len(backend.tried) == 3


def test_a_slow_batch_keeps_its_leases_and_is_checked_again(
    store: Engine, project: Project, clock: FixedClock, now: datetime
) -> None:
    """Each mail takes three of the lease's ten minutes; a cart that is bought in between is not mailed."""
    fill(store, 8, now)

    def slow(mail: Mail) -> None:
        clock.advance(timedelta(minutes=3))
        if len(backend.tried) == 5:
            change(store, update(carts).where(carts.c.id == 7).values(total=0))

    backend = RecordingBackend(before_each=slow)
    assert run(store, project, clock, backend) == Delivered(sent=7, skipped=1)
    assert "r7@example.com" not in backend.addresses


def test_what_a_dead_worker_was_handing_over_is_uncertain_once_its_lease_is_over(
    store: Engine, project: Project, clock: FixedClock, now: datetime
) -> None:
    """`sent_at` is the moment of recovery: the latest it can have been, so the cap holds."""
    ids = fill(store, 3, now)
    claim(store, worker="dead", at=now, lease=timedelta(minutes=10), limit=2)
    change(store, update(messages).where(messages.c.id == ids[0]).values(state="handing_over"))
    backend = RecordingBackend()
    assert run(store, project, clock, backend) == Delivered(sent=1)
    clock.advance(timedelta(minutes=10))
    assert run(store, project, clock, backend) == Delivered(sent=1, uncertain=1)
    assert backend.addresses == ["r3@example.com", "r2@example.com"]
    row = message(store, ids[0])
    assert (row.state, row.sent_at) == ("uncertain", now + timedelta(minutes=10))


def test_an_answer_that_comes_after_recovery_is_believed(
    store: Engine, project: Project, clock: FixedClock, now: datetime
) -> None:
    """The worker knows how it ended; the mail is not sent again."""
    fill(store, 1, now)

    class Late(RecordingBackend):
        def hand_over(self, parcels: Sequence[Mail], begin: Begin, done: Done) -> None:
            super().hand_over(parcels, begin, lambda mail, answer: (self.sleep(), done(mail, answer)))

        def sleep(self) -> None:
            clock.advance(timedelta(hours=1))
            other = RecordingBackend()
            assert run(store, project, clock, other) == Delivered(uncertain=1)
            assert other.tried == []

    assert run(store, project, clock, Late()) == Delivered(sent=1)
    assert story(store, 1) == ["uncertain", "sent"]


def test_more_than_a_batch_goes_out_in_one_run(
    store: Engine, project: Project, clock: FixedClock, now: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("drumbeat.outbox.deliver.BATCH", 7)
    fill(store, 30, now)
    backend = RecordingBackend()
    assert run(store, project, clock, backend).sent == 30
    assert len(set(backend.addresses)) == 30


def test_a_batch_is_read_with_a_fixed_number_of_queries(
    store: Engine, project: Project, clock: FixedClock, now: datetime
) -> None:
    """Loading, checking and contexts take the same number of statements for 2 and for 40 messages."""
    from sqlalchemy import event

    from drumbeat.outbox.batch import load
    from drumbeat.outbox.check import check
    from drumbeat.outbox.letters import Letters

    fill(store, 40, now)
    claims = claim(store, worker="w", at=now, lease=timedelta(minutes=10), limit=40)
    letters, counted = Letters(project), []

    def statements(claimed: Sequence[Any]) -> int:
        asked: list[str] = []
        event.listen(store, "before_cursor_execute", lambda *a: asked.append(a[2]))
        with reading(store) as connection:
            checked = check(connection, project, load(connection, claimed), now)
            letters.contexts(connection, checked.ready, now)
        assert len(checked.ready) == len(claimed)
        return len([words for words in asked if words.startswith("SELECT")])

    counted = [statements(claims[:2]), statements(claims)]
    assert counted[0] == counted[1] == 3


def test_a_message_that_was_deleted_from_the_outbox_is_left_alone(
    store: Engine, project: Project, clock: FixedClock, now: datetime
) -> None:
    from drumbeat.store.tables import outbox

    fill(store, 2, now)
    change(store, delete(outbox).where(outbox.c.message_id == 1))
    assert run(store, project, clock, RecordingBackend()).sent == 1


def test_a_mail_never_goes_to_an_address_that_the_customer_gave_up_meanwhile(
    store: Engine, project: Project, clock: FixedClock, now: datetime
) -> None:
    """The mail is written, then its address is suppressed and replaced: the new one gets it, the old nothing."""
    fill(store, 1, now)

    class Moving(RecordingBackend):
        def hand_over(self, parcels: Sequence[Mail], begin: Begin, done: Done) -> None:
            clock.advance(timedelta(seconds=2))
            change(
                store,
                update(customers).values(email="new@example.com", email_key="new@example.com"),
                delete(suppressions),
                insert(suppressions).values(
                    email_key="r1@example.com", topic="", reason="unsubscribed", at=now
                ),
            )
            super().hand_over(parcels, begin, done)

    backend = Moving()
    assert run(store, project, clock, backend) == Delivered(sent=1)
    assert [mail.envelope_to for mail in backend.accepted] == ["new@example.com"]
