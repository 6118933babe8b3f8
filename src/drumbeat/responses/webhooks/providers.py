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


def _postmark(settings: Any) -> Webhook:
    from drumbeat.responses.webhooks.postmark import PostmarkWebhook

    return PostmarkWebhook(settings)


def _brevo(settings: Any) -> Webhook:
    from drumbeat.responses.webhooks.brevo import BrevoWebhook

    return BrevoWebhook(settings)


def _mailjet(settings: Any) -> Webhook:
    from drumbeat.responses.webhooks.mailjet import MailjetWebhook

    return MailjetWebhook(settings)


def _sparkpost(settings: Any) -> Webhook:
    from drumbeat.responses.webhooks.sparkpost import SparkPostWebhook

    return SparkPostWebhook(settings)


def _resend(settings: Any) -> Webhook:
    from drumbeat.responses.webhooks.resend import ResendWebhook

    return ResendWebhook(settings)


def _unisender_go(settings: Any) -> Webhook:
    from drumbeat.responses.webhooks.unisender_go import UnisenderGoWebhook

    return UnisenderGoWebhook(settings)


def _twilio(settings: Any) -> Webhook:
    from drumbeat.responses.webhooks.twilio import TwilioWebhook

    return TwilioWebhook(settings)


def _telegram(settings: Any) -> Webhook:
    from drumbeat.responses.webhooks.telegram import TelegramWebhook

    return TelegramWebhook(settings)


WEBHOOKS: Mapping[str, Callable[[Any], Webhook]] = {
    "ses": _ses,
    "sendgrid": _sendgrid,
    "mailgun": _mailgun,
    "postmark": _postmark,
    "brevo": _brevo,
    "mailjet": _mailjet,
    "sparkpost": _sparkpost,
    "resend": _resend,
    "unisender_go": _unisender_go,
    "twilio": _twilio,
    "telegram": _telegram,
}
"""From a provider's name to what makes its webhook of its settings, `delivery.<name>` in project.yaml.

Raises DeliveryError where an environment variable that the settings name is not set.
"""
