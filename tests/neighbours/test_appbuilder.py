"""Flask-AppBuilder with an OAuth sign-in, translated messages and the user's id under a path."""

from __future__ import annotations

from typing import Any

import flask
import pytest

from flask_redis_session import session
from tests.neighbours.browsing import Shop
from tests.neighbours.provider import CLIENT_ID, CLIENT_SECRET

pytest.importorskip("flask_appbuilder", exc_type=ImportError)


def add_app_builder(app: flask.Flask, provider: str, folder: Any) -> None:
    """Make an application of it as its documentation has it."""
    from flask_appbuilder import AppBuilder, Model, ModelView
    from flask_appbuilder.models.sqla.interface import SQLAInterface
    from flask_appbuilder.security.manager import AUTH_OAUTH
    from flask_appbuilder.security.sqla.manager import SecurityManager
    from flask_appbuilder.utils.legacy import get_sqla_class
    from flask_babel import lazy_gettext
    from flask_login import login_required, user_logged_out
    from flask_wtf import CSRFProtect
    from flask_wtf.csrf import generate_csrf
    from sqlalchemy import Column, Integer, String
    from sqlalchemy.orm import configure_mappers
    from sqlalchemy.pool import NullPool

    app.config.update(
        SQLALCHEMY_DATABASE_URI=f"sqlite:///{folder}/site.db",
        SQLALCHEMY_ENGINE_OPTIONS={"poolclass": NullPool},
        LANGUAGES={
            "en": {"flag": "gb", "name": "English"},
            "de": {"flag": "de", "name": "Deutsch"},
        },
        AUTH_TYPE=AUTH_OAUTH,
        AUTH_USER_REGISTRATION=True,
        AUTH_USER_REGISTRATION_ROLE="Admin",
        OAUTH_PROVIDERS=[
            {
                "name": "house",
                "icon": "fa-key",
                "token_key": "access_token",
                "remote_app": {
                    "client_id": CLIENT_ID,
                    "client_secret": CLIENT_SECRET,
                    "server_metadata_url": f"{provider}/.well-known/openid-configuration",
                    "client_kwargs": {"scope": "openid profile email"},
                },
            }
        ],
    )

    class Manager(SecurityManager):  # type: ignore[misc]
        def get_oauth_user_info(self, provider: str, resp: Any) -> dict[str, str]:
            user = resp["userinfo"]
            # As Authlib's documentation has it: an object of its own, as it is.
            flask.session["user"] = user
            return {
                "username": user["preferred_username"],
                "first_name": user["name"],
                "last_name": "-",
                "email": user["email"],
            }

    db = get_sqla_class()()
    db.init_app(app)

    class Book(Model):  # type: ignore[misc]
        __tablename__ = "book"
        id = Column(Integer, primary_key=True)
        title = Column(String(50), unique=True, nullable=False)

        def __repr__(self) -> str:
            return str(self.title)

    class Books(ModelView):  # type: ignore[misc]
        datamodel = SQLAInterface(Book)
        list_columns = add_columns = edit_columns = ["title"]  # noqa: RUF012 (as its users do)

    CSRFProtect(app)
    with app.app_context():
        builder = AppBuilder(app, db.session, security_manager_class=Manager)
        builder.sm.lm.login_view = "AuthOAuthView.login"
        builder.sm.lm.login_message = lazy_gettext("Access is Denied")
        configure_mappers()
        db.create_all()
        builder.add_view(Books, "Books")

    @user_logged_out.connect_via(app)  # type: ignore[untyped-decorator]
    def forget(_: flask.Flask, **__: Any) -> None:
        flask.session.pop("user", None)

    app.extensions["forget"] = forget

    @app.get("/me")
    @login_required  # type: ignore[untyped-decorator]
    def me() -> str:
        user = flask.session["user"]
        forms = "".join(
            f'<form action="/{name}" method="post">'
            f'<input name="csrf_token" value="{generate_csrf()}"></form>'
            for name in ("greet", "rename", "everywhere")
        )
        return f"{user['name']} of {user['address']['locality']}{forms}"

    @app.post("/greet")
    @login_required  # type: ignore[untyped-decorator]
    def greet() -> Any:
        flask.flash(lazy_gettext("Changed Row"), "info")
        return flask.redirect("/books/list/")

    @app.post("/rename")
    @login_required  # type: ignore[untyped-decorator]
    def rename() -> Any:
        flask.session["user"]["name"] = "Änne"
        return flask.redirect("/me")

    @app.post("/everywhere")
    @login_required  # type: ignore[untyped-decorator]
    def everywhere() -> str:
        return f"ended {session.clear_user_sessions()}"


