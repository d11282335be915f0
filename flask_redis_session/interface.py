"""Cookie, session, cookie: what Flask calls at the beginning and the end of a request."""

from __future__ import annotations

import logging
import threading
from collections.abc import Collection
from typing import TYPE_CHECKING, Any

from flask import current_app, has_app_context, has_request_context
from flask import session as current_session
from flask.sessions import SessionInterface, SessionMixin

from .application import ApplicationBackend, sids_of
from .errors import StoreUnavailable
from .request.backend import When
from .request.save import Cookie, Save
from .request.session import RedisSession, user_text
from .settings import read_settings
from .storage.record import SessionInfo
from .storage.revocation import Selection
from .storage.token import Token, parse_cookie

if TYPE_CHECKING:
    from flask import Flask, Request, Response

#: Where an application keeps its sessions, in ``app.extensions``.
EXTENSION = "flask_redis_session"
_NOBODY = (None, None)
_NO_APPLICATION = (
    "No application is known, nor are its settings: sessions are looked for under the prefix %r. "
    "Call init_app(app), work inside app.app_context(), or give prefix= to say that it is right."
)

log = logging.getLogger("flask_redis_session")

# What a response and the one that takes its place may both have to say.
_OF_EACH = {"Link", "Set-Cookie", "Vary"}
_OF_THE_BODY = {"accept-ranges", "etag", "expires", "last-modified", "location"}


class RedisSessionInterface(SessionInterface):
    """Server-side sessions in Redis, one hash each.

    Assign it to ``app.session_interface``, or call :meth:`init_app`. The settings are read
    from ``app.config``: at once by :meth:`init_app`, else at the first request.

    :param redis: a client: ``redis.Redis``, ``redis.RedisCluster``, a Sentinel's primary or
        ``valkey.Valkey``, with ``decode_responses`` on or off; ``None``: ``SESSION_REDIS``
        or ``SESSION_REDIS_URL`` says where Redis is.
    :param prefix: the prefix of every key; ``None``: ``SESSION_KEY_PREFIX``, which is
        ``session:`` by default.
    """

    session_class = RedisSession

    def __init__(self, redis: Any = None, prefix: str | None = None) -> None:
        self._redis = redis
        self._prefix = prefix
        self._lock = threading.Lock()
        # The application's sessions where no context tells which: outside of one.
        self._latest: ApplicationBackend | None = None
        self._applications = 0

    def init_app(self, app: Flask) -> None:
        """Give an application these sessions, and check its settings.

        :param app: the application.
        :raises SettingError: where a setting is ill-typed or contradicts another.
        :raises RuntimeError: where the application has them already.
        """
        if EXTENSION in app.extensions:
            raise RuntimeError("This application has its sessions already: call init_app once.")
        app.session_interface = self
        self._backend_of(app)

    def _backend_of(self, app: Flask) -> ApplicationBackend:
        """Return an application's sessions; the first call reads its settings."""
        backend: ApplicationBackend
        owner, backend = app.extensions.get(EXTENSION, _NOBODY)
        if owner is self:
            return backend
        with self._lock:
            owner, backend = app.extensions.get(EXTENSION, _NOBODY)
            if owner is not self:
                settings = read_settings(app.config, redis=self._redis, prefix=self._prefix)
                self._applications += 1
                backend = self._latest = ApplicationBackend(settings, app)
                app.extensions[EXTENSION] = (self, backend)
        return backend

    def open_session(self, app: Flask, request: Request) -> RedisSession:
        """Return the session of a request; nothing is asked of Redis until it is used."""
        backend = self._backend_of(app)
        token = _token_of(request, self.get_cookie_name(app))
        return self.session_class(
            backend, token, permanent=backend.settings.permanent, request=request
        )

    def save_session(self, app: Flask, session: SessionMixin | None, response: Response) -> None:
        """Write what the request changed in its session, and set the cookie where it changed.

        :raises UnstorableValue: where a value has no form in Redis; nothing was written.
        """
        if not isinstance(session, RedisSession):
            return
        if session.accessed:
            _vary(response)
        if session._is_untouched():
            return
        if session._failure is not None:
            if session._modified or response.status_code == 500:
                _refuse(app, response, session._failure)
            return
        backend = self._backend_of(app)
        if session._usage is not None:
            backend.learn(session._usage)
            session._usage = None
        save = Save(
            app,
            backend,
            session,
            refreshes=app.config["SESSION_REFRESH_EACH_REQUEST"],
        )
        try:
            cookie = save.run()
        except StoreUnavailable as failure:
            session._failure = failure
            _refuse(app, response, failure)
            return
        if session._owes_cookie:
            # Also where the first save of this request wrote it, and then something raised.
            cookie = "fresh"
        if cookie != "leave":
            self._send_cookie(app, session, response, cookie)

    def _cookie_flags(self, app: Flask) -> dict[str, Any]:
        return {
            "domain": self.get_cookie_domain(app),
            "path": self.get_cookie_path(app),
            "secure": self.get_cookie_secure(app),
            "httponly": self.get_cookie_httponly(app),
            "samesite": self.get_cookie_samesite(app),
            "partitioned": self.get_cookie_partitioned(app),
        }

    def _send_cookie(
        self, app: Flask, session: RedisSession, response: Response, cookie: Cookie
    ) -> None:
        # A browser replaces or deletes only the cookie with these same flags.
        flags = self._cookie_flags(app)
        if not self._backend_of(app).reflags(flags) and cookie == "same":
            return
        name = self.get_cookie_name(app)
        if cookie == "clear":
            if session._request is None or name in session._request.cookies:
                response.delete_cookie(name, **flags)
        elif session._token is not None:
            expires = self.get_expiration_time(app, session)
            response.set_cookie(name, session._token.cookie(), expires=expires, **flags)
            session._owes_cookie = False
        _vary(response)
        if cookie == "fresh":
            if not (app.debug or app.testing) and session._request is not None:
                # As it was sent: Flask's own property raises on a host it does not trust.
                host = session._request.environ.get("HTTP_HOST", "")
                self._backend_of(app).advice.give(name, flags, host)
            # OWASP Session Management, Web Content Caching: a new secret is for one reader.
            response.cache_control.no_store = True

    def list_sessions(
        self, user_id: object, *, limit: int | None = None, offset: int = 0
    ) -> list[SessionInfo]:
        """Return a user's live sessions, last seen first; no request is needed.

        :param user_id: whose.
        :param limit: how many at most; ``None``: all.
        :param offset: how many of the newest to leave out.
        :raises ValueError: where ``limit`` or ``offset`` is negative, or more than Redis counts.
        :raises TypeError: where one of them is no number, or ``user_id`` no user's id.
        :raises StoreUnavailable: where Redis fails.
        """
        user = user_text("user_id", user_id)
        return self._any_backend().list_sessions(user, limit=limit, offset=offset)

    def revoke_sessions(
        self,
        user_id: object,
        *,
        before: When | None = None,
        created_before: When | None = None,
        only: str | Collection[str] | None = None,
        keep: str | Collection[str] = (),
    ) -> int:
        """End a user's sessions and return how many; no request is needed.

        Where the session of the current request is among them, the request may go on to use it,
        as a new one.

        :param user_id: whose.
        :param before: only those last seen before: an aware time, so long ago, or epoch seconds.
        :param created_before: only those signed in before, likewise.
        :param only: only these: a sid or several.
        :param keep: not these: a sid or several.
        :raises ValueError: where a time is naive or a sid has not the form of one.
        :raises TypeError: where an argument is of another type.
        :raises RevocationIncomplete: where Redis fails on the way; to call it again ends the rest.
        :raises RevocationUnconfirmed: where fewer replicas have it than ``SESSION_REVOKE_WAIT``.
        """
        backend = self._any_backend()
        user = user_text("user_id", user_id)
        selection = Selection(
            before=backend.epoch("before", before),
            created_before=backend.epoch("created_before", created_before),
            only=None if only is None else sids_of("only", only),
            keep=sids_of("keep", keep),
        )
        current = _session_of_request(backend)
        ended = 0
        for page in backend.revoke(user, selection):
            ended += len(page)
            if current is not None and current._opened_by(page):
                current._end()
        return ended

    def _any_backend(self) -> ApplicationBackend:
        """Return the sessions of the current application, or of the one that has these."""
        if has_app_context() and current_app.session_interface is self:
            return self._backend_of(current_app._get_current_object())  # type: ignore[attr-defined]
        if self._applications > 1:
            raise RuntimeError(
                "These sessions serve several applications: say which, by app.app_context()."
            )
        if self._latest is None:
            if self._redis is None:
                raise RuntimeError(
                    "These sessions know no application yet: call init_app(app), "
                    "or work inside app.app_context()."
                )
            settings = read_settings({}, redis=self._redis, prefix=self._prefix)
            if self._prefix is None:
                # Under another prefix than the application's there is nothing to end, and a
                # revocation would seem to have worked.
                log.warning(_NO_APPLICATION, settings.prefix)
            self._latest = ApplicationBackend(settings)
        return self._latest


