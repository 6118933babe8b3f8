"""The mailbox that bounces come back to: `bounces:` of project.yaml.

bounces: {maildir: /var/mail/bounces}
bounces: {imap: {host: mail.example.com, username_env: BOUNCE_USER, password_env: BOUNCE_PASSWORD}}
bounces: {pop: {host: mail.example.com, username_env: BOUNCE_USER, password_env: BOUNCE_PASSWORD}}
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from drumbeat.settings import Duration, Model, Variable

IMAP_PORTS = {"implicit": 993, "starttls": 143, "none": 143}
POP_PORTS = {"implicit": 995, "starttls": 110, "none": 110}


class _Server(Model):
    host: str = Field(min_length=1)
    port: int | None = Field(None, ge=1, le=65535, description="Default: the protocol's, by tls")
    tls: Literal["implicit", "starttls", "none"] = "implicit"
    ca_file: str | None = Field(
        None, description="Trust this CA instead of the system's, for a private server"
    )
    username_env: Variable
    password_env: Variable = Field(description="Its value is the access token where login is xoauth2")
    login: Literal["password", "xoauth2"] = Field(
        "password", description="xoauth2 at Gmail and Microsoft 365, which take no passwords any more"
    )
    timeout: Duration = Field(default="60s", validate_default=True)


class Imap(_Server):
    """An IMAP mailbox. What was stored is marked as read and moved, or deleted."""

    folder: str = Field("INBOX", min_length=1)
    processed: str = Field("Processed", min_length=1, description="Where stored mails are moved to")
    delete: bool = Field(False, description="Delete stored mails instead of moving them")

    @model_validator(mode="after")
    def _two_folders(self) -> Imap:
        if not self.delete and self.folder.casefold() == self.processed.casefold():
            raise ValueError("folder and processed are the same; mails would be read again and again")
        return self


class Pop(_Server):
    """A POP3 mailbox. What was stored is deleted: POP3 cannot mark or move."""


class BounceMailbox(Model):
    """Where bounces, complaints and answers are fetched from; exactly one of the three.

    None of them is needed where the mail server pipes each mail into `drumbeat bounces --stdin`.
    """

    maildir: str | None = Field(
        None, min_length=1, description="A maildir on this machine, from the project's folder"
    )
    imap: Imap | None = None
    pop: Pop | None = None

    @model_validator(mode="after")
    def _one(self) -> BounceMailbox:
        named = [name for name in ("maildir", "imap", "pop") if getattr(self, name) is not None]
        if len(named) != 1:
            found = " and ".join(named) or "none"
            raise ValueError(f"found {found}; expected one of maildir, imap and pop")
        return self
