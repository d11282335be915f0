"""The examples of the README and of the guides, run as they are printed."""

from __future__ import annotations

import re
import textwrap
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

import flask
import pytest

from flask_redis_session import RedisSessionInterface
from tests.support.clients import shared_client

if TYPE_CHECKING:
    from flask.testing import FlaskClient

ROOT = Path(__file__).parents[2]


def blocks(page: str, language: str = "python") -> list[str]:
    """Return the examples of a page in a language."""
    text = (ROOT / page).read_text("utf-8")
    found = re.findall(rf"^( *)```{language}\n(.*?)^ *```", text, re.DOTALL | re.MULTILINE)
    return [textwrap.dedent(code) for _, code in found]


@dataclass
class User:
    """Somebody who signs in."""

    id: int


@dataclass
class Shop:
    """An application on a server, and what the examples of the guides take for granted."""

    app: flask.Flask
    sessions: RedisSessionInterface
    mails: list[tuple[str, str]] = field(default_factory=list)

    def names(self) -> dict[str, Any]:
        """Return the names that the examples use."""
        return {
            "app": self.app,
            "sessions": self.sessions,
            "session": flask.session,
            "user": User(23),
            "password_changed_at": datetime.now(timezone.utc),
            "find_user": lambda name, password: User(23) if password == "good" else None,
            "set_password": lambda user_id, new: None,
            "is_admin": lambda user_id: user_id == 1,
            "send_mail": lambda user_id, text: self.mails.append((user_id, text)),
        }

    def run(self, *codes: str) -> None:
        """Run examples one after another."""
        names = self.names()
        with self.app.app_context():
            for code in codes:
                exec(code, names)  # noqa: S102

    def browser(self, agent: str = "Firefox") -> FlaskClient:
        """Return a browser of its own."""
        client = self.app.test_client()
        client.environ_base["HTTP_USER_AGENT"] = agent
        return client


@pytest.fixture
def shop(server: Any) -> Shop:
    """Return an application on the server."""
    app = flask.Flask(__name__)
    app.config["SESSION_REDIS"] = shared_client(server)
    app.testing = True
    sessions = RedisSessionInterface()
    sessions.init_app(app)
    app.add_url_rule("/who", "who", view_func=lambda: str(flask.session.get("user_id")))
    return Shop(app, sessions)


def sign_in(browser: FlaskClient, **more: str) -> None:
    """Sign a browser in, with further fields of the form."""
    browser.post("/sign-in", data={"name": "ann", "password": "good", **more})


def who(browser: FlaskClient) -> str:
    """Return who is signed in."""
    return browser.get("/who").text


@pytest.mark.parametrize("page", ["README.md", "docs/quickstart.md"])
def test_first_application(page: str, server: Any) -> None:
    """The application that a reader copies first signs in, and out everywhere."""
    code = max(blocks(page), key=len)
    client = shared_client(server)
    local = re.sub(r'app.config\["SESSION_REDIS_URL"\].*', "", code)
    names: dict[str, Any] = {"__name__": "example"}
    exec(local, names)  # noqa: S102
    names["app"].config["SESSION_REDIS"] = client
    path = "/log-out-everywhere" if page == "README.md" else "/sign-out-everywhere"
    laptop, phone = names["app"].test_client(), names["app"].test_client()

    assert local != code
    assert "Signed in.\n" == laptop.post("/sign-in/23").text == phone.post("/sign-in/23").text
    assert "2 sessions ended\n" == laptop.post(path).text
    assert "0 sessions ended\n" == phone.post(path).text


def test_quickstart_as_printed(server: Any) -> None:
    """Each line that the quickstart prints is what the application answers."""
    names: dict[str, Any] = {"__name__": "example"}
    code = re.sub(r'app.config\["SESSION_REDIS_URL"\].*', "", blocks("docs/quickstart.md")[0])
    exec(code, names)  # noqa: S102
    names["app"].config["SESSION_REDIS"] = shared_client(server)
    printed = blocks("docs/quickstart.md", "console")[1]
    browsers: dict[str, FlaskClient] = {}
    calls = re.findall(
        r"\$ curl -[bc] (\w+)( -X POST)? localhost:5000(\S+)\n((?:[^$\n].*\n)+)", printed
    )

    assert 5 == len(calls) == printed.count("$ ")
    for jar, posts, path, expected in calls:
        client = browsers.setdefault(jar, names["app"].test_client())
        assert expected == client.open(path, method="POST" if posts else "GET").text


