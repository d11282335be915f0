"""Requests and revocations against each other, in every order of their commands."""

from __future__ import annotations

import logging
from itertools import combinations_with_replacement, islice
from typing import Any, NamedTuple

import pytest

import flask_redis_session.storage.commit as commit_module
import flask_redis_session.storage.revocation as revocation_module
import flask_redis_session.storage.user_index as index_module
from tests.concurrency import operations as o
from tests.concurrency.breakages import rewritten
from tests.concurrency.interleaving import Explored, Options, Violation
from tests.concurrency.operations import ON_ANONYMOUS, ON_SIGNED_IN
from tests.concurrency.situations import ALONE, ANONYMOUS, FRESH, NOBODY, SIGNED_IN, Situation
from tests.concurrency.stage import Stage
from tests.support.figures import figure

pytestmark = pytest.mark.one_server("puts the commands to one server in order")

#: Neighbouring commands on different keys need not change places: the end is the same.
REDUCED = Options(reduced=True)
#: One command is carried out, but its reply is lost, and the client sends it once more.
RESENT = Options(fates=("ok", "lost"), faults=1, reduced=True)
#: One reply is lost, or one command does not arrive, and the client gives up.
GIVEN_UP = Options(fates=("ok", "lost", "cut"), faults=1, reduced=True)

SIGNED_IN_CORE = (
    o.SAVE,
    o.BLIND,
    o.REGENERATE,
    o.SIGN_IN_CLEARED,
    o.SIGN_IN_OTHER,
    o.SIGN_IN_NEW,
    o.SIGN_OUT,
    o.CLEAR,
    o.REVOKE_ONE,
    o.REVOKE_ALL,
    o.LIST,
    o.EXPIRE,
)
ANONYMOUS_CORE = (
    o.SAVE,
    o.REGENERATE,
    o.SIGN_IN,
    o.SIGN_IN_CLEARED,
    o.SIGN_IN_OTHER,
    o.CLEAR,
    o.REVOKE_ALL,
    o.LIST,
)
TRIPLE = (o.SAVE, o.BLIND, o.SIGN_IN_OTHER, o.SIGN_OUT, o.REGENERATE, o.REVOKE_ALL, o.EXPIRE)

#: Of all triples ``make test`` runs one in six, and ``make soak`` each.
SOME = pytest.param(6, id="some")
ALL = pytest.param(1, id="all", marks=[pytest.mark.soak, pytest.mark.timeout(3600)])


@pytest.fixture
def stage(valkey, request):
    """A server on which operations are explored, with quiet logs: refusals are what is tested."""
    logging.disable(logging.CRITICAL)
    stage = Stage(valkey)
    yield stage
    stage.close()
    logging.disable(logging.NOTSET)
    if stage.explored.orders:
        figure(f"orders in {request.node.name}", stage.explored.orders)


def explored(stage, situation, groups, **options):
    """Explore each group of operations."""
    total = Explored()
    for group in groups:
        total.add(stage.explore(situation, *group, **options))
    return total


@pytest.mark.timeout(600)
class TestPairs:
    """Any two operations at once."""

    @pytest.mark.parametrize("first", ON_SIGNED_IN, ids=str)
    def test_signed_in(self, stage, first):
        """Two operations on a session that is somebody's leave it right in every order."""
        others = ON_SIGNED_IN[ON_SIGNED_IN.index(first) :]
        total = explored(stage, SIGNED_IN, [(first, other) for other in others], options=REDUCED)

        assert total.orders >= len(others)

    def test_just_seen(self, stage):
        """So it is with a session that was seen a moment ago and needs no touch."""
        groups = combinations_with_replacement(SIGNED_IN_CORE, 2)
        total = explored(stage, FRESH, groups, options=REDUCED)

        assert total.orders >= len(SIGNED_IN_CORE) ** 2 / 2

    def test_anonymous(self, stage):
        """Two operations on a session that is nobody's leave it right in every order."""
        groups = combinations_with_replacement(ON_ANONYMOUS, 2)
        total = explored(stage, ANONYMOUS, groups, options=REDUCED)

        assert total.orders >= len(ON_ANONYMOUS) ** 2 / 2

    @pytest.mark.parametrize("situation", [NOBODY, ALONE], ids=str)
    def test_first_of_a_user(self, stage, situation):
        """So it is where a user has no session yet, or only one."""
        groups = [
            (first, other)
            for first in (o.SIGN_IN_NEW,)
            for other in (o.SIGN_IN_NEW, o.REVOKE_ALL, o.REVOKE_ONE, o.LIST, o.EXPIRE)
        ]
        total = explored(stage, situation, groups, options=REDUCED)

        assert total.orders >= len(groups)


