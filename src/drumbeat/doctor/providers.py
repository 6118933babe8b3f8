"""What the HTTP providers ask their customers to put into the DNS, as data.

As their documentation (`docs`) and their customers' published records have it, November 2026. A provider is
also known by its mail servers, where it is used over SMTP.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Provider:
    """`includes`: what an SPF record may include for it, the current one first. `selectors`: the DKIM selectors
    that it gives every customer, empty where they differ. `relays`: ends of its mail servers' names.
    """

    title: str
    includes: tuple[str, ...]
    selectors: tuple[str, ...]
    relays: tuple[str, ...]
    docs: str


PROVIDERS: Mapping[str, Provider] = {
    "ses": Provider(
        "Amazon SES",
        ("amazonses.com",),
        (),
        (".amazonaws.com",),
        "https://docs.aws.amazon.com/ses/latest/dg/mail-from.html",
    ),
    "sendgrid": Provider(
        "SendGrid",
        ("sendgrid.net",),
        ("s1", "s2"),
        ("smtp.sendgrid.net",),
        "https://www.twilio.com/docs/sendgrid/ui/account-and-settings/how-to-set-up-domain-authentication",
    ),
    "mailgun": Provider(
        "Mailgun",
        ("mailgun.org", "eu.mailgun.org"),
        (),
        ("smtp.mailgun.org", "smtp.eu.mailgun.org"),
        "https://documentation.mailgun.com/docs/mailgun/user-manual/domains/domains-verify",
    ),
    "postmark": Provider(
        "Postmark",
        ("spf.mtasv.net",),
        (),
        ("smtp.postmarkapp.com",),
        "https://postmarkapp.com/support/article/1092-how-do-i-set-up-spf-for-postmark",
    ),
    "brevo": Provider(
        "Brevo",
        ("spf.brevo.com", "spf.sendinblue.com"),
        ("brevo1", "brevo2", "mail"),
        ("smtp-relay.brevo.com", "smtp-relay.sendinblue.com"),
        "https://help.brevo.com/hc/en-us/articles/12163873383186",
    ),
    "mailjet": Provider(
        "Mailjet",
        ("spf.mailjet.com",),
        ("mailjet",),
        (".mailjet.com",),
        "https://documentation.mailjet.com/hc/en-us/articles/360042412734",
    ),
    "sparkpost": Provider(
        "SparkPost",
        ("_spf.sparkpostmail.com", "sparkpostmail.com", "_spf.eu.sparkpostmail.com", "eu.sparkpostmail.com"),
        (),
        (".sparkpostmail.com",),
        "https://developers.sparkpost.com/api/sending-domains",
    ),
    "resend": Provider(
        "Resend",
        ("amazonses.com",),
        ("resend",),
        ("smtp.resend.com",),
        "https://resend.com/docs/dashboard/domains/introduction",
    ),
    "unisender_go": Provider(
        "Unisender Go",
        ("spf.unisender.com", "spf.unione.io"),
        ("us",),
        (".unisender.ru", ".unisender.com"),
        "https://godocs.unisender.ru",
    ),
}
"""By the names that `delivery.backend` has for them."""


def provider_of(host: str) -> Provider | None:
    """Return the provider whose mail server this is, or None."""
    name = host.lower().rstrip(".")
    return next(
        (one for one in PROVIDERS.values() if any(name.endswith(relay) for relay in one.relays)), None
    )
