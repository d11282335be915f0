"""How a request's session is saved: decide what to send, send it, judge the reply.

:func:`plan` and :func:`judge` are pure: they know values, and neither Flask nor Redis. Together
they are the table in ``docs/architecture.md``, which the tests go through line by line.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal

from flask_redis_session.storage.commit import Committed, Lifetime
from flask_redis_session.storage.record import (
    BORN,
    IDLE,
    OWN,
    PERMANENT,
    SEEN,
    SIGNED,
    USER,
    Binding,
    Changes,
    Record,
    key_of,
)
from flask_redis_session.storage.token import Token

from .conflict import Patience, merge
from .draft import Draft
from .outcome import Commit, Cookie, Create, Event, Outcome, Reply, Step, Touch, Touched, Written

_NOBODY = Binding(None)


def save(draft: Draft, send: Callable[[Step], Reply]) -> Outcome:
    """Save what a request wants of its session.

    :param draft: what it wants.
    :param send: sends a step to Redis and returns the reply.
    :raises StoreUnavailable: if Redis fails; the cookie must stay as it is.
    :raises Exception: what an application's rule of ``SESSION_MERGE`` raises.
    """
    step = plan(draft)
    patience: Patience | None = None
    while not isinstance(step, Outcome):
        step = judge(draft, send(step))
        if isinstance(step, Commit):
            patience = patience or Patience()
            step = patience.again(step)
    return step


def plan(draft: Draft) -> Step | Outcome:
    """Return what to send for a draft, or the outcome if there is nothing to send.

    :param draft: what the request wants.
    """
    if draft.phase == "rotated":
        return _plan_rotated(draft)
    if draft.token is None:
        return _plan_new(draft)
    return _plan_stored(draft, draft.token)


def judge(draft: Draft, reply: Reply) -> Step | Outcome:
    """Return what a reply means for a draft: the outcome, or what to send next.

    :param draft: what the request wants.
    :param reply: the reply to the last step.
    """
    if isinstance(reply, Touched):
        refreshes = reply.is_alive and draft.permanent and draft.terms.refreshes
        return _unchanged(draft, "refresh" if refreshes else "leave")
    if isinstance(reply.step, Create):
        return _created(reply.step, reply)
    if reply.committed.what == "saved":
        return _committed(draft, reply.step, reply)
    if reply.committed.what == "ended":
        return _ended(reply)
    if reply.committed.what == "conflict":
        return merge(draft, reply.step, reply.committed.stored)
    return _not_committed(draft, reply.committed.what)


def _plan_new(draft: Draft) -> Step | Outcome:
    """A session that stays empty is never stored."""
    if not draft.changes.sets:
        return _unchanged(draft, "clear" if draft.clears else "leave")
    if draft.phase == "gone" and draft.is_late and not draft.signs_in:
        # A new cookie could replace one that the browser got after this request had begun.
        return _refused(draft, "gone")
    return _create(draft, draft.changes.sets, draft.binding or _NOBODY)


def _plan_rotated(draft: Draft) -> Step | Outcome:
    """A dead cookie writes into nobody's session; a sign-in gets a session of its own."""
    if draft.binding is not None and draft.signs_in:
        return _create(draft, draft.changes.sets, draft.binding)
    # Without a token, this request already knows that the session has ended.
    loses = draft.changes if draft.token is not None else draft.changes.sets
    return _refused(draft, "rotated") if loses else _unchanged(draft, "leave")


def _plan_stored(draft: Draft, token: Token) -> Step | Outcome:
    rotates = draft.rotates or draft.binding is not None
    if rotates and draft.is_undeliverable:
        if draft.rotates or draft.signs_in:
            # The browser would be left with a cookie that opens nothing.
            return _refused(draft, "undeliverable")
        # A sign-out must take place, and the old secret opens less from then on.
        rotates = False
    if draft.changes or draft.turns or draft.assigns or draft.forced or rotates:
        return Commit(
            token,
            draft.record,
            draft.changes,
            draft.binding,
            rotates,
            draft.lifetime,
            draft.confirms,
        )
    if draft.phase == "unproved" and not (draft.permanent and draft.terms.refreshes):
        return _unchanged(draft, "leave")
    return Touch(token, draft.record, draft.lifetime)


def _create(draft: Draft, content: Mapping[bytes, bytes], binding: Binding) -> Create | Outcome:
    if draft.is_undeliverable:
        return _refused(draft, "undeliverable")
    if draft.own is None:
        lifetime = draft.terms.lifetime(draft.permanent, "set")
    else:
        lifetime = Lifetime(draft.own, "assign", draft.permanent)
    return Create(Changes({**content}), binding, draft.permanent, lifetime, draft.sid)


