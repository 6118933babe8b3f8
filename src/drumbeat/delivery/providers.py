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


def _postmark(settings: Any) -> HttpBackend:
    from drumbeat.delivery.postmark import PostmarkBackend

    return PostmarkBackend(settings)


def _brevo(settings: Any) -> HttpBackend:
    from drumbeat.delivery.brevo import BrevoBackend

    return BrevoBackend(settings)


def _mailjet(settings: Any) -> HttpBackend:
    from drumbeat.delivery.mailjet import MailjetBackend

    return MailjetBackend(settings)


def _sparkpost(settings: Any) -> HttpBackend:
    from drumbeat.delivery.sparkpost import SparkPostBackend

    return SparkPostBackend(settings)


def _resend(settings: Any) -> HttpBackend:
    from drumbeat.delivery.resend import ResendBackend

    return ResendBackend(settings)


def _unisender_go(settings: Any) -> HttpBackend:
    from drumbeat.delivery.unisender_go import UnisenderGoBackend

    return UnisenderGoBackend(settings)


PROVIDERS: Mapping[str, Callable[[Any], HttpBackend]] = {
    "ses": _ses,
    "sendgrid": _sendgrid,
    "mailgun": _mailgun,
    "postmark": _postmark,
    "brevo": _brevo,
    "mailjet": _mailjet,
    "sparkpost": _sparkpost,
    "resend": _resend,
    "unisender_go": _unisender_go,
}
"""From a provider's name to what makes its backend of its settings, `delivery.<name>` in project.yaml.

Raises DeliveryError where an environment variable that the settings name is not set.
"""
