"""A load of everything on gunicorn, for minutes, while Redis comes and goes.

What may not be is taken down in a :class:`~journal.Journal` while it goes on; what can only be
told at the end is found by :meth:`Soak.settle`.
"""

from __future__ import annotations

import re
import time
from collections import Counter
from dataclasses import dataclass
from itertools import cycle
from statistics import median
from typing import TYPE_CHECKING

from tests.load.journal import Journal
from tests.load.line import Line
from tests.load.people import BROWSERS, PASSING, STAYING, Passer, Person, Walker
from tests.load.soak_site import MASTER, USED
from tests.support import gauges
from tests.support.gauges import Gauges, Reading
from tests.support.gunicorn import Gunicorn
from tests.support.servers import Link, Server, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

    from typing_extensions import Self

#: How many people use their sessions, and how many threads send passers-by.
PEOPLE, PASSERS = 8, 2
#: How many users the passers-by share.
SHARED = 20
#: A connection that failed is tried again at once, so an outage may be short.
OUTAGE = 0.3


@dataclass(frozen=True)
class Way:
    """A way to run the site under gunicorn.

    :param workers: how many.
    :param at_once: how many requests one of them serves at once; ``None``: all that come.
    :param options: of gunicorn.
    :param application: the module of the application and what makes it.
    :param recycled: whether workers are replaced during the run.
    """

    workers: int
    at_once: int | None
    options: tuple[str, ...] = ()
    application: str = "tests.load.soak_site:site()"
    recycled: bool = True


