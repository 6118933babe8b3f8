"""What the commands on suppressions share: their options, and what people write in them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from drumbeat.errors import UsageError

if TYPE_CHECKING:
    from drumbeat.project.load import Project

F = TypeVar("F", bound=Callable[..., Any])

topic_option = click.option(
    "--topic", default=None, metavar="TOPIC", help="One of project.yaml's topics. Default: all."
)


def reason_option(text: str) -> Callable[[F], F]:
    """Return the option `--reason`, with its help."""
    return click.option("--reason", default=None, metavar="REASON", help=text)


def address_of(address: str) -> str:
    """Return an address as suppressions have it. Raises UsageError for what is none."""
    from drumbeat.responses.lists.addresses import address_key

    try:
        return address_key(address)
    except ValueError as error:
        raise UsageError(str(error)) from None


def topic_name(project: Project, topic: str | None) -> str:
    """Return the topic as suppressions have it. Raises UsageError for one that project.yaml does not have."""
    from drumbeat.issues import nearest

    if topic is not None and topic not in project.config.topics:
        raise UsageError(f"unknown topic '{topic}'. {nearest(topic, project.config.topics)}")
    return topic or ""


def reason_name(word: str) -> str:
    """Return a reason as suppressions have it. Raises UsageError."""
    from drumbeat.responses.lists.shapes import read_reason

    try:
        return read_reason(word)
    except ValueError as error:
        raise UsageError(str(error)) from None
