"""Under which key a session says whose it is: SESSION_USER_KEY."""

from __future__ import annotations

import enum
from collections import OrderedDict
from typing import Any

import pytest
from flask_login import LoginManager, UserMixin, login_user, logout_user

from tests.support.webapp import Site, each, session, sids


class Person(UserMixin):  # type: ignore[misc]
    """Somebody whom Flask-Login signs in."""

    def __init__(self, name):
        self.id = name


def with_login(server, **config):
    """Make a site whose people sign in by Flask-Login, which comes after the sessions."""
    site = Site(server, **config)
    site.app.secret_key = "for Flask-Login's other cookie"
    LoginManager(site.app).user_loader(Person)
    return site


def signed_in(site, name):
    """Return a browser that signed in by Flask-Login."""
    browser = site.browser()
    browser.visit(lambda: login_user(Person(name)))
    return browser


@pytest.fixture
def site(valkey):
    """A site with Flask-Login."""
    return with_login(valkey)


class TestFlaskLogin:
    """In an application with Flask-Login a ``user_id`` is a key like any other."""

    def test_anonymous(self, site):
        """Who looks at a profile is not the user whose profile it is, and ends none of theirs."""
        victim = signed_in(site, "victim")
        visitor = site.browser()
        visitor.set(user_id="victim")

        def view():
            return session.user_sessions(), session.clear_user_sessions()

        assert ([], 0) == visitor.visit(view).value
        assert [victim.sid] == site.index("victim")
        assert b"@user" not in site.hash(visitor.sid)
        assert {"user_id": "victim"} == visitor.read()

    def test_signs_in(self, site):
        """A sign-in beside a ``user_id`` rotates: a planted cookie opens nothing."""
        browser = site.browser()
        browser.set(user_id="looked at")
        planted = browser.twin()

        browser.visit(lambda: login_user(Person("victim")))

        assert {} == planted.read()
        assert ([browser.sid], []) == (site.index("victim"), site.index("looked at"))
        assert 1 == site.interface.revoke_sessions("victim")
        assert {} == browser.read()

    def test_signed_in(self, site):
        """Whoever is signed in stays who they are, whatever profile they look at."""
        victim = signed_in(site, "victim")
        browser = signed_in(site, "mira")
        before = browser.secret

        browser.set(user_id="victim")

        assert before == browser.secret
        assert [browser.sid] == browser.visit(lambda: sids(session.user_sessions())).value
        assert 1 == browser.visit(lambda: session.clear_user_sessions()).value
        assert [victim.sid] == site.index("victim")

    def test_signs_out(self, site):
        """After ``logout_user()`` the session is nobody's, whatever else it holds."""
        victim = signed_in(site, "victim")
        browser = signed_in(site, "mira")
        browser.set(user_id="victim")
        old = browser.twin()

        browser.visit(lambda: logout_user())

        assert {} == old.read()
        assert "victim" == browser.read()["user_id"]
        assert b"@user" not in site.hash(browser.sid)
        assert ([victim.sid], []) == (site.index("victim"), site.index("mira"))
        assert 0 == browser.visit(lambda: session.clear_user_sessions()).value

    def test_without_it(self, valkey):
        """Without Flask-Login ``_user_id`` is a key like any other."""
        site = Site(valkey)
        browser = site.browser()

        browser.set(_user_id="23")

        assert ([], {"_user_id": "23"}) == (site.index(23), browser.read())

    def test_key_of_ones_own(self, valkey):
        """A key that is named counts, also beside Flask-Login."""
        site = with_login(valkey, SESSION_USER_KEY="user_id")
        browser = site.browser()

        browser.set(user_id=23)
        browser.visit(lambda: login_user(Person("mira")))

        assert ([browser.sid], []) == (site.index(23), site.index("mira"))


