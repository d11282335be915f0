"""What users and administrators do with sessions: each operation, and what it may change."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import timedelta
from http.cookies import SimpleCookie
from typing import TYPE_CHECKING, Any

import flask
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from flask_redis_session import (
    RedisSession,
    RedisSessionInterface,
    StoreUnavailable,
)
from flask_redis_session.application import ApplicationBackend
from flask_redis_session.signals import save_refused
from flask_redis_session.storage.record import TOMBSTONE
from tests.concurrency.interleaving import GatedRedis
from tests.concurrency.situations import _THINGS, PREFIX, Snapshot, Token, sid_of, token_of
from tests.support import clients
from tests.support.servers import Server

if TYPE_CHECKING:
    from tests.concurrency.stage import World


@dataclass
class Answer:
    """What a request was answered."""

    actor: int
    operation: Operation
    #: The cookie that it came with.
    came_with: Token | None
    #: How many steps had been taken when it began and when it was answered.
    began: int
    ended: int
    status: int
    #: The cookie that it sets.
    cookie: Token | None
    clears: bool
    #: Why its changes were not saved, if they were not.
    refused: str | None
    #: The session as it was after the request.
    sid: str | None
    #: What it set.
    wrote: Mapping[str, Any]
    #: Whose the session was when it was loaded, if it was.
    found: str | None = None


@dataclass
class Call:
    """A revocation or a list: when it was called, when it returned, and what."""

    actor: int
    began: int
    ended: int
    user: str
    result: Any
    before: float | None = None
    only: frozenset[str] | None = None
    keep: frozenset[str] = frozenset()


def _nothing(snapshot: Snapshot, sid: str) -> bool:
    return False


@dataclass(frozen=True)
class Operation:
    """Something that is done, and what it may change.

    :param name: what it is called in a report.
    :param act: does it.
    :param session: the session that it comes with a cookie of.
    :param keys: the session keys that it may set or delete in that session.
    :param rotates: whether it may rotate that session's secret.
    :param creates: whether it may create a session.
    :param signs_in: the user whose session it may make that session, or create one of.
    :param confirms: whether it may move when that session's user was confirmed.
    :param assigns: whether it may assign that session's lifetime.
    :param clears: whether it may put that session's lifetime back to the settings'.
    :param turns: whether it may make that session a permanent one.
    :param signs_out: whether it may make that session nobody's.
    :param passes_to: whose that session may become besides; ``None``: nobody's. It need not.
    :param ends: tells whether it may end a session.
    :param buries: whether tombstones stay if it ends the session that it comes with a cookie of.
    :param tab: which of that session's cookies it comes with; see :func:`~situations.token_of`.
    :param is_late: whether its request runs for longer than a tombstone lives.
    :param removes: tells whether it may remove the tombstones of a session.
    :param evicts: the user whose index it removes.
    :param touches: whether it may move when that session was last seen.
    :param settings: of the application that it is a request to.
    """

    name: str
    act: Callable[[Worker], object] = field(repr=False)
    session: str | None = "A"
    keys: frozenset[str] = frozenset()
    rotates: bool = False
    creates: bool = False
    signs_in: str | None = None
    confirms: bool = False
    assigns: bool = False
    clears: bool = False
    turns: bool = False
    signs_out: bool = False
    passes_to: frozenset[str | None] = frozenset()
    ends: Callable[[Snapshot, str], bool] = _nothing
    buries: bool = False
    tab: str = ""
    is_late: bool = False
    removes: Callable[[Snapshot, str], bool] = _nothing
    evicts: str | None = None
    touches: bool = True
    settings: tuple[tuple[str, Any], ...] = ()

    @property
    def cookie(self) -> Token | None:
        """The cookie that it comes with."""
        return None if self.session is None else token_of(self.session, self.tab)

    def __str__(self) -> str:
        return self.name


class Worker:
    """A worker process, as far as one operation needs one: an application and its client."""

    def __init__(
        self, server: Server, slot: int, settings: Mapping[str, Any], retries: int
    ) -> None:
        self.slot = slot
        self.client = GatedRedis(
            unix_socket_path=str(server.socket_path),
            socket_timeout=10,
            retry=Retry(NoBackoff(), retries),
            **clients.chosen().options,
        )
        self.app = flask.Flask(__name__)
        self.app.config |= {"TESTING": True, **settings}
        self.interface = RedisSessionInterface(redis=self.client)
        self.interface.init_app(self.app)
        self.app.add_url_rule("/", view_func=self._view)
        self._browser = self.app.test_client(use_cookies=False)
        self._refused: str | None = None
        self._found: str | None = None
        save_refused.connect(self._on_refused, sender=self.app)

    def begin(self, world: World, operation: Operation) -> None:
        """Become a worker that was started just now."""
        self.world = world
        self.operation = operation
        _, sessions = self.app.extensions["flask_redis_session"]
        fresh = ApplicationBackend(sessions.settings, self.app)
        self.app.extensions["flask_redis_session"] = (self.interface, fresh)
        self.interface._latest = fresh

    def _on_refused(self, sender: object, **about: Any) -> None:
        self._refused = about["reason"]

    def _view(self) -> str:
        session = flask.session._get_current_object()  # type: ignore[attr-defined]
        self._session: RedisSession = session
        if self.operation.is_late:
            session._opened -= TOMBSTONE + 1
        self._body(session)
        self._found = None if session._record is None else session._record.user
        return ""

    def request(
        self,
        body: Callable[[RedisSession], object],
        *,
        cookie: str | None = None,
        wrote: Mapping[str, Any] | None = None,
    ) -> Answer:
        """Send a request with a cookie.

        :param body: the view.
        :param cookie: the cookie; without it, that of the operation's session.
        :param wrote: what the view sets, for the check that it was written.
        """
        world, own = self.world, self.operation.cookie
        if cookie is None and own is not None:
            cookie = own.cookie
        self._body = body
        self._refused = self._found = None
        began = world.at
        headers = {"Cookie": f"session={cookie}"} if cookie is not None else {}
        response = self._browser.get("/", headers=headers)
        token = self._session._token
        answer = Answer(
            actor=self.slot,
            operation=self.operation,
            came_with=Token.read(cookie) if cookie is not None else None,
            began=began,
            ended=world.at,
            status=response.status_code,
            cookie=None,
            clears=False,
            refused=self._refused,
            sid=token.sid if token is not None else None,
            wrote={} if wrote is None else wrote,
            found=self._found,
        )
        for header in response.headers.getlist("Set-Cookie"):
            value = SimpleCookie(header)["session"].value
            answer.cookie = Token.read(value) if value else None
            answer.clears = not value
        world.answers.append(answer)
        return answer

    def call(self, do: Callable[[], Any], user: object, **what: Any) -> Any:
        """Call a revocation or a list, and note what it returned."""
        began = self.world.at
        try:
            result = do()
        except StoreUnavailable as failure:
            # Outside of a request: loudly, and that is all.
            if flask.has_request_context() or not self.world.stage.options.faults:
                raise
            result = failure
        call = Call(self.slot, began, self.world.at, str(user), result, **what)
        self.world.calls.append(call)
        return result


def _touch_only(body: Callable[[RedisSession], object]) -> Callable[[Worker], object]:
    return lambda worker: worker.request(body)


def key_of(worker: Worker) -> str:
    """Return the session key that only the operation in this slot writes."""
    return f"key{worker.slot}"


#: Every key that :func:`key_of` may return.
_KEYS = frozenset(f"key{slot}" for slot in range(4))


def _save(worker: Worker) -> None:
    key = key_of(worker)

    def view(session: RedisSession) -> None:
        session.get("theme")
        session[key] = worker.slot

    worker.request(view, wrote={key: worker.slot})


def _save_blind(worker: Worker) -> None:
    key = key_of(worker)
    worker.request(lambda s: s.__setitem__(key, worker.slot), wrote={key: worker.slot})


def _overwrite(worker: Worker) -> None:
    value = f"by {worker.slot}"
    worker.request(lambda s: s.__setitem__("theme", value), wrote={"theme": value})


def _nest(worker: Worker) -> None:
    wrote: dict[str, Any] = {}

    def view(session: RedisSession) -> None:
        # In a session that was rotated away or ended there is no cart.
        if "cart" in session:
            session["cart"].append(worker.slot)
            wrote["cart"] = list(session["cart"])

    worker.request(view, wrote=wrote)


def _delete(worker: Worker) -> None:
    worker.request(lambda s: s.pop("theme", None))


def _sign_in(user: int, *, clears: bool) -> Callable[[Worker], None]:
    def act(worker: Worker) -> None:
        key = key_of(worker)

        def view(session: RedisSession) -> None:
            if clears:
                session.clear()
            session["user_id"] = user
            session[key] = worker.slot

        worker.request(view, wrote={"user_id": user, key: worker.slot})

    return act


def signs_in(
    user: int,
    name: str,
    *,
    session: str | None = "A",
    clears: bool = False,
    most: int | None = None,
) -> Operation:
    """Return a sign-in.

    :param user: the user.
    :param name: what it is called.
    :param session: the session that the browser has.
    :param clears: whether the view clears the session first.
    :param most: ``SESSION_MAX_PER_USER``.
    """
    settings = {} if most is None else {"SESSION_MAX_PER_USER": most}
    return Operation(
        name,
        _sign_in(user, clears=clears),
        session,
        keys=_KEYS | {"user_id", *(_THINGS if clears else ())},
        rotates=True,
        creates=True,
        signs_in=str(user),
        clears=True,
        ends=_nothing if most is None else of_user(str(user)),
        settings=tuple(settings.items()),
    )


def _is(name: str) -> Callable[[Snapshot, str], bool]:
    return lambda snapshot, sid: sid == sid_of(name)


def of_user(user: str) -> Callable[[Snapshot, str], bool]:
    """Return a function that tells whether a session is a user's to end."""

    def tells(snapshot: Snapshot, sid: str) -> bool:
        owner = snapshot.user(sid)
        # One that is on its way into the index, as part of a sign-in, counts as the user's.
        return owner == user or (owner is None and sid in snapshot.indexes.get(user, ()))

    return tells


