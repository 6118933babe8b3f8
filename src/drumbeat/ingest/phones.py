"""Phone numbers in the one form that suppressions, providers and replies name them by: E.164, such as +447700900123."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING

from drumbeat.lazy import lazy_module

if TYPE_CHECKING:
    import phonenumbers
else:
    phonenumbers = lazy_module("phonenumbers")

_PLAIN = re.compile(r"\+[1-9][0-9]{9,14}")

ALIASES = {
    "UK": "GB",
    "EIRE": "IE",
    "USA": "US",
    "U.S.": "US",
    "U.S.A.": "US",
    "UAE": "AE",
    "CZECH REPUBLIC": "CZ",
}
"""Names of countries that CLDR does not have, in capitals."""


def normal_phone(number: str, region: str | None = None) -> str:
    """Return a number in E.164. Raises ValueError with the reason.

    `region`: the country that a number without its code is in, as ISO 3166 has it (GB). Whether anybody has the
    number is not known; its length fits its country.
    """
    if _PLAIN.fullmatch(number) and _has_country_code(number):
        return number  # 1 µs against 90: exports of a million numbers are in this form
    try:
        parsed = phonenumbers.parse(number, region)
    except phonenumbers.NumberParseException:
        if region is None and not number.lstrip().startswith("+"):
            raise ValueError(
                f"{number!r} has no country code, and no country says which; write +44..., or set country"
            ) from None
        raise ValueError(f"{number!r} is not a phone number") from None
    if parsed.extension:
        raise ValueError(f"{number!r} has an extension; a message cannot reach one")
    # Not is_possible_number: it takes numbers that are complete only for a caller in the same town.
    whole = phonenumbers.ValidationResult.IS_POSSIBLE
    if phonenumbers.is_possible_number_with_reason(parsed) != whole:
        raise ValueError(f"{number!r} is not as long as phone numbers of its country are")
    return str(phonenumbers.format_number(parsed, phonenumbers.PhoneNumberFormat.E164))


def _has_country_code(number: str) -> bool:
    known = phonenumbers.COUNTRY_CODE_TO_REGION_CODE
    return any(int(number[1 : 1 + digits]) in known for digits in (1, 2, 3))


@lru_cache(maxsize=1024)
def region_of(country: str | None) -> str | None:
    """Return the region of a country as customers' data names it: GB, UK, United Kingdom; None where unknown."""
    name = (country or "").strip()
    code = ALIASES.get(name.upper(), name.upper())
    if code in phonenumbers.SUPPORTED_REGIONS:
        return code
    return _by_name().get(name.casefold()) if name else None


@lru_cache(maxsize=1)
def _by_name() -> dict[str, str]:
    from babel import Locale

    return {
        name.casefold(): code
        for code, name in Locale("en").territories.items()
        if code in phonenumbers.SUPPORTED_REGIONS
    }
