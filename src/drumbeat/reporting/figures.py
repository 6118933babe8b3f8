"""The report as data. Its shape as JSON is described in docs/report.md and kept stable."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any


@dataclass(slots=True)
class Figures:
    """The figures of one campaign, or of all together. Counts of messages, but for the orders.

    candidates = planned + skipped + deferred + expired, and
    planned = waiting + sent + uncertain + refused + failed.
    What readers did is counted once per message, however often they did it. What a reader did comes first;
    what only machines did to a message is a figure of its own and in no other.
    """

    candidates: int = 0  # rows of the ledger: occasions that were decided on
    planned: int = 0  # decided for, and not withdrawn since
    skipped: int = 0  # decided against, for good
    deferred: int = 0  # kept back by the cap, looked at again by each plan
    expired: int = 0  # its time was over before it could go out
    waiting: int = 0  # in the outbox or being handed over
    sent: int = 0  # accepted by the receiving side
    uncertain: int = 0  # cut off while being handed over: sent or not, nobody knows
    refused: int = 0
    failed: int = 0
    delivered: int = 0  # only where the provider tells
    bounced: int = 0  # came back after it was sent: bounced_hard + bounced_soft
    bounced_hard: int = 0  # its address is dead
    bounced_soft: int = 0  # for another reason, or none that was told
    complained: int = 0
    unsubscribed: int = 0
    opened: int = 0  # by a reader, as far as can be told
    opened_by_machine: int = 0  # by machines alone
    clicked: int = 0
    clicked_by_machine: int = 0
    ordered: int = 0  # orders attributed, by responses.attribute
    revenue: Decimal = Decimal(0)  # of those in the project's currency
    ordered_in_other_currency: int = 0  # part of `ordered`, not of `revenue`
    skipped_by_reason: Counter[str] = field(default_factory=Counter)

    def add(self, other: Figures) -> None:
        """Add another campaign's figures to these."""
        for each in fields(self):
            if each.name == "skipped_by_reason":
                self.skipped_by_reason.update(other.skipped_by_reason)
            else:
                setattr(self, each.name, getattr(self, each.name) + getattr(other, each.name))

    @property
    def kept_away(self) -> Counter[str]:
        """Return why mails will not be sent any more, by number: the reasons, then how the others ended."""
        ended = Counter(expired=self.expired, refused=self.refused, failed=self.failed)
        return self.skipped_by_reason + ended

    @property
    def rates(self) -> dict[str, float | None]:
        """Return what came back as parts of `sent`, four decimals; None where nothing was sent."""
        return {name: round(getattr(self, name) / self.sent, 4) if self.sent else None for name in RATES}

    def as_json(self) -> dict[str, Any]:
        """Return the figures by name; the revenue as text, reasons by number, what came back also as `rates`."""
        values = {each.name: getattr(self, each.name) for each in fields(self)}
        values["revenue"] = f"{self.revenue:.2f}"
        values["skipped_by_reason"] = dict(
            sorted(self.skipped_by_reason.items(), key=lambda e: (-e[1], e[0]))
        )
        values["rates"] = self.rates
        return values


RATES = (
    *("opened", "clicked", "unsubscribed", "complained", "delivered", "bounced", "bounced_hard"),
    *("bounced_soft", "opened_by_machine", "clicked_by_machine"),
)
"""Figures that are also given as parts of what was sent; readers first, machines last."""


@dataclass(frozen=True, slots=True)
class CampaignFigures:
    """One campaign. `in_project`: its file is still there. `channel`: of its messages."""

    campaign: str
    in_project: bool
    figures: Figures
    channel: str = "mail"

    @property
    def label(self) -> str:
        """Return its name, with the channel where that is not mail."""
        return self.campaign if self.channel == "mail" else f"{self.campaign} ({self.channel})"


@dataclass(frozen=True, slots=True)
class CapUse:
    """How near readers are to the cap at the report's time.

    `people`: how many people, by the number of mails of one sender that reached them within `per`.
    """

    messages: int
    per: timedelta
    people: Mapping[int, int]

    @property
    def maximum(self) -> int:
        """Return the most mails that reached one person."""
        return max(self.people, default=0)


@dataclass(frozen=True, slots=True)
class Report:
    """Everything a report shows, of messages with `since` <= planned_at < `until`.

    `days`: sent mails by local day (in `time_zone`) and campaign.
    """

    project: str
    as_of: datetime
    since: datetime | None
    until: datetime | None
    time_zone: str
    currency: str
    campaigns: tuple[CampaignFigures, ...]
    totals: Figures
    cap: CapUse
    days: Mapping[date, Mapping[str, int]]
    notice: str | None = None  # the project's words about its data

    def as_json(self) -> dict[str, Any]:
        """Return the report in the shape of docs/report.md."""
        return {
            "project": self.project,
            "as_of": self.as_of.isoformat(),
            "since": self.since.isoformat() if self.since else None,
            "until": self.until.isoformat() if self.until else None,
            "time_zone": self.time_zone,
            "currency": self.currency,
            "notice": self.notice,
            "campaigns": [
                {
                    "campaign": c.campaign,
                    "in_project": c.in_project,
                    "channel": c.channel,
                    **c.figures.as_json(),
                }
                for c in self.campaigns
            ],
            "totals": self.totals.as_json(),
            "cap": {
                "messages": self.cap.messages,
                "per_seconds": int(self.cap.per.total_seconds()),
                "maximum": self.cap.maximum,
                "people": [{"mails": n, "people": self.cap.people[n]} for n in sorted(self.cap.people)],
            },
            "days": [
                {"day": day.isoformat(), "sent": sum(by_campaign.values()), "by_campaign": dict(by_campaign)}
                for day, by_campaign in sorted(self.days.items())
            ],
        }


def total(campaigns: Iterable[CampaignFigures]) -> Figures:
    """Return the sum over campaigns."""
    summed = Figures()
    for campaign in campaigns:
        summed.add(campaign.figures)
    return summed
