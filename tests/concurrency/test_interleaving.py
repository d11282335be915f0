"""Requests and revocations against each other, in every order of their commands."""

from __future__ import annotations

from itertools import combinations_with_replacement, islice
from typing import Any, NamedTuple

import pytest

import flask_redis_session.application as application_module
import flask_redis_session.request.save as save_module
import flask_redis_session.request.state as state_module
import flask_redis_session.storage.commit as commit_module
import flask_redis_session.storage.revocation as revocation_module
import flask_redis_session.storage.session_hash as hashes_module
import flask_redis_session.storage.user_index as index_module
from tests.concurrency import operations as o
from tests.concurrency.breakages import rewritten
from tests.concurrency.interleaving import Explored, Options, Violation
from tests.concurrency.operations import ON_ANONYMOUS, ON_SIGNED_IN
from tests.concurrency.situations import (
    ALONE,
    ANONYMOUS,
    FRESH,
    LASTING,
    LASTING_ANONYMOUS,
    LITTERED,
    NOBODY,
    NOBODY_LITTERED,
    RUNNING_OUT,
    SIGNED_IN,
    TWO_COOKIES,
    Situation,
    sid_of,
)
from tests.support.figures import figure

pytestmark = pytest.mark.one_server("puts the commands to one server in order")

#: Neighbouring commands on different keys need not change places: the end is the same.
REDUCED = Options(reduced=True)
#: One command is carried out, but its reply is lost, and the client sends it once more.
RESENT = Options(fates=("ok", "lost"), faults=1, reduced=True)
#: One reply is lost, or one command does not arrive, and the client gives up.
GIVEN_UP = Options(fates=("ok", "lost", "cut"), faults=1, reduced=True)
#: One command is refused, because Redis has no memory left.
REFUSED = Options(fates=("ok", "refused"), faults=1, reduced=True)

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
def stage(stage, request):
    """A server on which operations are explored; the number of orders is a figure."""
    yield stage
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
        """So it is if a user has no session yet, or only one."""
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

    @pytest.mark.parametrize(
        "options",
        [(RESENT, 1), (GIVEN_UP, 0), (REFUSED, 0)],
        ids=["resent", "given up", "refused"],
    )
    def test_alone(self, stage, options):
        """Each operation by itself bears the loss of any reply, and the refusal of any command."""
        groups = [(each,) for each in ON_SIGNED_IN if each not in (o.PERMANENT, o.ASSIGN)]
        total = explored(stage, SIGNED_IN, groups, options=options[0], retries=options[1])
        groups = [(each,) for each in ON_ANONYMOUS if each is not o.ASSIGN]
        total.add(explored(stage, ANONYMOUS, groups, options=options[0], retries=options[1]))

        assert total.orders > len(ON_SIGNED_IN) + len(ON_ANONYMOUS) - 2

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


def touches_at_once(world):
    """Check that the first two commands load session A and touch it."""
    load, touch = [step.command for step in world.run.steps[:2]]

    assert "HGETALL" == load[0].upper()
    # Five arguments after the key: it changes nothing.
    assert (b"session:A_____________________", 9) == (touch[3], len(touch))
    assert world.history[2].left[sid_of("A")] > 80_000_000


#: What touches session A, and what may end or change it meanwhile.
TOUCHES = (o.READ, o.BLIND, o.STAY, o.LIST_INSIDE)
TURNS = (o.SIGN_IN_OTHER, o.SIGN_OUT, o.REGENERATE, o.CLEAR, o.REVOKE_ALL, o.REVOKE_ONE, o.LIST)
#: What is done by one cookie of a session, beside the same by the other one.
BY_A_COOKIE = (
    o.SAVE,
    o.BLIND,
    o.READ,
    o.REGENERATE,
    o.SIGN_IN_OTHER,
    o.SIGN_OUT,
    o.CLEAR,
    o.RESTORE,
    o.END_ALL,
)


@pytest.mark.timeout(900)
class TestEviction:
    """The index of a user is evicted."""

    @pytest.mark.parametrize("touch", TOUCHES, ids=str)
    def test_beside_a_touch(self, stage, touch):
        """A touch brings a session back into its index, and never to life."""
        groups = [(touch, o.EVICT, turn) for turn in TURNS]
        total = explored(stage, SIGNED_IN, groups, options=REDUCED)

        assert total.orders > len(groups)

    def test_beside_a_shorter_life(self, stage):
        """It outlives a session whose lifetime becomes shorter, also before that is done."""
        total = explored(stage, LASTING, [(o.UNASSIGN, o.EVICT)], options=GIVEN_UP)

        assert total.orders > 1

    @pytest.mark.parametrize("turn", [o.EVICT, o.SIGN_IN_OTHER, o.REVOKE_ALL], ids=str)
    def test_resent(self, stage, turn):
        """So it is if a command is sent twice."""
        groups = [(touch, turn) for touch in TOUCHES]
        total = explored(stage, SIGNED_IN, groups, options=RESENT, retries=1)

        assert total.orders > len(groups)


