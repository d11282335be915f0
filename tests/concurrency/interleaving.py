"""Runs operations against each other, on a real server, in every order of their commands.

Each operation has a thread of its own. Its client, :class:`GatedRedis`, is redis-py's and its
commands go to the server, but before each it waits at a gate, and :func:`explore` lets exactly
one thread go on at a time, up to its next gate or its end. It does so for one order, then from a
fresh state for the next, until it has been through all of them:

>>> explore(lambda: [deposit, withdraw], check)
Explored(orders=20, steps=120)

What an operation sends may depend on what others did. So the orders are not listed beforehand:
a run follows the choices of the one before it up to a point, there lets another thread go on,
and from then on always the first that waits; the point moves back from the end to the beginning.

A pipeline that is no transaction is sent command by command, with a gate before each, since a
server may carry out other clients' commands in between.

Besides the order, what becomes of a command can be explored. These are its fates:

``ok``
    It is carried out and its reply arrives.
``lost``
    It is carried out, but instead of the reply comes the end of the connection. A client that
    retries sends it once more, a pipeline from its beginning.
``cut``
    It is not carried out, and the connection ends.
``late``
    The client waits for the reply in vain, and the command is carried out at some later point:
    one that a retrying client may have passed by then.
``refused``
    It is not carried out, and the server answers that it has no memory.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from typing import Any, Literal, NamedTuple

import redis
import redis.client

from tests.concurrency.fates import exchanged

Fate = Literal["ok", "lost", "cut", "late", "refused"]
Command = tuple[Any, ...]

#: How long a thread may take from one gate to the next, in seconds.
PATIENCE = 20.0

#: Commands that change nothing: two of them may change places.
READS = frozenset(
    {"GET", "HGETALL", "HMGET", "PTTL", "TTL", "ZCARD", "ZRANGE", "ZREVRANGE", "ZSCAN", "ZSCORE"}
)


#: The digests of scripts that change nothing either.
READING: set[str] = set()


class Violation(AssertionError):
    """Something that must hold in every order did not hold in this one."""


class Hang(AssertionError):
    """A thread came neither to a gate nor to its end."""


class Diverged(AssertionError):
    """A run that was to repeat the choices of another found others to choose from."""


class Abandoned(BaseException):
    """Ends a thread whose run was given up."""


class Choice(NamedTuple):
    """Whose command is next, and what becomes of it."""

    actor: int
    fate: Fate


class Step(NamedTuple):
    """One command that was sent, or that was not."""

    actor: int
    name: str
    command: Command
    fate: Fate

    def __str__(self) -> str:
        fate = "" if self.fate == "ok" else f"  [{self.fate}]"
        return f"{self.name}: {' '.join(map(_short, self.command))}{fate}"


def _short(word: object) -> str:
    text = word.decode(errors="replace") if isinstance(word, bytes) else str(word)
    return text if len(text) <= 60 else f"{text[:8]}…"


def key_of(command: Command) -> str | None:
    """Return the one key that a command works on, or ``None`` where it may be any."""
    at = 3 if command[0] in ("EVALSHA", "EVAL") else 1
    if len(command) <= at or command[0] in ("SCRIPT", "FLUSHDB"):
        return None
    key = command[at]
    return key.decode(errors="replace") if isinstance(key, bytes) else str(key)


def is_read(command: Command) -> bool:
    """Tell whether a command changes nothing."""
    name = command[0].upper()
    return name in READS or (name == "EVALSHA" and command[1] in READING)


def commute(one: Command, other: Command) -> bool:
    """Tell whether two commands give the same in either order."""
    if is_read(one) and is_read(other):
        return True
    keys = key_of(one), key_of(other)
    return None not in keys and keys[0] != keys[1]


# --------------------------------------------------------------------------- the threads


class Actor:
    """One operation in its thread.

    :param number: its place among the operations.
    :param name: what it is called in a report.
    :param body: what it does.
    :param origin: the operation that it is part of; ``None``: it is one.
    """

    def __init__(
        self,
        run: Run,
        number: int,
        name: str,
        body: Callable[[], object],
        origin: int | None = None,
    ) -> None:
        self.run = run
        self.number = number
        self.origin = number if origin is None else origin
        self.name = name
        self.body = body
        #: The command that waits at the gate; ``None`` while there is none.
        self.waiting: Command | None = None
        self.fates: tuple[Fate, ...] = ("ok",)
        self.failure: BaseException | None = None
        self.ended = False
        self._fate: Fate = "ok"
        self._abandoned = False
        self._go = _closed()
        self._stopped = _closed()
        self._thread = threading.Thread(target=self._live, daemon=True)

    def start(self) -> None:
        """Let it come to its first gate."""
        self._thread.start()
        self._await()

    def proceed(self, fate: Fate) -> None:
        """Let it send the command that waits, and go on to its next gate or its end."""
        self._fate = fate
        self.waiting = None
        self._go.release()
        self._await()

    def abandon(self) -> None:
        """End it where it is."""
        if not self.ended:
            self._abandoned = True
            self._go.release()
            self._thread.join(PATIENCE)

    def gate(self, command: Command, fates: tuple[Fate, ...] = ("ok",)) -> Fate:
        """Wait for this actor's turn; it is called in its own thread."""
        self.waiting = command
        self.fates = fates
        self._stopped.release()
        if not self._go.acquire(timeout=PATIENCE * 2) or self._abandoned:
            raise Abandoned
        return self._fate

    def _live(self) -> None:
        _here.actor = self
        try:
            self.body()
        except Abandoned:
            pass
        except BaseException as failure:  # noqa: BLE001 - whatever it is, the run reports it
            self.failure = failure
        self.ended = True
        self._stopped.release()

    def _await(self) -> None:
        if not self._stopped.acquire(timeout=PATIENCE):
            raise Hang(f"{self.name} came to no gate within {PATIENCE} seconds")