class TestSignIn:
    """docs/sign-in.md."""

    PAGE = "docs/sign-in.md"

    def test_sign_in_and_out(self, shop: Shop) -> None:
        """The first example signs in, keeps the cart, drops the rest, and signs out."""
        shop.run(blocks(self.PAGE)[0])
        shop.app.add_url_rule("/keys", view_func=lambda: ",".join(sorted(flask.session)))

        def fill() -> str:
            flask.session.update(cart=[1], planted="x")
            return ""

        shop.app.add_url_rule("/fill", view_func=fill)
        browser = shop.browser()
        browser.get("/fill")
        sign_in(browser)

        assert "cart,user_id" == browser.get("/keys").text
        browser.post("/sign-out")
        assert "None" == who(browser)
        assert [] == shop.sessions.list_sessions(23)

    def test_wrong_password(self, shop: Shop) -> None:
        """Nobody is signed in by a wrong password."""
        shop.run(blocks(self.PAGE)[0])
        browser = shop.browser()

        assert 403 == browser.post("/sign-in", data={"name": "a", "password": "bad"}).status_code
        assert "None" == who(browser)

    def test_change_of_password(self, shop: Shop) -> None:
        """A change of password leaves this browser signed in, and no other one."""
        shop.run(*blocks(self.PAGE)[:2])
        mine, other = shop.browser(), shop.browser()
        sign_in(mine)
        sign_in(other)
        mine.post("/change-password", data={"new": "better"})

        assert ["23", "None"] == [who(mine), who(other)]

    def test_reset(self, shop: Shop) -> None:
        """A reset from outside ends every session."""
        shop.run(*blocks(self.PAGE)[:2])
        browser = shop.browser()
        sign_in(browser)
        shop.run(blocks(self.PAGE)[2])

        assert "None" == who(browser)

    def test_new_device(self, shop: Shop) -> None:
        """A mail goes out for a browser that the user is not signed in with."""
        shop.run(blocks(self.PAGE)[0], blocks(self.PAGE)[3])
        for agent in ("Firefox", "Firefox", "Chrome"):
            sign_in(shop.browser(agent))

        assert [("23", "New sign-in: Chrome from 127.0.0.1")] == shop.mails


def test_lifetimes(shop: Shop) -> None:
    """docs/lifetimes.md: "keep me signed in" makes a permanent session."""
    settings, times = blocks("docs/lifetimes.md")
    shop.run("from flask import redirect, request, session\n" + settings)
    found: list[Any] = []

    def look() -> str:
        times_now = eval(times.partition("#")[0], {"session": flask.session})  # noqa: S307
        found.append((flask.session.permanent, times_now))
        return ""

    shop.app.add_url_rule("/times", view_func=look)
    for more in ({}, {"keep": "1"}):
        browser = shop.browser()
        sign_in(browser, **more)
        browser.get("/times")

    assert [False, True] == [permanent for permanent, _ in found]
    left = [(expires - seen).total_seconds() for _, (_, seen, expires, _) in found]
    assert [pytest.approx(1800, abs=60), pytest.approx(90 * 86400, abs=60)] == left


def test_session(shop: Shop) -> None:
    """docs/session.md: each line of what a session can do is run, signed in."""
    in_request, outside, _factory, _clients = blocks("docs/session.md")
    names = {**shop.names(), "timedelta": timedelta, "sessions": shop.sessions}

    def view() -> str:
        flask.session["otp"] = "1"
        lines = [line for line in in_request.splitlines() if "signs out" not in line]
        code = "\n".join(line for line in lines if "ends the session" not in line)
        exec(code, names)  # noqa: S102
        return str(flask.session.get("tries"))

    shop.app.add_url_rule("/view", view_func=view)

    assert "None" == shop.browser().get("/view").text
    outside = outside.replace("sessions = RedisSessionInterface()\nsessions.init_app(app)", "")
    shop.run(outside)


def test_administration(shop: Shop) -> None:
    """docs/administration.md: an administrator sees and ends a user's sessions."""
    shop.run(blocks("docs/sign-in.md")[0], blocks("docs/administration.md")[0])

    def become() -> str:
        flask.session["user_id"] = 1
        return ""

    shop.app.add_url_rule("/become", view_func=become)
    user, admin = shop.browser(), shop.browser()
    sign_in(user)
    admin.get("/become")

    assert 403 == user.get("/admin/users/23/sessions").status_code
    listed = admin.get("/admin/users/23/sessions").get_json()["sessions"]
    assert ["Firefox"] == [each["browser"] for each in listed]
    assert 403 == user.post("/admin/users/23/sign-out").status_code
    admin.post("/admin/users/23/sign-out")
    assert "None" == who(user)
