"""Applications that are served over HTTP, and the devices with which people visit them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from html import unescape
from html.parser import HTMLParser
from typing import Any
from urllib.parse import urljoin

import flask
from werkzeug.serving import make_server

import requests
from tests.support.webapp import Site


class Shop(Site):
    """An application without any page, with these sessions; a library is what it is there for.

    :param server: where its sessions are.
    """

    def __init__(self, server: Any, **config: Any) -> None:
        super().__init__(server)
        self.app = flask.Flask("shop")
        self.app.config.update(config, SECRET_KEY="for the libraries that sign something")
        self.app.session_interface = self.interface


@contextmanager
def served(app: Callable[..., Any], host: str = "localhost") -> Iterator[str]:
    """Serve an application in a thread, and give its address.

    :param app: the application.
    :param host: how it is called; cookies belong to a host, whatever its port.
    """
    server = make_server("127.0.0.1", 0, app, threaded=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://{host}:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@dataclass
class Form:
    """A form of a page."""

    action: str
    fields: dict[str, str] = field(default_factory=dict)


class _Forms(HTMLParser):
    """Finds the forms of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[Form] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        held = {name: value or "" for name, value in attrs}
        if tag == "form":
            self.found.append(Form(held.get("action", "")))
        elif self.found and "name" in held and tag == "input" and held.get("type") != "submit":
            self.found[-1].fields[held["name"]] = held.get("value", "")


class Page:
    """What a device shows."""

    def __init__(self, response: requests.Response) -> None:
        self.status = response.status_code
        self.url = response.url
        self.html = response.text
        self.text = unescape(response.text)

    def form(self, having: str) -> Form:
        """Return the form that has this field, or whose action ends with it."""
        forms = _Forms()
        forms.feed(self.html)
        fit = [f for f in forms.found if having in f.fields or f.action.endswith(having)]
        assert fit, self.html
        return fit[0]


class Device:
    """A browser with cookies of its own.

    :param home: the address of the site.
    """

    def __init__(self, home: str) -> None:
        self.home = home
        self._session = requests.Session()
        self._session.trust_env = False
        self.page: Any = None

    def visit(self, path: str, *, status: int = 200) -> Page:
        """Open an address and follow where it leads."""
        return self._show(self._session.get(urljoin(self.home, path), timeout=20), status)

    def submit(self, having: str, *, status: int = 200, **fields: str) -> Page:
        """Fill in a form of the page that is shown, and send it.

        :param having: a field that it has, or the end of its action.
        """
        form = self.page.form(having)
        url = urljoin(self.page.url, form.action)
        return self.post(url, status=status, **{**form.fields, **fields})

    def post(self, path: str, *, status: int = 200, **fields: str) -> Page:
        """Send a form that no page has."""
        url = urljoin(self.home, path)
        return self._show(self._session.post(url, data=fields, timeout=20), status)

    def _show(self, response: requests.Response, status: int) -> Page:
        self.page = page = Page(response)
        assert status == page.status, page.html[-3000:]
        return page

    @property
    def cookie(self) -> str:
        """The cookie of the site's session; empty if there is none."""
        host = "localhost.local" if "localhost" in self.home else "127.0.0.1"
        return self._session.cookies.get("session", "", domain=host) or ""

    @cookie.setter
    def cookie(self, value: str) -> None:
        self._session.cookies.set("session", value, domain="localhost.local", path="/")

    @property
    def cookies(self) -> list[str]:
        """The names of all cookies."""
        return [cookie.name for cookie in self._session.cookies]

    def restart(self) -> None:
        """Forget the cookies that do not outlive the browser."""
        self._session.cookies.clear_session_cookies()
