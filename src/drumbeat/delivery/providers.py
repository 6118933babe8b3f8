"""The HTTP providers by name. Written by hand: a new provider is one file here, one in responses/webhooks/."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from drumbeat.delivery.http import HttpBackend


def _ses(settings: Any) -> HttpBackend:
    from drumbeat.delivery.ses import SesBackend

    return SesBackend(settings)


def _sendgrid(settings: Any) -> HttpBackend:
    from drumbeat.delivery.sendgrid import SendgridBackend

    return SendgridBackend(settings)


def _mailgun(settings: Any) -> HttpBackend:
    from drumbeat.delivery.mailgun import MailgunBackend

    return MailgunBackend(settings)


PROVIDERS: Mapping[str, Callable[[Any], HttpBackend]] = {
    "ses": _ses,
    "sendgrid": _sendgrid,
    "mailgun": _mailgun,
}
"""From a provider's name to what makes its backend of its settings, `delivery.<name>` in project.yaml.

Raises DeliveryError where an environment variable that the settings name is not set.
"""
