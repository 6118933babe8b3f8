"""The three runs, as functions: what the flows and `drumbeat run` call.

    collect    imports what changed, takes back hand-overs that were cut off, works on what came in
    evaluate   decides who gets which mail
    deliver    hands over what is due

Each returns an `Account`: its figures, for JSON, for a table and for a Markdown page. Prefect is not
imported here; flows/ of the project wraps each function in a flow.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from hashlib import file_digest
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import insert, select

from drumbeat.clock import Clock, FixedClock, SystemClock, zone
from drumbeat.errors import DeliveryError, InputError, ProjectError, StoreError
from drumbeat.project.load import Project, load_project
from drumbeat.project.store import open_store
from drumbeat.store.engine import reading, writing
from drumbeat.store.tables import runs

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from drumbeat.responses.inbox import Desk
    from drumbeat.responses.webhooks import Webhook

RETRIED = (StoreError, DeliveryError)
"""What may be gone a minute later: the database or the mail server was away. The rest needs a person."""


def may_help(_task: object, _run: object, state: Any) -> bool:
    """Say whether a retry of a flow's task may help: its `retry_condition_fn`. `state`: Prefect's, that failed."""
    return isinstance(state.result(raise_on_failure=False), RETRIED)


@dataclass(frozen=True)
class Account:
    """What a run did. `figures` is what `drumbeat run --json` prints, `rows` the same for people."""

    run: str
    as_of: datetime
    headline: str
    figures: Mapping[str, Any]
    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]

    def markdown(self) -> str:
        """Return the account as a Markdown page, for Prefect's artifacts."""
        lines = [f"## {self.headline}", "", f"As of {self.as_of.isoformat()}", ""]
        if self.rows:
            lines.append("| " + " | ".join(self.columns) + " |")
            lines.append("|" + " --- |" * len(self.columns))
            lines += ["| " + " | ".join(_cell(value) for value in row) + " |" for row in self.rows]
        return "\n".join(lines) + "\n"

    def table(self) -> list[dict[str, Any]]:
        """Return the rows as dictionaries, for Prefect's table artifact."""
        return [dict(zip(self.columns, map(_cell, row), strict=True)) for row in self.rows]

    def to_json(self) -> dict[str, Any]:
        """Return the account as `drumbeat run --json` prints it; the shape is in docs/commands.md."""
        return {
            "run": self.run,
            "as_of": self.as_of.isoformat(),
            "headline": self.headline,
            "figures": dict(self.figures),
        }


def _cell(value: Any) -> str:
    return "" if value is None else str(value).replace("|", "\\|")


@contextmanager
def opened(root: Path) -> Iterator[tuple[Engine, Project]]:
    """Load the project in `root` and open its store; closes it at the end."""
    project = load_project(root)
    engine = open_store(project)
    try:
        yield engine, project
    finally:
        engine.dispose()


def clock_at(as_of: datetime | None, project: Project) -> Clock:
    """Return the machine's clock, or one that stands at `as_of`; without a zone that is the project's.

    It stands, so that the same run on a slower machine does the same.
    """
    if as_of is None:
        return SystemClock()
    return FixedClock(as_of if as_of.tzinfo else as_of.replace(tzinfo=zone(project.config.time_zone)))


def evaluate(
    engine: Engine,
    project: Project,
    *,
    clock: Clock,
    campaigns: Collection[str] = (),
    dry_run: bool = False,
) -> Account:
    """Decide about every candidate and fill the outbox. No campaigns named: all that are enabled.

    Raises ProjectError, and plans nothing, where a mail of an enabled campaign has a fault: its messages
    would only fail at delivery.
    """
    from drumbeat.planning.plan import plan
    from drumbeat.project.check import faults_of_mails

    if not dry_run and (faults := faults_of_mails(project)):
        raise ProjectError(faults)
    result = plan(engine, project, as_of=clock.now(), campaigns=list(campaigns) or None, dry_run=dry_run)
    reasons = sorted({reason for campaign in result.campaigns for reason in campaign.skipped})
    rows = [
        (c.campaign, c.candidates, c.planned, c.deferred, *(c.skipped.get(reason, 0) for reason in reasons))
        for c in result.campaigns
    ]
    kept = " (dry run: nothing kept)" if dry_run else ""
    return Account(
        "evaluate",
        result.as_of,
        f"{result.planned} mails planned in {len(rows)} campaigns{kept}",
        result.to_json(),
        ("campaign", "candidates", "planned", "deferred", *reasons),
        rows,
    )


