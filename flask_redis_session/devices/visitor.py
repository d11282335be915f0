"""The visitor of the page, who can list and end their own sessions only."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, timezone

import flask
from flask import current_app, request

from flask_redis_session.errors import RevocationIncomplete, RevocationUnconfirmed
from flask_redis_session.interface import RedisSessionInterface, backend_of
from flask_redis_session.request.session import RedisSession
from flask_redis_session.storage.record import SessionInfo


@dataclass(frozen=True, slots=True)
class Page:
    """One page of the list of a user's sessions.

    :param number: its number; page 1 has the sessions that were seen last.
    :param sessions: the sessions; page 1 begins with the current session.
    :param has_more: whether there is a next page.
    :param now: when the list was made.
    :param has_unused: whether the user has a session that was unused for ``unused_days``.
    """

    number: int
    sessions: list[SessionInfo]
    has_more: bool
    now: datetime
    has_unused: bool

    def __iter__(self) -> Iterator[SessionInfo]:
        return iter(self.sessions)

    @property
    def is_alone(self) -> bool:
        """Whether the user has no other session, as far as this page tells."""
        return self.number == 1 and not self.has_more and all(each.current for each in self)


class Visitor:
    """The user of the current session.

    :param session: the session.
    :param user: the user's id, as text.
    """

    def __init__(self, session: RedisSession, user: str) -> None:
        self.session = session
        self.user = user

    @classmethod
    def of_request(cls) -> Visitor | None:
        """Return the visitor of the current request; ``None`` if nobody is signed in.

        :raises RuntimeError: if the application uses another kind of session.
        :raises StoreUnavailable: if Redis fails.
        """
        session = flask.session
        if not isinstance(session, RedisSession):
            raise RuntimeError(  # noqa: TRY004 (it is not an argument)
                "The devices page needs the sessions of flask-redis-session: "
                "app.session_interface = RedisSessionInterface()."
            )
        user = session._somebody_now()  # noqa: SLF001 (the session knows which key holds its user)
        return None if user is None else cls(session, user)

    def page(self, number: int, size: int, unused_days: int) -> Page:
        """Return a page of the visitor's sessions: the current one first, then those seen last.

        :param number: the number of the page; the first is 1.
        :param size: how many sessions one page shows.
        :param unused_days: after how many days without a visit a session counts as unused.
        :raises StoreUnavailable: if Redis fails.
        """
        # Ask for one more than is shown: if it comes, there is a next page.
        found = _interface().list_sessions(self.user, limit=size + 1, offset=(number - 1) * size)
        now = datetime.now(timezone.utc)
        sid = self.session.sid
        shown = [info for info in found[:size] if info.sid != sid]
        if number == 1 and not self.session.new:
            mine = next((info for info in found if info.sid == sid), None)
            shown.insert(
                0, replace(mine or self._this_one(sid, now), current=True, last_seen_at=now)
            )
        has_more = len(found) > size
        unused = now - timedelta(days=unused_days)
        has_unused = any(info.last_seen_at < unused for info in found if info.sid != sid)
        if has_more and not has_unused:
            # Those on later pages were seen longer ago.
            has_unused = self._has_unused_elsewhere(unused, sid)
        return Page(number, shown, has_more, now, has_unused)

    def _has_unused_elsewhere(self, unused: datetime, sid: str) -> bool:
        backend = backend_of(current_app)
        return backend is not None and backend.users.has_unseen_since(
            self.user, unused, current=sid
        )

    def _this_one(self, sid: str, now: datetime) -> SessionInfo:
        """Describe the current session if it is not among those seen last."""
        session = self.session
        backend = backend_of(current_app)
        device = backend.device(request) if backend is not None else (None, None)
        return SessionInfo(
            sid,
            self.user,
            session.created_at or now,
            session.signed_in_at,
            session.last_seen_at or now,
            session.expires_at or now,
            *device,
        )

    def end(self, sid: str) -> bool:
        """End one of the visitor's sessions; return ``False`` if they have no such session.

        :param sid: the sid of the session; it may be the current one.
        :raises StoreUnavailable: if Redis fails.
        """
        try:
            return _interface().revoke_sessions(self.user, only=sid) == 1
        except ValueError:
            # This is not the form of a sid.
            return False

    def end_others(self) -> int:
        """End every session but the current one; return how many.

        :raises RevocationIncomplete: if Redis fails after some were ended.
        """
        return self.session.clear_user_sessions(keep_current=True)

    def end_unused(self, days: int) -> int:
        """End every session that was unused for so many days; return how many.

        :param days: the number of days.
        :raises RevocationIncomplete: if Redis fails after some were ended.
        """
        return self.session.clear_user_sessions(before=timedelta(days=days))

    def end_all(self) -> int:
        """End every session, the current one last; return how many.

        :raises RevocationIncomplete: if Redis fails after some were ended.
        """
        # If Redis fails before the end, the visitor is still signed in and can try again.
        ended = self.end_others()
        try:
            return ended + self.session.clear_user_sessions()
        except (RevocationIncomplete, RevocationUnconfirmed) as failure:
            failure.ended += ended
            raise


def _interface() -> RedisSessionInterface:
    interface = current_app.session_interface
    assert isinstance(interface, RedisSessionInterface)  # noqa: S101 (it made the session)
    return interface
