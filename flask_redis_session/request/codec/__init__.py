"""One value of a session to one JSON text and back.

A value of JSON's own types is written as plain JSON. Any other value that can be stored makes the
text a tagged one: see `tags`. A text is tagged if its outermost value is a tag, and only then are
tags looked for inside it: ``{"at":{" d":"2030-01-02"}}`` is plain JSON, a dict in a dict, and
``{" v":{"at":{" d":"2030-01-02"}}}`` is a dict with a date in it.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from gc import get_referents
from math import isfinite
from typing import Any

import orjson

from flask_redis_session.errors import UnreadableValue, UnstorableValue

from .bases import based
from .kinds import FROZEN, JSON, JSON_BRANCHES
from .refusal import MAX_DEPTH, Refused
from .tags import Unlike, is_tag, tagged, untagged

__all__ = ["FROZEN", "MAX_DEPTH", "decode", "encode", "is_same"]

# What orjson has a form of its own for would not come back. With these options it stops at most
# of it, which is soonest; for tuple, UUID, Enum, Fragment and NaN it has none: see `_is_plain`.
_PASS_THROUGH = (
    orjson.OPT_PASSTHROUGH_DATETIME
    | orjson.OPT_PASSTHROUGH_DATACLASS
    | orjson.OPT_PASSTHROUGH_SUBCLASS
)

# In a long text, faster than `in`.
_find_null = re.compile(b"null").search


def encode(key: str, value: object) -> bytes:
    """Write a value as one JSON text.

    :param key: the session key that the value is under, for the error.
    :param value: the value; it is not changed.
    :raises UnstorableValue: if it, or something inside it, has no form in Redis.
    """
    kind = type(value)
    if kind in JSON:
        try:
            text = orjson.dumps(value, None, _PASS_THROUGH)
        except TypeError:
            pass  # what follows either has a form for the cause, or says where it is
        else:
            if _is_plain(kind, value, text):
                return text
    try:
        try:
            tree = tagged(value, MAX_DEPTH)
        except Unlike:
            return encode(key, based(value, MAX_DEPTH))
    except Refused as refused:
        # If a method of the application failed, the cause is its error.
        raise UnstorableValue(key, refused.problem()) from refused.__cause__
    if kind in JSON_BRANCHES and not is_tag(tree):
        tree = {" v": tree}
    return orjson.dumps(tree)


def decode(text: bytes) -> Any:
    """Read back what :func:`encode` wrote; what this returns can be encoded again.

    :param text: the JSON text.
    :raises UnreadableValue: if it is damaged, whatever the damage is. Nothing of it is executed.
    """
    try:
        tree = orjson.loads(text)
        if type(tree) not in JSON_BRANCHES:
            return tree
        if is_tag(tree):
            return untagged(tree.get(" v", tree), MAX_DEPTH)
        if len(text) <= 2 * MAX_DEPTH or not _is_deep(tree):
            return tree
        problem = f"more than {MAX_DEPTH} levels deep"
    except orjson.JSONDecodeError as error:
        problem = f"not JSON: {error}"
    except UnreadableValue as error:
        problem = str(error)
    except (ValueError, TypeError, KeyError, ArithmeticError, RecursionError):
        # The messages of some of them repeat the text.
        problem = "an unknown or malformed tag"
    raise UnreadableValue(problem)


def is_same(stored: bytes | None, text: bytes) -> bool:
    """Tell whether a stored text has the value that :func:`encode` wrote as another text.

    :param stored: what is stored; ``None``: nothing.
    :param text: what would be written.
    """
    if stored is None or stored == text:
        return stored is not None
    if stored[:1] == stored[-1:] == b'"' and b"\\" not in stored:
        # There is no other way to write such a string.
        return False
    try:
        # Another program may have written the same value with other white space.
        return encode("", decode(stored)) == text
    except (UnreadableValue, UnstorableValue):
        return False


def _is_plain(kind: type, value: Any, text: bytes) -> bool:
    """Tell whether ``value``, which orjson wrote as ``text``, is also what is read back.

    This looks at a whole level at a time, with no step of Python per element. It sees no more
    elements than orjson wrote, even if one list is in many places.
    """
    level: Collection[Any]
    if kind is dict:
        if is_tag(value):
            return False
        level = value.values()
    elif kind is list:
        level = value
    else:
        return kind is not float or isfinite(value)
    for _ in range(MAX_DEPTH):
        kinds = set(map(type, level))
        if not kinds <= JSON:
            return False
        # NaN and the infinities are null in the text.
        if float in kinds and _find_null(text):  # noqa: SIM102
            if not all(isfinite(item) for item in level if type(item) is float):
                return False
        if kinds.isdisjoint(JSON_BRANCHES):
            return True
        level = get_referents(*level)
    return False


def _is_deep(tree: Any) -> bool:
    level: Collection[Any] = tree.values() if type(tree) is dict else tree
    for _ in range(MAX_DEPTH - 1):
        level = get_referents(*level)
        if not level:
            return False
    return not JSON_BRANCHES.isdisjoint(map(type, level))
