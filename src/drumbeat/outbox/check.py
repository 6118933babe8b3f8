"""The check before a batch goes out: what has changed since the mails were planned."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import Connection, exists, select, update

from drumbeat.clock import zone_or
from drumbeat.ledger.candidates import candidates
from drumbeat.ledger.states import Reason, State, move
from drumbeat.ledger.windows import next_open
from drumbeat.outbox.batch import Item
from drumbeat.project.load import LoadedCampaign, Project
from drumbeat.store.tables import messages, outbox
from drumbeat.triggers import Moment


class Settled(NamedTuple):
    """A message that will not go out, and why."""

    item: Item
    state: State
    reason: Reason


class Postponed(NamedTuple):
    """A message that waits for its send window to open."""

    item: Item
    until: datetime


@dataclass
class Checked:
    """What became of a batch: go out now, never, or later."""

    ready: list[Item] = field(default_factory=list)
    settled: list[Settled] = field(default_factory=list)
    postponed: list[Postponed] = field(default_factory=list)


def check(connection: Connection, project: Project, items: Sequence[Item], now: datetime) -> Checked:
    """Sort a batch by what holds at `now`: one query a campaign, none for a single customer.

    Consent, suppression and the cap are not looked at here: ledger.handover does that for each mail at its
    own last moment.
    """
    checked = Checked()
    by_campaign: dict[str, list[Item]] = defaultdict(list)
    for item in items:
        campaign = project.campaigns.get(item.campaign)
        if campaign is None or not campaign.settings.enabled:
            checked.settled.append(Settled(item, State.SKIPPED, Reason.CAMPAIGN_GONE))
        elif item.expires_at is not None and item.expires_at <= now:
            checked.settled.append(Settled(item, State.EXPIRED, Reason.TOO_LATE))
        elif item.address is None:
            checked.settled.append(Settled(item, State.SKIPPED, Reason.NO_ADDRESS))
        else:
            by_campaign[item.campaign].append(item)
    eligible = {
        (name, *occasion)
        for name, waiting in by_campaign.items()
        for occasion in _eligible(connection, project, project.campaigns[name], waiting, now)
    }
    gone = {settled.item.message_id for settled in checked.settled}
    for item in items:
        if item.message_id in gone:
            continue
        if (item.campaign, item.subject.customer_id, item.subject.occasion) not in eligible:
            checked.settled.append(Settled(item, State.SKIPPED, Reason.NO_LONGER_ELIGIBLE))
        else:
            _by_window(checked, project, item, now)
    return checked


def _by_window(checked: Checked, project: Project, item: Item, now: datetime) -> None:
    window = project.campaigns[item.campaign].settings.send.window
    opens = next_open(window, zone_or(item.customer["time_zone"], project.config.time_zone).key, now)
    if opens <= now:
        checked.ready.append(item)
    elif item.expires_at is not None and item.expires_at <= opens:
        # It would only hold a place under the cap until then.
        checked.settled.append(Settled(item, State.EXPIRED, Reason.TOO_LATE))
    else:
        checked.postponed.append(Postponed(item, opens))


def _eligible(
    connection: Connection, project: Project, campaign: LoadedCampaign, items: Sequence[Item], now: datetime
) -> set[tuple[int, str]]:
    """Return the (customer_id, occasion) among the items that the campaign would still choose now."""
    ids = {item.subject.customer_id for item in items}
    zones = {item.customer["time_zone"] for item in items} - {None}
    moment = Moment(now, project.config.time_zone, tuple(sorted(zones)))
    chosen = candidates(project, campaign, moment).subquery("chosen")
    rows = connection.execute(
        select(chosen.c.customer_id, chosen.c.occasion).where(
            chosen.c.customer_id.in_(ids), chosen.c.occasion.in_({item.subject.occasion for item in items})
        )
    )
    return {(row.customer_id, row.occasion) for row in rows}


def apply(connection: Connection, checked: Checked, *, worker: str, at: datetime) -> None:
    """Record what will not go out, and put off what waits for its window; the lease must be ours."""
    ours = exists().where(outbox.c.message_id == messages.c.id, outbox.c.lease_owner == worker)
    for item, state, reason in checked.settled:
        only = (messages.c.state == State.PLANNED, ours)
        move(connection, item.message_id, state, at=at, reason=reason, where=only)
    for item, until in checked.postponed:
        connection.execute(
            update(outbox)
            .where(outbox.c.message_id == item.message_id, outbox.c.lease_owner == worker)
            .values(due_at=until, lease_until=None, lease_owner=None)
        )