class TestPath:
    """A name with a dot is a path into a dict, as OpenID Connect's quickstarts have it."""

    @pytest.fixture
    def site(self, valkey):
        """A site whose user is in a dict."""
        return Site(valkey, SESSION_USER_KEY="user.sub")

    @pytest.fixture
    def browser(self, site):
        """A browser that is signed in."""
        browser = site.browser()
        browser.set(user={"sub": "ann", "name": "Ann"}, cart=[1])
        return browser

    def test_signs_in(self, site):
        """The value at the end of the path is the user, and its change rotates."""
        browser = site.browser()
        browser.set(cart=[1])
        planted = browser.twin()

        browser.set(user={"sub": "ann", "name": "Ann"})

        assert {} == planted.read()
        assert [browser.sid] == site.index("ann")
        assert [browser.sid] == browser.visit(lambda: sids(session.user_sessions())).value
        assert 1 == browser.visit(lambda: session.clear_user_sessions()).value
        assert [] == site.index("ann")
        assert {} == browser.read()

    @pytest.mark.parametrize(
        "change",
        [
            lambda: session["user"].update(sub="bob"),
            lambda: session["user"].__setitem__("sub", "bob"),
            lambda: session.update(user={"sub": "bob"}),
            lambda: session.setdefault("user", {}).update(sub="bob"),
            each(lambda: session.pop("user"), lambda: session.update(user={"sub": "bob"})),
        ],
    )
    def test_change(self, site, browser, change):
        """A change at its end is noticed however it was made."""
        old = browser.twin()

        browser.visit(change)

        assert {} == old.read()
        assert ([], [browser.sid]) == (site.index("ann"), site.index("bob"))
        assert b"bob" == site.hash(browser.sid)[b"@user"]

    @pytest.mark.parametrize(
        "change",
        [
            lambda: session.pop("user"),
            lambda: session["user"].pop("sub"),
            lambda: session["user"].clear(),
            lambda: session["user"].update(sub=None),
            lambda: session["user"].update(sub=""),
            lambda: session.update(user="ann"),
            lambda: session.update(user=["sub"]),
            lambda: session.update(user=None),
        ],
    )
    def test_signs_out(self, site, browser, change):
        """If there is nothing at its end, or something on the way is no dict, it is nobody's."""
        old = browser.twin()

        browser.visit(change)

        assert {} == old.read()
        assert [] == site.index("ann")
        assert b"@user" not in site.hash(browser.sid)
        assert [1] == browser.read()["cart"]

    @pytest.mark.parametrize(
        "change",
        [
            lambda: session["user"].update(name="Anna"),
            lambda: session["user"].pop("name"),
            lambda: session.update(user={"sub": "ann", "picture": "x"}),
            lambda: session["user"].update(sub="ann"),
            lambda: session["user"].setdefault("sub", "bob"),
            lambda: session.get("user"),
        ],
    )
    def test_other_changes(self, site, browser, change):
        """Another change under ``user`` is no change of user: secret and cookie stay."""
        before = browser.secret

        assert None is browser.visit(change).cookie
        assert before == browser.secret
        assert [browser.sid] == site.index("ann")

    def test_deep(self, valkey):
        """A path may go through several dicts, of whatever class."""
        site = Site(valkey, SESSION_USER_KEY="auth.token.id")
        browser = site.browser()

        browser.set(auth={"token": {"id": 23}})

        assert [browser.sid] == site.index(23)

        browser.visit(lambda: session["auth"]["token"].update(id=42))

        assert ([], [browser.sid]) == (site.index(23), site.index(42))

    @pytest.mark.parametrize("user_id", [1.5, ["ann"], {"id": 1}, True])
    @pytest.mark.parametrize("nested", [False, True])
    def test_other_types(self, site, browser, user_id, nested):
        """An id of another type is a TypeError that names the path, and nothing is written."""
        site.app.testing = True
        before = site.hash(browser.sid)

        def view():
            if nested:
                session["user"]["sub"] = user_id
            else:
                session["user"] = {"sub": user_id}

        with pytest.raises(TypeError, match=r"session\['user.sub'\]: a user's id must be"):
            browser.visit(view)

        assert before == site.hash(browser.sid)

    def test_damage(self, site, browser, caplog):
        """An id of another type that another program wrote makes the session nobody's."""
        site.redis.hset(site.key(browser.sid), "user", '{"sub":1.5}')

        assert [] == browser.visit(lambda: session.user_sessions()).value
        assert "a user's id must be" in caplog.text

    def test_key_with_the_path_as_its_name(self, site):
        """A dot always means a path: a key of the path's name is a key like any other."""
        browser = site.browser()

        browser.visit(lambda: session.update({"user.sub": "ann"}))

        assert [] == site.index("ann")

    def test_loaded_by_name(self, site, browser):
        """An endpoint that loads by name asks for the field that the path begins in."""
        browser.set(**{f"big{n}": "x" * 10_000 for n in range(5)})
        for _ in range(3):
            browser.visit(lambda: session["cart"], path="/cart")

        with site.server.cost() as cost:
            found = browser.visit(lambda: sids(session.user_sessions()), path="/cart").value

        assert [browser.sid] == found
        assert "hmget" in cost.commands
        assert "hgetall" not in cost.commands


