"""`drumbeat consent`: what a customer agreed to, and the proof of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from drumbeat.cli.options import json_option, open_engine, open_project, project_option
from drumbeat.cli.output import emit_json, note
from drumbeat.errors import UsageError


@click.group("consent")
def command() -> None:
    """Show what customers agreed to, with the proof."""


@command.command("show")
@click.argument("customer")
@project_option
@json_option
def show(customer: str, project_dir: Path | None, as_json: bool) -> None:
    """Show what CUSTOMER agrees to now, and every change of it with when, where and what was seen.

    CUSTOMER is the id from your import or an e-mail address; of several customers with one address each is shown.
    """
    from sqlalchemy import select

    from drumbeat.responses.consent import history, standing
    from drumbeat.store.engine import reading
    from drumbeat.store.tables import customers

    c = customers.c
    with reading(open_engine(open_project(project_dir))) as connection:
        rows = connection.execute(
            select(c.id, c.external_id).where(
                (c.external_id == customer) | (c.email_key == customer.strip().lower())
            )
        ).all()
        if not rows:
            raise UsageError(
                f"unknown customer '{customer}'; give the id from your import, or the e-mail address"
            )
        found = [
            {
                "customer": row.external_id,
                "now": [_now(one) for one in standing(connection, row.id)],
                "history": [_event(one) for one in history(connection, row.id)],
            }
            for row in rows
        ]
    if as_json:
        emit_json(found)
        return
    for one in found:
        for line in told(one):
            click.echo(line)


def told(one: dict[str, Any]) -> list[str]:
    """Return a customer's consents in lines for people."""
    lines = [f"customer {one['customer']}"]
    lines += [
        f"  {now['topic']}: {_word(now['granted'])} since {now['at']:%Y-%m-%d %H:%M} UTC ({now['source'] or '?'})"
        for now in one["now"]
    ] or ["  has agreed to nothing"]
    for event in one["history"]:
        lines.append(
            f"  {event['at']:%Y-%m-%d %H:%M:%S} UTC  {event['topic']} {_word(event['granted'])}, {event['source']}"
        )
        lines += [f"      {line}" for line in _proof(event["proof"] or {})]
    if one["now"] and not one["history"]:
        note(
            f"Of customer {one['customer']} there is no proof: the consents were imported before any was kept."
        )
    return lines


def _proof(proof: dict[str, Any]) -> list[str]:
    """Return a proof as lines: each entry, a text of several lines below its name."""
    lines = []
    for name, value in proof.items():
        if isinstance(value, dict):
            lines += [f"{name}:", *(f"  {line}" for line in _proof(value))]
        elif isinstance(value, str) and "\n" in value:
            lines += [f"{name}:", *(f"  | {line}" for line in value.splitlines())]
        elif value is not None:
            lines.append(f"{name}: {value}")
    return lines


def _word(granted: bool) -> str:
    return "granted" if granted else "withdrawn"


def _now(row: Any) -> dict[str, Any]:
    return {"topic": row.topic, "granted": row.granted, "at": row.at, "source": row.source}


def _event(row: Any) -> dict[str, Any]:
    return {**_now(row), "proof": row.proof, "loaded_at": row.loaded_at}
