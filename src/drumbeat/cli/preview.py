"""`drumbeat preview`: see a mail without sending it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from drumbeat.cli.options import as_of_option, json_option, project_option, project_root
from drumbeat.cli.output import emit_json, note
from drumbeat.errors import ProjectError, UsageError

FOLDER = ".drumbeat/preview"
DATE = datetime(2011, 12, 5, 9, 0, tzinfo=UTC)
"""The date in a preview's .eml: fixed, so that the same template gives the same file."""


@click.command("preview")
@click.argument("mail", required=False)
@project_option
@click.option(
    "--language", metavar="CODE", help="The language to render, such as de. Default: the project's."
)
@click.option(
    "--customer", metavar="ID", help="Render for this customer (external id) instead of the sample."
)
@click.option(
    "-c",
    "--campaign",
    metavar="NAME",
    help="With --customer: the very mail that this campaign would send, cart or coupon included.",
)
@as_of_option
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    help=f"The folder to write into. Default: {FOLDER} of the project.",
)
@click.option("--open", "show_it", is_flag=True, help="Open the HTML in the browser.")
@json_option
def command(
    mail: str | None,
    project_dir: Path | None,
    language: str | None,
    customer: str | None,
    campaign: str | None,
    as_of: str | None,
    out: Path | None,
    show_it: bool,
    as_json: bool,
) -> None:
    """Render MAIL (a folder in templates/) with its sample and write it as HTML, text and .eml.

    A message of another channel is shown as it would be sent: an SMS with its length, a webhook's payload.

    With --customer the name, language and country come from the store; cart or coupon stay the sample's.
    With --customer and --campaign it is the very mail that the customer would get from the campaign now
    (at --as-of), or got last. Faults that `drumbeat validate` would name are shown too. Nothing is sent
    or recorded.
    """
    root = project_root(project_dir)
    if campaign is not None:
        if customer is None or mail is not None or language is not None:
            raise UsageError(
                "--campaign goes with --customer, and without MAIL and --language: it decides both"
            )
        shown = _real(project_dir, campaign, customer, as_of, out or root / FOLDER)
    elif mail is None:
        raise UsageError("name the mail (a folder in templates/), or give --customer and --campaign")
    else:
        shown = _sample(root, project_dir, mail, language, customer, out or root / FOLDER)
    if as_json:
        emit_json(shown)
    else:
        _print(shown)
    if show_it:
        click.launch(Path(next(iter(shown["files"].values()))).resolve().as_uri())


def _real(
    project_dir: Path | None, campaign: str, customer: str, as_of: str | None, folder: Path
) -> dict[str, Any]:
    """Write the message of a campaign to a customer."""
    from drumbeat.cli.options import clock_for, open_engine, open_project
    from drumbeat.cli.preview_notes import write_note
    from drumbeat.delivery import Note
    from drumbeat.outbox.preview import preview

    project = open_project(project_dir)
    engine = open_engine(project)
    try:
        now = clock_for(as_of, project, standing=True).now()
        found = preview(engine, project, campaign, customer, as_of=now)
    finally:
        engine.dispose()
    name = project.campaign(campaign).settings.message.template
    if isinstance(found, Note):
        return write_note(folder, f"{campaign}.{customer}", name, found)
    rendered, mail = found
    return _written(folder, f"{campaign}.{customer}", name, None, rendered, mail.content, [])


def _sample(
    root: Path, project_dir: Path | None, mail: str, language: str | None, customer: str | None, folder: Path
) -> dict[str, Any]:
    """Write a mail with its sample's data, for a customer of the store if one is named."""
    from drumbeat.cli.preview_notes import channel_of, note_of_sample
    from drumbeat.rendering.check import cautions, check_template
    from drumbeat.rendering.sample import read_sample
    from drumbeat.rendering.templates import Templates

    config = _config(root)
    channel, marketing = channel_of(root, mail)
    if channel != "mail":
        person = _customer(project_dir, customer) if customer else {}
        return note_of_sample(root, config, mail, channel, marketing, language, person, folder)
    templates = Templates(root / "templates", config.language)
    person = _customer(project_dir, customer) if customer else {}
    template = templates.load(mail, language or person.get("language"))
    if language and template.language.partition("-")[0] != language.partition("-")[0]:
        have = ", ".join([templates.language, *templates.languages(mail)])
        note(f"{mail} is not written in '{language}' ({have} is); showing '{template.language}'")
    sender = config.senders[config.default_sender]
    context = read_sample(templates.folder, mail, template.variant)
    context["sender"] = {k: getattr(sender, k) for k in ("name", "address", "postal_address")}
    context["unsubscribe_url"] = f"{config.tracking.base_url.rstrip('/')}/u/preview"
    context["customer"] |= person
    rendered = template.render(context)
    stem = mail if template.variant is None else f"{mail}.{template.variant}"
    issues = [*check_template(templates, mail, marketing=marketing), *cautions(templates, mail)]
    content = _eml(rendered, context, sender)
    return _written(folder, stem, mail, template.language, rendered, content, issues)