def _closed() -> threading.Lock:
    """Return a lock for one thread to wait at until another releases it."""
    lock = threading.Lock()
    lock.acquire()
    return lock


class _Here(threading.local):
    actor: Actor | None = None


_here = _Here()


def current() -> Actor | None:
    """Return the actor whose thread this is."""
    return _here.actor


# --------------------------------------------------------------------------- the client


class GatedRedis(redis.Redis):
    """A client of redis-py's that waits at a gate before it sends a command.

    In a thread that is no actor's it is a client like any other.
    """

    def _send_command_parse_response(
        self, conn: Any, command_name: str, *args: Any, **options: Any
    ) -> Any:
        send = super()._send_command_parse_response
        return _gated(conn, [args], lambda: send(conn, command_name, *args, **options))

    def pipeline(self, transaction: bool = True, shard_hint: Any = None) -> GatedPipeline:
        return GatedPipeline(self.connection_pool, self.response_callbacks, transaction, shard_hint)


class GatedPipeline(redis.client.Pipeline):
    """A pipeline with a gate before each command, or before it where it is a transaction."""

    def _execute_pipeline(self, connection: Any, commands: Any, raise_on_error: bool) -> Any:
        if current() is None:
            return super()._execute_pipeline(connection, commands, raise_on_error)

        def send(args: Command, options: Any) -> Any:
            connection.send_packed_command(connection.pack_command(*args))
            return self.parse_response(connection, args[0], **options)

        replies: list[Any] = []
        for at, (args, options) in enumerate(commands):
            behind = [later for later, _ in commands[at:]]
            try:
                replies.append(_gated(connection, behind, partial(send, args, options)))
            except redis.ResponseError as error:
                replies.append(error)
        if raise_on_error:
            self.raise_first_error(commands, replies)
        return replies

    def _execute_transaction(self, connection: Any, commands: Any, raise_on_error: bool) -> Any:
        # It has no key that would let it change places with anything.
        whole = ("MULTI", *(args[0] for args, _ in commands), "EXEC")
        send = super()._execute_transaction
        return _gated(connection, [whole], lambda: send(connection, commands, raise_on_error))


def _gated(connection: Any, commands: list[Command], send: Callable[[], Any]) -> Any:
    """Send the first of some commands when its turn comes; where it is late the others go along."""
    actor = current()
    if actor is None:
        return send()
    fate = actor.gate(commands[0], actor.run.options.fates)
    if fate == "late":
        actor.run.post(actor, commands)
        raise redis.TimeoutError("no reply came")
    reply = exchanged(connection, send, fate)
    if actor.run.options.splits:
        actor.gate(("reply", *commands[0]))
    return reply


# --------------------------------------------------------------------------- one run


@dataclass(frozen=True)
class Options:
    """What is explored besides the order.

    :param fates: what may become of a command.
    :param faults: how many commands of one run may meet another fate than ``ok``.
    :param splits: whether a reply arrives in a step of its own.
    :param reduced: whether an order is left out where it differs from one that was run only in
        that neighbouring commands changed places which work on different keys or only read.
        It leads to the same replies and to the same end; only what was between is not looked at.
    """

    fates: tuple[Fate, ...] = ("ok",)
    faults: int = 0
    splits: bool = False
    reduced: bool = False


class _Point(NamedTuple):
    """One choice of a run, and what else there was to choose from then."""

    choice: Choice
    choices: list[Choice]
    asleep: dict[Choice, Command]
    command: Command


