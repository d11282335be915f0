from __future__ import annotations

import time
from datetime import datetime, timedelta, timezone

import pytest

from tests.support.webapp import Site, each, session


@pytest.fixture
def site(valkey):
    """A site on Valkey."""
    return Site(valkey)


def moments():
    """Return the three times of the session."""
    return session.created_at, session.last_seen_at, session.expires_at


class TestTimes:
    def test_of_a_new_session(self, site):
        """A session that is not stored has no times."""
        browser = site.browser()

        assert (None, None, None) == browser.visit(each(lambda: session.update(a=1), moments)).value

    def test_aware(self, site):
        """The times are aware, in UTC, and say when the session was created, seen and ends."""
        browser = site.browser()
        before = datetime.now(timezone.utc) - timedelta(seconds=1)
        browser.set(a=1)

        created, seen, expires = browser.visit(moments).value

        assert timezone.utc == created.tzinfo == seen.tzinfo == expires.tzinfo
        assert before < created == seen < datetime.now(timezone.utc) + timedelta(seconds=1)
        assert timedelta(days=1) == expires - seen

    def test_last_seen(self, site):
        """Last seen is before this request, to the touch interval; created stays."""
        browser = site.browser()
        browser.set(a=1)
        created, _, _ = browser.visit(moments).value
        site.age(browser.sid, 1000)

        first = browser.visit(moments).value
        second = browser.visit(moments).value

        assert (created, created) == (first[0], second[0])
        assert timedelta(seconds=1000) == created - first[1]
        assert created <= second[1]

    def test_permanent(self, valkey):
        """A permanent session ends after PERMANENT_SESSION_LIFETIME."""
        site = Site(valkey, PERMANENT_SESSION_LIFETIME=timedelta(days=3))
        browser = site.browser()
        browser.set(a=1)

        browser.visit(lambda: setattr(session, "permanent", True))
        _, seen, expires = browser.visit(moments).value

        assert timedelta(days=3) == expires - seen

        browser.visit(lambda: setattr(session, "permanent", False))
        _, seen, expires = browser.visit(moments).value

        assert timedelta(days=1) == expires - seen

    def test_absolute(self, valkey):
        """No session outlives its absolute lifetime, however late it was seen."""
        site = Site(valkey, SESSION_ABSOLUTE_LIFETIME=1000, SESSION_LIFETIME=900)
        browser = site.browser()
        browser.set(a=1)
        site.age(browser.sid, 800, "@born")

        browser.set(a=2)
        created, seen, expires = browser.visit(moments).value

        assert 1000 == (expires - created).total_seconds()
        assert expires < seen + timedelta(seconds=900)
        # PEXPIRETIME came with Redis 7.0.
        seconds, microseconds = site.redis.time()
        left = site.redis.pttl(site.key(browser.sid))
        assert seconds * 1000 + microseconds // 1000 + left <= expires.timestamp() * 1000

    def test_absolute_end(self, valkey):
        """After its absolute lifetime a session is gone, be Redis late in forgetting it or not."""
        site = Site(valkey, SESSION_ABSOLUTE_LIFETIME=1000)
        browser = site.browser()
        browser.set(a=1)
        site.age(browser.sid, 1001, "@born")

        assert {} == browser.read()
        assert browser.visit(lambda: session.new).value

        browser.set(b=1)

        assert {"b": 1} == browser.read()

    def test_absolute_end_ends_the_hash(self, valkey):
        """A write after the absolute lifetime removes the hash and goes into a new session."""
        site = Site(valkey, SESSION_ABSOLUTE_LIFETIME=1000)
        browser = site.browser()
        browser.set(a=1)
        sid = browser.sid
        site.age(sid, 1001, "@born")

        browser.set(b=1)

        assert sid != browser.sid
        assert {site.key(browser.sid)} == site.names()

    def test_idle(self, valkey):
        """A session that is used lives on, and one that is not ends."""
        site = Site(valkey, SESSION_LIFETIME=100)
        browser = site.browser()
        browser.set(a=1)
        site.age(browser.sid, 90)
        site.redis.pexpire(site.key(browser.sid), 10_000)

        browser.read()

        assert 90_000 < site.redis.pttl(site.key(browser.sid)) <= 100_000

    def test_worker_with_a_wrong_clock(self, site, monkeypatch):
        """Redis's clock counts, not the worker's."""
        now = time.time()
        monkeypatch.setattr(time, "time", lambda: now - 1e6)
        browser = site.browser()

        browser.set(a=1)
        created, _, _ = browser.visit(moments).value

        assert abs(created.timestamp() - now) < 1000