@pytest.mark.timeout(600)
class TestFates:
    """A reply is lost, or a command."""

    @pytest.mark.parametrize("options", [(RESENT, 1), (GIVEN_UP, 0)], ids=["resent", "given up"])
    def test_alone(self, stage, options):
        """Each operation by itself bears the loss of any reply, sent again or given up."""
        groups = [(each,) for each in ON_SIGNED_IN if each is not o.PERMANENT]
        total = explored(stage, SIGNED_IN, groups, options=options[0], retries=options[1])
        groups = [(each,) for each in ON_ANONYMOUS]
        total.add(explored(stage, ANONYMOUS, groups, options=options[0], retries=options[1]))

        assert total.orders > len(ON_SIGNED_IN) + len(ON_ANONYMOUS)

    @pytest.mark.parametrize("first", ANONYMOUS_CORE, ids=str)
    def test_resent(self, stage, first):
        """A command that is sent twice beside another operation does no harm in any order."""
        others = ANONYMOUS_CORE[ANONYMOUS_CORE.index(first) :]
        groups = [(first, other) for other in others]
        total = explored(stage, ANONYMOUS, groups, options=RESENT, retries=1)

        assert total.orders >= len(groups)

    def test_scripts_lost(self, stage):
        """What Redis carried out is not sent again because a later command lacks its script."""

        def check(world):
            for answer in world.answers:
                if answer.refused is not None:
                    for key, value in answer.wrote.items():
                        text = str(value)
                        held = [at.hashes.get(answer.sid, {}).get(key) for at in world.history]
                        assert text not in held, f"{key} was refused, and is there"

        group = (o.SAVE, o.LOSE_SCRIPTS, o.REGENERATE)
        total = stage.explore(SIGNED_IN, *group, options=REDUCED, check=check)

        assert total.orders > 10

    def test_created_twice_and_revoked(self, stage):
        """A session that is created twice, and ended in between, stays in its user's index."""
        for situation in (NOBODY, SIGNED_IN):
            groups = [(o.SIGN_IN_NEW, other) for other in (o.REVOKE_ALL, o.LIST, o.END_ALL_FROM_B)]
            if situation is NOBODY:
                groups = groups[:2]
            total = explored(stage, situation, groups, options=RESENT, retries=1)

            assert total.orders >= len(groups)


@pytest.mark.timeout(900)
class TestTriples:
    """Three operations at once."""

    @pytest.mark.parametrize("every", [SOME, ALL])
    @pytest.mark.parametrize("situation", [SIGNED_IN, ANONYMOUS], ids=str)
    def test_three(self, stage, situation, every):
        """Three operations at once leave the session right in every order."""
        core = TRIPLE if situation is SIGNED_IN else (o.SAVE, o.SIGN_IN, o.REGENERATE, o.CLEAR)
        groups = islice(combinations_with_replacement(core, 3), 0, None, every)
        total = explored(stage, situation, groups, options=REDUCED)

        assert total.orders > 0


class Broken(NamedTuple):
    """A script with a piece of its code changed, and where that is to be noticed."""

    what: str
    module: Any
    name: str
    code: str
    replacement: str
    situation: Situation
    group: tuple[o.Operation, ...]

    def text(self):
        """Return the script's text with the change."""
        text = getattr(self.module, self.name).text

        assert self.code in text

        return text.replace(self.code, self.replacement)


BROKEN = [
    Broken(
        "a save does not look whether its session is alive",
        commit_module,
        "_COMMIT",
        "elseif held[5] ~= mark(proof) then\n  local rotated",
        "elseif not born then\n  born = now\nelseif held[5] ~= mark(proof) then\n  local rotated",
        SIGNED_IN,
        (o.SAVE, o.REVOKE_ALL),
    ),
    Broken(
        "a save does not look whether its cookie opens the session",
        commit_module,
        "_COMMIT",
        "elseif held[5] ~= mark(proof) then",
        "elseif not born then\n  return {'gone', told}\nelseif false then",
        SIGNED_IN,
        (o.SAVE, o.SIGN_IN_OTHER),
    ),
    Broken(
        "a rotation leaves the old secret open",
        commit_module,
        "_COMMIT",
        "if rotates then\n  local retired",
        "if false then\n  local retired",
        SIGNED_IN,
        (o.SIGN_IN_OTHER, o.READ),
    ),
    Broken(
        "a session has no expiry",
        commit_module,
        "_COMMIT",
        "redis.call('PEXPIREAT', key,",
        "tostring(key,",
        NOBODY,
        (o.SIGN_IN_NEW, o.LIST),
    ),
    Broken(
        "the index does not outlive its sessions",
        index_module,
        "_INDEX",
        "math.max(redis.call('PTTL', KEYS[1]), tonumber(ARGV[3]))",
        "1000",
        NOBODY,
        (o.SIGN_IN_NEW, o.LIST),
    ),
    Broken(
        "a revocation does not look whose the session is",
        revocation_module,
        "_REVOKE",
        "if (held[1] or '') ~= ARGV[1] then",
        "if false then",
        SIGNED_IN,
        (o.SIGN_IN_OTHER, o.REVOKE_ALL),
    ),
]


class TestNoticed:
    """What is broken on purpose is noticed: these tests can fail."""

    @pytest.mark.parametrize("broken", BROKEN, ids=lambda broken: broken.what)
    def test_script(self, stage, monkeypatch, broken):
        """A script without its check is noticed in some order."""
        monkeypatch.setattr(broken.module, broken.name, rewritten(broken.text()))

        with pytest.raises(Violation):
            stage.explore(broken.situation, *broken.group, options=REDUCED)

    def test_index_after(self, stage, monkeypatch):
        """An index that does not follow a sign-in is noticed."""
        monkeypatch.setattr(
            index_module.UserIndex, "add", lambda self, *_: ("ZCARD", self.key("nobody"))
        )

        with pytest.raises(Violation):
            stage.explore(ANONYMOUS, o.SIGN_IN, o.LIST, options=REDUCED)

    def test_forgets_whatever_happened(self, stage, monkeypatch):
        """A removal that does not look whether the session was put there again is noticed."""
        text = "for i = 1, #ARGV, 2 do redis.call('ZREM', KEYS[1], ARGV[i]) end"
        monkeypatch.setattr(index_module, "_REMOVE", rewritten(text))

        with pytest.raises(Violation):
            stage.explore(SIGNED_IN, o.SIGN_IN_NEW, o.REVOKE_ALL, options=RESENT, retries=1)
