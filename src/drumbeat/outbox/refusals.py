"""What refusals at hand-over say of addresses: dead ones, and readers who opted out at the provider."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import Connection, select

from drumbeat.delivery import Answer
from drumbeat.ledger.reach import MAIL
from drumbeat.outbox.batch import Item
from drumbeat.responses.events import refused
from drumbeat.responses.kinds import Kind
from drumbeat.responses.reasons import BounceReason
from drumbeat.responses.record import Response, record
from drumbeat.responses.suppress import EVERY_TOPIC, suppress_all
from drumbeat.responses.told import told
from drumbeat.store.tables import messages

Told = tuple[Item, Answer, datetime]


def learn_refusals(connection: Connection, answers: Sequence[Told], *, server: str) -> int:
    """Suppress the addresses that answers say are dead, or whose owners want no more; return how many are new.

    The address is the one that the message was marked for, whatever the customer's is by now. A dead one is
    suppressed for everything (`bounced`), an opt-out for marketing (`unsubscribed`); each is a response, too.
    `server`: who told us.
    """
    telling = [one for one in answers if one[1].dead_address or one[1].unsubscribed]
    if not telling:
        return 0
    ids = [item.message_id for item, _, _ in telling]
    found = connection.execute(select(messages.c.id, messages.c.address_key).where(messages.c.id.in_(ids)))
    keys: dict[int, str | None] = dict(found.tuples().all())
    mails = [one for one in telling if one[0].channel == MAIL and one[1].dead_address]
    changed = refused(
        connection,
        [
            (item.message_id, keys.get(item.message_id), answer.code, answer.status, answer.text, at)
            for item, answer, at in mails
        ],
    )
    others = [one for one in telling if one not in mails]
    record(connection, [_response(one, keys.get(one[0].message_id), server) for one in others])
    for reason, dead in (("bounced", True), ("unsubscribed", False)):
        since = {
            (key, EVERY_TOPIC): at
            for item, answer, at in others
            if answer.dead_address is dead and (key := keys.get(item.message_id))
        }
        changed += suppress_all(connection, since, reason=reason, source=server)
    return changed


def _response(one: Told, key: str | None, server: str) -> Response:
    item, answer, at = one
    dead = answer.dead_address
    return Response(
        item.message_id,
        Kind.BOUNCED if dead else Kind.REJECTED,
        at,
        f"{server}:{item.message_id}",
        email_key=key,
        bounce="hard" if dead else None,
        reason=str(BounceReason.USER_UNKNOWN if dead else BounceReason.UNSUBSCRIBED),
        source=server,
        raw=told({"code": answer.code, "status": answer.status, "text": answer.text}),
    )
