"""Explain: why a customer got a campaign's mail, or what keeps it away, read from the ledger and judged anew."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Engine, or_, select

from drumbeat.clock import zone_or
from drumbeat.errors import UsageError
from drumbeat.ledger.candidates import moment_of
from drumbeat.ledger.cap import CapRule, counts, rules_of
from drumbeat.ledger.reach import unreachable
from drumbeat.ledger.states import State
from drumbeat.ledger.windows import next_open
from drumbeat.planning.decisions import decisions
from drumbeat.project.load import LoadedCampaign, Project
from drumbeat.segments.explain import Verdict, explain_segment
from drumbeat.store.engine import reading
from drumbeat.store.tables import customers, message_events, messages, responses
from drumbeat.triggers import Finding, Moment

REFUSALS = {
    "no_address": "the customer has no address in the campaign's channel",
    "suppressed": "the address, or its whole domain, is suppressed (unsubscribed, bounced, complained, erased or by hand)",
    "no_consent": "the customer has not consented to the topic",
    "paused": "the reader asked for a pause",
    "capped": "the cap leaves no place",
    "duplicate_person": "another customer row of the same person gets it",
    "too_late": "its time was over before it could go out",
    "no_longer_eligible": "by the time it was due the customer no longer met trigger and segment",
    "campaign_gone": "the campaign was removed or disabled before it was due",
    "erased": "the customer's data was erased",
    "not_rendered": "the mail could not be rendered",
    "retries_used_up": "the mail server put it off too often",
}
"""Each reason of the ledger in a sentence."""


@dataclass(frozen=True)
class LedgerEntry:
    """One message of the ledger with all that happened to it: (at, what) pairs, oldest first."""

    message_id: int
    occasion: str
    state: str
    reason: str | None
    planned_at: datetime
    sent_at: datetime | None
    answer: str | None
    history: tuple[tuple[datetime, str], ...]


@dataclass(frozen=True)
class Explanation:
    """Why one customer gets, got or does not get one campaign's mail at `as_of`."""

    customer: str
    campaign: str
    as_of: datetime
    conclusion: str
    ledger: tuple[LedgerEntry, ...]
    enabled: bool
    due: tuple[str, ...]
    occasions: tuple[tuple[str, str, str | None], ...]
    findings: tuple[Finding, ...]
    segment: Verdict | None
    refusal: str | None
    cap_used: int
    cap_messages: int
    cap_holders: tuple[str, ...] = field(default=())
    window_opens: datetime | None = None
    cap_obeyed: bool = True
    channel_cap: tuple[str, int, int] | None = None
    """The cap of the campaign's channel, where it has one: the channel, places taken, places there are."""

    def to_json(self) -> dict[str, Any]:
        """Return the explanation as `drumbeat explain --json` prints it; the shape is in docs/commands.md."""
        return {
            "customer": self.customer,
            "campaign": self.campaign,
            "as_of": self.as_of,
            "conclusion": self.conclusion,
            "enabled": self.enabled,
            "ledger": [
                {
                    "message": e.message_id,
                    "occasion": e.occasion,
                    "state": e.state,
                    "reason": e.reason,
                    "planned_at": e.planned_at,
                    "sent_at": e.sent_at,
                    "answer": e.answer,
                    "history": [{"at": at, "what": what} for at, what in e.history],
                }
                for e in self.ledger
            ],
            "due": list(self.due),
            "occasions": [{"occasion": o, "decision": d, "reason": r} for o, d, r in self.occasions],
            "trigger": [{"text": f.text, "met": f.met} for f in self.findings],
            "segment": verdict_json(self.segment) if self.segment is not None else None,
            "refusal": self.refusal,
            "cap": {
                "used": self.cap_used,
                "messages": self.cap_messages,
                "held_by": list(self.cap_holders),
                "obeyed": self.cap_obeyed,
                "channel": None
                if self.channel_cap is None
                else dict(zip(("channel", "used", "messages"), self.channel_cap, strict=True)),
            },
            "window_opens": self.window_opens,
        }


def verdict_json(verdict: Verdict) -> dict[str, Any]:
    """Return a segment's verdict tree as plain values."""
    return {
        "text": verdict.text,
        "place": str(verdict.place) if verdict.place is not None else None,
        "met": verdict.met,
        "found": verdict.found,
        "children": [verdict_json(child) for child in verdict.children],
    }


def explain(
    engine: Engine, project: Project, customer: str, campaign: str | None = None, *, as_of: datetime
) -> list[Explanation]:
    """Explain a customer (by external id or e-mail address) for one campaign, or for every campaign.

    Reads only. Raises UsageError for an unknown customer or campaign.
    """
    chosen: Sequence[LoadedCampaign] = (
        list(project.campaigns.values()) if campaign is None else [project.campaign(campaign)]
    )
    with reading(engine) as connection:
        who = _find(connection, customer)
        moment = moment_of(connection, project, as_of)
        return [_explain_one(connection, project, who, one, moment) for one in chosen]


def _find(connection: Connection, customer: str) -> Any:
    row = connection.execute(
        select(customers)
        .where((customers.c.external_id == customer) | (customers.c.email_key == customer.strip().lower()))
        .order_by((customers.c.external_id == customer).desc(), customers.c.id)
        .limit(1)
    ).first()
    if row is None:
        raise UsageError(
            f"unknown customer '{customer}'; give the id from your import, or the e-mail address"
        )
    return row


