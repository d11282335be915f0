"""The examples of the guides by task, run as they are printed."""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import flask
import flask_login
import pytest
from flask_login import LoginManager, UserMixin, current_user, login_user
from jinja2 import DictLoader

from flask_redis_session import RedisSessionInterface, merged
from flask_redis_session.admin.cli import sessions as command_line
from tests.support.clients import shared_client
from tests.support.commandline import SHOP, make, on_a_terminal, run
from tests.support.examples import ROOT, Shop, blocks, open_shop, sign_in, who

if TYPE_CHECKING:
    from pathlib import Path

    from flask.testing import FlaskClient

DAY = timedelta(days=1)

#: Which tests run the Python examples of a page, if it is not those of this folder.
ELSEWHERE = {
    "deployment": "operations/test_deployment.py",
    "flask-security": "neighbours/test_libraries.py",
    "monitoring": "operations/test_recipes.py",
    "oauth": "neighbours/test_oauth.py",
    "signals": "request/test_signals.py",
    "testing": "operations/test_testing.py",
}


@pytest.mark.parametrize("page", sorted((ROOT / "docs").glob("*.md")), ids=lambda page: page.stem)
def test_every_example_is_run(page: Path) -> None:
    """Each page with an example in Python is read by the tests that run it."""
    here = "".join(
        (ROOT / "tests" / "tooling" / name).read_text("utf-8")
        for name in ("test_examples.py", "test_guides.py")
    )
    place = ELSEWHERE.get(page.stem)
    text = (ROOT / "tests" / place).read_text("utf-8") if place else here

    assert not blocks(f"docs/{page.name}") or re.search(rf'[/"]{page.name}"', text)


def test_first_page(server: Any) -> None:
    """docs/index.md: three lines are enough."""
    names: dict[str, Any] = {"__name__": "shop"}
    exec(blocks("docs/index.md")[0], names)  # noqa: S102
    app = names["app"]
    app.config["SESSION_REDIS"] = shared_client(server)
    app.add_url_rule("/", view_func=lambda: str(flask.session.increment("n")))  # type: ignore[attr-defined]
    browser = app.test_client()

    assert ["1", "2"] == [browser.get("/").text for _ in range(2)]


def view(shop: Shop, path: str, does: Any) -> None:
    """Add a view that does something, and answers what it returned."""
    shop.app.add_url_rule(path, path, view_func=lambda: str(does()), methods=["GET", "POST"])


class TestCart:
    """docs/cart.md."""

    PAGE = "docs/cart.md"

    @pytest.fixture
    def browser(self, shop: Shop) -> FlaskClient:
        """Return a browser with two of one product and one of another."""
        shop.run(*blocks(self.PAGE))
        browser = shop.browser()
        for sku in ("apple", "apple", "pear"):
            browser.post(f"/cart/{sku}")
        return browser

    def test_add_and_remove(self, browser: FlaskClient) -> None:
        """What is added counts, what is removed is gone."""
        browser.post("/cart/pear/remove")
        browser.post("/cart/apple", data={"count": "3"})

        assert {"cart": {"apple": 5}} == browser.get("/cart").get_json()

    def test_sign_in(self, browser: FlaskClient) -> None:
        """A sign-in keeps the cart."""
        sign_in(browser)

        assert "23" == who(browser)
        assert {"cart": {"apple": 2, "pear": 1}} == browser.get("/cart").get_json()

    def test_order_once(self, browser: FlaskClient) -> None:
        """A form that is sent twice orders once, and empties the cart."""
        token = browser.get("/checkout").get_json()["token"]
        answers = [browser.post("/order", data={"token": token}) for _ in range(2)]

        assert [200, 409] == [answer.status_code for answer in answers]
        assert {"ordered": {"apple": 2, "pear": 1}} == answers[0].get_json()
        assert {"cart": {}} == browser.get("/cart").get_json()


