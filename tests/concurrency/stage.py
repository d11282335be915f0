"""The stage on which operations meet, and what must hold whatever happens at once.

A :class:`Stage` explores some operations in every order (see ``interleaving.py``) from one
:class:`Situation`. After each command the whole of Redis is looked at, and each of these is
checked; a :class:`~interleaving.Violation` tells the order in which one did not hold:

* no session that ended is there again, and no secret that was rotated away opens one again;
* what a request ends of its own session leaves the tombstones of its secrets for half a minute,
  which open nothing, and what anybody else ends leaves nothing;
* a session is opened by one secret, or by those that it had when it began; a rotation retires all
  of them, and keeps the newest tombstones;
* a session that somebody has a cookie of is in the index of its user, and that index lives on at
  least as long as the session; if the index was evicted, the next touch puts the session back;
* a touch puts a session into no index but that of a user whom it found there;
* no key is without expiry; an assigned lifetime stays, but for an assignment, a sign-in or a
  `clear()`;
* an operation changes nothing but what it is there to change: what another one wrote stays;
* a request that was answered with 200, and whose save was not refused, has written what it set;
* a cookie that an answer sets opened its session when it was set, and only what ends or rotates
  that session can have closed it since; a cookie is cleared only by the request that ended its
  session; a request with a cookie that was rotated away sets none, unless it signs in, and neither
  does one whose cookie opens nothing, if it runs for longer than a tombstone lives;
* no request makes a new session for a user whose session it had loaded;
* a request is served if nothing failed but the touch of an index or the removal from one;
* a revocation ends every session that it was to end, no other, and returns how many it ended; a
  list holds those that were alive all the while, and none that was not.

At the end every cookie that was ever handed out is tried out in a real request; then each user's
sessions are listed, which removes what is dead from the index, and revoked.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import flask
import orjson
import redis

from flask_redis_session import RedisSessionInterface, SessionInfo, StoreUnavailable
from flask_redis_session.client.script import Script
from flask_redis_session.storage import at_once as at_once_module
from flask_redis_session.storage import commit as commit_module
from flask_redis_session.storage import revocation as revocation_module
from flask_redis_session.storage import session_hash as hashes_module
from flask_redis_session.storage import user_index as index_module
from flask_redis_session.storage.record import TOMBSTONE
from tests.concurrency.interleaving import (
    READING,
    Explored,
    Options,
    Run,
    Step,
    Violation,
    explore,
    is_read,
    key_of,
)
from tests.concurrency.operations import Answer, Call, Operation, Worker, _nothing
from tests.concurrency.situations import (
    INTERVAL,
    PREFIX,
    Situation,
    Snapshot,
    Token,
    repeatable_tokens,
    sid_of,
)
from tests.support.servers import Server

#: How many tombstones of a session are kept.
MOST_TOMBSTONES = 32

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
        self.tokens = {token: 0 for held in situation.sessions for token in held.tokens}
        self.handed = {token.sid: 0 for token in self.tokens}
        self._created: dict[str, int] = {}
        self._ended: set[str] = set()
        self._opened: set[tuple[str, str]] = set()
        self._closed: set[tuple[str, str]] = set()
        self._ended_by: list[tuple[int, int, str]] = []
        #: The users that each actor's commands found a session to have.
        self._found: set[tuple[int, str, str | None]] = set()
        #: After which step the index of a user was evicted, and who has not been touched since.
        self._evicted: dict[str, int] = {}
        self._excused: dict[str, set[str]] = {}

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
        if not is_read(step.command):
            now = Snapshot.take(self.stage.plain)
        self.history.append(now)
        actor = self._origin(step.actor)
        operation = self.operations[actor]
        self._note_found(step, actor, before, now)
        self._note_eviction(operation, before, now)
        self._check_frame(operation, actor, before, now, step)
        self._check_stones(operation, before, now)
        self._check_ends(now)
        for answer in self.answers[self._checked :]:
            self._check_answer(answer)
        self._checked = len(self.answers)
        self._check_keys(now)

    def _note_found(self, step: Step, actor: int, before: Snapshot, now: Snapshot) -> None:
        sid = (key_of(step.command) or "").removeprefix(PREFIX)
        self._found |= {(actor, sid, before.user(sid)), (actor, sid, now.user(sid))}

    def _note_eviction(self, operation: Operation, before: Snapshot, now: Snapshot) -> None:
        for user, excused in self._excused.items():
            excused.difference_update(now.indexes.get(user, {}))
        evicted = operation.evicts
        if evicted is not None and evicted not in now.indexes:
            self._evicted[evicted] = len(self.history) - 1
            # One that is on its way into the index, as part of a sign-in, is excused too.
            self._excused[evicted] = (
                before.of_user(evicted) | before.indexes.get(evicted, {}).keys()
            )

    def _check_keys(self, now: Snapshot) -> None:
        _hold(not now.strange, f"these are no keys of ours: {now.strange}")
        for name, left in now.left.items():
            _hold(left > 0, f"{name} has no expiry")
        for sid, fields in now.stones.items():
            _hold(now.left[sid] <= TOMBSTONE * 1000, f"tombstones of {sid} stay: {now.left[sid]}")
            _hold(all(map(_is_stone, fields.items())), f"{sid} is a piece of a session: {fields}")
        for sid, fields in now.hashes.items():
            live = set(now.secrets(sid))
            first = set(self.history[0].secrets(sid))
            _hold(
                len(live) == 1 or live == first, f"{sid} is opened by {len(live)} secrets: {live}"
            )
            user = fields.get("@user")
            if user is not None and self._is_in_use(now, sid):
                self._check_indexed(now, sid, user)

    def _is_in_use(self, now: Snapshot, sid: str) -> bool:
        """Tell whether somebody has a cookie of a session."""
        if not self.stage.options.faults:
            return sid in self.handed
        # A sign-in without its place in the index is undone; nobody has its cookie.
        return any(now.opens(token) for token in self.tokens if token.sid == sid)

    def _check_indexed(self, now: Snapshot, sid: str, user: str) -> None:
        if sid in self._excused.get(user, ()):
            return
        _hold(sid in now.indexes.get(user, {}), f"{sid} of user {user} is outside the index")
        left, session_left = now.left[f"user:{user}"], now.left[sid]
        _hold(
            left >= session_left,
            f"the index of user {user} ends {session_left - left} ms before {sid}",
        )

    def _check_frame(
        self, operation: Operation, actor: int, before: Snapshot, now: Snapshot, step: Step
    ) -> None:
        """Check that a step changed nothing but what its operation may change."""
        name = operation.name
        own = {sid_of(operation.session)} if operation.session is not None else set[str]()
        for sid in now.hashes.keys() - before.hashes.keys():
            _hold(operation.creates, f"{name} created {sid}")
            self._created[sid] = actor
        own |= {sid for sid, creator in self._created.items() if creator == actor}
        for sid in before.hashes.keys() - now.hashes.keys():
            # A sign-in that is refused its place in the index is undone.
            is_undone = self.stage.options.faults > 0 and step.command[0] == "UNLINK" and sid in own
            _hold(
                operation.ends(before, sid) or is_undone,
                f"{name} ended {sid}: {before.hashes[sid]}",
            )
            self._ended_by.append((len(self.history) - 1, actor, sid))
        for sid in now.hashes.keys() & before.hashes.keys():
            if operation.removes(before, sid) and now.secrets(sid) == before.secrets(sid):
                self._check_removed(operation, before.hashes[sid], now.hashes[sid])
            elif now.hashes[sid] != before.hashes[sid]:
                _hold(sid in own, f"{name} changed {sid}, which is not its own")
                cookie = operation.cookie
                if cookie is not None and sid == cookie.sid:
                    is_closed = (sid, cookie.digest) in self._closed
                    _hold(not is_closed, f"{name} changed {sid} by a dead cookie")
                self._check_fields(operation, sid, before.hashes[sid], now.hashes[sid])
                self._check_rotation(sid, before, now)
        # A touch heals. A member too many does no harm.
        heals = is_index_touch(step.command) and operation.touches
        found = {(sid, user) for by, sid, user in self._found if by == actor and sid in own}
        self._check_members(operation, own, found if heals else set(), before, now)

    @staticmethod
    def _check_removed(operation: Operation, before: dict[str, str], now: dict[str, str]) -> None:
        """Check that nothing but tombstones went."""
        rest = {name: value for name, value in before.items() if not _is_stone((name, value))}
        _hold(now == rest, f"{operation.name} made {now} of {before}")

    def _check_rotation(self, sid: str, before: Snapshot, now: Snapshot) -> None:
        """Check that a fresh secret retires all the others, and keeps the newest tombstones."""
        fresh = set(now.secrets(sid)) - set(before.secrets(sid))
        if fresh:
            live = set(now.secrets(sid))
            _hold(live == fresh, f"a rotation of {sid} leaves these open: {live - fresh}")
            self._check_retired(sid, before.hashes[sid], now.hashes[sid])

    def _check_stones(self, operation: Operation, before: Snapshot, now: Snapshot) -> None:
        """Check that tombstones are left where they should be, and nowhere else."""
        name, cookie = operation.name, operation.cookie
        own = cookie.sid if operation.buries and cookie is not None else None
        for sid in before.hashes.keys() - now.hashes.keys():
            _hold(
                (sid in now.stones) == (sid == own),
                f"{name} ended {sid}: there are tombstones: {sid in now.stones}",
            )
            if sid in now.stones:
                self._check_retired(sid, before.hashes[sid], now.stones[sid])
        for sid in now.stones.keys() - before.hashes.keys():
            _hold(sid in before.stones, f"{name} put tombstones of {sid}, which had not been there")
        for sid, was in before.stones.items():
            is_same = now.stones.get(sid) == was
            _hold(is_same or operation.removes(before, sid), f"{name} changed tombstones of {sid}")

    @staticmethod
    def _check_retired(sid: str, before: dict[str, str], now: dict[str, str]) -> None:
        """Check which secrets of a session are tombstones after all of them were retired."""
        secrets = {name: value for name, value in before.items() if name.startswith("@secret:")}
        live = {name for name, value in secrets.items() if value.startswith("s")}
        stamps = {name: float(secrets[name]) for name in secrets.keys() - live}
        moment = time.time() - TOMBSTONE
        newest = sorted((name for name in stamps if stamps[name] > moment), key=stamps.__getitem__)
        kept = {*live, *newest[::-1][: MOST_TOMBSTONES - len(live)]}
        stones = {name for name, value in now.items() if _is_stone((name, value))}
        _hold(stones == kept, f"the tombstones of {sid} are {stones} and not {kept}")
        changed = {name for name in stones - live if now[name] != secrets[name]}
        _hold(not changed, f"these tombstones of {sid} are young again: {changed}")

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
            elif key == "@signed":
                may = operation.confirms or "@user" in changed
            elif key == "@own":
                # A sign-in takes the lifetime along that it found.
                assigns = operation.assigns or operation.signs_in is not None
                may = assigns if "@own" in now else operation.clears
            elif key == "@permanent":
                # A rotation hands out a cookie: the session is then what that says.
                passes = operation.rotates or operation.clears or operation.signs_in is not None
                may = operation.turns if "@permanent" in now else passes
            elif key == "@idle" and "@own" in before.keys() & now.keys():
                may = operation.assigns or operation.signs_in is not None
            elif key in ("@seen", "@idle"):
                may = operation.touches
            told = f"{before.get(key)} to {now.get(key)}"
            _hold(may, f"{operation.name} changed {key} of {sid} from {told}")
        is_told = "@user" not in changed or "@signed" in changed
        _hold(
            is_told, f"{operation.name} changed the user of {sid}, and @signed does not tell when"
        )

    def _check_members(
        self,
        operation: Operation,
        own: set[str],
        healed: set[tuple[str, str | None]],
        before: Snapshot,
        now: Snapshot,
    ) -> None:
        """Check what came into indexes, what went, and what moved.

        :param healed: which session may be put back into whose index.
        """
        for user in before.indexes.keys() | now.indexes.keys():
            was, is_now = before.indexes.get(user, {}), now.indexes.get(user, {})
            for sid in is_now.keys() - was.keys():
                is_sign_in = sid in own and user in {operation.signs_in, *operation.passes_to}
                # Of a creation that was refused the place in the index may stay: it is dead.
                is_dead = operation.signs_in == user and sid not in now.hashes
                is_left = is_dead and self.stage.options.faults > 0
                _hold(
                    is_sign_in or is_left or (sid, user) in healed,
                    f"{operation.name} put {sid} into the index of user {user}",
                )
            for sid in was.keys() - is_now.keys():
                # Between the two commands of a creation, nobody has its cookie yet.
                _hold(
                    now.user(sid) != user or sid not in self.handed or operation.evicts == user,
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
            _hold(not self._failed_harmlessly(answer), f"{name} was not served without need")
            return
        _hold(answer.status == 200, f"{name} was answered {answer.status}")
        if answer.clears:
            _hold(came is not None, f"{name} cleared a cookie that there was not")
            assert came is not None
            ended = {
                sid
                for at, actor, sid in self._ended_by
                if actor == answer.actor and answer.began < at <= answer.ended
            }
            _hold(came.sid in ended, f"{name} cleared the cookie of a session that it did not end")
        if cookie is not None:
            self._check_cookie(answer, cookie, now)
            self.tokens.setdefault(cookie, answer.ended)
            self.handed.setdefault(cookie.sid, answer.ended)
        if answer.refused is not None:
            _hold(cookie is None, f"{name} was refused and sets a cookie")
            _hold(not answer.clears, f"{name} was refused, and clears the cookie")
            # Only who had loaded a session of this user is refused another one.
            is_in_vain = operation.signs_in is not None and answer.found != operation.signs_in
            _hold(not is_in_vain, f"{name} was refused, though it signs in")
        else:
            self._check_writes(answer)
            self._check_signs(answer, now)

    def _check_cookie(self, answer: Answer, cookie: Token, now: Snapshot) -> None:
        name, came = answer.operation.name, answer.came_with
        _hold(
            any(at.opens(cookie) for at in self.history[answer.began : answer.ended + 1]),
            f"{name} handed out a cookie that never opened anything",
        )
        if came is None or cookie.sid == came.sid:
            return
        may_sign_in = answer.operation.signs_in is not None or bool(answer.operation.passes_to)
        if not may_sign_in:
            _hold(
                came.sid not in now.hashes,
                f"{name} took the browser from a live session to another one",
            )
            _hold(not now.buries(came), f"{name} replaces a cookie that was rotated away")
            _hold(not answer.operation.is_late, f"{name} replaces a cookie that opened nothing")
        if answer.found is not None:
            user = now.user(cookie.sid)
            _hold(user != answer.found, f"{name} brought user {user} back")

    def _failed_harmlessly(self, answer: Answer) -> bool:
        """Tell whether a request met no failure but that of a touch or a removal in an index."""
        steps = self.run.steps[answer.began : answer.ended]
        failed = [each for each in steps if each.actor == answer.actor and each.fate != "ok"]
        # A revocation is incomplete if it cannot remove what it ended.
        is_call = answer.operation.ends is not _nothing and not answer.operation.signs_out
        return not is_call and all(
            is_removal(each.command) or (each.fate == "refused" and is_index_touch(each.command))
            for each in failed
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
            for answer in self.answers:
                self._check_healed(answer)
        for call in self.calls:
            if isinstance(call.result, StoreUnavailable):
                continue
            if isinstance(call.result, list):
                self._check_list(call)
            else:
                self._check_revocation(call)
        self._try_out()

    def _try_out(self) -> None:
        """Try out every cookie, unless the like of this end was tried out before."""
        contents = {
            sid: {key: value for key, value in fields.items() if not key.startswith("@")}
            for sid, fields in self.now.hashes.items()
        }
        tokens = {token: self.now.opens(token) for token in self.tokens}
        members = {user: sorted(members) for user, members in self.now.indexes.items()}
        users = {sid: self.now.user(sid) for sid in contents}
        end = orjson.dumps(
            [contents, [*map(repr, tokens.items())], members, users], option=orjson.OPT_SORT_KEYS
        )
        if end not in self.stage.tried:
            for token, opens in tokens.items():
                self.stage.probe.check(token, contents.get(token.sid), opens)
            self.stage.probe.check_users(self.stage.plain)
            self.stage.tried.add(end)

    def _check_healed(self, answer: Answer) -> None:
        """Check that a request whose touch was due has touched the index, and so healed it."""
        came = answer.came_with
        if came is None or answer.status != 200:
            return
        own = [
            (number, step.command)
            for number, step in enumerate(self.run.steps[: answer.ended])
            if number >= answer.began and step.actor == answer.actor
        ]
        commits = (n for n, command in own if _runs(command, commit_module._COMMIT))
        began = next((n for n in commits if self._is_touch_due(n, came)), None)
        if began is None:
            return
        user, name = self.history[began].user(came.sid), answer.operation.name
        if user is None or any(at.user(came.sid) != user for at in self.history[began:]):
            return
        index = f"{PREFIX}user:{user}"
        touches = [
            number
            for number, command in own
            if _runs(command, index_module._INDEX) and key_of(command) == index
        ]
        _hold(bool(touches), f"{name} did not touch the index of user {user}")
        if self._evicted.get(user, 0) <= touches[-1]:
            _hold(
                came.sid in self.now.indexes.get(user, {}),
                f"{name} did not put {came.sid} back into the index of user {user}",
            )

    def _is_touch_due(self, number: int, token: Token) -> bool:
        """Tell whether a commit by this cookie is accepted, and the first for a touch interval."""
        before, now = self.history[number : number + 2]
        if not before.opens(token) or token.sid not in now.hashes:
            return False
        seen = before.hashes[token.sid]["@seen"]
        # If the server has lost the script, nothing was carried out.
        is_done = seen != now.hashes[token.sid]["@seen"]
        return is_done and time.time() - float(seen) > INTERVAL

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
        # Who is missing there, because the index was evicted, is found again after the next touch.
        if call.only is None and sid not in at.indexes.get(call.user, {}):
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


def _is_stone(field: tuple[str, str]) -> bool:
    """Tell whether a field of a hash is a tombstone."""
    return field[0].startswith("@secret:") and not field[1].startswith("s")


def is_index_touch(command: Sequence[Any]) -> bool:
    """Tell whether a command touches an index."""
    return _runs(command, index_module._INDEX) and command[5] == "touch"


def is_removal(command: Sequence[Any]) -> bool:
    """Tell whether a command removes members from an index."""
    return _runs(command, index_module._REMOVE)


def _runs(command: Sequence[Any], script: Script) -> bool:
    return (command[0], command[1]) in {("EVALSHA", script.sha), ("EVAL", script.text)}


class Probe:
    """A browser that tries out cookies."""

    def __init__(self, client: redis.Redis) -> None:
        app = flask.Flask(__name__)
        app.config |= {"TESTING": True}
        self._interface = RedisSessionInterface(redis=client)
        self._interface.init_app(app)
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

    def check_users(self, client: redis.Redis) -> None:
        """Check that each user's list and revocation find what the index has of their sessions.

        :param client: of the same server.
        """
        for user, members in Snapshot.take(client).indexes.items():
            held = Snapshot.take(client)
            theirs = held.of_user(user) & members.keys()
            listed = {info.sid for info in self._interface.list_sessions(user)}
            _hold(listed == theirs, f"user {user} has {theirs}, and {listed} are listed")
            left = Snapshot.take(client).indexes.get(user, {}).keys()
            dead = left - held.hashes.keys()
            _hold(not dead, f"a list leaves these in the index of user {user}: {dead}")
            lost = members.keys() & held.hashes.keys() - left
            _hold(not lost, f"a list takes these out of the index of user {user}: {lost}")
            ended = self._interface.revoke_sessions(user)
            _hold(ended == len(theirs), f"user {user} has {theirs}, and {ended} were ended")
            now = Snapshot.take(client)
            others = held.hashes.keys() - theirs
            _hold(now.hashes.keys() == others, f"left are {now.hashes.keys()}, and not {others}")


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
        reading = (
            index_module._LIST,
            index_module._READ,
            hashes_module._PROVE,
            revocation_module._PAGE,
        )
        READING.update(script.sha for script in reading)
        for script in (
            *reading,
            at_once_module._AT_ONCE,
            commit_module._COMMIT,
            commit_module._CREATE,
            index_module._INDEX,
            index_module._REMOVE,
            revocation_module._REVOKE,
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
