"""The report in a terminal: one table of figures, and what stands between a mail and its reader."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import TYPE_CHECKING

from babel.numbers import format_currency
from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from drumbeat.clock import zone
from drumbeat.reporting.figures import Figures, Report

if TYPE_CHECKING:
    from rich.console import RenderableType

COLUMNS: tuple[tuple[str, Callable[[Figures], int]], ...] = (
    ("candidates", lambda f: f.candidates),
    ("planned", lambda f: f.planned),
    ("skipped", lambda f: f.skipped),
    ("expired", lambda f: f.expired),
    ("deferred", lambda f: f.deferred),
    ("waiting", lambda f: f.waiting),
    ("sent", lambda f: f.sent),
    ("not sent", lambda f: f.refused + f.failed),
    ("uncertain", lambda f: f.uncertain),
    ("opened", lambda f: f.opened),
    ("clicked", lambda f: f.clicked),
    ("ordered", lambda f: f.ordered),
)
"""What the table shows; a column that is 0 everywhere and not in ALWAYS is left out."""

CAME_BACK: tuple[tuple[str, str], ...] = (
    ("opened", "opened"),
    ("clicked", "clicked"),
    ("unsubscribed", "unsubscribed"),
    ("complained", "complained"),
    ("delivered", "delivered"),
    ("bounced_hard", "bounced hard"),
    ("bounced_soft", "bounced soft"),
    ("opened_by_machine", "opened by machines"),
    ("clicked_by_machine", "clicked by machines"),
)
"""What came back, with the words for it: readers first, then mail servers, machines last."""

ALWAYS = {"candidates", "planned", "skipped", "sent", "opened", "clicked", "ordered"}


def render_terminal(report: Report) -> list[RenderableType]:
    """Return what to print, in order: figures, reasons, the cap."""
    parts: list[RenderableType] = [
        Text(f"{report.project}: {period_of(report)}", style="bold"),
        _figures(report),
    ]
    if any(getattr(report.totals, name) for name, _ in CAME_BACK):
        parts.append(_came_back(report))
    if report.totals.kept_away:
        parts.append(_reasons(report))
    parts.append(Text(cap_line(report)))
    if report.totals.ordered_in_other_currency:
        parts.append(
            Text(
                f"{report.totals.ordered_in_other_currency:,} of the orders are in another currency than "
                f"{report.currency} and not part of the revenue."
            )
        )
    if report.notice:
        parts.append(Text(report.notice, style="italic"))
    return parts


def _figures(report: Report) -> Table:
    shown = [c for c in COLUMNS if c[0] in ALWAYS or c[1](report.totals)]
    table = Table(box=SIMPLE_HEAD, pad_edge=False, show_footer=len(report.campaigns) > 1)
    table.add_column("campaign", footer="all", no_wrap=True)
    for name, value in shown:
        table.add_column(name, justify="right", footer=f"{value(report.totals):,}")
    table.add_column("revenue", justify="right", footer=money(report.totals.revenue, report.currency))
    for campaign in report.campaigns:
        label = Text(campaign.label, style="" if campaign.in_project else "dim")
        cells = [f"{value(campaign.figures):,}" for _, value in shown]
        table.add_row(label, *cells, money(campaign.figures.revenue, report.currency))
    return table


def _came_back(report: Report) -> Table:
    shown = [entry for entry in CAME_BACK if getattr(report.totals, entry[0])]
    table = Table(
        title="What came back: mails, and per cent of those sent",
        title_justify="left",
        title_style="bold",
        box=SIMPLE_HEAD,
        pad_edge=False,
        show_footer=len(report.campaigns) > 1,
    )
    table.add_column("campaign", footer="all", no_wrap=True)
    for name, said in shown:
        machine = "dim" if name.endswith("_by_machine") else ""
        table.add_column(said, justify="right", footer=_part(report.totals, name), style=machine)
    for campaign in report.campaigns:
        if any(getattr(campaign.figures, name) for name, _ in shown):
            table.add_row(campaign.label, *(_part(campaign.figures, name) for name, _ in shown))
    return table


def _part(figures: Figures, name: str) -> str:
    value: int = getattr(figures, name)
    return f"{value:,} ({share(value, figures.sent)})" if value else "0"


def share(part: int, whole: int) -> str:
    """Write a part as per cent; a dash where there is no whole. Small parts keep their digits: 0.1% is much."""
    if not whole:
        return "–"
    percent = 100 * part / whole
    if percent in (0, 100) or percent >= 10:
        return f"{percent:.0f}%"
    if percent >= 1:
        return f"{percent:.1f}%"
    return f"{percent:.2g}%" if percent >= 0.01 else "<0.01%"


def _reasons(report: Report) -> Table:
    reasons = [reason for reason, _ in report.totals.kept_away.most_common()]
    table = Table(
        title="Why mails were not sent",
        title_justify="left",
        title_style="bold",
        box=SIMPLE_HEAD,
        pad_edge=False,
    )
    table.add_column("campaign", no_wrap=True)
    for reason in reasons:
        table.add_column(words(reason), justify="right")
    for campaign in report.campaigns:
        if found := campaign.figures.kept_away:
            table.add_row(campaign.campaign, *(f"{found[reason]:,}" for reason in reasons))
    return table


def cap_line(report: Report) -> str:
    """Say how near readers are to the cap."""
    cap = report.cap
    hours = f"{cap.per.total_seconds() / 3600:g} h"
    if not cap.people:
        return f"Cap of {cap.messages} in {hours}: no mail reached anyone in that time."
    at_cap = sum(people for mails, people in cap.people.items() if mails >= cap.messages)
    reached = sum(cap.people.values())
    return (
        f"Cap of {cap.messages} in {hours}: the most that reached one reader is {cap.maximum}; "
        f"{at_cap:,} of {reached:,} readers are at the cap."
    )


def period_of(report: Report) -> str:
    """Say which mails the report is about, in the project's zone."""
    where = zone(report.time_zone)
    at, since, until = (
        None if moment is None else moment.astimezone(where).strftime("%Y-%m-%d %H:%M")
        for moment in (report.as_of, report.since, report.until)
    )
    if since and until:
        return f"mails planned from {since} to {until}, as of {at} ({report.time_zone})"
    if since or until:
        return f"mails planned {f'since {since}' if since else f'before {until}'}, as of {at} ({report.time_zone})"
    return f"all mails, as of {at} ({report.time_zone})"


def money(amount: Decimal, currency: str) -> str:
    """Write an amount in the project's currency."""
    return format_currency(amount, currency, locale="en")


def words(name: str) -> str:
    """Write a name of the code in words."""
    return name.replace("_", " ")
