"""The way to Redis: one command, several in one round trip, or a script."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from time import monotonic
from typing import Any, TypeVar

from flask_redis_session.errors import StoreUnavailable, WrongType

from .library import exceptions_of, failures_of, library_of
from .meter import METER, metered
from .once import MOVED, by_server, is_ours, key_of, sent_once, server_for
from .outage import Outage
from .pieces import in_one_piece, one_by_one
from .pools import close_idle
from .refusal import hide_arguments, is_doubtful
from .script import Command, in_full
from .shape import UNREADABLE, is_odd

log = logging.getLogger("flask_redis_session")

# In small letters, by which redis-py knows them neither for its client-side cache nor for reads
# from a replica: both may still show a session that has been ended.
HGETALL = "hgetall"
HMGET = "hmget"
ZREVRANGE = "zrevrange"

#: What a cluster's client also raises when a node fails or slots move: before 7, redis-py closes
#: connections and renews its tables while other threads use them.
_RACES = (AttributeError, RuntimeError, ValueError)

R = TypeVar("R")


class Commands:
    """A Redis server, a Sentinel's primary or a cluster, behind the application's client or ours.

    :param connect: makes the client when the first command is due, and again after it failed to.
    :param retry_after: seconds for the ``Retry-After`` of a refused request.
    """

    def __init__(self, connect: Callable[[], Any], *, retry_after: int = 1) -> None:
        self._connect = connect
        self._retry_after = retry_after
        self._client: Any = None
        self._lock = threading.Lock()
        # When no client could be made.
        self._refused_at = 0.0
        self._failures: tuple[type[Exception], ...] = ()
        self._lost_script: type[Exception] = Exception
        self._outage = Outage()
        #: Whether keys lie on several nodes, so that a pipeline keeps no order between them.
        self.is_cluster = False

    def call(self, command: Command) -> Any:
        """Send one command and return its reply; texts in it are bytes.

        :raises WrongType: if the key holds another type than the command works on.
        :raises StoreUnavailable: if Redis fails or refuses.
        """
        client = self._client or self._open()
        try:
            if METER.get() is None:
                # Whatever a client's decode_responses says, a damaged text must reach us as bytes.
                reply = client.execute_command(*command, NEVER_DECODE=True)
            else:
                (reply,) = metered(one_by_one, client, [command])
        except self._lost_script as error:
            if command[0] != "EVALSHA":
                raise self.mistrust() from error
            return self.call(in_full(command))
        except self._failures as error:
            raise self._judged(error, command) from error
        except UNREADABLE as error:
            raise self.mistrust() from error
        except BaseException:
            close_idle(client)  # The reply may be on its way to one of them.
            raise
        if is_odd(command, reply):
            raise self.mistrust()
        self._answered()
        return reply

    def understood(self, read: Callable[[Any], R], reply: Any) -> R:
        """Return what a reply says.

        :param read: reads it.
        :raises StoreUnavailable: if it has another form than ``read`` expects.
        """
        try:
            return read(reply)
        except UNREADABLE as error:
            raise self.mistrust() from error

    def mistrust(self) -> StoreUnavailable:
        """Close the idle connections, because a reply belonged to another command.

        :returns: the failure to raise: whatever the reply says, it is not for whoever asked.
        """
        close_idle(self._client)
        error = ConnectionError("A reply belonged to another command; its connection was closed.")
        self._outage.failed(error)
        return StoreUnavailable(retry_after=self._retry_after)

    def outcomes(self, commands: Sequence[Command]) -> list[Any]:
        """Send commands so that each is carried out before the next, in one round trip if possible.

        A refusal stands among the replies. In a cluster nothing is sent after a command that was
        refused. What was carried out is not sent again: a save that ended its session would find it
        gone.

        :raises StoreUnavailable: if no reply came.
        """
        client = self._client or self._open()
        if self.is_cluster:
            return self._up_to_refusal(commands)
        outcomes: list[Any] = []
        for reply, command in zip(self._pipelined(client, commands), commands, strict=True):
            is_lost = isinstance(reply, self._lost_script)
            if is_lost and any(isinstance(each, StoreUnavailable) for each in outcomes):
                # It was not carried out, and after a refusal it need not be.
                outcomes.append(reply)
            else:
                outcomes.append(self._outcome(reply, command))
        return outcomes

    def _outcome(self, reply: Any, command: Command) -> Any:
        """Return what became of a command in the end: a reply or a refusal."""
        if isinstance(reply, self._lost_script):
            return self._attempted(command)
        if isinstance(reply, Exception):
            return self._judged(reply, command)
        self._answered()
        return reply

    def _up_to_refusal(self, commands: Sequence[Command]) -> list[Any]:
        replies: list[Any] = []
        for command in commands:
            replies.append(self._attempted(command))
            if isinstance(replies[-1], StoreUnavailable):
                break
        return replies

    def _attempted(self, command: Command) -> Any:
        try:
            return self.call(command)
        except StoreUnavailable as refusal:
            return refusal

    def together(self, commands: Sequence[Command]) -> list[Any]:
        """Send commands of no particular order, in one round trip to each node.

        :raises WrongType: as :meth:`call`.
        :raises StoreUnavailable: as :meth:`call`.
        """
        if not commands:
            return []
        client = self._client or self._open()
        replies = self._pipelined(client, commands)
        self._send_lost(replies, commands, self.call, self.together)
        return self._checked(replies, commands)

    def once(self, commands: Sequence[Command]) -> list[Any]:
        """Send commands as :meth:`together` does, but none again that may have been carried out.

        This holds for clients that were made from a URL. A client of the application's own sends
        again what it was told to.

        :raises WrongType: as :meth:`call`.
        :raises StoreUnavailable: as :meth:`call`, and if a reply is lost.
        """
        client = self._client or self._open()
        replies: list[Any] = [None] * len(commands)
        try:
            for server, places in by_server(client, commands):
                if not is_ours(server):
                    return self.together(commands)
                found = metered(sent_once, server, [commands[at] for at in places])
                for at, reply in zip(places, found, strict=True):
                    replies[at] = reply
        except self._failures as error:
            raise self._judged(error, commands[0]) from error
        except UNREADABLE as error:
            raise self.mistrust() from error
        self._send_lost(
            replies, commands, lambda command: self.once([in_full(command)])[0], self.once
        )
        for at, reply in enumerate(replies):
            if type(reply).__name__ in MOVED:
                replies[at] = self.call(commands[at])
        return self._checked(replies, commands)

    def _send_lost(
        self,
        replies: list[Any],
        commands: Sequence[Command],
        first: Callable[[Command], Any],
        rest: Callable[[Sequence[Command]], list[Any]],
    ) -> None:
        """Put in the place of each refusal of a lost script what came of it: none was carried out.

        :param first: sends a command with its script; the others then find it there.
        :param rest: sends those.
        """
        lost = [at for at, reply in enumerate(replies) if isinstance(reply, self._lost_script)]
        if lost:
            again = [first(commands[lost[0]]), *rest([commands[at] for at in lost[1:]])]
            for at, reply in zip(lost, again, strict=True):
                replies[at] = reply

    def nodes(self) -> list[Commands]:
        """Return the way to each server that holds keys: each primary of a cluster, or this one.

        It is for what has no key, such as SCAN: nothing sent there follows a key that moves.

        :raises StoreUnavailable: if Redis fails.
        """
        client = self._client or self._open()
        if not self.is_cluster:
            return [self]
        connection = getattr(client, f"get_{library_of(client)}_connection")
        return [Commands(partial(connection, node)) for node in client.get_primaries()]

    def _pipelined(self, client: Any, commands: Sequence[Command]) -> list[Any]:
        try:
            replies = metered(in_one_piece, client, commands)
        except self._failures as error:
            raise self._judged(error, commands[0]) from error
        except UNREADABLE as error:
            raise self.mistrust() from error
        for reply in replies:
            if isinstance(reply, Exception):
                # It would keep the request alive, by way of the frames that it went through.
                reply.__traceback__ = None
        return replies

    def _checked(self, replies: list[Any], commands: Sequence[Command]) -> list[Any]:
        for reply, command in zip(replies, commands, strict=True):
            if isinstance(reply, Exception):
                raise self._judged(reply, command) from reply
            if is_odd(command, reply):
                raise self.mistrust()
        self._answered()
        return replies

    def _answered(self) -> None:
        if self._outage.lasts:
            self._outage.answered()

    def _open(self) -> Any:
        asked = monotonic()
        with self._lock:
            if self._client is None:
                if asked < self._refused_at:
                    # Who waited while another thread tried in vain has waited long enough.
                    raise StoreUnavailable(retry_after=self._retry_after)
                try:
                    client = self._connect()
                except failures_of("redis") as error:
                    self._refused_at = monotonic()
                    raise self._judged(error, ("connect",)) from error
                library = library_of(client)
                self._failures = failures_of(library)
                self._lost_script = exceptions_of(library).NoScriptError
                self.is_cluster = hasattr(client, "get_node_from_key")
                if self.is_cluster:
                    self._failures += _RACES
                self._client = client
            return self._client

    def _judged(self, error: Exception, command: Command) -> Exception:
        """Return the exception of ours that a failure of the client's comes to."""
        # Inside a script Redis says the word somewhere in the text, elsewhere it begins with it.
        if "WRONGTYPE" in str(error):
            key = key_of(command).decode()
            log.error("The key %r in Redis has another type; delete or rename it.", key)
            return WrongType(key)
        hide_arguments(error)
        self._outage.failed(error)
        if is_doubtful(error) and self._client is not None:
            with suppress(*self._failures):
                server = server_for(self._client, key_of(command))
                if not is_ours(server):
                    # Its connection is idle again, and cannot be told from the other idle ones.
                    close_idle(server)
        return StoreUnavailable(retry_after=self._retry_after)
