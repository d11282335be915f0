"""What a crowd did with its sessions: a note of each operation, and of what Redis held."""

from __future__ import annotations

import sys
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from tests.concurrency.situations import Snapshot, Token

#: Seconds of the monotonic clock, which all processes of a machine share.
Span = tuple[float, float]

#: Operations that may give a session another secret or another user.
SIGNS_IN = frozenset({"sign in", "clear and sign in", "sign in without a cookie", "double click"})
ROTATES = SIGNS_IN | {"sign out", "regenerate", "regenerate loaded", "confirm", "clear and restore"}
#: Operations that may move when somebody signed in to a session, or out of it.
SIGNS = SIGNS_IN | {"sign out", "confirm", "clear and restore"}
#: Operations that leave tombstones if they end the session that they come with a cookie of.
BURIES = frozenset({"clear", "end all", "end before"})


#: The touch interval of a crowd, in seconds: two uses that are further apart touch an index.
TOUCHED = 0.05


@dataclass(slots=True)
class Event:
    """One operation: a request, or a call of an administrator's.

    :param number: of this one alone; what it writes is its number, so each value tells whose it is.
    :param kind: what was done.
    :param began: when.
    :param came: the cookie that the request came with.
    :param user: who signs in, or whose sessions are ended or listed.
    """

    number: int
    kind: str
    began: float
    came: Token | None = None
    user: str | None = None
    ended: float = 0.0
    #: What befell its commands.
    fault: str | None = None
    status: int = 200
    cookie: Token | None = None
    clears: bool = False
    refused: str | None = None
    #: The session as it was after the request.
    sid: str | None = None
    #: When the view looked at its session, what it saw, and whether the cookie opened it.
    looked: Span | None = None
    live: bool | None = None
    saw: dict[str, Any] | None = None
    #: When the view was through: what follows is the save.
    left: float = 0.0
    wrote: dict[str, Any] = field(default_factory=dict)
    deleted: tuple[str, ...] = ()
    wipes: bool = False
    #: Whether it seems to run for longer than a tombstone lives.
    is_late: bool = False
    #: Whether a session became permanent, which may expire during the run.
    permanent: bool = False
    #: The sessions that it ended, by the signals: the sid, why, and when it was said.
    ends: list[tuple[str, str, float]] = field(default_factory=list)
    #: What a call returned: a number, or sids; ``None``: it raised.
    result: Any = None
    only: frozenset[str] | None = None
    keep: frozenset[str] = frozenset()
    #: For how many seconds at least a session must not have been seen to be ended.
    unseen: float | None = None
    #: For how many seconds at least one must have existed.
    age: float | None = None
    #: When a revocation or a list was called, and when it returned.
    called: Span = (0.0, 0.0)

    @property
    def saves(self) -> Span:
        """When the request saved its session."""
        return self.left, self.ended

    @property
    def is_certain(self) -> bool:
        """Whether it is known what was written: all of it, by the answer."""
        return self.status == 200 and self.refused is None

    @property
    def buries(self) -> bool:
        """Whether it ended the session that it came with a cookie of, and left its tombstones."""
        came = self.came
        return (
            came is not None
            and self.kind in BURIES
            and any(sid == came.sid and reason != "gone" for sid, reason, _ in self.ends)
        )

    @property
    def creates(self) -> bool:
        """Whether its answer hands out a session that there was not."""
        return self.cookie is not None and (self.came is None or self.cookie.sid != self.came.sid)

    @property
    def rotates(self) -> bool:
        """Whether its answer hands out a fresh secret of the session that it came with."""
        came, cookie = self.came, self.cookie
        return (
            came is not None
            and cookie is not None
            and came.sid == cookie.sid
            and came.secret != cookie.secret
        )

    @property
    def hands_out(self) -> bool:
        """Whether its answer hands out a fresh secret."""
        return self.creates or self.rotates

    def __str__(self) -> str:
        came = f" by {self.came.sid}.{self.came.secret[:6]}" if self.came else ""
        user = f" of user {self.user}" if self.user else ""
        fault = f" [{self.fault}]" if self.fault else ""
        return (
            f"#{self.number} {self.kind}{user}{came}{fault}"
            f" at {self.began:.6f} to {self.ended:.6f}: {self.status}"
            f"{', refused as ' + self.refused if self.refused else ''}"
            f"{', sets ' + self.cookie.sid + '.' + self.cookie.secret[:6] if self.cookie else ''}"
            f"{', clears' if self.clears else ''}"
            f"{', ended ' + ', '.join(sid for sid, *_ in self.ends) if self.ends else ''}"
        )