@pytest.mark.timeout(900)
class TestSeveralCookies:
    """A session has two cookies that open it."""

    @pytest.mark.parametrize("first", BY_A_COOKIE, ids=str)
    def test_pairs(self, stage, first):
        """A rotation or an end by one of them is the end of the other one, too."""
        groups = [(first, o.other_tab(second)) for second in BY_A_COOKIE]
        groups += [(first, second) for second in (o.REVOKE_ALL, o.EXPIRE)]
        total = explored(stage, TWO_COOKIES, groups, options=REDUCED)

        assert total.orders > len(groups)

    def test_resent(self, stage):
        """So it is if the rotation is sent twice."""
        groups = [(o.REGENERATE, o.other_tab(each)) for each in (o.SAVE, o.CLEAR, o.REGENERATE)]
        total = explored(stage, TWO_COOKIES, groups, options=RESENT, retries=1)

        assert total.orders > len(groups)


@pytest.mark.timeout(900)
class TestLate:
    """A request runs for longer than a tombstone lives."""

    @pytest.mark.parametrize("late", [*o.LATE, *o.LATE_SIGN_INS], ids=str)
    def test_beside_an_end(self, stage, late):
        """It leaves the browser's new cookie alone, unless it signs somebody in."""
        turns = (o.REGENERATE, o.SIGN_OUT, o.SIGN_IN_OTHER, o.CLEAR, o.END_ALL)
        groups: list[tuple[o.Operation, ...]] = [(late, turn, o.FORGET) for turn in turns]
        groups += [(late, o.CLEAR, o.SIGN_IN_NEW), (late, o.REVOKE_ALL), (late, o.EXPIRE)]
        total = explored(stage, SIGNED_IN, groups, options=REDUCED)

        assert total.orders > len(groups)

    @pytest.mark.parametrize("late", o.LATE_NEW, ids=str)
    def test_without_a_cookie(self, stage, late):
        """Without a cookie it is a request like any other."""
        total = explored(stage, SIGNED_IN, [(late, o.REVOKE_ALL)], options=REDUCED)

        assert total.orders >= 1
        assert all(answer.cookie is not None for answer in stage.world.answers)


@pytest.mark.timeout(900)
class TestRunningOut:
    """Little is left of the idle lifetime of a session."""

    @pytest.mark.parametrize("first", SIGNED_IN_CORE, ids=str)
    def test_pairs(self, stage, first):
        """Two operations on such a session leave it right in every order."""
        others = SIGNED_IN_CORE[SIGNED_IN_CORE.index(first) :]
        groups = [(first, other) for other in (*others, o.READ)]
        total = explored(stage, RUNNING_OUT, groups, options=REDUCED)

        assert total.orders >= len(groups)

    def test_touches_at_once(self, stage):
        """Who loads it has touched it before anything else is done."""
        for each in (o.READ, o.SAVE, o.NEST, o.LIST_INSIDE, o.END_OTHERS):
            assert stage.explore(RUNNING_OUT, each, check=touches_at_once).orders == 1

    def test_touch_refused(self, stage):
        """If that touch is refused, the request goes on."""
        groups = [(each,) for each in (o.READ, o.SAVE, o.SIGN_OUT, o.REGENERATE)]
        total = explored(stage, RUNNING_OUT, groups, options=REFUSED)

        assert total.orders > len(groups)


#: What is done with a session that has a lifetime of its own.
ON_LASTING = (
    o.SAVE,
    o.BLIND,
    o.READ,
    o.STAY,
    o.PERMANENT,
    o.ASSIGN,
    o.UNASSIGN,
    o.REGENERATE,
    o.CONFIRM,
    o.SIGN_IN_OTHER,
    o.SIGN_IN_CLEARED,
    o.SIGN_OUT,
    o.RESTORE,
    o.REVOKE_ALL,
)


