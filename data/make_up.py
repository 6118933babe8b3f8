"""Makes up what the Online Retail set lacks, for the customers of the slice. Nothing here is real.

    python data/make_up.py data/online_retail_slice.csv.gz data/made_up

Names, addresses (all under example.com, RFC 2606), phone numbers (of those that Ofcom keeps for stories), birthdays,
languages, time zones, loyalty tiers, managers, consents, carts, coupons, events and suppressions. Every value
hangs on SEED, the customer and the slice alone: the same slice gives the same files byte for byte, under any
PYTHONHASHSEED.

The demo runs on DEMO_DAY. So that it has something to show there:
- about one customer in 25 is born on that day of the year;
- about 130 carts were left 4 to 72 hours before, some with several changes, some empty, some bought since;
- about 300 coupons expire within three days, some of them redeemed;
- one customer in 20 is `keen`: full consent, a cart, a birthday that week and a coupon that expires each day
  of it: more mails than the cap lets through;
- six mailboxes are shared by two customers, five addresses are broken and have to be rejected.
"""

from __future__ import annotations

import csv
import gzip
import json
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import Any

SEED = "drumbeat demo 1"
DEMO_DAY = datetime(2011, 12, 5, 9, 0, tzinfo=UTC)

GB = (
    "Oliver Grace Harry Amelia Jack Isla George Poppy Noah Freya Arthur Zoë",
    "Smith Jones Taylor Brown O'Brien Wilson Evans Walker Wright Hughes-Clarke Green Hall",
)
DE = (
    "Jürgen Anna Lukas Käthe Jörg Lena Sören Mia Björn Hannah Günter Sofie",
    "Müller Schäfer Weiß Groß Köhler Jäger Schmidt Vogel Krüger Böhm Lange Hübner",
)
FR = (
    "Chloé Hélène François Zoé Jérôme Inès Léa Benoît Aurélie Noël Manon Gaël",
    "Lefèvre Garçon Dubois Bérenger Côté Fournier Noël Château Gauthier Renaud Mercier Léger",
)
ES = (
    "Lucía José Martín Sofía Íñigo Begoña Andrés Inés Raúl Nuria",
    "García Núñez Martínez Ibáñez López Peña Muñoz Gómez Vázquez Ortiz",
)
NL = (
    "Daan Sanne Joris Fleur Thijs Noor Bram Lotte",
    "de Jong van Dijk Visser Smit de Boer Mulder Bakker van den Berg",
)
NORTH = (
    "Åsa Bjørn Søren Sigríður Jón Päivi Jukka Øyvind Linnéa Håkan",
    "Ångström Sørensen Virtanen Jónsdóttir Mäkinen Ødegård Bergström Østergaard Hämäläinen Lindqvist",
)
PL = (
    "Łukasz Małgorzata Paweł Żaneta Jiří Kateřina Rūta Jonas",
    "Wójcik Kowalski Dąbrowska Novák Dvořáková Kazlauskas Zieliński Świątek",
)
SOUTH = (
    "João Inês Conceição Giulia Niccolò Marta Luca Sofia",
    "Gonçalves D'Angelo Conceição Rossi Vella Esposito Simões Ferrari",
)
RU = (
    "Анна Иван Мария Дмитрий Екатерина Сергей Ольга Алексей Юлия Фёдор",
    "Иванова Смирнов Кузнецова Попов Соколова Лебедев Щербакова Ёлкин Новикова Жуков",
)
GR = (
    "Γιώργος Ελένη Νίκος Μαρία Δημήτρης Σοφία",
    "Παπαδόπουλος Γεωργίου Αντωνίου Νικολάου Χριστοφόρου Ιωάννου",
)
JP = ("Haruto Yui Sōta Aoi Ren Hina", "Satō Suzuki Takahashi Tanaka Itō Kōno")
AR = (
    "Omar Layla Yusuf Noor Karim Salma Tarek Mariam",
    "Haddad Khoury Mansour Al-Amin Saleh Nasser Farah Aziz",
)

