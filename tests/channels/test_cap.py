"""By mail and SMS together nobody gets more than the cap over all, and by SMS no more than the cap of SMS.

What is checked is what really went out, noted by the backends at the moment they take it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any
from unittest import mock

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, insert, select

from drumbeat.clock import FixedClock
from drumbeat.delivery import Answer, Outcome
from drumbeat.ledger.cap import CapRule, rules_of
from drumbeat.ledger.states import State
from drumbeat.outbox.deliver import deliver
from drumbeat.planning.plan import plan
from drumbeat.project.limits import ChannelCap
from drumbeat.project.load import Project
from drumbeat.store.engine import reading, writing
from drumbeat.store.tables import consents, messages, metadata

ALL, SMS = 3, 1
SPAN = timedelta(hours=168)
CUSTOMERS = 2


class Reader:
    """A backend of one channel that is the receiving side; `script`: how the next hand-overs end."""

    eight_bit = False

    def __init__(self, name: str, world: World, script: list[str]) -> None:
        self.name, self.world, self.script = name, world, script

    def open(self) -> None:
        """Nothing to get ready."""

    def close(self) -> None:
        """Nothing to let go of."""

    def hand_over(self, parcels: Sequence[Any], begin: Any, done: Any) -> None:
        for one in parcels:
            done(one, self.one(one, begin))

    def one(self, one: Any, begin: Any) -> Answer:
        step = self.script.pop(0) if self.script else "accept"
        if not begin(one):
            return Answer(Outcome.WITHDRAWN)
        if step == "slow":
            self.world.clock.advance(timedelta(hours=5))
        if step == "put off":
            return Answer(Outcome.DEFERRED, "later")
        self.world.note(self.name, one)
        return Answer(Outcome.UNCERTAIN if step == "cut" else Outcome.ACCEPTED)


class World:
    """A store, a clock, and all that went out: (when, channel, who)."""

    def __init__(self, engine: Engine, project: Project, people: Any, start: datetime) -> None:
        self.engine, self.project, self.people = engine, project, people
        self.clock = FixedClock(start)
        self.history: list[tuple[datetime, str, str]] = []
        self.ids = [people.add(phone=f"+4477009000{n:02d}")[0] for n in range(CUSTOMERS)]
        with writing(engine) as connection:
            at = {"at": start - SPAN, "loaded_at": start, "granted": True}
            for topic in ("offers_sms", "calls"):
                connection.execute(
                    insert(consents), [{"customer_id": c, "topic": topic, **at} for c in self.ids]
                )
        self.address = {f"c{n + 1}@example.com": str(n) for n in range(CUSTOMERS)}
        self.address |= {f"+4477009000{n:02d}": str(n) for n in range(CUSTOMERS)}

    def note(self, channel: str, one: Any) -> None:
        """Take a message in, and check both rules there and then."""
        at = self.clock.now()
        who = self.address[one.to if channel == "sms" else one.envelope_to]
        self.history.append((at, channel, who))
        lately = [c for t, c, w in self.history if w == who and t > at - SPAN]
        assert len(lately) <= ALL, f"{len(lately)} messages within 168 h"
        assert lately.count("sms") <= SMS, f"{lately.count('sms')} SMS within 168 h"

    def step(self, action: tuple[Any, ...]) -> None:
        kind, *values = action
        getattr(self, f"do_{kind}")(*values)

    def do_occasions(self, customer: int, campaign: str, times: int) -> None:
        self.people.happen(campaign, self.ids[customer], self.clock.now(), times)

    def do_plan(self) -> None:
        plan(self.engine, self.project, as_of=self.clock.now())

    def do_clock(self, hours: int) -> None:
        self.clock.advance(timedelta(hours=hours))

    def do_deliver(self, script: list[str]) -> None:
        left = list(script)
        deliver(
            self.engine,
            self.project,
            clock=self.clock,
            backend=Reader("mail", self, left),
            others={"sms": Reader("sms", self, left)},
        )

    def settle(self) -> None:
        """Let everything that waits go out; nothing is forgotten."""
        for _ in range(20):
            self.do_clock(20)
            self.do_deliver([])
        with reading(self.engine) as connection:
            waiting = select(messages.c.id).where(messages.c.state.in_((State.PLANNED, State.HANDING_OVER)))
            assert connection.execute(waiting).all() == []


ACTIONS = st.lists(
    st.one_of(
        st.tuples(
            st.just("occasions"),
            st.integers(0, CUSTOMERS - 1),
            st.sampled_from(["mail", "sms", "task"]),
            st.integers(1, 4),
        ),
        st.tuples(st.just("plan")),
        st.tuples(st.just("clock"), st.sampled_from([1, 20, 50, 100, 167, 168])),
        st.tuples(
            st.just("deliver"), st.lists(st.sampled_from(["accept", "slow", "put off", "cut"]), max_size=4)
        ),
    ),
    min_size=5,
    max_size=18,
)


@pytest.fixture
def project(make: Callable[..., Project]) -> Project:
    """Campaigns by mail, by SMS and of tasks; SMS wait where the cap keeps them away, mails do not."""
    made = make(["sms", "mail", "task"], send={"when_capped": {"defer": "4d"}})
    mails, texts = made.campaigns["mail"], made.campaigns["sms"]
    drops = mails.settings.model_copy(update={"send": type(mails.settings.send)()})
    first = texts.settings.model_copy(update={"priority": 70})
    # Campaigns stand in the order they are planned in.
    campaigns = {
        "sms": replace(texts, settings=first),
        "mail": replace(mails, settings=drops),
        "task": made.campaigns["task"],
    }
    cap = made.config.cap.model_copy(update={"messages": ALL, "channels": {"sms": ChannelCap(messages=SMS)}})
    config = made.config.model_copy(update={"cap": cap})
    return Project(made.root, config, made.segments, campaigns)


def drive(engine: Engine, project: Project, people_class: Any, actions: Any, start: datetime) -> World:
    with writing(engine) as connection:
        for table in reversed(metadata.sorted_tables):
            connection.execute(table.delete())
    world = World(engine, project, people_class(engine), start)
    for action in actions:
        world.step(action)
    world.settle()
    return world


def in_any_order(store: Engine, project: Project, people: Any, now: datetime, examples: int) -> None:
    @settings(
        max_examples=examples,
        deadline=None,
        derandomize=True,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(actions=ACTIONS)
    def check(actions: Any) -> None:
        drive(store, project, type(people), actions, now)

    check()


@pytest.mark.slow
def test_no_order_of_plans_clock_steps_and_failures_breaks_either_cap(
    store: Engine, project: Project, people: Any, now: datetime
) -> None:
    in_any_order(store, project, people, now, examples=40 if store.dialect.name == "sqlite" else 15)


BURST = [
    ("occasions", 0, "sms", 2),
    ("occasions", 0, "mail", 4),
    ("occasions", 0, "task", 4),
    ("plan",),
    ("deliver", []),
]


def test_of_two_sms_and_four_mails_at_once_one_sms_and_two_mails_go_out_and_all_tasks(
    store: Engine, project: Project, people: Any, now: datetime
) -> None:
    """The SMS have the higher priority; a task reaches nobody but us."""
    world = drive(store, project, type(people), BURST, now)
    at_once = [channel for at, channel, _ in world.history if at == now]
    assert sorted(at_once) == ["mail", "mail", "sms"]
    with reading(store) as connection:
        rows = connection.execute(
            select(messages.c.campaign, messages.c.state, messages.c.reason).order_by(messages.c.id)
        ).all()
    assert [tuple(r)[1:] for r in rows if r.campaign == "task"] == [("sent", None)] * 4
    assert ("mail", "skipped", "capped") in [tuple(r) for r in rows]


def test_the_check_would_catch_a_channel_cap_that_is_not_kept(
    store: Engine, project: Project, people: Any, now: datetime
) -> None:

    def over_all_alone(cap: Any) -> tuple[CapRule, ...]:
        return rules_of(cap)[:1]

    with (
        mock.patch("drumbeat.planning.decisions.rules_of", over_all_alone),
        mock.patch("drumbeat.outbox.deliver.rules_of", over_all_alone),
        pytest.raises(AssertionError, match="2 SMS within 168 h"),
    ):
        drive(store, project, type(people), BURST, now)