@pytest.fixture
def site(valkey, provider, tmp_path):
    """The application."""
    site = Shop(valkey, SESSION_USER_KEY="user.sub")
    add_app_builder(site.app, provider, tmp_path)
    return site


def sign_in(device, person):
    """Sign in by way of the provider, and come back."""
    device.visit("/login/house")
    return device.submit("person", person=person)


def is_signed_in(device):
    """Tell whether a device is shown the page of who is signed in."""
    return not device.visit("/me").url.endswith("/login/") and "/login/" not in device.page.url


def step(text):
    """Show a step, if pytest is asked to (`-s`)."""
    print(f"    {text}")


def test_whole_visit(site, devices):
    """People sign in on several devices, work in its pages, and sign out of all at once."""
    device = devices(site.app)
    laptop, phone, tablet, stranger, bob = (device() for _ in range(5))
    step("")

    laptop.visit("/")
    laptop.visit("/lang/de")
    before = laptop.cookie
    sign_in(laptop, "ann")
    assert "Ann of Zürich" in laptop.visit("/me").text
    assert before.split(".")[0] == laptop.cookie.split(".")[0]
    assert before != laptop.cookie
    thief = device()
    thief.cookie = before
    assert not is_signed_in(thief)
    step("laptop: signed in as Ann through OpenID Connect; same session, fresh secret")
    held = site.hash(laptop.cookie.split(".")[0])
    assert b"ann-7f3a" == held[b"@user"]
    assert [] == [name for name in held if name.startswith(b"_state_")]
    step(f"in Redis: @user {held[b'@user'].decode()}, keys {keys_of(held)}")

    for other in (phone, tablet):
        sign_in(other, "ann")
    sign_in(bob, "bob")
    assert 3 == len(site.index("ann-7f3a"))
    assert 1 == len(site.index("bob-7f3a"))
    step("phone and tablet: signed in as Ann; Bob on his own: the index of Ann has 3, Bob's has 1")

    laptop.visit("/books/add")
    assert "Zeile hinzugefügt" in laptop.submit("title", title="Momo").text
    step("laptop: added a book; the page says: Zeile hinzugefügt")
    laptop.visit("/books/edit/1")
    assert "Zeile geändert" in laptop.submit("title", title="Momo und die Zeit").text
    step("laptop: changed it; the page says: Zeile geändert")
    laptop.visit("/me")
    assert "Zeile geändert" in laptop.submit("greet").text
    assert "Zeile geändert" not in laptop.visit("/books/list/").text
    step("laptop: flash(lazy_gettext('Changed Row')) in a view; shown once, in German")
    assert "/books/delete/1" in laptop.visit("/books/list/").text
    token = laptop.visit("/me").form("greet").fields["csrf_token"]
    assert "Zeile gelöscht" in laptop.post("/books/delete/1", csrf_token=token).text
    step("laptop: deleted it; the page says: Zeile gelöscht")
    laptop.post("/books/add", title="forged", status=400)
    step("laptop: a form without Flask-WTF's token: 400")

    secret = laptop.cookie
    laptop.visit("/me")
    assert "Änne of Zürich" in laptop.submit("rename").text
    assert secret == laptop.cookie
    assert 3 == len(site.index("ann-7f3a"))
    step("laptop: session['user']['name'] changed inside: kept, and no change of user")

    tablet.visit("/logout/")
    assert not is_signed_in(tablet)
    assert 2 == len(site.index("ann-7f3a"))
    step("tablet: signed out by Flask-AppBuilder's own page; 2 of Ann's are left")

    assert not is_signed_in(stranger)
    assert all(map(is_signed_in, (laptop, phone, bob)))
    laptop.visit("/me")
    assert "ended 2" in laptop.submit("everywhere").text
    assert not any(map(is_signed_in, (laptop, phone)))
    assert is_signed_in(bob)
    assert [] == site.index("ann-7f3a")
    step("laptop: log out everywhere ended 2; laptop and phone are sent to the sign-in, Bob is not")

    sign_in(phone, "ann")
    assert is_signed_in(phone)
    assert not is_signed_in(laptop)
    step("phone: signed in again")


def keys_of(held):
    """Return the keys of the application's in a session, as text."""
    return ", ".join(sorted(name.decode() for name in held if not name.startswith(b"@")))