def backend_of(app: Flask) -> ApplicationBackend | None:
    """Return the sessions of an application, or ``None`` where they are not these.

    :param app: the application.
    :raises SettingError: where this reads its settings, and one is ill-typed.
    """
    interface = app.session_interface
    return interface._backend_of(app) if isinstance(interface, RedisSessionInterface) else None


def _session_of_request(backend: ApplicationBackend) -> RedisSession | None:
    """Return the session of the current request, if there is one and it is one of these."""
    if not has_request_context():
        return None
    session = current_session._get_current_object()  # type: ignore[attr-defined]
    return session if isinstance(session, RedisSession) and session._backend is backend else None


def _token_of(request: Request, name: str) -> Token | None:
    """Return what the session's cookie says, if it has the form of one."""
    header = request.environ.get("HTTP_COOKIE")
    if not header:
        return None
    before, found, after = header.partition(f"{name}=")
    if found and f"{name}=" not in after and (not before or before.endswith("; ")):
        # The usual case. To have all cookies parsed takes as long as all the rest of a request
        # that does without its session.
        token = parse_cookie(after.partition(";")[0])
        if token is not None:
            return token
    cookie = request.cookies.get(name)
    return parse_cookie(cookie) if cookie else None


def _vary(response: Response) -> None:
    """Tell caches that the response depends on the cookie."""
    if "Vary" in response.headers:
        response.vary.add("Cookie")
    else:
        # The same in less than half the time.
        response.headers.add("Vary", "Cookie")


def _refuse(app: Flask, response: Response, failure: StoreUnavailable) -> None:
    """Turn a response into a 503, by way of the application's own handler if it has one."""
    try:
        refusal = app.make_response(app.handle_http_exception(failure))
    except StoreUnavailable:
        refusal = app.make_response(failure.get_response())
    body = response.response
    if hasattr(body, "close"):
        response.call_on_close(body.close)
    response.status = refusal.status
    response.response = refusal.response
    # What speaks of the body goes with it; what speaks of the site, such as CORS, stays.
    for name in [*response.headers.keys()]:
        if name.lower().startswith("content-") or name.lower() in _OF_THE_BODY:
            response.headers.remove(name)
    for name in {name for name, _ in refusal.headers} - _OF_EACH:
        response.headers.remove(name)
    for name, value in refusal.headers:
        response.headers.add(name, value)
    response.cache_control.no_store = True