def _explain_one(
    connection: Connection, project: Project, who: Any, campaign: LoadedCampaign, moment: Moment
) -> Explanation:
    settings = campaign.settings
    ledger = _ledger_of(connection, campaign.name, who.id)
    occasion = campaign.trigger.select(moment).subquery("occasion")
    due = (
        connection.execute(select(occasion.c.occasion).where(occasion.c.customer_id == who.id))
        .scalars()
        .all()
    )
    decided = decisions(project, campaign, moment).subquery("decision")
    rows = connection.execute(
        select(decided.c.occasion, decided.c.state, decided.c.reason).where(decided.c.customer_id == who.id)
    ).all()
    refusal = connection.execute(
        select(
            unreachable(
                marketing=settings.is_marketing,
                topic=settings.topic,
                channel=settings.message.channel,
                at=moment.as_of,
            )
        ).where(customers.c.id == who.id)
    ).scalar()
    over_all, *of_channels = rules_of(project.config.cap)
    holders = _cap_holders(connection, over_all, campaign, who, moment.as_of)
    of_ours = [rule for rule in of_channels if rule.channel == settings.message.channel]
    opens = next_open(
        settings.send.window, zone_or(who.time_zone, project.config.time_zone).key, moment.as_of
    )
    segment = explain_segment(connection, project.segments, settings.segment, who.id, moment.as_of)
    findings = [] if due else campaign.trigger.findings(connection, who.id, moment)
    return Explanation(
        customer=who.external_id,
        campaign=campaign.name,
        as_of=moment.as_of,
        conclusion=_conclude(campaign, ledger, due, rows, segment, refusal),
        ledger=ledger,
        enabled=settings.enabled,
        due=tuple(due),
        occasions=tuple((row.occasion, row.state, row.reason) for row in rows),
        findings=tuple(findings),
        segment=segment,
        refusal=refusal,
        cap_used=len(holders),
        cap_messages=project.config.cap.messages,
        cap_holders=holders,
        window_opens=opens if opens > moment.as_of else None,
        cap_obeyed=campaign.obeys_cap,
        channel_cap=next(
            (
                (
                    str(rule.channel),
                    len(_cap_holders(connection, rule, campaign, who, moment.as_of)),
                    rule.messages,
                )
                for rule in of_ours
            ),
            None,
        ),
    )


def _conclude(
    campaign: LoadedCampaign,
    ledger: tuple[LedgerEntry, ...],
    due: Sequence[str],
    decided: Sequence[Any],
    segment: Verdict,
    refusal: str | None,
) -> str:
    """Say it in one sentence: the ledger's facts first, then what a plan would decide now."""
    settled = [entry for entry in ledger if entry.occasion in due] or list(ledger)
    if not campaign.settings.enabled:
        return "the campaign is disabled"
    if decided:
        row = decided[0]
        if row.state == State.PLANNED:
            return f"a plan now would plan it (occasion {row.occasion})"
        return f"a plan now would decide '{row.state}': {REFUSALS.get(row.reason, row.reason)}"
    if settled:
        entry = settled[-1]
        why = f": {REFUSALS.get(entry.reason, entry.reason)}" if entry.reason else ""
        return f"the ledger says {entry.state} for occasion {entry.occasion}{why}"
    if not due:
        return "the trigger gives no occasion for this customer now"
    if not segment.met:
        return f"the customer is not in the segment {campaign.settings.segment}"
    return REFUSALS.get(refusal or "", "its occasions are over")


def _ledger_of(connection: Connection, campaign: str, customer_id: int) -> tuple[LedgerEntry, ...]:
    rows = connection.execute(
        select(messages)
        .where(messages.c.campaign == campaign, messages.c.customer_id == customer_id)
        .order_by(messages.c.planned_at, messages.c.id)
    ).all()
    history: dict[int, list[tuple[datetime, str]]] = {row.id: [] for row in rows}
    if history:
        happened = connection.execute(
            select(message_events)
            .where(message_events.c.message_id.in_(history))
            .order_by(message_events.c.id)
        ).all()
        for event in happened:
            history[event.message_id].append(
                (event.at, f"{event.state}{f' ({event.detail})' if event.detail else ''}")
            )
        answered = connection.execute(
            select(responses.c.message_id, responses.c.at, responses.c.kind, responses.c["class"]).where(
                responses.c.message_id.in_(history)
            )
        ).all()
        for message_id, at, kind, class_ in answered:
            history[message_id].append((at, f"{kind} ({class_})"))
    return tuple(
        LedgerEntry(
            message_id=row.id,
            occasion=row.occasion,
            state=row.state,
            reason=row.reason,
            planned_at=row.planned_at,
            sent_at=row.sent_at,
            answer=row.answer,
            history=tuple(sorted(history[row.id], key=lambda pair: pair[0])),
        )
        for row in rows
    )


def _cap_holders(
    connection: Connection, rule: CapRule, campaign: LoadedCampaign, who: Any, at: datetime
) -> tuple[str, ...]:
    """Return the messages that hold the person's places under a rule: campaign, occasion, state and when."""
    rows = connection.execute(
        select(messages.c.campaign, messages.c.occasion, messages.c.state, messages.c.sent_at)
        .join(customers, customers.c.id == messages.c.customer_id)
        .where(
            customers.c.person_id == who.person_id,
            messages.c.sender == campaign.sender,
            counts(rule, at),
            # A plan counts whatever is sent; looking back, what was sent later is not part of the answer.
            or_(messages.c.sent_at.is_(None), messages.c.sent_at <= at),
        )
        .order_by(messages.c.sent_at, messages.c.id)
    ).all()
    return tuple(
        f"{row.campaign} {row.occasion} ({row.state}{f' {row.sent_at:%Y-%m-%d %H:%M} UTC' if row.sent_at else ''})"
        for row in rows
    )
