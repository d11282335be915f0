"""What users and administrators do with sessions, and what must hold whatever happens at once.

A :class:`Stage` explores some operations in every order (see ``interleaving.py``) from one
:class:`Situation`. After each command the whole of Redis is looked at, and each of these is
checked; a :class:`~interleaving.Violation` tells the order in which one did not hold:

* no session that ended is there again, and no secret that was rotated away opens one again;
* a session has one secret that opens it;
* a session that somebody has a cookie of is in the index of its user, and that index lives on at
  least as long as the session;
* no key is without expiry;
* an operation changes nothing but what it is there to change: what another one wrote stays;
* a request that was answered with 200, and whose save was not refused, has written what it set;
* a cookie that an answer sets opened its session when it was set, and only what ends or rotates
  that session can have closed it since; only an ended session's cookie is cleared; and a request
  with a cookie that was rotated away neither sets nor clears one, unless it signs in;
* a revocation ends every session that it was to end, no other, and returns how many it ended; a
  list holds those that were alive all the while, and none that was not.

At the end every cookie that was ever handed out is tried out in a real request.
"""

from __future__ import annotations

import time
from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from hashlib import sha256
from http.cookies import SimpleCookie
from typing import Any

import flask
import orjson
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from flask_redis_session import (
    RedisSession,
    RedisSessionInterface,
    SessionInfo,
    StoreUnavailable,
)
from flask_redis_session.application import ApplicationBackend
from flask_redis_session.signals import save_refused
from flask_redis_session.storage import revocation as revocation_module
from flask_redis_session.storage import session_hash as store_module
from flask_redis_session.storage import token as token_module
from flask_redis_session.storage import user_index as index_module
from flask_redis_session.storage.record import mark
from tests.concurrency.interleaving import (
    READS,
    Explored,
    GatedRedis,
    Options,
    Run,
    Step,
    Violation,
    current,
    explore,
)
from tests.support import clients
from tests.support.servers import Server

PREFIX = "session:"
DAY = 86_400.0
#: ``SESSION_TOUCH_INTERVAL``, by which an index may outlive its sessions' last touch.
INTERVAL = 60.0


# --------------------------------------------------------------------------- cookies


@dataclass(frozen=True)
class Token:
    """A cookie: which session it is for, and the secret that opens it."""

    sid: str
    secret: str

    @property
    def cookie(self) -> str:
        return f"{self.sid}.{self.secret}"

    @property
    def digest(self) -> str:
        """What Redis holds of the secret."""
        return urlsafe_b64encode(sha256(self.secret.encode()).digest()).rstrip(b"=").decode()

    @classmethod
    def read(cls, cookie: str) -> Token:
        sid, secret = cookie.split(".")[:2]
        return cls(sid, secret)


def sid_of(name: str) -> str:
    """Return the sid of the session of this name: the name, as long as a sid is."""
    return name.ljust(22, "_")


def token_of(name: str) -> Token:
    """Return the cookie that opens the session of this name at the beginning."""
    return Token(sid_of(name), f"secret-{name}".ljust(43, "_"))


