"""`drumbeat demo`: the whole job on real orders, by real servers, in a folder of its own."""

from __future__ import annotations

import contextlib
import os
import re
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import click

from drumbeat.cli.output import show, table
from drumbeat.errors import DrumbeatError

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from drumbeat.project.load import Project
    from drumbeat.runs import Account

FIRST_DAY = datetime(2011, 12, 5, 9, 0, tzinfo=UTC)
"""A Monday near the end of the data, which ends on 2011-12-09."""

DAYS = 8
READS, CLICKS, UNSUBSCRIBES, ORDERS = 120, 24, 3, 5
"""How many mails the made-up readers open, click, unsubscribe from, and order after."""


@dataclass(frozen=True)
class Stage:
    """Where the demo plays: the project's folder, the servers' logs, and since when."""

    root: Path
    logs: Path
    base_url: str
    began: float

    def say(self, text: str) -> None:
        """Print a line with the seconds gone by."""
        click.echo(f"[{time.monotonic() - self.began:6.1f} s] {text}")


@click.command("demo")
@click.option(
    "--keep",
    "folder",
    metavar="DIR",
    type=click.Path(path_type=Path),
    help="Put everything into DIR, a new or empty folder. Default: drumbeat-demo here.",
)
@click.option("--days", default=DAYS, show_default=True, type=click.IntRange(1, 30), help="Days to play.")
@click.option("--stay", is_flag=True, help="Leave Prefect's pages and the readers' server up until Ctrl-C.")
def command(folder: Path | None, days: int, stay: bool) -> None:
    """See the whole job on real orders in a folder of its own.

    Makes a project, imports, plans and delivers for some days by Prefect flows on a server of its own,
    reads some of the mails, and shows the report. The orders are real; people, addresses, consents,
    birthdays, carts and coupons are made up, and so is what readers do.
    """
    from drumbeat.cli.init import make_project
    from drumbeat.cli.processes import free_port

    root = (folder or _free_folder()).resolve()
    make_project(root)
    stage = Stage(root, root / ".drumbeat" / "logs", f"http://127.0.0.1:{free_port()}", time.monotonic())
    stage.logs.mkdir(parents=True)
    _point_links_at(root, stage.base_url)
    stage.say(f"Made a project in {root}")
    os.environ.pop("DRUMBEAT_DATABASE_URL", None)  # the demo never touches a database of yours
    with _prefect(stage) as started:
        _play(stage, started, days, stay=stay)


def _play(stage: Stage, started: Callable[[], str], days: int, *, stay: bool) -> None:
    from drumbeat import runs
    from drumbeat.cli.demo_proof import prove

    with runs.opened(stage.root) as (engine, project):
        _import(stage, engine, project)
        _plan_and_deliver(stage, engine, started(), days)
        last_day = FIRST_DAY + timedelta(days=days - 1)
        ours = _read(stage, engine, last_day, stay=stay)
        account = runs.report(engine, project, clock=runs.clock_at(last_day + timedelta(days=1), project))
        stage.say(f"Report: {account.headline} (the opens, the clicks and {ours} of the orders are made up)")
        show(table(account.columns, account.rows))
        proof = prove(engine, project)
    page = _html_report(stage, last_day + timedelta(days=1))
    cap = project.config.cap
    if proof.most_in_any_span > cap.messages or proof.twice:
        raise DrumbeatError(
            f"a promise is broken: {proof.most_in_any_span} mails to one person, {proof.twice} twice"
        )
    stage.say(
        f"cap held: at most {proof.most_in_any_span} mails to one person in any "
        f"{int(cap.per.total_seconds()) // 3600} h, text messages counted in (allowed: {cap.messages}); "
        f"{proof.kept_away_by_cap} messages kept away by it"
    )
    stage.say(f"nobody twice: {proof.sent} messages to {proof.people} people, each occasion once")
    _what_next(stage, page)


def _import(stage: Stage, engine: Engine, project: Project) -> None:
    from drumbeat import runs

    account = runs.collect(engine, project, clock=runs.clock_at(FIRST_DAY, project))
    for file, read, *_, skipped, rejected in account.rows:
        stage.say(f"Imported {file}: {read:,} rows, {skipped:,} skipped by rule, {rejected:,} rejected")
    stage.say(
        "The orders are real (UCI Online Retail); names, addresses, consents, carts, coupons are made up"
    )


