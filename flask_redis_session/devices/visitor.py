"""Whoever asks, and what they may do: with their own sessions, and with nobody else's."""

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
    """A part of the list of somebody's sessions.

    :param number: which part: 1 is the newest.
    :param sessions: the sessions; the first of page 1 is the one that asks.
    :param has_more: whether there is a page after it.
    :param now: the present, for the times in it.
    """

    number: int
    sessions: list[SessionInfo]
    has_more: bool
    now: datetime

    def __iter__(self) -> Iterator[SessionInfo]:
        return iter(self.sessions)

    @property
    def is_alone(self) -> bool:
        """Whether there is no session but the one that asks, as far as this page tells."""
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
        """Return the visitor of the current request, or ``None`` where it is nobody.

        :raises RuntimeError: where the application has other sessions than these.
        :raises StoreUnavailable: where Redis fails.
        """
        session = flask.session
        if not isinstance(session, RedisSession):
            raise RuntimeError(  # noqa: TRY004 (it is no argument)
                "The devices page needs the sessions of flask-redis-session: "
                "app.session_interface = RedisSessionInterface()."
            )
        user = session._user()  # noqa: SLF001 (whose it is, by the rule of the session itself)
        return None if user is None else cls(session, user)

    def page(self, number: int, size: int) -> Page:
        """Return a page of the visitor's sessions, last seen first, and this one before all.

        :param number: which page; 1 is the newest.
        :param size: how many sessions are on a page.
        :raises StoreUnavailable: where Redis fails.
        """
        # One more than shown tells whether there is a page after this one.
        found = _interface().list_sessions(self.user, limit=size + 1, offset=(number - 1) * size)
        now = datetime.now(timezone.utc)
        sid = self.session.sid
        shown = [info for info in found[:size] if info.sid != sid]
        if number == 1 and sid is not None:
            mine = next((info for info in found if info.sid == sid), None)
            shown.insert(0, replace(mine or self._this_one(sid), current=True, last_seen_at=now))
        return Page(number, shown, len(found) > size, now)

    def _this_one(self, sid: str) -> SessionInfo:
        """Describe the current session where it is not among the newest."""
        session = self.session
        backend = backend_of(current_app)
        device = backend.device(request) if backend is not None else (None, None)
        return SessionInfo(
            sid,
            self.user,
            session.created_at,
            session.last_seen_at,
            session.expires_at,
            *device,
        )

    def end(self, sid: str) -> bool:
        """End one of the visitor's sessions; return whether it is one.

        :param sid: which; the current one may be among them.
        :raises StoreUnavailable: where Redis fails.
        """
        try:
            return _interface().revoke_sessions(self.user, only=sid) == 1
        except ValueError:
            # It has not even the form of a sid.
            return False

    def end_others(self) -> int:
        """End every session but the current one; return how many.

        :raises RevocationIncomplete: where Redis fails on the way.
        """
        return self.session.clear_user_sessions(keep_current=True)

    def end_unused(self, days: int) -> int:
        """End every session that was not seen for so many days; return how many.

        :param days: how many.
        :raises RevocationIncomplete: where Redis fails on the way.
        """
        return self.session.clear_user_sessions(before=timedelta(days=days))

    def end_all(self) -> int:
        """End every session, the current one last; return how many.

        :raises RevocationIncomplete: where Redis fails on the way.
        """
        # Should Redis fail on the way, the visitor is still signed in and can go on.
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
