"""What a request changed goes to the store, and the cookie follows."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from flask_redis_session.application import ApplicationBackend
from flask_redis_session.signals import save_refused, session_created, session_ended, user_bound
from flask_redis_session.storage.record import BORN, IDLE, SEEN, USER, Binding, Changes, Record
from flask_redis_session.storage.session_hash import Committed, Lifetime
from flask_redis_session.storage.token import Token, new_token

from .session import RedisSession

if TYPE_CHECKING:
    from flask import Flask

log = logging.getLogger("flask_redis_session")

#: What the response does with the browser's cookie. *fresh*: it hands out a secret that is
#: new; *refresh*: it hands out the same one again, for its expiry; *same*: there is no need to,
#: though the session was modified; *leave*: it must not.
Cookie = Literal["leave", "same", "fresh", "refresh", "clear"]


@dataclass(slots=True)
class Save:
    """The end of one request, as far as its session goes.

    :param app: the application, for the signals.
    :param sessions: the application's sessions.
    :param session: the session to save.
    :param refreshes: whether a permanent session's cookie is sent again with every response.
    """

    app: Flask
    backend: ApplicationBackend
    session: RedisSession
    refreshes: bool

    def lifetime(self, *, fixed: bool = False) -> Lifetime:
        """Return the idle lifetime that the session is to have.

        :param fixed: whether it has to take it over.
        """
        permanent = self.app.permanent_session_lifetime.total_seconds()
        passing = self.backend.settings.lifetime
        if self.session._permanent:
            return Lifetime(permanent, fixed, other=passing)
        return Lifetime(passing, fixed, other=permanent)

    def run(self) -> Cookie:
        """Save the session and return what becomes of the cookie.

        :raises UnstorableValue: where a value has no form in Redis; nothing was written.
        :raises StoreUnavailable: where Redis fails; the cookie must stay as it is.
        """
        session = self.session
        # Whose it is decides whether the secret rotates, and which index must live longer.
        needs_owner = session._assigned if session._wiped else self._turns()
        if needs_owner:
            session._is_stored()
        if session._token is None:
            return self._new()
        if session._record is not None and session._record.standing == "rotated":
            return self._from_dead_cookie()
        return self._stored(session._token)

    def _new(self) -> Cookie:
        """Store a session that is new, unless it is empty."""
        session = self.session
        changes = session._changes()
        if not changes.sets or session._modified is False:
            return "clear" if session._emptied or session._wiped else "leave"
        return self._create(Changes(changes.sets), session._binding() or Binding(None))

    def _from_dead_cookie(self) -> Cookie:
        """Save a request that came with a secret that had just been rotated away."""
        changes = self.session._changes()
        binding = self.session._binding()
        if binding is not None and binding.user is not None:
            return self._create(Changes(changes.sets), binding)
        if changes:
            self._refused("rotated")
        return "leave"

    def _stored(self, token: Token) -> Cookie:
        """Save a session that the cookie is taken to open."""
        session = self.session
        if session._modified is False or session._is_only_read():
            return self._unchanged(token)
        changes, binding = session._changes(), session._binding()
        turns = self._turns()
        if not (changes or binding or turns or session._rotates or session._forced):
            return self._unchanged(token)
        if binding is not None:
            binding = self._with_device(binding)
        fresh = None
        if binding is not None or session._rotates:
            fresh = token.rotated()
        committed = self.backend.hashes.commit(
            token,
            changes,
            self.lifetime(fixed=turns),
            fresh=fresh,
            binding=binding,
            known=session._record,
        )
        if committed.what == "saved":
            return self._saved(token, fresh, binding, changes, committed)
        if committed.what == "ended":
            return self._emptied(token, committed)
        return self._not_saved(committed, changes, binding)

    def _turns(self) -> bool:
        """Tell whether the session became permanent, or no longer is."""
        token = self.session._token
        return token is not None and self.session._permanent != token.permanent

    def _saved(
        self,
        token: Token,
        fresh: Token | None,
        binding: Binding | None,
        changes: Changes,
        committed: Committed,
    ) -> Cookie:
        session = self.session
        after = fresh or token
        if after.permanent != session._permanent:
            after = after._replace(permanent=session._permanent)
        user = committed.user if binding is None else binding.user
        session._settle(changes)
        session._saved(after, _record(committed, user))
        if binding is not None and user != committed.user:
            user_bound.send(
                self.app, session=session, sid=token.sid, user_id=user, previous=committed.user
            )
        if user is not None and binding is not None:
            self.backend.revoke_surplus(user, keep=token.sid)
        if fresh is not None:
            self.backend.ended(token)
            return "fresh"
        return "refresh" if session._permanent or token.permanent else "same"

    def _emptied(self, token: Token, committed: Committed) -> Cookie:
        self.session._end()
        session_ended.send(self.app, sid=token.sid, user_id=committed.user, reason="signed out")
        return "clear"

    def _not_saved(self, committed: Committed, changes: Changes, binding: Binding | None) -> Cookie:
        """Deal with a cookie that turned out not to open the session."""
        session = self.session
        is_blind = session._record is None
        if is_blind and committed.what != "rotated" and not session._is_slow():
            # Nothing was loaded: the cookie was never proved, and means nothing.
            session._disown()
            return self._new()
        reason: Literal["gone", "rotated"] = "gone" if committed.what == "gone" else "rotated"
        if binding is None or binding.user is None:
            self._refused(reason)
            return "clear" if reason == "gone" else "leave"
        # What an ended session held stays dead; a rotated one is alive and was ours to read.
        content = changes.sets if reason == "gone" else session._known()
        return self._create(Changes(content), binding)

    def _create(self, changes: Changes, binding: Binding) -> Cookie:
        session = self.session
        token = new_token(session._permanent)
        committed = self.backend.hashes.create(
            token, changes, self.lifetime(fixed=True), self._with_device(binding)
        )
        session._settle(changes)
        session._saved(token, _record(committed, binding.user))
        session_created.send(self.app, session=session, sid=token.sid, user_id=binding.user)
        if binding.user is not None:
            user_bound.send(
                self.app, session=session, sid=token.sid, user_id=binding.user, previous=None
            )
            self.backend.revoke_surplus(binding.user, keep=token.sid)
        return "fresh"

    def _unchanged(self, token: Token) -> Cookie:
        """Touch a session that was only read, or not even that, where it is due."""
        session = self.session
        refreshes = session._permanent and self.refreshes
        record = session._record
        if record is None and not refreshes:
            return "leave"
        if not self.backend.touch(token, record, self.lifetime()):
            return "leave"
        return "refresh" if refreshes else "leave"

    def _with_device(self, binding: Binding) -> Binding:
        """Return a binding with the device that signs in, if anybody does."""
        if binding.user is None:
            return binding
        agent, address = self.backend.device(self.session._request)
        return binding._replace(agent=agent, address=address)

    def _refused(self, reason: Literal["gone", "rotated"]) -> None:
        session = self.session
        sid = session._token.sid if session._token is not None else None
        log.warning("The changes of a request were not saved: session %s is %s.", sid, reason)
        save_refused.send(self.app, session=session, sid=sid, reason=reason)
        if reason == "gone":
            session_ended.send(self.app, sid=sid, user_id=None, reason="gone")


def _record(committed: Committed, user: str | None) -> Record:
    """Return what is known of a session that was just saved."""
    fields = {SEEN: committed.now}
    if committed.born is not None:
        fields[BORN] = committed.born
    if committed.idle is not None:
        fields[IDLE] = committed.idle
    if user is not None:
        fields[USER] = user.encode()
    return Record("live", fields)
