"""Cookie, session, cookie: what Flask calls at the beginning and the end of a request."""

from __future__ import annotations

import threading
from collections.abc import Collection
from datetime import datetime, timedelta, timezone
from functools import partial
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

from flask import after_this_request, current_app, has_app_context, has_request_context, request
from flask.sessions import SessionInterface, SessionMixin
from flask.signals import got_request_exception

from .application import ApplicationBackend
from .arrivals import carrier
from .cookie import as_wanted, carried_over, read_cookies
from .current import finish, finish_failed, session_of_request
from .errors import StoreUnavailable
from .figures import begin, report
from .hints import give_hints
from .refusal import forbid_storing, refuse, vary
from .request.backend import When
from .request.outcome import Outcome
from .request.session import RedisSession
from .request.user import user_text
from .settings import Settings, read_settings, settings_alone
from .signals import send_events
from .storage.record import SessionInfo
from .storage.revocation import Selection
from .storage.user_sessions import sids_of

if TYPE_CHECKING:
    from flask import Flask, Request, Response

#: Where an application keeps its sessions, in ``app.extensions``.
EXTENSION = "flask_redis_session"
#: Settings of an application that rule over its own, and over what the interface was given, in
#: ``app.extensions``: ``testing.py`` puts them there.
ELSEWHERE = "flask_redis_session.elsewhere"
_NOBODY = (None, None)


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
        # Used outside of any application context, which would tell which application is meant.
        self._latest: ApplicationBackend | None = None
        self._applications: WeakSet[Flask] = WeakSet()

    def init_app(self, app: Flask) -> None:
        """Give an application these sessions, and check its settings.

        The settings count as they are when the sessions are first used.

        :param app: the application.
        :raises SettingError: if a setting is ill-typed or contradicts another.
        :raises RuntimeError: if the application has them already.
        """
        if EXTENSION in app.extensions:
            raise RuntimeError("This application has its sessions already: call init_app once.")
        app.session_interface = self
        with self._lock:
            self._prepare(app)

    def _prepare(self, app: Flask) -> None:
        """Read an application's settings for the first time, and tell what is odd about them."""
        give_hints(app.config)
        settings = self._settings_of(app)
        self._applications.add(app)
        self._latest = ApplicationBackend(settings, app)
        app.extensions[EXTENSION] = (self, self._latest)
        got_request_exception.connect(finish_failed, app)

    def _backend_of(self, app: Flask) -> ApplicationBackend:
        """Return an application's sessions, for use; the first call reads its settings.

        They may have changed since :meth:`init_app` checked them, as test suites do it.
        """
        backend: ApplicationBackend
        owner, backend = app.extensions.get(EXTENSION, _NOBODY)
        if owner is self and backend.is_in_use:
            return backend
        with self._lock:
            if app.extensions.get(EXTENSION, _NOBODY)[0] is not self:
                self._prepare(app)
            else:
                self._read_again(app)
            owner, backend = app.extensions[EXTENSION]
            backend.is_in_use = True
        return backend

    def _settings_of(self, app: Flask) -> Settings:
        if ELSEWHERE in app.extensions:
            config = {**app.config, **app.extensions[ELSEWHERE]}
            return read_settings(config, redis=None, prefix=None)
        return read_settings(app.config, redis=self._redis, prefix=self._prefix)

    def _read_again(self, app: Flask) -> None:
        _, checked = app.extensions[EXTENSION]
        settings = self._settings_of(app)
        if settings != checked.settings:
            changed = ApplicationBackend(settings, app)
            app.extensions[EXTENSION] = (self, changed)
            self._latest = changed if self._latest is checked else self._latest

    def open_session(self, app: Flask, request: Request) -> RedisSession:
        """Return the session of a request; nothing is asked of Redis until it is used."""
        backend = self._backend_of(app)
        name = self.get_cookie_name(app)
        tokens = read_cookies(request, name)
        carry = None if tokens else carrier(backend, app, request, name)
        session = self.session_class(
            backend, tokens, permanent=backend.settings.permanent, request=request, carry=carry
        )
        if (tokens or carry) and has_request_context():
            after_this_request(partial(finish, session))
        begin(app, session, request)
        return session

    def save_session(self, app: Flask, session: SessionMixin | None, response: Response) -> None:
        """Write what the request changed in its session, and set the cookie if it changed.

        :raises UnstorableValue: if a value has no form in Redis; nothing was written.
        """
        if isinstance(session, RedisSession):
            report(app, session, self._save(app, session, response))

    def _save(
        self, app: Flask, session: RedisSession, response: Response
    ) -> Outcome | StoreUnavailable | None:
        """Save a session, and return what came of it; ``None``: there was nothing to save."""
        if session.accessed:
            vary(response)
        is_asked = type(self).should_set_cookie is not SessionInterface.should_set_cookie
        if session._is_done(response.status_code, is_asked):  # noqa: SLF001
            return None
        backend = self._backend_of(app)
        failed: StoreUnavailable | None = None
        try:
            wanted = self.should_set_cookie(app, session) if is_asked else None
            outcome = session._save(backend.terms(app), backend.send)  # noqa: SLF001
        except StoreUnavailable as failure:
            refuse(app, response, failure)
            outcome, wanted, failed = Outcome("leave", "gone"), None, failure
        arrival = session._arrival  # noqa: SLF001
        if arrival is None or arrival.phase != "unproved" or backend.mover is None:
            outcome = as_wanted(outcome, wanted=wanted)
        else:
            outcome = carried_over(outcome, arrival, backend.mover.opens)
            self._drop_old_cookie(app, response)
        send_events(app, session, outcome.events)
        if outcome.signed_in is not None and outcome.token is not None:
            backend.users.revoke_surplus(outcome.signed_in, keep=outcome.token.sid)
        if outcome.cookie != "leave":
            self._send_cookie(app, session, response, outcome)
        return failed or outcome

    def regenerate(self, session: RedisSession) -> None:
        """Give a session a fresh secret; as Flask-Session's interface does.

        :param session: the session: ``flask.session``.
        """
        session.regenerate()

    def _cookie_flags(self, app: Flask) -> dict[str, Any]:
        return {
            "domain": self.get_cookie_domain(app),
            "path": self.get_cookie_path(app),
            "secure": self.get_cookie_secure(app),
            "httponly": self.get_cookie_httponly(app),
            "samesite": self.get_cookie_samesite(app),
            "partitioned": self.get_cookie_partitioned(app),
        }

    def _drop_old_cookie(self, app: Flask, response: Response) -> None:
        """Delete the cookie of a session that was carried over, if it has a name of its own."""
        imports = self._backend_of(app).settings.imports
        if imports is None or imports.keeps_old:
            return
        if imports.cookie not in (None, self.get_cookie_name(app)):
            response.delete_cookie(imports.cookie, **self._cookie_flags(app))

    def _send_cookie(
        self, app: Flask, session: RedisSession, response: Response, outcome: Outcome
    ) -> None:
        record = outcome.record
        if outcome.cookie == "refresh" and record is not None and record.is_kept:
            # What is kept may have been rotated since, and the browser have the next cookie.
            return
        # A browser replaces or deletes only the cookie with these same flags.
        flags = self._cookie_flags(app)
        known = self._backend_of(app).cookie_flags
        if not known.have_changed(flags) and outcome.cookie == "same":
            return
        name = self.get_cookie_name(app)
        if outcome.cookie == "clear":
            if not has_request_context() or name in request.cookies:
                response.delete_cookie(name, **flags)
        elif outcome.token is not None:  # pragma: no branch - there is one to send
            expires = self.get_expiration_time(app, session)
            if outcome.token.lifetime is not None:
                # It was assigned: no setting changes it.
                expires = datetime.now(timezone.utc) + timedelta(seconds=outcome.token.lifetime)
            response.set_cookie(name, outcome.token.cookie(), expires=expires, **flags)
        vary(response)
        if outcome.cookie == "fresh":
            if not (app.debug or app.testing) and has_request_context():
                # As it was sent: Flask's own property raises on a host it does not trust.
                known.warn(name, flags, request.environ.get("HTTP_HOST", ""))
            # OWASP Session Management, Web Content Caching: a new secret is for one reader.
            forbid_storing(response)

    def list_sessions(
        self, user_id: object, *, limit: int | None = None, offset: int = 0
    ) -> list[SessionInfo]:
        """Return a user's live sessions, last seen first; no request is needed.

        :param user_id: whose.
        :param limit: how many at most; ``None``: all.
        :param offset: how many of the newest to leave out.
        :raises ValueError: if ``limit`` or ``offset`` is negative, or more than Redis counts.
        :raises TypeError: if one of them is no number, or ``user_id`` no user's id.
        :raises StoreUnavailable: if Redis fails.
        """
        user = user_text("user_id", user_id)
        return self._any_backend().users.list_sessions(user, limit=limit, offset=offset)

    def revoke_sessions(
        self,
        user_id: object,
        *,
        before: When | None = None,
        created_before: When | None = None,
        signed_in_before: When | None = None,
        only: str | Collection[str] | None = None,
        keep: str | Collection[str] = (),
    ) -> int:
        """End a user's sessions and return how many; no request is needed.

        If the session of the current request is among them, the request may go on to use it, as a
        new one.

        :param user_id: whose.
        :param before: only those last seen before: an aware time, so long ago, or epoch seconds.
        :param created_before: only those created before; a time as for ``before``.
        :param signed_in_before: only those whose user signed in, or was last confirmed, before; one
            of which that is not known counts as signed in long ago.
        :param only: only these: a sid or several.
        :param keep: not these: a sid or several.
        :raises ValueError: if a time is naive or a sid has not the form of one.
        :raises TypeError: if an argument is of another type.
        :raises RevocationIncomplete: if Redis fails on the way; to call it again ends the rest.
        :raises RevocationUnconfirmed: if fewer replicas have it than ``SESSION_REVOKE_WAIT``.
        """
        backend = self._any_backend()
        user = user_text("user_id", user_id)
        selection = Selection(
            before=backend.users.epoch("before", before),
            created_before=backend.users.epoch("created_before", created_before),
            signed_in_before=backend.users.epoch("signed_in_before", signed_in_before),
            only=None if only is None else sids_of("only", only),
            keep=sids_of("keep", keep),
        )
        current = session_of_request()
        ended = 0
        own = None if current is None else current._cookie_sid(backend)  # noqa: SLF001
        for page in backend.users.revoke(user, selection, own=own):
            ended += len(page)
            if current is not None:
                current._ended_outside(backend, page)  # noqa: SLF001
        return ended

    def _any_backend(self) -> ApplicationBackend:
        """Return the sessions of the current application, or of the one that has these."""
        if has_app_context() and current_app.session_interface is self:
            return self._backend_of(current_app._get_current_object())  # type: ignore[attr-defined]  # noqa: SLF001
        with self._lock:
            known = [*self._applications]
        # Beside one that is being tested, those of other tests may not have been collected yet.
        apps = [app for app in known if ELSEWHERE in app.extensions] or known
        if len(apps) > 1:
            raise RuntimeError(
                "These sessions serve several applications: say which, by app.app_context()."
            )
        if apps:
            return self._backend_of(apps[0])
        if self._latest is None:
            self._latest = ApplicationBackend(settings_alone(self._redis, self._prefix))
        return self._latest


def backend_of(app: Flask) -> ApplicationBackend | None:
    """Return the sessions of an application, or ``None`` if they are not these.

    :param app: the application.
    :raises SettingError: if this reads its settings, and one is ill-typed.
    """
    interface = app.session_interface
    return interface._backend_of(app) if isinstance(interface, RedisSessionInterface) else None  # noqa: SLF001
