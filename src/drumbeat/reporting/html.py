"""The report as one HTML file: pictures drawn as inline SVG, nothing fetched from anywhere."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from importlib.resources import files
from typing import NamedTuple

from jinja2 import Environment, StrictUndefined

from drumbeat.reporting.figures import CampaignFigures, Figures, Report
from drumbeat.reporting.terminal import cap_line, money, period_of, share, words

SERIES = 6
"""Colours that are told apart; what comes after them is drawn as one."""

DAILY_UP_TO = 92
"""Days drawn one by one; a longer time is drawn by weeks."""

OTHERS = "others"


class Step(NamedTuple):
    """A bar of a funnel. `width`: per cent of the widest; `note`: its part of the step before, in words."""

    name: str
    value: int
    width: float
    note: str


class Reach(NamedTuple):
    """What became of the sent mails in one way: by readers, and by machines alone; sizes in per cent of them."""

    name: str
    readers: int
    machines: int
    readers_size: float
    machines_size: float
    readers_share: str
    machines_share: str


class Cell(NamedTuple):
    """A figure of the table of what came back. `alarm`: why it is worth a look, '' where it is not."""

    value: int
    share: str
    alarm: str


class Part(NamedTuple):
    """A part of a stacked bar, all in per cent of the whole; `colour` numbers the series."""

    name: str
    value: int
    start: float
    size: float
    colour: int


class Column(NamedTuple):
    """A column of a picture over time or number: where it stands, its parts from the bottom up, its label."""

    label: str
    title: str
    start: float
    width: float
    parts: Sequence[Part]
    labelled: bool


@dataclass(frozen=True, slots=True)
class Chart:
    """Columns with a scale: `top` is the value at the upper edge. `valued`: each column wears its number."""

    columns: Sequence[Column]
    top: int
    legend: Sequence[tuple[str, int]]
    valued: bool = False


def render_html(report: Report) -> str:
    """Return the page. Raises nothing of its own: an empty report gives a page that says so."""
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"words": words, "thousands": lambda n: f"{n:,}", "pct": lambda n: f"{n:.3f}%"}
    template = environment.from_string(
        files("drumbeat.reporting").joinpath("report.html.j2").read_text(encoding="utf-8")
    )
    active = [c for c in report.campaigns if c.figures.candidates]
    reasons = _colours(report.totals.kept_away)
    return template.render(
        report=report,
        period=period_of(report),
        tiles=_tiles(report),
        funnels=[(c, _funnel(c.figures), _revenue(c, report)) for c in active],
        silent=[c.campaign for c in report.campaigns if not c.figures.candidates],
        reached=[(c, _reach(c.figures)) for c in active if c.figures.sent],
        came_back=CAME_BACK,
        returned=[(c, _returned(c.figures)) for c in active if c.figures.sent],
        returned_in_all=_returned(report.totals),
        alarms=_alarms([*(c.figures for c in active), report.totals]),
        reasons=reasons,
        skipped=[(c, _stack(c.figures.kept_away, reasons)) for c in active if c.figures.kept_away],
        days=_days(report),
        cap=_cap(report),
        cap_line=cap_line(report),
        money=lambda amount: money(amount, report.currency),
    )


def _tiles(report: Report) -> list[tuple[str, str, str]]:
    """Return the figures at the top: name, value, explanation."""
    f = report.totals
    return [
        ("sent", f"{f.sent:,}", f"of {f.candidates:,} candidates"),
        ("opened", share(f.opened, f.sent), f"{f.opened:,} mails, by readers"),
        ("clicked", share(f.clicked, f.sent), f"{f.clicked:,} mails, by readers"),
        ("orders", f"{f.ordered:,}", "that followed a mail"),
        ("revenue", money(f.revenue, report.currency), "of those orders"),
        ("unsubscribed", share(f.unsubscribed, f.sent), f"{f.unsubscribed:,} after a mail"),
        ("bounced", share(f.bounced, f.sent), f"{f.bounced_hard:,} dead addresses"),
        ("reported as spam", share(f.complained, f.sent), f"{f.complained:,} mails"),
    ]


def _funnel(f: Figures) -> list[Step]:
    steps = [("candidates", f.candidates), ("planned", f.planned), ("sent", f.sent)]
    steps += [("opened", f.opened), ("clicked", f.clicked), ("ordered", f.ordered)]
    notes = {
        "planned": f"{share(f.planned, f.candidates)} of candidates",
        "sent": f"{share(f.sent, f.planned)} of planned",
        **{name: f"{share(value, f.sent)} of sent" for name, value in steps[3:]},
    }
    widest = max(value for _, value in steps) or 1
    return [Step(name, value, 100 * value / widest, notes.get(name, "")) for name, value in steps]


def _reach(f: Figures) -> list[Reach]:
    whole = f.sent or 1
    return [
        Reach(
            name,
            readers,
            machines,
            min(100 * readers / whole, 100),
            min(100 * machines / whole, 100),
            share(readers, f.sent),
            share(machines, f.sent),
        )
        for name, readers, machines in (
            ("opened", f.opened, f.opened_by_machine),
            ("clicked", f.clicked, f.clicked_by_machine),
        )
    ]


CAME_BACK: Sequence[tuple[str, str]] = (
    ("unsubscribed", "Unsubscribed"),
    ("complained", "Reported as spam"),
    ("delivered", "Delivered"),
    ("bounced_hard", "Bounced, address dead"),
    ("bounced_soft", "Bounced for now"),
)
"""The columns of the table of what came back."""

ALARMS: Mapping[str, Sequence[tuple[float, str]]] = {
    "complained": (
        (0.3, "Gmail asks senders never to reach a spam rate of 0.3%"),
        (0.1, "Gmail asks senders to keep the spam rate below 0.1%"),
    ),
    "bounced_hard": (
        (10, "Amazon SES may stop senders with 10% of bounces"),
        (5, "Amazon SES puts senders with 5% of bounces under review"),
    ),
}
"""From which per cent of the sent mails on a figure is worth a look, and why; the highest first.

