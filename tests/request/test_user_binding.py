"""Whose a session is, and what follows when that changes."""

from __future__ import annotations

import uuid

import pytest

from tests.support.webapp import Site, each, session, sids

SAFARI = "Mozilla/5.0 (iPhone) Safari/604.1"


@pytest.fixture
def site(valkey):
    """A site on Valkey."""
    return Site(valkey)


class TestBinding:
    @pytest.mark.parametrize(
        ("name", "user_id"),
        [
            ("23", 23),
            ("0", 0),
            ("-1", -1),
            ("mira", "mira"),
            ("a:b c*d[e]?ü/é\n", "a:b c*d[e]?ü/é\n"),
            ("a" * 300, "a" * 300),
            (str(2**80), 2**80),
            (
                "00000000-0000-0000-0000-000000000017",
                uuid.UUID("00000000-0000-0000-0000-000000000017"),
            ),
        ],
    )
    def test_types(self, site, name, user_id):
        """A user's id is a str, an int or a UUID; it names the index as text."""
        browser = site.browser()

        browser.sign_in(user_id)

        assert [browser.sid] == site.index(name)
        assert name.encode() == site.hash(browser.sid)[b"@user"]
        assert user_id == browser.read()["user_id"]
        assert [browser.sid] == sids(site.interface.list_sessions(user_id))

    @pytest.mark.parametrize("user_id", [True, 1.5, b"x", ["a"], {"id": 1}, ("a",), "\ud800"])
    def test_other_types(self, site, user_id):
        """An id of another type is a TypeError that names its key, and nothing is stored."""
        site.app.testing = True
        browser = site.browser()
        browser.set(a=1)

        with pytest.raises(TypeError, match=r"session\['user_id'\]"):
            browser.sign_in(user_id)

        assert {"a": 1} == browser.read()
        assert {site.key(browser.sid)} == site.names()

    @pytest.mark.parametrize("user_id", [True, 1.5, b"x", "\ud800"])
    def test_other_types_asked_for(self, site, user_id):
        """To ask for the sessions of such a user is a TypeError too."""

        def view():
            for ask in (session.user_sessions, session.clear_user_sessions):
                with pytest.raises(TypeError):
                    ask(user_id)

        site.browser().visit(view)
        for ask in (site.interface.list_sessions, site.interface.revoke_sessions):
            with pytest.raises(TypeError):
                ask(user_id)

    @pytest.mark.parametrize("user_id", [None, ""])
    def test_nobody(self, site, user_id):
        """Neither None nor an empty text is a user."""
        browser = site.browser()

        browser.sign_in(user_id)

        assert {site.key(browser.sid)} == site.names()
        assert b"@user" not in site.hash(browser.sid)


class TestRotation:
    """When the user of a session appears, changes or goes, the secret rotates (guarantee 7)."""

    def test_sign_in(self, site):
        """A cookie from before the sign-in does not open what was signed in."""
        browser = site.browser()
        browser.set(cart=[1])
        planted = browser.twin()

        answer = browser.sign_in(23)

        assert None is not answer.cookie
        assert planted.secret != browser.secret
        assert {} == planted.read()
        assert {"cart": [1], "user_id": 23} == browser.read()

    def test_change(self, site):
        """Another user gets another secret, and the session moves to their index."""
        browser = site.browser()
        browser.sign_in(23)
        old = browser.twin()

        browser.sign_in(42)

        assert old.secret != browser.secret
        assert {} == old.read()
        assert ([], [browser.sid]) == (site.index(23), site.index(42))
        assert b"42" == site.hash(browser.sid)[b"@user"]

    def test_sign_out(self, site):
        """Who signs out by removing the key leaves the index, and the rest of the session stays."""
        browser = site.browser()
        browser.sign_in(23, cart=[1])
        old = browser.twin()

        browser.visit(lambda: session.pop("user_id"))

        assert old.secret != browser.secret
        assert {} == old.read()
        assert {"cart": [1]} == browser.read()
        assert [] == site.index(23)
        assert b"@user" not in site.hash(browser.sid)
        assert not {b"@agent", b"@ip"} & set(site.hash(browser.sid))

    def test_sign_out_by_none(self, site):
        """To set the user to None signs out just the same."""
        browser = site.browser()
        browser.sign_in(23)
        old = browser.twin()

        browser.sign_in(None)

        assert {} == old.read()
        assert [] == site.index(23)

    def test_same_user(self, site):
        """To sign in as the user that one is changes nothing and rotates nothing."""
        browser = site.browser()
        browser.sign_in(23)

        assert None is browser.sign_in(23).cookie
        assert [browser.sid] == site.index(23)

    def test_same_user_by_another_type(self, site):
        """The user 23 and the user "23" have one index: it is the text that counts."""
        browser = site.browser()
        browser.sign_in(23)

        assert None is browser.sign_in("23").cookie
        assert {"user_id": "23"} == browser.read()

    def test_clear_and_sign_in(self, site):
        """After clear() even the same user has signed in anew: the old cookie is dead."""
        browser = site.browser()
        browser.sign_in(23, cart=[1])
        old = browser.twin()

        answer = browser.visit(each(lambda: session.clear(), lambda: session.update(user_id=23)))

        assert None is not answer.cookie
        assert old.secret != browser.secret
        assert {} == old.read()
        assert {"user_id": 23} == browser.read()
        assert [browser.sid] == site.index(23)

    def test_clear_and_sign_in_as_another(self, site):
        """After clear() another user finds nothing of the one before."""
        browser = site.browser()
        browser.sign_in(23, cart=[1])
        old = browser.twin()

        browser.visit(each(lambda: session.clear(), lambda: session.update(user_id=42)))

        assert {} == old.read()
        assert {"user_id": 42} == browser.read()
        assert ([], [browser.sid]) == (site.index(23), site.index(42))

    def test_clear_and_stay(self, site):
        """After clear() and a new key the user is gone and the old cookie is dead."""
        browser = site.browser()
        browser.sign_in(23, cart=[1])
        old = browser.twin()

        browser.visit(each(lambda: session.clear(), lambda: session.update(flash="bye")))

        assert {} == old.read()
        assert {"flash": "bye"} == browser.read()
        assert [] == site.index(23)

    def test_clear(self, site):
        """clear() ends the session: hash, index and cookie go."""
        browser = site.browser()
        browser.sign_in(23, cart=[1])
        old = browser.twin()

        browser.visit(lambda: session.clear())

        assert None is browser.cookie
        assert {} == old.read()
        assert set() == site.names()

    def test_last_key(self, site):
        """To remove the last key ends the session too."""
        browser = site.browser()
        browser.sign_in(23)

        browser.visit(lambda: session.pop("user_id"))

        assert None is browser.cookie
        assert set() == site.names()

    def test_other_changes(self, site):
        """A change that leaves the user alone leaves secret and cookie alone."""
        browser = site.browser()
        browser.sign_in(23)

        assert None is browser.set(cart=[1]).cookie


def test_late_removal(site):
    """What a sign-out removes late spares the same session, signed in again meanwhile."""
    (browser,) = site.browsers(23, 1)
    server = site.app.extensions["flask_redis_session"][1].redis
    call, late = server.call, []

    def held(command):
        if command[0] == "EVALSHA" and command[3] == b"session:user:23":
            late.append(command)
            return b"OK"
        return call(command)

    server.call = held
    browser.visit(lambda: session.update(cart=[1]))
    browser.visit(lambda: session.pop("user_id"))
    server.call = call
    browser.sign_in(23)
    (removal,) = late
    call(removal)

    assert [browser.sid] == site.index(23)