@contextmanager
def repeatable_tokens() -> Iterator[None]:
    """Draw the same tokens in every run: an order can be repeated and read."""
    drawn: dict[object, int] = {}

    def draw(size: int) -> str:
        actor = current()
        if actor is None:
            return original(size)
        key = (actor.run, actor.number)
        if drawn and next(iter(drawn))[0] is not actor.run:  # type: ignore[index]
            drawn.clear()
        drawn[key] = drawn.get(key, 0) + 1
        return f"new-{actor.number}-{drawn[key]}".ljust((size * 8 + 5) // 6, "_")

    module: Any = token_module
    original: Callable[[int], str] = module.token_urlsafe
    module.token_urlsafe = draw
    try:
        yield
    finally:
        module.token_urlsafe = original


# --------------------------------------------------------------------------- what Redis holds

_DUMP = """
local found = {}
for _, key in ipairs(redis.call('KEYS', ARGV[1])) do
  local kind, held = redis.call('TYPE', key).ok, {}
  if kind == 'hash' then
    held = redis.call('HGETALL', key)
  elseif kind == 'zset' then
    held = redis.call('ZRANGE', key, 0, -1, 'WITHSCORES')
  end
  found[#found + 1] = {key, kind, redis.call('PTTL', key), held}
end
return found
"""


class Snapshot:
    """All that Redis holds under the prefix at one moment."""

    def __init__(self, reply: Sequence[Any]) -> None:
        #: The fields of each session, by sid.
        self.hashes: dict[str, dict[str, str]] = {}
        #: The members of each user's index with their scores, by user.
        self.indexes: dict[str, dict[str, float]] = {}
        #: The milliseconds that each has left, by sid or by ``user:`` and the user.
        self.left: dict[str, int] = {}
        self.strange: list[str] = []
        for raw, kind, left, held in reply:
            name = raw.decode().removeprefix(PREFIX)
            self.left[name] = left
            pairs = zip(held[::2], held[1::2], strict=True)
            if kind == b"hash":
                self.hashes[name] = {key.decode(): value.decode() for key, value in pairs}
            elif kind == b"zset" and name.startswith("user:"):
                members = {member.decode(): float(score) for member, score in pairs}
                self.indexes[name.removeprefix("user:")] = members
            else:
                self.strange.append(name)

    @classmethod
    def take(cls, client: redis.Redis, prefix: str = PREFIX) -> Snapshot:
        """Look at what Redis holds now."""
        reply: Any = client.execute_command("EVAL", _DUMP, 0, f"{prefix}*")
        return cls(reply)

    def user(self, sid: str) -> str | None:
        """Return whose session it is."""
        return self.hashes.get(sid, {}).get("@user")

    def secrets(self, sid: str) -> list[str]:
        """Return the digests of the secrets that open a session."""
        fields = self.hashes.get(sid, {})
        if "@born" not in fields:
            return []
        return [
            name.removeprefix("@secret:")
            for name, value in fields.items()
            if name.startswith("@secret:") and value.startswith("s")
        ]

    def opens(self, token: Token) -> bool:
        """Tell whether a cookie opens its session."""
        return token.digest in self.secrets(token.sid)

    def of_user(self, user: str) -> set[str]:
        """Return a user's sessions, by the hashes."""
        return {sid for sid, fields in self.hashes.items() if fields.get("@user") == user}


# --------------------------------------------------------------------------- where it begins


@dataclass(frozen=True)
class Held:
    """A session that is there at the beginning.

    :param name: its name in this file; see :func:`token_of`.
    :param user: whose it is.
    :param keys: what it holds besides.
    :param seen: how many seconds ago it was seen last.
    """

    name: str
    user: str | None = None
    keys: Mapping[str, Any] = field(default_factory=dict)
    #: More than the touch interval ago: so each request touches it, in the index too.
    seen: float = 90.0

    def commands(self, now: float) -> list[tuple[Any, ...]]:
        """Return the commands that put it there."""
        seen = now - self.seen
        # 1,000 s: neither now nor before does a minute since then end within the next second.
        fields: dict[str, Any] = {
            "@born": f"{now - 1000:.3f}",
            "@seen": f"{seen:.3f}",
            "@idle": f"{DAY:.0f}",
            f"@secret:{token_of(self.name).digest}": mark(token_of(self.name).digest),
        }
        if self.user is not None:
            fields |= {"@user": self.user, "user_id": orjson.dumps(int(self.user))}
        fields |= {key: orjson.dumps(value) for key, value in self.keys.items()}
        key = f"{PREFIX}{sid_of(self.name)}"
        commands: list[tuple[Any, ...]] = [
            ("HSET", key, *(part for item in fields.items() for part in item)),
            ("PEXPIREAT", key, int((seen + DAY) * 1000)),
        ]
        if self.user is not None:
            index = f"{PREFIX}user:{self.user}"
            commands += [
                ("ZADD", index, f"{seen:.3f}", sid_of(self.name)),
                ("PEXPIREAT", index, int((now + DAY + INTERVAL) * 1000)),
            ]
        return commands


@dataclass(frozen=True)
class Situation:
    """What is there at the beginning."""

    name: str
    sessions: tuple[Held, ...]

    def __str__(self) -> str:
        return self.name

    def commands(self) -> list[tuple[Any, ...]]:
        now = time.time()
        return [command for held in self.sessions for command in held.commands(now)]


_THINGS = {"theme": "dark", "cart": [1]}
#: Another device of user 23, and another user.
_OTHERS = (Held("B", "23", seen=20.0), Held("D", "42", seen=20.0))

#: Session A is user 23's.
SIGNED_IN = Situation("signed in", (Held("A", "23", _THINGS), *_OTHERS))
#: Session A is nobody's yet.
ANONYMOUS = Situation("anonymous", (Held("A", None, _THINGS), *_OTHERS))
#: The same, but A was touched just now.
FRESH = Situation("just seen", (Held("A", "23", _THINGS, seen=1.0), *_OTHERS))
#: Session A is user 23's only one, and holds nothing else.
ALONE = Situation("alone", (Held("A", "23"),))
#: User 23 has none.
NOBODY = Situation("nobody", (Held("D", "42", seen=20.0),))


# --------------------------------------------------------------------------- operations


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
    :param signs_out: whether it may make that session nobody's.
    :param ends: tells whether it may end a session.
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
    signs_out: bool = False
    ends: Callable[[Snapshot, str], bool] = _nothing
    touches: bool = True
    settings: tuple[tuple[str, Any], ...] = ()

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
        self._body(session)
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
        world, name = self.world, self.operation.session
        if cookie is None and name is not None:
            cookie = token_of(name).cookie
        self._body = body
        self._refused = None
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
    with suppress(redis.ConnectionError):
        worker.client.execute_command("DEL", f"{PREFIX}{sid_of('A')}")


def _lose_scripts(worker: Worker) -> None:
    with suppress(redis.ConnectionError):
        worker.client.execute_command("SCRIPT", "FLUSH")


def _stay(worker: Worker) -> None:
    # The cookie of a permanent session, with a request that never touches it.
    worker.request(lambda s: None, cookie=f"{token_of('A').cookie}.p")


def _become_permanent(worker: Worker) -> None:
    worker.request(lambda s: setattr(s, "permanent", True))


SAVE = Operation("save", _save, keys=_KEYS, creates=True)
BLIND = Operation("blind save", _save_blind, keys=_KEYS, creates=True)
OVERWRITE = Operation("overwrite", _overwrite, keys=frozenset({"theme"}), creates=True)
NEST = Operation("nested change", _nest, keys=frozenset({"cart"}))
DELETE = Operation("delete a key", _delete, keys=frozenset({"theme"}))
READ = Operation("read", lambda worker: worker.request(lambda s: s.get("theme")))
STAY = Operation("touch unread", _stay)
PERMANENT = Operation("become permanent", _become_permanent)
REGENERATE = Operation(
    "regenerate", lambda worker: worker.request(lambda s: s.regenerate()), rotates=True
)
REGENERATE_LOADED = Operation(
    "regenerate loaded",
    lambda worker: worker.request(lambda s: (s.get("theme"), s.regenerate())),
    rotates=True,
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
    rotates=True,
    signs_out=True,
    ends=_is("A"),
)
REVOKE_ONE = Operation(
    "revoke one", _revoke(only=["A"]), None, ends=lambda at, sid: sid == sid_of("A")
)
REVOKE_BEFORE = Operation("revoke those before", _revoke(before=60.0), None, ends=of_user("23"))
REVOKE_ALL = Operation("revoke all", _revoke(), None, ends=of_user("23"))
REVOKE_OTHERS = Operation("revoke all but A", _revoke(keep=["A"]), None, ends=of_user("23"))
END_ALL = Operation("end all from within", _revoke_inside(), ends=of_user("23"))
END_OTHERS = Operation("end the others", _revoke_inside(keep=True), ends=of_user("23"))
END_ALL_FROM_B = Operation("end all from B", _revoke_inside(), "B", ends=of_user("23"))
LIST = Operation("list", _list, None)
LIST_INSIDE = Operation("list from within", _list_inside)
EXPIRE = Operation("expiry", _expire, None, ends=_is("A"))
LOSE_SCRIPTS = Operation("loss of the scripts", _lose_scripts, None)

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
    REGENERATE,
    REGENERATE_LOADED,
    SIGN_IN_CLEARED,
    SIGN_IN_OTHER,
    SIGN_IN_NEW,
    SIGN_OUT,
    CLEAR,
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
    REGENERATE,
    REGENERATE_LOADED,
    SIGN_IN,
    SIGN_IN_CLEARED,
    SIGN_IN_OTHER,
    SIGN_IN_OTHER_CLEARED,
    SIGN_IN_NEW,
    CLEAR,
    REVOKE_ALL,
    REVOKE_ONE,
    LIST,
    EXPIRE,
    LOSE_SCRIPTS,
)


