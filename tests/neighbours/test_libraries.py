"""Libraries that keep something in the session, or look at it, each in a small application."""

from __future__ import annotations

from typing import Any

import flask
import pytest

from flask_redis_session import session
from tests.neighbours.browsing import Shop
from tests.support.examples import blocks

ANN = "ann@example.org"


def add_way_out(app: flask.Flask) -> None:
    """Add "log out everywhere"."""

    @app.post("/everywhere")
    def everywhere() -> str:
        return f"ended {session.clear_user_sessions()}"


def add_flask_login(app: flask.Flask, **options: Any) -> None:
    """Add Flask-Login, with people who are only a name."""
    library = pytest.importorskip("flask_login")

    class User(library.UserMixin):  # type: ignore[misc,name-defined]
        def __init__(self, name: str) -> None:
            self.id = name

    manager = library.LoginManager(app)
    manager.login_view = "login"
    manager.user_loader(User)
    for name, value in options.items():
        setattr(manager, name, value)

    @app.get("/login")
    def login() -> str:
        return f"sign in. {flask.get_flashed_messages(with_categories=True)}"

    @app.get("/login/<name>")
    def signed_in(name: str) -> Any:
        library.login_user(User(name), remember="remember" in flask.request.args)
        return flask.redirect("/private")

    @app.get("/logout")
    def logout() -> Any:
        library.logout_user()
        return flask.redirect("/login")

    @app.get("/private")
    @library.login_required  # type: ignore[untyped-decorator]
    def private() -> str:
        return f"for {library.current_user.id}"


def test_flask_login(valkey, devices):
    """A lazy ``login_message`` is shown, once; the sign-in rotates, and one device ends both."""
    babel = pytest.importorskip("flask_babel")
    shop = Shop(valkey)
    babel.Babel(shop.app, locale_selector=lambda: "de")
    message = babel.lazy_gettext("Please log in.")
    add_flask_login(shop.app, login_message=message, session_protection="strong")
    add_way_out(shop.app)
    device = devices(shop.app)
    laptop, phone = device(), device()

    assert "Please log in." in laptop.visit("/private").text
    assert "Please log in." not in laptop.visit("/login").text
    before = laptop.cookie
    assert "for ann" == laptop.visit("/login/ann").text
    assert before != laptop.cookie
    phone.visit("/login/ann")
    assert 2 == len(shop.index("ann"))
    assert "ended 2" == phone.post("/everywhere").text
    assert ["sign in"] * 2 == [one.visit("/private").text[:7] for one in (laptop, phone)]


def test_flask_login_remembers(valkey, devices):
    """Its "remember me" is a cookie of its own, which no session ends: another token does."""
    library = pytest.importorskip("flask_login")
    shop = Shop(valkey)
    add_flask_login(shop.app)
    tokens = {"ann": "ann:1"}

    class User(library.UserMixin):  # type: ignore[misc,name-defined]
        def __init__(self, token: str) -> None:
            self.token = self.id = token

    def load(token: str) -> Any:
        return User(token) if token in tokens.values() else None

    shop.app.login_manager.user_loader(load)  # type: ignore[attr-defined]

    @shop.app.post("/everywhere")
    def everywhere() -> str:
        ended = session.clear_user_sessions()
        tokens["ann"] = "ann:2"
        return f"ended {ended}"

    device = devices(shop.app)
    laptop, phone = device(), device()
    for one in (laptop, phone):
        one.visit("/login/ann:1?remember")

    assert "ended 2" == laptop.post("/everywhere").text

    assert "sign in" == phone.visit("/private").text[:7]
    assert "sign in" == laptop.visit("/private").text[:7]


def test_flask_wtf(valkey, devices):
    """Its token is good before and after the sign-in of the same session, and in no other."""
    wtf = pytest.importorskip("flask_wtf")
    csrf = pytest.importorskip("flask_wtf.csrf")
    shop = Shop(valkey)
    wtf.CSRFProtect(shop.app)

    @shop.app.get("/")
    def form() -> str:
        value = csrf.generate_csrf()
        who = flask.session.get("user_id", "nobody")
        return f'<form action="/{who}">{who}<input name="csrf_token" value="{value}"></form>'

    @shop.app.post("/sign-in")
    def sign_in() -> str:
        flask.session["user_id"] = flask.request.form["name"]
        return "welcome"

    @shop.app.post("/everywhere")
    def everywhere() -> str:
        return f"ended {session.clear_user_sessions()}"

    device = devices(shop.app)
    laptop, phone = device(), device()
    old = {one: one.visit("/").form("csrf_token").fields["csrf_token"] for one in (laptop, phone)}
    for one in (laptop, phone):
        assert "welcome" == one.post("/sign-in", name="ann", csrf_token=old[one]).text
    assert "CSRF" in phone.post("/everywhere", csrf_token=old[laptop], status=400).text
    assert "ended 2" == phone.post("/everywhere", csrf_token=old[phone]).text
    assert "CSRF" in laptop.post("/sign-in", csrf_token=old[laptop], status=400).text
    assert "nobody" in laptop.visit("/").text


