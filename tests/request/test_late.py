"""Requests that take longer than a tombstone lives, and sessions that run out meanwhile."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from flask_redis_session import StoreUnavailable
from tests.support.webapp import Site, each, real_session, session

if TYPE_CHECKING:
    from flask_redis_session.storage.record import Record

pytestmark = pytest.mark.one_server("times, not slots")


@pytest.fixture
def site(valkey: Any) -> Site:
    """A site."""
    return Site(valkey)


def takes(seconds: float) -> None:
    """Let this request have begun so many seconds earlier."""
    real_session()._opened -= seconds


class TestUpload:
    """A request of 33 seconds that flashes at its end, while the browser got another cookie."""

    @pytest.mark.parametrize("ends", ["regenerate", "clear"])
    def test_cookie_opens_nothing(self, site: Site, ends: str) -> None:
        """It neither replaces nor deletes the browser's new cookie, and stores nothing."""
        browser = site.browser()
        browser.sign_in(23)
        upload = browser.twin()

        def view() -> None:
            if ends == "regenerate":
                browser.visit(lambda: session.regenerate())
            else:
                browser.visit(lambda: session.clear())
                browser.sign_in(23)
            takes(33)
            site.later(31)
            session["flash"] = "uploaded"

        answer = upload.visit(view)

        assert [] == answer.cookies
        assert 23 == browser.read()["user_id"]
        assert "flash" not in browser.read()

    def test_signs_in(self, site: Site) -> None:
        """A request that signs somebody in hands a cookie out, however late."""
        browser = site.browser()
        browser.set(a=1)
        site.redis.flushdb()

        answer = browser.visit(each(lambda: takes(33), lambda: session.update(user_id=42)))

        assert "user_id" in browser.read()
        assert answer.cookie.value == browser.cookie

    def test_without_cookie(self, site: Site) -> None:
        """Who came without a cookie gets one, however late."""
        browser = site.browser()
        browser.visit(each(lambda: takes(33), lambda: session.update(a=1)))

        assert {"a": 1} == browser.read()

    def test_live(self, site: Site) -> None:
        """What was saved with a live cookie hands its own out as ever."""
        browser = site.browser()
        browser.set(a=1)
        answer = browser.visit(each(lambda: takes(33), lambda: session.regenerate()))

        assert answer.cookie.value == browser.cookie
        assert {"a": 1} == browser.read()


class TestSignedOutMeanwhile:
    """After a sign-out and a new sign-in, a request from before comes to its end."""

    @pytest.mark.parametrize("sign_out", ["clear", "pop"])
    @pytest.mark.parametrize("loaded", [True, False])
    def test_leaves_the_new_cookie(self, site: Site, loaded: bool, sign_out: str) -> None:
        """Whether it had loaded or loads now, it leaves the cookie alone and stores nothing."""
        browser = site.browser()
        browser.sign_in(23)
        slow = browser.twin()

        def view() -> None:
            if loaded:
                dict(session)
            signed_out = {"clear": lambda: session.clear(), "pop": lambda: session.pop("user_id")}
            browser.visit(signed_out[sign_out])
            browser.sign_in(23)
            dict(session)
            session["late"] = 1

        answer = slow.visit(view)

        assert [] == answer.cookies
        assert "late" not in browser.read()
        assert [browser.sid] == site.index(23)

    def test_update_of_old(self, site: Site) -> None:
        """``clear()`` and ``update(old)`` bring nobody back after "log out everywhere"."""
        browser = site.browser()
        browser.sign_in(23)

        def view() -> None:
            old = dict(session)
            Site(site.server).interface.revoke_sessions(23)
            session.clear()
            session.update(old)

        answer = browser.visit(view)

        assert [] == answer.cookies
        assert [] == site.interface.list_sessions(23)
        assert b"@born" not in site.hash(browser.sid)


class TestRunsOut:
    """A session whose idle lifetime is nearly over when its request begins."""

    @pytest.fixture
    def site(self, valkey: Any) -> Site:
        """A site whose sessions live for a quarter of an hour."""
        return Site(valkey, SESSION_LIFETIME=900)

    def test_comes_in_time(self, site: Site) -> None:
        """After 14 minutes, a load moves the expiry at once, not at the end of the request."""
        browser = site.browser()
        browser.sign_in(23)
        site.later(840)
        left: list[int] = []

        def view() -> None:
            dict(session)
            left.append(site.redis.pttl(site.key(browser.sid)))
            session["work"] = "done"

        browser.visit(view)

        assert left[0] > 890_000
        assert "done" == browser.read()["work"]

    def test_not_yet(self, site: Site) -> None:
        """With more than five minutes left, a load sends nothing more."""
        browser = site.browser()
        browser.sign_in(23)
        site.later(500)
        left: list[int] = []

        def view() -> None:
            dict(session)
            left.append(site.redis.pttl(site.key(browser.sid)))

        browser.visit(view)

        assert left[0] <= 400_000

    @pytest.mark.parametrize("permanent", [True, False])
    def test_lasts_longer_meanwhile(self, site: Site, permanent: bool) -> None:
        """Another request makes the session last longer between a load and the touch after it."""
        browser = site.browser()
        browser.sign_in(23)
        site.later(840)
        slow = browser.twin()
        hashes = site.interface._backend_of(site.app).hashes
        load = hashes.load

        def turn() -> None:
            session.permanent = permanent
            if not permanent:
                session.lifetime = timedelta(days=31)

        def load_slowly(*args: Any) -> Record:
            record = load(*args)
            hashes.load = load  # type: ignore[method-assign]
            browser.visit(turn)
            return record

        hashes.load = load_slowly  # type: ignore[method-assign,assignment]
        slow.visit(lambda: dict(session))

        assert timedelta(days=31) == browser.visit(lambda: session.lifetime).value
        assert site.redis.pttl(site.key(browser.sid)) > 30 * 86_400_000

    def test_settings_say_less(self, site: Site) -> None:
        """A shorter setting applies from this touch on, and the request knows it."""
        browser = site.browser()
        browser.sign_in(23)
        site.later(840)
        shorter = Site(site.server, SESSION_LIFETIME=600).browser()
        shorter.cookie = browser.cookie

        def view() -> tuple[timedelta, Any]:
            dict(session)
            return session.lifetime, session.expires_at

        lifetime, expires = shorter.visit(view).value

        assert timedelta(minutes=10) == lifetime
        assert site.redis.pttl(site.key(browser.sid)) <= 600_000
        assert abs(expires.timestamp() - time.time() - 600) < 60

    def test_touch_fails(self, site: Site) -> None:
        """A load is served although its touch is refused."""
        browser = site.browser()
        browser.sign_in(23)
        site.later(840)
        hashes = site.interface._backend_of(site.app).hashes

        def refuse(*_: Any, **__: Any) -> None:
            raise StoreUnavailable

        hashes.commit, commit = refuse, hashes.commit  # type: ignore[method-assign,assignment]
        try:
            values = browser.read()
        finally:
            hashes.commit = commit  # type: ignore[method-assign]

        assert 23 == values["user_id"]
