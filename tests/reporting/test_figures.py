"""What must hold for a report's figures: a story that was counted by hand, and the shape of its JSON."""

from __future__ import annotations

from datetime import date, timedelta
from decimal import Decimal
from types import SimpleNamespace

import pytest

from drumbeat.errors import UsageError
from drumbeat.project.models import Campaign, ProjectConfig
from drumbeat.reporting.funnel import make_report
from drumbeat.responses.kinds import Actor, Kind
from drumbeat.responses.record import Response, record
from drumbeat.store.engine import writing

CONFIG = ProjectConfig.model_validate(
    {
        "project": "shop",
        "time_zone": "Europe/London",
        "currency": "GBP",
        "notice": None,
        "senders": {"shop": {"name": "Shop", "address": "a@example.com", "postal_address": "1 Lane"}},
        "topics": {"offers": "Offers"},
    }
)


def campaign(name, **more):
    settings = {
        "campaign": name,
        "description": "x",
        "topic": "offers",
        "segment": "everyone",
        "trigger": {"schedule": {}},
        "message": {"template": "mail"},
    }
    return SimpleNamespace(settings=Campaign.model_validate({**settings, **more}))


PROJECT = SimpleNamespace(
    config=CONFIG,
    campaigns={
        "cart": campaign("cart", goal={"order": {"within": "5d"}}),
        "news": campaign("news"),
        "silent": campaign("silent"),
    },
)


def respond(scene, message, kind, hours, actor=Actor.UNKNOWN):
    hit = Response(message, Kind(kind), scene.at(hours), f"{kind}:{message}:{hours}:{actor}", actor)
    with writing(scene.engine) as connection:
        record(connection, [hit])


@pytest.fixture
def story(scene):
    """Three readers, two campaigns and one whose file is gone. Every figure below can be counted here."""
    ann, bob, cid = (scene.customer() for _ in range(3))
    scene.ann = ann
    # cart: seven candidates, one of each fate
    first = scene.message(ann, "cart", hours=0)
    second = scene.message(bob, "cart", hours=1)
    scene.message(cid, "cart", hours=2, state="uncertain")
    scene.message(ann, "cart", hours=3, state="skipped", reason="capped")
    scene.message(bob, "cart", hours=3, state="skipped", reason="no_consent")
    scene.message(cid, "cart", hours=3, state="planned")
    scene.message(ann, "cart", hours=4, state="deferred", reason="capped")
    # news: sent two days later; no goal
    third = scene.message(ann, "news", hours=48)
    scene.message(bob, "news", hours=48, state="refused")
    scene.message(cid, "news", hours=48, state="failed", reason="not_rendered")
    scene.message(cid, "news", hours=48, state="expired", reason="too_late")
    scene.message(cid, "old", hours=49, state="handing_over")
    # ann opened twice and clicked two links: once each; bob's mail was opened by machines alone
    for hours in (5, 6):
        respond(scene, first, "opened", hours)
    respond(scene, first, "opened", 7, Actor.MACHINE)
    respond(scene, first, "clicked", 5.1)
    respond(scene, first, "clicked", 5.2, Actor.HUMAN)
    respond(scene, second, "opened", 5, Actor.MACHINE)
    respond(scene, second, "clicked", 5, Actor.MACHINE)
    respond(scene, second, "unsubscribed", 6, Actor.MACHINE)
    respond(scene, third, "delivered", 48.1)
    respond(scene, third, "bounced", 48.2)
    respond(scene, third, "complained", 48.3)
    # ann ordered twice after the cart's mail, once in euros; bob's order was cancelled
    scene.order(ann, 10, "19.99", currency="GBP")
    scene.order(ann, 11, "0.01")
    scene.order(ann, 12, "500", currency="EUR")
    scene.order(bob, 12, "70", status="cancelled")
    return scene


def report(scene, **options):
    return make_report(scene.engine, PROJECT, **{"as_of": scene.at(72), **options})


