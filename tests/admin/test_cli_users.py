"""``flask sessions users``, and SESSION_USER_LOOKUP: from what is typed to a user's id."""

from __future__ import annotations

import uuid
from datetime import datetime

import pytest
from flask import current_app

from flask_redis_session import StoreUnavailable
from flask_redis_session.admin.signed_in import SignedInUsers
from tests.support.commandline import make, run
from tests.support.webapp import Site

PEOPLE = {"ann@example.org": 23, "bob@example.org": "b:42", "zoe": uuid.UUID(int=7)}


@pytest.fixture
def site(valkey):
    """A site that knows people by their addresses."""
    return Site(valkey, SESSION_USER_LOOKUP=PEOPLE.get)


class TestLookup:
    """What an operator types is not what is in the session."""

    @pytest.mark.parametrize("typed", PEOPLE)
    def test_list(self, site, typed):
        """The sessions of the user who is meant are listed."""
        (browser,) = site.browsers(PEOPLE[typed], 1)
        (found,) = run(site.app, "list", typed, "--json").json

        assert (browser.sid, str(PEOPLE[typed])) == (found["sid"], found["user_id"])

    def test_revoke(self, site):
        """The sessions of the user who is meant are ended, and the id is named."""
        site.browsers(23, 2)

        out = run(site.app, "revoke", "ann@example.org", "--yes").out

        assert "Ended 2 sessions of user '23'.\n" == out
        assert set() == site.names()

    @pytest.mark.parametrize("command", ["list", "revoke"])
    def test_nobody(self, site, command):
        """If there is no such user, that is said, nothing is done, and the exit code is 1."""
        site.browsers("23", 1)
        outcome = run(site.app, command, "23", status=1)

        assert "Error: There is no user '23'.\n" == outcome.error
        assert 1 == len(site.index(23))

    def test_id(self, site):
        """With --id, what is typed is the id, and nobody is looked up."""
        site.browsers(23, 2)

        assert 2 == len(run(site.app, "list", "23", "--id", "--json").json)
        assert 2 == run(site.app, "revoke", "--id", "23", "--json", "--yes").json["ended"]

    def test_without_a_lookup(self, valkey):
        """Without a lookup, --id changes nothing."""
        site = Site(valkey)
        site.browsers("a b", 1)

        assert 1 == len(run(site.app, "list", "a b", "--json").json)
        assert 1 == len(run(site.app, "list", "a b", "--id", "--json").json)

    def test_in_the_application(self, valkey):
        """The lookup has the application's context, as a database needs it."""
        site = Site(valkey, SESSION_USER_LOOKUP=lambda typed: current_app.name)
        site.browsers("webapp", 1)

        assert 1 == len(run(site.app, "list", "whoever", "--json").json)

    @pytest.mark.parametrize("found", [1.5, ["23"], True, "\ud800"])
    def test_no_id(self, valkey, found):
        """A lookup that returns what is no id is a mistake that names the setting."""
        site = Site(valkey, SESSION_USER_LOOKUP=lambda typed: found)

        assert "SESSION_USER_LOOKUP: returned" in run(site.app, "list", "x", status=2).error

    def test_empty(self, valkey):
        """An empty id is nobody's."""
        site = Site(valkey, SESSION_USER_LOOKUP=lambda typed: "")

        assert "There is no user 'x'" in run(site.app, "list", "x", status=1).error


class TestUsers:
    """``users``."""

    def test_order(self, site):
        """Whoever was seen last comes first; each is there once, with the id and a count."""
        for at, (user, count) in enumerate([("mira", 2), (23, 1), ("ü b", 3)]):
            for browser in site.browsers(user, count):
                site.age(browser.sid, 100 * at, user_id=user)
        site.browser().set(cart=[1])
        out = run(site.app, "users").out.splitlines()
        found = run(site.app, "users", "--json").json

        assert ["LAST SEEN             SESSIONS  USER"] == out[:1]
        assert [["2", "mira"], ["1", "23"], ["3", "ü b"]] == [
            row.split(None, 3)[2:] for row in out[1:]
        ]
        assert [("mira", 2), ("23", 1), ("ü b", 3)] == [
            (each["user_id"], each["sessions"]) for each in found
        ]
        assert datetime.fromisoformat(found[0]["last_seen_at"]).tzinfo is not None

    def test_limit(self, site):
        """So many are shown as the limit says, and that there are more."""
        for at in range(60):
            (browser,) = site.browsers(at, 1)
            site.age(browser.sid, at, user_id=at)
        first, few = run(site.app, "users"), run(site.app, "users", "--limit", 3)

        assert 51 == len(first.lines)
        assert ["0", "1", "2"] == [line.split()[-1] for line in few.lines[1:]]
        assert "and more; --limit shows them.\n" == first.error == few.error
        assert "" == run(site.app, "users", "--limit", 60).error

    def test_nobody(self, site):
        """Nobody is signed in if there are only visitors."""
        site.browser().set(cart=[1])

        assert "Nobody is signed in.\n" == run(site.app, "users").out
        assert [] == run(site.app, "users", "--json").json

    def test_dead(self, site):
        """A user whose newest session has ended counts by an older one, or not at all."""
        old, new = site.browsers("mira", 2)
        site.age(old.sid, 50, user_id="mira")
        (gone,) = site.browsers("bob", 1)
        site.expire(new.sid, gone.sid)

        (found,) = run(site.app, "users", "--json").json

        assert ("mira", 1) == (found["user_id"], found["sessions"])

    def test_hostile(self, site):
        """An id cannot steer the terminal."""
        site.browsers("\x1b[2Jevil", 1)

        assert "\\x1b[2Jevil" in run(site.app, "users").out

    def test_bounded(self, site):
        """However many users there are, only so many are kept in memory."""
        for user in range(3000):
            make(site.redis, user, 1)
        _, backend = site.app.extensions.get("flask_redis_session", (None, None))
        if backend is None:
            site.browser().visit()
            _, backend = site.app.extensions["flask_redis_session"]
        found, most = SignedInUsers(backend, 5), 0
        for _ in found.search():
            most = max(most, len(found._seen))

        assert most <= 10
        assert 5 == len(found.newest())
        assert found.has_more


def test_redis_fails_in_the_lookup(valkey):
    """If the lookup asks Redis and Redis fails, that is said, and the exit code is 3."""

    def find(typed):
        raise StoreUnavailable("Redis is away.")

    site = Site(valkey, SESSION_USER_LOOKUP=find)

    assert "Redis is away." in run(site.app, "list", "ann", status=3).error