COUNTRIES: dict[str, tuple[tuple[str, str], str, Sequence[str]]] = {
    "United Kingdom": (GB, "en", ["Europe/London"]),
    "Germany": (DE, "de", ["Europe/Berlin"]),
    "Austria": (DE, "de", ["Europe/Vienna"]),
    "Switzerland": (DE, "de", ["Europe/Zurich"]),
    "France": (FR, "fr", ["Europe/Paris"]),
    "Belgium": (FR, "fr", ["Europe/Brussels"]),
    "EIRE": (GB, "en", ["Europe/Dublin"]),
    "Spain": (ES, "es", ["Europe/Madrid", "Europe/Madrid", "Atlantic/Canary"]),
    "Netherlands": (NL, "nl", ["Europe/Amsterdam"]),
    "Norway": (NORTH, "no", ["Europe/Oslo"]),
    "Sweden": (NORTH, "sv", ["Europe/Stockholm"]),
    "Denmark": (NORTH, "da", ["Europe/Copenhagen"]),
    "Finland": (NORTH, "fi", ["Europe/Helsinki"]),
    "Iceland": (NORTH, "is", ["Atlantic/Reykjavik"]),
    "Poland": (PL, "pl", ["Europe/Warsaw"]),
    "Czech Republic": (PL, "cs", ["Europe/Prague"]),
    "Lithuania": (PL, "lt", ["Europe/Vilnius"]),
    "Portugal": (SOUTH, "pt", ["Europe/Lisbon", "Europe/Lisbon", "Atlantic/Azores"]),
    "Brazil": (SOUTH, "pt", ["America/Sao_Paulo"]),
    "Italy": (SOUTH, "it", ["Europe/Rome"]),
    "Malta": (SOUTH, "en", ["Europe/Malta"]),
    "Greece": (GR, "el", ["Europe/Athens"]),
    "Cyprus": (RU, "ru", ["Asia/Nicosia"]),
    "Israel": (RU, "ru", ["Asia/Jerusalem"]),
    "Japan": (JP, "ja", ["Asia/Tokyo"]),
    "Australia": (GB, "en", ["Australia/Sydney", "Australia/Perth", "Australia/Adelaide"]),
    "USA": (GB, "en", ["America/New_York", "America/Los_Angeles"]),
    "Canada": (FR, "fr", ["America/Toronto", "America/St_Johns"]),
    "Lebanon": (AR, "ar", ["Asia/Beirut"]),
    "United Arab Emirates": (AR, "ar", ["Asia/Dubai"]),
    "Bahrain": (AR, "ar", ["Asia/Bahrain"]),
    "Saudi Arabia": (AR, "ar", ["Asia/Riyadh"]),
    "Singapore": (GB, "en", ["Asia/Singapore"]),
}  # fmt: skip
OTHERWISE = COUNTRIES["United Kingdom"]
BROKEN = ("jane.doe@", "no at sign", "two@at@example.com", "white space@example.com", "dots@example..com")


@dataclass
class Customer:
    """What the slice tells of one customer."""

    number: str
    country: str = ""
    first: datetime | None = None
    last: datetime | None = None
    spent: Decimal = Decimal(0)
    orders: list[datetime] = field(default_factory=list)

    def dice(self, about: str) -> Random:
        """Return a source of chance that depends on the seed, the subject and this customer alone."""
        return Random(f"{SEED}/{about}/{self.number}")  # noqa: S311 - made-up data, not secrets

    @property
    def keen(self) -> bool:
        """Say whether this customer is to run into the cap."""
        return self.dice("keen").random() < 0.05 and self.number not in SHARED and len(self.orders) > 0


SHARED: dict[str, str] = {}
"""Customer -> the customer whose mailbox is theirs too; filled by `share_mailboxes`."""


def read_slice(path: Path) -> tuple[list[Customer], list[tuple[str, str, Decimal]]]:
    """Return the customers by number, and the products as (code, title, price) by code."""
    customers: dict[str, Customer] = {}
    products: dict[str, tuple[str, str, Decimal]] = {}
    with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            if not row["CustomerID"]:
                continue
            customer = customers.setdefault(row["CustomerID"], Customer(row["CustomerID"]))
            customer.country = row["Country"]
            price, quantity = Decimal(row["UnitPrice"]), int(row["Quantity"])
            if quantity <= 0 or price <= 0:
                continue
            at = datetime.fromisoformat(row["InvoiceDate"]).replace(tzinfo=UTC)
            customer.orders.append(at)
            customer.spent += price * quantity
            if row["StockCode"][:5].isdigit() and 1 <= price <= 20:
                products[row["StockCode"]] = (row["StockCode"], row["Description"], price)
    for customer in customers.values():
        customer.orders = sorted(set(customer.orders))
        customer.first = customer.orders[0] if customer.orders else None
        customer.last = customer.orders[-1] if customer.orders else None
    return [customers[number] for number in sorted(customers)], [products[code] for code in sorted(products)]


