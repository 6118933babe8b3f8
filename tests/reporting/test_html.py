"""What must hold for the report's page and table."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections import Counter
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from html.parser import HTMLParser
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from rich.console import Console

from drumbeat.reporting.figures import CampaignFigures, CapUse, Figures, Report, total
from drumbeat.reporting.html import render_html, round_up, share
from drumbeat.reporting.terminal import render_terminal

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")


def make(*, names=("abandoned_cart", "newsletter"), days=30, figures=None):
    one = figures or Figures(
        candidates=1_840,
        planned=1_400,
        skipped=400,
        deferred=40,
        sent=1_398,
        refused=2,
        opened=610,
        clicked=233,
        ordered=97,
        revenue=Decimal("8421.35"),
        skipped_by_reason=Counter(capped=150, no_consent=250),
    )
    campaigns = tuple(CampaignFigures(name, True, one) for name in names)
    return Report(
        project="hearthside",
        as_of=datetime(2011, 12, 5, 9, tzinfo=UTC),
        since=None,
        until=None,
        time_zone="Europe/London",
        currency="GBP",
        campaigns=campaigns,
        totals=total(campaigns),
        cap=CapUse(4, timedelta(hours=168), {1: 1_180, 2: 640, 4: 118}),
        days={date(2011, 11, 5) + timedelta(days=n): dict.fromkeys(names, 40 + n) for n in range(days)},
    )


EMPTY = replace(
    make(names=()), campaigns=(), totals=Figures(), cap=CapUse(4, timedelta(hours=168), {}), days={}
)


class Reader(HTMLParser):
    """Collects what a page is made of, and whether its elements are closed in order."""

    VOID = frozenset({"meta", "rect", "line", "br"})

    def __init__(self):
        super().__init__()
        self.open, self.ids, self.references, self.links, self.svgs, self.titles = [], [], [], [], 0, 0

    def handle_starttag(self, tag, attrs):
        found = dict(attrs)
        self.ids += [found["id"]] if "id" in found else []
        self.references += (found.get("aria-labelledby") or "").split()
        self.links += [v for k, v in attrs if k in ("src", "href", "xlink:href", "action", "srcset", "data")]
        self.svgs += tag == "svg" and found.get("role") == "img"
        self.titles += tag == "title" and "id" in found
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in self.VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def read(page):
    reader = Reader()
    reader.feed(page)
    reader.close()
    assert reader.open == []
    return reader


def test_the_page_is_whole_and_fetches_nothing():
    page = render_html(make())
    reader = read(page)
    assert reader.links == []
    assert not re.search(r"url\(|@import|<script|<link|<iframe|javascript:", page)
    assert "default-src 'none'" in page


def test_every_picture_has_a_title_and_ids_are_unique():
    reader = read(render_html(make()))
    assert reader.svgs == reader.titles == 8
    assert len(reader.ids) == len(set(reader.ids))
    assert set(reader.references) <= set(reader.ids)


def test_the_page_shows_the_figures():
    page = render_html(make())
    for shown in (
        "Abandoned cart",
        "1,840",
        "£8,421.35",
        "£16,842.70",
        "no consent",
        "44% of sent",
        "Europe/London",
    ):
        assert shown in page, shown


def came_back():
    """A report with something of everything that comes back."""
    figures = Figures(
        candidates=2_000,
        planned=1_900,
        sent=1_800,
        refused=40,
        failed=60,
        delivered=1_650,
        bounced=130,
        bounced_hard=110,
        bounced_soft=20,
        complained=2,
        unsubscribed=9,
        opened=700,
        opened_by_machine=500,
        clicked=180,
        clicked_by_machine=90,
    )
    return make(figures=figures)


def test_readers_come_first_and_machines_apart():
    page, text = render_html(came_back()), printed(came_back())
    for shown in (
        "Only by machines: 500 (28%)",
        "by readers 700, only by machines 500",
        ">39%<",
        "90 (5.0%)",
    ):
        assert shown in page, shown
    assert page.index("by a reader") < page.index("only by machines</li>")
    assert re.search(
        r"opened +clicked +unsubscribed +complained +delivered +bounced hard +bounced soft +opened by machines",
        text,
    )
    assert re.search(
        r"abandoned_cart +700 \(39%\) +180 \(10%\) +9 \(0\.5%\) +2 \(0\.11%\) +1,650 \(92%\) +110 \(6\.1%\)",
        text,
    )


def test_what_endangers_a_sender_is_red_with_the_reason_once():
    page = render_html(came_back())
    assert page.count('<td class="alarm"') == 2 * 2 + 2
    assert page.count("keep the spam rate below 0.1%.</p>") == 1
    assert "under review" in page
    calm = render_html(make(figures=Figures(candidates=2_000, sent=2_000, complained=1, bounced_hard=90)))
    assert 'class="alarm"' not in calm
    few = render_html(
        make(figures=Figures(candidates=9, sent=9, complained=1, bounced_hard=1)),
    )
    assert 'title="Gmail' not in few


def test_an_empty_report_says_so():
    assert "Nothing was planned in this time" in render_html(EMPTY)
    read(render_html(EMPTY))
    silent = make(figures=Figures(), days=0)
    assert "Nothing was planned in this time" in render_html(silent)


def test_names_cannot_break_the_page():
    hostile = replace(make(names=("a", "<script>alert(1)</script>")), project="<b>&")
    page = render_html(hostile)
    assert "<script" not in page.lower()
    assert "<b>" not in page.lower()
    read(page)


@pytest.mark.parametrize(("days", "drawn"), [(1, 1), (92, 92), (93, 14), (700, 101)])
def test_a_long_time_is_drawn_by_weeks(days, drawn):
    page = render_html(make(days=days))
    assert page.count('class="hit"') - 4 == drawn
    assert ("By week" in page) is (days > 92)


@pytest.mark.parametrize(
    ("value", "top"), [(0, 1), (1, 1), (4, 4), (5, 5), (7, 8), (11, 15), (99, 100), (1180, 1500)]
)
def test_scales_end_at_a_round_number(value, top):
    assert round_up(value) == top


@pytest.mark.parametrize(
    ("part", "whole", "text"),
    [
        (0, 0, "–"),
        (0, 5, "0%"),
        (1, 8, "12%"),
        (1, 300, "0.33%"),
        (1, 20_000, "<0.01%"),
        (12, 1_000, "1.2%"),
        (5, 5, "100%"),
        (999, 1000, "100%"),
    ],
)
def test_shares_are_short(part, whole, text):
    assert share(part, whole) == text


def printed(report):
    console = Console(width=200, highlight=False, color_system=None)
    with console.capture() as capture:
        for part in render_terminal(report):
            console.print(part)
    return capture.get()


def test_the_table_shows_figures_reasons_and_the_cap():
    text = printed(make())
    assert re.search(r"abandoned_cart +1,840 +1,400 +400 +40 +1,398 +2 +610 +233 +97 +£8,421.35", text)
    assert re.search(r"all +3,680 .* £16,842.70", text)
    assert re.search(r"no consent +capped", text)
    assert "the most that reached one reader is 4; 118 of 1,938 readers are at the cap" in text


def test_columns_that_are_zero_everywhere_are_left_out():
    assert "uncertain" not in printed(make())
    odd = replace(make().campaigns[0].figures, uncertain=1)
    assert "uncertain" in printed(make(figures=odd))


def test_an_empty_table_is_printed_too():
    assert "no mail reached anyone" in printed(EMPTY)


class _Watch(BaseHTTPRequestHandler):
    """Serves one page at / and notes every request."""

    def do_GET(self):
        self.server.asked.append(self.path)
        found = self.server.pages.get(self.path)
        self.send_response(200 if found is not None else 404)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.end_headers()
        self.wfile.write((found or "").encode())

    def log_message(self, *_):
        pass


# Headless windows are at least 500 px wide: the page is measured in a frame of the wanted width.
FRAME = """<body><iframe id="f" src="/report" style="width:{width}px;height:900px;border:0"></iframe><script>
f.onload = () => {{
  const d = f.contentDocument, seen = [];
  d.querySelectorAll("details").forEach(e => e.open = true);
  for (const e of d.querySelectorAll("body *")) {{
    if (e.closest(".scroll") && !e.matches(".scroll")) continue;
    const box = e.getBoundingClientRect();
    if (box.right > {width} + 0.5 || box.left < -0.5) seen.push(e.tagName + "." + (e.getAttribute("class") || ""));
  }}
  document.body.textContent = "RESULT" + JSON.stringify({{
    page: d.documentElement.scrollWidth, seen, bars: d.querySelectorAll("svg rect").length,
    widths: [...d.querySelector(".funnel").querySelectorAll(".bar")].map(e => e.getBoundingClientRect().width),
    outside: d.defaultView.performance.getEntriesByType("resource").map(e => e.name)}}) + "END";
}};</script>"""


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
@pytest.mark.parametrize("width", [320, 375, 1200])
def test_a_browser_shows_it_without_overflow_and_asks_for_nothing_more(tmp_path, width):
    long_names = make(
        names=(
            "abandoned_cart",
            "newsletter",
            "a_campaign_with_a_name_as_long_as_names_can_be_in_a_file_of_yaml_x",
        )
    )
    watch = ThreadingHTTPServer(("127.0.0.1", 0), _Watch)
    watch.asked = []
    # The page's own CSP would forbid the frame's script, not the page, to run; it stays as it is.
    watch.pages = {"/": FRAME.format(width=width), "/report": render_html(long_names)}
    thread = Thread(target=watch.serve_forever, daemon=True)
    thread.start()
    try:
        dom = chromium(tmp_path, "--dump-dom", f"http://127.0.0.1:{watch.server_address[1]}/")
    finally:
        watch.shutdown()
        thread.join()
        watch.server_close()
    result = json.loads(re.search(r"RESULT(.*)END", dom)[1].replace("&amp;", "&"))
    assert result["page"] <= width
    assert result["seen"] == []
    assert result["outside"] == []
    whole = result["widths"][0]
    figures = [1_840, 1_400, 1_398, 610, 233, 97]
    assert [w / whole for w in result["widths"]] == pytest.approx([n / 1_840 for n in figures], abs=0.002)
    assert result["bars"] > 60
    assert set(watch.asked) <= {"/", "/report", "/favicon.ico"}


def chromium(folder: Path, *words: str) -> str:
    quiet = ["--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
    quiet += ["--disable-component-update", "--disable-sync", "--virtual-time-budget=10000"]
    sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []
    profile = f"--user-data-dir={folder / 'profile'}"
    done = subprocess.run(
        [str(CHROMIUM), "--headless", *sandbox, *quiet, profile, *words],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    return done.stdout


def test_mails_that_were_refused_or_failed_are_among_those_not_sent():
    figures = Figures(refused=2, failed=3, skipped_by_reason=Counter(capped=1))
    assert figures.kept_away == {"capped": 1, "refused": 2, "failed": 3}
