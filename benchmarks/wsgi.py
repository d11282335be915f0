"""Calls an application as a server would, without one, and times it."""

from __future__ import annotations

import io
from http.cookies import SimpleCookie
from time import perf_counter_ns
from typing import Any

from flask import Flask
from werkzeug.test import EnvironBuilder

HEADERS = {
    "User-Agent": "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
    "Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
    "Accept-Language": "en-US,en;q=0.5",
    "Accept-Encoding": "gzip, deflate, br",
}


class Browser:
    """Sends requests to one application and keeps its session cookie.

    :param app: the application.
    """

    def __init__(self, app: Flask) -> None:
        self.name = app.name
        self.app = app
        #: The value of the session cookie.
        self.cookie: str | None = None
        self._environs: dict[str, dict[str, Any]] = {}
        self._status = ""
        self._headers: list[tuple[str, str]] = []

    def get(self, path: str) -> tuple[str, float]:
        """Return the body of the answer, and the microseconds until it was there."""
        if path not in self._environs:
            environ = EnvironBuilder(path, headers=HEADERS).get_environ()
            self._environs[path] = {**environ, "REMOTE_ADDR": "127.0.0.1"}
        environ = {**self._environs[path], "wsgi.input": io.BytesIO()}
        if self.cookie is not None:
            environ["HTTP_COOKIE"] = f"session={self.cookie}"
        app, start_response = self.app.wsgi_app, self._start_response

        begin = perf_counter_ns()
        parts: Any = app(environ, start_response)
        body = b"".join(parts)
        parts.close()
        took = perf_counter_ns() - begin

        assert self._status == "200 OK", (self.name, path, self._status)
        for name, value in self._headers:
            if name == "Set-Cookie":
                self.cookie = SimpleCookie(value)["session"].value or None
        return body.decode(), took / 1000

    def _start_response(self, status: str, headers: list[tuple[str, str]], _: Any = None) -> Any:
        self._status, self._headers = status, headers
