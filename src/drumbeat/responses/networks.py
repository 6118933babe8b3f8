"""Which of many networks an address is in, in about a microsecond however many there are.

Apple's list of relays alone has a quarter of a million. The networks are kept as whole numbers, by version and
length of the prefix, so a look-up asks one set for each length that occurs.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

from drumbeat.errors import UsageError

Network = IPv4Network | IPv6Network


class Networks:
    """A set of networks. Raises UsageError for text that is none, such as `10.0.0.300/8`."""

    def __init__(self, networks: Iterable[str]) -> None:
        self._by_length: dict[tuple[int, int], set[int]] = defaultdict(set)
        for text in networks:
            network = _network(text)
            bits = network.max_prefixlen - network.prefixlen
            self._by_length[network.version, bits].add(int(network.network_address) >> bits)

    def __bool__(self) -> bool:
        return bool(self._by_length)

    def __contains__(self, address: str) -> bool:
        """Say whether an IP address is in one of the networks; text that is no address is in none."""
        version, number = _number(address)
        return any(
            of_version == version and number >> bits in heads
            for (of_version, bits), heads in self._by_length.items()
        )


def _network(text: str) -> Network:
    try:
        return ip_network(text.strip(), strict=False)
    except ValueError:
        raise UsageError(
            f"'{text[:60]}' is no network; expected for example 192.0.2.0/24 or 2001:db8::/32"
        ) from None


@lru_cache(maxsize=4096)
def _number(address: str) -> tuple[int, int]:
    """Return an address's version and number; an IPv4 address inside IPv6 (`::ffff:192.0.2.1`) is IPv4."""
    try:
        read = ip_address(address)
    except ValueError:
        return 0, 0
    mapped = getattr(read, "ipv4_mapped", None)
    plain = mapped if mapped is not None else read
    return plain.version, int(plain)
