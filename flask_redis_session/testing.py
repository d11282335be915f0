"""For the tests of applications: sign in with one line, and keep each test's sessions apart."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from secrets import token_hex
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from .application import ApplicationBackend
from .errors import StoreUnavailable
from .interface import ELSEWHERE, EXTENSION, RedisSessionInterface, backend_of
from .request.user import FLASK_LOGIN, UserKey

if TYPE_CHECKING:
    from flask import Flask
    from flask.testing import FlaskClient

#: How many keys SCAN goes through at a time.
_PAGE = 1000


def sign_in(client: FlaskClient, user_id: object, *, key: str | None = None) -> str:
    """Sign a test client in, and return the ``sid`` of its session; what the session held stays.

    With Flask-Login it is what ``login_user`` does, without its signals.

    :param client: ``app.test_client()``.
    :param user_id: whose session it becomes, as the application itself stores it.
    :param key: which one, if ``SESSION_USER_KEY`` names several; ``None``: the last of them, which
        is the application's own if an administrator can sign in as somebody else.
    :raises TypeError: if the application has other sessions, or ``user_id`` is no user's id.
    :raises ValueError: if ``SESSION_USER_KEY`` does not name the key.
    :raises StoreUnavailable: if Redis fails.
    """
    app = client.application
    user_key = _user_key(_backend(app), key)
    where = _where(app)
    with client.session_transaction(**where, environ_base=client.environ_base) as session:
        value = user_id
        if user_key.name in FLASK_LOGIN.roots and hasattr(app, "login_manager"):
            value = str(user_id)
            session["_fresh"] = True
            session["_id"] = _identifier(app, client)
        session[user_key.key] = _placed(session.get(user_key.key), user_key.inner, value)
    if session.created_at is None:  # type: ignore[attr-defined]
        raise StoreUnavailable
    sid: str = session.sid  # type: ignore[attr-defined]
    return sid


def _backend(app: Flask) -> ApplicationBackend:
    backend = backend_of(app)
    if backend is None:
        name = type(app.session_interface).__name__
        raise TypeError(
            f"The sessions of {app.name!r} are a {name}'s, not a RedisSessionInterface's."
        )
    return backend


def _where(app: Flask) -> dict[str, str]:
    """Return the address of a request with which a browser sends the cookie of the session."""
    host = app.config["SERVER_NAME"] or "localhost"
    domain = (app.session_interface.get_cookie_domain(app) or host).lstrip(".")
    if not f".{host.partition(':')[0]}".endswith(f".{domain.partition(':')[0]}"):
        host = domain
    return {
        "path": app.session_interface.get_cookie_path(app),
        "base_url": f"{app.config['PREFERRED_URL_SCHEME']}://{host}/",
    }


def _user_key(backend: ApplicationBackend, name: str | None) -> UserKey:
    keys: list[UserKey] = [*backend.user_keys]
    found = keys[-1:] if name is None else [each for each in keys if each.name == name]
    if not found:
        raise ValueError(f"key: SESSION_USER_KEY names {backend.user_keys}, not {name!r}.")
    key: UserKey = found[0]
    return key


def _identifier(app: Flask, client: FlaskClient) -> object:
    """Return by what Flask-Login knows the browser again; another one would not be fresh."""
    from flask_login.utils import _create_identifier  # noqa: PLC0415

    with app.test_request_context(environ_base=client.environ_base):
        return _create_identifier()


def _placed(held: object, inner: tuple[str, ...], user_id: object) -> object:
    """Return what is to be stored under a user's key, which held something else."""
    if not inner:
        return user_id
    here = dict(held) if isinstance(held, Mapping) else {}
    return {**here, inner[0]: _placed(here.get(inner[0]), inner[1:], user_id)}


@contextmanager
def isolated(app: Flask, redis: Any) -> Iterator[RedisSessionInterface]:
    """Keep an application's sessions elsewhere for a while, under a prefix of their own.

    In the block its settings are read again, at the first use. Outside of a request,
    ``app.session_interface`` means the application that is isolated, whichever others it serves.
    At its end these sessions are removed, and the application has those back that it had before.

    :param app: the application, which may have served already.
    :param redis: the server: a client, or a URL as in ``SESSION_REDIS_URL``.
    :raises TypeError: if the application has other sessions.
    """
    sessions = app.session_interface
    if not isinstance(sessions, RedisSessionInterface):
        raise TypeError(f"{app.name!r} has no RedisSessionInterface: call init_app(app) first.")
    is_url = isinstance(redis, str)
    before = {name: app.extensions.pop(name, None) for name in (EXTENSION, ELSEWHERE)}
    app.extensions[ELSEWHERE] = {
        "SESSION_REDIS": None if is_url else redis,
        "SESSION_REDIS_URL": redis if is_url else None,
        "SESSION_KEY_PREFIX": f"test:{token_hex(8)}:",
        # The tests' server has no replicas to wait for.
        "SESSION_REVOKE_WAIT": None,
        # Old sessions are looked for here, and never where the application has real ones.
        "SESSION_IMPORT_REDIS": None,
        # What a test stores by a client of its own is to be read at once.
        "SESSION_KEEP": 0,
    }
    try:
        # They may not know it yet: then another one would be meant outside of a request.
        sessions.init_app(app)
        yield sessions
    finally:
        _, backend = app.extensions.get(EXTENSION, (None, None))
        for name, value in before.items():
            app.extensions.pop(name, None)
            if value is not None:
                app.extensions[name] = value
        if backend is not None and backend.is_in_use:
            # If the test has stopped the server, nobody finds them again in any case.
            with suppress(StoreUnavailable):
                _forget(backend)


def _forget(backend: ApplicationBackend) -> None:
    pattern = f"{backend.settings.prefix}*"
    for node in backend.redis.nodes():
        cursor = None
        while cursor != 0:
            cursor, names = node.call(("SCAN", cursor or 0, "MATCH", pattern, "COUNT", _PAGE))
            backend.redis.together([("UNLINK", name) for name in names])


@contextmanager
def own_server() -> Iterator[str]:
    """Start an embedded server that nobody else uses; yield its URL, and end it.

    :raises SettingError: if it cannot run here.
    """
    from . import embedded  # noqa: PLC0415

    folder = tempfile.mkdtemp(prefix="flask-redis-session-tests-")
    try:
        yield f"embedded://{quote(folder)}"
    finally:
        embedded.end(folder)
        shutil.rmtree(folder, ignore_errors=True)