def _plan_and_deliver(stage: Stage, engine: Engine, api: str, days: int) -> None:
    from drumbeat.cli.run import by_flow

    stage.say(f"Evaluating and delivering for {days} days by the flows, on a Prefect server at {api}")
    for day in range(days):
        at = FIRST_DAY + timedelta(days=day)
        planned = by_flow(stage.root, "evaluate", at)
        stage.say(f"{at:%a %Y-%m-%d} evaluate: {_by_campaign(planned)}")
        # Send windows follow each reader's own day: the afternoon reaches those who still slept.
        before = _sent(engine)
        by_flow(stage.root, "deliver", at)
        by_flow(stage.root, "deliver", at + timedelta(hours=8))
        sent = _sent(engine) - before
        stage.say(
            f"{at:%a %Y-%m-%d} deliver: {sent['mail']:,} mails sent into {stage.root / 'mailbox'},"
            f" {sent['sms']} text messages into {stage.root / 'notes'}, {sent['task']} tasks given"
        )


def _sent(engine: Engine) -> Counter[str]:
    """Count the messages that went out, by channel."""
    from sqlalchemy import func, select

    from drumbeat.ledger.states import State
    from drumbeat.store.engine import reading
    from drumbeat.store.tables import messages

    with reading(engine) as connection:
        rows = connection.execute(
            select(messages.c.channel, func.count())
            .where(messages.c.state == State.SENT)
            .group_by(messages.c.channel)
        )
        return Counter(dict(rows.tuples().all()))


def _by_campaign(account: Account) -> str:
    words = []
    for one in account.figures["campaigns"]:
        kept = ", ".join(f"{count} {reason}" for reason, count in one["skipped"].items() if count)
        kept += f"{', ' if kept else ''}{one['deferred']} deferred" if one["deferred"] else ""
        words.append(f"{one['campaign']} {one['planned']} planned" + (f" ({kept})" if kept else ""))
    return "; ".join(words)


