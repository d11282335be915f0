from __future__ import annotations

import time

import pytest

from tests.support.webapp import Site, each, session


@pytest.fixture
def site(valkey):
    """A site on Valkey."""
    return Site(valkey)


class TestRegenerate:
    def test_rotates(self, site):
        """The cookie is another, the old one is dead; sid, content and creation stay."""
        browser = site.browser()
        browser.set(a=1)
        old = browser.twin()
        created = browser.visit(lambda: session.created_at).value

        answer = browser.visit(lambda: session.regenerate())

        assert None is not answer.cookie
        assert old.secret != browser.secret
        assert old.sid == browser.sid
        assert {"a": 1} == browser.read()
        assert created == browser.visit(lambda: session.created_at).value
        assert {} == old.read()

    def test_together_with_changes(self, site):
        """Changes of the same request are saved under the new secret."""
        browser = site.browser()
        browser.set(a=1, b=2)
        old = browser.twin()

        browser.visit(
            each(
                lambda: session.regenerate(), lambda: session.update(a=5), lambda: session.pop("b")
            )
        )

        assert {"a": 5} == browser.read()
        assert {} == old.read()

    def test_new_session(self, site):
        """There is nothing to rotate in a session that is not stored."""
        answer = site.browser().visit(lambda: session.regenerate())

        assert None is answer.cookie
        assert set() == site.names()

    def test_leaves_a_tombstone(self, site):
        """The old secret stays for 30 seconds as the time of the rotation, then it goes."""
        browser = site.browser()
        browser.set(a=1)

        def secrets():
            return {
                value for field, value in site.hash(browser.sid).items() if b"@secret:" in field
            }

        browser.visit(lambda: session.regenerate())
        (tombstone,) = (value for value in secrets() if not value.startswith(b"s"))

        assert abs(float(tombstone) - time.time()) < 30

        (field,) = (
            k for k, v in site.hash(browser.sid).items() if b"@secret:" in k and v == tombstone
        )
        site.age(browser.sid, 31, field.decode())
        browser.visit(lambda: session.regenerate())

        assert field not in site.hash(browser.sid)
        assert 2 == len(secrets())

    def test_dead_cookie_in_the_tombstone(self, site):
        """A late request with the old cookie stores nothing and sets no cookie (guarantee 7)."""
        browser = site.browser()
        browser.set(a=1)
        old = browser.twin()
        browser.visit(lambda: session.regenerate())

        for view in (
            lambda: dict(session),
            lambda: session.update(b=2),
            lambda: each(lambda: session.get("a"), lambda: session.update(a=2))(),
            lambda: session.clear(),
            lambda: session.regenerate(),
            lambda: setattr(session, "permanent", True),
        ):
            assert None is old.visit(view).cookie

        assert {"a": 1} == browser.read()
        assert {site.key(browser.sid)} == site.names()

    def test_dead_cookie_after_the_tombstone(self, site):
        """Later the old cookie is one that nobody knows: what is set goes into a new session."""
        browser = site.browser()
        browser.set(a=1)
        old = browser.twin()
        browser.visit(lambda: session.regenerate())
        (field,) = (
            k for k, v in site.hash(browser.sid).items() if b"@secret:" in k and v[:1] != b"s"
        )
        site.age(browser.sid, 31, field.decode())

        assert {} == old.read()

        old.set(b=2)

        assert old.sid != browser.sid
        assert {"b": 2} == old.read()
        assert {"a": 1} == browser.read()
