"""No secret leaves by way of an error tracker, a debugger or a traceback with its locals."""

from __future__ import annotations

import io
import json
import pickle
import warnings
from copy import copy, deepcopy
from typing import Any

import pytest
import sentry_sdk
from rich.console import Console
from rich.pretty import pretty_repr
from rich.traceback import Traceback
from sentry_sdk.integrations.flask import FlaskIntegration
from werkzeug.debug import DebuggedApplication
from werkzeug.debug.tbtools import DebugTraceback

from flask_redis_session.signals import save_refused, session_created, session_ended, user_bound
from flask_redis_session.storage.token import new_token, parse_cookie
from tests.support.webapp import Site, session

Broken = Any


class ReceiverFailed(Exception):
    """What a receiver of a signal raises."""


def raises(*_: Any, **__: Any) -> None:
    """Raise, as a receiver with a fault of its own does."""
    raise ReceiverFailed


@pytest.fixture(params=["user_bound", "session_created"])
def broken(request: pytest.FixtureRequest, valkey: Any) -> Any:
    """A site whose receiver of a signal raises while a session is being handed out."""
    signal = {"user_bound": user_bound, "session_created": session_created}[request.param]
    site = Site(valkey)
    with signal.connected_to(raises):
        yield site


class Handed:
    """Finds the secrets that Redis knows of by their digest, in a text."""

    def __init__(self, site: Site) -> None:
        self._made: list[Any] = []
        backend = site.interface._backend_of(site.app)
        self._hashes = backend.hashes
        self._create, self._commit = self._hashes.create, self._hashes.commit
        hashes: Any = self._hashes
        hashes.create, hashes.commit = self.create, self.commit

    def create(self, token: Any, *args: Any, **options: Any) -> Any:
        """Note the token of a new session."""
        self._made.append(token)
        return self._create(token, *args, **options)

    def commit(self, token: Any, *args: Any, fresh: Any = None, **options: Any) -> Any:
        """Note the token that a session is rotated to."""
        if fresh is not None:
            self._made.append(fresh)
        return self._commit(token, *args, fresh=fresh, **options)

    def check(self, text: str) -> None:
        """Tell that a text has the sid of each, so that it is the right one, and no secret."""
        assert self._made
        for token in self._made:
            assert token.sid in text
            assert token.cookie() not in text
            assert token.cookie().split(".")[1] not in text


def failure(site: Site, *, signed_in: bool) -> BaseException:
    """Sign in, and return what a receiver raised while the session was being handed out."""
    browser = site.browser()
    site.app.testing = True
    if signed_in:
        with user_bound.muted(), session_created.muted():
            browser.set(cart=[1])
    with pytest.raises(ReceiverFailed) as caught:
        browser.sign_in(23)
    return caught.value


def sent_by_sentry(error: BaseException) -> str:
    """Return what sentry-sdk sends of an exception, with the locals of every frame."""
    sent: list[Any] = []

    def keep(event: Any, _: Any) -> None:
        sent.append(event)

    with sentry_sdk.isolation_scope(), sentry_sdk.new_scope() as scope:
        with warnings.catch_warnings():
            # It imports whatever is installed that it knows: what these use is of no concern here.
            warnings.simplefilter("ignore", DeprecationWarning)
            client = sentry_sdk.Client(
                dsn="http://key@127.0.0.1:9/1",
                before_send=keep,
                max_request_body_size="always",
                include_local_variables=True,
                max_value_length=10**6,
                integrations=[FlaskIntegration()],
            )
        scope.set_client(client)
        sentry_sdk.capture_exception(error)
        client.close(timeout=0)
    return json.dumps(sent, default=repr)


