"""Letters: from claimed messages to mails, with the project's templates."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import blake2b
from typing import Any, NamedTuple

from sqlalchemy import Connection

from drumbeat.delivery import Mail, Parcel, Parts
from drumbeat.errors import InputError, RenderError
from drumbeat.ledger.reach import MAIL
from drumbeat.outbox.batch import Item
from drumbeat.outbox.notes import Notes
from drumbeat.outbox.values import CUSTOMER as CUSTOMER
from drumbeat.outbox.values import shown_sender, values
from drumbeat.project.load import Project
from drumbeat.project.models import Sender
from drumbeat.rendering.compose import Skeleton
from drumbeat.rendering.dkim import Signer, load_key
from drumbeat.rendering.headers import address, domain_in_ascii
from drumbeat.rendering.identity import message_id, return_path
from drumbeat.rendering.links import Links, tracked
from drumbeat.rendering.secret import load_secrets
from drumbeat.rendering.templates import Rendered, Template, Templates
from drumbeat.triggers import Moment, ToConfirm

SIGNED_HERE = frozenset({"smtp", "file", "console", "mailgun", "sparkpost"})
"""Backends that pass our MIME on as it is, so that our DKIM signature holds; the others write and sign their own."""


class Letter(NamedTuple):
    """A mail and what it was composed of: the HTML is the template's, before links are tracked."""

    rendered: Rendered
    mail: Mail


@dataclass(frozen=True, slots=True)
class _Frame:
    """What the mails of a campaign have in common, made once."""

    sender: Sender
    shown: dict[str, str]
    domain: str
    skeleton: Skeleton


