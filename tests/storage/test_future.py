"""Times in the future: the clock of Redis had jumped, and came back."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from tests.support.webapp import Site, session

pytestmark = pytest.mark.one_server("times, not slots")

DAY = 86400


@pytest.fixture
def site(valkey: Any) -> Site:
    """A site in which a browser was seen tomorrow."""
    site = Site(valkey, SESSION_LIFETIME=7 * DAY)
    browser = site.browser()
    browser.sign_in(23)
    site.age(browser.sid, -DAY, user_id=23)
    return site


def test_before_the_future(site: Site) -> None:
    """A session seen tomorrow counts as seen now: it is seen before an hour from now."""
    limit = datetime.now(timezone.utc) + timedelta(hours=1)

    assert 1 == site.interface.revoke_sessions(23, before=limit)


def test_before_now(site: Site) -> None:
    """It does not count as unused."""
    assert 0 == site.interface.revoke_sessions(23, before=timedelta(minutes=1))


def test_unused_since(site: Site) -> None:
    """A session that was used when the clock was back, and not since, is unused."""
    browser = site.browser()
    browser.sign_in(42)
    # Its index was moved up while the clock was ahead, and @seen when it was back.
    site.redis.zincrby("session:user:42", DAY, browser.sid)
    site.age(browser.sid, 7200)

    assert 1 == site.interface.revoke_sessions(42, before=timedelta(hours=1))


def test_shown(site: Site) -> None:
    """A list does not say that somebody will have been here."""
    [info] = site.interface.list_sessions(23)

    assert info.last_seen_at <= datetime.now(timezone.utc) + timedelta(seconds=5)


def test_devices_of_the_visitor(site: Site) -> None:
    """Who ends what was unused for a day keeps the session seen tomorrow."""
    other = site.browser()
    other.sign_in(23)
    ended = other.visit(lambda: session.clear_user_sessions(before=timedelta(days=1))).value

    assert 0 == ended
