"""When the user of a session signed in: signed_in_at, confirm(), and what counts from it."""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from flask_redis_session import RedisSessionInterface
from tests.support.webapp import Site, client_of, each, make_app, session


@pytest.fixture
def site(server):
    """A site on each server."""
    return Site(server)


def signed_in():
    """Return when the user of the session signed in."""
    return session.signed_in_at


def now():
    """Return the present."""
    return datetime.now(timezone.utc)


def just_now(moment):
    """Tell whether a time is now, as far as the clocks agree."""
    return abs(now() - moment) < timedelta(seconds=10)


class TestSignedInAt:
    """session.signed_in_at."""

    def test_nobody(self, site):
        """A session that is nobody's tells no sign-in, stored or not."""
        browser = site.browser()

        assert browser.visit(signed_in).value is None
        browser.set(a=1)
        assert browser.visit(signed_in).value is None
        assert b"@signed" not in site.hash(browser.sid)

    def test_sign_in(self, site):
        """It is when the user appeared, not when the visitor's session was created."""
        browser = site.browser()
        browser.set(a=1)
        site.age(browser.sid, 5000, "@born")
        browser.sign_in(23)

        moment = browser.visit(signed_in).value
        (info,) = site.interface.list_sessions(23)

        assert timezone.utc == moment.tzinfo
        assert just_now(moment)
        assert moment == info.signed_in_at
        assert timedelta(seconds=4990) < moment - browser.visit(lambda: session.created_at).value

    def test_same_request(self, site):
        """In the request that signs in or confirms, it is now."""
        browser = site.browser()
        new = browser.visit(each(lambda: session.update(user_id=23), signed_in)).value
        site.age(browser.sid, 5000, "@signed")
        other = browser.visit(each(lambda: session.update(user_id=42), signed_in)).value
        site.age(browser.sid, 5000, "@signed")
        confirmed = browser.visit(each(lambda: session.confirm(), signed_in)).value
        out = browser.visit(each(lambda: session.pop("user_id"), signed_in)).value

        assert [True] * 3 == [*map(just_now, (new, other, confirmed))]
        assert out is None

    def test_other_user(self, site):
        """It moves if the user changes."""
        browser = site.browser()
        browser.sign_in(23)
        site.age(browser.sid, 5000, "@signed")
        browser.sign_in(42)

        assert just_now(browser.visit(signed_in).value)

    @pytest.mark.parametrize(
        "view",
        [
            lambda: session.update(a=2),
            lambda: session.update(user_id=23),
            lambda: session.regenerate(),
            lambda: (old := dict(session), session.clear(), session.update(old)),
            lambda: (session.clear(), session.update(user_id=23)),
            lambda: setattr(session, "permanent", True),
        ],
    )
    def test_same_user(self, site, view):
        """What leaves the user the same leaves it, clear() and update(old) too."""
        browser = site.browser()
        browser.sign_in(23, a=1)
        before = browser.visit(signed_in).value
        site.age(browser.sid, 5000, "@signed")
        browser.visit(view)

        assert timedelta(seconds=5000) == before - browser.visit(signed_in).value

    def test_sign_out(self, site):
        """After a sign-out there is none; Redis holds when that was."""
        browser = site.browser()
        browser.sign_in(23, a=1)
        site.age(browser.sid, 5000, "@signed")
        browser.visit(lambda: session.pop("user_id"))

        assert browser.visit(signed_in).value is None
        assert just_now(
            datetime.fromtimestamp(float(site.hash(browser.sid)[b"@signed"]), timezone.utc)
        )

    @pytest.mark.parametrize("value", [None, b"inf", b"x", b"-1", b"9" * 40])
    def test_not_known(self, site, value):
        """A session that does not tell it, such as a damaged one, still opens."""
        browser = site.browser()
        browser.sign_in(23)
        site.redis.hdel(site.key(browser.sid), "@signed")
        if value is not None:
            site.redis.hset(site.key(browser.sid), "@signed", value)

        assert browser.visit(signed_in).value is None
        assert site.interface.list_sessions(23)[0].signed_in_at is None
        assert 1 == site.interface.revoke_sessions(23, signed_in_before=timedelta(days=9))


