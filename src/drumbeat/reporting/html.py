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
from drumbeat.reporting.terminal import cap_line, money, period_of, words

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
        ("opened", share(f.opened, f.sent), f"{f.opened:,} mails"),
        ("clicked", share(f.clicked, f.sent), f"{f.clicked:,} mails"),
        ("orders", f"{f.ordered:,}", "that followed a mail"),
        ("revenue", money(f.revenue, report.currency), "of those orders"),
        ("unsubscribed", share(f.unsubscribed, f.sent), f"{f.unsubscribed:,} after a mail"),
    ]


def share(part: int, whole: int) -> str:
    """Write a part as per cent; a dash where there is no whole."""
    if not whole:
        return "–"
    percent = 100 * part / whole
    return f"{percent:.0f}%" if percent in (0, 100) or percent >= 10 else f"{percent:.1f}%"


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
