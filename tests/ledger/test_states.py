"""A message's state changes only as the table of moves allows."""

from __future__ import annotations

import itertools
from datetime import timedelta

import pytest
from sqlalchemy import func, select, update

from drumbeat.ledger.states import MOVES, State, move
from drumbeat.planning.plan import plan
from drumbeat.store.engine import reading, writing
from drumbeat.store.tables import message_events, messages, outbox


@pytest.fixture
def message(store, people, make_project, now) -> int:
    (customer,) = people.add()
    people.happen("hello", customer, now - timedelta(hours=1))
    plan(store, make_project(), as_of=now)
    with reading(store) as connection:
        return connection.execute(select(messages.c.id)).scalar_one()


def test_only_the_moves_of_the_table_happen(store, message, now):
    for source, target in itertools.product(State, State):
        with writing(store) as connection:
            connection.execute(update(messages).values(state=source))
            moved = move(connection, message, target, at=now)
            state = connection.execute(select(messages.c.state)).scalar()
        assert moved == (target in MOVES[source]), (source, target)
        assert state == (target if moved else source), (source, target)


def test_a_final_state_takes_the_message_out_of_the_outbox_and_leaves_an_event(store, message, now):
    with writing(store) as connection:
        assert move(connection, message, State.HANDING_OVER, at=now)
        assert connection.execute(select(func.count()).select_from(outbox)).scalar() == 1
        assert move(connection, message, State.SENT, at=now, detail="250 ok", sent_at=now)
    with reading(store) as connection:
        assert connection.execute(select(func.count()).select_from(outbox)).scalar() == 0
        events = connection.execute(
            select(message_events.c.state, message_events.c.detail).order_by(message_events.c.id)
        ).all()
        assert events == [("sent", "250 ok")], "the mark before it is kept in handing_over_at alone"


def test_every_state_but_the_waiting_ones_is_final():
    assert {state for state in State if not state.final} == {
        State.DEFERRED,
        State.PLANNED,
        State.HANDING_OVER,
    }