def _revoke(user: int = 23, **what: Any) -> Callable[[Worker], None]:
    def act(worker: Worker) -> None:
        asked = dict(what)
        noted: dict[str, Any] = {}
        if "before" in asked:
            asked["before"] = noted["before"] = time.time() - asked["before"]
        for name in ("only", "keep"):
            if name in asked:
                asked[name] = [sid_of(each) for each in asked[name]]
                noted[name] = frozenset(asked[name])
        worker.call(lambda: worker.interface.revoke_sessions(user, **asked), user, **noted)

    return act


def _revoke_inside(*, keep: bool = False) -> Callable[[Worker], None]:
    def act(worker: Worker) -> None:
        def view(session: RedisSession) -> None:
            user = session.get("user_id")
            if user is None:
                return
            kept = frozenset({session.sid}) if keep and session.sid else frozenset[str]()
            worker.call(lambda: session.clear_user_sessions(keep_current=keep), user, keep=kept)

        worker.request(view)

    return act


def _list(worker: Worker) -> None:
    worker.call(lambda: worker.interface.list_sessions(23), 23)


def _list_inside(worker: Worker) -> None:
    def view(session: RedisSession) -> None:
        if session.get("user_id") is not None:
            worker.call(session.user_sessions, session["user_id"])

    worker.request(view)


