"""The whole way out and back, with real programs only: what comes back on one day holds on the next.

`drumbeat deliver` hands mails over, by STARTTLS, login and pipelining, to a real SMTP server that defers,
refuses, drops the connection at each step, answers slowly and dies, by script. Reports, complaints and answers
about those mails come back into a maildir, webhook calls and an unsubscribe to a real `drumbeat serve`. On the
next day everybody has a new cart.
"""

from __future__ import annotations

import base64
import json
import os
import re
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import requests
from servers.postmaster import Postmaster, as_json
from servers.shop import fill, make_shop
from servers.smtp import PROGRAM, Certificate, make_certificate
from sqlalchemy import Engine, func, insert, select

from drumbeat.store.engine import connect, reading, writing
from drumbeat.store.tables import carts, customers, messages, outbox, responses, suppressions
from drumbeat.store.upgrade import upgrade

pytestmark = [pytest.mark.slow, pytest.mark.smtp]

READERS = 40
DAY_ONE = datetime(2026, 1, 5, 10, tzinfo=UTC)
DAY_TWO = DAY_ONE + timedelta(days=1)
MAILGUN_KEY = "a key of mailgun's"  # gitleaks:allow
SCRIPT = {
    # Each misbehaves once; what was only put off is taken the next time.
    "once": True,
    "mail": {"": "421 4.3.2 come back later"},
    "rcpt": {
        "r1@": "550 5.1.1 <r1@example.com>: user unknown",
        "r2@": "451 4.7.1 greylisted, try again in 90 seconds",
        "r3@": "drop",
        "r11@": "drip:0.01",
    },
    "data": {"r5@": "drop", "r6@": "begin+drop"},
    "content": {
        "r7@": "keep+drop",
        "r8@": "452 4.3.1 insufficient system storage",
        "r9@": "554 5.7.1 looks like spam",
        "r10@": "sleep:1",
        "r12@": "exit",
    },
}


@pytest.fixture
def ledger(store_url: str) -> Iterator[Engine]:
    """A store as `drumbeat db upgrade` leaves it, on both databases."""
    engine = connect(store_url)
    upgrade(engine)
    yield engine
    engine.dispose()


class Mailserver:
    """The receiving side: may die and be started again at the same port, with the same log."""

    def __init__(self, folder: Path, certificate: Certificate) -> None:
        self.log = folder / "mails.jsonl"
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self.port = probe.getsockname()[1]
        self._words = [sys.executable, str(PROGRAM), "--log", str(self.log), "--port", str(self.port)]
        self._words += ["--keep-content", "--user", "shop:secret", "--auth-after-tls"]
        self._words += ["--certificate", str(certificate.certificate), "--key", str(certificate.key)]
        self._process: subprocess.Popen[str] | None = None
        self.deaths = 0

    def start(self, script: dict[str, Any]) -> None:
        words = [*self._words, "--script", json.dumps(script)]
        self._process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        assert int(self._process.stdout.readline()) == self.port

    def start_again_if_dead(self) -> None:
        assert self._process is not None
        if self._process.poll() is not None:
            self.deaths += 1
            self.stop()
            self.start({})

    def stop(self) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.communicate()

    @property
    def mails(self) -> list[dict[str, Any]]:
        found = [json.loads(line) for line in self.log.read_text().splitlines()]
        return [m | {"text": base64.b64decode(m["content"]).decode().replace("\r\n", "\n")} for m in found]


