"""Increment and take among the operations: what each returned, and what must hold of it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

from flask_redis_session import RedisSession, StoreUnavailable
from tests.concurrency import operations as o
from tests.concurrency.interleaving import Violation
from tests.concurrency.operations import Answer, Operation, Worker
from tests.concurrency.situations import _OTHERS, _THINGS, Held, Situation, sid_of

if TYPE_CHECKING:
    from tests.concurrency.stage import World

CODE = "4711"
_HELD = {"tries": 0, "otp": CODE}
#: Session A is user 23's, and has a count and a one-time code.
COUNTED = Situation("counted", (Held("A", "23", {**_THINGS, **_HELD}), *_OTHERS))
#: Session A is nobody's, and has a one-time code and nothing else.
CODE_ALONE = Situation("a code alone", (Held("A", None, {"otp": CODE}), *_OTHERS))


class Told(NamedTuple):
    """What a view was told."""

    world: World
    answer: Answer
    what: str
    value: Any


_told: list[Told] = []


def _does(what: str, view: Callable[[RedisSession], Any]) -> Callable[[Worker], None]:
    def act(worker: Worker) -> None:
        values: list[Any] = []

        def does(session: RedisSession) -> None:
            # After something was read, a session that ended or rotated is a 503.
            with suppress(StoreUnavailable):
                values.append(view(session))

        answer = worker.request(does)
        _told.extend(Told(worker.world, answer, what, value) for value in values)

    return act


INCREMENT = Operation(
    "increment",
    _does("increment", lambda session: session.increment("tries")),
    keys=frozenset({"tries"}),
    creates=True,
)
INCREMENT_READ = replace(
    INCREMENT,
    name="read and increment",
    act=_does("increment", lambda session: (session.get("theme"), session.increment("tries"))[1]),
)
TAKE = Operation(
    "take", _does("take", lambda session: session.take("otp")), keys=frozenset({"otp"})
)
TAKE_READ = replace(
    TAKE,
    name="read and take",
    act=_does("take", lambda session: (session.get("otp"), session.take("otp"))[1]),
)
#: The same in a session that ends by it.
TAKE_LAST = replace(TAKE, name="take the last key", ends=lambda _, sid: sid == sid_of("A"))

AT_ONCE = (INCREMENT, INCREMENT_READ, TAKE, TAKE_READ)
#: Every other operation on the session of a user; those that clear it remove these keys, too.
OTHERS = tuple(
    replace(each, keys=each.keys | {*_HELD}) if "theme" in each.keys and each.rotates else each
    for each in o.ON_SIGNED_IN
)


def check(world: World) -> None:
    """Check that no value was taken twice, and that increments add up."""
    told = [each for each in _told if each.world is world]
    _told.clear()
    taken = [each for each in told if each.what == "take" and each.value is not None]
    if len(taken) > 1:
        raise Violation(f"taken {len(taken)} times")
    counted = [
        each.value
        for each in told
        if each.what == "increment"
        and each.answer.refused is None
        and each.answer.sid == sid_of("A")
        and each.answer.status == 200
    ]
    if len({*counted}) < len(counted):
        raise Violation(f"several were told the same count: {counted}")
    held = world.now.hashes.get(sid_of("A"), {}).get("tries")
    if held is None or any(each.keys >= {*_HELD} for each in world.operations):
        # It has ended, or the count was assigned.
        return
    # A reply that is lost leaves a count that nobody was told.
    most = len(counted) + 2 * world.stage.options.faults
    if not len(counted) <= int(held) <= most:
        raise Violation(f"counted {len(counted)} times, and {held} is stored")
