"""Browsers that write without a pause, and an account of what each was promised."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from tests.support.servers import wait_until
from tests.support.webapp import Browser, Site, session

if TYPE_CHECKING:
    from collections.abc import Callable

    from typing_extensions import Self


@dataclass
class Account:
    """One browser's writes, numbered from 1."""

    browser: AnyBrowser
    sent: int = 0
    #: What was answered with 200, and when.
    acknowledged: dict[int, float] = field(default_factory=dict)
    refused: int = 0
    #: What came of a request that was neither served nor refused as announced.
    wrong: list[object] = field(default_factory=list)

    def write(self) -> None:
        """Send one write, and note what came of it."""
        self.sent += 1
        number = self.sent

        def view() -> None:
            if number % 2:
                session.get("first")
            session.update({f"k{number}": number, "first": number, "second": [number]})

        cookie = self.browser.cookie
        answer = self.browser.visit_any(view)
        if answer.status == 200:
            self.acknowledged[number] = time.monotonic()
        elif answer.status == 503 and answer.headers.get("Retry-After"):
            self.refused += 1
        else:
            self.wrong.append(answer.status)
        if cookie != self.browser.cookie:
            self.wrong.append(answer.cookies)

    def lost(self, *, until: float = float("inf")) -> list[int]:
        """Return the writes acknowledged until then that are not there; check the rest."""
        held = self.browser.read()
        numbers = {value for key, value in held.items() if key.startswith("k")}

        assert numbers <= set(range(self.sent + 1))
        if held:
            # One script writes all three of a request.
            assert held["first"] in numbers
            assert [held["first"]] == held["second"]
        return [n for n, at in self.acknowledged.items() if at <= until and n not in numbers]


class AnyBrowser(Browser):
    """A browser that takes whatever status it gets."""

    def visit_any(self, view: Callable[[], Any]) -> Any:
        """Send a request that this view answers, whatever comes of it."""
        from tests.support.webapp import _VALUES, _VIEW, Answer

        values: list[Any] = []
        environ = {_VIEW: view, _VALUES: values}
        response = self.client.open("/", environ_overrides=environ)
        return Answer(response, values[-1] if values else None)


class Load:
    """Browsers that write without a pause, each from a thread of its own.

    >>> with Load(site, 4) as load:
    ...     load.run(1)
    """

    def __init__(self, site: Site, browsers: int, *, user_id: object = None) -> None:
        self.accounts = [Account(AnyBrowser(site)) for _ in range(browsers)]
        for at, account in enumerate(self.accounts):
            user = {"user_id": f"user{at}" if user_id is None else user_id}
            account.browser.set(first=0, second=[0], k0=0, **user)
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._write, args=(account,)) for account in self.accounts
        ]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Let each browser end the request that it is at."""
        self._stop.set()
        for thread in self._threads:
            if thread.is_alive():
                thread.join()

    def _write(self, account: Account) -> None:
        while not self._stop.is_set():
            try:
                account.write()
            except Exception as error:  # noqa: BLE001
                account.wrong.append(error)
                return
            time.sleep(0.002)

    def run(self, seconds: float) -> None:
        """Let them write for a while."""
        time.sleep(seconds)

    def served(self, what: str, *, seconds: float = 60) -> None:
        """Return once every browser was served again."""
        now = time.monotonic()
        wait_until(lambda: self._each_since(now), what, seconds)

    def _each_since(self, moment: float) -> bool:
        return all(
            max(account.acknowledged.values(), default=0) > moment for account in self.accounts
        )

    @property
    def times(self) -> list[float]:
        """When something was acknowledged, in order."""
        return sorted(at for account in self.accounts for at in account.acknowledged.values())

    @property
    def gap(self) -> float:
        """For how long at most a browser went without being served, in seconds."""
        gaps = [0.0]
        for account in self.accounts:
            times = sorted(account.acknowledged.values())
            gaps += [after - before for before, after in pairwise(times)]
        return max(gaps)

    @property
    def refused(self) -> int:
        """How many requests got 503."""
        return sum(account.refused for account in self.accounts)

    @property
    def wrong(self) -> list[object]:
        """What came of requests that were neither served nor refused as announced."""
        return [each for account in self.accounts for each in account.wrong]

    def lost(self, *, until: float = float("inf")) -> int:
        """Return how many writes that were acknowledged until then are not there."""
        return sum(len(account.lost(until=until)) for account in self.accounts)