class Company:
    """A shop's project and the commands that its people and its cron would type."""

    def __init__(self, root: Path, store_url: str, server: Mailserver, ca: Path) -> None:
        self.root = root
        smtp = {
            "host": "127.0.0.1",
            "port": server.port,
            "tls": "starttls",
            "ca_file": str(ca),
            "username_env": "SHOP_USER",
            "password_env": "SHOP_PASSWORD",
            "timeout": "5s",
            "content_timeout": "10s",
        }
        make_shop(root, {"backend": "smtp", "smtp": smtp, "mailgun": {"webhook_key_env": "MAILGUN_HOOK"}})
        config = json.loads((root / "project.yaml").read_text())
        config["senders"]["shop"]["bounces"] = "bounces@mail.shop.example"
        config["bounces"] = {"maildir": "bounced"}
        self.port = _free_port()
        config["tracking"] = {"base_url": f"http://127.0.0.1:{self.port}"}
        (root / "project.yaml").write_text(json.dumps(config))
        self.env = {
            **os.environ,
            "DRUMBEAT_DATABASE_URL": store_url,
            "DRUMBEAT_SECRET": "0123456789abcdef" * 2,
            "SHOP_USER": "shop",
            "SHOP_PASSWORD": "secret",
            "POSTMARK_WEBHOOK_USERNAME": "postmark",
            "POSTMARK_WEBHOOK_PASSWORD": "hook",
            "MAILGUN_HOOK": MAILGUN_KEY,
        }
        for name in ("PREFECT_API_URL", "PREFECT_PROFILE"):
            self.env.pop(name, None)

    def drumbeat(self, *words: str, at: datetime, may_fail: bool = False) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "drumbeat", *words, "-C", str(self.root), "--as-of", at.isoformat()]
        done = subprocess.run(command, env=self.env, capture_output=True, text=True, timeout=120, check=False)
        assert may_fail or done.returncode == 0, done.stderr
        return done

    @contextmanager
    def serving(self, at: datetime) -> Iterator[None]:
        words = [sys.executable, "-m", "drumbeat", "serve", "-C", str(self.root)]
        words += ["--port", str(self.port), "--as-of", at.isoformat()]
        with subprocess.Popen(words, env=self.env, stdout=subprocess.PIPE, text=True) as process:
            try:
                assert process.stdout is not None
                assert "Listening" in process.stdout.readline()
                yield
            finally:
                process.terminate()
                process.wait(20)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


def deliver_all(company: Company, server: Mailserver, engine: Engine, start: datetime) -> None:
    """Deliver again and again, as cron does, until nothing waits; a dead mail server is started again."""
    at = start
    for _ in range(30):
        company.drumbeat("deliver", at=at, may_fail=True)
        server.start_again_if_dead()
        with reading(engine) as connection:
            if not connection.execute(select(func.count()).select_from(outbox)).scalar():
                return
        at += timedelta(minutes=2)
    raise AssertionError("the outbox does not become empty")


def states_of(engine: Engine) -> dict[str, dict[str, str]]:
    """Return, by address, the state of each occasion's message."""
    found: dict[str, dict[str, str]] = {}
    with reading(engine) as connection:
        rows = connection.execute(
            select(customers.c.email, messages.c.occasion, messages.c.state, messages.c.reason).join(
                messages, messages.c.customer_id == customers.c.id
            )
        )
        for email, occasion, state, reason in rows:
            found.setdefault(email.partition("@")[0], {})[occasion.partition(":")[2][0]] = (
                f"{state}: {reason}" if reason else state
            )
    return found


def new_carts(engine: Engine) -> None:
    """Give everybody another cart on the second day: occasion `cart:b<n>`."""
    with writing(engine) as connection:
        connection.execute(
            insert(carts),
            [
                {
                    "id": 1000 + n,
                    "external_id": f"b{n}",
                    "customer_id": n,
                    "updated_at": DAY_TWO - timedelta(hours=1),
                    "total": 30,
                    "loaded_at": DAY_TWO - timedelta(hours=1),
                }
                for n in range(1, READERS + 1)
            ],
        )


def come_back(company: Company, server: Mailserver) -> None:
    """Let the receiving sides tell what became of the first day's mails."""
    at = DAY_ONE + timedelta(hours=2)
    postmaster = Postmaster(company.root / "bounced", {mail["to"]: mail for mail in server.mails})
    postmaster.bounce("r13@example.com", "5.1.1", "550 5.1.1 user unknown")
    postmaster.complain("r14@example.com")
    postmaster.bounce("r15@example.com", "4.2.2", "452 4.2.2 mailbox full")
    postmaster.answer_away("r16@example.com")
    with company.serving(at):
        base = f"http://127.0.0.1:{company.port}"

        def hook(name: str, body: dict[str, Any], status: int = 200, **more: Any) -> None:
            headers = {"Content-Type": "application/json"}
            answer = requests.post(
                f"{base}/hooks/{name}", data=as_json(body), headers=headers, timeout=10, **more
            )
            assert answer.status_code == status, answer.text

        mine = ("postmark", "hook")
        dead = postmaster.postmark("r17@example.com", "Bounce", at, Type="HardBounce", TypeCode=1)
        hook("postmark", dead, auth=mine)
        hook("postmark", dead, auth=mine)
        forged = postmaster.postmark("r20@example.com", "Bounce", at, Type="HardBounce", TypeCode=1)
        hook("postmark", forged, status=403, auth=("postmark", "guess"))
        # What was cut off after the content had arrived: the provider knows, and says so.
        hook("postmark", postmaster.postmark("r7@example.com", "Delivery", at), auth=mine)
        hook("mailgun", postmaster.mailgun("r18@example.com", "complained", at, MAILGUN_KEY))
        old = postmaster.mailgun("r21@example.com", "complained", at - timedelta(hours=1), MAILGUN_KEY)
        hook("mailgun", old, status=403)
        text = postmaster.mails["r19@example.com"]["text"]
        one_click = re.search(r"^List-Unsubscribe: <(http[^>]+)>", text, re.MULTILINE)
        assert one_click is not None
        answer = requests.post(one_click.group(1), data={"List-Unsubscribe": "One-Click"}, timeout=10)
        assert answer.status_code == 200
        # The server works on what it was told by itself.
        deadline = time.monotonic() + 30
        engine = connect(company.env["DRUMBEAT_DATABASE_URL"])
        while time.monotonic() < deadline:
            with reading(engine) as connection:
                keys = set(connection.execute(select(suppressions.c.email_key)).scalars())
            if {"r17@example.com", "r18@example.com", "r19@example.com"} <= keys:
                break
            time.sleep(0.1)
        engine.dispose()
    company.drumbeat("run", "collect", at=at + timedelta(minutes=10))