# --------------------------------------------------------------------------- one run, looked at


class World:
    """One run: what Redis held after each step, what was answered, and what must hold."""

    def __init__(self, stage: Stage, situation: Situation, operations: Sequence[Operation]) -> None:
        self.stage = stage
        self.operations = operations
        self.answers: list[Answer] = []
        self.calls: list[Call] = []
        self._checked = 0
        self.run: Run
        self.history = [Snapshot.take(stage.plain)]
        #: The cookies that somebody has, and the step after which it was so, by sid for each.
        self.tokens = {token_of(held.name): 0 for held in situation.sessions}
        self.handed = {token.sid: 0 for token in self.tokens}
        self._created: dict[str, int] = {}
        self._ended: set[str] = set()
        self._opened: set[tuple[str, str]] = set()
        self._closed: set[tuple[str, str]] = set()
        self._ended_by: list[tuple[int, int, str]] = []

    @property
    def at(self) -> int:
        """How many steps were begun."""
        return len(self.run.steps)

    @property
    def now(self) -> Snapshot:
        """What Redis holds after the last step."""
        return self.history[-1]

    def _origin(self, actor: int) -> int:
        return self.run.actors[actor].origin

    # ------------------------------------------------------------------- after each step

    def observe(self, step: Step) -> None:
        """Look at what a step changed."""
        before = now = self.now
        if step.command[0].upper() not in READS:
            now = Snapshot.take(self.stage.plain)
        self.history.append(now)
        actor = self._origin(step.actor)
        self._check_frame(self.operations[actor], actor, before, now)
        self._check_ends(now)
        for answer in self.answers[self._checked :]:
            self._check_answer(answer)
        self._checked = len(self.answers)
        self._check_keys(now)

    def _check_keys(self, now: Snapshot) -> None:
        _hold(not now.strange, f"these are no keys of ours: {now.strange}")
        for name, left in now.left.items():
            _hold(left > 0, f"{name} has no expiry")
        for sid, fields in now.hashes.items():
            _hold("@born" in fields, f"{sid} is a piece of a session: {fields}")
            _hold(len(now.secrets(sid)) == 1, f"{sid} is opened by {len(now.secrets(sid))} secrets")
            user = fields.get("@user")
            if user is not None and sid in self.handed:
                self._check_indexed(now, sid, user)

    def _check_indexed(self, now: Snapshot, sid: str, user: str) -> None:
        _hold(sid in now.indexes.get(user, {}), f"{sid} of user {user} is outside the index")
        left, session_left = now.left[f"user:{user}"], now.left[sid]
        _hold(
            left >= session_left,
            f"the index of user {user} ends {session_left - left} ms before {sid}",
        )

    def _check_frame(
        self, operation: Operation, actor: int, before: Snapshot, now: Snapshot
    ) -> None:
        """Check that a step changed nothing but what its operation may change."""
        name = operation.name
        own = {sid_of(operation.session)} if operation.session is not None else set[str]()
        for sid in now.hashes.keys() - before.hashes.keys():
            _hold(operation.creates, f"{name} created {sid}")
            self._created[sid] = actor
        own |= {sid for sid, creator in self._created.items() if creator == actor}
        for sid in before.hashes.keys() - now.hashes.keys():
            _hold(operation.ends(before, sid), f"{name} ended {sid}: {before.hashes[sid]}")
            self._ended_by.append((len(self.history) - 1, actor, sid))
        for sid in now.hashes.keys() & before.hashes.keys():
            if now.hashes[sid] != before.hashes[sid]:
                _hold(sid in own, f"{name} changed {sid}, which is not its own")
                if operation.session is not None and sid == sid_of(operation.session):
                    cookie = (sid, token_of(operation.session).digest)
                    _hold(cookie not in self._closed, f"{name} changed {sid} by a dead cookie")
                self._check_fields(operation, sid, before.hashes[sid], now.hashes[sid])
        self._check_members(operation, own, before, now)

    def _check_fields(
        self, operation: Operation, sid: str, before: dict[str, str], now: dict[str, str]
    ) -> None:
        changed = {key for key in before.keys() | now.keys() if before.get(key) != now.get(key)}
        for key in changed:
            may = key in operation.keys
            if key.startswith("@secret:"):
                may = operation.rotates
            elif key == "@user":
                user = now.get("@user")
                may = operation.signs_out if user is None else operation.signs_in == user
            elif key in ("@agent", "@ip"):
                may = operation.signs_out or operation.signs_in is not None
            elif key in ("@seen", "@idle"):
                may = operation.touches
            told = f"{before.get(key)} to {now.get(key)}"
            _hold(may, f"{operation.name} changed {key} of {sid} from {told}")

    def _check_members(
        self, operation: Operation, own: set[str], before: Snapshot, now: Snapshot
    ) -> None:
        for user in before.indexes.keys() | now.indexes.keys():
            was, is_now = before.indexes.get(user, {}), now.indexes.get(user, {})
            for sid in is_now.keys() - was.keys():
                _hold(
                    sid in own and operation.signs_in == user,
                    f"{operation.name} put {sid} into the index of user {user}",
                )
            for sid in was.keys() - is_now.keys():
                # Between the two commands of a creation, nobody has its cookie yet.
                _hold(
                    now.user(sid) != user or sid not in self.handed,
                    f"{operation.name} took {sid}, which is alive, out of the index of {user}",
                )
            for sid in was.keys() & is_now.keys():
                _hold(
                    was[sid] == is_now[sid] or (sid in own and was[sid] < is_now[sid]),
                    f"{operation.name} moved {sid} in the index of user {user}",
                )

    def _check_ends(self, now: Snapshot) -> None:
        """Check that what ended stays so."""
        alive = now.hashes.keys()
        opened = {(sid, digest) for sid in alive for digest in now.secrets(sid)}
        again = {sid for sid in self._ended & alive if self._is_final(sid)}
        _hold(not again, f"these had ended and are there again: {again}")
        reopened = {(sid, digest) for sid, digest in self._closed & opened if self._is_final(sid)}
        _hold(not reopened, f"these cookies were dead and open again: {reopened}")
        self._ended = (self._ended - alive) | (self.history[-2].hashes.keys() - alive)
        self._closed = (self._closed - opened) | (self._opened - opened)
        self._opened |= opened

    def _is_final(self, sid: str) -> bool:
        # A session that was created with a lost reply and ended before anybody had its cookie
        # is created anew by the same command: the sign-in came after the end.
        return sid in self.handed or not self.stage.options.faults

    # ------------------------------------------------------------------- answers

    def _check_answer(self, answer: Answer) -> None:
        operation, came, cookie = answer.operation, answer.came_with, answer.cookie
        name = operation.name
        now = self.history[answer.ended]
        if answer.status == 503 and self.stage.options.faults:
            _hold(
                cookie is None and not answer.clears,
                f"{name} was not served, and its cookie not left as it was",
            )
            return
        _hold(answer.status == 200, f"{name} was answered {answer.status}")
        if answer.clears:
            _hold(came is not None, f"{name} cleared a cookie that there was not")
            assert came is not None
            _hold(came.sid not in now.hashes, f"{name} cleared the cookie of a live session")
        if cookie is not None:
            self._check_cookie(answer, cookie, now)
            self.tokens.setdefault(cookie, answer.ended)
            self.handed.setdefault(cookie.sid, answer.ended)
        if answer.refused is not None:
            _hold(cookie is None, f"{name} was refused and sets a cookie")
            _hold(
                answer.clears == (answer.refused == "gone"),
                f"{name} was refused as {answer.refused}: clears the cookie: {answer.clears}",
            )
        else:
            self._check_writes(answer)
            self._check_signs(answer, now)

    def _check_cookie(self, answer: Answer, cookie: Token, now: Snapshot) -> None:
        name, came = answer.operation.name, answer.came_with
        _hold(
            any(at.opens(cookie) for at in self.history[answer.began : answer.ended + 1]),
            f"{name} handed out a cookie that never opened anything",
        )
        if came is not None and cookie.sid != came.sid and came.sid in now.hashes:
            _hold(
                answer.operation.signs_in is not None,
                f"{name} took the browser from a live session to another one",
            )

    def _check_writes(self, answer: Answer) -> None:
        during = self.history[answer.began + 1 : answer.ended + 1]
        for key, value in answer.wrote.items():
            text = orjson.dumps(value).decode()
            _hold(
                any(at.hashes.get(answer.sid or "", {}).get(key) == text for at in during),
                f"{answer.operation.name} was answered 200, and {key} was never written",
            )

    def _check_signs(self, answer: Answer, now: Snapshot) -> None:
        operation = answer.operation
        if operation.signs_in is not None:
            token = answer.cookie
            _hold(token is not None, f"{operation.name} sets no cookie")
            assert token is not None
            _hold(
                any(
                    at.opens(token) and at.user(token.sid) == operation.signs_in
                    for at in self.history[answer.began + 1 : answer.ended + 1]
                ),
                f"{operation.name}: its cookie was never that of user {operation.signs_in}",
            )
        if operation.signs_out and answer.came_with is not None:
            _hold(
                not now.opens(answer.came_with),
                f"{operation.name}: the cookie opens the session still",
            )

    # ------------------------------------------------------------------- at the end

    def finish(self) -> None:
        """Check what the run came to."""
        if not self.stage.options.faults:
            for sid, fields in self.now.hashes.items():
                if "@user" in fields:
                    self._check_indexed(self.now, sid, fields["@user"])
        for call in self.calls:
            if isinstance(call.result, StoreUnavailable):
                continue
            if isinstance(call.result, list):
                self._check_list(call)
            else:
                self._check_revocation(call)
        self._try_out()

    def _try_out(self) -> None:
        """Try out every cookie, where the like of this end was not tried out before."""
        contents = {
            sid: {key: value for key, value in fields.items() if not key.startswith("@")}
            for sid, fields in self.now.hashes.items()
        }
        tokens = {token: self.now.opens(token) for token in self.tokens}
        end = orjson.dumps([contents, [*map(repr, tokens.items())]], option=orjson.OPT_SORT_KEYS)
        if end not in self.stage.tried:
            for token, opens in tokens.items():
                self.stage.probe.check(token, contents.get(token.sid), opens)
            self.stage.tried.add(end)

    def _window(self, call: Call) -> list[Snapshot]:
        """Return what Redis held from just before the first command of a call to its end."""
        for number in range(call.began, call.ended):
            if self.run.steps[number].actor == call.actor:
                return self.history[number : call.ended + 1]
        return []

    def _check_revocation(self, call: Call) -> None:
        during = self._window(call)
        name = self.operations[call.actor].name
        ended = [
            sid
            for at, actor, sid in self._ended_by
            if actor == call.actor and call.began < at <= call.ended
        ]
        if not self.stage.options.faults:
            _hold(call.result == len(ended), f"{name} returned {call.result}, and ended {ended}")
        for sid in ended:
            _hold(sid not in call.keep, f"{name} ended {sid}, which it was to keep")
            _hold(call.only is None or sid in call.only, f"{name} ended {sid}, which it was not to")
            seen = [float(at.hashes[sid]["@seen"]) for at in during if sid in at.hashes]
            _hold(
                call.before is None or seen[-1] < call.before,
                f"{name} ended {sid}, which had been seen since",
            )
        if not during:
            return
        first = self.run.steps[len(self.history) - 1 - len(during) :]
        began = call.ended + 1 - len(during)
        assert first
        for sid in during[0].of_user(call.user):
            spared = sid in call.keep or (call.only is not None and sid not in call.only)
            if spared or self.handed.get(sid, began + 1) > began:
                continue
            if all(self._is_due(at, sid, call) for at in during):
                raise Violation(f"{name} did not end {sid}")

    @staticmethod
    def _is_due(at: Snapshot, sid: str, call: Call) -> bool:
        if at.user(sid) != call.user:
            return False
        if call.before is None:
            return True
        # A sign-in is noted in the index before it is in the hash.
        seen = float(at.hashes[sid]["@seen"]), at.indexes.get(call.user, {}).get(sid, 0.0)
        return max(seen) < call.before

    def _check_list(self, call: Call) -> None:
        during = self._window(call)
        infos: list[SessionInfo] = call.result
        listed = {info.sid for info in infos}
        _hold(len(listed) == len(infos), "a session is listed twice")
        ever = {sid for at in during for sid in at.of_user(call.user)}
        _hold(listed <= ever, f"these are listed, and were not the user's: {listed - ever}")
        always = {
            sid
            for sid in ever
            if all(sid in at.of_user(call.user) for at in during)
            and all(sid in at.indexes.get(call.user, {}) for at in during)
        }
        _hold(always <= listed, f"these are alive and not listed: {always - listed}")