def share_mailboxes(customers: Sequence[Customer]) -> None:
    """Let six customers use the mailbox of the customer before them."""
    pairs = customers[40::200]
    SHARED.clear()
    SHARED.update({c.number: customers[customers.index(c) - 1].number for c in pairs[:6]})


def iso(moment: datetime) -> str:
    """Write an instant to the second."""
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def joined_at(customer: Customer) -> datetime:
    """Return when the customer signed up: some days before the first order."""
    dice = customer.dice("joined")
    return (customer.first or DEMO_DAY - timedelta(days=200)) - timedelta(minutes=dice.randint(5, 20_000))


def make_customers(customers: Sequence[Customer]) -> list[list[Any]]:
    """Rows of customers.csv; the last two are members of staff who get copies."""
    names = (
        "external_id email first_name last_name language time_zone birth_date created_at seed loyalty_tier"
        " phone manager"
    )
    rows: list[list[Any]] = [names.split()]
    phones = make_phones(customers)
    broken = {c.number: BROKEN[i] for i, c in enumerate(customers[77::250][: len(BROKEN)])}
    for customer in customers:
        dice = customer.dice("person")
        (first_names, last_names), language, zones = COUNTRIES.get(customer.country, OTHERWISE)
        if customer.country == "United Kingdom" and dice.random() < 0.03:
            (first_names, last_names), language = RU, "ru"
        first, last = dice.choice(first_names.split()), dice.choice(family_names(last_names))
        zone = dice.choice(zones) if dice.random() > 0.04 else ""
        mailbox = SHARED.get(customer.number, customer.number)
        address = "" if dice.random() < 0.03 and not customer.keen else f"customer.{mailbox}@example.com"
        if dice.random() < 0.02:
            address = address.replace("customer", "Customer")
        address = broken.get(customer.number, address)
        tier = "gold" if customer.spent >= 4000 else "silver" if customer.spent >= 1200 else "bronze"
        tier = tier if dice.random() > 0.1 else ""
        person = [first, last, language, zone, birthday(customer), iso(joined_at(customer)), "no", tier]
        rows.append([customer.number, address, *person, phones.get(customer.number, ""), manager(customer)])
    hired = iso(DEMO_DAY - timedelta(days=400))
    staff = ["Staff", "en", "Europe/London", "", hired, "yes", "", "", ""]
    return [*rows, *([f"staff-{n.lower()}", f"{n.lower()}@example.com", n, *staff] for n in ("Robin", "Kim"))]


def family_names(words: str) -> list[str]:
    """Split family names; those that begin with a small letter belong to the next word."""
    names, start = [], ""
    for word in words.split():
        start = f"{start} {word}".strip()
        if not word.islower():
            names.append(start)
            start = ""
    return names


def birthday(customer: Customer) -> str:
    """Return a date of birth, or nothing for one in five; many on the demo's day, a few on 29 February."""
    dice = customer.dice("birthday")
    year = dice.randint(1940, 1993)
    chance = dice.random()
    if customer.keen:
        soon = DEMO_DAY.date() + timedelta(days=dice.randint(0, 3))
        return soon.replace(year=year).isoformat()
    if chance < 0.2:
        return ""
    if chance < 0.24:
        return date(year, 12, 5).isoformat()
    if chance < 0.25:
        return date(1940 + 4 * dice.randint(0, 13), 2, 29).isoformat()
    return (date(year, 1, 1) + timedelta(days=dice.randint(0, 364))).isoformat()


