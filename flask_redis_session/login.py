"""Flask-Login's "remember me" as a session that lasts, instead of a second cookie."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

from flask import current_app, g, request, session
from flask_login import decode_cookie
from flask_login.signals import (
    user_accessed,
    user_loaded_from_request,
    user_logged_in,
    user_logged_out,
    user_login_confirmed,
)

from .application import ApplicationBackend
from .current import session_of_request
from .errors import SettingError, StoreUnavailable
from .interface import backend_of
from .remember_cookie import (
    BY_SESSION,
    Remembering,
    delete_remember_cookie,
    has_remember_cookie,
    remember_cookie_of,
    remembering_of,
)
from .request.session import RedisSession
from .revocation_marks import marks_of
from .settings import optional_seconds
from .signals import user_bound

if TYPE_CHECKING:
    from flask import Flask, Response

#: For how long Flask-Login remembers if ``REMEMBER_COOKIE_DURATION`` is not set.
DURATION = timedelta(days=365)

#: What ``login_user(remember=True)`` leaves in the session for the end of the request.
_MARK, _SECONDS = "_remember", "_remember_seconds"

#: What says in ``g`` that the remember cookie stays for now, and that it has signed its user in.
_KEEP, _TURNED = "flask_redis_session_keep", "flask_redis_session_turned"

_ABSOLUTE = "SESSION_ABSOLUTE_LIFETIME"
_UNKNOWN = "remember_by_session does not know this version of Flask-Login: it has no %s."


def remember_by_session(app: Flask, *, accept_cookies_until: datetime | None = None) -> None:
    """Let Flask-Login's "remember me" make a permanent session, and no second cookie.

    ``login_user(user, remember=True)`` then gives the session a lifetime of its own: ``duration``,
    or ``REMEMBER_COOKIE_DURATION``. Whatever ends the session ends it for good. A remember cookie
    that a browser still has opens nothing, and is deleted.

    Call it after ``login_manager.init_app(app)``, and after ``app.config`` is filled.

    :param app: the application.
    :param accept_cookies_until: until when a remember cookie signs its browser in, with such a
        session, and is deleted; an aware time. ``None``: it never does. After a revocation of its
        user it does not either.
    :raises RuntimeError: if the application has no ``login_manager`` yet, or has this already.
    :raises SettingError: if ``REMEMBER_COOKIE_DURATION`` is no time, or is longer than
        ``SESSION_ABSOLUTE_LIFETIME``, or ``SESSION_USER_KEY`` lacks ``_user_id``.
    :raises TypeError: if ``accept_cookies_until`` is no ``datetime``.
    :raises ValueError: if it is a naive one.
    """
    manager: Any = getattr(app, "login_manager", None)
    if manager is None:
        raise RuntimeError("remember_by_session comes after login_manager.init_app(app).")
    if BY_SESSION in app.extensions:
        raise RuntimeError("This application remembers by its sessions already.")
    _check_time(accept_cookies_until)
    _check_user_key(app.config.get("SESSION_USER_KEY"))
    _check_absolute(_configured(app), optional_seconds(app.config, _ABSOLUTE))
    _hook(manager)
    _finish_by_us(app, manager)
    app.extensions[BY_SESSION] = Remembering(accept_cookies_until, _configured(app).total_seconds())
    if accept_cookies_until is not None:
        user_bound.connect(_turned, app)
        user_accessed.connect(_outlast, app)
    user_accessed.connect(_end_freshness, app)
    user_logged_in.connect(_logged_in, app)
    user_logged_out.connect(_logged_out, app)
    user_login_confirmed.connect(_confirmed, app)


def _check_time(until: object) -> None:
    if until is None:
        return
    if not isinstance(until, datetime):
        raise TypeError(f"accept_cookies_until expects an aware datetime, not {until!r}.")
    if until.utcoffset() is None:
        problem = "is naive; give its zone, as in datetime(2027, 1, 31, tzinfo=timezone.utc)."
        raise ValueError(f"accept_cookies_until {problem}")


def _check_user_key(keys: Any) -> None:
    if keys is not None and "_user_id" not in ((keys,) if isinstance(keys, str) else keys):
        problem = "lacks _user_id, where Flask-Login puts the user: nothing could end its sessions."
        raise SettingError("SESSION_USER_KEY", problem)


def _check_absolute(lifetime: timedelta, absolute: float | None) -> None:
    if absolute is not None and lifetime.total_seconds() > absolute:
        problem = f"is shorter than the {lifetime} for which a user is to be remembered."
        raise SettingError(_ABSOLUTE, problem)


def _configured(app: Flask) -> timedelta:
    """Return for how long an application remembers, by its settings."""
    seconds = optional_seconds(app.config, "REMEMBER_COOKIE_DURATION")
    return DURATION if seconds is None else timedelta(seconds=seconds)


# --------------------------------------------------------------------------- Flask-Login's own


def _hook(manager: Any) -> None:
    """Let a login manager ask us before it reads, sets or deletes a remember cookie.

    It may serve other applications too, which go on as before.
    """
    hooks: dict[str, Callable[..., Any]] = {
        "_load_user_from_remember_cookie": _load,
        "_set_cookie": _nothing,
        "_clear_cookie": _nothing,
    }
    for name, hook in hooks.items():
        original = getattr(manager, name, None)
        if original is None:
            raise RuntimeError(_UNKNOWN % name)
        if getattr(original, "func", None) is not hook:
            setattr(manager, name, partial(hook, original))


def _nothing(original: Callable[[Response], None], response: Response) -> None:
    """Neither set nor delete a remember cookie: :func:`_finish` deletes it."""
    if BY_SESSION not in current_app.extensions:
        original(response)


def _load(original: Callable[[str], Any], cookie: str) -> Any:
    """Return the user of a remember cookie, if one still counts; Flask-Login asks."""
    remembering = remembering_of(_app())
    if remembering is None:
        return original(cookie)
    if remembering.accepts_cookies and _user_of(cookie) is not None:
        is_somebodys = "_user_id" in session
        user = original(cookie)
        # It goes once there is a session in its place. That is not by the response that makes the
        # session, which may turn into a 503; nor if its user cannot be loaded, maybe for a moment.
        g.setdefault(_KEEP, True)
        if user is None and not is_somebodys:
            # Flask-Login notes the id before it knows whether there is such a user.
            for name in ("_user_id", "_fresh"):
                session.pop(name, None)
        elif user is not None:
            g.setdefault(_TURNED, True)
            _remember(_app(), _session(), None)
        return user
    # As if the cookie were not there.
    manager: Any = _app().login_manager  # type: ignore[attr-defined]
    user = manager.request_callback(request) if manager.request_callback else None
    if user is not None:
        user_loaded_from_request.send(_app(), user=user)
    return user


def _user_of(cookie: str) -> str | None:
    """Return whose a remember cookie is, if it is signed and that user was not revoked."""
    try:
        user: str | None = decode_cookie(cookie)
    except TypeError:
        # Flask-Login cannot compare a signature that is not ASCII.
        return None
    return None if user is None or _is_revoked(user) else user


def _is_revoked(user: str) -> bool:
    """Tell whether a user's sessions were revoked: then no remember cookie of theirs counts.

    None was handed out since these sessions remember, so each is older.
    """
    marks = marks_of(_backend(_app()))
    return marks is not None and marks.is_revoked(user, None)


def _turned(app: Flask, *, sid: str, user_id: str | None, **_: Any) -> None:
    """End the session that a remember cookie has just become if its user was revoked meanwhile.

    By now it is in the index. So either the revocation finds it there, or this finds its mark.
    """
    if user_id is not None and _TURNED in g:
        # The response must not fail for it.
        with suppress(StoreUnavailable):
            if _is_revoked(user_id):
                _backend(app).users.revoke_one(user_id, sid)


def _finish_by_us(app: Flask, manager: Any) -> None:
    """Put :func:`_finish` in the place of what Flask-Login does with each response."""
    original = getattr(manager, "_update_remember_cookie", None)
    if original is None:
        raise RuntimeError(_UNKNOWN % "_update_remember_cookie")
    functions: list[Any] = app.after_request_funcs.get(None, [])
    if original in functions:
        functions[functions.index(original)] = partial(_finish, original)
    else:
        app.after_request(partial(_finish, None))


def _finish(original: Callable[[Response], Response] | None, response: Response) -> Response:
    """Delete the remember cookie of a browser that still has one.

    :param original: what Flask-Login does. It loads the session to look for a mark, which only
        a request that loaded its user can have set.
    :param response: the response.
    """
    is_loaded = "_login_user" in g
    if original is not None and is_loaded:
        response = original(response)
    app = _app()
    if has_remember_cookie(app, request) and (
        not app.extensions[BY_SESSION].accepts_cookies or (is_loaded and _KEEP not in g)
    ):
        delete_remember_cookie(app, response)
    return response


# --------------------------------------------------------------------------- its signals


def _logged_in(app: Flask, **_: Any) -> None:
    """Give the session of a sign-in the lifetime that was asked for."""
    ours = _session()
    _drop_remember_cookie()
    seconds = ours.pop(_SECONDS, None)
    if ours.pop(_MARK, None) == "set":
        _remember(app, ours, seconds)
    else:
        _forget(app, ours)
    if ours.get("_fresh"):
        # Also if it was this user's already: then nothing else tells of the proof.
        _confirmed(app)


def _logged_out(app: Flask, **_: Any) -> None:
    """Put a session that its user leaves back to the settings."""
    ours = _session()
    _drop_remember_cookie()
    for name in (_MARK, _SECONDS):
        ours.pop(name, None)
    _forget(app, ours)


def _drop_remember_cookie() -> None:
    """Let the remember cookie go by this response, whatever it has just been good for."""
    for name in (_KEEP, _TURNED):
        g.pop(name, None)


def _outlast(app: Flask, **_: Any) -> None:
    """Let a session last that a remember cookie of its user's would outlast."""
    cookie = remember_cookie_of(app, request)
    if cookie is None or not app.extensions[BY_SESSION].accepts_cookies:
        return
    ours = _session()
    lasts = ours.permanent and ours.lifetime == _configured(app)
    if "_user_id" in ours and not lasts and _user_of(cookie) == ours["_user_id"]:
        g.setdefault(_KEEP, True)
        _remember(app, ours, None)


