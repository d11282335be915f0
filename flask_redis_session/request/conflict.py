"""What a save does if another request has stored something else since this one read it."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from random import random
from time import monotonic, sleep
from typing import Any

from flask_redis_session.errors import UnreadableValue
from flask_redis_session.storage.record import key_of

from .codec import decode, encode
from .draft import Draft
from .mapping import log_damage
from .outcome import Commit
from .rule import Rule

log = logging.getLogger("flask_redis_session")

#: How often a commit is sent that may meet a conflict, and from which time on there is a pause.
MOST_TRIES = 64
FIRST_PAUSE = 3
#: How long a pause takes at most, and how long one save goes on, in seconds.
PAUSE = 0.02
LONGEST = 1.0

_GAVE_UP = "The last write wins on %s after %d tries to merge: too many requests change it at once."


def merge(draft: Draft, step: Commit, stored: Mapping[bytes, bytes | None]) -> Commit:
    """Return the commit to send next, with what the request wants merged into what is stored.

    What the request read and what it made of it stay what they were, however often this is done.

    :param draft: what the request wants.
    :param step: the commit that met the conflict.
    :param stored: what the guarded fields hold.
    :raises Exception: what an application's rule raises.
    """
    sets, deletes = dict(step.changes.sets), [*step.changes.deletes]
    for name, theirs in stored.items():
        base, mine = draft.changes.guards[name], draft.changes.sets.get(name)
        key = key_of(name) or ""
        text = mine if theirs in (base, mine) else _merged(key, draft.rules, base, mine, theirs)
        sets.pop(name, None)
        if name in deletes:
            deletes.remove(name)
        if text is None:
            deletes.append(name)
        else:
            sets[name] = text
    changes = replace(step.changes, sets=sets, deletes=deletes, guards={**stored})
    return step._replace(changes=changes)


def _merged(
    key: str,
    rules: Mapping[str, Rule],
    base: bytes | None,
    mine: bytes | None,
    theirs: bytes | None,
) -> bytes | None:
    value = rules[key](*(_value(key, text) for text in (base, mine, theirs)))
    if value is not None:
        return encode(key, value)
    # None is no value, unless one of the two has stored it.
    return next((text for text in (mine, theirs) if text in (None, b"null")), None)


def _value(key: str, text: bytes | None) -> Any:
    """Return a value of the rule's own: it may change it."""
    try:
        return None if text is None else decode(text)
    except UnreadableValue as error:
        log_damage(key, error)
        return None


class Patience:
    """How long one save goes on merging: a merge never fails a request."""

    def __init__(self) -> None:
        self._tries = 1
        self._began = monotonic()

    def again(self, step: Commit) -> Commit:
        """Return what to send for a merged commit: itself, or at last the same without guards.

        From the third try on this pauses at random, so that the same requests do not meet again.

        :param step: the merged commit.
        """
        self._tries += 1
        if self._tries > MOST_TRIES or monotonic() - self._began > LONGEST:
            keys = ", ".join(repr(key_of(name)) for name in step.changes.guards)
            log.warning(_GAVE_UP, keys, self._tries - 1)
            return step._replace(changes=replace(step.changes, guards={}))
        if self._tries >= FIRST_PAUSE:
            sleep(random() * PAUSE)  # noqa: S311 - it protects nothing
        return step
