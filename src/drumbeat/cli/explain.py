"""`drumbeat explain`: why a customer got a campaign's mail, or what kept it away."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from drumbeat.cli.options import (
    as_of_option,
    clock_for,
    json_option,
    open_engine,
    open_project,
    project_option,
)
from drumbeat.cli.output import emit_json, note, show, table

if TYPE_CHECKING:
    from rich.tree import Tree

    from drumbeat.planning.explain import Explanation


@click.command("explain")
@click.argument("customer")
@click.argument("campaign", required=False)
@project_option
@as_of_option
@json_option
def command(
    customer: str, campaign: str | None, project_dir: Path | None, as_of: str | None, as_json: bool
) -> None:
    """Tell why CUSTOMER got CAMPAIGN's mail, or which clause, consent, cap or window keeps it away.

    CUSTOMER is the id from your import or an e-mail address. Without CAMPAIGN, every campaign is
    explained in a line. Customers who never qualified are explained too. `--as-of` looks at another time.
    """
    from drumbeat.planning.explain import explain

    project = open_project(project_dir)
    engine = open_engine(project)
    found = explain(engine, project, customer, campaign, as_of=clock_for(as_of, project, standing=True).now())
    engine.dispose()
    if as_json:
        emit_json([one.to_json() for one in found])
        return
    if campaign is not None:
        show(_tree(found[0]))
        return
    rows = [(one.campaign, one.conclusion) for one in found]
    title = f"Customer {found[0].customer} as of {found[0].as_of:%Y-%m-%d %H:%M} UTC" if found else None
    show(table(["campaign", "why"], rows, title=title))
    note(f"`drumbeat explain {customer} CAMPAIGN` tells every clause.")


def _tree(one: Explanation) -> Tree:
    from rich.text import Text
    from rich.tree import Tree

    def line(met: bool | None, text: str) -> Text:
        mark, style = {True: ("✓", "green"), False: ("✗", "red"), None: ("·", "dim")}[met]
        return Text.assemble((f"{mark} ", style), text)

    def add_verdict(node: Tree, verdict: Any) -> None:
        where = f"  [{verdict.place}]" if verdict.place is not None else ""
        child = node.add(line(verdict.met, f"{verdict}{where}"))
        for below in verdict.children:
            add_verdict(child, below)

    top = Tree(Text.assemble((f"{one.campaign}", "bold"), f" for customer {one.customer}: {one.conclusion}"))
    if one.ledger:
        ledger = top.add("ledger")
        for entry in one.ledger:
            reason = f", {entry.reason}" if entry.reason else ""
            answer = f", answer: {entry.answer}" if entry.answer else ""
            node = ledger.add(
                Text(
                    f"{entry.occasion}: {entry.state}{reason}, planned {entry.planned_at:%Y-%m-%d %H:%M} UTC{answer}"
                )
            )
            for at, what in entry.history:
                node.add(Text(f"{at:%Y-%m-%d %H:%M:%S} UTC {what}"))
    now = top.add(Text(f"as of {one.as_of:%Y-%m-%d %H:%M} UTC"))
    if not one.enabled:
        now.add(line(False, "the campaign is disabled"))
    due = f"trigger: due for {', '.join(one.due)}" if one.due else "trigger: no occasion is due"
    trigger = now.add(line(bool(one.due), due))
    for occasion, decision, why in one.occasions:
        trigger.add(line(None, f"a plan would make {occasion} {decision}{f' ({why})' if why else ''}"))
    for finding in one.findings:
        trigger.add(line(finding.met, finding.text))
    if one.segment is not None:
        add_verdict(now, one.segment)
    now.add(
        line(
            one.refusal is None,
            "may be mailed" if one.refusal is None else f"may not be mailed: {one.refusal}",
        )
    )
    places = f"cap: {one.cap_used} of {one.cap_messages} places taken"
    if one.cap_obeyed:
        cap = now.add(line(one.cap_used < one.cap_messages, places))
    else:
        cap = now.add(line(None, f"{places}; this campaign does not ask"))
    for holder in one.cap_holders:
        cap.add(Text(holder))
    if one.channel_cap is not None and one.cap_obeyed:
        channel, used, messages = one.channel_cap
        now.add(line(used < messages, f"cap of {channel}: {used} of {messages} places taken"))
    if one.window_opens is not None:
        now.add(line(None, f"the send window opens {one.window_opens:%Y-%m-%d %H:%M} UTC"))
    return top
