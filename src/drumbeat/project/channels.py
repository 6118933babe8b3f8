"""What a channel asks of campaigns and of project.yaml.

DB024  a marketing campaign whose topic is of another channel: consent to mail is no consent to SMS
DB025  a setting that the channel needs is not there
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from drumbeat.document import Document
from drumbeat.issues import Issue
from drumbeat.project.models import Campaign, ProjectConfig


def check_topic(document: Document, settings: Campaign, config: ProjectConfig, found: list[Issue]) -> None:
    """Add a fault where what readers agreed to is another channel's. Service messages need no consent to a topic."""
    topic, channel = config.topics.get(settings.topic), settings.message.channel
    if not settings.is_marketing or topic is None or topic.channel == channel:
        return
    fitting = [name for name, one in config.topics.items() if one.channel == channel]
    fix = (
        f"Topics of {channel}: {', '.join(fitting)}."
        if fitting
        else f"Add one to project.yaml: topics: {{{settings.topic}_{channel}: {{text: ..., channel: {channel}}}}}."
    )
    found.append(
        Issue(
            document.value_place(("topic",)),
            "DB024",
            f"the topic '{settings.topic}' is of the channel {topic.channel}, the message of {channel}:"
            " consent to one is no consent to the other.",
            fix,
        )
    )


def check_delivery(
    document: Document, config: ProjectConfig, channels: Iterable[str], found: list[Issue]
) -> None:
    """Add a fault for each setting that a chosen way to hand over lacks. `channels`: those of the campaigns."""
    delivery = config.delivery
    lacking: Iterator[tuple[str, str | None, str]] = (
        (path, lacks, why)
        for chosen, path, lacks, why in (
            (
                delivery.sms.backend == "twilio",
                "twilio",
                delivery.twilio.lacks,
                "delivery.sms.backend is twilio",
            ),
            (
                delivery.sms.backend == "http",
                "sms.http",
                delivery.sms.http.lacks,
                "delivery.sms.backend is http",
            ),
            (
                delivery.webhook.backend == "http",
                "webhook",
                delivery.webhook.lacks,
                "delivery.webhook.backend is http",
            ),
            (
                "task" in set(channels),
                "task",
                None if delivery.task.default_assignee else "default_assignee",
                "a campaign gives tasks, and not every customer has a manager",
            ),
        )
        if chosen
    )
    for path, lacks, why in lacking:
        if lacks is not None:
            place = document.place(("delivery", *path.split(".")))
            found.append(Issue(place, "DB025", f"delivery.{path} has no {lacks}, but {why}.", "Set it."))


def channels_of(campaigns: Mapping[str, Any]) -> set[str]:
    """Return the channels that campaigns (project.load.LoadedCampaign) write by."""
    return {campaign.settings.message.channel for campaign in campaigns.values()}
