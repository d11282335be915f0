"""Flash messages and other merged keys, in every order of the requests' commands."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from itertools import combinations_with_replacement

import pytest

from flask_redis_session.request import conflict as conflict_module
from flask_redis_session.request import save as save_module
from flask_redis_session.request.guarded import GuardedMapping
from flask_redis_session.request.mapping import TrackedMapping
from flask_redis_session.request.owner import OwnedMapping
from flask_redis_session.storage import commit as commit_module
from tests.concurrency import operations as o
from tests.concurrency.breakages import rewritten
from tests.concurrency.counting import AT_ONCE
from tests.concurrency.interleaving import Options, Violation
from tests.concurrency.messages import (
    APPEND,
    APPEND_TWICE,
    FLASH,
    MERGING,
    MESSAGE_ALONE,
    OTHERS,
    RESET,
    SHOW,
    SHOW_LAST,
    TOLD,
    check,
)

pytestmark = [
    pytest.mark.one_server("puts the commands to one server in order"),
    pytest.mark.timeout(600),
]

REDUCED = Options(reduced=True)
RESENT = Options(fates=("ok", "lost"), faults=1, reduced=True)
GIVEN_UP = Options(fates=("ok", "lost", "cut"), faults=1, reduced=True)


@pytest.mark.parametrize("first", [*MERGING, APPEND_TWICE], ids=str)
def test_with_every_other(stage, first):
    """Beside any other operation nothing is lost, and nothing comes back."""
    orders = [
        stage.explore(TOLD, first, other, options=REDUCED, check=check).orders
        for other in (*MERGING, *AT_ONCE, *OTHERS)
    ]

    assert min(orders) > 0


@pytest.mark.parametrize(
    "three",
    [*combinations_with_replacement((FLASH, SHOW, o.CLEAR, o.SIGN_OUT), 3), (APPEND,) * 3],
    ids=lambda three: ", ".join(map(str, three)),
)
def test_three(stage, three):
    """So it is with three at once."""
    assert stage.explore(TOLD, *three, options=REDUCED, check=check).orders > 1


@pytest.mark.parametrize(("options", "retries"), [(RESENT, 1), (GIVEN_UP, 0)])
@pytest.mark.parametrize("first", MERGING, ids=str)
def test_a_lost_reply(stage, first, options, retries):
    """A commit that is sent again, or never arrives, loses nothing."""
    for other in (*MERGING, o.SAVE, o.SIGN_OUT):
        total = stage.explore(TOLD, first, other, options=options, retries=retries, check=check)

        assert total.orders > 1


def test_the_last_key(stage):
    """A session ends with its last message, unless another one came since."""
    for other in (SHOW_LAST, FLASH, o.SAVE, o.CLEAR, o.READ):
        group = (SHOW_LAST, other)
        assert stage.explore(MESSAGE_ALONE, *group, options=REDUCED, check=check).orders > 1


def test_unread_is_overwritten(stage):
    """Who assigns what it did not read leaves what it assigned."""
    for group in ((RESET, APPEND), (RESET, APPEND, APPEND), (RESET, RESET)):
        assert stage.explore(TOLD, *group, options=REDUCED, check=check).orders > 1


def _no_guard(monkeypatch):
    monkeypatch.setattr(GuardedMapping, "_changes", OwnedMapping._changes)


def _guards_all_that_was_loaded(monkeypatch):
    original = GuardedMapping._changes

    def changes(self):
        rules = {key.encode() for key in self._backend.rules}
        self._bases = {name: text for name, text in self._fields.items() if name in rules}
        return original(self)

    monkeypatch.setattr(GuardedMapping, "_changes", changes)


def _does_not_put_back(monkeypatch):
    def settle(self, changes):
        TrackedMapping._settle(self, changes)
        self._bases |= {name: changes.sets.get(name) for name in changes.guards}

    monkeypatch.setattr(GuardedMapping, "_settle", settle)


def _replaces_the_base(monkeypatch):
    original = conflict_module.merge

    def merge(draft, step, stored: Mapping[bytes, bytes | None]):
        draft = draft._replace(changes=replace(draft.changes, guards=step.changes.guards))
        return original(draft, step, stored)

    monkeypatch.setattr(save_module, "merge", merge)


def _merges_into_nothing(monkeypatch):
    original = conflict_module.merge
    monkeypatch.setattr(
        save_module,
        "merge",
        lambda draft, step, stored: original(draft, step, stored)._replace(
            changes=replace(step.changes, guards={})
        ),
    )


class TestNoticed:
    """What is broken on purpose is noticed: these tests can fail."""

    @pytest.mark.parametrize(
        ("apply", "group"),
        [
            (_no_guard, (FLASH, FLASH)),
            (_no_guard, (FLASH, SHOW)),
            (_no_guard, (APPEND, APPEND)),
            (_guards_all_that_was_loaded, (RESET, APPEND)),
            (_does_not_put_back, (APPEND_TWICE, APPEND)),
            (_replaces_the_base, (FLASH, FLASH, FLASH)),
            (_merges_into_nothing, (FLASH, SHOW)),
        ],
        ids=lambda each: getattr(each, "__name__", None) or ", ".join(map(str, each)),
    )
    def test_python(self, stage, monkeypatch, apply, group):
        """A rule that is left out is noticed in some order."""
        apply(monkeypatch)

        with pytest.raises(Violation):
            stage.explore(TOLD, *group, options=REDUCED, check=check)

    @pytest.mark.parametrize(
        ("code", "replacement", "group"),
        [
            (
                "  if conflicts then\n",
                "  if conflicts then redis.call('HSET', key, ARGV[6 + deletions], '[]')\n",
                (FLASH, FLASH),
            ),
            ("conflicts = conflicts or text ~= (wanted[field] or false)", "", (FLASH, SHOW)),
            ("redis.sha1hex(text) or ''", "ARGV[i + 1] or ''", (FLASH, FLASH)),
        ],
        ids=["the check after the first write", "no check", "only whether it is there"],
    )
    def test_script(self, stage, monkeypatch, code, replacement, group):
        """A script with its check in another place, or without it, is noticed in some order."""
        text = commit_module._COMMIT.text

        assert code in text
        monkeypatch.setattr(commit_module, "_COMMIT", rewritten(text.replace(code, replacement)))
        with pytest.raises(Violation):
            stage.explore(TOLD, *group, options=REDUCED, check=check)