class TestSeveral:
    """Several keys count only if the application names them."""

    @pytest.fixture
    def site(self, valkey):
        """A site with two keys, one of which is a path."""
        return Site(valkey, SESSION_USER_KEY=("admin.id", "user_id"))

    def test_first_present_counts(self, site):
        """Of several keys, the first that holds a user counts."""
        browser = site.browser()
        browser.set(user_id=23)

        assert [browser.sid] == site.index(23)

        browser.set(admin={"id": 1})

        assert ([browser.sid], []) == (site.index(1), site.index(23))

        browser.visit(lambda: session["admin"].pop("id"))

        assert ([], [browser.sid]) == (site.index(1), site.index(23))

    @pytest.mark.parametrize(
        "change",
        [
            lambda: session.update(user_id=42),
            lambda: session.pop("user_id"),
            lambda: session.update(user_id=None),
            lambda: session["admin"].update(id=2),
        ],
    )
    def test_any_rotates(self, site, change):
        """A change of any of them rotates, also of one that does not count at the moment."""
        browser = site.browser()
        browser.set(admin={"id": 1}, user_id=23)
        old = browser.twin()

        browser.visit(change)

        assert {} == old.read()
        assert {} != browser.read()

    @pytest.mark.parametrize(
        "change",
        [
            lambda: session.update(user_id=23),
            lambda: session.update(user_id="23"),
            lambda: session["admin"].update(name="root"),
            lambda: session.update(cart=[1]),
        ],
    )
    def test_other_changes(self, site, change):
        """What changes no user rotates nothing."""
        browser = site.browser()
        browser.set(admin={"id": 1}, user_id=23)
        before = browser.secret

        browser.visit(change)

        assert before == browser.secret
        assert [browser.sid] == site.index(1)

    def test_other_types(self, site):
        """An id of another type is a TypeError, also under a key that does not count now."""
        site.app.testing = True
        browser = site.browser()
        browser.set(admin={"id": 1})

        with pytest.raises(TypeError, match=r"session\['user_id'\]"):
            browser.set(user_id=1.5)


@pytest.mark.parametrize(("value", "text"), [("ann", "ann"), (23, "23")])
def test_enumerations(valkey, value, text):
    """A member of an enumeration counts as the value that is stored of it."""
    site = Site(valkey)
    names: Any = enum.Enum("Names", {"IT": value}, type=type(value))  # type: ignore[misc]
    member = names.IT

    assert [] == site.interface.list_sessions(member)

    (browser,) = site.browsers(value, 1)

    assert [browser.sid] == sids(site.interface.list_sessions(member))
    assert text == site.interface.list_sessions(member)[0].user_id


def test_dict_of_another_class(valkey):
    """Libraries for OAuth keep what they know in classes of their own, which are dicts."""
    site = Site(valkey, SESSION_USER_KEY="user.sub")

    def view():
        session["user"] = OrderedDict(sub="ann")
        whose = session._user()
        session["user"] = dict(session["user"])
        return whose

    assert "ann" == site.browser().visit(view).value


class TestAnotherKeyThanBefore:
    """Sessions that are there when ``SESSION_USER_KEY`` becomes another one."""

    @pytest.fixture
    def site(self, valkey):
        """A site, and a browser that signed in while another key counted."""
        before = Site(valkey, SESSION_USER_KEY="username")
        old = before.browser()
        old.set(username="ann", account=23, cart=[1])
        site: Any = Site(valkey, SESSION_USER_KEY="account")
        site.visitor = site.browser()
        site.visitor.cookie = old.cookie
        return site

    def test_stays(self, site):
        """A session stays in the index that it is in as long as nobody assigns the key."""
        site.visitor.set(cart=[2])

        assert ([site.visitor.sid], []) == (site.index("ann"), site.index(23))

    def test_moves(self, site):
        """It moves when the key is assigned, if only to what it was; that rotates once."""

        def move():
            if "account" in session:
                session["account"] = session["account"]

        before = site.visitor.secret
        site.visitor.visit(move)
        moved = site.visitor.secret
        site.visitor.visit(move)

        assert ([], [site.visitor.sid]) == (site.index("ann"), site.index(23))
        assert before != moved == site.visitor.secret
        assert [1] == site.visitor.read()["cart"]

    @pytest.mark.parametrize("ends", ["ended", "rotated"])
    def test_late(self, site, ends):
        """It is no sign-in: a late request brings no session back that ended meanwhile."""
        twin = site.visitor.twin()

        def late():
            session["account"] = session["account"]
            if ends == "ended":
                site.expire(twin.sid)
            else:
                twin.visit(lambda: session.regenerate())

        answer = site.visitor.visit(late)

        assert None is answer.cookie
        assert [] == site.interface.list_sessions(23)

    def test_signs_in(self, site):
        """Another user has signed in, and gets a session of their own."""
        before = site.visitor.sid

        def late():
            session["account"] = 42
            site.expire(before)

        site.visitor.visit(late)

        assert before != site.visitor.sid
        assert [site.visitor.sid] == [info.sid for info in site.interface.list_sessions(42)]
