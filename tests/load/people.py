"""People with browsers, each of whom knows what their sessions must hold.

A request that is answered with 503, or not at all, may have been carried out or not. What it
would have written may be there then, and a session that it would have ended or rotated is looked
at before anything else is done with it.
"""

from __future__ import annotations

import random
import secrets
import threading
import time
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from tests.load.journal import UNTOUCHED, Journal
from tests.load.line import Cut, Got, Line

if TYPE_CHECKING:
    from collections.abc import Callable

#: Seconds that a session lives which is left alone, and one that is used.
PASSING, STAYING = 2, 30
#: How many connections a person has.
LINES = 4
#: How many writes each of them sends in a burst.
WRITES = 3
#: How many browsers a person is signed in with.
BROWSERS = 3
#: How many keys a session gets before its person signs out.
KEYS = 60
#: How many dead cookies a person remembers.
REMEMBERED = 300


@dataclass
class Tab:
    """A browser: its cookie, and what the session behind it must hold."""

    cookie: str | None = None
    owner: str = ""
    held: dict[str, object] = field(default_factory=dict)
    #: Keys that may have been written or not.
    unsure: dict[str, object] = field(default_factory=dict)
    #: Whether the session may have been ended or rotated, or not.
    doubtful: bool = False
    #: When it was asked for last and that was served.
    served: float = 0.0

    @property
    def sid(self) -> str:
        return (self.cookie or "").partition(".")[0]

    def problem(self, seen: dict[str, Any]) -> str | None:
        """Tell what is wrong with what the session holds."""
        if seen.get("owner") != self.owner:
            return f"the session of {self.owner} shows {seen.get('owner')!r}"
        for key, value in self.held.items():
            if seen.get(key) != value and not (key in self.unsure and self._may_be(key, seen)):
                return f"the session of {self.owner} lost {key}={value!r}: {seen.get(key)!r}"
        if unknown := set(seen) - set(self.held) - set(self.unsure):
            return f"the session of {self.owner} holds {sorted(unknown)}"
        return None

    def _may_be(self, key: str, seen: dict[str, Any]) -> bool:
        return key in seen and seen[key] == self.unsure[key]


class Walker(threading.Thread):
    """Somebody who sends requests without a pause, until told to stop.

    :param port: of the site.
    :param journal: takes down what comes of them.
    :param seed: what they do.
    """

    def __init__(self, port: int, journal: Journal, seed: int) -> None:
        super().__init__(daemon=True)
        self.journal = journal
        self.random = random.Random(seed)
        self.stopping = threading.Event()
        self._port = port

    def run(self) -> None:
        try:
            while not self.stopping.is_set():
                self.step()
        except Exception as error:  # noqa: BLE001
            self.journal.accuse(f"{self!r} stumbled: {error!r}")
        finally:
            self.leave()

    def step(self) -> None:
        """Do one thing."""
        raise NotImplementedError

    def leave(self) -> None:
        """Close what is open."""

    def asked(
        self, kind: str, ask: Callable[[], Got], *, tries: int = 1, expected: int = 200
    ) -> Got | None:
        """Send a request; return the answer, or ``None`` where it was refused or there is none."""
        for _ in range(tries):
            try:
                got = ask()
            except Cut:
                self.journal.note_cut()
                continue
            return got if self.journal.note(kind, got, expected=expected) else None
        return None

    def fetched(
        self, kind: str, line: Line, path: str, cookie: str | None = None, *, expected: int = 200
    ) -> Got | None:
        """Send a request that may be sent again if a connection ended without an answer."""
        return self.asked(kind, lambda: line.get(path, cookie), tries=4, expected=expected)