def _expire(worker: Worker) -> None:
    with suppress(redis.RedisError):
        worker.client.execute_command("DEL", f"{PREFIX}{sid_of('A')}")


def _expire_new(worker: Worker) -> None:
    with suppress(redis.RedisError):
        worker.client.execute_command("DEL", f"{PREFIX}{sid_of('new-0-1')}")


def _evict(worker: Worker) -> None:
    with suppress(redis.RedisError):
        worker.client.execute_command("DEL", f"{PREFIX}user:23")


_FORGET = """
local names = redis.call('HKEYS', KEYS[1])
for _, name in ipairs(names) do
  if string.sub(name, 1, 8) == '@secret:' and tonumber(redis.call('HGET', KEYS[1], name)) then
    redis.call('HDEL', KEYS[1], name)
  end
end
"""


def _forget(worker: Worker) -> None:
    with suppress(redis.RedisError):
        worker.client.execute_command("EVAL", _FORGET, 1, f"{PREFIX}{sid_of('A')}")


def _restore(worker: Worker) -> None:
    def view(session: RedisSession) -> None:
        old = dict(session)
        session.clear()
        session.update(old)

    worker.request(view)


def _lose_scripts(worker: Worker) -> None:
    with suppress(redis.RedisError):
        worker.client.execute_command("SCRIPT", "FLUSH")