def make_phones(customers: Sequence[Customer]) -> dict[str, str]:
    """Return phone numbers of more than half of the customers in the United Kingdom, as people write them.

    Each is one of the thousand that Ofcom keeps for stories: nobody has them.
    """
    having = [c for c in customers if c.country == "United Kingdom" and c.dice("phone").random() < 0.6]
    forms = (
        "+447700900{:03d}",
        "07700 900{:03d}",
        "07700900{:03d}",
        "+44 7700 900{:03d}",
        "(07700) 900-{:03d}",
    )
    return {c.number: c.dice("phone form").choice(forms).format(n) for n, c in enumerate(having[:1000])}


def manager(customer: Customer) -> str:
    """Return who looks after the customer; only the largest have somebody."""
    return customer.dice("manager").choice(["priya", "tom"]) if customer.spent >= 4000 else ""


def make_consents(customers: Sequence[Customer]) -> list[list[Any]]:
    """Rows of consents.csv: about three quarters granted, some refused, some never asked."""
    rows: list[list[Any]] = [["customer", "topic", "granted", "at", "source"]]
    for customer in customers:
        for topic in ("offers", "news"):
            dice = customer.dice(f"consent {topic}")
            chance = 0.0 if customer.keen else dice.random()
            if chance < 0.92:
                at = joined_at(customer) + timedelta(minutes=dice.randint(0, 5))
                source = dice.choice(["checkout", "newsletter form"])
                rows.append([customer.number, topic, "yes" if chance < 0.75 else "no", iso(at), source])
    with_phone = make_phones(customers)
    for customer in customers:
        later = iso(joined_at(customer) + timedelta(minutes=7))
        if customer.number in with_phone and (chance := customer.dice("consent offers_sms").random()) < 0.45:
            rows.append([customer.number, "offers_sms", "yes" if chance < 0.3 else "no", later, "checkout"])
        if customer.spent >= 1500 and (chance := customer.dice("consent calls").random()) < 0.9:
            rows.append([customer.number, "calls", "yes" if chance < 0.8 else "no", later, "checkout"])
    return rows


def make_carts(
    customers: Sequence[Customer], products: Sequence[Any]
) -> tuple[list[list[Any]], list[list[Any]]]:
    """Rows of carts.csv and cart_lines.csv."""
    carts: list[list[Any]] = [
        ["external_id", "customer", "version", "updated_at", "total", "currency", "url"]
    ]
    lines: list[list[Any]] = [["cart", "line", "product", "title", "quantity", "unit_price"]]
    for customer in customers:
        dice = customer.dice("cart")
        at = cart_time(customer, dice)
        if at is None:
            continue
        name = f"cart-{customer.number}"
        filled = 0 if dice.random() < 0.06 and not customer.keen else dice.randint(1, 5)
        total = Decimal(0)
        for line, (code, title, price) in enumerate(dice.sample(products, filled), start=1):
            quantity = dice.choice([1, 1, 2, 3, 6, 12])
            total += price * quantity
            lines.append([name, line, code, title, quantity, price])
        version = dice.choice([1, 1, 1, 2, 2, 3, 5])
        carts.append(
            [
                name,
                customer.number,
                version,
                iso(at),
                total,
                "GBP",
                f"https://shop.example.com/cart/{customer.number}",
            ]
        )
    return carts, lines


def cart_time(customer: Customer, dice: Random) -> datetime | None:
    """Return when the cart was last changed; None for customers without one."""
    bought = [at for at in customer.orders if DEMO_DAY - timedelta(days=4) < at < DEMO_DAY]
    if bought and dice.random() < 0.6:  # bought since: no reminder
        return bought[-1] - timedelta(minutes=dice.randint(5, 300))
    chance = dice.random()
    if chance < 0.09 or customer.keen:
        return DEMO_DAY - timedelta(minutes=dice.randint(5 * 60, 71 * 60))
    if chance < 0.12:  # still shopping
        return DEMO_DAY - timedelta(minutes=dice.randint(1, 230))
    if chance < 0.20:  # long forgotten
        return DEMO_DAY - timedelta(minutes=dice.randint(73 * 60, 60 * 24 * 60))
    return None


