"""What must hold of all that Redis is seen to hold at a moment."""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterator
from functools import cached_property

import orjson

from flask_redis_session.storage.record import TOMBSTONE
from tests.concurrency.history import SIGNS, SIGNS_IN, History, Life, Look, Span, by, contents
from tests.concurrency.written import Values


class Looks:
    """Judges the looks of a history.

    :param history: what was done and seen.
    :param values: what its sessions may hold.
    """

    def __init__(self, history: History, values: Values) -> None:
        self._history = history
        self._values = values
        self._closed = {
            (token.sid, token.digest): min(death.span[1] for death in deaths)
            for token, deaths in history.closings.items()
        }

    def violations(self) -> Iterator[str]:
        before: Look | None = None
        for look in self._history.looks:
            problems = [*self._keys_of(look), *self._sessions_of(look), *self._missing_in(look)]
            if before is not None:
                problems += [*self._moved(before, look)]
            still = ", at a standstill" if look.is_still else ""
            yield from (
                f"{problem}\n  at {look.span[0]:.6f} to {look.span[1]:.6f}{still}"
                for problem in problems
            )
            before = look

    def _keys_of(self, look: Look) -> Iterator[str]:
        held = look.held
        if held.strange:
            yield f"these are no keys of ours: {held.strange}"
        for name, left in held.left.items():
            if left < 0:
                yield f"{name} has no expiry"
        yield from self._tombstones_of(look)
        for sid, fields in held.hashes.items():
            if len(held.secrets(sid)) != 1:
                yield f"{sid} is opened by {len(held.secrets(sid))} secrets"
            user = fields.get("@user")
            life = self._history.lives.get(sid)
            if user is None or life is None or life.handed > look.span[0]:
                continue
            is_outside = sid not in held.indexes.get(user, {})
            gap = 0 if is_outside else held.left[sid] - held.left[f"user:{user}"]
            if (not is_outside and gap <= 0) or self._may_lag(life, user, look.span):
                continue
            if is_outside:
                yield f"{sid} of user {user} is outside the index"
            else:
                yield f"the index of user {user} ends {gap} ms before {sid}" + "".join(
                    f"\n    {e} left {e.left}"
                    for e in life.events
                    if e.began < look.span[1] and e.ended > look.span[0] - 0.2
                )

    def _tombstones_of(self, look: Look) -> Iterator[str]:
        for sid, fields in look.held.stones.items():
            if not all(n.startswith("@secret:") and v[0] != "s" for n, v in fields.items()):
                yield f"{sid} is a piece of a session: {fields}"
            if look.held.left[sid] > TOMBSTONE * 1000:
                yield f"the tombstones of {sid} stay for {look.held.left[sid]} ms"
            life = self._history.lives.get(sid)
            if life is None or not any(e.began < look.span[1] for e in life.burials):
                yield f"there are tombstones of {sid}, which nobody had signed out: {fields}"

    def _may_lag(self, life: Life, user: str, span: Span) -> bool:
        """Tell whether the index of its user may know a session not yet, or not any more."""
        return self._had_lost_scripts(span) or self._history.may_be_missing(life, user, span)

    def _had_lost_scripts(self, span: Span) -> bool:
        """Tell whether scripts were lost a moment before.

        Of a sign-in the first command may lack its script then, and the second one not, because
        another worker has brought it back. Nobody has the cookie until both are carried out.
        """
        return any(began < span[1] and span[0] < ended + 0.5 for began, ended in self._losses)

    @cached_property
    def _losses(self) -> list[Span]:
        events = self._history.events
        # At the beginning the server has none.
        first = (0.0, events[0].began) if events else (0.0, 0.0)
        losses = (event for event in events if event.kind == "loss of the scripts")
        return [first, *((event.began, event.ended) for event in losses)]

    def _sessions_of(self, look: Look) -> Iterator[str]:
        for sid, fields in look.held.hashes.items():
            life = self._history.lives.get(sid)
            if life is None or life.creation is None:
                continue
            if life.dead < look.span[0]:
                yield f"{sid} had ended, and is there again{by(life.deaths)}"
            for digest in look.held.secrets(sid):
                if self._closed.get((sid, digest), float("inf")) < look.span[0]:
                    yield f"a cookie of {sid} had been closed, and opens it again"
            there = {key: orjson.loads(value) for key, value in contents(fields).items()}
            if str(there.get("user_id")) != str(fields.get("@user")):
                yield f"{sid} is user {there.get('user_id')}'s and {fields.get('@user')}'s"
            yield from self._values.wrong(life, there, look.span)

    @cached_property
    def _by_creation(self) -> list[Life]:
        return sorted(self._history.known(), key=lambda life: life.handed)

    def _missing_in(self, look: Look) -> Iterator[str]:
        if not look.is_still:
            return
        end = bisect_right(self._by_creation, look.span[0], key=lambda life: life.handed)
        for life in self._by_creation[:end]:
            if life.sid not in look.held.hashes and not life.may_be_dead(look.span):
                yield f"{life.sid} is not there, and nothing had ended it"

    def _moved(self, before: Look, look: Look) -> Iterator[str]:
        """Check what came between two looks: into indexes, and of times."""
        span = before.span[0], look.span[1]
        for user, members in look.held.indexes.items():
            were = before.held.indexes.get(user, {})
            for sid, score in members.items():
                if sid not in were:
                    if not self._may_have_signed_in(sid, user, span) and not self._may_be_healed(
                        sid, user, span
                    ):
                        yield f"{sid} is in the index of user {user}, and had not signed in"
                elif score < were[sid]:
                    yield f"{sid} moved back in the index of user {user}"
        for sid in look.held.hashes.keys() & before.held.hashes.keys():
            was, fields = before.held.hashes[sid], look.held.hashes[sid]
            if was is fields:
                continue
            # Before anybody has its cookie, one may have ended and been created again.
            life = self._history.lives.get(sid)
            is_handed = life is not None and life.handed < before.span[0]
            if is_handed and was.get("@born") != fields.get("@born"):
                yield f"{sid} was born twice"
            if float(was.get("@seen", 0)) > float(fields.get("@seen", 0)):
                yield f"{sid} was seen before it had been seen"
            yield from self._signed(sid, was, fields, span)

    def _signed(
        self, sid: str, was: dict[str, str], fields: dict[str, str], span: Span
    ) -> Iterator[str]:
        """Check that ``@signed`` moves with the user, and with a confirmation, and not else."""
        before, now = was.get("@signed"), fields.get("@signed")
        if was.get("@user") != fields.get("@user") and before == now:
            yield f"{sid} changed its user, and @signed does not tell when"
        life = self._history.lives.get(sid)
        # Before anybody has its cookie, one may have ended and been created again.
        if before != now and life is not None and life.handed < span[0]:
            proves = (event for event in life.events if event.kind in SIGNS)
            if not any(event.began < span[1] and span[0] < event.ended for event in proves):
                yield f"@signed of {sid} moved, and nobody had signed in or out or was confirmed"

    @cached_property
    def _sign_ins(self) -> dict[tuple[str, str], list[Span]]:
        found: dict[tuple[str, str], list[Span]] = defaultdict(list)
        for event in self._history.events:
            if event.kind in SIGNS_IN and event.user is not None:
                sids = {event.came.sid if event.came else "", event.sid or ""}
                for sid in sids - {""}:
                    found[sid, event.user].append(event.saves)
        return found

    def _may_have_signed_in(self, sid: str, user: str, span: Span) -> bool:
        life = self._history.lives.get(sid)
        if life is None or life.creation is None:
            # Nobody ever had its cookie: a reply was lost.
            return True
        spans = self._sign_ins.get((sid, user), ())
        return any(began < span[1] and span[0] < ended for began, ended in spans)

    def _may_be_healed(self, sid: str, user: str, span: Span) -> bool:
        """Tell whether a request that touches may have found the session to be this user's."""
        life = self._history.lives[sid]
        return any(
            event.began < span[1]
            and span[0] < event.ended
            and self._values.may_be(life, "user_id", int(user), (event.began, event.ended))
            for event in life.events
        )
