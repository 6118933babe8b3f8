"""Recovery: what a dead worker was handing over is `uncertain`."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Engine, or_, select

from drumbeat.ledger.states import State, move
from drumbeat.store.engine import reading, writing
from drumbeat.store.tables import messages, outbox

CUT_OFF = "the worker stopped while it handed the mail over"


def recover(engine: Engine, *, at: datetime) -> int:
    """Call the mails uncertain whose worker stopped at the point of no return; return how many.

    The mail may have gone out at any moment until now, so `sent_at` is `at`: the latest it can have been,
    and the cap counts it for its full span from there. Messages that were only claimed need nothing: their
    lease has run out and they are claimed again.
    """
    # From the outbox, which is small: every message that is being handed over still has its row there.
    lapsed = (
        select(outbox.c.message_id)
        .join(messages, messages.c.id == outbox.c.message_id)
        .where(
            messages.c.state == State.HANDING_OVER,
            or_(outbox.c.lease_until.is_(None), outbox.c.lease_until <= at),
        )
        .order_by(outbox.c.message_id)
    )
    with reading(engine) as connection:
        if connection.execute(lapsed.limit(1)).first() is None:
            return 0
    with writing(engine) as connection:
        found = (
            connection.execute(lapsed.with_for_update(skip_locked=True, of=(outbox, messages)))
            .scalars()
            .all()
        )
        return sum(
            move(
                connection,
                message_id,
                State.UNCERTAIN,
                at=at,
                detail=CUT_OFF,
                where=(messages.c.state == State.HANDING_OVER,),
                sent_at=at,
                answer=CUT_OFF,
            )
            for message_id in found
        )
