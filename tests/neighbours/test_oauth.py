"""OAuth clients against a real OpenID Connect provider: their tokens are in the session."""

from __future__ import annotations

from typing import Any

import flask
import pytest

from flask_redis_session import session
from tests.neighbours.browsing import Shop
from tests.neighbours.provider import CLIENT_ID, CLIENT_SECRET


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
    """Authlib: its token and its user, objects of its own, are kept as the dicts that they are."""
    client = pytest.importorskip("authlib.integrations.flask_client")
    shop = Shop(valkey, SESSION_USER_KEY="user.sub")
    app = shop.app
    add_pages(app, "user")
    oauth = client.OAuth(app)
    oauth.register(
        "house",
        client_id=CLIENT_ID,
        client_secret=CLIENT_SECRET,
        server_metadata_url=f"{provider}/.well-known/openid-configuration",
        client_kwargs={"scope": "openid profile", "code_challenge_method": "S256"},
    )

    @app.get("/login")
    def login() -> Any:
        return oauth.house.authorize_redirect(flask.url_for("back", _external=True))

    @app.get("/back")
    def back() -> Any:
        token = oauth.house.authorize_access_token()
        flask.session["token"] = token
        flask.session["user"] = token["userinfo"]
        return flask.redirect("/")

    @app.get("/at-the-provider")
    def at_the_provider() -> Any:
        found = oauth.house.get(f"{provider}/userinfo", token=flask.session["token"])
        return str(found.json()["email"])

    device = devices(app)
    check(shop, device, "/login")
    late = device()
    sign_in(late, "/login", "ann")
    assert "ann@example.org" == late.visit("/at-the-provider").text


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
