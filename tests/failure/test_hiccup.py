"""Redis fails for one command of a request, and answers the next one as if nothing had been."""

from __future__ import annotations

from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from flask_redis_session import StoreUnavailable
from flask_redis_session.application import ApplicationBackend
from flask_redis_session.storage.token import new_token
from tests.support.webapp import Site, real_session, session

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.one_server("takes rights from one server")

_LOADS = ("hgetall", "hmget", "evalsha", "eval")


@contextmanager
def refusing(server: Any) -> Iterator[None]:
    """Let Redis refuse whatever a session asks of it."""
    server.ask("ACL", "SETUSER", "default", *(f"-{name}" for name in _LOADS))
    try:
        yield
    finally:
        server.ask("ACL", "SETUSER", "default", *(f"+{name}" for name in _LOADS))


@pytest.fixture
def loads_fail(valkey: Any, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Let Redis refuse from now on what a request asks before its save, and nothing else."""

    def strike() -> None:
        for name in ("load", "choose"):
            ask = getattr(ApplicationBackend, name)

            def refused(*args: Any, ask: Any = ask) -> Any:
                with refusing(valkey):
                    return ask(*args)

            monkeypatch.setattr(ApplicationBackend, name, refused)

    return strike


def _signs_out() -> None:
    session.clear()
    session["language"] = "de"


def _clears_one_of_the_users() -> None:
    session.clear()
    session["user_id"] = 42


UNREAD = {
    "signs out": _signs_out,
    "signs in anew": _clears_one_of_the_users,
    "becomes permanent": lambda: setattr(session, "permanent", True),
    "gets a lifetime": lambda: setattr(session, "lifetime", timedelta(hours=1)),
}


@pytest.mark.parametrize("view", UNREAD.values(), ids=UNREAD)
def test_unknown_owner(valkey: Any, loads_fail: Callable[[], None], view: Any) -> None:
    """What depends on whose session it is is refused as a whole if that cannot be known."""
    site = Site(valkey)
    browser = site.browser()
    browser.sign_in(23, name="alice")
    before, cookie = site.hash(browser.sid), browser.cookie

    loads_fail()
    answer = browser.visit(view, status=503)

    assert "1" == answer.headers["Retry-After"]
    assert cookie == browser.cookie
    assert before == site.hash(browser.sid)
    assert {site.key(browser.sid), site.key("user:23")} == site.names()


def test_several_cookies(valkey: Any, loads_fail: Callable[[], None]) -> None:
    """Of several cookies none counts if it cannot be known which one opens a session."""
    site = Site(valkey)
    browser = site.browser()
    browser.sign_in(23)
    names = site.names()
    dead = new_token(permanent=False).cookie()

    loads_fail()
    header = f"session={dead}; session={browser.cookie}"
    answer = site.send(header, lambda: session.update(a=1), status=503)

    assert [] == answer.cookies
    assert names == site.names()
    assert {b"user_id"} == {name for name in site.hash(browser.sid) if name[:1] != b"@"}


class TestCaught:
    """The view catches the failure of one call and goes on."""

    @staticmethod
    def _fails(server: Any) -> None:
        with refusing(server), suppress(StoreUnavailable):
            session.increment("visits")

    def test_nested(self, valkey: Any) -> None:
        """A change inside of a value, which cannot be saved any more, is not lost in silence."""
        browser = Site(valkey).browser()
        browser.set(cart=[])

        browser.visit(lambda: (session["cart"].append(1), self._fails(valkey)), status=503)

        assert {"cart": []} == browser.read()

    def test_unchanged(self, valkey: Any) -> None:
        """A value that was only looked at is nothing to lose."""
        browser = Site(valkey).browser()
        browser.set(cart=[])

        assert 200 == browser.visit(lambda: (session["cart"], self._fails(valkey))).status

    def test_not_wanted(self, valkey: Any) -> None:
        """Nor is a change that the application does not want to keep."""

        def view() -> None:
            session["cart"].append(1)
            self._fails(valkey)
            real_session().modified = False

        browser = Site(valkey).browser()
        browser.set(cart=[])

        browser.visit(view)

        assert {"cart": []} == browser.read()
