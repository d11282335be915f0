"""Increment and take against each other and everything else, in every order of their commands."""

from __future__ import annotations

from itertools import combinations_with_replacement

import pytest

from flask_redis_session.request.at_once import AtOnceState
from flask_redis_session.storage import at_once as at_once_module
from tests.concurrency import operations as o
from tests.concurrency.breakages import rewritten
from tests.concurrency.counting import (
    AT_ONCE,
    CODE_ALONE,
    COUNTED,
    INCREMENT,
    OTHERS,
    TAKE,
    TAKE_LAST,
    TAKE_READ,
    check,
)
from tests.concurrency.interleaving import Options, Violation

pytestmark = [
    pytest.mark.one_server("puts the commands to one server in order"),
    pytest.mark.timeout(600),
]

REDUCED = Options(reduced=True)
RESENT = Options(fates=("ok", "lost"), faults=1, reduced=True)
GIVEN_UP = Options(fates=("ok", "lost", "cut"), faults=1, reduced=True)


@pytest.mark.parametrize("first", AT_ONCE, ids=str)
def test_with_every_other(stage, first):
    """Beside any other operation nothing is taken twice, and no count is lost."""
    orders = [
        stage.explore(COUNTED, first, other, options=REDUCED, check=check).orders
        for other in (*AT_ONCE, *OTHERS)
    ]

    assert min(orders) > 0


@pytest.mark.parametrize("three", [*combinations_with_replacement((INCREMENT, TAKE), 3)])
def test_three(stage, three):
    """So it is with three at once."""
    assert stage.explore(COUNTED, *three, options=REDUCED, check=check).orders > 1


@pytest.mark.parametrize(("options", "retries"), [(RESENT, 1), (GIVEN_UP, 0)])
@pytest.mark.parametrize("first", AT_ONCE, ids=str)
def test_a_lost_reply(stage, first, options, retries):
    """A lost reply may count twice, never too little; it may take for nobody, never twice."""
    for other in (INCREMENT, TAKE, o.SAVE, o.SIGN_OUT):
        total = stage.explore(COUNTED, first, other, options=options, retries=retries, check=check)

        assert total.orders > 1


def test_the_last_key(stage):
    """A session whose last key is taken ends, unless something was written into it since.

    If another request rotates its secret meanwhile, the end of this one is refused, as any save is.
    """

    def ended_or_written(world):
        check(world)
        held = world.now.hashes.get("A".ljust(22, "_"))

        assert held is None or any(name[:1] != "@" for name in held), held

    for other in (TAKE_LAST, o.SAVE, o.BLIND, o.SIGN_IN, o.CLEAR, o.READ):
        total = stage.explore(CODE_ALONE, TAKE_LAST, other, options=REDUCED, check=ended_or_written)

        assert total.orders > 1


class TestNoticed:
    """What is broken on purpose is noticed: these tests can fail."""

    @pytest.mark.parametrize(
        ("code", "replacement", "group"),
        [
            ("redis.call('HDEL', key, field)", "", (TAKE, TAKE)),
            ("held[2] == mark(proof)", "true", (INCREMENT, o.REGENERATE)),
            ("is_last = is_empty(key) and 1 or 0", "", (TAKE_LAST, o.READ)),
        ],
        ids=["a take leaves it", "no look at the cookie", "the last key is not noticed"],
    )
    def test_script(self, stage, monkeypatch, code, replacement, group):
        """A script without one of its lines is noticed in some order."""
        text = at_once_module._AT_ONCE.text

        assert code in text
        monkeypatch.setattr(at_once_module, "_AT_ONCE", rewritten(text.replace(code, replacement)))

        def is_held(world):
            check(world)
            held = world.now.hashes.get("A".ljust(22, "_"), {"user_id": "1"})

            assert any(name[:1] != "@" for name in held)

        situation = CODE_ALONE if TAKE_LAST in group else COUNTED
        with pytest.raises(AssertionError):
            stage.explore(situation, *group, options=REDUCED, check=is_held)

    @pytest.mark.parametrize(
        ("name", "on_the_mapping", "group"),
        [
            (
                "increment",
                lambda self, key: (self.update({key: self.get(key, 0) + 1}), self[key])[1],
                (INCREMENT, INCREMENT),
            ),
            ("take", lambda self, key: self.pop(key, None), (TAKE, TAKE_READ)),
        ],
        ids=["increment", "take"],
    )
    def test_on_the_mapping(self, stage, monkeypatch, name, on_the_mapping, group):
        """What is read, changed and saved at the end is noticed."""
        monkeypatch.setattr(AtOnceState, name, on_the_mapping)

        with pytest.raises(Violation):
            stage.explore(COUNTED, *group, options=REDUCED, check=check)
