"""A client of redis-py's whose thread now and then lingers, or loses a reply or a connection."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal

import redis
import redis.client
from redis.backoff import NoBackoff
from redis.retry import Retry

from tests.concurrency.fates import exchanged

#: *resent*: a command or its reply is lost once, and the client sends it again.
#: *given up*: it is lost as often as the client tries.
Fault = Literal["resent", "given up"]

#: How long at most a thread lingers, in seconds: if all of a process do, nobody ends it.
PATIENCE = 0.02


class Pace:
    """Counts what the threads of this process have done, so that one can let others pass."""

    def __init__(self) -> None:
        self._done = 0
        self._moved = threading.Condition()

    def tick(self) -> None:
        """Count one more operation."""
        with self._moved:
            self._done += 1
            self._moved.notify_all()

    def linger(self, operations: int) -> None:
        """Wait until others have done so many operations, if they do."""
        with self._moved:
            until = self._done + operations
            self._moved.wait_for(lambda: self._done >= until, PATIENCE)


@dataclass
class Luck:
    """What happens to the commands of one operation.

    :param draws: where its chances come from.
    :param fates: what becomes of its next commands: *ok*, *lost* (carried out, and no reply
        comes) or *cut* (not carried out); after these each is *ok*.
    """

    draws: random.Random
    fates: list[str] = field(default_factory=list)
    #: Whether a fate other than *ok* was met.
    struck: bool = False

    @classmethod
    def of(cls, draws: random.Random, fault: Fault | None) -> Luck:
        """Return the luck of an operation that is to meet a fault, if it has commands enough."""
        if fault is None:
            return cls(draws)
        # Not always the first command; an operation has up to six.
        fates = ["ok"] * draws.choice((0, 0, 1, 1, 2, 3)) + [draws.choice(("lost", "lost", "cut"))]
        return cls(draws, [*fates, "cut"] if fault == "given up" else fates)

    def next(self) -> str:
        """Return what becomes of the next command."""
        fate = self.fates.pop(0) if self.fates else "ok"
        self.struck = self.struck or fate != "ok"
        return fate


class _Here(threading.local):
    luck: Luck | None = None


class FlakyRedis(redis.Redis):
    """A client that sends once more what got no reply, and whose threads have their luck.

    :param pace: of this process.
    """

    def __init__(self, pace: Pace, **options: Any) -> None:
        super().__init__(retry=Retry(NoBackoff(), 1), **options)
        self.pace = pace
        self._here = _Here()

    @contextmanager
    def lucky(self, luck: Luck) -> Iterator[None]:
        """Let this thread's commands meet this luck."""
        before, self._here.luck = self._here.luck, luck
        try:
            yield
        finally:
            self._here.luck = before

    def _send_command_parse_response(
        self, conn: Any, command_name: str, *args: Any, **options: Any
    ) -> Any:
        send = super()._send_command_parse_response
        return self.sent(conn, lambda: send(conn, command_name, *args, **options))

    def pipeline(self, transaction: bool = True, shard_hint: Any = None) -> FlakyPipeline:
        pipeline = FlakyPipeline(
            self.connection_pool, self.response_callbacks, transaction, shard_hint
        )
        pipeline.flaky = self
        return pipeline

    def sent(self, connection: Any, send: Callable[[], Any]) -> Any:
        """Send a command, or several in one piece, as luck will have it."""
        luck = self._here.luck
        if luck is None:
            return send()
        self._linger(luck, 0.02, 6)
        fate = luck.next()
        try:
            return exchanged(connection, send, fate)
        finally:
            if fate == "lost":
                self._linger(luck, 0.5, 6)

    def part(self) -> None:
        """Let others pass between two pieces of a pipeline, now and then."""
        luck = self._here.luck
        if luck is not None:
            self._linger(luck, 0.2, 20)

    def _linger(self, luck: Luck, chance: float, most: int) -> None:
        """Let others do up to so many operations, by chance."""
        if luck.draws.random() < chance:
            self.pace.linger(luck.draws.randint(1, most))

    def splits(self) -> bool:
        """Tell whether a pipeline goes in pieces: a server may serve others in between."""
        luck = self._here.luck
        return luck is not None and luck.draws.random() < 0.5


class FlakyPipeline(redis.client.Pipeline):
    """A pipeline of :class:`FlakyRedis`."""

    flaky: FlakyRedis

    def _execute_pipeline(self, connection: Any, commands: Any, raise_on_error: bool) -> Any:
        whole = super()._execute_pipeline
        if not self.flaky.splits():
            return self.flaky.sent(connection, lambda: whole(connection, commands, raise_on_error))

        def send(args: Any, options: Any) -> Any:
            connection.send_packed_command(connection.pack_command(*args))
            return self.parse_response(connection, args[0], **options)

        replies: list[Any] = []
        for args, options in commands:
            if replies:
                self.flaky.part()
            try:
                replies.append(self.flaky.sent(connection, partial(send, args, options)))
            except redis.ResponseError as error:
                replies.append(error)
        if raise_on_error:
            self.raise_first_error(commands, replies)
        return replies
