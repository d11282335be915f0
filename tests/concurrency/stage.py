"""The stage on which operations meet, and what must hold whatever happens at once.

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

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import flask
import orjson
import redis

from flask_redis_session import (
    RedisSessionInterface,
    SessionInfo,
    StoreUnavailable,
)
from flask_redis_session.storage import commit as commit_module
from flask_redis_session.storage import revocation as revocation_module
from flask_redis_session.storage import session_hash as hashes_module
from flask_redis_session.storage import user_index as index_module
from tests.concurrency.interleaving import (
    READS,
    Explored,
    Options,
    Run,
    Step,
    Violation,
    explore,
)
from tests.concurrency.operations import Answer, Call, Operation, Worker
from tests.concurrency.situations import (
    INTERVAL,
    Situation,
    Snapshot,
    Token,
    repeatable_tokens,
    sid_of,
    token_of,
)
from tests.support.servers import Server

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
                may = may or user in operation.passes_to
            elif key in ("@agent", "@ip"):
                may = operation.signs_out or operation.signs_in is not None
                may = may or bool(operation.passes_to)
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
                    sid in own and user in {operation.signs_in, *operation.passes_to},
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
                answer.operation.signs_in is not None or bool(answer.operation.passes_to),
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
            commit_module._COMMIT,
            index_module._INDEX,
            revocation_module._REVOKE,
            index_module._REMOVE,
            index_module._LIST,
            index_module._READ,
            hashes_module._PROVE,
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
