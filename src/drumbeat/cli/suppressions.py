"""`drumbeat suppressions`: addresses that no mail goes to."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from drumbeat.cli.options import json_option, open_engine, open_project, project_option
from drumbeat.cli.output import emit_json, note, show, table
from drumbeat.cli.suppression_lists import export, import_
from drumbeat.cli.suppression_options import address_of, reason_name, reason_option, topic_name, topic_option
from drumbeat.errors import UsageError

if TYPE_CHECKING:
    from drumbeat.responses.look_up import Verdict

SHOWN = 100
WHY = {
    "suppressed": "suppressed",
    "no_consent": "no consent",
    "no_address": "no customer has this address",
    "paused": "the reader takes a break",
}


@click.group("suppressions")
def command() -> None:
    """List, change, exchange and look up the addresses that no mail goes to."""


command.add_command(import_)
command.add_command(export)


@command.command("list")
@topic_option
@reason_option("Only those for this reason.")
@click.option("--domain", metavar="DOMAIN", help="Only addresses of this domain, e.g. example.com.")
@click.option("--limit", default=SHOWN, show_default=True, type=click.IntRange(1), help="Most to show.")
@project_option
@json_option
def list_(
    topic: str | None,
    reason: str | None,
    domain: str | None,
    limit: int,
    project_dir: Path | None,
    as_json: bool,
) -> None:
    """Show suppressions, newest first."""
    from sqlalchemy import func, select

    from drumbeat.store.dialect.words import domain_of
    from drumbeat.store.engine import reading
    from drumbeat.store.tables import suppressions

    s = suppressions.c
    project = open_project(project_dir)
    rules = []
    if topic is not None:
        rules.append(s.topic == topic_name(project, topic))
    if reason is not None:
        rules.append(s.reason == reason_name(reason))
    if domain is not None:
        rules.append(domain_of(s.email_key) == address_of(f"@{domain.removeprefix('@')}")[1:])
    with reading(open_engine(project)) as connection:
        rows = connection.execute(
            select(suppressions).where(*rules).order_by(s.at.desc(), s.id.desc()).limit(limit)
        ).all()
        total = connection.execute(select(func.count()).select_from(suppressions).where(*rules)).scalar_one()
    if as_json:
        emit_json({"total": total, "suppressions": [_plain(row) for row in rows]})
        return
    if not rows:
        click.echo("No address is suppressed." if not rules else "No such suppression.")
        return
    cells = [(row.email_key, row.topic or "all", row.reason, row.at, row.source) for row in rows]
    show(table(["address", "topic", "reason", "since", "source"], cells))
    if total > len(rows):
        note(f"{total - len(rows):,} more; --limit shows more, `drumbeat suppressions export` writes all")


@command.command("add")
@click.argument("address")
@topic_option
@reason_option("manual (default), unsubscribed, complained or bounced.")
@project_option
@json_option
def add(address: str, topic: str | None, reason: str | None, project_dir: Path | None, as_json: bool) -> None:
    """Suppress ADDRESS: a mailbox, or @example.com for all of a domain, tel:+44... or tg:..."""
    from drumbeat.clock import SystemClock
    from drumbeat.responses.suppress import suppress
    from drumbeat.store import audit
    from drumbeat.store.engine import writing

    project, key, now = open_project(project_dir), address_of(address), SystemClock().now()
    name, why, actor = topic_name(project, topic), reason_name(reason or "manual"), audit.actor()
    if why == "erased":
        raise UsageError("`erased` is what `drumbeat customer erase` says; expected another reason")
    if key.startswith("@") and why == "unsubscribed":
        raise UsageError("a reader unsubscribes an address, not a whole domain; for a domain say manual")
    with writing(open_engine(project)) as connection:
        changed = suppress(connection, key, topic=name, reason=why, at=now, source=f"by {actor}")
        detail = {"topic": name, "reason": why, "changed": changed}
        audit.note(connection, now, actor, "suppressions add", key, detail)
    if as_json:
        emit_json({"address": key, "topic": name, "reason": why, "changed": changed})
    elif changed:
        click.echo(f"{key} gets no {_what(name)} any more ({why}).")
    else:
        click.echo(
            f"{key} was suppressed for {name or 'all topics'} already, for the same or a stronger reason."
        )


@command.command("remove")
@click.argument("address")
@topic_option
@click.option("--yes", is_flag=True, help="Do it; without it nothing is changed.")
@project_option
@json_option
def remove(address: str, topic: str | None, yes: bool, project_dir: Path | None, as_json: bool) -> None:
    """Take the suppressions of ADDRESS back, with --yes. Consent that was withdrawn stays withdrawn."""
    from drumbeat.clock import SystemClock
    from drumbeat.responses.suppress import STRENGTH, lift, suppressions_of
    from drumbeat.store import audit
    from drumbeat.store.engine import writing

    project, key = open_project(project_dir), address_of(address)
    name = None if topic is None else topic_name(project, topic)
    with writing(open_engine(project)) as connection:
        standing = [
            row
            for row in suppressions_of(connection, key)
            if row.email_key == key and (name is None or row.topic == name)
        ]
        if not standing:
            raise UsageError(
                f"there is no such suppression of {key}; see `drumbeat suppressions check {key}`"
            )
        if any(row.reason == "erased" for row in standing):
            raise UsageError(f"{key} was erased at its owner's request; that cannot be taken back")
        told = ", ".join(f"{row.topic or 'all topics'} ({row.reason})" for row in standing)
        if not yes:
            raise UsageError(f"this would take back of {key}: {told}; say --yes to do it")
        lift(connection, [key], topics=[row.topic for row in standing], reasons=set(STRENGTH) - {"erased"})
        actor = audit.actor()
        detail = {"removed": [_plain(row) for row in standing]}
        audit.note(connection, SystemClock().now(), actor, "suppressions remove", key, _texts(detail))
    if as_json:
        emit_json({"address": key, "removed": [_plain(row) for row in standing]})
    else:
        click.echo(f"Taken back of {key}: {told}.")
        note(
            "Consent that was withdrawn stays so; `drumbeat suppressions check` tells what still keeps mail away."
        )


@command.command("check")
@click.argument("address")
@project_option
@json_option
def check(address: str, project_dir: Path | None, as_json: bool) -> None:
    """Tell whether ADDRESS gets mail, topic by topic, and what keeps it away."""
    from drumbeat.clock import SystemClock
    from drumbeat.responses.look_up import look_up
    from drumbeat.store.engine import reading

    project, key, now = open_project(project_dir), address_of(address), SystemClock().now()
    with reading(open_engine(project)) as connection:
        verdict = look_up(connection, key, project.config.topics, now)
    if as_json:
        emit_json(verdict)
        return
    for line in told(verdict):
        click.echo(line)


def told(verdict: Verdict) -> list[str]:
    """Return a verdict in lines for people."""
    key = verdict.key
    lines = [f"{key}: {'gets messages' if verdict.any_mail else 'gets no messages'}"]
    whose = ", ".join(verdict.customers) or "no customer has this address"
    lines.append(f"  customer: {whose}")
    lines += [
        f"  suppressed since {one.at:%Y-%m-%d %H:%M} UTC for {one.topic or 'all topics'}: {one.reason}"
        f"{f' ({one.source})' if one.source else ''}{'' if one.key == key else f', as all of {one.key}'}"
        for one in verdict.suppressions
    ]
    for topic, why in verdict.topics.items():
        lines.append(f"  topic {topic}: {'yes' if why is None else f'no, {WHY.get(why, why)}'}")
    service = "yes" if verdict.service is None else f"no, {WHY.get(verdict.service, verdict.service)}"
    lines.append(f"  service messages: {service}")
    if verdict.max_messages is not None:
        lines.append(f"  the reader chose at most {verdict.max_messages} messages in the cap's span")
    if verdict.paused_until is not None:
        lines.append(f"  the reader chose a break until {verdict.paused_until:%Y-%m-%d %H:%M} UTC")
    return lines


def _what(topic: str) -> str:
    return f"mail of the topic {topic}" if topic else "marketing mail"


def _plain(row: Any) -> dict[str, Any]:
    return {
        "address": row.email_key,
        "topic": row.topic,
        "reason": row.reason,
        "at": row.at,
        "source": row.source,
    }


def _texts(detail: dict[str, Any]) -> dict[str, Any]:
    """Return it as JSON keeps it."""
    removed = [{**row, "at": row["at"].isoformat()} for row in detail["removed"]]
    return {"removed": removed}