def test_flask_admin(valkey, devices, tmp_path):
    """Its pages add, change and delete; what they say of that comes back in the next page."""
    admin = pytest.importorskip("flask_admin")
    sqla = pytest.importorskip("flask_admin.contrib.sqla")
    secure = pytest.importorskip("flask_admin.form")
    babel = pytest.importorskip("flask_babel")
    from flask_sqlalchemy import SQLAlchemy
    from sqlalchemy.pool import NullPool

    shop = Shop(
        valkey,
        SQLALCHEMY_DATABASE_URI=f"sqlite:///{tmp_path}/site.db",
        SQLALCHEMY_ENGINE_OPTIONS={"poolclass": NullPool},
    )
    babel.Babel(shop.app, locale_selector=lambda: "de")
    db = SQLAlchemy(shop.app)

    class Book(db.Model):  # type: ignore[misc,name-defined]
        id = db.Column(db.Integer, primary_key=True)
        title = db.Column(db.String(50))

    class Books(sqla.ModelView):  # type: ignore[misc,name-defined]
        form_base_class = secure.SecureForm

    admin.Admin(shop.app).add_view(Books(Book, db, endpoint="books"))
    with shop.app.app_context():
        db.create_all()

    device = devices(shop.app)()
    device.visit("/admin/books/new/")
    assert "Eintrag wurde erfolgreich erstellt." in device.submit("title", title="Momo").text
    device.visit("/admin/books/edit/?id=1")
    assert "Eintrag wurde erfolgreich gespeichert." in device.submit("title", title="Momo 2").text
    assert "erfolgreich gelöscht" in device.submit("/delete/", id="1").text
    assert "erfolgreich" not in device.visit("/admin/books/").text


def secured_shop(valkey: Any, tmp_path: Any, store: Any = None, **config: Any) -> tuple[Shop, Any]:
    """Return a shop with Flask-Security, and ann, who has a password."""
    security = pytest.importorskip("flask_security")
    fsqla: Any = pytest.importorskip("flask_security.models.fsqla_v3")
    from flask_sqlalchemy import SQLAlchemy
    from sqlalchemy.pool import NullPool

    shop = Shop(
        valkey,
        SQLALCHEMY_DATABASE_URI=f"sqlite:///{tmp_path}/site.db",
        SQLALCHEMY_ENGINE_OPTIONS={"poolclass": NullPool},
        SECURITY_PASSWORD_SALT="salt",
        SECURITY_PASSWORD_HASH="pbkdf2_sha512",
        SECURITY_CHANGEABLE=True,
        SECURITY_SEND_PASSWORD_CHANGE_EMAIL=False,
        SECURITY_EMAIL_VALIDATOR_ARGS={"check_deliverability": False},
        SECURITY_POST_LOGIN_VIEW="/private",
        SECURITY_POST_CHANGE_VIEW="/private",
        **config,
    )
    app = shop.app
    db = SQLAlchemy(app)
    fsqla.FsModels.set_db_info(db)

    class Role(db.Model, fsqla.FsRoleMixin):  # type: ignore[misc,name-defined]
        pass

    class User(db.Model, fsqla.FsUserMixin):  # type: ignore[misc,name-defined]
        pass

    store = store or security.SQLAlchemyUserDatastore
    app.security = security.Security(app, store(db, User, Role))  # type: ignore[attr-defined]
    with app.app_context():
        db.create_all()
        password = security.hash_password("correct horse")
        ann = app.security.datastore.create_user(  # type: ignore[attr-defined]
            email=ANN, password=password
        )
        db.session.commit()
        ann.get_id()

    @app.get("/private")
    @security.auth_required("session", within=60)  # type: ignore[untyped-decorator]
    def private() -> str:
        return f"for {security.current_user.email}"

    add_way_out(app)
    return shop, ann


def test_flask_security_remembers(valkey, devices, tmp_path):
    """With ``remember_by_session`` its "remember me" is a session that lasts, and no cookie."""
    pytest.importorskip("flask_security")
    from flask_redis_session.login import remember_by_session

    shop, ann = secured_shop(valkey, tmp_path, SECURITY_POST_LOGOUT_VIEW="/login")
    remember_by_session(shop.app)
    laptop, phone = (make := devices(shop.app))(), make()
    for one, remember in ((laptop, "y"), (phone, "")):
        one.visit("/login")
        one.submit("password", email=ANN, password="correct horse", remember=remember)
        assert ["session"] == one.cookies
        one.restart()
    user_id = ann.get_id()

    assert f"for {ANN}" == laptop.visit("/private").text
    assert f"for {ANN}" not in phone.visit("/private").text
    assert {365, 1} == {
        (info.expires_at - info.last_seen_at).days for info in shop.interface.list_sessions(user_id)
    }
    laptop.post("/logout")
    laptop.restart()
    assert f"for {ANN}" not in laptop.visit("/private").text


