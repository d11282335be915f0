"""What must hold of the calls that list or end a user's sessions."""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterator
from functools import cached_property

from tests.concurrency.history import Death, Event, History, Life, Span, by
from tests.concurrency.written import Values

#: By how much the clocks of server and worker may differ in what they call *now*, in seconds.
BLUR = 0.02


class Calls:
    """Judges the calls of a history.

    :param history: what was done and seen.
    :param values: what its sessions may hold.
    """

    def __init__(self, history: History, values: Values) -> None:
        self._history = history
        self._values = values
        for event in history.events:
            if event.result is not None and not isinstance(event.result, list):
                self._note_revocation(event)

    def _note_revocation(self, event: Event) -> None:
        """Note that every session that a revocation was to end is dead after it."""
        if event.unseen is not None or event.age is not None:
            return
        for life in [*self._of_user(event.user, event.called)]:
            if life.sid not in event.keep and (event.only is None or life.sid in event.only):
                life.die(Death(event.called, event))

    def violations(self) -> Iterator[str]:
        for event in self._history.events:
            if event.result is None:
                continue
            check = self._listed if isinstance(event.result, list) else self._revoked
            yield from (f"{problem}\n  {event}" for problem in check(event))

    @cached_property
    def _lives_of(self) -> dict[str, list[Life]]:
        lives: dict[str, list[Life]] = defaultdict(list)
        for life in self._history.known():
            for user in life.users:
                lives[user].append(life)
        for found in lives.values():
            found.sort(key=lambda life: life.handed)
        return lives

    def _of_user(self, user: str | None, span: Span) -> Iterator[Life]:
        """Yield the sessions that were a user's, and in the index, all through a span."""
        lives = self._lives_of.get(user or "", [])
        for life in lives[: bisect_left(lives, span[0], key=lambda life: life.handed)]:
            if life.dead < span[0] or self._history.may_be_missing(life, user or "", span):
                continue
            if str(self._values.surely(life, "user_id", span)) == user:
                yield life

    def _listed(self, event: Event) -> Iterator[str]:
        span = event.called
        listed = set(event.result)
        if len(listed) != len(event.result):
            yield "lists a session twice"
        for sid in listed:
            life = self._history.lives.get(sid)
            if life is None or life.creation is None:
                continue
            if life.dead < span[0]:
                yield f"lists {sid}, which had ended{by(life.deaths)}"
            if not self._was_of(life, event.user, span):
                yield f"lists {sid}, which was not the user's"
        for life in self._of_user(event.user, span):
            if life.sid not in listed and not life.may_be_dead(span):
                yield f"does not list {life.sid}, which is alive"

    def _revoked(self, event: Event) -> Iterator[str]:
        ended = [(sid, at) for sid, reason, at in event.ends if reason == "revoked"]
        if not event.fault and event.result != len(ended):
            yield f"returned {event.result}, and ended {len(ended)}"
        for sid, at in ended:
            life = self._history.lives.get(sid)
            if sid in event.keep or (event.only is not None and sid not in event.only):
                yield f"ended {sid}, which it was to spare"
            if life is None or life.creation is None:
                continue
            if not self._was_of(life, event.user, (event.called[0], at)):
                yield f"ended {sid}, which was not the user's"
            if event.unseen is not None and self._was_seen(life, event):
                yield f"ended {sid}, which had been seen since"
            if event.age is not None and self._was_created(life, event.age, event.called):
                yield f"ended {sid}, which had been created since"

    @staticmethod
    def _was_created(life: Life, age: float, called: Span) -> bool:
        since = called[1] - age + BLUR
        return life.creation is not None and since < life.creation.left and life.handed < called[0]

    @staticmethod
    def _was_seen(life: Life, call: Event) -> bool:
        since = call.called[1] - (call.unseen or 0.0) + BLUR
        return any(
            event.is_certain
            and event.sid == life.sid
            and bool(event.wrote or event.deleted)
            and since < event.left
            and event.ended < call.called[0]
            for event in life.events
        )

    def _was_of(self, life: Life, user: str | None, span: Span) -> bool:
        """Tell whether a session may have been a user's at some time in a span."""
        return user is not None and self._values.may_be(life, "user_id", int(user), span)