@pytest.mark.timeout(900)
class TestLasting:
    """A session has a lifetime of its own."""

    @pytest.mark.parametrize("situation", [LASTING, LASTING_ANONYMOUS], ids=str)
    @pytest.mark.parametrize("first", ON_LASTING, ids=str)
    def test_pairs(self, stage, first, situation):
        """Two operations on it leave it right in every order, and the index lives as long."""
        others = ON_LASTING[ON_LASTING.index(first) :]
        groups = [(first, other) for other in others]
        if situation is LASTING_ANONYMOUS:
            # There is nobody to sign out.
            groups = [group for group in groups if o.SIGN_OUT not in group]
        total = explored(stage, situation, groups, options=REDUCED)

        assert total.orders >= len(groups)

    def test_resent(self, stage):
        """So it is if a command is sent twice."""
        groups = [(each,) for each in ON_LASTING]
        total = explored(stage, LASTING, groups, options=RESENT, retries=1)

        assert total.orders > len(groups)


@pytest.mark.timeout(900)
class TestSweep:
    """A sign-in to a large index removes some of its dead members."""

    @pytest.fixture(autouse=True)
    def _few_are_many(self, monkeypatch):
        monkeypatch.setattr(index_module, "MANY", 2)

    def test_removes_the_dead(self, stage):
        """They are gone whatever happens at once."""

        def check(world):
            members = world.now.indexes.get("23", {})
            assert not members.keys() & {sid_of("X"), sid_of("Y")}

        others = (o.SIGN_IN_NEW, o.SAVE, o.SIGN_OUT, o.REVOKE_ALL, o.LIST, o.EXPIRE)
        for other in others:
            stage.explore(LITTERED, o.SIGN_IN_NEW, other, options=REDUCED, check=check)

    def test_created_twice(self, stage):
        """A session that is created twice, and ended in between, stays in its user's index."""
        group = (o.SIGN_IN_NEW, o.EXPIRE_NEW, o.SIGN_IN_NEW)
        total = stage.explore(NOBODY_LITTERED, *group, options=RESENT, retries=1)

        assert total.orders > 100


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
        "_CREATE",
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
    Broken(
        "a touch does not put its session back",
        index_module,
        "_INDEX",
        "redis.call('ZADD', KEYS[1], 'GT', now, ARGV[1])\n  if not",
        "redis.call('ZADD', KEYS[1], 'XX', 'GT', now, ARGV[1])\n  if not",
        SIGNED_IN,
        (o.READ, o.EVICT),
    ),
    Broken(
        "a touch adds to an index that ends before the session",
        index_module,
        "_INDEX",
        "if not is_there then\n    outlive()",
        "if not is_there then\n    redis.call('PEXPIRE', KEYS[1], 1000)",
        SIGNED_IN,
        (o.READ, o.EVICT),
    ),
    Broken(
        "a sign-out leaves no tombstones",
        commit_module,
        "_COMMIT",
        "bury(key, now)\n  return",
        "redis.call('UNLINK', key)\n  return",
        SIGNED_IN,
        (o.CLEAR, o.SAVE),
    ),
    Broken(
        "a revocation from within leaves no tombstones",
        revocation_module,
        "_REVOKE",
        "if ARGV[5] == 'own' then",
        "if false then",
        SIGNED_IN,
        (o.END_ALL, o.SAVE),
    ),
    Broken(
        "every revocation leaves tombstones",
        revocation_module,
        "_REVOKE",
        "if ARGV[5] == 'own' then",
        "if true then",
        SIGNED_IN,
        (o.REVOKE_ALL, o.SAVE),
    ),
    Broken(
        "tombstones of a sign-out stay for a day",
        commit_module,
        "_COMMIT",
        "redis.call('PEXPIRE', key, TOMBSTONE * 1000)",
        "redis.call('PEXPIRE', key, 86400000)",
        SIGNED_IN,
        (o.CLEAR, o.READ),
    ),
    Broken(
        "a rotation keeps another live secret open",
        commit_module,
        "_COMMIT",
        "if rotated and math.abs(now - rotated) > TOMBSTONE then\n        old",
        "if not rotated and field ~= '@secret:' .. ARGV[1] then\n"
        "      elseif rotated and math.abs(now - rotated) > TOMBSTONE then\n        old",
        TWO_COOKIES,
        (o.REGENERATE, o.other_tab(o.READ)),
    ),
    Broken(
        "a rotation keeps every tombstone",
        commit_module,
        "_COMMIT",
        "local MOST_TOMBSTONES = 32",
        "local MOST_TOMBSTONES = 1000",
        TWO_COOKIES,
        (o.REGENERATE, o.READ),
    ),
    Broken(
        "a setting changes an assigned lifetime",
        commit_module,
        "_COMMIT",
        "elseif own and idle then",
        "elseif false then",
        LASTING,
        (o.BLIND, o.READ),
    ),
    Broken(
        "a sign-in keeps a lifetime that its index does not know",
        commit_module,
        "_COMMIT",
        "if rule == 'assign' or rule == 'reset' then",
        "if rule == 'assign' then",
        ANONYMOUS,
        (o.SIGN_IN, o.ASSIGN),
    ),
    Broken(
        "a sign-in leaves when somebody signed in as it was",
        commit_module,
        "_COMMIT",
        "if signs then",
        "if false then",
        SIGNED_IN,
        (o.SIGN_IN_OTHER, o.READ),
    ),
    Broken(
        "a save moves when somebody signed in",
        commit_module,
        "_COMMIT",
        "redis.call('HSET', key, '@seen', stamp,",
        "redis.call('HSET', key, '@seen', stamp, '@signed', stamp,",
        SIGNED_IN,
        (o.SAVE, o.CONFIRM),
    ),
    Broken(
        "a tombstone opens its session",
        commit_module,
        "_COMMIT",
        "elseif held[5] ~= mark(proof) then\n  local rotated",
        "elseif not held[5] then\n  local rotated",
        SIGNED_IN,
        (o.REGENERATE, o.SAVE),
    ),
]


