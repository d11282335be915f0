"""The session hash: load it, create it, commit to it."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from flask_redis_session.client.commands import HGETALL, HMGET, Commands
from flask_redis_session.client.script import Command, Script, lua
from flask_redis_session.errors import StoreUnavailable, WrongType

from .at_once import Deed, at_once_command
from .clock import Clock, TouchInterval
from .commit import Committed, Lifetime, commit_command, committed, create_command
from .record import (
    SECRET,
    Binding,
    Changes,
    Record,
    Standing,
    mark,
    names_of,
    number,
    standing_of,
)
from .token import Token
from .user_index import UserIndex

_PROVE = Script(
    lua(__package__, "refused.lua"),
    lua(__package__, "secrets.lua"),
    lua(__package__, "prove.lua"),
    reads=True,
)


class SessionHashes:
    """The sessions in one Redis, under one prefix.

    :param redis: sends the commands.
    :param prefix: the prefix of every key, as in ``SESSION_KEY_PREFIX``.
    :param absolute: seconds that no session outlives; ``None``: no limit.
    :param touch_interval: seconds between two touches, as in ``SESSION_TOUCH_INTERVAL``.
    """

    def __init__(
        self,
        redis: Commands,
        prefix: str,
        *,
        absolute: float | None,
        touch_interval: float,
    ) -> None:
        self._redis = redis
        self._prefix = prefix
        self._absolute = absolute
        #: The indexes of the users, which are kept in step with the hashes.
        self.index = UserIndex(redis, prefix, absolute=absolute, slack=touch_interval)
        self.clock = Clock()
        #: How much time lies between two touches.
        self.interval = TouchInterval(touch_interval)

    def key(self, sid: str) -> bytes:
        """Return the key of a session's hash.

        :param sid: the session.
        """
        return f"{self._prefix}{sid}".encode()

    def load(self, token: Token, fields: Sequence[bytes] | None = None) -> Record:
        """Load a session in one command, if its cookie opens it.

        :param token: the cookie.
        :param fields: the user's fields to load; ``None``: all fields.
        :raises StoreUnavailable: if Redis fails.
        """
        found = self._ask(token, fields)
        proof = token.proof
        if found.get(SECRET + proof.encode()) != mark(proof):
            # Nothing proves that this is the reply to our command.
            standing = self.standings([token])[0]
            if standing == "live":
                # It was not: a secret that opens nothing never comes to life again.
                raise self._redis.mistrust()
            return Record(standing)
        record = Record("live", found, proof)
        is_over = record.born is None or self._is_over(record.since, token)
        return Record("gone") if is_over else record

    def _is_over(self, since: float | None, token: Token) -> bool:
        """Tell whether a session's absolute lifetime is over, by the server's clock."""
        if self._absolute is None or since is None:
            return False
        if not self.clock.is_heard:
            # The reply tells the server's time.
            self.standings([token])
        return since + self._absolute <= self.clock.now()

    def _ask(self, token: Token, fields: Sequence[bytes] | None) -> dict[bytes, bytes]:
        key = self.key(token.sid)
        try:
            if fields is None:
                found: Any = self._redis.call((HGETALL, key))
                return found if isinstance(found, dict) else {}
            names = names_of(token.proof, fields)
            values = self._redis.call((HMGET, key, *names))
        except WrongType:
            return {}
        pairs = zip(names, values, strict=True)
        return {name: value for name, value in pairs if value is not None}

    def standings(self, tokens: Sequence[Token]) -> list[Standing]:
        """Tell of each cookie whether it opens its session, in one round trip to each node.

        :param tokens: the cookies.
        :raises StoreUnavailable: if Redis fails.
        """
        commands = [_PROVE.on(self.key(token.sid), token.proof) for token in tokens]
        replies = self._redis.together(commands)
        return [self._standing(*pair) for pair in zip(tokens, replies, strict=True)]

    def _standing(self, token: Token, reply: Any) -> Standing:
        if not isinstance(reply, list) or len(reply) != 5 or reply[0] != mark(token.proof):
            raise self._redis.mistrust()
        _, seconds, microseconds, born, secret = reply
        now = int(seconds) + int(microseconds) / 1e6
        self.clock.hear(now)
        return standing_of(born, secret, token.proof, now)

    def is_due(self, born: float | None, seen: float | None, idle: float | None) -> bool:
        """Tell whether a session that is only read should be touched.

        :param born: when it was created, in epoch seconds.
        :param seen: when it was last seen, in epoch seconds.
        :param idle: its idle lifetime in seconds.
        """
        if seen is None or born is None:
            return True
        # abs: if the last touch lies in the future, a touch per request does less harm than none.
        return abs(self.clock.now() - seen) >= self.interval.of(idle)

    def create(
        self, token: Token, changes: Changes, lifetime: Lifetime, binding: Binding
    ) -> Committed:
        """Create a session: first the hash, then its place in the index of its user.

        :param token: its cookie, which nobody has yet.
        :param changes: its content.
        :param lifetime: how long it may be idle.
        :param binding: its user.
        :raises StoreUnavailable: if Redis fails. Then the cookie must not be handed out.
        """
        script = create_command(
            self.key(token.sid),
            changes.sets,
            lifetime,
            absolute=self._absolute,
            token=token,
            binding=binding,
        )
        if binding.user is None:
            return self._committed(self._redis.call(script), token)
        add = self.index.add(binding.user, token.sid, lifetime.idle)
        return self._indexed(token, script, [script, add], binding.user)

    def commit(
        self,
        token: Token,
        changes: Changes,
        lifetime: Lifetime,
        *,
        fresh: Token | None = None,
        binding: Binding | None = None,
        known: Record | None = None,
        confirms: bool = False,
    ) -> Committed:
        """Commit changes to a session, if its cookie opens it. Without changes it is touched.

        :param token: the cookie that opened the request.
        :param changes: what to set and delete.
        :param lifetime: how long it may be idle.
        :param fresh: a token with a fresh secret, to rotate to.
        :param binding: its user from now on; ``None``: it keeps the one that it has.
        :param known: what was loaded of it; ``None``: nothing was.
        :param confirms: whether its user has just proved who they are.
        :raises StoreUnavailable: if Redis fails.
        """
        script = commit_command(
            self.key(token.sid),
            changes,
            lifetime,
            absolute=self._absolute,
            proof=token.proof,
            fresh=fresh,
            binding=binding,
            confirms=confirms,
        )
        return self._carry_out(script, token, lifetime, binding, known)

    def at_once(
        self, token: Token, deed: Deed, lifetime: Lifetime, known: Record | None
    ) -> Committed:
        """Do something to one key of a session, if its cookie opens it; it is touched as well.

        :param token: the cookie that opened the request.
        :param deed: what to do.
        :param lifetime: how long the session may be idle.
        :param known: what was loaded of it; ``None``: nothing was.
        :raises StoreUnavailable: if Redis fails.
        """
        script = at_once_command(
            self.key(token.sid), deed, lifetime, absolute=self._absolute, proof=token.proof
        )
        return self._carry_out(script, token, lifetime, None, known)

    def _carry_out(
        self,
        script: Command,
        token: Token,
        lifetime: Lifetime,
        binding: Binding | None,
        known: Record | None,
    ) -> Committed:
        """Send a commit, with the command that keeps the index of its user in step."""
        user = known.user if known is not None else None
        # An index that was evicted begins anew with this, and the commit may be lost.
        idle = lifetime.longest(known.idle if known is not None else None)
        told: float | None = idle
        if binding is not None and binding.user is not None:
            # The index first: if this process dies between the two, a superfluous member does no
            # harm, but a live session outside the index could not be revoked.
            add = self.index.add(binding.user, token.sid, idle)
            committed = self._indexed(token, script, [add, script], binding.user)
        elif binding is None and user is not None and lifetime.rule != "lower":
            # For the same reason the life of the index is extended before that of the session.
            touch = self.index.touch(user, token.sid, idle)
            committed = self._with_touch(token, script, [touch, script])
        elif binding is None and known is not None and user is not None and self._crosses(known):
            touch = self.index.touch(user, token.sid, idle)
            committed = self._with_touch(token, script, [script, touch])
        else:
            told = None
            committed = self._committed(self._redis.call(script), token)
        if committed.what not in ("saved", "ended"):
            return committed
        if known is not None and committed.user != user:
            # If the client sent the commit twice, the reply tells the user after the first one.
            committed = committed._replace(user=user)
        self._follow(token.sid, committed, binding, told)
        return committed

    def _with_touch(self, token: Token, script: Command, commands: Sequence[Command]) -> Committed:
        """Send a commit and the touch of an index; the commit stands even if the touch fails."""
        replies = self._redis.outcomes(commands)
        at = commands.index(script)
        reply = replies[at] if at < len(replies) else None
        if isinstance(reply, StoreUnavailable):
            raise reply
        if reply is None or isinstance(reply, Exception):
            # It comes after a refusal: in a cluster it is not sent then, elsewhere it was lost.
            reply = self._redis.call(script)
        return self._committed(reply, token)

    def _indexed(
        self, token: Token, script: Command, commands: Sequence[Command], user: str
    ) -> Committed:
        """Send a commit and the command that adds the session to an index; both succeed or none.

        :param token: the session's cookie.
        :param script: the commit.
        :param commands: the two, in the order in which to send them.
        :param user: whose index it is.
        :raises StoreUnavailable: if one of them was refused.
        """
        replies = self._redis.outcomes(commands)
        refusals = [reply for reply in replies if isinstance(reply, StoreUnavailable)]
        at = commands.index(script)
        if not refusals:
            committed = self._committed(replies[at], token)
            self.index.remove_some_dead(user, replies[1 - at])
            return committed
        stands = at < len(replies) and not isinstance(replies[at], Exception)
        if stands and self._committed(replies[at], token).what == "saved":
            # It is stored, but in no index, so that it could not be revoked. Nobody has its cookie.
            with suppress(StoreUnavailable):
                self._redis.call(("UNLINK", self.key(token.sid)))
        raise refusals[0]

    def _follow(
        self, sid: str, committed: Committed, binding: Binding | None, told: float | None
    ) -> None:
        """Bring the index in line with what a commit did; touch it if that is due.

        :param told: for which idle lifetime an index was touched already, in seconds.
        """
        before, idle = committed.user, number(committed.idle) or 0.0
        user = binding.user if binding is not None else before
        if committed.what == "ended":
            user = None
        commands = []
        if before is not None and before != user:
            # By time, because this may arrive late: if it was added again since, it stays.
            commands.append(self.index.remove(before, sid, committed.now))
        # More than it was told: another request has made the session live longer meanwhile.
        if user is not None and (self._crosses_between(committed) if told is None else idle > told):
            commands.append(self.index.touch(user, sid, idle))
        # The commit stands even if this fails: a superfluous member is ignored, and the next touch
        # makes up for a missing one.
        with suppress(StoreUnavailable):
            for command in commands:
                self._redis.call(command)

    def _committed(self, reply: Any, token: Token) -> Committed:
        found = committed(reply, token)
        if found is None:
            raise self._redis.mistrust()
        if found.what in ("saved", "ended"):
            self.clock.hear(float(found.now))
        return found

    def _crosses(self, known: Record) -> bool:
        return self.interval.has_ended(known.born, known.seen, known.idle, self.clock.now())

    def _crosses_between(self, committed: Committed) -> bool:
        born, seen, idle = map(number, (committed.born, committed.seen, committed.idle))
        return self.interval.has_ended(born, seen, idle, float(committed.now))