class TestOneTimeCodes:
    """docs/one-time-codes.md."""

    PAGE = "docs/one-time-codes.md"

    @pytest.fixture
    def browser(self, shop: Shop) -> FlaskClient:
        """Return a browser whose user gave the password, and was sent a code."""
        shop.run(blocks(self.PAGE)[0])
        browser = shop.browser()
        sign_in(browser)
        return browser

    @staticmethod
    def guess(browser: FlaskClient, code: str) -> int:
        """Send a code, and return the status."""
        return browser.post("/code", data={"code": code}).status_code

    def test_right(self, shop: Shop, browser: FlaskClient) -> None:
        """The code signs in, once; before it nobody is signed in."""
        code = shop.mails[0][1].rpartition(" ")[2]

        assert ("None", []) == (who(browser), shop.sessions.list_sessions(23))
        assert 302 == self.guess(browser, code)
        assert "23" == who(browser)
        assert 410 == self.guess(browser, code)

    def test_three_guesses(self, shop: Shop, browser: FlaskClient) -> None:
        """After three wrong guesses the right one is refused too."""
        code = shop.mails[0][1].rpartition(" ")[2]

        assert [403, 403, 403, 429] == [self.guess(browser, c) for c in ("a", "b", "c", code)]
        assert "None" == who(browser)

    def test_link(self, shop: Shop) -> None:
        """A nonce is good once."""
        names = {**shop.names(), "abort": flask.abort}
        exec(blocks(self.PAGE)[1], names)  # noqa: S102
        view(shop, "/make", lambda: names["make"]("n"))
        view(shop, "/use", lambda: names["use"]("n"))
        browser = shop.browser()
        browser.get("/make")

        assert [200, 400] == [browser.get("/use").status_code for _ in range(2)]


class TestLargeSessions:
    """docs/large-sessions.md."""

    PAGE = "docs/large-sessions.md"

    def test_keys(self, shop: Shop) -> None:
        """The parts are keys of their own, and what grows stays short."""
        parts, seen, _ = blocks(self.PAGE)
        names = {**shop.names(), "address": "a", "items": [1], "payment": "p", "sku": 7}
        view(shop, "/fill", lambda: exec(parts, names) or len(flask.session))  # noqa: S102
        view(shop, "/look", lambda: exec(seen, names) or len(flask.session["seen"]))  # noqa: S102
        browser = shop.browser()

        assert "4" == browser.get("/fill").text
        assert "20" == [browser.get("/look").text for _ in range(21)][-1]

    def test_watch(self, shop: Shop, caplog: pytest.LogCaptureFixture) -> None:
        """A request that loads much is named, until its view is known."""
        shop.run(blocks(self.PAGE)[2])

        def fill() -> str:
            flask.session.update({f"key{n}": "x" * 30_000 for n in range(5)})
            return ""

        view(shop, "/fill", fill)
        view(shop, "/one", lambda: len(flask.session["key1"]))
        browser = shop.browser()
        browser.get("/fill")
        for _ in range(5):
            browser.get("/one")

        assert ["/one loaded 15"] == [
            record.getMessage()[:14]
            for record in caplog.records
            if "loaded" in record.getMessage() and record.name == "shop"
        ]


class TestConcurrency:
    """docs/concurrency.md."""

    PAGE = "docs/concurrency.md"

    def test_at_once(self, shop: Shop) -> None:
        """Counts count, and what is taken is gone."""
        names = shop.names()
        view(shop, "/store", lambda: flask.session.update(otp="1234", credit=20))
        view(shop, "/do", lambda: exec(blocks(self.PAGE)[0], names))  # noqa: S102
        browser = shop.browser()
        found = []
        for path in ("/store", "/do", "/do"):
            browser.get(path)
            found.append([names.get(name) for name in ("tries", "left", "code")])

        assert [[None] * 3, [1, 15, "1234"], [2, 10, None]] == found

    def test_merge(self, server: Any) -> None:
        """Both settings are taken, and the rule of the page keeps the last ten."""
        names: dict[str, Any] = {"merged": merged}
        listed, ruled, rule = re.split(r"\n+(?=app|def)", blocks(self.PAGE)[1])
        exec(rule, names)  # noqa: S102
        for code in (listed, ruled):
            names["app"] = flask.Flask("shop")
            exec(code, names)  # noqa: S102
            RedisSessionInterface(redis=shared_client(server)).init_app(names["app"])

        assert [*range(3, 13)] == names["newest"]([1], [1, 12], [*range(1, 12)])