class Look(NamedTuple):
    """What Redis held at a moment within a span, and whether the world stood still."""

    span: Span
    held: Snapshot
    is_still: bool


def shared(held: Snapshot, before: Snapshot | None) -> Snapshot:
    """Return what was seen in as little memory as the look before allows."""
    for sid, fields in held.hashes.items():
        if before is not None and before.hashes.get(sid) == fields:
            held.hashes[sid] = before.hashes[sid]
        else:
            held.hashes[sid] = {
                sys.intern(name): sys.intern(value) for name, value in fields.items()
            }
    return held


class Write(NamedTuple):
    """A value that a key got, when, by whom, and whether it surely did; ``None``: it went."""

    value: Any
    span: Span
    number: int
    is_certain: bool


class Death(NamedTuple):
    """The end of a session or of a cookie, when, and by which operation."""

    span: Span
    event: Event


class Life:
    """All that became of one session.

    :param sid: which.
    """

    def __init__(self, sid: str) -> None:
        self.sid = sid
        self.creation: Event | None = None
        self.events: list[Event] = []
        self.deaths: list[Death] = []
        #: From when on it is surely dead.
        self.dead = float("inf")
        #: Operations without a clear outcome that may have ended it.
        self.perils: list[Event] = []
        #: From when on it may expire by itself.
        self.fades = float("inf")
        self.users: set[str] = set()
        #: What may have left its tombstones.
        self.burials: list[Event] = []
        #: What rotated its secret.
        self.rotations: list[Event] = []
        self.writes: dict[str, list[Write]] = defaultdict(list)
        self.wipes: list[Write] = []
        #: When each look began that found it alive, in order.
        self.seen: list[float] = []

    @property
    def handed(self) -> float:
        """When somebody first had a cookie of it."""
        return self.creation.ended if self.creation is not None else float("inf")

    def die(self, death: Death) -> None:
        """Note that something surely ended it."""
        # One that was created with a lost reply, and ended before anybody had its cookie, is
        # created anew by the same command: the sign-in came after the end.
        creation = self.creation
        if creation is None or not creation.fault or death.span[1] > creation.ended:
            self.deaths.append(death)
            self.dead = min(self.dead, death.span[1])

    def is_healed(self, since: float, until: float) -> bool:
        """Tell whether a touch has surely put it into its user's index in a time.

        :param since: when the time begins; what meets a fault meanwhile may have failed to.
        :param until: when it ends.
        """
        # What is under way when an index is evicted may know another lifetime than it leaves.
        late = (e.ended for e in self.events if e.began < since)
        faults = (e.ended for e in self.events if e.fault and e.began < until)
        since = max(since, *late, *faults, 0.0)
        events = [*filter(None, [self.creation]), *self.events]
        good = [e for e in events if e.began > since and e.ended < until and e.is_certain]
        # Who signs in again as the user who is there gets no fresh secret: that is no sign-in.
        if any(e.kind in SIGNS_IN and e.sid == self.sid and e.hands_out for e in good):
            return True
        uses = [e for e in good if e.sid == self.sid and (e.live or e.wrote) and not e.creates]
        return any(
            one.ended + 2 * TOUCHED < other.left and other.began > one.ended
            for one in uses
            for other in uses
        )

    def may_be_dead(self, span: Span) -> bool:
        """Tell whether something may have ended it by then, as far as it was not seen since."""
        if self.fades < span[1] or any(death.span[0] < span[1] for death in self.deaths):
            return True
        at = bisect_left(self.seen, span[0])
        last = self.seen[at - 1] if at else 0.0
        return any(peril.began < span[1] and peril.ended > last for peril in self.perils)

    def of_key(self, key: str) -> list[Write]:
        """Return every change of one key, those included that changed all."""
        writes = self.writes[key]
        own = {write.number for write in writes}
        assert self.creation is not None
        first = Write(None, self.creation.saves, self.creation.number, is_certain=True)
        begins = [] if any(w.number == first.number and w.is_certain for w in writes) else [first]
        return [*begins, *writes, *(wipe for wipe in self.wipes if wipe.number not in own)]