def _stay(worker: Worker) -> None:
    # The cookie of a permanent session, with a request that never touches it.
    cookie = worker.operation.cookie
    assert cookie is not None
    worker.request(lambda s: None, cookie=f"{cookie.cookie}.p")


def _become_permanent(worker: Worker) -> None:
    worker.request(lambda s: setattr(s, "permanent", True))


def _assign(worker: Worker) -> None:
    worker.request(lambda s: setattr(s, "lifetime", timedelta(days=30)))


SAVE = Operation("save", _save, keys=_KEYS, creates=True)
BLIND = Operation("blind save", _save_blind, keys=_KEYS, creates=True)
OVERWRITE = Operation("overwrite", _overwrite, keys=frozenset({"theme"}), creates=True)
NEST = Operation("nested change", _nest, keys=frozenset({"cart"}))
DELETE = Operation("delete a key", _delete, keys=frozenset({"theme"}))
READ = Operation("read", lambda worker: worker.request(lambda s: s.get("theme")))
STAY = Operation("touch unread", _stay)
PERMANENT = Operation("become permanent", _become_permanent, turns=True)
ASSIGN = Operation("assign a lifetime", _assign, assigns=True)
UNASSIGN = Operation(
    "assign no lifetime",
    lambda worker: worker.request(lambda s: setattr(s, "lifetime", None)),
    clears=True,
)
REGENERATE = Operation(
    "regenerate", lambda worker: worker.request(lambda s: s.regenerate()), rotates=True
)
REGENERATE_LOADED = Operation(
    "regenerate loaded",
    lambda worker: worker.request(lambda s: (s.get("theme"), s.regenerate())),
    rotates=True,
)
CONFIRM = Operation(
    "confirm",
    lambda worker: worker.request(lambda s: s.confirm() if s.get("user_id") is not None else None),
    rotates=True,
    confirms=True,
)
SIGN_IN = signs_in(23, "sign in")
SIGN_IN_CLEARED = signs_in(23, "clear and sign in", clears=True)
SIGN_IN_OTHER = signs_in(42, "sign in as another")
SIGN_IN_OTHER_CLEARED = signs_in(42, "clear and sign in as another", clears=True)
SIGN_IN_NEW = signs_in(23, "sign in without a cookie", session=None)
SIGN_IN_FEW = signs_in(23, "sign in where two are allowed", session=None, most=2)
SIGN_IN_ONE = signs_in(23, "sign in where one is allowed", session=None, most=1)
SIGN_OUT = Operation(
    "sign out",
    lambda worker: worker.request(lambda s: s.pop("user_id", None)),
    keys=frozenset({"user_id"}),
    rotates=True,
    signs_out=True,
    ends=_is("A"),
)
CLEAR = Operation(
    "clear",
    lambda worker: worker.request(lambda s: s.clear()),
    keys=_KEYS | {"user_id", *_THINGS},
    signs_out=True,
    ends=_is("A"),
    buries=True,
)
#: It signs in whom it found, and nobody if it found nobody.
RESTORE = Operation(
    "clear and restore",
    _restore,
    keys=_KEYS | {"user_id", *_THINGS},
    rotates=True,
    creates=True,
    clears=True,
    passes_to=frozenset({"23", "42"}),
)
REVOKE_ONE = Operation(
    "revoke one", _revoke(only=["A"]), None, ends=lambda at, sid: sid == sid_of("A")
)
REVOKE_BEFORE = Operation("revoke those before", _revoke(before=60.0), None, ends=of_user("23"))
REVOKE_ALL = Operation("revoke all", _revoke(), None, ends=of_user("23"))
REVOKE_OTHERS = Operation("revoke all but A", _revoke(keep=["A"]), None, ends=of_user("23"))
END_ALL = Operation("end all from within", _revoke_inside(), ends=of_user("23"), buries=True)
END_OTHERS = Operation("end the others", _revoke_inside(keep=True), ends=of_user("23"))
END_ALL_FROM_B = Operation("end all from B", _revoke_inside(), "B", ends=of_user("23"), buries=True)
LIST = Operation("list", _list, None)
LIST_INSIDE = Operation("list from within", _list_inside)
EXPIRE = Operation("expiry", _expire, None, ends=_is("A"), removes=_is("A"))
EXPIRE_NEW = Operation("expiry of a new one", _expire_new, None, ends=_is("new-0-1"))
EVICT = Operation("eviction of the index", _evict, None, evicts="23")
#: It goes only with operations that are late: for any other request no tombstone ends.
FORGET = Operation("end of the tombstones", _forget, None, removes=_is("A"))
LOSE_SCRIPTS = Operation("loss of the scripts", _lose_scripts, None)


