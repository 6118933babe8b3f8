"""The webhooks by the provider's name, as in delivery/providers.py. Written by hand."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from drumbeat.responses.webhooks import Webhook


def _ses(settings: Any) -> Webhook:
    from drumbeat.responses.webhooks.ses import SesWebhook

    return SesWebhook(settings)


def _sendgrid(settings: Any) -> Webhook:
    from drumbeat.responses.webhooks.sendgrid import SendgridWebhook

    return SendgridWebhook(settings)


def _mailgun(settings: Any) -> Webhook:
    from drumbeat.responses.webhooks.mailgun import MailgunWebhook

    return MailgunWebhook(settings)


WEBHOOKS: Mapping[str, Callable[[Any], Webhook]] = {
    "ses": _ses,
    "sendgrid": _sendgrid,
    "mailgun": _mailgun,
}
"""From a provider's name to what makes its webhook of its settings, `delivery.<name>` in project.yaml.

Raises DeliveryError where an environment variable that the settings name is not set.
"""