@pytest.mark.parametrize("by_the_page", [False, True])
def test_flask_security(valkey, devices, tmp_path, by_the_page):
    """People sign in by its own pages; the index has what its users give as their id.

    With the datastore of docs/flask-security.md, a change of password ends the other sessions.
    """
    pytest.importorskip("flask_security")
    told: dict[str, Any] = {}
    for code in blocks("docs/flask-security.md"):
        exec(code, told)  # noqa: S102
    shop, ann = secured_shop(valkey, tmp_path, told["Datastore"] if by_the_page else None)
    app, told["sessions"] = shop.app, shop.interface
    user_id = ann.get_id()

    device = devices(app)
    laptop, phone = device(), device()
    for one in (laptop, phone):
        one.visit("/login")
        text = one.submit("password", email=ANN, password="correct horse").text
        assert f"for {ANN}" == text
    assert 2 == len(shop.index(user_id)) == len(told["signed_in_devices"](ann))

    laptop.visit("/change")
    changed = laptop.submit(
        "new_password",
        password="correct horse",
        new_password="battery staple",
        new_password_confirm="battery staple",
    )
    assert f"for {ANN}" == changed.text
    assert (0 if by_the_page else 1) == len(shop.interface.list_sessions(user_id))
    assert "for ann" not in phone.visit("/private").text
    if by_the_page:
        with app.app_context():
            ann = app.security.datastore.find_user(email=ANN)  # type: ignore[attr-defined]
            assert 1 == told["sign_out_everywhere"](ann)
    else:
        assert "ended 1" == laptop.post("/everywhere").text
    assert "for ann" not in laptop.visit("/private").text


def test_flask_principal(valkey, devices):
    """It keeps an identity in the session, and finds it in the next request."""
    principal = pytest.importorskip("flask_principal")
    shop = Shop(valkey, SESSION_USER_KEY="identity_id")
    principal.Principal(shop.app)

    @shop.app.get("/login/<name>")
    def login(name: str) -> str:
        flask.session["identity_id"] = name
        identity = principal.Identity(name)
        principal.identity_changed.send(flask.current_app._get_current_object(), identity=identity)  # type: ignore[attr-defined]
        return "welcome"

    @shop.app.get("/")
    def index() -> str:
        return str(flask.g.identity.id)

    add_way_out(shop.app)
    device = devices(shop.app)()
    device.visit("/login/ann")
    assert "ann" == device.visit("/").text
    assert "ended 1" == device.post("/everywhere").text
    assert "None" == device.visit("/").text


def test_flask_limiter(valkey, devices):
    """A limit per user, by a key that is read before the view runs."""
    limiter = pytest.importorskip("flask_limiter")
    shop = Shop(valkey)
    limits = limiter.Limiter(
        lambda: str(flask.session.get("user_id")), app=shop.app, storage_uri="memory://"
    )

    @shop.app.get("/login/<name>")
    @limits.exempt  # type: ignore[untyped-decorator]
    def login(name: str) -> str:
        flask.session["user_id"] = name
        return "welcome"

    @shop.app.get("/")
    @limits.limit("2 per minute")  # type: ignore[untyped-decorator]
    def index() -> str:
        return "served"

    device = devices(shop.app)
    laptop, phone, bob = device(), device(), device()
    for one, name in ((laptop, "ann"), (phone, "ann"), (bob, "bob")):
        one.visit(f"/login/{name}")
    laptop.visit("/")
    phone.visit("/")
    laptop.visit("/", status=429)
    bob.visit("/")


def test_flask_debugtoolbar(valkey, devices):
    """Its panel shows what the session holds, and the page is as without it."""
    toolbar = pytest.importorskip("flask_debugtoolbar")
    shop = Shop(valkey, DEBUG_TB_ENABLED=True, DEBUG_TB_INTERCEPT_REDIRECTS=False)
    toolbar.DebugToolbarExtension(shop.app)

    @shop.app.get("/")
    def index() -> str:
        flask.session["cart"] = [{"sku": "4711"}]
        return "<html><body>served</body></html>"

    device = devices(shop.app)()
    device.visit("/")
    shown = device.visit("/").text
    assert "served" in shown
    assert "cart" in shown
    assert "4711" in shown