def late(operation: Operation) -> Operation:
    """Return an operation whose request runs for longer than a tombstone lives."""
    return replace(operation, name=f"{operation.name}, late", is_late=True)


def other_tab(operation: Operation) -> Operation:
    """Return an operation that comes with the other cookie of its session."""
    return replace(operation, name=f"{operation.name} by the other cookie", tab="2")


LATE = tuple(map(late, (SAVE, BLIND, READ, STAY, RESTORE, REGENERATE, CLEAR)))
#: It comes without a cookie.
LATE_NEW = (late(replace(BLIND, session=None)), late(SIGN_IN_NEW))
LATE_SIGN_INS = (late(SIGN_IN_OTHER), late(SIGN_IN_OTHER_CLEARED))

#: What is done with the session of a user.
ON_SIGNED_IN = (
    SAVE,
    BLIND,
    OVERWRITE,
    NEST,
    DELETE,
    READ,
    STAY,
    PERMANENT,
    ASSIGN,
    REGENERATE,
    REGENERATE_LOADED,
    CONFIRM,
    SIGN_IN_CLEARED,
    SIGN_IN_OTHER,
    SIGN_IN_NEW,
    SIGN_OUT,
    CLEAR,
    RESTORE,
    REVOKE_ONE,
    REVOKE_BEFORE,
    REVOKE_ALL,
    REVOKE_OTHERS,
    END_ALL,
    END_OTHERS,
    END_ALL_FROM_B,
    LIST,
    LIST_INSIDE,
    EXPIRE,
    EVICT,
    LOSE_SCRIPTS,
)
#: What is done with a session that is nobody's.
ON_ANONYMOUS = (
    SAVE,
    BLIND,
    OVERWRITE,
    NEST,
    READ,
    STAY,
    ASSIGN,
    REGENERATE,
    REGENERATE_LOADED,
    SIGN_IN,
    SIGN_IN_CLEARED,
    SIGN_IN_OTHER,
    SIGN_IN_OTHER_CLEARED,
    SIGN_IN_NEW,
    CLEAR,
    RESTORE,
    REVOKE_ALL,
    REVOKE_ONE,
    LIST,
    EXPIRE,
    EVICT,
    LOSE_SCRIPTS,
)
