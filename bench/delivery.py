"""The whole delivery path, beside the obvious one: EmailMessage and smtplib doing the same mails.

Drumbeat: claim, check, render, sign links, MIME, mark, hand over by SMTP, journal, record. The obvious way: one
query for the customers, the same templates and links, EmailMessage, one smtplib connection kept open, nothing
written down. Both hand over to the same sink, which throws everything away.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from bench.setting import AS_OF

BACKLOG = "1024"


@contextmanager
def sink(folder: Path) -> Iterator[tuple[int, str]]:
    """Run an SMTP sink on loopback; yield its port and name: postfix's smtp-sink where it is installed."""
    program = shutil.which("smtp-sink", path=os.environ["PATH"] + ":/usr/sbin:/usr/libexec/postfix")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    if program is not None:
        as_nobody = ["-u", "nobody"] if os.geteuid() == 0 else []
        words, name = [program, *as_nobody, f"127.0.0.1:{port}", BACKLOG], "smtp-sink"
    else:
        words, name = [sys.executable, str(Path(__file__).with_name("sink.py")), str(port)], "bench/sink.py"
    with subprocess.Popen(words, cwd=folder) as process:
        try:
            _wait_for(port)
            yield port, name
        finally:
            process.kill()


def _wait_for(port: int) -> None:
    for _ in range(200):
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise SystemExit("the SMTP sink does not answer")


def fill(url: str, count: int) -> None:
    """Put `count` customers with consent and a planned newsletter each into an empty store."""
    from drumbeat.ingest.people import email_key
    from drumbeat.store.dialect.bulk import append
    from drumbeat.store.engine import connect, writing
    from drumbeat.store.tables import consents, customers, messages, outbox, runs

    engine = connect(url)
    first, last = ("Zoë", "Ann", "Jürgen", "Mary", "Olu", "Mei"), ("Lee", "O'Neil", "Weiß", "Okafor")

    def rows(table: Any, made: list[dict[str, Any]], connection: Any) -> None:
        defaults = {"seed": False, "attributes": {}, "step": "mail", "channel": "mail", "attempts": 0}
        append(
            connection,
            table,
            [[row.get(c.name, defaults.get(c.name)) for c in table.columns] for row in made],
        )

    with writing(engine) as connection:
        run = {"kind": "plan", "as_of": AS_OF, "started_at": AS_OF, "summary": {}}
        run_id = connection.execute(runs.insert().values(run).returning(runs.c.id)).scalar_one()
        for start in range(1, count + 1, 10_000):
            ids = range(start, min(start + 10_000, count + 1))
            people = [
                {
                    "id": i,
                    "external_id": f"c{i}",
                    "person_id": i,
                    "email": f"reader.{i}@mail{i % 50}.example.com",
                    "email_key": email_key(f"reader.{i}@mail{i % 50}.example.com"),
                    "first_name": first[i % len(first)],
                    "last_name": last[i % len(last)],
                    "country": "GB",
                    "loaded_at": AS_OF,
                }
                for i in ids
            ]
            rows(customers, people, connection)
            granted = {"topic": "news", "granted": True, "at": AS_OF, "loaded_at": AS_OF}
            rows(consents, [{"customer_id": i, **granted} for i in ids], connection)
            planned = {
                "run_id": run_id,
                "campaign": "newsletter",
                "occasion": "schedule:2026-06-15T08:00+01:00",
                "sender": "shop",
                "kind": "marketing",
                "topic": "news",
                "template": "newsletter",
                "priority": 50,
                "obeys_cap": True,
                "counts_toward_cap": True,
                "state": "planned",
                "planned_at": AS_OF,
                "due_at": AS_OF,
            }
            rows(messages, [{"id": i, "customer_id": i, **planned} for i in ids], connection)
            waits = {"due_at": AS_OF, "priority": 50}
            rows(outbox, [{"message_id": i, **waits} for i in ids], connection)
        # A store in use has statistics; one just filled has none, and PostgreSQL then joins in a bad order.
        connection.exec_driver_sql("ANALYZE")
    engine.dispose()