def test_what_comes_back_on_one_day_holds_on_the_next(ledger: Engine, store_url: str, tmp_path: Path) -> None:
    fill(ledger, READERS, DAY_ONE)
    certificate = make_certificate(tmp_path)
    server = Mailserver(tmp_path, certificate)
    server.start(SCRIPT)
    try:
        company = Company(tmp_path / "shop", store_url, server, certificate.ca)
        deliver_all(company, server, ledger, DAY_ONE)

        arrived = Counter(mail["to"].partition("@")[0] for mail in server.mails)
        assert server.deaths == 1
        assert max(arrived.values()) == 1, "nobody got a mail twice"
        assert all(mail["encrypted"] and mail["pipelined"] for mail in server.mails)
        ended = {name: by_cart["a"] for name, by_cart in states_of(ledger).items()}
        odd = {name: state for name, state in ended.items() if state != "sent"}
        assert odd.pop("r1") == "refused"
        assert odd.pop("r9") == "refused"
        assert odd.pop("r7") == "uncertain"
        assert arrived["r7"] == 1
        # Cut off while or after the content was on its way: the program cannot know, and does not send again.
        for name in ("r6", "r12"):
            assert odd.pop(name, "sent") in ("uncertain", "sent")
            assert arrived[name] == (ended[name] == "sent")
        assert odd == {}, "everything else was put off at most, and went out"
        assert {name for name, state in ended.items() if state == "sent"} <= arrived.keys()

        come_back(company, server)
        with reading(ledger) as connection:
            why = dict(
                connection.execute(select(suppressions.c.email_key, suppressions.c.reason)).tuples().all()
            )
            kinds = Counter(connection.execute(select(responses.c.kind)).scalars())
        assert why == {
            "r1@example.com": "bounced",
            "r13@example.com": "bounced",
            "r14@example.com": "complained",
            "r17@example.com": "bounced",
            "r18@example.com": "complained",
            "r19@example.com": "unsubscribed",
        }
        # A soft bounce, as r15's, is a bounce too; an absent reader's answer is none.
        assert (kinds["bounced"], kinds["complained"], kinds["autoresponded"]) == (4, 2, 1)
        assert states_of(ledger)["r7"]["a"] == "sent", "the provider said that it was delivered"

        new_carts(ledger)
        company.drumbeat("run", "evaluate", at=DAY_TWO)
        deliver_all(company, server, ledger, DAY_TWO)
    finally:
        server.stop()
    second = {name: by_cart["b"] for name, by_cart in states_of(ledger).items()}
    kept_away = {key.partition("@")[0] for key in why}
    assert {name for name, state in second.items() if state.startswith("skipped")} == kept_away
    # The one that unsubscribed took consent back as well; each of the others is suppressed.
    assert {second[name] for name in kept_away} == {"skipped: suppressed"}
    assert {state for name, state in second.items() if name not in kept_away} == {"sent"}
    both_days = Counter(mail["to"].partition("@")[0] for mail in server.mails)
    assert all(both_days[name] <= 1 for name in kept_away)
    assert max(both_days.values()) == 2