def _hold(condition: bool, what: str) -> None:
    if not condition:
        raise Violation(what)


class Probe:
    """A browser that tries out cookies."""

    def __init__(self, client: redis.Redis) -> None:
        app = flask.Flask(__name__)
        app.config |= {"TESTING": True}
        RedisSessionInterface(redis=client).init_app(app)
        app.add_url_rule("/", view_func=lambda: orjson.dumps(dict(flask.session)).decode())
        self._browser = app.test_client(use_cookies=False)

    def get(self, token: Token) -> tuple[dict[str, Any], str | None]:
        """Return what a cookie shows, and the header that sets or clears it."""
        response = self._browser.get("/", headers={"Cookie": f"session={token.cookie}"})
        return orjson.loads(response.data), response.headers.get("Set-Cookie")

    def check(self, token: Token, held: dict[str, str] | None, opens: bool) -> None:
        """Check that a cookie shows what its session holds, and that a dead one does nothing."""
        shown, header = self.get(token)
        if opens:
            assert held is not None
            there = {key: orjson.loads(value) for key, value in held.items()}
            _hold(shown == there, f"{token.sid} holds {there} and shows {shown}")
        else:
            _hold(not shown, f"a dead cookie of {token.sid} shows {shown}")
        _hold(header is None, f"reading {token.sid} sends {header}")