def by_drumbeat(url: str, project: str, port: int) -> int:
    """Deliver all that is due with one worker; return how many mails were accepted."""
    from drumbeat.clock import ShiftedClock
    from drumbeat.outbox.deliver import deliver
    from drumbeat.project.load import load_project
    from drumbeat.store.engine import connect

    engine = connect(url)
    delivered = deliver(engine, _project(load_project(Path(project)), port), clock=ShiftedClock(AS_OF))
    engine.dispose()
    return delivered.sent


def by_hand(url: str, project: str, port: int, limit: int) -> int:
    """Send the first `limit` mails with EmailMessage and smtplib; return how many were accepted."""
    import smtplib
    from email.headerregistry import Address
    from email.message import EmailMessage
    from email.policy import SMTP
    from email.utils import format_datetime

    from sqlalchemy import select

    from drumbeat.project.load import load_project
    from drumbeat.rendering.links import Links, tracked
    from drumbeat.rendering.secret import load_secrets
    from drumbeat.rendering.templates import Templates
    from drumbeat.store.engine import connect, reading
    from drumbeat.store.tables import customers, messages

    config = load_project(Path(project)).config
    sender = config.senders["shop"]
    links = Links(config.tracking.base_url, load_secrets(Path(project), config.tracking.secret_env))
    template = Templates(Path(project) / "templates", config.language).load("newsletter")
    engine = connect(url)
    sent = 0
    with smtplib.SMTP("127.0.0.1", port) as server, reading(engine) as connection:
        found = connection.execution_options(stream_results=True, yield_per=500).execute(
            select(messages.c.id.label("message_id"), customers)
            .join(customers, customers.c.id == messages.c.customer_id)
            .order_by(messages.c.id)
            .limit(limit)
        )
        for row in found.mappings():
            unsubscribe_url = links.unsubscribe(row["message_id"])
            context = {
                "customer": row,
                "sender": {"name": sender.name, "postal_address": sender.postal_address},
                "unsubscribe_url": unsubscribe_url,
                "currency": config.currency,
            }
            rendered = template.render(context)
            mail = EmailMessage(policy=SMTP)
            mail["From"] = Address(sender.name, addr_spec=sender.address)
            mail["To"] = Address(f"{row['first_name']} {row['last_name']}", addr_spec=row["email"])
            mail["Subject"] = rendered.subject
            mail["Date"] = format_datetime(datetime.now(AS_OF.tzinfo))
            mail["Message-ID"] = f"<{row['message_id']}@shop.example>"
            mail["List-Unsubscribe"] = f"<{unsubscribe_url}>"
            mail["List-Unsubscribe-Post"] = "List-Unsubscribe=One-Click"
            mail.set_content(rendered.text)
            mail.add_alternative(tracked(rendered.html, links, row["message_id"]), subtype="html")
            server.send_message(mail)
            sent += 1
    engine.dispose()
    return sent


def left(url: str) -> dict[str, int]:
    """Return how many messages are in which state: after a run all must be sent."""
    from sqlalchemy import func, select

    from drumbeat.store.engine import connect, reading
    from drumbeat.store.tables import messages

    engine = connect(url)
    with reading(engine) as connection:
        rows = connection.execute(select(messages.c.state, func.count()).group_by(messages.c.state))
        found = dict(rows.tuples().all())
    engine.dispose()
    return found


def _project(loaded: Any, port: int) -> Any:
    """Return the project with the sink's port."""
    from dataclasses import replace

    delivery = loaded.config.delivery
    smtp = delivery.smtp.model_copy(update={"host": "127.0.0.1", "port": port})
    config = loaded.config.model_copy(update={"delivery": delivery.model_copy(update={"smtp": smtp})})
    return replace(loaded, config=config)