class TestUsers:
    """docs/users.md."""

    PAGE = "docs/users.md"

    def test_path(self, server: Any) -> None:
        """Each line of the path's example does what stands beside it."""
        shop = open_shop(server, SESSION_USER_KEY="user.sub")
        lines = iter(blocks(self.PAGE)[0].splitlines())
        view(shop, "/next", lambda: exec(next(lines), shop.names()))  # noqa: S102
        browser = shop.browser()
        found = []
        for _ in range(4):
            answer = browser.get("/next")
            found.append(
                (
                    "Set-Cookie" in answer.headers,
                    *(len(shop.sessions.list_sessions(name)) for name in ("ann", "bob")),
                )
            )

        assert [(True, 1, 0), (False, 1, 0), (True, 0, 1), (True, 0, 0)] == found

    def test_another_key(self, server: Any) -> None:
        """A session of the old key moves to the index of the new one at its next request."""
        before = open_shop(server, SESSION_USER_KEY="name")
        view(before, "/in", lambda: flask.session.update(name="ann", account=23))
        browser = before.browser()
        browser.get("/in")
        after = open_shop(server, SESSION_USER_KEY="account")
        after.run(blocks(self.PAGE)[1])
        later = after.browser()
        cookie = browser.get_cookie("session")
        assert cookie is not None
        later.set_cookie("session", cookie.value)
        later.get("/who")

        assert [0, 1] == [len(after.sessions.list_sessions(user)) for user in ("ann", 23)]

    def test_lookup(self, shop: Shop) -> None:
        """The command line takes what the lookup knows."""
        users = {"ann@example.org": SimpleNamespace(get_id=lambda: "t0ken")}
        query = SimpleNamespace(
            filter_by=lambda email: SimpleNamespace(one_or_none=lambda: users.get(email))
        )
        names = {**shop.names(), "User": SimpleNamespace(query=query)}
        exec(blocks(self.PAGE)[2], names)  # noqa: S102
        view(shop, "/in", lambda: flask.session.update(user_id="t0ken"))
        shop.browser().get("/in")

        assert "t0ken" == run(shop.app, "list", "ann@example.org", "--json").json[0]["user_id"]
        run(shop.app, "list", "eve@example.org", status=1)

    def test_impersonation(self, server: Any) -> None:
        """An administrator becomes a user and stops, in a session that stays theirs."""
        shop = open_shop(server)
        names = {**vars(flask), **vars(flask_login), **with_login(shop)}
        exec(blocks(self.PAGE)[3], names)  # noqa: S102
        view(shop, "/in", lambda: login_user(names["User"].get("root")))
        view(shop, "/me", lambda: current_user.get_id())
        admin = shop.browser()
        found = []
        for path in ("/in", "/admin/become/ann", "/admin/stop"):
            admin.post(path)
            lists = [len(shop.sessions.list_sessions(name)) for name in ("root", "ann")]
            found.append((admin.get("/me").text, *lists))

        assert [("root", 1, 0), ("ann", 1, 0), ("root", 1, 0)] == found


def with_login(shop: Shop) -> dict[str, Any]:
    """Let an application have Flask-Login, and return the names that examples use."""
    shop.app.secret_key = "for Flask-Login"
    passwords = {"ann": "good"}

    class User(UserMixin):  # type: ignore[misc]
        def __init__(self, name: str) -> None:
            self.id = name

        @classmethod
        def get(cls, name: str) -> User:
            return cls(name)

        @classmethod
        def authenticate(cls, name: str, password: str) -> User | None:
            return cls(name) if passwords.get(name) == password else None

        def set_password(self, password: str) -> None:
            passwords[self.id] = password

    login_manager = LoginManager()
    login_manager.user_loader(User)
    login_manager.init_app(shop.app)
    return {**shop.names(), "User": User, "login_manager": login_manager}


def test_flask_login(shop: Shop) -> None:
    """docs/flask-login.md: sign in, remembered; sign out here and everywhere; a new password."""
    first, *views = blocks("docs/flask-login.md")
    names = {**vars(flask), **vars(flask_login), **with_login(shop)}
    # The application has its sessions already.
    exec(first.replace("RedisSessionInterface().init_app(app)", ""), names)  # noqa: S102
    for code in views:
        exec(code, names)  # noqa: S102
    shop.app.add_url_rule("/", "home", lambda: str(names["current_user"].get_id()))
    shop.app.add_url_rule("/account", "account", lambda: "")
    laptop, phone = shop.browser(), shop.browser()

    def users() -> list[str]:
        return [one.get("/").text for one in (laptop, phone)]

    def enter() -> None:
        for one in (laptop, phone):
            one.post("/login", data={"name": "ann", "password": word, "remember": "1"})

    word = "good"
    enter()
    assert ["ann", "ann"] == users()
    laptop.post("/password", data={"new": "better"})
    assert ["ann", "None"] == users()
    word = "better"
    enter()
    phone.post("/logout")
    assert ["ann", "None"] == users()
    enter()
    phone.post("/logout-everywhere")
    assert ["None", "None"] == users()
    assert 403 == phone.post("/login", data={"name": "ann", "password": "good"}).status_code


