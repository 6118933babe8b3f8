"""The demo's reader: finds the links in mails of a maildir and follows them over HTTP."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from email import policy
from email.message import EmailMessage
from email.parser import BytesParser
from pathlib import Path

import requests

from drumbeat.errors import DrumbeatError

# A browser's name: the server tells readers from scanners by it, among others.
AGENT = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"


@dataclass(frozen=True)
class Letter:
    """A mail in the mailbox and the addresses in it that lead back to us."""

    file: Path
    to: str
    subject: str
    pixel: str | None
    links: tuple[str, ...]
    unsubscribe: str | None


def read_mailbox(folder: Path) -> list[Path]:
    """Return the mails of a maildir, by address and subject: the names of the files are chance."""
    parser = BytesParser(policy=policy.default)

    def key(file: Path) -> tuple[str, str, str]:
        with file.open("rb") as opened:
            head = parser.parse(opened, headersonly=True)
        return str(head["To"]), str(head["Subject"]), str(head["Date"])

    return sorted((path for part in ("new", "cur") for path in (folder / part).glob("*")), key=key)


def read_letter(file: Path, base_url: str) -> Letter:
    """Parse a mail."""
    message = BytesParser(policy=policy.default).parsebytes(file.read_bytes())
    assert isinstance(message, EmailMessage)  # noqa: S101 - what this policy makes
    body = message.get_body(("html",))
    html = str(body.get_content()) if body is not None else ""
    here = re.escape(base_url.rstrip("/"))
    pixel = re.search(rf'src="({here}/o/[^"]+)"', html)
    header = re.search(r"<(https?://[^>]+)>", str(message.get("List-Unsubscribe", "")))
    return Letter(
        file=file,
        to=message["To"].addresses[0].addr_spec,
        subject=str(message["Subject"]),
        pixel=pixel.group(1) if pixel else None,
        # Not the one that no reader sees: it has nothing to click on.
        links=tuple(re.findall(rf'href="({here}/c/[^"]+)"(?! tabindex="-1")', html)),
        unsubscribe=header.group(1) if header else None,
    )


class Reader:
    """Opens, clicks and unsubscribes, and insists on the right answer."""

    def __init__(self) -> None:
        self._session = requests.Session()
        self._session.headers["User-Agent"] = AGENT

    def close(self) -> None:
        """Close the connections."""
        self._session.close()

    def open(self, letters: Iterable[Letter]) -> int:
        """Load the pixel of each; return how many."""
        return sum(self._get(letter.pixel, 200) for letter in letters if letter.pixel)

    def click(self, letters: Iterable[Letter]) -> int:
        """Follow the first link of each as far as our server; return how many."""
        return sum(self._get(letter.links[0], 302) for letter in letters if letter.links)

    def unsubscribe(self, letters: Iterable[Letter]) -> int:
        """Do what a mail program's button does (RFC 8058: one POST, no cookie); return how many."""
        done = 0
        for letter in letters:
            if letter.unsubscribe:
                answer = self._session.post(
                    letter.unsubscribe,
                    data={"List-Unsubscribe": "One-Click"},
                    timeout=30,
                    allow_redirects=False,
                )
                _expect(answer, 200)
                done += 1
        return done

    def _get(self, url: str, status: int) -> int:
        _expect(self._session.get(url, timeout=30, allow_redirects=False), status)
        return 1


def _expect(answer: requests.Response, status: int) -> None:
    if answer.status_code != status:
        path = answer.request.path_url[:40]
        raise DrumbeatError(f"`drumbeat serve` answered {answer.status_code} to {path}; expected {status}")
