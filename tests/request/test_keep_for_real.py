"""SESSION_KEEP: more than reading depends on what Redis says, and not on what is kept."""

from __future__ import annotations

from typing import Any

import flask
import pytest

from flask_redis_session.storage.token import parse_cookie
from tests.support.keeping import KeepingSite
from tests.support.servers import wait_until
from tests.support.webapp import Site, session

pytestmark = pytest.mark.one_server("SESSION_KEEP is refused in a cluster")


class Late:
    """A site that keeps, to which the news of a change has not come yet, and one elsewhere."""

    def __init__(self, server: Any, **config: Any) -> None:
        self.site = KeepingSite(server, **config)
        self.elsewhere = Site(server, **config)

    def visitor(self, **values: Any) -> Any:
        """Return a browser whose session is kept, and stays so whatever happens elsewhere."""
        browser = self.site.visitor(**values)
        # As if what Redis pushes were on its way.
        self.site.line._glance = lambda: False
        return browser

    def end(self, browser: Any) -> None:
        """End a session elsewhere."""
        assert 1 == self.elsewhere.interface.revoke_sessions(23, only=browser.sid)


@pytest.fixture
def late(valkey):
    """A site that hears late."""
    return Late(valkey)


def test_it_reads(late):
    """Within the bound, an ended session is read."""
    browser = late.visitor(a=1)
    late.end(browser)

    assert 1 == browser.visit(lambda: session["a"]).value


@pytest.mark.parametrize("reads", [False, True])
def test_ended_session_ends_no_other(late, reads):
    """It ends no other session of its user's, and lists none."""
    other = late.elsewhere.browser()
    other.sign_in(23)
    browser = late.visitor(a=1)
    late.end(browser)

    def acts(do):
        return browser.twin().visit(lambda: (reads and session.get("a"), do())[-1]).value

    assert 0 == acts(lambda: session.clear_user_sessions())
    assert [] == acts(lambda: session.user_sessions())
    assert 0 == acts(lambda: session.clear_user_sessions(user_id=session.get("user_id")) or 0)
    assert {"user_id": 23} == other.read()


def test_ended_session_confirms_nobody(late):
    """It is nobody's who could be confirmed."""
    browser = late.visitor(a=1)
    late.end(browser)

    def view():
        assert 1 == session["a"]
        with pytest.raises(RuntimeError, match="nobody's"):
            session.confirm()

    browser.visit(view)


@pytest.mark.parametrize("reads", [False, True])
@pytest.mark.parametrize("user", [23, 42])
def test_sign_in(late, reads, user):
    """A sign-in by GET ends signed in, also if it is of the user who is kept."""
    browser = late.visitor(a=1)
    late.end(browser)
    old = browser.sid

    def view():
        if reads:
            assert 23 == session["user_id"]
        session["user_id"] = user

    browser.visit(view)

    assert old != browser.sid
    assert {"user_id": user} == late.elsewhere.send(
        f"session={browser.cookie}", lambda: dict(session)
    ).value
    assert [browser.sid] == late.elsewhere.index(user)


@pytest.mark.parametrize("reads", [False, True])
def test_sign_in_to_a_live_session(late, reads):
    """A sign-in by GET to a session that lives keeps what it holds."""
    browser = late.visitor(a=1)
    before = browser.sid
    browser.visit(lambda: (reads and session["a"], session.update(user_id=42)))

    assert before == browser.sid
    assert {"user_id": 42, "a": 1} == browser.read()


def test_other_user(late):
    """Who took the session over meanwhile is who it belongs to."""
    browser = late.visitor(a=1)
    # Not by a sign-in, which would rotate the secret.
    key = late.site.key(browser.sid)
    late.site.redis.hset(key, mapping={"@user": "42", "user_id": "42"})

    def view():
        assert 23 == session["user_id"]
        return session.user_sessions(), session["user_id"]

    assert ([], 42) == browser.visit(view).value


@pytest.mark.parametrize("wanted", [None, True])
def test_rotated_elsewhere(valkey, wanted):
    """A late GET does not send the old cookie of a permanent session, also if it is asked to."""
    late = Late(valkey, SESSION_PERMANENT=True)
    if wanted:
        kind = type(late.site.interface)
        sends = {"should_set_cookie": lambda *_: True}
        late.site.interface.__class__ = type("Sending", (kind,), sends)
    browser = late.visitor(a=1)
    parallel, there = browser.twin(), late.elsewhere.browser()
    there.cookie = browser.cookie
    there.sign_in(42)

    answer = parallel.visit(lambda: session.get("a"))

    assert 1 == answer.value
    assert [] == answer.cookies


def test_no_endpoint(late):
    """A context that serves no view of the application's, such as of a connection, asks Redis."""
    browser = late.visitor(a=1)
    late.end(browser)
    headers = {"Cookie": f"session={browser.cookie}"}

    with late.site.app.test_request_context("/", headers=headers):
        flask.request.url_rule = None

        assert {} == dict(flask.session)


def test_parts_for_longer_than_a_minute(valkey, monkeypatch):
    """What is kept by parts is kept anew after its time."""
    monkeypatch.setattr("flask_redis_session.storage.kept.LONGEST_KEPT", 0.2)
    site = KeepingSite(valkey, SESSION_TOUCH_INTERVAL=3600)
    browser = site.browser()
    browser.set(**{f"key{number}": "x" * 100 for number in range(100)})
    token = parse_cookie(browser.cookie)

    def believed():
        return site.kept.believed(token, lambda: (b"key7",))

    def is_kept():
        browser.visit(lambda: session["key7"])
        return believed() is not None

    wait_until(is_kept, "it is kept")
    wait_until(lambda: believed() is None, "its time is over")
    wait_until(is_kept, "it is kept again")
