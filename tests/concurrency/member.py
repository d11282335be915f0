"""One thread of a crowd: browsers and administrators, one operation after another."""

from __future__ import annotations

import random
import time
from collections import deque
from collections.abc import Callable
from contextvars import Context
from http.cookies import SimpleCookie
from typing import TYPE_CHECKING, Any

import flask

from flask_redis_session import RedisSession, StoreUnavailable
from flask_redis_session.storage.record import TOMBSTONE
from tests.concurrency.flaky import Fault, Luck
from tests.concurrency.history import Event
from tests.concurrency.situations import PREFIX, Token

if TYPE_CHECKING:
    from tests.concurrency.throng import Place, Site

USERS = tuple("123456")
#: From how many keys on a session is tidied up.
MANY = 14

#: How often what is done.
WEIGHTS = {
    "save": 140,
    "blind save": 90,
    "overwrite": 70,
    "nested change": 50,
    "delete": 35,
    "read": 150,
    "stay": 20,
    "turn": 8,
    "regenerate": 35,
    "regenerate loaded": 20,
    "confirm": 20,
    "sign in": 70,
    "clear and sign in": 20,
    "sign in without a cookie": 14,
    "double click": 12,
    "sign out": 16,
    "clear": 8,
    "clear and restore": 10,
    "end all": 2,
    "end others": 2,
    "end before": 3,
    "revoke one": 8,
    "revoke before": 3,
    "revoke old": 1,
    "revoke all": 2,
    "revoke others": 2,
    "list": 20,
    "list inside": 12,
    "expiry": 6,
    "eviction": 3,
    "loss of the scripts": 2,
}

Body = Callable[[RedisSession, Event], object]