def _written(
    folder: Path,
    stem: str,
    mail: str,
    language: str | None,
    rendered: Any,
    content: bytes,
    issues: Sequence[object],
) -> dict[str, Any]:
    """Write the files and return what to print."""
    files = _write(folder, stem, rendered.html, rendered.text, content)
    return {
        "mail": mail,
        "language": language,
        "subject": rendered.subject,
        "html_bytes": len(rendered.html.encode()),
        "text_bytes": len(rendered.text.encode()),
        "mail_bytes": len(content),
        "files": {kind: str(path) for kind, path in files.items()},
        "issues": [str(issue) for issue in issues],
    }


def _config(root: Path) -> Any:
    """Read project.yaml alone: a preview works while campaigns are still being written."""
    from pydantic import ValidationError

    from drumbeat.document import read_document
    from drumbeat.project.faults import issues_of
    from drumbeat.project.models import ProjectConfig

    document = read_document(root / "project.yaml", shown_as=Path("project.yaml"))
    try:
        return ProjectConfig.model_validate(document.value)
    except ValidationError as error:
        raise ProjectError(issues_of(error, ProjectConfig, document)) from None


def _customer(project_dir: Path | None, external_id: str) -> dict[str, Any]:
    """Return what templates may use of a customer. Raises UsageError where there is none."""
    import sqlalchemy as sa

    from drumbeat.cli.options import open_engine, open_project
    from drumbeat.rendering.sample import EVERY_MAIL
    from drumbeat.store.engine import reading
    from drumbeat.store.tables import customers

    engine = open_engine(open_project(project_dir))
    try:
        with reading(engine) as connection:
            columns = [customers.c[name] for name in EVERY_MAIL["customer"]]
            query = sa.select(*columns).where(customers.c.external_id == external_id)
            row = connection.execute(query).one_or_none()
    finally:
        engine.dispose()
    if row is None:
        raise UsageError(f"there is no customer '{external_id}'; expected an external id as it was imported")
    return dict(row._mapping)


def _eml(rendered: Any, context: dict[str, Any], sender: Any) -> bytes:
    from drumbeat.rendering.compose import compose
    from drumbeat.rendering.headers import address
    from drumbeat.rendering.identity import message_id

    customer = context["customer"]
    names = (customer["first_name"], customer["last_name"])
    domain = address(sender.address).rpartition("@")[2]
    return compose(
        sender_name=sender.name,
        sender_address=sender.address,
        reply_to=sender.reply_to,
        to_name=" ".join(name for name in names if name),
        to_address=customer["email"] or "nobody@example.com",
        subject=rendered.subject,
        html=rendered.html,
        text=rendered.text,
        message_id=message_id(b"preview", domain, rendered.subject),
        date=DATE,
        unsubscribe_url=context["unsubscribe_url"],
    )


def _write(folder: Path, stem: str, html: str, text: str, content: bytes) -> dict[str, Path]:
    files = {kind: folder / f"{stem}.{kind}" for kind in ("html", "txt", "eml")}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        files["html"].write_text(html, encoding="utf-8")
        files["txt"].write_text(text, encoding="utf-8")
        files["eml"].write_bytes(content)
    except OSError as error:
        raise UsageError(
            f"cannot write into {folder}: {error.strerror}; choose another folder with --out"
        ) from None
    return files


def _print(shown: dict[str, Any]) -> None:
    if "channel" in shown:
        from drumbeat.cli.preview_notes import print_note

        print_note(shown)
        return
    click.echo(f"Subject: {shown['subject']}")
    sizes = (("html", shown["html_bytes"]), ("txt", shown["text_bytes"]), ("eml", shown["mail_bytes"]))
    for kind, size in sizes:
        click.echo(f"{size / 1024:7.1f} KB  {shown['files'][kind]}")
    for issue in shown["issues"]:
        note(issue)
