"""The examples of the README and of the guides, run as they are printed."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import flask
import pytest

from tests.support.clients import shared_client
from tests.support.examples import Shop, blocks, sign_in, who

if TYPE_CHECKING:
    from flask.testing import FlaskClient


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
