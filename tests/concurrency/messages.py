"""Flash messages and other merged keys among the operations, and what must hold of them."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import flask

from flask_redis_session import RedisSession, StoreUnavailable
from tests.concurrency import counting
from tests.concurrency import operations as o
from tests.concurrency.interleaving import Violation
from tests.concurrency.operations import Answer, Operation, Worker
from tests.concurrency.situations import _OTHERS, _THINGS, Held, Situation, sid_of

if TYPE_CHECKING:
    from tests.concurrency.stage import World

FLASHES = "_flashes"
OLD = "old"
_HELD = {**counting._HELD, FLASHES: [OLD]}
#: Session A is user 23's, and has a message that no page has shown yet.
TOLD = Situation("told", (Held("A", "23", {**_THINGS, **_HELD}), *_OTHERS))
#: Session A is nobody's, and has a message and nothing else.
MESSAGE_ALONE = Situation("a message alone", (Held("A", None, {FLASHES: [OLD]}), *_OTHERS))
_MERGES = (("SESSION_MERGE", ("cart",)),)


class Done(NamedTuple):
    """What a request did."""

    world: World
    answer: Answer
    what: str
    values: list[Any]


_done: list[Done] = []


def _does(what: str, view: Callable[[Worker, RedisSession], list[Any]]) -> Callable[[Worker], None]:
    def act(worker: Worker) -> None:
        values: list[Any] = []

        def does(session: RedisSession) -> None:
            # After something was read, a session that ended or rotated is a 503.
            with suppress(StoreUnavailable):
                values.extend(view(worker, session))

        answer = worker.request(does)
        _done.append(Done(worker.world, answer, what, values))

    return act


def _flash(worker: Worker, session: RedisSession) -> list[Any]:
    # As Flask does it, with messages that are plain JSON.
    message = f"by {worker.slot}"
    messages = session.get(FLASHES, [])
    messages.append(message)
    session[FLASHES] = messages
    return [message]


def _show(_: Worker, session: RedisSession) -> list[Any]:
    return list(session.pop(FLASHES)) if FLASHES in session else []


def _append(worker: Worker, session: RedisSession) -> list[Any]:
    if "cart" not in session:
        return []
    session["cart"].append(f"by {worker.slot}")
    return [f"by {worker.slot}"]


def _append_twice(worker: Worker, session: RedisSession) -> list[Any]:
    first = _append(worker, session)
    # As Flask does if it sends an error page.
    worker.interface.save_session(worker.app, session, flask.Response())
    if "cart" not in session:
        return first
    session["cart"].append(f"again by {worker.slot}")
    return [*first, f"again by {worker.slot}"]


def _reset(worker: Worker) -> None:
    wrote = {"cart": [f"reset by {worker.slot}"]}

    def view(session: RedisSession) -> None:
        # It loads the cart along, and does not read it.
        session.get("theme")
        session.update(wrote)

    worker.request(view, wrote=wrote)


FLASH = Operation("flash", _does("flash", _flash), keys=frozenset({FLASHES}), creates=True)
SHOW = Operation("show", _does("show", _show), keys=frozenset({FLASHES}))
SHOW_LAST = replace(SHOW, name="show the last key", ends=lambda _, sid: sid == sid_of("A"))
APPEND = Operation("append", _does("append", _append), keys=frozenset({"cart"}), settings=_MERGES)
APPEND_TWICE = replace(APPEND, name="append, save, append", act=_does("append", _append_twice))
RESET = Operation("reset", _reset, keys=frozenset({"cart"}), creates=True, settings=_MERGES)

MERGING = (FLASH, SHOW, APPEND)
#: Every other operation on the session of a user; those that clear it remove these keys, too.
OTHERS = tuple(
    replace(each, keys=each.keys | {*_HELD}) if "theme" in each.keys and each.rotates else each
    for each in o.ON_SIGNED_IN
)
#: They remove what others have stored meanwhile.
_CLEARING = {o.CLEAR.name, o.SIGN_IN_CLEARED.name, o.RESTORE.name}
#: They write a cart without a merge.
_OVERWRITING = {o.NEST.name, RESET.name, *_CLEARING}


class Became(NamedTuple):
    """What became of the messages and additions of a run, in session A."""

    lost: set[str]
    again: set[str]
    twice: set[str]


def became(world: World) -> Became:
    """Return which messages are lost, which were shown and are stored, and what is there twice."""
    done = [each for each in _done if each.world is world]
    _done.clear()
    held = world.now.hashes.get(sid_of("A"))
    if held is None:
        return Became(set(), set(), set())
    names = {each.name for each in world.operations}
    saved = [
        each
        for each in done
        if each.answer.status == 200
        and each.answer.refused is None
        and each.answer.sid == sid_of("A")
    ]
    stored = json.loads(held.get(FLASHES, "[]"))
    cart = [] if names & _OVERWRITING else json.loads(held.get("cart", "[]"))
    lost, again = set[str](), set[str]()
    if not names & _CLEARING:
        shown = _values(done, "show")
        lost = {OLD, *_values(saved, "flash")} - {*stored, *shown}
    if not names & _OVERWRITING:
        lost |= {*_values(saved, "append")} - {*cart}
    # A flash that is sent again after its reply was lost may come after the page that showed it.
    is_resent = any(each.fate == "lost" and each.name == FLASH.name for each in world.run.steps)
    if o.RESTORE.name not in names and not is_resent:
        again = {*_values(saved, "show")} & {*stored}
    return Became(lost, again, {each for each in (*stored, *cart) if _is_twice(each, stored, cart)})


def _values(done: list[Done], what: str) -> list[Any]:
    return [value for each in done if each.what == what for value in each.values]


def _is_twice(value: Any, *lists: list[Any]) -> bool:
    return any(each.count(value) > 1 for each in lists)


def check(world: World) -> None:
    """Check that no message and no addition is lost, and none that was shown is there again."""
    counting.check(world)
    found = became(world)
    if any(found):
        raise Violation(f"lost, shown and stored, stored twice: {found}")
