"""A site with the devices page, and the browsers that visit it."""

from __future__ import annotations

import html
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import flask
from jinja2 import DictLoader

from flask_redis_session import RedisSessionInterface
from flask_redis_session.devices import blueprint
from tests.support.clients import shared_client

if TYPE_CHECKING:
    from werkzeug.test import TestResponse

    from tests.support.servers import Cluster, Server

FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
IPHONE = (
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 "
    "(KHTML, like Gecko) Version/18.5 Mobile/15E148 Safari/604.1"
)
IPAD = (
    "Mozilla/5.0 (iPad; CPU OS 17_5 like Mac OS X) AppleWebKit/605.1.15 "
    "(KHTML, like Gecko) Version/17.5 Mobile/15E148 Safari/604.1"
)
EDGE = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) "
    "Chrome/138.0.0.0 Safari/537.36 Edg/138.0.0.0"
)

#: A layout as an application has one: it asks the session who is there.
BASE = """\
<!doctype html>
<html lang="en">
<head>
  <meta name="viewport" content="width=device-width, initial-scale=1">
  <meta name="color-scheme" content="light dark">
  <title>{% block title %}{% endblock %} at the shop</title>
  <style>body { background: Canvas; color: CanvasText }</style>
</head>
<body>
<header><a href="/">The shop</a> {{ session.get("user_id", "nobody") }}</header>
<main>{% block content %}{% endblock %}</main>
</body>
</html>
"""

_SIGN_IN = """\
<!doctype html>
<html lang="en">
<head><title>Sign in</title></head>
<body><main><h1>Sign in</h1><form method="post"><label>Who? <input name="user"></label>
<button>Sign in</button></form></main></body>
</html>
"""

#: Creates sessions as the documented layout has them: ARGV are the user, the first number and
#: how many; each was seen a second before the one before it.


def make_app(
    server: Server | Cluster, templates: dict[str, str] | None = None, **options: Any
) -> flask.Flask:
    """Make the site. People sign in by a form that believes whoever they say they are.

    :param server: where its sessions are.
    :param templates: templates of its own, by name; ``base.html`` is one already.
    :param options: options of the devices page.
    """
    app = bare_app(server, templates)
    app.register_blueprint(blueprint(**options))
    return app


def bare_app(server: Server | Cluster, templates: dict[str, str] | None = None) -> flask.Flask:
    """Make the site without the devices page.

    :param server: where its sessions are.
    :param templates: templates of its own, by name; ``base.html`` is one already.
    """
    app = flask.Flask("devicesite")
    app.session_interface = RedisSessionInterface(redis=shared_client(server))
    app.jinja_loader = DictLoader({"base.html": BASE, **(templates or {})})

    @app.get("/")
    def home() -> str:
        user = flask.session.get("user_id")
        return f"<title>Home</title><p>{'Nobody' if user is None else f'Hello {user}'}</p>"

    @app.get("/sign-in")
    def sign_in_form() -> str:
        return _SIGN_IN

    @app.post("/sign-in")
    def sign_in() -> str:
        user = flask.request.form["user"]
        flask.session["user_id"] = int(user) if user.isdecimal() else user
        return "<title>Signed in</title>"

    return app


def fill(
    server: Server | Cluster,
    user: object,
    count: int,
    agent: str = FIREFOX,
    *,
    at_once: int = 5_000,
) -> None:
    """Give a user many sessions that nobody has the cookie of.

    :param server: where.
    :param user: whose.
    :param count: how many.
    :param agent: what they signed in with.
    :param at_once: how many in one pipeline.
    """
    client: Any = server.client()
    now, life, index = client.time()[0], 99_999_999, f"session:user:{user}"
    for first in range(0, count, at_once):
        pipeline = client.pipeline(transaction=False)
        seen = {f"{at:022}": now - 60 - at for at in range(first, min(first + at_once, count))}
        for sid, at in seen.items():
            fields = {
                "@born": at,
                "@seen": at,
                "@idle": life,
                "@user": str(user),
                "@signed": at,
                "@agent": agent,
            }
            fields |= {"@ip": "192.0.2.1", "user_id": str(user)}
            pipeline.hset(f"session:{sid}", mapping=fields)
            pipeline.expire(f"session:{sid}", life)
        pipeline.zadd(index, seen)
        pipeline.expire(index, life)
        pipeline.execute()


