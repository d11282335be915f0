"""What must hold whatever a crowd did at once, judged by what was done when and what was seen.

Of two operations whose times overlap either may have come first; of others the order is known.
These are checked of every request, call and look:

* no session that ended is there again, and no cookie that was closed opens one again;
* a cookie opens its session as long as nothing may have ended that or rotated the cookie away;
* each key of each session has a value that some operation gave it there, and none that had been
  replaced, deleted or wiped before by an acknowledged one: so no acknowledged write is lost, no
  refused one is there, and no session shows what is another's;
* what one request wrote is there whole or not at all;
* a request that was rotated away sets no cookie, unless it signs in; nor does one whose cookie
  opens nothing if it runs for longer than a tombstone lives; a cookie is cleared only by the
  request that ended its session; and nobody is brought back who had been found in a session;
* a revocation ends all that it is to end, nothing else, and says how many; a list holds those
  that were the user's all the while, and none that was not;
* no live session that somebody has a cookie of is outside its user's index, and that lives as
  long as the session, or it enters one with its next touch, if that was evicted; nothing enters an
  index but by a sign-in or a touch, and no score moves back;
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
#: With one less there is no doubt that it is among those that are kept.
MOST_TOMBSTONES = 31


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
            is_back = event.live and str((event.saw or {}).get("user_id")) == event.user
            if event.kind in SIGNS_IN and not is_back:
                yield "refused, though it signs in"
        ended = {sid for sid, reason, _ in event.ends if reason != "gone"}
        if event.clears and (event.came is None or event.came.sid not in ended):
            yield "clears the cookie of a session that it did not end"

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
        if event.creates and event.is_late and event.kind not in SIGNS_IN:
            yield "came with a cookie that opened nothing, late, and replaces it"
        if event.creates and event.live and str((event.saw or {}).get("user_id")) == event.user:
            yield "brought back whom it had found"
        yield from self._from_buried_cookie(event, life)
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
        # A rotation that is sent twice is recognized; a sign-out finds its own tombstones.
        turns = self._history.turns.get(token, ())
        burials = self._history.life(token.sid).burials
        return any(turn.left < span[1] and turn is not by for turn in turns) or any(
            burial.began < span[1] for burial in burials
        )

    def _from_buried_cookie(self, event: Event, life: Life) -> Iterator[str]:
        """Check a request to a session whose tombstones are there."""
        if event.kind in SIGNS_IN or event.kind == "stay" or event.fault:
            return
        if any(death.event.kind == "expiry" for death in life.deaths):
            return
        closings = self._history.closings.get(event.came, ()) if event.came else ()
        for burial in life.burials:
            # Its cookie, or one that it had rotated away, surely was among them.
            is_known = burial.came == event.came or any(
                burial.began - TOMBSTONE < death.span[0] and death.span[1] < burial.began
                for death in closings
            )
            is_there = burial.ended < event.began and event.ended < burial.began + TOMBSTONE
            if burial.fault or not is_known or not is_there or self._is_crowded_out(life, event):
                continue
            if event.cookie is not None:
                yield f"came with the cookie of a sign-out, and sets one\n  by {burial}"
            if event.wrote and event.refused != "rotated":
                yield f"came with the cookie of a sign-out, and was not refused\n  by {burial}"

    @staticmethod
    def _is_crowded_out(life: Life, event: Event) -> bool:
        """Tell whether there were so many rotations that a tombstone may have been dropped."""
        return len([each for each in life.rotations if each.began < event.ended]) >= MOST_TOMBSTONES

    def _from_dead_cookie(self, event: Event, life: Life, came: Token) -> Iterator[str]:
        """Check a request with a cookie that had been rotated away a moment before."""
        if event.kind in SIGNS_IN or event.kind == "stay" or event.fault:
            return
        if life.may_be_dead((event.began, event.ended)) or self._is_crowded_out(life, event):
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