class Soak:
    """One run.

    :param way: how the site runs.
    :param seconds: for how long.
    """

    def __init__(self, way: Way, seconds: float) -> None:
        self.way = way
        self.seconds = seconds
        self.journal = Journal()
        self.people: list[Person] = []
        self.passers: list[Passer] = []
        #: How often each trouble came.
        self.troubles: Counter[str] = Counter()
        #: What the gauges show when all is quiet.
        self.idle: Reading | None = None
        #: For how long the sessions are to live that nobody has the cookie of, in milliseconds.
        self.left: list[int] = []
        self.log = ""

    def run(self) -> Self:
        """Start all, let it go on for so long, and look at what is left."""
        kept = ("--appendonly", "yes", "--appendfsync", "always")
        with Server("valkey9", *kept) as server:
            site = self._gunicorn(server)
            with site:
                self._server, self._site = server, site
                self.gauges = Gauges(
                    server,
                    site.pid,
                    self.journal,
                    # A touch, a pause of the machine.
                    passing=PASSING + 2,
                    staying=STAYING + 2,
                    # A hash for each browser, an index for each user.
                    steady=PEOPLE * BROWSERS + PEOPLE + SHARED + 2,
                )
                with self.gauges:
                    self._go_on()
                self.settle()
            self.log = site.log
            wait_until(lambda: self._clients() == 0, "no connection is left")
        return self

    def _gunicorn(self, server: Server) -> Gunicorn:
        often = 200 if self.seconds < 60 else 2000
        recycling = ("--max-requests", str(often), "--max-requests-jitter", str(often))
        return Gunicorn(
            *(recycling if self.way.recycled else ()),
            # A worker that is replaced waits for its idle connections, and gunicorn starts the
            # next one after that.
            *("--keep-alive", "2"),
            *self.way.options,
            workers=self.way.workers,
            threads=self.way.at_once or 1,
            application=self.way.application,
            SESSION_REDIS_URL=server.url,
            SESSION_LIFETIME=PASSING,
            PERMANENT_SESSION_LIFETIME=STAYING,
            SESSION_TOUCH_INTERVAL=1,
        )

    # ----------------------------------------------------------------------- while it goes on

    def _go_on(self) -> None:
        port = self._site.port
        self.people = [Person(f"person{n}", port, self.journal, n) for n in range(PEOPLE)]
        self.passers = [Passer(port, self.journal, -1 - n) for n in range(PASSERS)]
        walkers: list[Walker] = [*self.people, *self.passers]
        end = time.monotonic() + self.seconds
        for walker in walkers:
            walker.start()
        try:
            self._trouble(end)
        finally:
            for walker in walkers:
                walker.stopping.set()
            for walker in walkers:
                walker.join(60)
        for walker in walkers:
            if walker.is_alive():
                self.journal.accuse(f"{walker!r} hangs")

    def _trouble(self, end: float) -> None:
        pause = min(10.0, self.seconds / 10)
        troubles: list[Callable[[], None]] = [
            self.lose_scripts,
            self.stop,
            self.cut,
            self.kill,
            self.restart,
        ]
        if self.way.recycled:
            troubles.append(self.reload)
        for number, trouble in enumerate(cycle(troubles)):
            time.sleep(min(pause, max(0.0, end - time.monotonic())))
            # Each comes once at least, however busy the machine is.
            if self.journal.wrong or (number >= len(troubles) and time.monotonic() >= end):
                return
            trouble()
            self.troubles[trouble.__name__] += 1

    def lose_scripts(self) -> None:
        """Let Redis forget its scripts."""
        self._server.ask("SCRIPT", "FLUSH")

    def cut(self) -> None:
        """Close all connections to Redis."""
        self.journal.cuts.append(time.monotonic())
        self._server.ask("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")

    def reload(self) -> None:
        """Replace all workers."""
        self._site.reload()

    def restart(self) -> None:
        """Stop Redis, and start it at once."""
        with self.journal.outage():
            self._server.restart()

    def stop(self) -> None:
        """Stop Redis for a while."""
        with self.journal.outage():
            self._server.stop()
            self._be_away()

    def kill(self) -> None:
        """Let Redis crash."""
        with self.journal.outage():
            self._server.kill()
            self._be_away()

    def _be_away(self) -> None:
        before = self.journal.refused
        time.sleep(OUTAGE)
        # A machine that is busy takes its time to start a worker, and meanwhile nobody is served.
        wait_until(lambda: self.journal.refused > before, "somebody notices the outage", 60)
        line = Line(self._site.port)
        for passer in self.passers:
            passer.pass_by(line)
        line.close()
        self._server.start()

    # ----------------------------------------------------------------------- at the end

    def settle(self) -> None:
        """Look at what is left, now that nobody asks for anything."""
        for person in self.people:
            for tab in person.tabs:
                if tab.cookie is not None:
                    person.look(tab)
            for cookie, how in person.dead:
                person.try_dead(cookie, how)
            person.hang_up()
        line = Line(self._site.port)
        self._check_indexes(line)
        self.gauges.read()
        self.idle = self.gauges.readings.pop()
        for user in self._users():
            ended = line.post_json(f"/admin/{user}/revoke", {})
            if ended.status != 200:
                self.journal.accuse(f"at the end: {ended.status} {ended.body!r}")
        line.close()
        if indexes := [key for key in gauges.lives(self._server) if ":user:" in key]:
            self.journal.accuse(f"without a session: {indexes}")
        self.left = sorted(gauges.lives(self._server).values())

    def _users(self) -> list[str]:
        people = [person.user for person in self.people]
        return [*people, *(f"passer{n}" for n in range(SHARED)), MASTER]

    def _check_indexes(self, line: Line) -> None:
        """Hold each person's index against the sessions that say that they are that person's."""
        with Link(self._server) as link:
            link.ask("CLIENT", "SETNAME", gauges.OURS)
            for person in self.people:
                # It removes what has died.
                line.get(f"/admin/{person.user}")
                members = link.ask("ZRANGE", f"session:user:{person.user}", 0, -1)
                listed = {sid.decode() for sid in members}
                for tab in person.tabs:
                    if tab.cookie is not None and tab.sid not in listed:
                        self.journal.accuse(f"{tab.owner}: {tab.sid} is in no index")
                for sid in listed:
                    if not link.ask("EXISTS", f"session:{sid}"):
                        self.journal.accuse(f"{person.user}: {sid} is in the index, and dead")

    def _clients(self) -> int:
        with Link(self._server) as link:
            return len(link.ask("CLIENT", "LIST").splitlines()) - 1

    # ----------------------------------------------------------------------- what was found

    @property
    def recycled(self) -> int:
        """How many workers were replaced."""
        return len(self.gauges.seen) - self.way.workers

    def resident(self, first: float, last: float) -> float:
        """Return the median memory of the largest worker in a part of the run, in MB."""
        return median(each.resident for each in self.gauges.part(first, last))

    @property
    def outages_logged(self) -> dict[str, Counter[str]]:
        """How often each worker logged that an outage begins, and that it is over."""
        found: dict[str, Counter[str]] = {"begins": Counter(), "over": Counter()}
        for pid, text in _LINE.findall(self.log):
            if text.startswith(BEGINS):
                found["begins"][pid] += 1
            elif text.startswith(OVER):
                found["over"][pid] += 1
        return found

    @property
    def unexplained(self) -> list[str]:
        """What was logged besides outages and refused saves."""
        return [
            line
            for line in self.log.splitlines()
            if line != USED
            and not ((match := _LINE.fullmatch(line)) and match[2].startswith(_EXPLAINED))
        ]

    @property
    def refused_saves(self) -> int:
        """How many saves were refused, as the log has it."""
        return sum(text.startswith(REFUSED) for _, text in _LINE.findall(self.log))


_LINE = re.compile(r"(\d+) (?:ERROR|WARNING) flask_redis_session: (.*)")
BEGINS, OVER = "Redis fails", "Redis answers again"
REFUSED = "The changes of a request were not saved"
_EXPLAINED = (BEGINS, OVER, REFUSED)