class Person:
    """A browser at the site, with cookies of its own.

    :param app: the site.
    :param user: who signs in with it; ``None``: nobody yet.
    :param agent: what the browser says it is.
    :param address: where it is.
    """

    def __init__(
        self,
        app: flask.Flask,
        user: object = None,
        agent: str = FIREFOX,
        address: str = "192.0.2.1",
    ) -> None:
        self.client = app.test_client()
        self.client.environ_base.update(HTTP_USER_AGENT=agent, REMOTE_ADDR=address)
        if user is not None:
            self.sign_in(user)

    def sign_in(self, user: object) -> None:
        """Sign in as somebody."""
        assert self.client.post("/sign-in", data={"user": str(user)}).status_code == 200

    @property
    def _cookie(self) -> list[str]:
        cookie = self.client.get_cookie("session")
        assert cookie is not None
        return cookie.value.split(".")

    @property
    def sid(self) -> str:
        """The public id of the session."""
        return self._cookie[0]

    @property
    def secret(self) -> str:
        """What lets somebody into the session."""
        return self._cookie[1]

    @property
    def is_in(self) -> bool:
        """Whether the next click still finds somebody signed in."""
        return "Hello" in self.client.get("/").text

    def open(self, path: str = "/devices", *, status: int = 200, **options: Any) -> TestResponse:
        """Open a page."""
        response = self.client.get(path, buffered=True, **options)
        assert status == response.status_code
        return response

    def token(self) -> str:
        """Return the token of the page."""
        return token_in(self.open().text)

    def post(self, action: str, *, status: int = 303, **form: str) -> TestResponse:
        """Send one of the page's forms, with its token unless another one is given."""
        if "devices_token" not in form:
            form["devices_token"] = self.token()
        response = self.client.post(f"/devices/{action}", data=form)
        assert status == response.status_code
        return response

    def json(self, path: str = "/devices", *, status: int = 200, **options: Any) -> Any:
        """Return what a single-page app gets."""
        headers = {"Accept": "application/json", **options.pop("headers", {})}
        response = self.client.open(path, headers=headers, **options)
        assert status == response.status_code
        assert response.is_json
        return response.json


def token_in(page: str) -> str:
    """Return the token of a page's forms, which is the same in all of them."""
    token: str
    [token] = set(re.findall(r'name="devices_token" value="([^"]+)"', page))
    return token


def sids_in(page: str) -> list[str]:
    """Return the sids of a page, in its order."""
    sids: list[str] = re.findall(r'action="/devices/([^/"]+)/end"', page)
    return sids


def text_of(page: str) -> str:
    """Return what a person reads on a page, without the white space between."""
    page = re.sub(r"<title>.*?</title>|<[^>]+>", " ", page, flags=re.DOTALL)
    return " ".join(html.unescape(page).split())


def setting(**values: Any) -> Callable[[], str]:
    """Return a view that puts these into the session."""

    def view() -> str:
        flask.session.update(values)
        return "set"

    return view


def as_text(held: bytes | str) -> str:
    """Return what Redis holds as text."""
    return held.decode() if isinstance(held, bytes) else held


def age(server: Server, user: object, sid: str, seconds: float) -> None:
    """Let a session have been seen earlier."""
    client = server.client()
    client.hincrbyfloat(f"session:{sid}", "@seen", -seconds)
    client.hincrbyfloat(f"session:{sid}", "@born", -seconds)
    client.hincrbyfloat(f"session:{sid}", "@signed", -seconds)
    client.zincrby(f"session:user:{user}", -seconds, sid)
