"""The check of the mails themselves: their size, and the headers that let readers go."""

from __future__ import annotations

import email
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from drumbeat.doctor.findings import Finding, Level, Reporter
from drumbeat.doctor.setup import Identity, Setup
from drumbeat.errors import DrumbeatError, UsageError
from drumbeat.rendering.check import GMAIL_CLIPS_AT
from drumbeat.rendering.compose import Skeleton
from drumbeat.rendering.dkim import Signer, load_key
from drumbeat.rendering.links import Links, tracked
from drumbeat.rendering.sample import read_sample
from drumbeat.rendering.templates import Rendered, Template, Templates

if TYPE_CHECKING:
    from drumbeat.project.load import LoadedCampaign

SIZE = Reporter("size")
UNSUBSCRIBE = Reporter("unsubscribe")
NEAR = 0.9
"""The share of Gmail's limit from which a mail is worth a warning: real baskets are larger than samples."""
_LONGEST_ID = 2**47
_COVERED = ("list-unsubscribe", "list-unsubscribe-post")


def size(setup: Setup) -> Iterator[Finding]:
    """Whether each mail is shown whole.

    Gmail cuts a mail's HTML off after 102 KB (104,448 bytes) and hides the rest, footer and unsubscribe link with
    it, behind "View entire message". Every template is rendered with its sample in each of its languages, links
    tracked as in a real mail; from 90 % on it is worth a warning, since real data may be longer.
    """
    tracking = setup.project.config.tracking
    templates = Templates(setup.project.root / "templates", setup.project.config.language)
    measured: list[tuple[int, str]] = []
    for name in templates.names():
        for language in (None, *templates.languages(name)):
            about = name if language is None else f"{name} ({language})"
            try:
                rendered = _sample(templates, templates.load(name, language))
            except DrumbeatError as error:
                yield SIZE.warn(about, f"cannot be rendered: {error}", "`drumbeat validate` tells more.")
                continue
            links = Links(tracking.base_url, b"only for its length", hidden_link=tracking.hidden_link)
            measured.append(
                (len(tracked(rendered.html, links, _LONGEST_ID).encode("utf-8", "replace")), about)
            )
    for octets, about in measured:
        shown = f"{octets / 1024:.0f} of Gmail's {GMAIL_CLIPS_AT // 1024} KB"
        if octets > GMAIL_CLIPS_AT:
            yield SIZE.fail(
                about, f"{shown}: Gmail cuts it off", "Show fewer items, or shorten the style sheet."
            )
        elif octets > NEAR * GMAIL_CLIPS_AT:
            yield SIZE.warn(about, f"{shown}: longer data will be cut off", "Leave room for real data.")
    fine = [pair for pair in measured if pair[0] <= NEAR * GMAIL_CLIPS_AT]
    if fine:
        largest = max(fine)
        count = f"{len(fine)} mail{'' if len(fine) == 1 else 's'}"
        yield SIZE.ok(count, f"the largest, {largest[1]}, has {largest[0] / 1024:.0f} of Gmail's 102 KB")


def unsubscribe(setup: Setup) -> Iterator[Finding]:
    """Whether every marketing mail lets its reader go.

    Each enabled marketing campaign's mail is made from its sample, and its bytes are looked at: the headers
    List-Unsubscribe and List-Unsubscribe-Post (RFC 8058), covered by the DKIM signature where Drumbeat signs, and
    the link in HTML and text. Gmail and Yahoo ask for them from 5,000 mails a day on; the law does from the first.
    """
    templates = Templates(setup.project.root / "templates", setup.project.config.language)
    by_name = {identity.name: identity for identity in setup.identities}
    found: dict[tuple[Level, str, str], list[str]] = {}
    for campaign in setup.project.planned_campaigns:
        identity = by_name.get(campaign.sender)
        is_mail = campaign.settings.message.channel == "mail"
        if campaign.settings.is_marketing and identity is not None and is_mail:
            finding = _campaign(setup, templates, campaign, identity)
            found.setdefault((finding.level, finding.found, finding.advice), []).append(finding.about)
    for (level, what, advice), names in found.items():
        yield UNSUBSCRIBE.finding(level, ", ".join(names), what, advice)


def _campaign(setup: Setup, templates: Templates, campaign: LoadedCampaign, identity: Identity) -> Finding:
    links = Links(setup.project.config.tracking.base_url, b"only for its shape")
    url = links.unsubscribe(1)
    about = campaign.name
    try:
        template = templates.load(campaign.settings.message.template)
        rendered = _sample(templates, template, unsubscribe_url=url)
        content = _mail(setup, identity, rendered, url)
    except DrumbeatError as error:
        return UNSUBSCRIBE.fail(about, f"its mail cannot be made: {error}", "`drumbeat validate` tells more.")
    for part, text in (("HTML", rendered.html), ("text", rendered.text)):
        if url not in text:
            return UNSUBSCRIBE.fail(
                about, f"no unsubscribe link in the {part}", "Put {{ unsubscribe_url }} into it."
            )
    message = email.message_from_bytes(content)
    lacking = [name for name in ("List-Unsubscribe", "List-Unsubscribe-Post") if message[name] is None]
    if lacking or not url.startswith("https://"):
        what = f"without {lacking[0]}" if lacking else "with an address that is not https"
        return UNSUBSCRIBE.fail(
            about, f"goes out {what}: no one-click unsubscribe", "Set tracking.base_url to https."
        )
    signature = str(message["DKIM-Signature"] or "").lower()
    if signature and not all(f"{name}:" in f"{signature};".replace(";", ":") for name in _COVERED):
        return UNSUBSCRIBE.fail(about, "the DKIM signature does not cover it", "Report this: it is a bug.")
    covered = ", covered by DKIM" if signature else ""
    advice = (
        ""
        if signature
        else "Whoever signs must cover both List-Unsubscribe headers, or no button is shown (RFC 8058, 4)."
    )
    return UNSUBSCRIBE.ok(about, f"one click in the headers{covered}; a link in HTML and text", advice)


def _mail(setup: Setup, identity: Identity, rendered: Rendered, url: str) -> bytes:
    signer = None
    if (dkim := identity.sender.dkim) is not None:
        try:
            key = load_key(setup.project.root, dkim.key_env, dkim.key_file, f"senders.{identity.name}.dkim")
            signer = Signer(identity.signs, dkim.selector, key)
        except UsageError:
            signer = None  # told by the check of DKIM
    skeleton = Skeleton(
        sender_name=identity.sender.name, sender_address=identity.sender.address, signer=signer
    )
    return skeleton.compose(
        to_name=None,
        to_address="reader@example.com",
        subject=rendered.subject,
        html=rendered.html,
        text=rendered.text,
        message_id="<doctor@example.com>",
        date=setup.now,
        unsubscribe_url=url,
    ).content


def _sample(templates: Templates, template: Template, **given: Any) -> Rendered:
    return template.render({**read_sample(templates.folder, template.name, template.variant), **given})
