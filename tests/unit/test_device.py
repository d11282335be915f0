"""What is kept of an address if it is shortened."""

from __future__ import annotations

import pytest

from flask_redis_session.device import shorten


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("203.0.113.7", "203.0.113.0/24"),
        ("2001:db8:1:2::1", "2001:db8:1::/48"),
        ("::ffff:203.0.113.7", "203.0.113.0/24"),
        ("fe80::1%eth0", "fe80::/48"),
        ("203.0.113.7:51234", "203.0.113.0/24"),
        ("[2001:db8::1]:443", "2001:db8::/48"),
        ("[2001:db8::1]", "2001:db8::/48"),
        ("[fe80::1%eth0]:80", "fe80::/48"),
        ("[::ffff:203.0.113.7]:1", "203.0.113.0/24"),
        ("203.0.113.7:", None),
        ("203.0.113.7:http", None),
        ("[2001:db8::1]443", None),
        ("[]:443", None),
        ("localhost:80", None),
        ("unix:", None),
        ("", None),
    ],
)
def test_shorten(address: str, network: str | None) -> None:
    """The network is kept, whether or not a proxy wrote a port; of what is no address, nothing."""
    assert network == shorten(address)
