"""One interface, one application, and other numbers of either."""

from __future__ import annotations

import gc
import weakref

import pytest

from flask_redis_session import RedisSessionInterface
from tests.support.clients import shared_client
from tests.support.webapp import _VALUES, _VIEW, Site, make_app, session

FLAGS = {
    "SESSION_COOKIE_DOMAIN": "example.org",
    "SESSION_COOKIE_PATH": "/shop",
    "SESSION_COOKIE_SECURE": True,
    "SESSION_COOKIE_HTTPONLY": False,
    "SESSION_COOKIE_SAMESITE": "Strict",
    "SESSION_COOKIE_PARTITIONED": True,
}


@pytest.fixture
def site(valkey):
    """A site on Valkey."""
    return Site(valkey)


class TestApplications:
    def test_init_app(self, valkey):
        """init_app gives an application these sessions, by its settings."""
        app = make_app(SESSION_REDIS=shared_client(valkey), SESSION_KEY_PREFIX="mine:")
        interface = RedisSessionInterface()

        interface.init_app(app)

        assert interface is app.session_interface

    @pytest.mark.parametrize("same", [True, False])
    def test_init_app_twice(self, same):
        """A second init_app on one application is an error, by whichever interface."""
        app = make_app()
        first = RedisSessionInterface()
        first.init_app(app)

        with pytest.raises(RuntimeError, match="init_app"):
            (first if same else RedisSessionInterface()).init_app(app)

    def test_failed_init_app_may_be_repeated(self):
        """After a setting was corrected, init_app works."""
        app = make_app(SESSION_LOAD="lazy")
        interface = RedisSessionInterface()
        with pytest.raises(ValueError):
            interface.init_app(app)

        app.config["SESSION_LOAD"] = "all"
        interface.init_app(app)

        assert interface is app.session_interface

    def test_two_interfaces(self, valkey):
        """An application may be given another interface; the new one counts."""
        site = Site(valkey)
        site.browser().set(a=1)
        site.app.session_interface = RedisSessionInterface(site.client, prefix="new:")

        browser = site.browser()
        browser.set(b=1)

        assert f"new:{browser.sid}" in site.names()

    def test_freed(self, valkey):
        """An application is freed as soon as nobody refers to it, without the garbage collector."""
        site = Site(valkey)
        # The error with which Redis asks for the script would keep what is on the stack.
        site.browser().sign_in(1)
        gc.disable()
        try:
            app = make_app(site.interface)
            browser = app.test_client()
            for view in (lambda: session.update(user_id=23), lambda: session.user_sessions()):
                browser.get("/", environ_overrides=view_of(view))
            freed = weakref.ref(app)

            del app, browser

            assert None is freed()
        finally:
            gc.enable()


def view_of(view):
    """Return the environment of a request that this view answers."""
    return {"tests.view": view, "tests.values": []}


def test_several_applications(valkey):
    """Outside of a context, an interface of several applications asks which is meant."""
    interface = RedisSessionInterface()
    apps = [
        make_app(interface, SESSION_REDIS=shared_client(valkey), SESSION_KEY_PREFIX=prefix)
        for prefix in ("a:", "b:")
    ]
    for app in apps:
        app.test_client().get(
            "/", environ_overrides={_VIEW: lambda: session.update(user_id=23), _VALUES: []}
        )

    for call in (interface.list_sessions, interface.revoke_sessions):
        with pytest.raises(RuntimeError, match="app_context"):
            call(23)
    for app in apps:
        with app.app_context():
            assert 1 == interface.revoke_sessions(23)