class Member:
    """One thread: it draws an operation, does it, and notes what came of it.

    :param site: the application of its process.
    :param place: where that is.
    :param number: of the thread in its process.
    """

    def __init__(self, site: Site, place: Place, number: int) -> None:
        self.site = site
        self.place = place
        self.draws = random.Random(f"{place.seed} {place.process} {number}")
        self.events: list[Event] = []
        self._first = (place.process * place.threads + number + 1) * 10_000_000
        self._browser = site.app.test_client(use_cookies=False)
        self._old: deque[str] = deque(maxlen=40)
        self._depth = 0

    def run(self, operations: int) -> None:
        """Do so many operations."""
        self.site.here.events = []
        until = len(self.events) + operations
        while len(self.events) < until:
            self.act()

    def act(self) -> None:
        """Do one operation, or the few that belong together."""
        (kind,) = self.draws.choices([*WEIGHTS], [*WEIGHTS.values()])
        act: Callable[[str], object] = getattr(self, f"_{kind.replace(' ', '_')}")
        act(kind)

    # ------------------------------------------------------------------- operations

    def _save(self, kind: str) -> None:
        def body(session: RedisSession, event: Event) -> None:
            look(session, event)
            self._meanwhile()
            self._set(session, event, f"k{event.number}", event.number)

        self._request(kind, body)

    def _blind_save(self, kind: str) -> None:
        def body(session: RedisSession, event: Event) -> None:
            self._meanwhile()
            self._set(session, event, f"k{event.number}", event.number)

        self._request(kind, body)

    def _overwrite(self, kind: str) -> None:
        def body(session: RedisSession, event: Event) -> None:
            if self.draws.random() < 0.5:
                look(session, event)
            self._meanwhile()
            for key in ("theme", "shade"):
                self._set(session, event, key, event.number)

        self._request(kind, body)

    def _nested_change(self, kind: str) -> None:
        def body(session: RedisSession, event: Event) -> None:
            look(session, event)
            if "cart" not in session:
                session["cart"] = []
            self._meanwhile()
            session["cart"].append(event.number)
            del session["cart"][:-4]
            event.wrote["cart"] = list(session["cart"])

        self._request(kind, body)

    def _delete(self, kind: str) -> None:
        def body(session: RedisSession, event: Event) -> None:
            look(session, event)
            self._meanwhile()
            keys = [key for key in event.saw or () if key.startswith("k")]
            count = len(keys) - MANY // 2 if len(keys) > MANY else 1
            event.deleted = tuple(self.draws.sample(keys, min(count, len(keys))))
            for key in event.deleted:
                del session[key]

        self._request(kind, body)

    def _read(self, kind: str) -> None:
        self._request(kind, look)

    def _stay(self, kind: str) -> None:
        # Never touched: of a permanent session the cookie says that it is one.
        self._request(kind, lambda session, event: None)

    def _turn(self, kind: str) -> None:
        # Into one that is permanent, or back.
        def body(session: RedisSession, event: Event) -> None:
            event.permanent = session.permanent = not session.permanent

        self._request(kind, body)

    def _regenerate(self, kind: str) -> None:
        self._request(kind, lambda session, event: session.regenerate())

    def _regenerate_loaded(self, kind: str) -> None:
        def body(session: RedisSession, event: Event) -> None:
            look(session, event)
            self._meanwhile()
            session.regenerate()

        self._request(kind, body)

    def _confirm(self, kind: str) -> None:
        def body(session: RedisSession, event: Event) -> None:
            look(session, event)
            self._meanwhile()
            if session.get("user_id") is not None:
                session.confirm()

        self._request(kind, body)

    def _sign_in(self, kind: str, **how: Any) -> None:
        user = self.draws.choice(USERS)

        def body(session: RedisSession, event: Event) -> None:
            look(session, event)
            if kind == "clear and sign in":
                session.clear()
                event.wipes = True
            self._meanwhile()
            self._set(session, event, "user_id", int(user))
            self._set(session, event, "signed", event.number)

        self._request(kind, body, user=user, **how)

    _clear_and_sign_in = _sign_in

    def _sign_in_without_a_cookie(self, kind: str) -> None:
        self._sign_in(kind, cookie="")

    def _double_click(self, kind: str) -> None:
        user = self.draws.choice(USERS)
        jar = self._jar()
        cookie = jar.value.decode()

        def body(session: RedisSession, event: Event) -> None:
            look(session, event)
            if [click.kind for click in self.site.here.events].count(kind) == 1:
                self._request(kind, body, user=user, jar=jar, cookie=cookie)
            self._set(session, event, "user_id", int(user))
            self._set(session, event, "signed", event.number)

        self._request(kind, body, user=user, jar=jar, cookie=cookie)

    def _sign_out(self, kind: str) -> None:
        def body(session: RedisSession, event: Event) -> None:
            look(session, event)
            self._meanwhile()
            if session.pop("user_id", None) is not None:
                event.deleted = ("user_id",)
                self._set(session, event, "signed", event.number)

        self._request(kind, body)

    def _clear(self, kind: str) -> None:
        def body(session: RedisSession, event: Event) -> None:
            if self.draws.random() < 0.5:
                look(session, event)
            self._meanwhile()
            session.clear()
            event.wipes = True

        self._request(kind, body)

    def _clear_and_restore(self, kind: str) -> None:
        def body(session: RedisSession, event: Event) -> None:
            look(session, event)
            self._meanwhile()
            if event.saw:
                session.clear()
                event.wipes = True
                for key, value in event.saw.items():
                    self._set(session, event, key, value)

        self._request(kind, body)

    def _end_all(self, kind: str, **how: Any) -> None:
        def body(session: RedisSession, event: Event) -> None:
            look(session, event)
            if session.get("user_id") is None:
                return
            event.user = str(session["user_id"])
            if kind == "end others" and session.sid is not None:
                event.keep = frozenset({session.sid})
            if kind == "end before":
                event.unseen = 0.05
            self._meanwhile()
            began = time.monotonic()
            event.result = session.clear_user_sessions(
                before=event.unseen and time.time() - event.unseen,
                keep_current=kind == "end others",
            )
            event.called = began, time.monotonic()

        self._request(kind, body)

    _end_others = _end_all
    _end_before = _end_all

    def _revoke_all(self, kind: str) -> None:
        user = self.draws.choice(USERS)
        self._call(kind, user, lambda event: self.site.interface.revoke_sessions(user))

    def _revoke_others(self, kind: str) -> None:
        user = self.draws.choice(USERS)
        keep = self._listed(user)[:2]
        self._call(
            kind,
            user,
            lambda event: self.site.interface.revoke_sessions(user, keep=keep),
            keep=frozenset(keep),
        )

    def _revoke_one(self, kind: str) -> None:
        user = self.draws.choice(USERS)
        sids = self._listed(user)
        if sids:
            sid = self.draws.choice(sids)
            self._call(
                kind,
                user,
                lambda event: self.site.interface.revoke_sessions(user, only=sid),
                only=frozenset({sid}),
            )

    def _revoke_before(self, kind: str) -> None:
        user, unseen = self.draws.choice(USERS), self.draws.choice((0.02, 0.1))

        def call(event: Event) -> int:
            return self.site.interface.revoke_sessions(user, before=time.time() - unseen)

        self._call(kind, user, call, unseen=unseen)

    def _revoke_old(self, kind: str) -> None:
        user, age = self.draws.choice(USERS), self.draws.choice((0.1, 1.0))

        def call(event: Event) -> int:
            return self.site.interface.revoke_sessions(user, created_before=time.time() - age)

        self._call(kind, user, call, age=age)

    def _list(self, kind: str) -> None:
        self._listed(self.draws.choice(USERS))

    def _listed(self, user: str) -> list[str]:
        def call(event: Event) -> list[str]:
            return [info.sid for info in self.site.interface.list_sessions(user)]

        return self._call("list", user, call).result or []

    def _list_inside(self, kind: str) -> None:
        def body(session: RedisSession, event: Event) -> None:
            look(session, event)
            if session.get("user_id") is not None:
                event.user = str(session["user_id"])
                began = time.monotonic()
                event.result = [info.sid for info in session.user_sessions()]
                event.called = began, time.monotonic()

        self._request(kind, body)

    def _expiry(self, kind: str) -> None:
        cookie = self._jar().value.decode()
        if not cookie:
            return
        sid = Token.read(cookie).sid
        event = self._begin(kind)
        # As Redis does it if the time has come.
        if self.site.plain.delete(f"{PREFIX}{sid}"):
            event.ends.append((sid, "expired", time.monotonic()))
        self._end(event)

    def _eviction(self, kind: str) -> None:
        event = self._begin(kind, user=self.draws.choice(USERS))
        self.site.plain.delete(f"{PREFIX}user:{event.user}")
        self._end(event)

    def _loss_of_the_scripts(self, kind: str) -> None:
        if self.draws.random() < 0.1:
            event = self._begin(kind)
            self.site.plain.script_flush()
            self._end(event)

    # ------------------------------------------------------------------- how they are done

    @staticmethod
    def _set(session: RedisSession, event: Event, key: str, value: Any) -> None:
        session[key] = value
        event.wrote[key] = value

    def _meanwhile(self) -> None:
        """Do something else in the middle of a request, now and then."""
        if self._depth < 2 and self.draws.random() < 0.08:
            self._depth += 1
            self.act()
            self._depth -= 1

    def _jar(self) -> Any:
        return self.draws.choice(self.place.jars)

    def _request(
        self,
        kind: str,
        body: Body,
        *,
        user: str | None = None,
        jar: Any = None,
        cookie: str | None = None,
    ) -> None:
        jar = jar or self._jar()
        if cookie is None:
            cookie = jar.value.decode()
            if self._old and self.draws.random() < 0.06:
                cookie = self.draws.choice(self._old)
        event = self._begin(kind, came=Token.read(cookie) if cookie else None, user=user)
        found: list[RedisSession] = []
        event.is_late = self.draws.random() < 0.1

        def view() -> None:
            session: RedisSession = flask.session._get_current_object()  # type: ignore[attr-defined]
            found.append(session)
            if event.is_late:
                session._opened -= TOMBSTONE + 1
            body(session, event)
            event.left = time.monotonic()

        luck = self._luck()
        with self.site.client.lucky(luck):
            response = self._browser.get(
                "/",
                headers={"Cookie": f"session={cookie}"} if cookie else {},
                environ_overrides={"crowd.body": view},
            )
        event.status = response.status_code
        event.sid = found[0]._token.sid if found[0]._token is not None else None
        event.left = event.left or event.began
        for header in response.headers.getlist("Set-Cookie"):
            value = SimpleCookie(header)["session"].value
            event.cookie = Token.read(value) if value else None
            event.clears = not value
            jar.value = value.encode()
            if value:
                event.permanent = event.permanent or value.endswith(".p")
                self._old.append(value)
        self._end(event, luck)

    def _call(self, kind: str, user: str, call: Callable[[Event], Any], **what: Any) -> Event:
        event = self._begin(kind, user=user, **what)
        luck = self._luck()
        with self.site.client.lucky(luck):
            try:
                # As from another place, also if it happens in the middle of a request.
                event.result = Context().run(call, event)
            except StoreUnavailable:
                event.status = 503
        self._end(event, luck)
        event.called = event.began, event.ended
        return event

    def _luck(self) -> Luck:
        chance = self.draws.random()
        fault: Fault | None = "resent" if chance < 0.06 else "given up" if chance < 0.08 else None
        return Luck.of(self.draws, fault)

    def _begin(self, kind: str, **what: Any) -> Event:
        event = Event(self._first + len(self.events), kind, time.monotonic(), **what)
        self.events.append(event)
        self.site.here.events.append(event)
        return event

    def _end(self, event: Event, luck: Luck | None = None) -> None:
        event.ended = time.monotonic()
        if luck is not None and luck.struck:
            event.fault = "given up" if event.status == 503 else "resent"
        self.site.here.events.pop()
        self.site.pace.tick()


def look(session: RedisSession, event: Event) -> None:
    """Note all that a session holds."""
    began = time.monotonic()
    saw = {key: list(value) if key == "cart" else value for key, value in session.items()}
    event.live = not session.new
    event.looked = (began, time.monotonic())
    event.saw = saw
