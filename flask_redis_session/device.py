"""What is kept of the device that signs in."""

from __future__ import annotations

import re
from collections.abc import Callable
from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING, Any

from .errors import SettingError

if TYPE_CHECKING:
    from flask import Request

_WITH_PORT = re.compile(r"\[(?P<six>[^\[\]]+)\](?::[0-9]+)?|(?P<four>[0-9.]+):[0-9]+")

#: How much is kept of a user agent, in characters.
LONGEST = 256


def device(request: Request) -> tuple[str | None, str | None]:
    """Return the user agent and the address of a request: ``SESSION_DEVICE_INFO = True``.

    Behind a proxy the address is the proxy's, unless the application wraps itself in
    ``werkzeug.middleware.proxy_fix.ProxyFix``.

    :param request: the request that signs in.
    """
    return request.user_agent.string or None, request.remote_addr


def private_device(request: Request) -> tuple[str | None, str | None]:
    """Return the user agent and the shortened address of a request, for ``SESSION_DEVICE_INFO``.

    :param request: the request that signs in.
    """
    agent, address = device(request)
    return agent, None if address is None else shorten(address)


def shorten(address: str, *, ipv4: int = 24, ipv6: int = 48) -> str | None:
    """Return the network that an address is in, as in ``203.0.113.0/24``.

    :param address: an IPv4 or IPv6 address, also with a port after it, as some proxies write it;
        of anything else nothing is returned.
    :param ipv4: how many bits to keep of an IPv4 address.
    :param ipv6: how many bits to keep of an IPv6 address.
    """
    try:
        ip = ip_address(_without_port(address).partition("%")[0])
    except ValueError:
        return None
    mapped = getattr(ip, "ipv4_mapped", None)
    ip = mapped or ip
    return str(ip_network((ip, ipv4 if ip.version == 4 else ipv6), strict=False))


def _without_port(address: str) -> str:
    found = _WITH_PORT.fullmatch(address)
    return address if found is None else found["six"] or found["four"]


def clipped(value: str | None) -> str | None:
    """Return a text from outside as it may be kept: short, and with a UTF-8 form.

    :param value: the text, if there is one.
    """
    if value is None:
        return None
    return value[:LONGEST].encode("utf-8", "replace").decode()


def kept_of(
    request: Request | None,
    decide: bool | Callable[[Request], tuple[str | None, str | None] | None],
) -> tuple[str | None, str | None]:
    """Return the user agent and the address to keep of a sign-in.

    :param request: the request that signs in.
    :param decide: ``SESSION_DEVICE_INFO``.
    :raises SettingError: if that is a callable and returned something else.
    """
    if request is None or decide is False:
        return None, None
    keep = device if decide is True else decide
    kept: Any = keep(request) or (None, None)
    if not isinstance(kept, tuple) or [*map(_is_text_or_none, kept)] != [True, True]:
        problem = f"has to return two texts, each of which may be None, not {kept!r}."
        raise SettingError("SESSION_DEVICE_INFO", problem)
    agent, address = kept
    return clipped(agent), clipped(address)


def _is_text_or_none(value: object) -> bool:
    return value is None or isinstance(value, str)