def make_coupons(customers: Sequence[Customer]) -> list[list[Any]]:
    """Rows of coupons.csv."""
    rows: list[list[Any]] = [
        ["external_id", "customer", "title", "value", "currency", "starts_at", "expires_at", "redeemed_at"]
    ]
    for customer in customers:
        dice = customer.dice("coupons")
        expiries = [
            DEMO_DAY + timedelta(hours=dice.randint(-20 * 24, 40 * 24))
            for _ in range(dice.choice([0, 0, 0, 1, 2]))
        ]
        if dice.random() < 0.16:
            expiries.append(DEMO_DAY + timedelta(hours=dice.randint(2, 71)))
        if customer.keen:
            expiries += [DEMO_DAY + timedelta(days=day, hours=14) for day in range(8)]
        for number, expires in enumerate(expiries, start=1):
            value = dice.choice([3, 5, 5, 10])
            starts = expires - timedelta(days=30)
            open_until = min(expires, DEMO_DAY)
            used = dice.random() < 0.15 and not customer.keen
            redeemed = (
                iso(starts + (open_until - starts) * dice.random()) if used and open_until > starts else ""
            )
            rows.append(
                [
                    f"C{customer.number}-{number}",
                    customer.number,
                    f"£{value} off your next order",
                    value,
                    "GBP",
                    iso(starts),
                    iso(expires),
                    redeemed,
                ]
            )
    return rows


def make_events(customers: Sequence[Customer], products: Sequence[Any]) -> list[dict[str, Any]]:
    """Objects of events.jsonl, in the order of time within each customer."""
    events = []
    for customer in customers:
        dice = customer.dice("events")
        mine: list[tuple[datetime, str, dict[str, Any]]] = [
            (joined_at(customer), "signed_up", {"form": dice.choice(["checkout", "footer", "fair"])})
        ]
        for _ in range(dice.choice([0, 0, 1, 2, 4, 7])):
            code, title, price = dice.choice(products)
            at = DEMO_DAY - timedelta(minutes=dice.randint(10, 21 * 24 * 60))
            mine.append((at, "product_viewed", {"product": code, "title": title, "price": float(price)}))
        if dice.random() < 0.05:
            mine.append(
                (
                    DEMO_DAY - timedelta(minutes=dice.randint(60, 9 * 24 * 60)),
                    "review_written",
                    {"stars": dice.randint(1, 5)},
                )
            )
        for number, (at, name, properties) in enumerate(sorted(mine, key=lambda event: event[:2]), start=1):
            told = {"id": f"{customer.number}-{number}", "customer": customer.number, "name": name}
            events.append({**told, "at": iso(at), "properties": properties})
    return events


def make_suppressions(customers: Sequence[Customer]) -> list[list[Any]]:
    """Rows of suppressions.csv: mailboxes that bounced, complained or asked to be left alone."""
    rows: list[list[Any]] = [["email", "topic", "reason", "at", "source"]]
    reasons = (("unsubscribed", "offers"), ("unsubscribed", ""), ("bounced", ""), ("complained", ""))
    chosen = [c for c in customers if c.dice("suppressed").random() < 0.015 and not c.keen]
    for customer, (reason, topic) in zip(chosen, reasons * len(chosen), strict=False):
        at = DEMO_DAY - timedelta(minutes=customer.dice("suppressed").randint(600, 200_000))
        rows.append(
            [f"customer.{customer.number}@example.com", topic, reason, iso(at), "the mail program before"]
        )
    return rows


def write_csv(path: Path, rows: Iterable[Sequence[Any]]) -> None:
    """Write rows as CSV in UTF-8 with plain line ends."""
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(rows)


def main(source: str, target: str) -> None:
    """Read the slice, write the files."""
    folder = Path(target)
    folder.mkdir(parents=True, exist_ok=True)
    customers, products = read_slice(Path(source))
    share_mailboxes(customers)
    carts, lines = make_carts(customers, products)
    write_csv(folder / "customers.csv", make_customers(customers))
    write_csv(folder / "consents.csv", make_consents(customers))
    write_csv(folder / "carts.csv", carts)
    write_csv(folder / "cart_lines.csv", lines)
    write_csv(folder / "coupons.csv", make_coupons(customers))
    write_csv(folder / "suppressions.csv", make_suppressions(customers))
    with (folder / "events.jsonl").open("w", encoding="utf-8", newline="") as file:
        file.writelines(
            f"{json.dumps(event, ensure_ascii=False)}\n" for event in make_events(customers, products)
        )


if __name__ == "__main__":
    main(*sys.argv[1:])
