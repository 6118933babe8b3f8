"""What the reference triggers give is what the reference templates use and what their samples promise."""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, insert

from drumbeat.project.load import load_project
from drumbeat.rendering.sample import EVERY_MAIL, read_sample
from drumbeat.rendering.templates import Templates
from drumbeat.store import tables
from drumbeat.store.engine import reading, writing
from drumbeat.triggers import Moment, Subject


@pytest.fixture
def filled(store: Engine, now: datetime) -> Engine:
    """One customer with a cart of two lines, one of them without a title, and a coupon."""
    with writing(store) as c:
        c.execute(
            insert(tables.customers).values(id=1, external_id="c1", time_zone="Europe/London", loaded_at=now)
        )
        cart = {"id": 5, "external_id": "cart-5", "customer_id": 1, "version": 1, "total": Decimal("30.50")}
        c.execute(
            insert(tables.carts).values(
                **cart, currency="GBP", updated_at=now - timedelta(hours=5), loaded_at=now
            )
        )
        lines = [{"title": "BIRD ORNAMENT", "product": "84879"}, {"title": None, "product": "22423"}]
        rows = [
            {"cart_id": 5, "line": n, "quantity": 2, "unit_price": Decimal("7.25"), **line}
            for n, line in enumerate(lines)
        ]
        c.execute(insert(tables.cart_items), rows)
        coupon = {
            "id": 7,
            "external_id": "TEN-OFF",
            "customer_id": 1,
            "value": Decimal(10),
            "currency": "GBP",
        }
        asked = {"topics": {"news": "News, once a week"}}
        c.execute(
            insert(tables.opt_ins).values(
                id=9,
                customer_id=1,
                topics=["news"],
                asked_at=now,
                expires_at=now + timedelta(days=7),
                proof={"asked": asked},
            )
        )
        c.execute(
            insert(tables.coupons).values(
                **coupon, title=None, expires_at=now + timedelta(days=2), loaded_at=now
            )
        )
    return store


SUBJECTS = {
    "abandoned_cart": Subject(1, "cart:5:v1", 5),
    "expiring_promo": Subject(1, "coupon:7", 7),
    "anniversary": Subject(1, "first_order:2011", 20091205),
    "birthday": Subject(1, "birth_date:2011", 19801205),
    "newsletter": Subject(1, "schedule:2011-12-05", None),
    "confirm_subscription": Subject(1, "opt_in:9", 9),
}


@pytest.mark.parametrize("name", list(SUBJECTS))
def test_a_campaigns_mail_renders_with_what_its_trigger_gives(
    filled: Engine, project_root: Path, now: datetime, name: str
) -> None:
    project = load_project(project_root)
    campaign = project.campaign(name)
    moment = Moment(now, project.config.time_zone, ("Europe/London",))
    with reading(filled) as connection:
        given = campaign.trigger.context(connection, [SUBJECTS[name]], moment)[SUBJECTS[name]]
    assert set(campaign.trigger.gives or ()) == set(given), "`gives` is what validate trusts"
    templates = Templates(project_root / "templates", project.config.language)
    template = templates.load(campaign.settings.message.template)
    nobody: dict[str, Any] = dict.fromkeys(EVERY_MAIL["customer"]) | {"attributes": {}}
    for customer in (EVERY_MAIL["customer"], nobody):
        rendered = template.render({**EVERY_MAIL, **given, "customer": customer})
        assert "None" not in rendered.html + rendered.text + rendered.subject
    promised = read_sample(templates.folder, template.name).keys() - EVERY_MAIL.keys()
    assert promised <= given.keys(), "sample.yaml shows what the trigger does not give"
    for key in promised:
        shown = read_sample(templates.folder, template.name)[key]
        if isinstance(shown, dict):
            assert shown.keys() <= given[key].keys()
