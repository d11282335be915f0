"""OAuth clients against a real OpenID Connect provider: their tokens are in the session."""

from __future__ import annotations

from typing import Any

import flask
import pytest

from flask_redis_session import RedisSessionInterface, session
from tests.neighbours.browsing import Shop
from tests.neighbours.provider import CLIENT_ID, CLIENT_SECRET
from tests.support.examples import blocks


def add_pages(app: flask.Flask, user: str) -> None:
    """Add who one is, and the way out.

    :param user: the session key that has the dict of the user.
    """

    @app.get("/")
    def index() -> str:
        found = flask.session.get(user)
        return f"{found['name']}, {found['sub']}" if found else "nobody"

    @app.post("/everywhere")
    def everywhere() -> str:
        return f"ended {session.clear_user_sessions()}"


def sign_in(device, start, person):
    """Go to the provider by way of an address of the site, and come back."""
    device.visit(start)
    device.submit("person", person=person)


def check(shop, device, start):
    """Several devices sign in, one ends them all, and another user's stays."""
    laptop, phone, bob = (device() for _ in range(3))
    for visitor in (laptop, phone):
        sign_in(visitor, start, "ann")
        assert "Ann, ann-7f3a" == visitor.visit("/").text
    sign_in(bob, start, "bob")
    assert 2 == len(shop.index("ann-7f3a"))
    states = [key for key in shop.hash(laptop.cookie.split(".")[0]) if b"state" in key]
    assert [] == states

    assert "ended 2" == laptop.post("/everywhere").text

    assert ["nobody"] * 2 == [visitor.visit("/").text for visitor in (laptop, phone)]
    assert "Bob, bob-7f3a" == bob.visit("/").text


def test_authlib(valkey, provider, devices):
    """Authlib, as docs/oauth.md tells: its token and its user are kept as plain dicts."""
    pytest.importorskip("authlib")
    page, _ = blocks("docs/oauth.md")
    app = flask.Flask("shop")
    app.config["SESSION_REDIS"] = valkey.client()
    sessions = RedisSessionInterface()
    sessions.init_app(app)
    known = {
        "app": app,
        "CLIENT_ID": CLIENT_ID,
        "CLIENT_SECRET": CLIENT_SECRET,
        "PROVIDER": provider,
    }
    exec(page, known)  # noqa: S102
    add_pages(app, "user")

    @app.get("/at-the-provider")
    def at_the_provider() -> Any:
        found = known["oauth"].house.get(f"{provider}/userinfo", token=flask.session["token"])
        return str(found.json()["email"])

    device = devices(app)
    laptop, phone, bob = (device() for _ in range(3))
    for visitor, person in ((laptop, "ann"), (phone, "ann"), (bob, "bob")):
        sign_in(visitor, "/sign-in", person)
    kept = valkey.client().hkeys(f"session:{laptop.cookie.split('.')[0]}")

    assert "Ann, ann-7f3a" == laptop.visit("/").text
    assert "ann@example.org" == laptop.visit("/at-the-provider").text
    assert {b"user", b"token", b"cart"} == {key for key in kept if not key.startswith(b"@")}
    assert 2 == len(sessions.list_sessions("ann-7f3a"))
    assert "2 sessions ended" == laptop.post("/sign-out-everywhere").text
    assert ["nobody", "nobody"] == [one.visit("/").text for one in (laptop, phone)]
    assert "Bob, bob-7f3a" == bob.visit("/").text


def test_several_providers(valkey):
    """The id of docs/oauth.md has the provider in it, so that two people stay two."""
    app = flask.Flask("shop")
    app.config["SESSION_REDIS"] = valkey.client()
    sessions = RedisSessionInterface()
    sessions.init_app(app)
    known: dict[str, Any] = {"session": flask.session}
    exec(blocks("docs/oauth.md")[1], known)  # noqa: S102

    @app.post("/in/<provider>")
    def enter(provider: str) -> str:
        known["sign_in_as"](provider, "1", "Ann")
        return ""

    for name in ("house", "club", "club"):
        app.test_client().post(f"/in/{name}")

    assert [1, 2] == [len(sessions.list_sessions(f"{name}:1")) for name in ("house", "club")]


def test_flask_dance(valkey, provider, devices):
    """Flask-Dance keeps its token in the session by itself."""
    consumer = pytest.importorskip("flask_dance.consumer")
    shop = Shop(valkey, SESSION_USER_KEY="profile.sub")
    add_pages(shop.app, "profile")
    blueprint = consumer.OAuth2ConsumerBlueprint(
        "house",
        "shop",
        client_id=CLIENT_ID,
        client_secret=CLIENT_SECRET,
        base_url=provider,
        token_url=f"{provider}/token",
        authorization_url=f"{provider}/authorize",
        scope=["openid", "profile"],
        redirect_url="/",
        use_pkce=True,
    )
    shop.app.register_blueprint(blueprint)

    def keep(blueprint: Any, token: Any) -> None:
        flask.session["profile"] = blueprint.session.get("/userinfo").json()

    with consumer.oauth_authorized.connected_to(keep, sender=blueprint):
        check(shop, devices(shop.app), "/house")


def test_flask_oidc(valkey, provider, devices):
    """Flask-OIDC: the path to the user's id in what it keeps is all that is to be set."""
    oidc = pytest.importorskip("flask_oidc")
    secrets = {"client_id": CLIENT_ID, "client_secret": CLIENT_SECRET, "issuer": provider}
    shop = Shop(
        valkey,
        SESSION_USER_KEY="oidc_auth_profile.sub",
        OIDC_CLIENT_SECRETS={"web": secrets},
        OIDC_SCOPES="openid profile",
    )
    add_pages(shop.app, "oidc_auth_profile")
    library = oidc.OpenIDConnect(shop.app)

    @shop.app.get("/private")
    @library.require_login  # type: ignore[untyped-decorator]
    def private() -> Any:
        return str(flask.g.oidc_user.unique_id)

    check(shop, devices(shop.app), "/private")