https://support.google.com/mail/answer/81126, https://docs.aws.amazon.com/ses/latest/dg/reputationdashboardmessages.html
"""

FEWEST = 100
"""Of fewer sent mails a single complaint is more than any limit."""


def _returned(f: Figures) -> list[Cell]:
    return [Cell(getattr(f, name), share(getattr(f, name), f.sent), _alarm(f, name)) for name, _ in CAME_BACK]


def _alarm(f: Figures, name: str) -> str:
    if f.sent < FEWEST:
        return ""
    percent = 100 * getattr(f, name) / f.sent
    return next((why for limit, why in ALARMS.get(name, ()) if percent >= limit), "")


def _alarms(figures: Iterable[Figures]) -> list[str]:
    """Return every alarm once."""
    found = (_alarm(f, name) for f in figures for name in ALARMS)
    return list(dict.fromkeys(why for why in found if why))


def _revenue(campaign: CampaignFigures, report: Report) -> str:
    return money(campaign.figures.revenue, report.currency) if campaign.figures.ordered else ""


def _colours(counted: Counter[str]) -> dict[str, int]:
    """Give the most frequent names a colour each, the rest one together."""
    return {name: min(place, SERIES) for place, (name, _) in enumerate(counted.most_common())}


def _stack(values: Mapping[str, int], colours: Mapping[str, int]) -> list[Part]:
    whole = sum(values.values()) or 1
    parts, start = [], 0.0
    for name, colour in colours.items():
        if size := 100 * values.get(name, 0) / whole:
            parts.append(Part(name, values[name], start, size, colour))
            start += size
    return parts


def _days(report: Report) -> Chart | None:
    if not report.days:
        return None
    first, last = min(report.days), max(report.days)
    weekly = (last - first).days >= DAILY_UP_TO
    if weekly:
        first -= timedelta(days=first.weekday())
    step = timedelta(days=7 if weekly else 1)
    sums: dict[date, Counter[str]] = {}
    day = first
    while day <= last:
        sums[day] = Counter()
        day += step
    for day, by_campaign in report.days.items():
        sums[first + (day - first) // step * step].update(by_campaign)
    totals: Counter[str] = sum(sums.values(), Counter())
    colours = _colours(totals)
    legend = _legend(colours)
    top = round_up(max(counter.total() for counter in sums.values()))
    titled = [
        (day.strftime("%-d %b"), day.strftime("week of %-d %B %Y" if weekly else "%A, %-d %B %Y"), counter)
        for day, counter in sums.items()
    ]
    return Chart(_columns(titled, colours, top), top, legend)


def _columns(
    titled: Sequence[tuple[str, str, Mapping[str, int]]], colours: Mapping[str, int], top: int
) -> list[Column]:
    width = 100 / len(titled)
    every = -(-len(titled) // 5)
    columns = []
    for place, (label, title, values) in enumerate(titled):
        parts, below = [], 0.0
        for name, colour in colours.items():
            if size := 100 * values.get(name, 0) / top:
                parts.append(Part(name, values[name], below, size, colour))
                below += size
        columns.append(Column(label, title, place * width, width, parts, place % every == 0))
    return columns


def _cap(report: Report) -> Chart | None:
    """Draw the readers by mails received, up to the cap or the maximum, whichever is more."""
    people = report.cap.people
    if not people:
        return None
    top = round_up(max(people.values()) * 11 // 10)
    shown = range(1, max(report.cap.messages, report.cap.maximum) + 1)
    titled = [
        (str(n), f"{n} mail{'s' if n > 1 else ''}", {_cap_series(n, report): people.get(n, 0)}) for n in shown
    ]
    colours = {"under the cap": 0, "at the cap": 1, "over the cap": 2}
    columns = [c._replace(labelled=True) for c in _columns(titled, colours, top)]
    used = {part.name for column in columns for part in column.parts}
    return Chart(
        columns, top, [(name, colour) for name, colour in colours.items() if name in used], valued=True
    )


def _cap_series(mails: int, report: Report) -> str:
    if mails < report.cap.messages:
        return "under the cap"
    return "at the cap" if mails == report.cap.messages else "over the cap"


def _legend(colours: Mapping[str, int]) -> list[tuple[str, int]]:
    named = [(name, colour) for name, colour in colours.items() if colour < SERIES]
    return [*named, *([(OTHERS, SERIES)] if len(colours) > SERIES else [])]


def round_up(value: int) -> int:
    """Return the next round number: 1, 2 or 5 times a power of ten, or half steps between them."""
    if value <= 4:
        return max(value, 1)
    power = 10 ** (len(str(value)) - 1)
    steps: Iterable[float] = (1, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10)
    return next(
        int(step * power) for step in steps if step * power >= value and step * power == int(step * power)
    )