def _created(step: Create, reply: Written) -> Step | Outcome:
    if reply.committed.what != "saved":
        # Something is under that sid: an exception may have cut short what created it.
        return step._replace(sid=None)
    user, sid = step.binding.user, reply.token.sid
    events = [Event("session_created", {"sid": sid, "user_id": user})]
    if user is not None:
        events.append(Event("user_bound", {"sid": sid, "user_id": user, "previous": None}))
    record = record_of(reply.committed, user)
    return Outcome("fresh", "live", reply.token, record, step.changes, tuple(events), user)


def _committed(draft: Draft, step: Commit, reply: Written) -> Outcome:
    binding, before = step.binding, reply.committed.user
    user = before if binding is None else binding.user
    events: tuple[Event, ...] = ()
    if user != before:
        bound = {"sid": step.token.sid, "user_id": user, "previous": before}
        events = (Event("user_bound", bound),)
    cookie: Cookie = "refresh" if draft.permanent or step.token.permanent else "same"
    if step.rotates or draft.owes_cookie:
        cookie = "fresh"
    record = record_of(reply.committed, user)
    token = reply.token.lasting(draft.permanent, record.own)
    signed_in = None if binding is None else user
    return Outcome(cookie, "live", token, record, step.changes, events, signed_in)


def _ended(reply: Written) -> Outcome:
    ended = {"sid": reply.token.sid, "user_id": reply.committed.user, "reason": "signed out"}
    return Outcome("clear", "new", events=(Event("session_ended", ended),))


def _not_committed(draft: Draft, what: str) -> Step | Outcome:
    """Judge a cookie that turned out not to open the session."""
    if draft.phase == "unproved" and what != "rotated":
        # Nothing was loaded: the cookie was never proved, and means nothing.
        anew = draft._replace(phase="gone", token=None, permanent=draft.permanent_anew)
        return _plan_new(anew)
    reason: Literal["gone", "rotated"] = "gone" if what == "gone" else "rotated"
    if draft.binding is None or not draft.signs_in or _was_theirs(draft, draft.binding):
        return _refused(draft, reason)
    # What an ended session held stays dead. A rotated one is alive and was ours to read.
    content = _assigned(draft) if reason == "gone" else _everything(draft)
    return _create(draft, content, draft.binding)


def _was_theirs(draft: Draft, binding: Binding) -> bool:
    """Tell whether the session was this user's when it was loaded: then nobody signed in."""
    return draft.record is not None and binding.user in (draft.record.user, draft.origin.holder)


def _assigned(draft: Draft) -> dict[bytes, bytes]:
    """Return all that the request wants to be there, also what was there already."""
    _, loaded, _, assigned = draft.origin
    same = {name: loaded[name] for name in assigned if name in loaded}
    return {**same, **draft.changes.sets}


def _everything(draft: Draft) -> dict[bytes, bytes]:
    """Return all that the request knows of the session and has not removed."""
    kept = {
        name: stored
        for name, stored in draft.origin.loaded.items()
        if name not in draft.origin.dropped and key_of(name) is not None
    }
    return {**kept, **draft.changes.sets}


def _refused(draft: Draft, reason: Literal["gone", "rotated", "undeliverable"]) -> Outcome:
    cookie = draft.token or draft.sent
    sid = None if cookie is None else cookie.sid
    user = None if draft.record is None else draft.record.user
    events = [Event("save_refused", {"sid": sid, "user_id": user, "reason": reason})]
    if reason == "gone":
        events.append(Event("session_ended", {"sid": sid, "user_id": None, "reason": "gone"}))
    return _unchanged(draft, "leave")._replace(events=tuple(events))


def _unchanged(draft: Draft, cookie: Cookie) -> Outcome:
    if draft.owes_cookie and cookie != "clear":
        # An earlier save of this request wrote it, and then something raised.
        cookie = "fresh"
    token = draft.token
    if token is not None and draft.record is not None:
        token = token.lasting(draft.permanent, draft.record.own)
    return Outcome(cookie, draft.phase, token, draft.record)


def record_of(committed: Committed, user: str | None) -> Record:
    """Return what is known of a session that was just written.

    :param committed: what Redis replied.
    :param user: whose it is now.
    """
    fields = {SEEN: committed.now}
    if committed.born is not None:
        fields[BORN] = committed.born
    if committed.idle is not None:
        fields[IDLE] = committed.idle
    if committed.signed is not None:
        fields[SIGNED] = committed.signed
    if committed.own is not None:
        fields[OWN] = committed.own
    if committed.permanent is not None:
        fields[PERMANENT] = committed.permanent
    if user is not None:
        fields[USER] = user.encode()
    return Record("live", fields)
