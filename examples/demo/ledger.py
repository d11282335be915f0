"""Remembers what the last requests of each browser cost, outside the session.

If the session held these figures, each reading would change the session. So each browser gets a
second cookie, ``demo_browser``, and its figures are kept in this process.
"""

from __future__ import annotations

import secrets
import threading
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from redis.exceptions import RedisError
from werkzeug.http import parse_cookie

from cost import Cost, Traffic, command_names, counting, fields_written, whole_session_traffic
from held import Observer, Snapshot

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

BROWSER_COOKIE = "demo_browser"
RECORD = "demo.record"

_BROWSERS = 500
_REQUESTS = 6


@dataclass
class Record:
    """One request and what it cost.

    :param commands: how often it sent each command.
    :param fields: the session keys that it wrote or deleted.
    :param keys: how many keys the session had after it.
    :param whole: what a store of whole sessions would have moved.
    """

    method: str
    path: str
    status: int = 0
    cost: Cost = field(default_factory=Cost)
    commands: Counter[str] = field(default_factory=Counter)
    fields: list[str] = field(default_factory=list)
    keys: int = 0
    whole: Traffic = field(default_factory=Traffic)

    @property
    def is_change(self) -> bool:
        return self.method == "POST"

    @property
    def wrote_everything(self) -> bool:
        """Whether it wrote every key that the session has, as a sign-in does."""
        return bool(self.fields) and len(self.fields) == self.keys

    @property
    def ends_devices(self) -> bool:
        """Whether it signed out devices on the devices page."""
        return self.is_change and self.path.startswith("/devices/")

    @property
    def is_redirect(self) -> bool:
        return 300 <= self.status < 400


@dataclass
class Browser:
    """What is remembered of one browser."""

    id: str
    is_new: bool
    records: deque[Record] = field(default_factory=lambda: deque(maxlen=_REQUESTS))
    snapshot: Snapshot = field(default_factory=Snapshot)


class Ledger:
    """The browsers that visited last."""

    def __init__(self) -> None:
        self._browsers: OrderedDict[str, Browser] = OrderedDict()
        self._lock = threading.Lock()

    def browser(self, browser_id: str | None) -> Browser:
        """Return the browser with this id, or a new one."""
        with self._lock:
            known = self._browsers.get(browser_id or "")
            if known is not None:
                known.is_new = False
                self._browsers.move_to_end(known.id)
                return known
            browser = Browser(secrets.token_urlsafe(12), is_new=True)
            self._browsers[browser.id] = browser
            while len(self._browsers) > _BROWSERS:
                self._browsers.popitem(last=False)
            return browser


class Meter:
    """WSGI middleware that records what each request costs.

    It wraps the whole application, so it also counts what saving the session costs.

    :param session_cookie: the name of the session's cookie.
    :param skip: a request with this text in its path is not recorded.
    """

    def __init__(
        self, wsgi_app: WSGIApplication, observer: Observer, session_cookie: str, skip: str
    ) -> None:
        self._wsgi_app = wsgi_app
        self._observer = observer
        self._session_cookie = session_cookie
        self._skip = skip
        self._ledger = Ledger()

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        if self._skip in environ["PATH_INFO"]:
            return self._wsgi_app(environ, start_response)
        cookies = parse_cookie(environ.get("HTTP_COOKIE"))
        browser = self._ledger.browser(cookies.get(BROWSER_COOKIE))
        record = Record(environ["REQUEST_METHOD"], environ["PATH_INFO"])
        environ[RECORD] = browser, record
        answer = _Answer(start_response)
        with counting(record.cost):
            body = self._wsgi_app(environ, answer)
        record.status = answer.status
        cookie = answer.cookie(self._session_cookie)
        if cookie is None:
            cookie = cookies.get(self._session_cookie, "")
        self._close(browser, record, sid=cookie.partition(".")[0])
        return body

    def _close(self, browser: Browser, record: Record, sid: str) -> None:
        commands = record.cost.commands()
        record.cost.wire.clear()
        before = browser.snapshot
        if commands:  # without one, the session has not changed
            browser.snapshot = self._look(sid)
        record.commands = command_names(commands)
        record.fields = fields_written(commands, before.names, browser.snapshot.names)
        record.keys = sum(not name.startswith(b"@") for name in browser.snapshot.names)
        record.whole = whole_session_traffic(before.size, browser.snapshot.size)
        browser.records.appendleft(record)

    def _look(self, sid: str) -> Snapshot:
        try:
            return self._observer.snapshot(sid) if sid else Snapshot()
        except RedisError:
            return Snapshot()


class _Answer:
    """A ``start_response`` that notes the status and the cookies of the answer."""

    def __init__(self, start_response: StartResponse) -> None:
        self._start_response = start_response
        self.status = 0
        self._cookies: dict[str, str] = {}

    def __call__(
        self, status: str, headers: list[tuple[str, str]], exc_info: Any = None, /
    ) -> Callable[[bytes], object]:
        self.status = int(status[:3])
        for name, value in headers:
            if name.lower() == "set-cookie":
                self._cookies.update(parse_cookie(value.partition(";")[0]))
        return self._start_response(status, headers, exc_info)

    def cookie(self, name: str) -> str | None:
        """Return the cookie that this answer sets; empty if it deletes the cookie."""
        return self._cookies.get(name)
