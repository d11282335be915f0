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

    def test_worker_with_a_wrong_clock(self, site, monkeypatch):
        """Redis's clock counts, not the worker's."""
        now = time.time()
        monkeypatch.setattr(time, "time", lambda: now - 1e6)
        browser = site.browser()

        browser.set(a=1)
        created, _, _ = browser.visit(moments).value

        assert abs(created.timestamp() - now) < 1000
