"""DMARC records and the organisational domain, by the DNS tree walk of RFC 9989 (it needs no list of suffixes)."""

from __future__ import annotations

from dataclasses import dataclass

from drumbeat.doctor.dkim import read_tags
from drumbeat.doctor.dns import Dns

_MOST_QUERIES = 8
"""RFC 9989's limit for domains of many labels."""


@dataclass(frozen=True)
class Dmarc:
    """A record: where it stands, its text, its tags in small letters."""

    domain: str
    text: str
    tags: dict[str, str]

    @property
    def policy(self) -> str:
        """Return p= in small letters; `none` where it is left out, '' where it is no policy."""
        found = self.tags.get("p", "none").lower()
        return found if found in ("none", "quarantine", "reject") else ""

    def strict(self, tag: str) -> bool:
        """Say whether `adkim` or `aspf` asks for the very same domain."""
        return self.tags.get(tag, "r").lower() == "s"


@dataclass(frozen=True)
class Found:
    """What a tree walk met: the records from the longest name to the shortest, and names with several of them."""

    records: tuple[Dmarc, ...]
    doubled: tuple[str, ...] = ()


def walk(dns: Dns, domain: str) -> Found:
    """Return the DMARC records from the domain upwards. Raises NoDnsAnswerError."""
    labels = domain.split(".")
    names = [".".join(labels[start:]) for start in range(len(labels))]
    if len(names) > _MOST_QUERIES:
        names = [names[0], *names[-(_MOST_QUERIES - 1) :]]
    records: list[Dmarc] = []
    doubled: list[str] = []
    for name in names:
        texts = [text for text in dns.txt(f"_dmarc.{name}") if is_dmarc(text)]
        if len(texts) > 1:
            doubled.append(name)
        if len(texts) == 1:
            records.append(Dmarc(name, texts[0], read_tags(texts[0])))
            if records[-1].tags.get("psd", "u").lower() in ("n", "y"):
                break
    return Found(tuple(records), tuple(doubled))


def is_dmarc(text: str) -> bool:
    """Say whether a TXT record is one of DMARC: v=DMARC1 comes first, in capitals."""
    name, equals, value = text.partition(";")[0].partition("=")
    return bool(equals) and name.strip().lower() == "v" and value.strip() == "DMARC1"


def organisational(dns: Dns, domain: str) -> str:
    """Return the organisational domain, which relaxed alignment compares. Raises NoDnsAnswerError."""
    records = walk(dns, domain).records
    for record in records:
        if record.tags.get("psd", "u").lower() == "y" and record.domain != domain:
            below = domain[: -len(record.domain) - 1].rpartition(".")[2]
            return f"{below}.{record.domain}"
    # With psd=n the walk ended, so that this record is the last one too.
    return records[-1].domain if records else domain


def policy_for(found: Found, domain: str, organisation: str) -> Dmarc | None:
    """Return the record that applies to mails from the domain: its own, its organisation's, its suffix's."""
    by_name = {record.domain: record for record in found.records}
    suffix = next((r for r in found.records if r.tags.get("psd", "u").lower() == "y"), None)
    return by_name.get(domain) or by_name.get(organisation) or suffix