class Passer(Walker):
    """Visitors who come over a connection of their own, and whose sessions nobody uses again."""

    #: The cookie of the last one who got one.
    cookie: str | None = None

    def step(self) -> None:
        line = Line(self._port)
        try:
            self.random.choice([self.glance, self.guess, self.begin, self.begin, self.sign_in])(
                line
            )
        finally:
            line.close()

    def glance(self, line: Line) -> None:
        """Look, and get no cookie for it."""
        got = self.fetched("visit", line, "/read")
        if got is not None and (got.json or got.cookie is not None):
            self.journal.accuse(f"a visitor without a cookie got {got.json} and {got.cookie!r}")

    def guess(self, line: Line) -> None:
        """Try cookies that nobody was given."""
        cookie = f"{secrets.token_urlsafe(16)}.{secrets.token_urlsafe(32)}"
        if self.random.random() < 0.5:
            cookie = cookie[self.random.randrange(3) :] + "=" * self.random.randrange(2)
        got = self.fetched("guess", line, "/read", cookie)
        if got is not None and got.json:
            self.journal.accuse(f"a cookie that nobody was given opened {got.json}")

    def begin(self, line: Line) -> None:
        """Begin a session without signing in, look at it, and leave it behind."""
        owner = f"passer {secrets.token_hex(6)}"
        self.journal.passing.append(time.monotonic())
        got = self.asked("begin", lambda: line.post("/begin", owner=owner))
        self._see({"owner": owner}, got, line)

    def sign_in(self, line: Line) -> None:
        """Sign in, look, and never come back."""
        owner, user = f"passer {secrets.token_hex(6)}", f"passer{self.random.randrange(20)}"
        self.journal.passing.append(time.monotonic())
        got = self.asked("sign in", lambda: line.post("/sign-in", owner=owner, user=user))
        self._see({"owner": owner, "user_id": user}, got, line)

    def pass_by(self, line: Line) -> None:
        """Ask for what leaves the last one's session alone."""
        self.fetched("untouched", line, "/pid", self.cookie)

    def _see(self, expected: dict[str, Any], begun: Got | None, line: Line) -> None:
        if begun is None:
            return
        if not begun.cookie:
            self.journal.accuse(f"a new session got the cookie {begun.cookie!r}")
            return
        self.cookie = begun.cookie
        got = self.fetched("read", line, "/read", begun.cookie)
        if got is None or (not got.json and got.ended - begun.began > PASSING):
            # Refused, or expired: the machine was busy.
            return
        if got.json != expected:
            self.journal.accuse(f"instead of {expected}, {got.json}")


