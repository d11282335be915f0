"""Requests that change different ones of several keys of a user's, in every order of commands."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import combinations_with_replacement

import pytest

from flask_redis_session import RedisSession
from flask_redis_session.request.owner import OwnedMapping
from tests.concurrency import operations as o
from tests.concurrency.interleaving import Options, Violation
from tests.concurrency.operations import Operation
from tests.concurrency.situations import ANONYMOUS, SIGNED_IN, Situation
from tests.concurrency.stage import Stage, World

pytestmark = pytest.mark.one_server("puts the commands to one server in order")

REDUCED = Options(reduced=True)
KEYS = ("user_id", "admin_id")
SETTINGS = (("SESSION_USER_KEY", KEYS),)


def _does(body: Callable[[RedisSession], object]) -> Callable[[o.Worker], object]:
    return lambda worker: worker.request(body)


#: Somebody is signed in under the second key. It counts if there is nobody under the first.
SECOND = Operation(
    "set the second key",
    _does(lambda session: session.update(admin_id=42)),
    keys=frozenset({"admin_id", "user_id", "theme", "cart"}),
    rotates=True,
    creates=True,
    passes_to=frozenset({"23", "42"}),
    settings=SETTINGS,
)
#: The first goes: the session is the second's, or nobody's.
DROP_FIRST = Operation(
    "drop the first key",
    _does(lambda session: session.pop("user_id", None)),
    keys=frozenset({"user_id"}),
    rotates=True,
    passes_to=frozenset({"23", "42", None}),
    settings=SETTINGS,
)
#: The second goes; it counts only if there is nobody under the first.
DROP_SECOND = Operation(
    "drop the second key",
    _does(lambda session: session.pop("admin_id", None)),
    keys=frozenset({"admin_id"}),
    rotates=True,
    passes_to=frozenset({"23", None}),
    settings=SETTINGS,
)
FIRST = Operation(
    "set the first key",
    _does(lambda session: session.update(user_id=23)),
    keys=frozenset({"admin_id", "user_id", "theme", "cart"}),
    rotates=True,
    creates=True,
    passes_to=frozenset({"23"}),
    settings=SETTINGS,
)
READ = Operation(
    "read",
    _does(lambda session: session.get("theme")),
    settings=SETTINGS,
)
ALL = (FIRST, SECOND, DROP_FIRST, DROP_SECOND, READ)


def check_owner(world: World) -> None:
    """Check that each session is in the index of the user whom its keys name, and in no other."""
    for sid, fields in world.now.hashes.items():
        held = [json.loads(fields[key]) for key in KEYS if key in fields]
        user = str(held[0]) if held else None
        indexes = {name for name, members in world.now.indexes.items() if sid in members}
        if user != fields.get("@user") or (user is not None and user not in indexes):
            raise Violation(f"{sid} says {user}, is {fields.get('@user')}'s, and in {indexes}")


@pytest.mark.timeout(600)
@pytest.mark.parametrize("situation", [SIGNED_IN, ANONYMOUS], ids=str)
def test_two_requests(stage: Stage, situation: Situation) -> None:
    """No two changes of different keys leave a session signed in and in nobody's index."""
    for pair in combinations_with_replacement(ALL, 2):
        assert stage.explore(situation, *pair, options=REDUCED, check=check_owner).orders > 0


def test_noticed(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """If only the key that counts rotated, some order would leave such a session."""
    monkeypatch.setattr(OwnedMapping, "_turns_user", lambda *_: False)

    with pytest.raises(Violation, match="says 42, is None's"):
        stage.explore(SIGNED_IN, SECOND, DROP_FIRST, options=REDUCED, check=check_owner)