class TestReceiverThatRaises:
    """A receiver of a signal raises while the fresh cookie is about to be sent."""

    def test_sentry(self, broken: Broken) -> None:
        """What sentry-sdk sends has neither the secret nor the cookie."""
        handed = Handed(broken)

        handed.check(sent_by_sentry(failure(broken, signed_in=False)))

    def test_rich(self, broken: Broken) -> None:
        """A traceback of rich's with locals has neither the secret nor the cookie."""
        handed = Handed(broken)
        error = failure(broken, signed_in=False)
        page = io.StringIO()
        trace = Traceback.from_exception(
            type(error),
            error,
            error.__traceback__,
            show_locals=True,
            locals_max_length=10_000,
            locals_max_string=10_000,
        )
        Console(file=page, width=1000).print(trace)

        handed.check(page.getvalue())

    def test_werkzeug(self, broken: Broken) -> None:
        """Neither the debugger's page nor the values of its console's names have them."""
        handed = Handed(broken)
        error = failure(broken, signed_in=False)
        trace = DebugTraceback(error)
        page = trace.render_debugger_html(evalex=True, secret="pin", evalex_trusted=True)
        names = [
            f"{name} = {value!r} {pretty_repr(value)}"
            for frame in trace.all_frames
            if "flask_redis_session" in frame.filename
            for name, value in frame.local_ns.items()
        ]

        assert "ReceiverFailed" in page
        handed.check(page + "\n".join(names))

    def test_served_page(self, broken: Broken) -> None:
        """The page that a browser gets of the debugger has neither of them."""
        handed = Handed(broken)
        app: Any = DebuggedApplication(broken.app, evalex=False)
        broken.app.testing = True
        browser = broken.browser()
        broken.app.wsgi_app, wsgi = app, broken.app.wsgi_app
        app.app = wsgi
        page = browser.visit(lambda: session.update(user_id=23), status=500).response.text

        assert "ReceiverFailed" in page
        for token in handed._made:
            assert token.cookie().split(".")[1] not in page


def test_rotation(valkey: Any) -> None:
    """The secret that a stored session is rotated to does not leave either."""
    site = Site(valkey)
    with user_bound.connected_to(raises):
        handed = Handed(site)
        error = failure(site, signed_in=True)
    page = io.StringIO()
    Console(file=page, width=1000).print(
        Traceback.from_exception(type(error), error, error.__traceback__, show_locals=True)
    )

    handed.check(page.getvalue())


@pytest.mark.parametrize("signal", [session_ended, save_refused])
def test_session_that_ends(valkey: Any, signal: Any) -> None:
    """The cookie of a session that ends is in no local of this library's either."""
    site = Site(valkey)
    site.app.testing = True
    browser = site.browser()
    browser.sign_in(23)
    secret = browser.secret

    def end() -> None:
        dict(session)
        if signal is session_ended:
            session.clear()
        else:
            site.redis.flushdb()
            session["late"] = 1

    with signal.connected_to(raises), pytest.raises(ReceiverFailed) as caught:
        browser.visit(end)
    trace = DebugTraceback(caught.value)
    ours = [frame for frame in trace.all_frames if "/flask_redis_session/" in frame.filename]

    assert ours
    assert secret not in "".join(
        repr(value) + pretty_repr(value) for frame in ours for value in frame.local_ns.values()
    )


class TestToken:
    """The object that holds a secret."""

    @pytest.fixture
    def token(self) -> Any:
        """A token out of a cookie, whose digest was asked for."""
        token = parse_cookie(new_token(permanent=True).cookie())
        assert token is not None
        assert token.proof
        return token

    @pytest.mark.parametrize(
        "show", [repr, str, pretty_repr, "{}".format, lambda token: f"{[token]}"]
    )
    def test_shown(self, token: Any, show: Any) -> None:
        """It shows its sid alone."""
        assert token.sid in show(token)
        assert token.cookie().split(".")[1] not in show(token)

    @pytest.mark.parametrize(
        "give",
        [iter, len, tuple, vars, json.dumps, pickle.dumps, copy, deepcopy, lambda one: one[1]],
    )
    def test_given_away(self, token: Any, give: Any) -> None:
        """It is no sequence and no mapping, and nothing copies it."""
        with pytest.raises(TypeError):
            give(token)

    def test_sentry(self, token: Any) -> None:
        """sentry-sdk, which takes sequences apart, sends its sid alone."""
        fresh = token
        sent = ""
        try:
            raises(fresh)
        except ReceiverFailed as error:
            sent = sent_by_sentry(error)

        assert token.sid in sent
        assert token.cookie().split(".")[1] not in sent

    def test_session(self, valkey: Any) -> None:
        """What a session's attributes show has no secret."""
        site = Site(valkey)
        browser = site.browser()
        browser.sign_in(23)
        shown = browser.visit(lambda: pretty_repr(vars(session._get_current_object()))).value  # type: ignore[attr-defined]

        assert browser.sid in shown
        assert browser.secret not in shown