class Letters:
    """Writes the mails of a project; templates, headers and keys are read once and kept.

    `sign=False` leaves DKIM out: for providers that sign what they send themselves, and for previews.

    Raises UsageError where the key for links, or a sender's DKIM key, cannot be used.
    """

    def __init__(self, project: Project, *, sign: bool = True) -> None:
        self._project = project
        tracking = project.config.tracking
        keys = load_secrets(project.root, tracking.secret_env)
        self._key = keys[0]
        self._links = Links(tracking.base_url, keys, hidden_link=tracking.hidden_link)
        self._notes = Notes(project, self._links, self._key)
        self._templates = Templates(project.root / "templates", project.config.language)
        self._signers = signers(project) if sign else {}
        self._frames: dict[tuple[str, ...], _Frame] = {}

    def contexts(
        self, connection: Connection, items: Sequence[Item], at: datetime
    ) -> dict[int, dict[str, Any]]:
        """Return by message id what its trigger gives the template: one query a campaign."""
        moment = Moment(at, self._project.config.time_zone)
        by_campaign: dict[str, list[Item]] = defaultdict(list)
        for item in items:
            by_campaign[item.campaign].append(item)
        found: dict[int, dict[str, Any]] = {}
        for name, its_items in by_campaign.items():
            trigger = self._project.campaigns[name].trigger
            given = trigger.context(connection, [item.subject for item in its_items], moment)
            found |= {item.message_id: self._signed(given.get(item.subject, {})) for item in its_items}
        return found

    def _signed(self, context: dict[str, Any]) -> dict[str, Any]:
        """Return what a trigger gives, with each ToConfirm as the link that it stands for."""
        return {
            name: self._links.confirm(value.opt_in_id) if isinstance(value, ToConfirm) else value
            for name, value in context.items()
        }

    def write(self, item: Item, context: dict[str, Any], at: datetime, *, eight_bit: bool = False) -> Parcel:
        """Render and compose one message of any channel, dated `at`. Raises RenderError.

        `eight_bit`: what is to hand a mail over takes letters beyond ASCII in bodies (RFC 6152).
        """
        if item.channel != MAIL:
            return self._notes.write(item, context, at)
        return self.letter(item, context, at, eight_bit=eight_bit).mail

    def letter(self, item: Item, context: dict[str, Any], at: datetime, *, eight_bit: bool = False) -> Letter:
        """Return the mail together with the parts it was composed of. Raises RenderError."""
        template = self._templates.load(item.template, item.customer["language"])
        try:
            frame = self._frame(item, template)
            unsubscribe_url = self._links.unsubscribe(item.message_id)
            given = values(self._project, item, context, frame.shown, unsubscribe_url)
            if marketing := item.kind == "marketing":
                given["preferences_url"] = self._links.preferences(item.message_id)
            rendered = template.render(given)
            if marketing:
                _with_way_out(item, rendered, unsubscribe_url)
            mail = self._mail(item, frame, rendered, unsubscribe_url, at, eight_bit)
        except InputError as error:
            raise RenderError(str(error)) from None
        return Letter(rendered, mail)

    def _mail(
        self,
        item: Item,
        frame: _Frame,
        rendered: Rendered,
        unsubscribe_url: str,
        at: datetime,
        eight_bit: bool,
    ) -> Mail:
        sender, skeleton, marketing = frame.sender, frame.skeleton, item.kind == "marketing"
        token = self._links.mail_token(item.message_id)
        identity = message_id(
            self._key,
            frame.domain,
            item.campaign,
            item.step,
            item.customer["external_id"],
            item.subject.occasion,
            token=token,
        )
        mailto = sender.unsubscribe_mailto if marketing else None
        to_name, to_address = _full_name(item.customer), address(item.address or "")
        html = tracked(rendered.html, self._links, item.message_id)
        composed = skeleton.compose(
            to_name=to_name,
            to_address=to_address,
            subject=rendered.subject,
            html=html,
            text=rendered.text,
            message_id=identity,
            date=at,
            unsubscribe_url=unsubscribe_url if marketing else None,
            # In the subject, since not every mailbox takes a + in its name.
            unsubscribe_mailto=f"mailto:{mailto}?subject=unsubscribe%20{token}" if mailto else None,
            eight_bit=eight_bit,
        )
        return Mail(
            key=identity[1 : identity.index("@")],
            envelope_from=return_path(sender.bounces, token) if sender.bounces else skeleton.sender_address,
            envelope_to=to_address,
            content=composed.content,
            parts=Parts(
                from_name=sender.name,
                from_address=skeleton.sender_address,
                to_name=to_name,
                to_address=to_address,
                reply_to=skeleton.reply_to,
                subject=rendered.subject,
                html=html,
                text=rendered.text,
                headers=composed.headers,
            ),
            token=token,
            campaign=item.campaign,
            seven_bit=composed.seven_bit,
        )

    def _frame(self, item: Item, template: Template) -> _Frame:
        name = (item.sender, item.campaign, item.topic, item.kind, template.name, template.variant or "")
        if (frame := self._frames.get(name)) is None:
            frame = self._frames[name] = self._new_frame(item)
        return frame

    def _new_frame(self, item: Item) -> _Frame:
        sender = self._project.config.senders.get(item.sender)
        if sender is None:
            raise RenderError(f"the sender '{item.sender}' of this mail is not in project.yaml any more")
        domain = address(sender.address).rpartition("@")[2]
        sender_id = sender.feedback_id or feedback_sender(self._project.config.project, item.sender)
        marketing = item.kind == "marketing"
        skeleton = Skeleton(
            sender_name=sender.name,
            sender_address=sender.address,
            reply_to=sender.reply_to,
            list_id=f"{item.topic}.{domain}" if marketing else None,
            feedback_id=f"{item.campaign}:{item.topic}:{item.kind}:{sender_id}",
            auto_submitted=not marketing,
            signer=self._signers.get(item.sender),
        )
        return _Frame(sender, shown_sender(sender), domain, skeleton)


def signers(project: Project) -> dict[str, Signer]:
    """Return what signs the mails of each sender that has `dkim`. Raises UsageError where a key is no good."""
    found = {}
    for name, sender in project.config.senders.items():
        if (dkim := sender.dkim) is not None:
            key = load_key(project.root, dkim.key_env, dkim.key_file, f"senders.{name}.dkim")
            domain = domain_in_ascii(dkim.domain or sender.address.rpartition("@")[2])
            found[name] = Signer(domain, dkim.selector, key)
    return found


def feedback_sender(project: str, sender: str) -> str:
    """Return a SenderId of 5 to 15 characters for Feedback-ID that stays the same as long as the names do."""
    if 5 <= len(sender) <= 15:
        return sender
    digest = blake2b(f"{project}\x1f{sender}".encode(), digest_size=3).hexdigest()
    return f"{sender[:8]}-{digest}"


def _with_way_out(item: Item, rendered: Rendered, unsubscribe_url: str) -> None:
    if unsubscribe_url not in rendered.html or unsubscribe_url not in rendered.text:
        raise RenderError(
            f"templates/{item.template} has no unsubscribe link, which marketing mail must have;"
            " put {{ unsubscribe_url }} into the HTML and the text"
        )


def _full_name(customer: dict[str, Any]) -> str | None:
    names = (customer["first_name"], customer["last_name"])
    # Names come from imports: what cannot stand in a header is left out rather than the mail given up.
    shown = " ".join(" ".join(name for name in names if name).split())
    return "".join(c for c in shown if c.isprintable() or c == " ") or None
