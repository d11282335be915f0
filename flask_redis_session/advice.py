"""What an application in production should be told about its session cookie, once."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from typing import Any

log = logging.getLogger("flask_redis_session")


class Advice:
    """Looks at the first cookie that an application hands out in production."""

    def __init__(self) -> None:
        self._given = False

    def give(self, name: str, flags: Mapping[str, Any], host: str) -> None:
        """Warn of what makes a cookie easier to steal, unless that was done already.

        :param name: the cookie's name.
        :param flags: its flags, as ``response.set_cookie`` takes them.
        :param host: the host that the browser asked; one's own machine is not production.
        """
        if self._given or host.partition(":")[0] in ("localhost", "127.0.0.1", "[::1]", "["):
            return
        self._given = True
        for weakness in weaknesses(name, flags):
            log.warning("The session cookie %r: %s", name, weakness)


def weaknesses(name: str, flags: Mapping[str, Any]) -> Iterator[str]:
    """Tell what makes a cookie easier to steal (OWASP Session Management, Cookies).

    :param name: its name.
    :param flags: its flags, as ``response.set_cookie`` takes them.
    """
    if not flags["secure"]:
        yield "without Secure it goes over plain HTTP; set SESSION_COOKIE_SECURE = True."
    if not flags["httponly"]:
        yield "without HttpOnly scripts can read it; set SESSION_COOKIE_HTTPONLY = True."
    if flags["samesite"] is None:
        yield (
            "without SameSite other sites' forms send it in some browsers; "
            'set SESSION_COOKIE_SAMESITE = "Lax".'
        )
    if name.startswith("__Host-") and (flags["domain"] or flags["path"] != "/"):
        yield "browsers refuse __Host- with a domain or with a path other than /; unset those."
