"""A shop moves over by ``docs/moving.md`` alone. ``pytest -s`` shows it step by step."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import flask
import flask_session
import pytest
from flask_babel import Babel, lazy_gettext
from flask_login import (
    LoginManager,
    UserMixin,
    current_user,
    fresh_login_required,
    login_required,
    login_user,
    logout_user,
)

from flask_redis_session import RedisSession, RedisSessionInterface
from flask_redis_session.devices import blueprint
from flask_redis_session.login import remember_by_session

if TYPE_CHECKING:
    from flask.testing import FlaskClient

pytestmark = [
    pytest.mark.filterwarnings("ignore:SESSION_IMPORT"),
    pytest.mark.one_server("Flask-Session keeps its sessions on one server"),
]


class User(UserMixin):  # type: ignore[misc]
    """A customer."""

    def __init__(self, name: str) -> None:
        self.id = name


def make_shop() -> flask.Flask:
    """Make the shop, without sessions: its views are the same before and after."""
    app = flask.Flask("shop")
    app.config["SECRET_KEY"] = "the shop's key"
    Babel(app, locale_selector=lambda: "de")
    login = LoginManager(app)
    login.user_loader(User)

    @app.get("/sign-in/<name>")
    def sign_in(name: str) -> Any:
        flask.session.permanent = True
        login_user(User(name))
        # Flask-Session stores no lazy string.
        flask.flash(str(lazy_gettext("Welcome")))
        return "signed in"

    @app.get("/remember/<name>")
    def remember(name: str) -> Any:
        login_user(User(name), remember=True)
        return "signed in, and remembered"

    @app.get("/oauth")
    def oauth() -> Any:
        flask.session["state"] = "s" * 30
        flask.session["token"] = {"access_token": "t" * 40, "expires_at": 1_900_000_000.5}
        return "at the provider"

    @app.get("/oauth/back/<name>")
    def oauth_back(name: str) -> Any:
        if flask.session.pop("state", None) != "s" * 30:
            flask.abort(400)
        login_user(User(name))
        return "signed in"

    @app.get("/cart/<item>")
    def cart(item: str) -> Any:
        flask.session["cart"] = [*flask.session.get("cart", []), item]
        return "in the cart"

    @app.get("/")
    def home() -> Any:
        name = current_user.get_id()
        shown = [str(message) for message in flask.get_flashed_messages()]
        return {"name": name, "cart": flask.session.get("cart", []), "told": shown}

    @app.get("/admin")
    @login_required  # type: ignore[untyped-decorator]
    def admin() -> Any:
        return f"hello {current_user.get_id()}"

    @app.get("/pay")
    @fresh_login_required  # type: ignore[untyped-decorator]
    def pay() -> Any:
        return "paid"

    @app.get("/sign-out")
    def sign_out() -> Any:
        logout_user()
        return "signed out"

    @app.get("/tell")
    def tell() -> Any:
        flask.flash(lazy_gettext("Saved"))
        return "told"

    return app


def old_shop(redis: Any) -> flask.Flask:
    """Return the shop with Flask-Session."""
    app = make_shop()
    app.config.update(SESSION_TYPE="redis", SESSION_REDIS=redis)
    flask_session.Session(app)
    return app


def new_shop(redis: Any) -> flask.Flask:
    """Return the shop as the page says."""
    app = make_shop()
    until = datetime.now(timezone.utc) + timedelta(days=31)
    app.config["SESSION_REDIS"] = redis
    app.config["SESSION_PERMANENT"] = True
    app.config["SESSION_IMPORT"] = {"flask-session": until}
    RedisSessionInterface().init_app(app)
    remember_by_session(app, accept_cookies_until=until)
    app.register_blueprint(blueprint())

    @app.get("/log-out-everywhere")
    def log_out_everywhere() -> Any:
        session: Any = flask.session
        assert isinstance(session._get_current_object(), RedisSession)
        return str(session.clear_user_sessions())

    return app


def moved(browser: FlaskClient, app: flask.Flask) -> FlaskClient:
    """Return the same browser, at the shop after the move."""
    new = app.test_client()
    for name in ("session", "remember_token"):
        cookie = browser.get_cookie(name)
        if cookie is not None:
            new.set_cookie(name, cookie.value)
    return new


def test_moves_over(valkey: Any) -> None:
    """Nobody is signed out, and "log out everywhere" ends every device for good."""
    redis = valkey.client()
    before = old_shop(redis)

    def tell(what: str) -> None:
        print(f"- {what}")

    print()
    laptop, phone, tablet, guest, buyer, desk, attic = (before.test_client() for _ in range(7))
    laptop.get("/sign-in/ann")
    laptop.get("/cart/tea")
    phone.get("/oauth")
    phone.get("/oauth/back/ann")
    tablet.get("/sign-in/ann")
    guest.get("/cart/cup")
    buyer.get("/oauth")
    for browser in (desk, attic):
        browser.get("/remember/ann")
        # It was closed since, and its session ended.
        browser.delete_cookie("session")
    assert 200 == laptop.get("/pay").status_code
    tell("before: ann is signed in on a laptop, a phone (OAuth) and a tablet; a guest has a cart;")
    tell('        she said "remember me" on a desk computer and on one in the attic, long ago;')
    tell("        a buyer is at the OAuth provider, half-way through the sign-in")

    after = new_shop(redis)
    old_cookies = [each.get_cookie("session") for each in (laptop, phone, tablet)]
    laptop, phone, guest, buyer = (moved(each, after) for each in (laptop, phone, guest, buyer))
    away = tablet
    desk, attic = moved(desk, after), moved(attic, after)
    seen = laptop.get("/").json
    assert {"name": "ann", "cart": ["tea"], "told": ["Welcome"]} == seen
    tell(f"after: the laptop sees {seen}")
    laptop.get("/tell")
    assert ["Saved"] == laptop.get("/").json["told"]  # type: ignore[index]
    tell("after: a lazily translated flash message is shown, too")
    assert "hello ann" == phone.get("/admin").text
    tell("after: the phone opens the admin page without a sign-in")
    assert ["cup"] == guest.get("/").json["cart"]  # type: ignore[index]
    tell("after: the guest still has the cart")
    assert "signed in" == buyer.get("/oauth/back/bob").text
    assert "hello bob" == buyer.get("/admin").text
    tell("after: the buyer comes back from the provider, and is signed in as bob")
    assert 401 == laptop.get("/pay").status_code
    tell("after: to pay, the laptop is asked for the password once more")
    assert "hello ann" == desk.get("/admin").text
    desk.get("/")
    assert desk.get_cookie("remember_token") is None
    assert "hello ann" == desk.get("/admin").text
    tell("after: the desk computer still knows ann, by a session instead of a second cookie")
    devices = laptop.get("/devices", headers={"Accept": "application/json"}).json
    assert devices is not None
    assert 2 == [each["signed_in_at"] for each in devices["sessions"]].count(None)
    assert 2 == laptop.get("/devices").text.count("before the move")
    tell("after: the devices page lists laptop and phone, signed in before the move, and the desk")

    assert "3" == laptop.get("/log-out-everywhere").text
    tell('the laptop says "log out everywhere": 3 sessions end')
    for browser, name in (
        (laptop, "laptop"),
        (phone, "phone"),
        (desk, "desk computer"),
        (moved(away, after), "tablet, which had not come back,"),
        (attic, "computer in the attic, which had not come back,"),
    ):
        assert 401 == browser.get("/admin").status_code
        tell(f"the {name} is signed out")
    for cookie in old_cookies:
        again = after.test_client()
        assert cookie is not None
        again.set_cookie("session", cookie.value)
        assert 401 == again.get("/admin").status_code
    tell("and none of the three old cookies opens anything any more")
    assert "hello bob" == buyer.get("/admin").text
    tell("bob is still signed in")