def _same_user_is_revived(monkeypatch):
    monkeypatch.setattr(save_module, "_was_theirs", lambda draft, binding: False)


def _late_replaces(monkeypatch):
    monkeypatch.setattr(state_module, "TOMBSTONE", 1e9)


def _refusal_clears(monkeypatch):
    original = save_module._refused

    def refused(*args):
        return original(*args)._replace(cookie="clear")

    monkeypatch.setattr(save_module, "_refused", refused)


def _touch_of_anybody(monkeypatch):
    original = index_module.UserIndex.touch
    monkeypatch.setattr(
        index_module.UserIndex,
        "touch",
        lambda self, user, sid, idle: original(self, "42", sid, idle),
    )


class Mutation(NamedTuple):
    """What is broken in Python, and where that is to be noticed."""

    what: str
    apply: Any
    situation: Situation
    group: tuple[o.Operation, ...]


MUTATIONS = [
    Mutation(
        "the same user is revived after an end",
        _same_user_is_revived,
        SIGNED_IN,
        (o.RESTORE, o.REVOKE_ALL),
    ),
    Mutation(
        "the same user is revived after a rotation",
        _same_user_is_revived,
        SIGNED_IN,
        (o.RESTORE, o.REGENERATE),
    ),
    Mutation(
        "a late request replaces the cookie",
        _late_replaces,
        SIGNED_IN,
        (o.late(o.BLIND), o.REGENERATE, o.FORGET),
    ),
    Mutation(
        "a late request replaces the cookie after a sign-out",
        _late_replaces,
        SIGNED_IN,
        (o.late(o.SAVE), o.CLEAR, o.FORGET),
    ),
    Mutation("every refusal clears the cookie", _refusal_clears, SIGNED_IN, (o.SAVE, o.EXPIRE)),
    Mutation("a touch takes any user's index", _touch_of_anybody, SIGNED_IN, (o.READ,)),
]


class TestNoticed:
    """What is broken on purpose is noticed: these tests can fail."""

    @pytest.mark.parametrize("broken", BROKEN, ids=lambda broken: broken.what)
    def test_script(self, stage, monkeypatch, broken):
        """A script without its check is noticed in some order."""
        monkeypatch.setattr(broken.module, broken.name, rewritten(broken.text()))

        with pytest.raises(Violation):
            stage.explore(broken.situation, *broken.group, options=REDUCED)

    @pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.what)
    def test_mutation(self, stage, monkeypatch, mutation):
        """A rule that is left out is noticed in some order."""
        mutation.apply(monkeypatch)

        with pytest.raises(Violation):
            stage.explore(mutation.situation, *mutation.group, options=REDUCED)

    def test_touch_refused(self, stage, monkeypatch):
        """A commit that falls with the touch of an index is noticed."""

        def all_or_nothing(self, token, script, commands):
            replies = self._redis.together(commands)
            return self._committed(replies[commands.index(script)], token)

        monkeypatch.setattr(hashes_module.SessionHashes, "_with_touch", all_or_nothing)

        with pytest.raises(Violation, match="not served without need"):
            stage.explore(SIGNED_IN, o.SAVE, options=REFUSED)

    def test_late_touch(self, stage, monkeypatch):
        """A load that leaves the touch of a session that runs out to the end is noticed."""
        monkeypatch.setattr(application_module, "RUNNING_OUT", 0.0)

        with pytest.raises(AssertionError):
            stage.explore(RUNNING_OUT, o.SAVE, check=touches_at_once)

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
