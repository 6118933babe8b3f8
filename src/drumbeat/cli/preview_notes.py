"""Previews of the channels beside mail: the text as it would be sent, and how long it is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from drumbeat.cli.output import note as say
from drumbeat.errors import ProjectError, UsageError

if TYPE_CHECKING:
    from drumbeat.delivery import Note


def channel_of(root: Path, name: str) -> tuple[str, bool]:
    """Return a template's channel and whether it is marketing: as the first campaign that sends it says, or its files.

    Campaign files are looked at as they stand, since one that is being written may be wrong.
    """
    from drumbeat.document import read_document
    from drumbeat.rendering.notes import NOTE_PARTS, guess_channel

    for file in sorted((root / "campaigns").glob("*.y*ml")):
        try:
            value = read_document(file).value
        except ProjectError:
            continue
        message = value.get("message") if isinstance(value, dict) else None
        if isinstance(message, dict) and message.get("template") == name:
            channel = message.get("channel")
            known = channel if isinstance(channel, str) and channel in NOTE_PARTS else "mail"
            return known, value.get("kind") != "service"
    return guess_channel(root / "templates" / name), True


def note_of_sample(
    root: Path,
    config: Any,
    name: str,
    channel: str,
    marketing: bool,
    language: str | None,
    person: dict[str, Any],
    folder: Path,
) -> dict[str, Any]:
    """Write a message with its sample's data, and return what to print."""
    from drumbeat.rendering.check_notes import check_note
    from drumbeat.rendering.note_rules import NoteRules
    from drumbeat.rendering.notes import NoteTemplates

    templates = NoteTemplates(root / "templates", channel, config.language)
    template = templates.load(name, language or person.get("language"))
    context = templates.sample(name, template.variant)
    sender = config.senders[config.default_sender]
    context["sender"] = {key: getattr(sender, key) for key in ("name", "address", "postal_address")}
    context["unsubscribe_url"] = f"{config.tracking.base_url.rstrip('/')}/u/preview"
    context["customer"] |= person
    rendered = template.note(context)
    issues = check_note(templates, name, marketing=marketing, rules=NoteRules.of(config.delivery))
    stem = name if template.variant is None else f"{name}.{template.variant}"
    return _written(
        folder,
        stem,
        {"mail": name, "channel": channel, "language": template.language},
        {"title": rendered.title, "text": rendered.text, "html": rendered.html, "to": None, "due_at": None},
        [str(issue) for issue in issues],
    )


def write_note(folder: Path, stem: str, name: str, note: Note) -> dict[str, Any]:
    """Write the message of a campaign to a customer, and return what to print."""
    return _written(
        folder,
        stem,
        {"mail": name, "channel": note.channel, "language": None},
        {
            "title": note.fields.get("title", ""),
            "text": note.text,
            "html": bool(note.fields.get("html")),
            "to": note.to or None,
            "due_at": note.due_at,
        },
        [],
    )


def _written(
    folder: Path, stem: str, about: dict[str, Any], message: dict[str, Any], issues: list[str]
) -> dict[str, Any]:
    from drumbeat.rendering.sms import length
    from drumbeat.rendering.telegram import text_of, units

    channel, text = about["channel"], message["text"]
    ending = "json" if channel == "webhook" else "txt"
    file = folder / f"{stem}.{channel}.{ending}"
    content = f"{message['title']}\n\n{text}\n" if message["title"] else f"{text}\n"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file.write_text(content, encoding="utf-8")
    except OSError as error:
        raise UsageError(
            f"cannot write into {folder}: {error.strerror}; choose another folder with --out"
        ) from None
    size: dict[str, Any] = {"characters": len(text)}
    if channel == "sms":
        measured = length(text)
        size = {"encoding": measured.encoding, "units": measured.units, "segments": measured.segments}
        size["shown"] = str(measured)
    elif channel == "telegram":
        size = {"characters": units(text_of(text) if message["html"] else text)}
    payload = {"payload": json.loads(text)} if channel == "webhook" else {}
    return {**about, **message, **payload, "size": size, "files": {ending: str(file)}, "issues": issues}


def print_note(shown: dict[str, Any]) -> None:
    """Print a message for people."""
    if shown["to"]:
        click.echo(f"To: {shown['to']}")
    if shown["title"]:
        click.echo(f"Title: {shown['title']}")
    if shown["due_at"]:
        click.echo(f"Due: {shown['due_at']:%Y-%m-%d %H:%M} UTC")
    click.echo(f"{shown['text']}\n")
    click.echo(shown["size"].get("shown") or f"{shown['size']['characters']:,} characters")
    click.echo(next(iter(shown["files"].values())))
    for issue in shown["issues"]:
        say(issue)
