"""The made-up reader that a template is checked and previewed with.

`templates/<mail>/sample.yaml` gives what the trigger would give (`cart`, `coupon`, ...); `sample.de.yaml`
replaces parts of it for a language. What every mail gets comes from here and may be replaced there too.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from drumbeat.document import read_document
from drumbeat.errors import ProjectError
from drumbeat.issues import Issue, Place

SAMPLE_FILE = "sample.yaml"

EVERY_MAIL: dict[str, Any] = {
    "customer": {
        "external_id": "SAMPLE-1",
        "first_name": "Emma",
        "last_name": "Clarke",
        "email": "emma.clarke@example.com",
        "phone": "+447700900123",
        "telegram_id": "1234567",
        "manager": "sam",
        "country": "GB",
        "city": "Bristol",
        "language": "en",
        "time_zone": "Europe/London",
        "birth_date": "1980-12-05",
        "attributes": {},
    },
    "sender": {
        "name": "Hearthside",
        "address": "hello@hearthside.example.com",
        "postal_address": "Hearthside Ltd, 1 Made-up Lane, London N1 0AA, United Kingdom",
    },
    "unsubscribe_url": "https://shop.example.com/u/sample",
    "preferences_url": "https://shop.example.com/p/sample",
    "campaign": "sample",
    "currency": "GBP",
    "time_zone": "Europe/London",
}
"""What every mail may use, whatever its trigger; also the list of names a template can count on."""


def read_sample(folder: Path, template: str, language: str | None = None) -> dict[str, Any]:
    """Return the whole context of a template's sample. Raises ProjectError where a file is wrong or missing.

    Mappings are merged entry by entry one level deep, anything else is replaced.
    """
    context = copy.deepcopy(EVERY_MAIL)
    files = [folder / template / SAMPLE_FILE]
    if language is not None and (variant := folder / template / f"sample.{language}.yaml").is_file():
        files.append(variant)
    for file in files:
        shown = Path(folder.name) / template / file.name
        values = read_document(file, shown_as=shown).value
        if not isinstance(values, Mapping):
            raise ProjectError(
                [
                    Issue(
                        Place(shown),
                        "DB052",
                        "is not a mapping.",
                        "Expected names and values, such as cart: {...}.",
                    )
                ]
            )
        for key, value in values.items():
            old = context.get(key)
            both = isinstance(old, dict) and isinstance(value, Mapping)
            context[key] = {**old, **value} if both else value  # type: ignore[dict-item]
    return context