class Run:
    """The operations in one order.

    :param operations: the name of each and what it does.
    :param options: what is explored.
    :param observe: is called after each step.
    """

    def __init__(
        self,
        operations: Sequence[tuple[str, Callable[[], object]]],
        options: Options,
        observe: Callable[[Step], object],
        resend: Callable[[Command], object] | None = None,
    ) -> None:
        self.options = options
        self.steps: list[Step] = []
        self.points: list[_Point] = []
        self.pruned = False
        self._observe = observe
        self._resend = resend
        self._faults = options.faults
        self.actors = [
            Actor(self, number, name, body) for number, (name, body) in enumerate(operations)
        ]

    def post(self, sender: Actor, commands: list[Command]) -> None:
        """Let a copy of some commands arrive at any later time."""
        resend = self._resend
        if resend is None:
            raise Violation("nobody carries out what is late")

        def deliver() -> None:
            for command in commands:
                late.gate(command)
                resend(command)

        late = Actor(self, len(self.actors), f"{sender.name} (late)", deliver, sender.origin)
        self.actors.append(late)
        late.start()

    def execute(self, prefix: Sequence[Choice], asleep: dict[Choice, Command]) -> None:
        """Run it: first the choices given, then always the first that there is.

        :param prefix: the choices to repeat, and the first new one.
        :param asleep: what need not be chosen after it, as it was explored before.
        """
        try:
            for actor in list(self.actors):
                actor.start()
            for at in count():
                choices = self._choices()
                if not choices:
                    break
                if at < len(prefix):
                    choice = prefix[at]
                    if choice not in choices:
                        raise Diverged(f"{choice} is not among {choices}")
                    # Up to the last choice of the prefix, all this is known from the run before.
                    still = asleep if at == len(prefix) - 1 else {}
                else:
                    still = self._still_asleep() if self.points else asleep
                    awake = [each for each in choices if each not in still]
                    if not awake:
                        self.pruned = True
                        break
                    choice = awake[0]
                self._take(choice, choices, still)
        except AssertionError as problem:
            raise type(problem)(f"{problem}\n{self.told()}") from problem
        finally:
            for actor in self.actors:
                actor.abandon()

    def _choices(self) -> list[Choice]:
        return [
            Choice(actor.number, fate)
            for actor in self.actors
            if actor.waiting is not None
            for fate in actor.fates
            if fate == "ok" or self._faults
        ]

    def _still_asleep(self) -> dict[Choice, Command]:
        last = self.points[-1]
        if last.choice.fate != "ok":
            return {}
        return {
            choice: command
            for choice, command in last.asleep.items()
            if choice.actor != last.choice.actor and commute(command, last.command)
        }

    def _take(self, choice: Choice, choices: list[Choice], asleep: dict[Choice, Command]) -> None:
        actor = self.actors[choice.actor]
        command = actor.waiting
        assert command is not None
        self.points.append(_Point(choice, choices, asleep, command))
        self._faults -= choice.fate != "ok"
        step = Step(actor.number, actor.name, command, choice.fate)
        self.steps.append(step)
        actor.proceed(choice.fate)
        if actor.failure is not None:
            raise Violation(f"{actor.name} failed: {actor.failure!r}") from actor.failure
        self._observe(step)

    def told(self) -> str:
        """Return the order of this run, a line for each step."""
        return "\n".join(f"  {at}. {step}" for at, step in enumerate(self.steps, 1))


# --------------------------------------------------------------------------- all of them


@dataclass
class Explored:
    """What an exploration went through."""

    orders: int = 0
    steps: int = 0
    #: Orders that were left out at some point, for another that leads to the same.
    left_out: int = 0
    longest: int = field(default=0, compare=False)

    def add(self, other: Explored) -> None:
        """Add what another exploration went through."""
        self.orders += other.orders
        self.steps += other.steps
        self.left_out += other.left_out
        self.longest = max(self.longest, other.longest)


def explore(
    begin: Callable[[], Run],
    end: Callable[[Run], object],
    *,
    options: Options = Options(),
) -> Explored:
    """Go through every order of some operations.

    :param begin: makes a fresh state and the run that starts from it.
    :param end: checks what a run came to.
    :param options: as the runs have them.
    :raises Violation: with the order in which something did not hold.
    """
    explored = Explored()
    prefix: list[Choice] = []
    asleep: dict[Choice, Command] = {}
    # The points of the last run; after _next(), those that the next run repeats.
    path: list[_Point] = []
    while True:
        run = begin()
        run.execute(prefix, asleep)
        explored.steps += len(run.steps)
        if run.pruned:
            explored.left_out += 1
        else:
            explored.orders += 1
            explored.longest = max(explored.longest, len(run.steps))
            try:
                end(run)
            except AssertionError as problem:
                raise type(problem)(f"{problem}\n{run.told()}") from problem
        path += run.points[len(path) :]
        following = _next(path, options)
        if following is None:
            return explored
        prefix, asleep = following


def _next(
    path: list[_Point], options: Options
) -> tuple[list[Choice], dict[Choice, Command]] | None:
    """Return the choices of the next order; cut the path to the point where it turns off."""
    while path:
        point = path.pop()
        asleep = dict(point.asleep)
        if options.reduced and point.choice.fate == "ok":
            asleep[point.choice] = point.command
        behind = point.choices[point.choices.index(point.choice) + 1 :]
        for choice in behind:
            if choice in asleep:
                continue
            return [*(each.choice for each in path), choice], asleep
    return None