# --------------------------------------------------------------------------- the stage


class Stage:
    """A server, and what it takes to explore operations on it.

    :param server: the server; it is emptied for every run.
    """

    def __init__(self, server: Server) -> None:
        self.server = server
        self.plain = redis.Redis(unix_socket_path=str(server.socket_path), socket_timeout=10)
        self.probe = Probe(self.plain)
        self.options = Options()
        #: The ends of runs whose cookies have been tried out.
        self.tried: set[bytes] = set()
        self.world: World
        #: All that was gone through.
        self.explored = Explored()
        self._workers: dict[tuple[Any, ...], Worker] = {}

    def explore(
        self,
        situation: Situation,
        *operations: Operation,
        options: Options = Options(),  # noqa: B008 - it is frozen
        retries: int = 0,
        check: Callable[[World], object] | None = None,
    ) -> Explored:
        """Go through every order of some operations.

        :param situation: what is there at the beginning.
        :param operations: what is done at once.
        :param options: what is explored besides the order.
        :param retries: how often the operations' clients send again what got no reply.
        :param check: a further check, of how a run ended.
        :raises Violation: with the order in which something did not hold.
        """
        self.options = options
        self.tried.clear()
        self._load_scripts()
        steps: list[Step] = []

        def begin() -> Run:
            nonlocal steps
            # Here, and not at its end, which a run that is cut short does not come to.
            if any(step.command[:2] == ("SCRIPT", "FLUSH") for step in steps):
                self._load_scripts()
            self._set_up(situation)
            workers = [self._worker(n, each, retries) for n, each in enumerate(operations)]
            world = World(self, situation, operations)
            acts: list[tuple[str, Callable[[], object]]] = []
            for operation, worker in zip(operations, workers, strict=True):
                worker.begin(world, operation)
                acts.append((operation.name, lambda o=operation, w=worker: o.act(w)))  # type: ignore[misc]
            world.run = Run(acts, options, world.observe, self._carry_out)
            self.world = world
            steps = world.run.steps
            return world.run

        def end(run: Run) -> None:
            self.world.finish()
            if check is not None:
                check(self.world)

        with repeatable_tokens():
            explored = explore(begin, end, options=options)
        self.explored.add(explored)
        return explored

    def _set_up(self, situation: Situation) -> None:
        pipeline: Any = self.plain.pipeline(transaction=False)
        pipeline.flushdb()
        for command in situation.commands():
            pipeline.execute_command(*command)
        pipeline.execute()

    def _load_scripts(self) -> None:
        for script in (
            store_module._COMMIT,
            index_module._INDEX,
            revocation_module._REVOKE,
            index_module._REMOVE,
            revocation_module._PAGE,
        ):
            self.plain.script_load(script.text)

    def _carry_out(self, command: tuple[Any, ...]) -> None:
        self.plain.execute_command(*command)

    def _worker(self, slot: int, operation: Operation, retries: int) -> Worker:
        key = (slot, operation.settings, retries)
        if key not in self._workers:
            settings = {"SESSION_TOUCH_INTERVAL": INTERVAL, **dict(operation.settings)}
            self._workers[key] = Worker(self.server, slot, settings, retries)
        return self._workers[key]

    def close(self) -> None:
        """Close the connections."""
        self.plain.close()
        for worker in self._workers.values():
            worker.client.close()


def named(operation: Operation, name: str) -> Operation:
    """Return the same operation under another name."""
    return replace(operation, name=name)