class TestSecurity:
    """docs/security.md."""

    PAGE = "docs/security.md"

    def test_settings(self, server: Any) -> None:
        """The settings for production are taken, and the cookie has all its flags."""
        shop = open_shop(server)
        shop.run("from datetime import timedelta\n" + blocks(self.PAGE)[0])
        view(shop, "/in", lambda: flask.session.update(user_id=23))
        cookie = shop.browser().get("/in", base_url="https://localhost").headers["Set-Cookie"]

        assert re.fullmatch(
            r"__Host-session=[\w.-]+; Secure; HttpOnly; Path=/; SameSite=Lax", cookie
        )

    def test_privacy(self, server: Any) -> None:
        """The setting of the page keeps only the network of the address."""
        (setting,) = [code for code in blocks(self.PAGE) if "private_device" in code]
        shop = open_shop(server)
        shop.run(setting)
        view(shop, "/in", lambda: flask.session.update(user_id=23))
        shop.browser().get("/in")

        assert ["127.0.0.0/24"] == [info.ip_address for info in shop.sessions.list_sessions(23)]


def test_devices(shop: Shop) -> None:
    """docs/devices.md: the page in a layout, with words of its own, and as JSON."""
    page = "docs/devices.md"
    (words,) = blocks(page, "jinja")
    layout = "<title>{% block title %}{% endblock %}</title>{% block content %}{% endblock %}"
    templates = {"base.html": layout, "flask_redis_session/devices.html": words}
    shop.app.jinja_loader = DictLoader(templates)
    shop.run(*blocks(page))
    view(shop, "/in", lambda: flask.session.update(user_id=23))
    browser = shop.browser()
    browser.get("/in")
    shown = browser.get("/devices").text
    answer = browser.get("/devices", headers={"Accept": "application/json"}).get_json()
    printed = next(text for text in blocks(page, "console") if text.startswith("GET"))

    assert "Angemeldete Geräte" in shown
    assert "Abmelden" in shown
    assert {*answer, *answer["sessions"][0]} == {*re.findall(r'"(\w+)":', printed)}


class TestMoving:
    """docs/moving.md; tests/moving/test_shop.py moves a whole shop."""

    PAGE = "docs/moving.md"

    @pytest.mark.filterwarnings("ignore:SESSION_IMPORT")
    def test_settings(self, server: Any) -> None:
        """Each setting of the page is taken at the start, and the two sides say the same."""
        sides, sources, both = blocks(self.PAGE)
        before, after = zip(
            *(
                re.split(r"(?<=\S) {3,}|^ {3,}", line)
                for line in sides.splitlines()
                if "  " in line
            ),
            strict=True,
        )
        assert ("# before: Flask-Session", "# after") == (before[0], after[0])
        imports, *choices = re.split(r"\n(?=app)", sources)
        for choice in choices:
            app = flask.Flask("shop")
            app.secret_key = "of the old cookies"
            names = {"app": app, "client": shared_client(server)}
            names["RedisSessionInterface"] = RedisSessionInterface
            exec(f"{imports}\n{choice}\n{both}", names)  # noqa: S102
            exec("\n".join(after[1:]), names)  # noqa: S102

            assert "shop_session" == app.config["SESSION_COOKIE_NAME"]
            assert isinstance(app.session_interface, RedisSessionInterface)