def deliver(
    engine: Engine,
    project: Project,
    *,
    clock: Clock,
    limit: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> Account:
    """Hand over what is due, at most `limit` mails; `progress` is called with how many are done."""
    from dataclasses import asdict

    from drumbeat.outbox.deliver import deliver as hand_over

    as_of = clock.now()
    # A clock that stands still would wait for ever.
    sleep = None if isinstance(clock, FixedClock) else time.sleep
    figures = asdict(hand_over(engine, project, clock=clock, limit=limit, progress=progress, sleep=sleep))
    return Account(
        "deliver",
        as_of,
        f"{figures['sent']} mails sent",
        figures,
        ("outcome", "mails"),
        [(outcome, count) for outcome, count in figures.items() if isinstance(count, int)],
    )


def collect(engine: Engine, project: Project, *, clock: Clock) -> Account:
    """Work on what came in, import the files of `imports:` that changed, and settle hand-overs that were cut off.

    What came in: webhook calls, and the mails of the mailbox that `bounces:` names. A file counts as changed when
    its content or its mapping's differs from the last collect's. Raises InputError for a file that cannot be read;
    those before it stay imported. Raises DeliveryError, after all else is done, where the mailbox cannot be read.
    Once a local day what is over its time is removed (`retention`).
    """
    as_of = clock.now()
    known = _last_digests(engine)
    seen: dict[str, str] = {}
    imported: list[dict[str, Any]] = []
    mailbox, fault = _fetch_mail(engine, project, clock)
    came_in = {**respond(engine, project, clock=clock), "mails": mailbox}
    retained = _retain_once_a_day(engine, project, clock)
    try:
        for source in project.config.imports:
            digest = _digest(project.root / source.file, project.root / source.mapping)
            if known.get(source.file) != digest:
                imported.append(_import(engine, project, source.file, source.mapping, clock))
            seen[source.file] = digest
    finally:
        cut_off = _settle_cut_off(engine, clock)
        figures = {
            "imported": imported,
            "unchanged": len(seen) - len(imported),
            "cut_off": cut_off,
            "came_in": came_in,
            "retention": retained,
        }
        with writing(engine) as connection:
            connection.execute(
                insert(runs).values(
                    kind="collect",
                    as_of=as_of,
                    started_at=as_of,
                    finished_at=clock.now(),
                    summary={**figures, "digests": known | seen},
                )
            )
    if fault is not None:
        raise fault
    columns = ("file", "read", "inserted", "updated", "unchanged", "repeated", "skipped", "rejected")
    rows = [tuple(one[column] for column in columns) for one in imported]
    return Account(
        "collect",
        as_of,
        f"{len(imported)} files imported, {cut_off} hand-overs that were cut off are settled,"
        f" {came_in['responses']} responses came in",
        figures,
        columns,
        rows,
    )


def _fetch_mail(engine: Engine, project: Project, clock: Clock) -> tuple[int, DeliveryError | None]:
    """Store what is in the bounce mailbox; return how many mails, and why it could not be read."""
    if project.config.bounces is None:
        return 0, None
    from drumbeat.responses.bounces.collect import collect as fetch

    try:
        return fetch(engine, project.config.bounces, project.root, clock).taken, None
    except DeliveryError as error:
        return 0, error


def respond(engine: Engine, project: Project, *, clock: Clock) -> dict[str, int]:
    """Work on the webhook calls and mails that are stored and not worked on yet; return the figures.

    `done`, `failed` and `waiting` are calls and mails, `responses` what they told that was new, `suppressed`
    addresses. `drumbeat serve` does the same every second.
    """
    from drumbeat.responses.inbox import work

    desk, _ = incoming(project, clock=clock)
    worked = work(engine, desk)
    return {
        "done": worked.done,
        "failed": worked.failed,
        "waiting": worked.waiting,
        "responses": worked.stored,
        "suppressed": worked.suppressed,
    }


def incoming(project: Project, *, clock: Clock) -> tuple[Desk, Mapping[str, str]]:
    """Return what work on the inbox needs, and why webhooks of the other providers are not served, by name.

    Served is a provider with settings under `delivery:` whose environment variables are set. Raises ProjectError
    for faults in machines.yaml, UsageError without the links' secret.
    """
    from drumbeat.rendering.links import Links
    from drumbeat.rendering.secret import load_secrets
    from drumbeat.responses.inbox import Desk
    from drumbeat.responses.machines import load_machines
    from drumbeat.responses.webhooks.providers import WEBHOOKS

    config = project.config
    served: dict[str, Webhook] = {}
    unserved: dict[str, str] = {}
    for name, make in WEBHOOKS.items():
        settings = getattr(config.delivery, name, None)
        if settings is None:
            unserved[name] = f"delivery.{name} is not in project.yaml"
            continue
        try:
            served[name] = make(settings)
        except DeliveryError as error:
            unserved[name] = str(error)
    tracking = config.tracking
    links = Links(tracking.base_url, load_secrets(project.root, tracking.secret_env))
    desk = Desk(links, clock, served, load_machines(project.root), config.responses.soft_bounces)
    return desk, unserved


def report(engine: Engine, project: Project, *, clock: Clock) -> Account:
    """Say what became of each campaign, over all its messages."""
    from drumbeat.reporting.funnel import make_report

    made = make_report(engine, project, as_of=clock.now())
    columns = (
        *("campaign", "candidates", "planned", "skipped", "expired", "deferred"),
        *("sent", "opened", "clicked", "ordered", "revenue"),
    )
    rows = [
        (one.campaign, *(getattr(one.figures, name) for name in columns[1:-1]), f"{one.figures.revenue:.2f}")
        for one in made.campaigns
    ]
    totals = made.totals
    headline = (
        f"{totals.sent} sent, {totals.opened} opened, {totals.clicked} clicked, {totals.ordered} ordered"
    )
    return Account("report", made.as_of, headline, made.as_json(), columns, rows)


def retention(
    engine: Engine,
    project: Project,
    *,
    clock: Clock,
    dry_run: bool = False,
    progress: Callable[[int], None] | None = None,
) -> Account:
    """Remove what is over its time by `retention:` of project.yaml; `progress` is called with the rows so far."""
    from drumbeat.privacy.erase import Terms
    from drumbeat.privacy.retention import retain
    from drumbeat.store import audit

    terms = Terms.of(project, clock.now(), audit.actor())
    result = retain(engine, project.config.retention, terms, dry_run=dry_run, progress=progress)
    return Account(
        "retention",
        result.at,
        f"{result.total} rows {'would go' if dry_run else 'are over their time and gone'}",
        {"dry_run": dry_run, "rules": [one.as_json() for one in result.outcomes]},
        ("rule", "kept for", "rows"),
        [(one.rule, one.kept_for, one.rows) for one in result.outcomes],
    )


def _retain_once_a_day(engine: Engine, project: Project, clock: Clock) -> dict[str, int] | None:
    """Run retention where it did not run yet on this local day; return the rows by rule."""
    from drumbeat.privacy.retention import due

    if not due(engine, clock.now(), project.config.time_zone):
        return None
    rules = retention(engine, project, clock=clock).figures["rules"]
    return {one["rule"]: one["rows"] for one in rules if one["rows"]}


def _import(engine: Engine, project: Project, file: str, mapping: str, clock: Clock) -> dict[str, Any]:
    from drumbeat.ingest.load import import_file
    from drumbeat.ingest.mapping import read_mapping
    from drumbeat.privacy.keys import erased_of

    done = import_file(
        engine,
        project.root / file,
        read_mapping(project.root / mapping, project.config.time_zone, project.config.country),
        loaded_at=clock.now(),
        erased=erased_of(project),
    )
    counts = ("read", "inserted", "updated", "unchanged", "repeated", "rejected")
    skipped = sum(done.skipped.values())
    return {"file": file, **{name: getattr(done, name) for name in counts}, "skipped": skipped}


def _settle_cut_off(engine: Engine, clock: Clock) -> int:
    from drumbeat.outbox.recover import recover

    return recover(engine, at=clock.now())


def _last_digests(engine: Engine) -> dict[str, str]:
    with reading(engine) as connection:
        summary = connection.execute(
            select(runs.c.summary).where(runs.c.kind == "collect").order_by(runs.c.id.desc()).limit(1)
        ).scalar()
    digests: dict[str, str] = (summary or {}).get("digests", {})
    return digests


def _digest(*files: Path) -> str:
    digests = []
    for path in files:
        try:
            with path.open("rb") as file:
                digests.append(file_digest(file, "sha256").hexdigest())
        except OSError as error:
            raise InputError(
                f"cannot read {path}: {error.strerror}; project.yaml names it under imports"
            ) from None
    return ":".join(digests)