def _confirmed(_: Flask, **__: Any) -> None:
    """Note that the user has just proved who they are."""
    # Of somebody whom a request_loader loaded there may be no session to confirm.
    with suppress(RuntimeError):
        _session().confirm()


def _end_freshness(app: Flask, **_: Any) -> None:
    """End Flask-Login's freshness ``SESSION_LIFETIME`` after the last proof."""
    ours = _session()
    if "_user_id" not in ours:
        return
    backend, proved = _backend(app), ours.signed_in_at
    limit = timedelta(seconds=backend.settings.lifetime)
    if (proved is None or backend.now() - proved > limit) and ours.get("_fresh"):
        ours["_fresh"] = False


def _remember(app: Flask, ours: RedisSession, seconds: float | None) -> None:
    """Let a session last.

    :param seconds: for how long; ``None``: as the settings say.
    """
    lifetime = _configured(app) if seconds is None else timedelta(seconds=seconds)
    _check_absolute(lifetime, _backend(app).settings.absolute)
    ours.permanent, ours.lifetime = True, lifetime


def _forget(app: Flask, ours: RedisSession) -> None:
    ours.permanent, ours.lifetime = _backend(app).settings.permanent, None


def _app() -> Flask:
    return current_app._get_current_object()  # type: ignore[attr-defined,no-any-return]  # noqa: SLF001


def _backend(app: Flask) -> ApplicationBackend:
    backend = backend_of(app)
    assert backend is not None  # noqa: S101 (it made the session)
    return backend


def _session() -> RedisSession:
    found = session_of_request()
    if found is None:
        raise RuntimeError(
            "remember_by_session needs the sessions of flask-redis-session: "
            "app.session_interface = RedisSessionInterface()."
        )
    return found