def test_the_figures_are_those_counted_by_hand(story):
    found = {c.campaign: c for c in report(story).campaigns}
    cart = found["cart"].figures.as_json()
    assert cart == {
        "candidates": 7,
        "planned": 4,
        "skipped": 2,
        "deferred": 1,
        "expired": 0,
        "waiting": 1,
        "sent": 2,
        "uncertain": 1,
        "refused": 0,
        "failed": 0,
        "delivered": 0,
        "bounced": 0,
        "bounced_hard": 0,
        "bounced_soft": 0,
        "complained": 0,
        "unsubscribed": 1,
        "opened": 1,
        "opened_by_machine": 1,
        "clicked": 1,
        "clicked_by_machine": 1,
        "ordered": 3,
        "revenue": "20.00",
        "ordered_in_other_currency": 1,
        "skipped_by_reason": {"capped": 1, "no_consent": 1},
        "rates": {
            "opened": 0.5,
            "clicked": 0.5,
            "unsubscribed": 0.5,
            "complained": 0.0,
            "delivered": 0.0,
            "bounced": 0.0,
            "bounced_hard": 0.0,
            "bounced_soft": 0.0,
            "opened_by_machine": 0.5,
            "clicked_by_machine": 0.5,
        },
    }
    news = found["news"].figures
    assert (news.candidates, news.planned, news.sent, news.refused, news.failed, news.expired) == (
        4,
        3,
        1,
        1,
        1,
        1,
    )
    assert (news.delivered, news.bounced, news.complained, news.ordered) == (1, 1, 1, 0)
    assert list(found) == ["cart", "news", "silent", "old"]
    assert [c.in_project for c in found.values()] == [True, True, True, False]
    assert found["silent"].figures.candidates == 0
    assert found["old"].figures.waiting == 1


def test_a_bounced_mail_is_counted_once_hard_where_one_said_so_and_not_when_it_was_refused(scene):
    reader = scene.customer()
    both, soft, untold = (scene.message(reader, "news", hours=1) for _ in range(3))
    refused = scene.message(reader, "news", hours=1, state="refused")
    told = [
        (both, "soft", "webhook:ses"),
        (both, "hard", "mail"),
        (soft, "soft", "mail"),
        (soft, "soft", "webhook:ses"),
        (untold, None, "mail"),
        (refused, "hard", "smtp"),
    ]
    with writing(scene.engine) as connection:
        record(
            connection,
            [
                Response(message, Kind.BOUNCED, scene.at(2), f"b{n}", bounce=bounce, source=source)
                for n, (message, bounce, source) in enumerate(told)
            ],
        )
    totals = report(scene).totals
    assert (totals.sent, totals.refused) == (3, 1)
    assert (totals.bounced, totals.bounced_hard, totals.bounced_soft) == (3, 1, 2)
    assert totals.rates["bounced_hard"] == 0.3333


def test_where_nothing_was_sent_there_are_no_rates(scene):
    assert set(report(scene).totals.rates.values()) == {None}


def test_the_sums_hold(story):
    whole = report(story)
    for f in [*(c.figures for c in whole.campaigns), whole.totals]:
        assert f.candidates == f.planned + f.skipped + f.deferred + f.expired
        assert f.planned == f.waiting + f.sent + f.uncertain + f.refused + f.failed
        assert f.skipped == f.skipped_by_reason.total()
        assert f.bounced == f.bounced_hard + f.bounced_soft
    assert whole.totals.candidates == 12
    assert whole.totals.revenue == Decimal(20)


def test_the_period_takes_its_first_instant_and_leaves_its_last(story):
    assert report(story, since=story.at(3), until=story.at(48)).totals.candidates == 4
    assert report(story, since=story.at(48)).totals.candidates == 5
    early = report(story, until=story.at(1)).totals
    assert (early.candidates, early.opened, early.ordered) == (1, 1, 3)
    late = report(story, since=story.at(1)).totals
    assert (late.opened, late.ordered) == (0, 0)


def test_what_happened_after_the_reports_time_is_left_out(story):
    earlier = report(story, as_of=story.at(5))
    cart = earlier.campaigns[0].figures
    assert (cart.candidates, cart.opened, cart.opened_by_machine, cart.clicked, cart.unsubscribed) == (
        7,
        1,
        1,
        0,
        0,
    )
    assert (cart.ordered, report(story, as_of=story.at(10)).totals.ordered) == (0, 1)
    assert earlier.totals.candidates == 7
    assert sum(earlier.days[story.start.date()].values()) == 3