def _read(stage: Stage, engine: Engine, day: datetime, *, stay: bool) -> int:
    """Act as readers on a real `drumbeat serve`, let some of them order, and return how many orders."""
    from drumbeat.cli.demo_reader import Reader, read_letter, read_mailbox

    files = read_mailbox(stage.root / "mailbox")
    step = max(1, len(files) // READS)
    letters = [read_letter(file, stage.base_url) for file in files[::step][:READS]]
    clickers = letters[:: max(1, READS // CLICKS)]
    with _serve(stage, day + timedelta(hours=9)):
        reader = Reader()
        try:
            opened, clicked = reader.open(letters), reader.click(clickers)
            gone = reader.unsubscribe(letters[-UNSUBSCRIBES:])
        finally:
            reader.close()
        stage.say(
            f"Read as made-up readers over HTTP: {opened} opened, {clicked} clicked, {gone} unsubscribed"
        )
        if stay:
            _wait(stage)
    return _order(stage, engine, [letter.to for letter in clickers], day)


def _order(stage: Stage, engine: Engine, addresses: list[str], day: datetime) -> int:
    """Write orders of some who clicked into a small file, load it as a shop would, return how many."""
    from sqlalchemy import select

    from drumbeat.store.engine import reading
    from drumbeat.store.tables import customers

    with reading(engine) as connection:
        ids = connection.execute(
            select(customers.c.external_id)
            .where(customers.c.email.in_(addresses))
            .order_by(customers.c.id)
            .limit(ORDERS)
        ).scalars()
        at = day + timedelta(hours=10)
        lines = [
            f"{990001 + n},22423,REGENCY CAKESTAND 3 TIER,2,{at:%Y-%m-%d %H:%M:%S},12.75,{customer},United Kingdom"
            for n, customer in enumerate(ids)
        ]
    file = stage.root / "data" / "demo_orders.csv"
    header = "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country"
    file.write_text("\n".join([header, *lines]) + "\n", encoding="utf-8")
    words = ["import", str(file), "--mapping", str(stage.root / "mappings" / "online_retail.yaml")]
    _drumbeat(stage, *words)
    stage.say(f"Imported {len(lines)} made-up orders of readers who clicked")
    return len(lines)


def _html_report(stage: Stage, at: datetime) -> Path:
    page = stage.root / "report.html"
    _drumbeat(stage, "report", "--as-of", at.isoformat(), "--html", str(page))
    return page


def _drumbeat(stage: Stage, *words: str) -> None:
    """Call a command as a person would."""
    import subprocess

    done = subprocess.run(  # noqa: S603 - the words are ours
        [sys.executable, "-m", "drumbeat", *words],
        cwd=stage.root, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    if done.returncode != 0:
        last = (done.stderr.strip() or "no message").splitlines()[-1]
        raise DrumbeatError(f"`drumbeat {words[0]}` ended with {done.returncode}: {last}")


@contextlib.contextmanager
def _serve(stage: Stage, at: datetime) -> Iterator[None]:
    from drumbeat.cli.processes import child, wait_until_answers

    port = stage.base_url.rpartition(":")[2]
    words = [sys.executable, "-m", "drumbeat", "serve", "--port", port, "--as-of", at.isoformat()]
    log = stage.logs / "serve.log"
    with child(words, log=log, environment=os.environ, folder=stage.root) as process:
        wait_until_answers(f"{stage.base_url}/health", process, log=log)
        yield


@contextlib.contextmanager
def _prefect(stage: Stage) -> Iterator[Callable[[], str]]:
    """Start a Prefect server of the demo's own and point this process at it before Prefect is imported.

    It needs 5 to 30 s, in which the import runs: what is given waits for it and returns the API's URL.
    """
    from drumbeat.cli.processes import child, free_port, prefect_environment, wait_until_answers

    home = stage.root / ".drumbeat" / "prefect"
    home.mkdir(parents=True)
    settings = prefect_environment(home, free_port())
    for name in [name for name in os.environ if name.startswith("PREFECT_")]:
        del os.environ[name]
    os.environ.update(settings)
    log = stage.logs / "prefect.log"
    words = [sys.executable, "-m", "prefect", "server", "start"]
    with child(words, log=log, environment=os.environ, folder=home) as process:
        # Quiet here only: the level also decides what the flows tell the server.
        os.environ["PREFECT_LOGGING_LEVEL"] = "WARNING"
        api = settings["PREFECT_API_URL"]

        def started() -> str:
            wait_until_answers(f"{api}/health", process, log=log)
            return api

        yield started


def _wait(stage: Stage) -> None:
    ui = os.environ["PREFECT_API_URL"].removesuffix("/api")
    stage.say(f"Prefect's pages: {ui}   Press Ctrl-C to go on")
    with contextlib.suppress(KeyboardInterrupt):
        while True:
            time.sleep(1)


def _free_folder() -> Path:
    names = (Path("drumbeat-demo" + (f"-{n}" if n > 1 else "")) for n in range(1, 1000))
    return next(path for path in names if not path.exists())


def _point_links_at(root: Path, base_url: str) -> None:
    file = root / "project.yaml"
    text, count = re.subn(r"(?m)^(\s*base_url:\s*)\S+", rf"\g<1>{base_url}", file.read_text(encoding="utf-8"))
    if count != 1:
        raise DrumbeatError(f"{file} has no tracking.base_url to point at the demo's own server")
    file.write_text(text, encoding="utf-8")


def _what_next(stage: Stage, page: Path) -> None:
    lines: Mapping[str, str] = {
        f"{page}": "the report with pictures",
        f"{stage.root / 'mailbox' / 'new'}": "the mails; any mail program opens the folder as a maildir",
        f"{stage.root / 'notes' / 'sms'}": "the text messages",
        f"cd {stage.root} && drumbeat tasks list": "what is left to do for our own people",
        f"{stage.root / 'campaigns'}": "the campaigns: edit one, then `drumbeat validate` and `drumbeat plan`",
        f"cd {stage.root} && drumbeat explain CUSTOMER": "why somebody got a mail, or did not",
    }
    click.echo("\nWhat to look at next:")
    for what, why in lines.items():
        click.echo(f"  {what}\n      {why}")
