"""What must hold whatever a crowd did at once, judged by what was done when and what was seen.

Of two operations whose times overlap either may have come first; of others the order is known.
These are checked of every request, call and look:

* no session that ended is there again, and no cookie that was closed opens one again;
* a cookie opens its session as long as nothing may have ended that or rotated the cookie away;
* each key of each session has a value that some operation gave it there, and none that had been
  replaced, deleted or wiped before by an acknowledged one: so no acknowledged write is lost, no
  refused one is there, and no session shows what is another's;
* what one request wrote is there whole or not at all;
* a request that was rotated away sets and clears no cookie, unless it signs in;
* a revocation ends all that it is to end, nothing else, and says how many; a list holds those
  that were the user's all the while, and none that was not;
* no live session that somebody has a cookie of is outside its user's index, and that lives as
  long as the session; nothing enters an index but by a sign-in, and no score moves back;
* every key has an expiry, every session one secret.
"""

from __future__ import annotations

from collections.abc import Iterator

from tests.concurrency.calls import Calls
from tests.concurrency.history import SIGNS_IN, Event, History, Life, Span, by
from tests.concurrency.looks import Looks
from tests.concurrency.situations import Token
from tests.concurrency.written import Values

#: A rotated secret is remembered for 30 s; this much before, there is no doubt about it.
TOMBSTONE = 29.0


def violations(history: History) -> list[str]:
    """Return what did not hold.

    :param history: what was done and seen.
    """
    values = Values(history)
    # First what revocations surely ended, by which all the rest is judged.
    calls = Calls(history, values)
    requests, looks = Requests(history, values), Looks(history, values)
    return [*requests.violations(), *calls.violations(), *looks.violations()]


class Requests:
    """Judges the requests of a history.

    :param history: what was done and seen.
    :param values: what its sessions may hold.
    """

    def __init__(self, history: History, values: Values) -> None:
        self._history = history
        self._values = values

    def violations(self) -> Iterator[str]:
        for event in self._history.events:
            problems = [*self._answered(event)]
            if event.came is not None:
                problems += [*self._opened(event, event.came)]
            if event.saw is not None and event.looked is not None:
                problems += [*self._saw(event, event.looked)]
            if event.kind in SIGNS_IN and event.is_certain:
                problems += [*self._signed_in(event)]
            yield from (f"{problem}\n  {event}" for problem in problems)

    @staticmethod
    def _answered(event: Event) -> Iterator[str]:
        if event.status == 503:
            if event.fault is None:
                yield "not served, and nothing had failed"
            if event.cookie not in (None, event.came) or event.clears:
                yield "not served, and its cookie not left as it was"
        elif event.status != 200:
            yield f"answered {event.status}"
        if event.refused is not None:
            if event.cookie is not None:
                yield "refused, and sets a cookie"
            if event.clears != (event.refused == "gone"):
                yield f"refused as {event.refused}; clears its cookie: {event.clears}"

    def _opened(self, event: Event, came: Token) -> Iterator[str]:
        """Check what a cookie opened, and did not open."""
        life = self._history.life(came.sid)
        if event.looked is not None:
            if event.live:
                yield from self._too_late(life, came, event.looked, "saw")
            else:
                yield from self._too_early(life, came, event.looked, "did not see")
        if event.status != 200:
            return
        if event.is_certain and event.sid == came.sid and (event.wrote or event.deleted):
            yield from self._too_late(life, came, event.saves, "wrote into")
        if event.cookie is not None and event.cookie.sid == came.sid and event.kind != "stay":
            # What only reads sends the cookie of a permanent session again by what it saw.
            since = event.left if event.wrote or event.rotates else event.began
            yield from self._too_late(life, came, (since, event.ended), "sets a cookie of")
        if event.refused == "gone" and not event.fault and not life.may_be_dead(event.saves):
            yield "refused as gone, and nothing had ended the session"
        if event.refused == "rotated" and not self._may_be_turned(came, event.saves, event):
            yield "refused as rotated, and nothing had rotated its cookie"
        if event.creates and not event.live and event.looked is None:
            yield from self._too_early(life, came, event.saves, "wrote not into, but beside")
        if event.live and event.creates and event.kind not in SIGNS_IN:
            yield "took the browser from a live session to another one"
        yield from self._from_dead_cookie(event, life, came)

    def _too_late(self, life: Life, came: Token, span: Span, did: str) -> Iterator[str]:
        if life.dead < span[0]:
            yield f"{did} a session that had ended{by(life.deaths)}"
        closings = self._history.closings.get(came, ())
        if any(death.span[1] < span[0] for death in closings):
            yield f"{did} a session by a cookie that had been closed{by(closings)}"

    def _too_early(self, life: Life, came: Token, span: Span, did: str) -> Iterator[str]:
        if not life.may_be_dead(span) and not self._may_be_turned(came, span):
            yield f"{did} a session that nothing had ended"

    def _may_be_turned(self, token: Token, span: Span, by: Event | None = None) -> bool:
        turns = self._history.turns.get(token, ())
        return any(turn.left < span[1] and turn is not by for turn in turns)

    def _from_dead_cookie(self, event: Event, life: Life, came: Token) -> Iterator[str]:
        """Check a request with a cookie that had been rotated away a moment before."""
        if event.kind in SIGNS_IN or event.kind == "stay" or event.fault:
            return
        if life.may_be_dead((event.began, event.ended)):
            return
        for death in self._history.closings.get(came, ()):
            if death.event.rotates and death.span[1] < event.began < death.span[0] + TOMBSTONE:
                if event.cookie is not None or event.clears:
                    yield f"came with a rotated cookie, and sets or clears one{by([death])}"
                if event.wrote and event.refused != "rotated":
                    yield f"came with a rotated cookie, and was not refused{by([death])}"

    def _saw(self, event: Event, looked: Span) -> Iterator[str]:
        saw = event.saw or {}
        if event.live and event.came is not None:
            life = self._history.life(event.came.sid)
            if life.creation is not None:
                yield from self._values.wrong(life, saw, looked)
        elif saw:
            yield f"saw something in no session: {saw}"

    def _signed_in(self, event: Event) -> Iterator[str]:
        saw = event.saw or {}
        if event.live and str(saw.get("user_id")) == event.user and not event.wipes:
            return
        if event.cookie is None:
            yield "signed in, and sets no cookie"
        elif event.came is not None and event.cookie.secret == event.came.secret:
            yield "signed in, and its secret is the same"
