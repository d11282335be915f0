"""What an application is told if its sessions hold something, and nobody is signed in."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any
from uuid import UUID

from .user import UserKeys

log = logging.getLogger("flask_redis_session")

#: How many keys are named at most.
NAMED = 3
#: How deep in dicts a user is looked for.
DEPTH = 2

_WHO = r"user|account|login|member|customer|person|profile|identity|principal"
_USER = re.compile(rf"(.*_)?(({_WHO})(_?(id|name|info))?|uid|sub|e?mail)", re.IGNORECASE)


class UserAdvice:
    """Tells once that a session holds something but no user, and what in it looks like one."""

    def __init__(self) -> None:
        self._given = False

    def give(self, keys: UserKeys, session: Mapping[str, Any]) -> None:
        """Log it, unless that was done before or the session holds nothing.

        :param keys: under which the user was looked for.
        :param session: the session; it is loaded whole.
        """
        if self._given or not session:
            return
        self._given = True
        found = [f"`{name}`" for name in islice(look_like_users(session), NAMED)]
        hint = (
            f"{', '.join(found) or 'If somebody is signed in, name the key'}: set SESSION_USER_KEY."
        )
        log.warning("A session holds something, but no user under %s. %s", keys, hint)


def look_like_users(held: Mapping[Any, Any], way: tuple[str, ...] = ()) -> Iterator[str]:
    """Yield the keys, and the paths, that seem to hold a user's id.

    :param held: a session, or a dict in one.
    :param way: the keys that lead to it.
    """
    for key, value in held.items():
        if not isinstance(key, str) or not key.isprintable() or "." in key:
            continue
        if isinstance(value, Mapping):
            if len(way) < DEPTH:
                yield from look_like_users(value, (*way, key))
        elif _is_id(value) and _is_users(key, way):
            yield ".".join((*way, key))


def _is_users(key: str, way: tuple[str, ...]) -> bool:
    # Anything may have an "id"; that of a dict which is called after a user is a user's.
    return _USER.fullmatch(way[-1] if way and key == "id" else key) is not None


def _is_id(value: object) -> bool:
    return isinstance(value, (str, int, UUID)) and not isinstance(value, bool) and value != ""