class History:
    """What was done and what was seen.

    :param events: the operations of all processes.
    :param looks: what Redis held, in order.
    """

    def __init__(self, events: Iterable[Event], looks: list[Look]) -> None:
        self.events = sorted(events, key=lambda event: event.began)
        self.looks = looks
        self.by_number = {event.number: event for event in self.events}
        self.lives: dict[str, Life] = {}
        #: What surely closed a cookie.
        self.closings: dict[Token, list[Death]] = defaultdict(list)
        #: What may have rotated a cookie away.
        self.turns: dict[Token, list[Event]] = defaultdict(list)
        #: When the index of each user was evicted.
        self.evictions: dict[str, list[Span]] = defaultdict(list)
        for event in self.events:
            if event.kind == "eviction" and event.user is not None:
                self.evictions[event.user].append((event.began, event.ended))
            if event.creates and event.cookie is not None:
                self.life(event.cookie.sid).creation = event
        for event in self.events:
            self._note(event)
        for look in looks:
            for sid in look.held.hashes:
                if sid in self.lives:
                    self.lives[sid].seen.append(look.span[0])
        for life in self.lives.values():
            life.seen.sort()
        self._note_perils()

    def life(self, sid: str) -> Life:
        """Return all that became of a session."""
        if sid not in self.lives:
            self.lives[sid] = Life(sid)
        return self.lives[sid]

    def known(self) -> Iterator[Life]:
        """Yield the sessions that somebody had a cookie of."""
        return (life for life in self.lives.values() if life.creation is not None)

    def may_be_missing(self, life: Life, user: str, span: Span) -> bool:
        """Tell whether a session may be outside its user's index, because that was evicted."""
        last = [ended for began, ended in self.evictions.get(user, ()) if began < span[1]]
        return bool(last) and not life.is_healed(max(last), span[0])

    def _note(self, event: Event) -> None:
        came = event.came
        if came is not None:
            if event.buries or (event.fault and event.kind in BURIES):
                self.life(came.sid).burials.append(event)
            if event.rotates:
                self.life(came.sid).rotations.append(event)
            self.life(came.sid).events.append(event)
            if event.live and event.looked is not None:
                self.life(came.sid).seen.append(event.looked[0])
            if event.rotates or event.clears:
                self.closings[came].append(Death(event.saves, event))
            if event.rotates or (event.fault and event.kind in ROTATES):
                self.turns[came].append(event)
        for sid, reason, at in event.ends:
            if reason != "gone":
                self.life(sid).die(Death((event.began, at), event))
        if event.permanent:
            for token in filter(None, (came, event.cookie)):
                life = self.life(token.sid)
                life.fades = min(life.fades, event.left)
        self._note_writes(event)

    def _note_writes(self, event: Event) -> None:
        changes = {**dict.fromkeys(event.deleted), **event.wrote}
        is_known = event.is_certain
        if not is_known and not event.fault:
            return
        came = event.came.sid if event.came is not None else None
        sid = event.sid if is_known else came
        if event.fault and came is not None and came != sid:
            # Its first attempt may have been carried out before the second one failed.
            for key, value in changes.items():
                self.life(came).writes[key].append(Write(value, event.saves, event.number, False))
            if event.wipes:
                self.life(came).wipes.append(Write(None, event.saves, event.number, False))
        if sid is None:
            return
        life = self.life(sid)
        for key, value in changes.items():
            life.writes[key].append(Write(value, event.saves, event.number, is_known))
        if event.creates and event.saw and event.kind in SIGNS_IN:
            # What a session held that was rotated away meanwhile goes along.
            for key, value in event.saw.items():
                if key not in changes:
                    life.writes[key].append(Write(value, event.saves, event.number, False))
        if event.wipes and not event.creates:
            life.wipes.append(Write(None, event.saves, event.number, is_known))
        if event.kind in SIGNS_IN and event.user is not None:
            life.users.add(event.user)

    def _note_perils(self) -> None:
        perils = [event for event in self.events if event.fault and _may_end(event)]
        for event in perils:
            if event.came is not None and event.user is None:
                self.life(event.came.sid).perils.append(event)
        of_users = [event for event in perils if event.user is not None]
        for life in self.lives.values():
            life.perils += [
                event
                for event in of_users
                if event.user in life.users
                and (event.only is None or life.sid in event.only)
                and life.sid not in event.keep
            ]


#: Operations that may end sessions.
ENDS = SIGNS_IN | {
    "sign out",
    "clear",
    "clear and restore",
    "delete",
    "end all",
    "end others",
    "end before",
    "revoke one",
    "revoke before",
    "revoke old",
    "revoke all",
    "revoke others",
}


def _may_end(event: Event) -> bool:
    return event.kind in ENDS


def contents(fields: Mapping[str, str]) -> dict[str, str]:
    """Return what the application stored, of what a hash holds."""
    return {name: value for name, value in fields.items() if not name.startswith("@")}


def by(deaths: Iterable[Death]) -> str:
    """Return what ended it, for a report."""
    return "".join(f"\n  by {death.event}" for death in deaths)
