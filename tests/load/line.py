"""One kept-alive HTTP connection of a browser."""

from __future__ import annotations

import http.client
import json
import select
import time
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from tests.support.servers import HOST

#: A connection that was not used for so long is not used again, in seconds: the server may be
#: about to close it.
IDLE = 1.0


class Cut(Exception):
    """The connection ended without an answer."""


@dataclass(frozen=True)
class Got:
    """An answer, the cookie that its request had, and when that was sent and this was there."""

    sent: str | None
    status: int
    headers: http.client.HTTPMessage
    body: bytes
    began: float
    ended: float

    @property
    def json(self) -> Any:
        """What the body says."""
        return json.loads(self.body)

    @property
    def cookie(self) -> str | None:
        """The session's cookie where the answer sets it; an empty text where it deletes it."""
        for header in self.headers.get_all("Set-Cookie") or ():
            name, _, value = header.partition(";")[0].partition("=")
            if name == "session":
                return value
        return None


class Line:
    """One kept-alive connection, opened when it is needed."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection(HOST, port, timeout=60)
        self._used = 0.0

    def get(self, path: str, cookie: str | None = None) -> Got:
        """Ask for a page.

        :raises Cut: if the connection ended without an answer.
        """
        return self._ask("GET", path, cookie)

    def post(self, path: str, cookie: str | None = None, **form: str) -> Got:
        """Send a form.

        :raises Cut: if the connection ended without an answer.
        """
        kind = {"Content-Type": "application/x-www-form-urlencoded"}
        return self._ask("POST", path, cookie, urlencode(form), kind)

    def post_json(self, path: str, content: Any) -> Got:
        """Send JSON.

        :raises Cut: if the connection ended without an answer.
        """
        return self._ask(
            "POST", path, None, json.dumps(content), {"Content-Type": "application/json"}
        )

    def _ask(
        self,
        method: str,
        path: str,
        cookie: str | None,
        body: str | None = None,
        further: dict[str, str] | None = None,
    ) -> Got:
        headers = dict(further or {})
        if cookie is not None:
            headers["Cookie"] = f"session={cookie}"
        if self._is_over():
            self.close()
        began = self._used = time.monotonic()
        try:
            self._connection.request(method, path, body, headers)
            response = self._connection.getresponse()
            content = response.read()
        except (ConnectionError, http.client.BadStatusLine) as error:
            self.close()
            raise Cut(repr(error)) from error
        self._used = time.monotonic()
        return Got(cookie, response.status, response.headers, content, began, self._used)

    def _is_over(self) -> bool:
        """Tell whether the connection was closed by the other side, as browsers look first."""
        return self._connection.sock is not None and bool(
            time.monotonic() - self._used > IDLE
            or select.select([self._connection.sock], [], [], 0)[0]
        )

    def close(self) -> None:
        self._connection.close()