class Person(Walker):
    """A user with several browsers, of which each may send several requests at once."""

    def __init__(self, name: str, port: int, journal: Journal, seed: int) -> None:
        super().__init__(port, journal, seed)
        self.user = name
        self.tabs = [Tab() for _ in range(BROWSERS)]
        #: Cookies of sessions that were ended or rotated, and how.
        self.dead: deque[tuple[str, str]] = deque(maxlen=REMEMBERED)
        #: The ids of ended sessions.
        self.ended: deque[str] = deque(maxlen=REMEMBERED)
        self._lines = [Line(port) for _ in range(LINES)]
        self._hands = ThreadPoolExecutor(LINES)
        self._number = 0
        self._deeds: dict[Callable[[Tab], None], int] = {
            self.look: 8,
            self.look_at_one: 4,
            self.pass_by: 4,
            self.miss: 2,
            self.write: 8,
            self.burst: 6,
            self.write_much: 1,
            self.haunt: 3,
            self.list_devices: 2,
            self.be_listed: 1,
            self.regenerate: 2,
            self.sign_out: 1,
            self.end_all: 1,
            self.be_revoked: 2,
            self.race: 1,
        }

    def __repr__(self) -> str:
        return f"<{self.user}>"

    def leave(self) -> None:
        self._hands.shutdown()
        self.hang_up()

    def hang_up(self) -> None:
        """Close the connections; the next request opens one."""
        for line in self._lines:
            line.close()

    def step(self) -> None:
        tab = self.random.choice(self.tabs)
        if tab.doubtful:
            self.look(tab)
        elif tab.cookie is None:
            self.sign_in(tab)
        elif len(tab.held) + len(tab.unsure) > KEYS:
            self.sign_out(tab)
        else:
            deed = self.random.choices([*self._deeds], [*self._deeds.values()])[0]
            deed(tab)

    @property
    def line(self) -> Line:
        return self._lines[0]

    # ----------------------------------------------------------------------- what is there

    def look(self, tab: Tab) -> None:
        """Look at all of a session."""
        got = self._got("read", tab, "/read")
        if got is None:
            return
        if not got.json and (tab.doubtful or got.ended - tab.served > STAYING):
            # It was ended, or its new secret got lost on the way, or the machine was busy.
            tab.cookie, tab.doubtful = None, False
            return
        tab.doubtful = False
        self._check(tab, got.json)

    def _check(self, tab: Tab, seen: dict[str, Any]) -> None:
        if problem := tab.problem(seen):
            self.journal.accuse(f"{problem} (cookie {tab.sid})")
            # Once is enough.
            tab.cookie = None
            return
        self.journal.note_found(len(tab.held))
        tab.held |= {key: seen[key] for key in tab.unsure if key in seen}
        tab.unsure = {}

    def look_at_one(self, tab: Tab) -> None:
        """Look at one key."""
        key = self.random.choice([*tab.held])
        got = self._got("read one", tab, f"/one/{key}")
        if got is None or key in tab.unsure:
            return
        if got.json != {"owner": tab.owner, key: tab.held[key]}:
            self.journal.accuse(f"{tab.owner} asked for {key}={tab.held[key]!r}: {got.json}")

    def pass_by(self, tab: Tab) -> None:
        """Ask for what leaves the session alone; that is served at any time."""
        self._got("untouched", tab, "/pid")

    def miss(self, tab: Tab) -> None:
        """Ask for what is not there."""
        self._got("missing", tab, "/nothing", expected=404)

    def list_devices(self, tab: Tab) -> None:
        """Look at one's sessions."""
        got = self._got("devices", tab, "/devices")
        if got is not None:
            self._check_list(got.json, {tab.sid})

    def be_listed(self, tab: Tab) -> None:
        """Let an administrator look at them."""
        got = self.fetched("admin list", self.line, f"/admin/{self.user}")
        if got is not None:
            self._check_list(got.json, set())

    def _check_list(self, listed: dict[str, bool], current: set[str]) -> None:
        known = {tab.sid for tab in self.tabs if tab.cookie and not tab.doubtful}
        if missing := known - set(listed):
            self.journal.accuse(f"{self.user}: {missing} are alive and not listed")
        if back := set(self.ended) & set(listed):
            self.journal.accuse(f"{self.user}: {back} were ended and are listed")
        if current != {sid for sid, is_current in listed.items() if is_current}:
            self.journal.accuse(f"{self.user}: the current one is {current}, not as in {listed}")

    def haunt(self, tab: Tab) -> None:
        """Try a dead cookie."""
        if self.dead:
            self.try_dead(*self.random.choice(self.dead))

    def try_dead(self, cookie: str, how: str) -> None:
        """Try this dead cookie."""
        got = self.fetched("dead cookie", self.line, "/read", cookie)
        if got is not None and got.json:
            self.journal.accuse(f"{self.user}: a session opens again after {how}: {got.json}")
        elif got is not None:
            self.journal.note_dead()

    def _got(self, kind: str, tab: Tab, path: str, *, expected: int = 200) -> Got | None:
        got = self.fetched(kind, self.line, path, tab.cookie, expected=expected)
        if got is not None and not tab.doubtful:
            self._check_cookie(kind, tab, got)
        return got

    def _check_cookie(self, kind: str, tab: Tab, got: Got) -> None:
        if got.cookie not in (None, tab.cookie):
            self.journal.accuse(f"{kind}: {tab.owner} got the cookie {got.cookie!r}")
        elif kind not in UNTOUCHED:
            tab.served = got.began

    # ----------------------------------------------------------------------- what is written

    def write(self, tab: Tab) -> None:
        """Write one key."""
        self._write(tab, self._next_key(), self.line)

    def burst(self, tab: Tab) -> None:
        """Write different keys over several connections at once."""
        keys = [[self._next_key() for _ in range(WRITES)] for _ in self._lines]

        def send(line: Line, keys: list[str]) -> None:
            for key in keys:
                self._write(tab, key, line)

        hands = [self._hands.submit(send, *each) for each in zip(self._lines, keys, strict=True)]
        for hand in hands:
            hand.result()

    def write_much(self, tab: Tab) -> None:
        """Write a big value."""
        size = self.random.choice([20_000, 100_000, 500_000])
        tab.unsure["big"] = size
        got = self._posted("write big", tab, f"/big/{size}")
        if got is not None:
            tab.held["big"] = size
            del tab.unsure["big"]

    def _write(self, tab: Tab, key: str, line: Line) -> None:
        tab.unsure[key] = key
        how = self.random.choice(["set", "add"])
        got = self._posted("write" if how == "set" else "read, write", tab, f"/{how}/{key}", line)
        if got is not None:
            tab.held[key] = key
            del tab.unsure[key]
            if how == "add" and got.json != {"owner": tab.owner}:
                self.journal.accuse(f"{tab.owner} wrote into the session of {got.json}")

    def _posted(self, kind: str, tab: Tab, path: str, line: Line | None = None) -> Got | None:
        line = line or self.line
        got = self.asked(kind, lambda: line.post(path, tab.cookie))
        if got is not None:
            self._check_cookie(kind, tab, got)
        return got

    def _next_key(self) -> str:
        self._number += 1
        return f"k{self._number}"

    # ----------------------------------------------------------------------- who one is

    def sign_in(self, tab: Tab) -> None:
        """Sign in, without a cookie or with that of an anonymous session."""
        self._number += 1
        tab.owner = f"{self.user} {self._number}"
        cookie = None
        if self.random.random() < 0.5:
            self.journal.passing.append(time.monotonic())
            begun = self.asked("begin", lambda: self.line.post("/begin", owner=tab.owner))
            cookie = begun.cookie if begun is not None else None
        form = {"owner": tab.owner, "user": self.user, "stay": "yes"}
        got = self.asked("sign in", lambda: self.line.post("/sign-in", cookie, **form))
        if got is None:
            self.journal.staying.append(time.monotonic())
            return
        if not got.cookie or got.cookie == cookie:
            self.journal.accuse(f"sign in: {tab.owner} got the cookie {got.cookie!r}")
            return
        if cookie is not None:
            self.dead.append((cookie, "sign in"))
        tab.cookie, tab.served = got.cookie, got.began
        tab.held = {"owner": tab.owner, "user_id": self.user}
        tab.unsure = {}

    def regenerate(self, tab: Tab) -> None:
        """Get a fresh secret."""
        before = tab.cookie
        got = self.asked("regenerate", lambda: self.line.post("/regenerate", before))
        if got is None:
            self.journal.staying.append(time.monotonic())
            tab.doubtful = True
        elif not got.cookie or got.cookie == before:
            self.journal.accuse(f"regenerate: {tab.owner} got the cookie {got.cookie!r}")
        else:
            self.dead.append((before or "", "regenerate"))
            tab.cookie = got.cookie

    def sign_out(self, tab: Tab) -> None:
        """Sign out."""
        got = self.asked("sign out", lambda: self.line.post("/sign-out", tab.cookie))
        self._end("sign out", [tab], got)

    # ----------------------------------------------------------------------- where one is

    def end_all(self, tab: Tab) -> None:
        """Log out everywhere, or everywhere else."""
        keep = self.random.random() < 0.5
        form = {"keep": "yes"} if keep else {}
        got = self.asked("end all", lambda: self.line.post("/end-all", tab.cookie, **form))
        tabs = [each for each in self.tabs if not (keep and each is tab)]
        self._end("end all", tabs, got, least=self._sure(tabs))

    def be_revoked(self, tab: Tab) -> None:
        """Let an administrator end all, one, all but one or none of one's sessions."""
        others = [each for each in self.tabs if each is not tab]
        which: Any = self.random.choice(
            [
                ({}, self.tabs),
                ({"only": tab.sid}, [tab]),
                ({"keep": tab.sid}, others),
                ({"before": time.time() - 3600}, []),
                ({"before": time.time() + 3600}, self.tabs),
            ]
        )
        options, tabs = which
        got = self._revoked(options)
        self._end(f"revocation {options}", tabs, got, least=self._sure(tabs))

    def _revoked(self, options: dict[str, Any]) -> Got | None:
        path = f"/admin/{self.user}/revoke"
        return self.asked("admin revoke", lambda: self.line.post_json(path, options))

    def _sure(self, tabs: list[Tab]) -> int:
        return sum(1 for tab in tabs if tab.cookie and not tab.doubtful)

    def _end(self, how: str, tabs: list[Tab], got: Got | None, *, least: int = 0) -> None:
        """Note that these sessions are ended; if there is no answer, that they may be."""
        # What is sent again because the reply was lost finds the sessions dead, and counts none.
        counts = got is not None and least and self.journal.is_calm(got)
        if got is not None and counts and least > got.json["ended"]:
            self.journal.accuse(f"{self.user}: {how} ended {got.json} of {least}")
        for tab in tabs:
            if tab.cookie is None:
                continue
            if got is None:
                tab.doubtful = True
            else:
                self.dead.append((tab.cookie, how))
                self.ended.append(tab.sid)
                tab.cookie, tab.doubtful = None, False

    def race(self, tab: Tab) -> None:
        """Be revoked while one writes and gets a fresh secret: the session stays dead."""
        cookie, others = tab.cookie, self._lines[1:]
        keys = [self._next_key() for _ in range(2 * LINES)]
        hows = ["set", "add"] * LINES
        paths = [f"/{how}/{key}" for how, key in zip(hows, keys, strict=True)]
        paths.insert(self.random.randrange(len(paths)), "/regenerate")

        def send(line: Line, paths: list[str]) -> list[Got]:
            answers = [self.asked("race", partial(line.post, path, cookie)) for path in paths]
            return [got for got in answers if got is not None]

        hands: list[Future[list[Got]]] = [
            self._hands.submit(send, line, paths[at :: len(others)])
            for at, line in enumerate(others)
        ]
        revoked = self._revoked({})
        given = {got.cookie for hand in hands for got in hand.result() if got.cookie} - {cookie}
        fresh = [each for each in given if each.partition(".")[0] == tab.sid]
        for stray in given - set(fresh):
            # A request that found no session any more began one.
            if self.asked("sign out", partial(self.line.post, "/sign-out", stray)) is not None:
                self.dead.append((stray, "sign out"))
            else:
                self.journal.staying.append(time.monotonic())
        if revoked is None:
            # Whichever secret is the last one: that is looked at before anything else is done.
            self.journal.staying.append(time.monotonic())
            tab.cookie = fresh[0] if fresh else tab.cookie
            tab.unsure |= {key: key for key in keys}
        else:
            self.dead.extend((each, "race") for each in fresh)
        self._end("race", self.tabs, revoked)
