"""A preview for a customer is the very mail that a delivery hands over, and leaves nothing behind."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest
from sqlalchemy import func, select

from drumbeat.errors import UsageError
from drumbeat.outbox.deliver import deliver
from drumbeat.outbox.preview import preview
from drumbeat.planning.plan import plan
from drumbeat.store.engine import reading
from drumbeat.store.tables import messages, runs
from drumbeat.testing import RecordingBackend

HOUR = timedelta(hours=1)


def without_tokens(content: bytes) -> bytes:
    """Leave out what names the one message (links, Message-ID and so the boundary) and where lines are broken."""
    whole = re.sub(rb"/[coup]/[\w-]+", b"/token", content.replace(b"=\r\n", b""))
    return re.sub(rb"\.[a-z2-7]{26}@|=_\w+", b"", whole)


def test_it_is_the_mail_that_is_sent(store, people, make_project, clock, now):
    project = make_project()
    (customer,) = people.add(time_zone="Nowhere/Land")
    people.happen("hello", customer, now - HOUR)
    seen = preview(store, project, "hello", "c1", as_of=now)
    plan(store, project, as_of=now)
    backend = RecordingBackend()
    assert deliver(store, project, clock=clock, backend=backend).sent == 1
    assert without_tokens(seen.mail.content) == without_tokens(backend.accepted[0].content)
    assert seen.mail.content != backend.accepted[0].content, "its links belong to no message"
    assert seen.rendered.subject == "Hello Name1"


def test_it_writes_nothing(store, people, make_project, now):
    (customer,) = people.add()
    people.happen("hello", customer, now - HOUR)
    preview(store, make_project(), "hello", "c1", as_of=now)
    with reading(store) as connection:
        for table in (messages, runs):
            assert connection.execute(select(func.count()).select_from(table)).scalar() == 0


def test_what_was_sent_before_can_be_seen_after_its_occasion_is_over(store, people, make_project, now):
    project = make_project()
    (customer,) = people.add()
    people.happen("hello", customer, now - HOUR)
    plan(store, project, as_of=now)
    assert preview(store, project, "hello", "c1", as_of=now + timedelta(days=90)).rendered.text


@pytest.mark.parametrize(
    ("campaign", "customer", "words"),
    [
        ("hello", "c1", r"hello has no occasion for customer 'c1' .* `drumbeat explain c1 hello` tells why"),
        ("hello", "c9", "there is no customer 'c9'"),
        ("helo", "c1", "unknown campaign 'helo'"),
    ],
)
def test_what_cannot_be_shown_is_said_in_one_line(
    store, people, make_project, now, campaign, customer, words
):
    people.add()
    with pytest.raises(UsageError, match=words):
        preview(store, make_project(), campaign, customer, as_of=now)