def test_an_empty_period_is_refused(story):
    with pytest.raises(UsageError, match="the period is empty"):
        report(story, since=story.at(3), until=story.at(3))


def test_one_campaign_alone_keeps_its_figures(story):
    whole, alone = report(story), report(story, campaign="cart")
    assert [c.campaign for c in alone.campaigns] == ["cart"]
    assert alone.totals == whole.campaigns[0].figures
    assert report(story, campaign="old").totals.waiting == 1
    assert report(story, campaign="old", until=story.at(1)).totals.waiting == 0


def test_an_unknown_campaign_is_refused_with_the_nearest(story):
    with pytest.raises(UsageError, match=r"unknown campaign 'cat'\. Did you mean 'cart'"):
        report(story, campaign="cat")


def test_days_are_the_projects_own(scene, now):
    reader = scene.customer()
    summer = now.replace(month=7, day=1, hour=23, minute=30)
    for sent_at in (summer, summer - timedelta(minutes=31)):
        scene.message(reader, "news", sent_at=sent_at)
    assert report(scene).days == {date(2011, 7, 2): {"news": 1}, date(2011, 7, 1): {"news": 1}}


def test_the_cap_counts_people_by_mails_that_reached_them_in_the_span(scene):
    reader = scene.customer()
    twin, other, early = scene.customer(person=reader), scene.customer(), scene.customer()
    for customer, hours in ((reader, 1), (twin, 2), (reader, 3), (other, 4)):
        scene.message(customer, "news", hours=hours)
    scene.message(reader, "news", hours=5, state="uncertain")
    scene.message(reader, "news", hours=6, state="planned")
    scene.message(reader, "news", hours=6, counts_toward_cap=False)
    scene.message(other, "news", hours=7, sender="service")
    scene.message(early, "news", hours=72 - 168)
    scene.message(early, "news", hours=73)
    cap = report(scene).cap
    assert (dict(cap.people), cap.maximum) == ({4: 1, 1: 2}, 4)


def test_an_empty_store_gives_zeros(scene):
    empty = report(scene)
    assert empty.totals.candidates == 0
    assert [c.campaign for c in empty.campaigns] == ["cart", "news", "silent"]
    assert empty.as_json()["cap"] == {"messages": 4, "per_seconds": 604800, "maximum": 0, "people": []}


FIGURES = {
    *("candidates", "planned", "skipped", "deferred", "expired", "waiting", "sent", "uncertain", "refused"),
    *("failed", "delivered", "bounced", "bounced_hard", "bounced_soft", "complained", "unsubscribed"),
    *("opened", "opened_by_machine", "rates"),
    *(
        "clicked",
        "clicked_by_machine",
        "ordered",
        "revenue",
        "ordered_in_other_currency",
        "skipped_by_reason",
    ),
}


def test_the_json_keeps_the_shape_that_the_manual_promises(story, project_root):
    shape = report(story).as_json()
    assert set(shape) == {
        *("project", "as_of", "since", "until", "time_zone", "currency", "notice"),
        *("campaigns", "totals", "cap", "days"),
    }
    assert set(shape["campaigns"][0]) == {"campaign", "in_project", "channel", *FIGURES}
    assert set(shape["totals"]) == FIGURES
    assert set(shape["cap"]) == {"messages", "per_seconds", "maximum", "people"}
    assert [set(entry) for entry in shape["cap"]["people"]] == [{"mails", "people"}] * len(
        shape["cap"]["people"]
    )
    assert [set(entry) for entry in shape["days"]] == [{"day", "sent", "by_campaign"}] * 2
    manual = (project_root / "docs" / "report.md").read_text(encoding="utf-8")
    missing = [
        key for key in [*shape, *FIGURES, *shape["cap"], *shape["days"][0]] if f"`{key}`" not in manual
    ]
    assert missing == []
