"""Browsers and administrators that all at once do with sessions whatever there is to do.

Each thread draws its operations from a seed of its own. The browsers, that is their cookies, are
shared by all threads of all processes: several tabs of one browser, a double click, a request that
comes late with an old cookie. An operation may also happen in the middle of another's request.
"""

from __future__ import annotations

import logging
import pickle
import sys
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import flask
import redis

from flask_redis_session import RedisSessionInterface
from flask_redis_session.signals import save_refused, session_ended
from tests.concurrency.flaky import FlakyRedis, Pace
from tests.concurrency.member import Member

#: So short that sessions are touched all the time.
INTERVAL = 0.05
#: So short that a permanent session expires if nobody comes for a moment.
PERMANENT_LIFETIME = 0.5
SETTINGS = {
    "SESSION_TOUCH_INTERVAL": INTERVAL,
    "SESSION_LIFETIME": 86_400,
    "PERMANENT_SESSION_LIFETIME": PERMANENT_LIFETIME,
    "SESSION_MAX_PER_USER": 8,
}


@dataclass(frozen=True)
class Place:
    """Where one process works, and what it has in common with the others.

    :param socket: of the server.
    :param seed: of the run.
    :param process: its number.
    :param threads: how many it has.
    :param rounds: how often all stop.
    :param operations: how many each thread does in a round.
    :param jars: the cookie of each browser.
    :param barrier: where all wait for each other before and after a stop.
    """

    socket: str
    seed: int
    process: int
    threads: int
    rounds: int
    operations: int
    jars: Any
    barrier: Any


class Site:
    """The application of one process.

    :param socket: of the server.
    """

    def __init__(self, socket: str) -> None:
        self.pace = Pace()
        self.client = FlakyRedis(self.pace, unix_socket_path=socket, socket_timeout=30)
        #: For what is no command of ours.
        self.plain = redis.Redis(unix_socket_path=socket, socket_timeout=30)
        self.app = flask.Flask("crowd")
        self.app.config |= {"TESTING": True, **SETTINGS}
        self.interface = RedisSessionInterface(redis=self.client)
        self.interface.init_app(self.app)
        self.app.add_url_rule("/", view_func=self._view)
        self.here = threading.local()
        save_refused.connect(self._on_refused, sender=self.app)
        session_ended.connect(self._on_ended, sender=self.app)

    def _view(self) -> str:
        flask.request.environ["crowd.body"]()
        return ""

    def _on_refused(self, sender: object, reason: str, **about: Any) -> None:
        self.here.events[-1].refused = reason

    def _on_ended(self, sender: object, sid: str, reason: str, **about: Any) -> None:
        self.here.events[-1].ends.append((sid, reason, time.monotonic()))


def work(place: Place, report: Any, break_it: Callable[[], object] | None) -> None:
    """Be one process of the crowd.

    :param place: where.
    :param report: the end of a pipe, which gets the events of all threads, or what went wrong.
    :param break_it: breaks the library on purpose.
    """
    logging.disable(logging.CRITICAL)
    # Threads of one process change places as often as those of two.
    sys.setswitchinterval(0.0005)
    if break_it is not None:
        break_it()
    site = Site(place.socket)
    members = [Member(site, place, number) for number in range(place.threads)]
    problems: list[str] = []

    def live(member: Member) -> None:
        try:
            for _ in range(place.rounds):
                member.run(place.operations)
                place.barrier.wait()
                place.barrier.wait()
        except threading.BrokenBarrierError:
            pass
        except BaseException:  # noqa: BLE001 - whatever it is, the run reports it
            problems.append(traceback.format_exc())
            place.barrier.abort()

    threads = [threading.Thread(target=live, args=(member,)) for member in members]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    events = [event for member in members for event in member.events]
    report.send_bytes(pickle.dumps((problems, events)))
    report.close()
