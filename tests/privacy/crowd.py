"""A shop that knows Emma in every way there is, and Ben beside her."""

from __future__ import annotations

import base64
import json
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

from sqlalchemy import Engine, LargeBinary, insert, select

from drumbeat.privacy.erase import Erasure, Terms, erase
from drumbeat.privacy.keys import erased_of, link_secrets
from drumbeat.project.load import Project
from drumbeat.rendering.links import Links
from drumbeat.store.engine import reading, writing
from drumbeat.store.tables import metadata

SECRET = "a-secret-of-the-tests-long-enough"

EMMA = "kunde-4711"
EMAIL, KEY = "Emma.Clarke@Müller.example", "emma.clarke@xn--mller-kva.example"
PHONE, CHAT = "+447700900123", "98765432101"
TRACES = (
    *("kunde-4711", "kunde-4712", "emma", "clarke", "müller", "mller-kva", "447700900123", "98765432101"),
    *(
        "oldest.address",
        "order-e1",
        "cart-e1",
        "code-e1",
        "event-e1",
        "remote-e1",
        "1987-03-21",
        "portishead",
    ),
)
"""What only Emma's rows hold: none of it may be found after she was erased."""


class Crowd:
    """Emma (two customer rows), Ben (an unlike person whose address looks like hers), and what is known of them."""

    def __init__(self, engine: Engine, project: Project, now: datetime) -> None:
        self.engine, self.project, self.now = engine, project, now
        self.links = Links(project.config.tracking.base_url, link_secrets(project))
        self.messages: dict[str, int] = {}

    def add(self, table: str, **row: Any) -> Any:
        """Add a row and return its key."""
        of = metadata.tables[table]
        with writing(self.engine) as connection:
            statement = insert(of).values(row).returning(*of.primary_key.columns)
            return connection.execute(statement).one()[0]

    def ago(self, **span: float) -> datetime:
        return self.now - timedelta(**span)

    def customer(self, name: str, **row: Any) -> int:
        loaded_at = self.ago(days=90)
        given = {"external_id": name, "loaded_at": loaded_at, "attributes": {}, **row}
        key = self.add("customers", **given)
        of = metadata.tables["customers"]
        with writing(self.engine) as connection:
            person = row.get("person_id") or key
            connection.execute(of.update().where(of.c.id == key).values(person_id=person))
        return int(key)

    def message(self, customer: int, occasion: str, state: str = "sent", **row: Any) -> int:
        at = self.ago(days=row.pop("days", 3))
        given = {
            "run_id": self.run,
            "campaign": "reminder",
            "customer_id": customer,
            "occasion": occasion,
            "sender": "shop",
            "kind": "marketing",
            "topic": "offers",
            "template": "reminder",
            "priority": 50,
            "state": state,
            "planned_at": at,
            "due_at": at,
            "sent_at": at if state in ("sent", "uncertain") else None,
        }
        return int(self.add("messages", **{**given, **row}))

    def fill(self) -> None:
        """Fill every table that can hold anything of a person."""
        now = self.now
        self.run = self.add("runs", kind="plan", as_of=now, started_at=now, summary={})
        self.emma = self.customer(
            EMMA,
            email=EMAIL,
            email_key=KEY,
            first_name="Emma",
            last_name="Clarke",
            country="GB",
            city="Portishead",
            language="en",
            time_zone="Europe/London",
            phone=PHONE,
            telegram_id=CHAT,
            manager="olga",
            birth_date=date(1987, 3, 21),
            created_at=self.ago(days=400),
            attributes={"nickname": "Clarkey", "note": "Emma likes tea"},
        )
        self.twin = self.customer("kunde-4712", email=EMAIL, email_key=KEY, person_id=self.emma)
        self.ben = self.customer(
            "b1", email="ben@example.com", email_key="ben@example.com", first_name="Ben", country="GB"
        )
        for who in (self.emma, self.twin, self.ben):
            self.add(
                "consents", customer_id=who, topic="offers", granted=True, at=self.ago(days=80), loaded_at=now
            )
            self.add(
                "consent_events",
                customer_id=who,
                topic="offers",
                granted=True,
                at=self.ago(days=80),
                source="opt_in",
                proof={
                    "url": f"https://shop.example.com/?who={EMAIL if who != self.ben else 'ben'}",
                    "ip": "192.0.2.7",
                },
                loaded_at=now,
            )
        self.add(
            "opt_ins",
            customer_id=self.emma,
            topics=["offers"],
            asked_at=self.ago(days=81),
            expires_at=self.ago(days=74),
            confirmed_at=self.ago(days=80),
            proof={"address": KEY, "asked": {"text": "Emma, please"}},
        )
        for key in (KEY, f"tel:{PHONE}", f"tg:{CHAT}", "oldest.address@example.com"):
            self.add(
                "suppressions", email_key=key, topic="news", reason="unsubscribed", at=now, source="link"
            )
        self.add("suppressions", email_key="ben@example.com", topic="news", reason="manual", at=now)
        self.add("preferences", email_key=KEY, max_messages=2, at=now, source="preferences")
        self.add("preferences", email_key="ben@example.com", max_messages=3, at=now)
        for who, letter in ((self.emma, "e"), (self.ben, "b")):
            order = self.add(
                "orders",
                external_id=f"order-{letter}1",
                customer_id=who,
                ordered_at=self.ago(days=2),
                total=Decimal("49.90"),
                currency="EUR",
                loaded_at=now,
            )
            line = {
                "line": 1,
                "product": "tea",
                "title": "Tea",
                "quantity": 2,
                "unit_price": Decimal("24.95"),
            }
            self.add("order_items", order_id=order, **line)
            cart = self.add(
                "carts",
                external_id=f"cart-{letter}1",
                customer_id=who,
                updated_at=self.ago(days=3),
                total=Decimal("30"),
                url=f"https://shop.example.com/cart/cart-{letter}1",
                loaded_at=now,
            )
            self.add("cart_items", cart_id=cart, **line)
            self.add(
                "coupons",
                external_id=f"code-{letter}1",
                customer_id=who,
                title="Ten off for Emma" if letter == "e" else "Ten off",
                value=Decimal("10"),
                expires_at=self.ago(days=-20),
                loaded_at=now,
            )
            self.add(
                "events",
                external_id=f"event-{letter}1",
                customer_id=who,
                name="product_viewed",
                at=self.ago(days=4),
                properties={"path": f"/account/{'emma' if letter == 'e' else 'ben'}"},
                loaded_at=now,
            )
            stats = {"orders": 1, "total": Decimal("49.90"), "first_order_at": now, "last_order_at": now}
            self.add("customer_stats", customer_id=who, **stats)
            self._tell(who, letter, cart)
        self.add("throttles", key="domain:example.com", answer=f"421 too many for <{KEY}>")
        self.add("throttles", key="domain:example.net", answer="421 later")
        self._note("suppressions add", KEY, {"topic": "news"})
        self._note("tasks done", EMMA, {"note": "called Emma"})
        self._note("suppressions import", None, {"file": "list.csv", "first": f"<{KEY}>"})
        self._note("suppressions add", "ben@example.com", {"topic": "news"})

    def _note(self, action: str, subject: str | None, detail: dict[str, Any]) -> None:
        self.add("audit", at=self.now, actor="olga", action=action, subject=subject, detail=detail)

    def _tell(self, who: int, letter: str, cart: int) -> None:
        now = self.now
        theirs = letter == "e"
        key = KEY if theirs else "ben@example.com"
        sent = self.message(
            who,
            f"cart:cart-{letter}1:v2",
            subject_id=cart,
            address_key=key,
            answer=f"250 2.1.5 <{key}> queued",
            remote_id=f"remote-{letter}1-0123456789ab",
            via="mx.example.com:25",
        )
        old = self.message(
            who,
            f"cart:cart-{letter}0",
            days=40,
            address_key="oldest.address@example.com" if theirs else key,
            answer="250 ok",
        )
        refused = self.message(
            who, "schedule:2011-11-30T09:00", state="refused", days=5, answer=f"550 5.1.1 {key} unknown"
        )
        uncertain = self.message(who, "schedule:2011-11-23T09:00", state="uncertain", days=12)
        self.messages |= {
            f"{letter} {n}": i for n, i in zip(("sent", "old", "refused"), (sent, old, refused), strict=True)
        }
        for number, detail in (
            (sent, "250 2.1.5 queued"),
            (refused, f"550 5.1.1 <{key}>: {letter}mma unknown"),
        ):
            self.add("message_events", message_id=number, at=now, state="sent", detail=detail)
        self.add("message_events", message_id=uncertain, at=now, state="uncertain", detail=None)
        self._hit(sent, "opened", f"opened:{sent}:-:reader:1", source="link", raw={"agent": f"Mail of {key}"})
        self._hit(
            sent,
            "clicked",
            f"clicked:{sent}:aa:machine:1",
            source="link",
            url=f"https://shop.example.com/?u={key}",
            raw={"rule": "burst_of_links", "agent": "scanner"},
            **{"class": "machine"},
        )
        self._hit(
            refused,
            "bounced",
            f"postmark:bounced:{letter}{letter}",
            source="webhook:postmark",
            email_key=key,
            bounce="soft",
            raw={"text": f"<{key}> is full"},
        )
        self._hit(
            None, "complained", f"mail:complained:{letter}", source="mail", email_key=key, raw={"told": key}
        )
        task = self.message(who, f"call:{letter}", channel="task", kind="service", topic="offers", days=1)
        self.add(
            "tasks",
            message_id=task,
            customer_id=who,
            assignee="olga",
            title=f"Call {'Emma' if theirs else 'Ben'}",
            text=f"{key} waits",
            created_at=now,
            due_at=now,
            note="left word with Mr Clarke" if theirs else None,
        )
        self._arrive(letter, key, sent)

    def _hit(self, message: int | None, kind: str, dedupe_key: str, **row: Any) -> None:
        given = {"class": "unknown", "at": self.ago(days=2), "loaded_at": self.now, **row}
        self.add("responses", message_id=message, kind=kind, dedupe_key=dedupe_key, **given)

    def _arrive(self, letter: str, key: str, sent: int) -> None:
        bounce = f"Subject: failed\r\nFinal-Recipient: rfc822;{key}\r\n\r\nNo such user\r\n".encode()
        packed = base64.encodebytes(b"The mail to " + key.encode() + b" could not be delivered. " * 5)
        token = self.links.mail_token(sent)
        quoted = key.replace("@", "=40").replace("example", "exa=\r\nmple")
        bodies = {
            "json": json.dumps({"RecordType": "Bounce", "Email": key, "Metadata": {"x": "\u00e9"}}).encode(),
            "escaped": json.dumps({"Message": json.dumps({"to": key})}).replace("@", "\\u0040").encode(),
            "form": f"event=opened&recipient={key.replace('@', '%40')}&ip=192.0.2.9".encode(),
            "mail": bounce,
            "base64": b"Content-Transfer-Encoding: base64\r\n\r\n" + packed,
            "quoted": f"Content-Transfer-Encoding: quoted-printable\r\n\r\n{quoted}\r\n".encode(),
            "token": f"To: <bounces+{token}@shop.example.com>\r\n\r\nI am away\r\n".encode(),
            "remote": f'{{"id": "remote-{letter}1-0123456789ab"}}'.encode(),
        }
        for name, body in bodies.items():
            self.add(
                "inbox",
                source="mail" if name in ("mail", "base64", "quoted", "token") else "postmark",
                dedupe_key=f"{name}:{letter}",
                received_at=self.ago(days=2),
                headers={":url": f"POST https://shop.example.com/hooks/postmark?for={key}"},
                body=body,
                state="failed" if name == "quoted" else "done",
                error=f"cannot read the mail of {key}" if name == "quoted" else None,
                worked_at=self.now,
            )

    def terms(self, **changes: Any) -> Terms:
        given = {
            "erased": erased_of(self.project),
            "secrets": link_secrets(self.project),
            "senders": list(self.project.config.senders),
            "at": self.now,
            "actor": "tester",
        }
        return Terms(**{**given, **changes})

    def erase(self, asked: str = EMMA, **options: Any) -> Erasure:
        changes = options.pop("terms", {})
        return erase(self.engine, asked, self.terms(**changes), **options)

    def rows(self, table: str) -> list[Any]:
        of = metadata.tables[table]
        with reading(self.engine) as connection:
            return list(connection.execute(select(of).order_by(*of.primary_key.columns)).all())

    def dump(self) -> str:
        """Everything in every table as text, in small letters; bodies as what they are and as what they decode to."""
        texts = []
        for name, of in metadata.tables.items():
            for row in self.rows(name):
                for column in of.columns:
                    value = row._mapping[column.name]
                    if isinstance(column.type, LargeBinary):
                        value = bytes(value).decode("utf-8", "replace")
                    elif isinstance(value, dict | list):
                        value = json.dumps(value, ensure_ascii=False)
                    texts.append(f"{name}.{column.name}: {value}")
        return "\n".join(texts).lower()