class TestCommandLine:
    """docs/cli.md."""

    PAGE = "docs/cli.md"

    def test_lookup(self, shop: Shop) -> None:
        """The lookup of the page finds a user in a database."""
        sqlalchemy = pytest.importorskip("sqlalchemy")
        flask_sqlalchemy = pytest.importorskip("flask_sqlalchemy")
        shop.app.config["SQLALCHEMY_DATABASE_URI"] = "sqlite://"
        db = flask_sqlalchemy.SQLAlchemy(shop.app)

        class User(db.Model):  # type: ignore[misc,name-defined]
            id = db.Column(db.Integer, primary_key=True)
            email = db.Column(db.String)

        with shop.app.app_context():
            db.create_all()
            db.session.add(User(id=23, email="ann@example.org"))
            db.session.commit()
        names = {**shop.names(), "db": db, "select": sqlalchemy.select, "User": User}
        exec(blocks(self.PAGE)[0], names)  # noqa: S102
        view(shop, "/in", lambda: flask.session.update(user_id=23))
        shop.browser().get("/in")
        listing, ending = re.findall(
            r"\$ flask sessions (.*)", blocks(self.PAGE, "console")[1], re.MULTILINE
        )

        assert ["23"] == [
            each["user_id"] for each in run(shop.app, *listing.split(), "--json").json
        ]
        assert "Ended 1 session" in run(shop.app, *ending.split()).out
        with shop.app.app_context():
            db.engine.dispose()

    def test_list_as_printed(self, shop: Shop) -> None:
        """The list has the columns that are printed, each in its place."""
        view(shop, "/in", lambda: flask.session.update(user_id=23))
        shop.browser().get("/in")
        _, *printed = blocks(self.PAGE, "console")[0].splitlines()
        listed = run(shop.app, "list", 23).lines
        heading = printed[0]
        columns = [found.start() for found in re.finditer(r"[A-Z]+( [A-Z]+)*", heading)]

        assert heading == listed[0]
        assert 6 == len(columns)
        for line in (*printed[1:], *listed[1:]):
            assert all(line[at - 2 : at].isspace() and line[at] != " " for at in columns[1:]), line

    @pytest.mark.one_server("the shop in a file has one URL")
    def test_revoke_as_printed(self, valkey: Any, tmp_path: Path) -> None:
        """A question and its answer are what a terminal shows."""
        command, *printed = blocks(self.PAGE, "console")[2].splitlines()
        (tmp_path / "shop.py").write_text(SHOP % valkey.url)
        make(valkey.client(), 23, 3)
        arguments = command.removeprefix("$ flask sessions ").split()
        status, screen = on_a_terminal(tmp_path, *arguments, keys="y\n")

        assert 0 == status
        for line in printed:
            assert line.removesuffix(" y") in screen

    @pytest.mark.filterwarnings("ignore:SESSION_IMPORT")
    def test_json_as_printed(self, shop: Shop) -> None:
        """Each command prints the names that the table gives."""
        shop.app.config["SESSION_IMPORT"] = {"flask-session": datetime.now(timezone.utc) + DAY}
        client = shop.app.config["SESSION_REDIS"]
        (sid,) = make(client, 23, 1)
        client.zadd("session:user:24", {"0" * 22: 1})
        rows = re.findall(
            r"^\| (`[a-z-]+`.*?) \| (.*) \|$",
            (ROOT / self.PAGE).read_text("utf-8").partition("## In scripts")[2],
            re.MULTILINE,
        )
        said = {names: {*re.findall(r'"(\w+)"', text)} for names, text in rows}
        of_session = said["`list`, `revoke --dry-run`"]
        said["`show`"] |= of_session
        said["`revoke-all`"] -= {"would_end"}

        def names(*arguments: object, status: int = 0) -> set[str]:
            return {
                *re.findall(r'"(\w+)":', run(shop.app, *arguments, "--json", status=status).out)
            }

        # First: a list removes what is dead.
        of_doctor = names("doctor", status=1)

        assert of_session == names("list", 23) == names("revoke", 23, "--dry-run")
        assert {"would_end"} == names("revoke-all", "--dry-run")
        assert said == {
            "`list`, `revoke --dry-run`": of_session,
            "`users`": names("users"),
            "`show`": names("show", sid, "--values"),
            "`count`": names("count"),
            "`doctor`": of_doctor,
            "`import`": names("import", "--dry-run"),
            "`revoke`": names("revoke", 23),
            "`revoke-all`": names("revoke-all"),
        }

    def test_every_command_and_option(self) -> None:
        """Each command that is printed is one that there is, with options that it has."""
        printed = [
            line
            for page in ("docs/cli.md", "docs/moving.md", "docs/monitoring.md")
            for line in re.findall(
                r"flask (?:--app shop )?sessions ([a-z-]+[^`\n|>]*)",
                (ROOT / page).read_text("utf-8"),
            )
        ]
        found = [(line.split()[0], re.findall(r" (--[a-z-]+)", line)) for line in printed]

        assert len(found) > 10
        for name, options in found:
            command = command_line.commands[name]
            known = {"--help", *(option for each in command.params for option in each.opts)}
            assert set(options) <= known, (name, options)