class TestConfirm:
    """session.confirm()."""

    def test_confirm(self, site):
        """The sign-in is now; the secret rotates, and sid, data, index and creation stay."""
        browser = site.browser()
        browser.sign_in(23, a=1)
        site.age(browser.sid, 5000, "@signed", "@born")
        thief, sid = browser.twin(), browser.sid
        born = site.hash(sid)[b"@born"]
        answer = browser.visit(lambda: session.confirm())

        assert answer.cookie is not None
        assert just_now(browser.visit(signed_in).value)
        assert {"user_id": 23, "a": 1} == browser.read()
        assert (sid, born, [sid]) == (browser.sid, site.hash(sid)[b"@born"], site.index(23))
        assert {} == thief.read()

    def test_nobody(self, site):
        """In a session that is nobody's it is an error, and nothing changes."""
        browser = site.browser()
        browser.set(a=1)
        before = browser.cookie

        def confirm():
            with pytest.raises(RuntimeError, match="nobody's"):
                session.confirm()

        browser.visit(confirm)

        assert before == browser.cookie
        site.browser().visit(confirm)

    def test_with_a_sign_in(self, site):
        """In the request of a sign-in it changes nothing more."""
        browser = site.browser()
        browser.visit(each(lambda: session.update(user_id=23), lambda: session.confirm()))

        assert just_now(browser.visit(signed_in).value)

    def test_cannot_bring_a_session_back(self, site):
        """A confirmation of a session that ends meanwhile is refused."""
        browser = site.browser()
        browser.sign_in(23)

        key = site.key(browser.sid)
        browser.visit(each(lambda: session.confirm(), lambda: site.redis.delete(key)))

        assert key not in site.names()
        assert {} == browser.read()


class TestAbsoluteLifetime:
    """SESSION_ABSOLUTE_LIFETIME counts from the sign-in."""

    @pytest.fixture
    def site(self, server):
        """A site whose sessions live for 8 hours at most."""
        return Site(server, SESSION_ABSOLUTE_LIFETIME=8 * 3600)

    def left(self, site, browser):
        """Return how many hours a session has left, by Redis and by what it tells, which agree."""
        left = site.redis.pttl(site.key(browser.sid)) / 3.6e6
        told = (browser.visit(lambda: session.expires_at).value - now()).total_seconds() / 3600

        assert abs(left - told) < 0.01
        return round(left)

    def test_from_the_sign_in(self, site):
        """A visitor of almost eight hours who signs in has eight hours more."""
        browser = site.browser()
        browser.set(a=1)
        site.later(7.9 * 3600)
        browser.sign_in(23)

        assert 8 == self.left(site, browser)
        (info,) = site.interface.list_sessions(23)
        assert info.expires_at == browser.visit(lambda: session.expires_at).value

        site.later(7 * 3600)
        browser.set(b=1)

        assert 1 == self.left(site, browser)
        site.later(1.1 * 3600)
        assert {} == browser.read()

    def test_is_over(self, site):
        """A sign-in after the end of the visitor's session gets a session of its own."""
        browser = site.browser()
        browser.set(a=1)
        sid = browser.sid
        site.age(sid, 8.1 * 3600, "@born")
        browser.sign_in(23)

        assert sid != browser.sid
        assert {"user_id": 23} == browser.read()

    @pytest.mark.parametrize(
        "view", [lambda: session.pop("user_id"), lambda: session.confirm()], ids=["out", "confirm"]
    )
    def test_from_the_last_change(self, site, view):
        """It counts from the confirmation; while the session is nobody's, from the sign-out."""
        browser = site.browser()
        browser.sign_in(23, a=1)
        site.later(7 * 3600)
        browser.visit(view)

        assert 8 == self.left(site, browser)

    def test_without_a_sign_in(self, site):
        """What does not tell its sign-in counts from its creation."""
        browser = site.browser()
        browser.sign_in(23)
        site.redis.hdel(site.key(browser.sid), "@signed")
        site.age(browser.sid, 7 * 3600, "@born")
        browser.set(a=1)

        assert 1 == self.left(site, browser)


def test_the_example_of_the_page(valkey):
    """The example of docs/security.md asks for the password again after 15 minutes."""
    page = Path(__file__).parents[2].joinpath("docs", "security.md").read_text("utf-8")
    section = page.partition("## Ask for the password again")[2]
    code = re.search("```python\n(.*?)```", section, re.DOTALL)
    assert code is not None
    app = make_app(RedisSessionInterface(redis=client_of(valkey)))
    known: dict[str, Any] = {
        "app": app,
        "is_password": lambda user, word: (user, word) == (23, "right"),
    }
    exec(code[1], known)  # noqa: S102 (it is ours)
    app.add_url_rule("/delete", view_func=known["recently_signed_in"](lambda: "deleted"))
    app.add_url_rule("/sign-in", "sign_in", lambda: session.update(user_id=23) or "in")
    client = app.test_client()

    assert "/password" in client.get("/delete").location
    client.get("/sign-in")
    assert "deleted" == client.get("/delete").text

    cookie = client.get_cookie("session")
    assert cookie is not None
    key = f"session:{cookie.value.partition('.')[0]}"
    client_of(valkey).hincrbyfloat(key, "@signed", -901)
    away = client.get("/delete").location

    assert "/password?next=/delete" == away
    assert 403 == client.post(away, data={"password": "wrong"}).status_code
    assert 302 == client.get("/delete").status_code
    assert "/delete" == client.post(away, data={"password": "right"}).location
    assert "deleted" == client.get("/delete").text
