"""The sessions of a user, as their own sessions show them."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest

from flask_redis_session import SessionInfo
from tests.support.webapp import Site, each, session, sids

SAFARI = "Mozilla/5.0 (iPhone) Safari/604.1"


@pytest.fixture
def site(valkey):
    """A site on Valkey."""
    return Site(valkey)


class TestUserSessions:
    def test_listed(self, site):
        """A user sees their sessions, last seen first, and which one is theirs right now."""
        first, second, third = site.browsers(23, 3)
        site.browser().sign_in(42)
        site.age(first.sid, 100, user_id=23)
        site.age(second.sid, 10, user_id=23)

        infos = third.visit(lambda: session.user_sessions()).value

        assert [third.sid, second.sid, first.sid] == sids(infos)
        assert [True, False, False] == [info.current for info in infos]
        assert all(isinstance(info, SessionInfo) for info in infos)
        assert {"23"} == {info.user_id for info in infos}

    def test_times(self, site):
        """Each tells when it was created, was last seen and ends."""
        first, second = site.browsers(23, 2)
        site.age(first.sid, 100, user_id=23)

        _, info = second.visit(lambda: session.user_sessions()).value

        assert timezone.utc == info.created_at.tzinfo
        assert timedelta(seconds=100) == info.created_at - info.last_seen_at
        assert timedelta(days=1) == info.expires_at - info.last_seen_at

    def test_current_is_seen_now(self, site):
        """The session of this request counts as seen now, also before it is touched."""
        first, second = site.browsers(23, 2)
        site.age(second.sid, 1000, user_id=23)
        before = datetime.now(timezone.utc) - timedelta(seconds=30)

        infos = second.visit(lambda: session.user_sessions()).value

        assert [second.sid, first.sid] == sids(infos)
        assert infos[0].last_seen_at > before

    def test_of_another_user(self, site):
        """Anybody's sessions can be asked for; an unknown user has none."""
        (other,) = site.browsers(42, 1)
        (browser,) = site.browsers(23, 1)

        assert [other.sid] == sids(browser.visit(lambda: session.user_sessions(42)).value)
        assert [] == browser.visit(lambda: session.user_sessions("nobody")).value

    def test_of_nobody(self, site):
        """Who is not signed in has no sessions."""
        browser = site.browser()
        browser.set(a=1)

        assert [] == browser.visit(lambda: session.user_sessions()).value

    def test_dead_ones(self, site):
        """Only live sessions are shown; the others leave the index."""
        first, second, third = site.browsers(23, 3)
        site.expire(first.sid, second.sid)

        assert [third.sid] == sids(third.visit(lambda: session.user_sessions()).value)
        assert [third.sid] == site.index(23)

    def test_before_the_sign_in_is_stored(self, site):
        """Whose sessions they are follows what this request has set."""
        (browser,) = site.browsers(23, 1)
        (other,) = site.browsers(42, 1)

        infos = other.visit(
            each(lambda: session.update(user_id=23), lambda: session.user_sessions())
        ).value

        assert [browser.sid] == sids(infos)


@pytest.mark.parametrize("field", ["@seen", "@idle", "@born"])
@pytest.mark.parametrize("damage", [b"", b"soon", b"9" * 31])
def test_damaged_times(site, field, damage):
    """A time that cannot be read is that of the index: none is ever None."""
    (browser,) = site.browsers(23, 1)
    site.redis.hset(site.key(browser.sid), field, damage)
    score = site.redis.zscore("session:user:23", browser.sid)
    (info,) = site.interface.list_sessions(23) or [None]

    if info is not None:
        times = {"@born": info.created_at, "@seen": info.last_seen_at, "@idle": info.expires_at}
        assert abs(times[field].timestamp() - score) < 5
        assert None not in times.values()
    else:
        assert "@born" == field


@pytest.mark.parametrize("score", ["inf", "-inf", "1e300"])
def test_damaged_score(site, score):
    """If the index is damaged as well, a time is at least a time."""
    (browser,) = site.browsers(23, 1)
    site.redis.hset(site.key(browser.sid), "@seen", "soon")
    site.redis.zadd("session:user:23", {browser.sid: score})

    (info,) = site.interface.list_sessions(23)

    assert 0 == info.last_seen_at.timestamp()
