"""One value of a session to one JSON text and back, with its exact type.

A value of JSON's own types is written as plain JSON. Any other value that can be stored makes the
text a *tagged* one. A tag is an object with exactly one key, and that key begins with a space:

======  ==================================  ======================================================
key     payload                             value
======  ==================================  ======================================================
" t"    list                                tuple
" s"    list, sorted by the elements' text  set
" b"    string: base64, padded              bytes
" i"    string: hexadecimal, "-0x1f"        int that does not fit in 64 bits
" f"    string: "nan", "inf" or "-inf"      float that JSON does not have
" n"    string, as Python's str() gives it  Decimal
" dt"   string: ISO 8601                    datetime; the offset is kept, the zone's name is not
" df"   string: ISO 8601                    the same with fold=1: the second of two equal times
" d"    string: ISO 8601                    date
" td"   list: days, seconds, microseconds   timedelta
" u"    string: with hyphens                UUID
" m"    string                              Markup
" "     object that looks like a tag        that object, as a dict
" v"    list or object                      the same, with tags in it; only outermost
======  ==================================  ======================================================

A text is tagged if its outermost value is a tag, and only then are tags looked for inside it:
``{"at":{" d":"2030-01-02"}}`` is plain JSON, a dict in a dict, and
``{" v":{"at":{" d":"2030-01-02"}}}`` is a dict with a date in it.
"""

from __future__ import annotations

import base64
import dataclasses
import re
from collections.abc import Callable, Collection, Iterable
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum
from gc import get_referents
from itertools import repeat
from math import isfinite
from typing import Any
from uuid import UUID

import orjson
from markupsafe import Markup

from flask_redis_session.errors import UnreadableValue, UnstorableValue

# Of lists, dicts, tuples and sets. Each may take two levels of JSON, and orjson writes 254.
MAX_DEPTH = 100

_SCALARS = frozenset({str, int, float, bool, type(None)})
_BRANCHES = frozenset({list, dict})
_JSON = _SCALARS | _BRANCHES
#: What a decoded value can be of that can't change in place. A tuple can: it may hold a list.
FROZEN = _SCALARS | {bytes, datetime, date, timedelta, UUID, Decimal, Markup}

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
    :raises UnstorableValue: if it, or something inside it, would not come back as it is.
    """
    kind = type(value)
    if kind in _JSON:
        try:
            text = orjson.dumps(value, None, _PASS_THROUGH)
        except TypeError:
            pass  # what follows either has a tag for the cause, or says where it is
        else:
            if _is_plain(kind, value, text):
                return text
    try:
        tree = _tagged(value, MAX_DEPTH)
    except _Refused as refused:
        raise UnstorableValue(key, refused.problem()) from None
    if kind in _BRANCHES and not _is_tag(tree):
        tree = {" v": tree}
    return orjson.dumps(tree)


def decode(text: bytes) -> Any:
    """Read back what :func:`encode` wrote; what this returns can be encoded again.

    :param text: the JSON text.
    :raises UnreadableValue: if it is damaged, whatever the damage is. Nothing of it is executed.
    """
    try:
        tree = orjson.loads(text)
        if type(tree) not in _BRANCHES:
            return tree
        if _is_tag(tree):
            return _untagged(tree.get(" v", tree), MAX_DEPTH)
        if len(text) <= 2 * MAX_DEPTH or not _is_deep(tree):
            return tree
        problem = f"more than {MAX_DEPTH} levels deep"
    except orjson.JSONDecodeError as error:
        problem = f"not JSON: {error}"
    except (ValueError, TypeError, KeyError, ArithmeticError, RecursionError):
        # The messages of some of them repeat the text.
        problem = "an unknown or malformed tag"
    raise UnreadableValue(problem)


def _is_tag(value: Any) -> bool:
    return type(value) is dict and len(value) == 1 and next(iter(value))[:1] == " "


def _is_plain(kind: type, value: Any, text: bytes) -> bool:
    """Tell whether ``value``, which orjson wrote as ``text``, is also what is read back.

    This looks at a whole level at a time, with no step of Python per element. It sees no more
    elements than orjson wrote, even where one list is in many places.
    """
    level: Collection[Any]
    if kind is dict:
        if _is_tag(value):
            return False
        level = value.values()
    elif kind is list:
        level = value
    else:
        return kind is not float or isfinite(value)
    for _ in range(MAX_DEPTH):
        kinds = set(map(type, level))
        if not kinds <= _JSON:
            return False
        # NaN and the infinities are null in the text.
        if float in kinds and _find_null(text):  # noqa: SIM102
            if not all(isfinite(item) for item in level if type(item) is float):
                return False
        if kinds.isdisjoint(_BRANCHES):
            return True
        level = get_referents(*level)
    return False


class _Refused(Exception):
    """A part of a value can't be stored; on the way out, each level adds where it is."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        self.place: list[str] = []

    def problem(self) -> str:
        place = "".join(self.place[:-9:-1]) + "..." * (len(self.place) > 8)
        return f"the value at {place} {self.reason}" if place else f"the value {self.reason}"


def _tagged(value: Any, depth: int) -> Any:
    """Build what orjson is to write; ``depth`` is how many levels there may still be."""
    kind = type(value)
    if kind in _TO_TAG:
        return _TO_TAG[kind](value)
    if kind not in _TO_TREE:
        raise _Refused(f"is of type {kind.__qualname__}: {_advice(kind)}")
    if depth == 0:
        raise _Refused(f"is more than {MAX_DEPTH} levels deep, or contains itself: flatten it")
    names = [_checked(name, "dict key") for name in value] if kind is dict else None
    items: list[Any] = []
    try:
        children = value if names is None else value.values()
        items.extend(map(_tagged, children, repeat(depth - 1)))
    except _Refused as refused:
        at = len(items) if names is None else names[len(items)]
        refused.place.append("{...}" if kind is set else f"[{at!r}]")
        raise
    return _TO_TREE[kind](names, items)


def _tagged_dict(names: Any, items: list[Any]) -> Any:
    tree = dict(zip(names, items, strict=True))
    return {" ": tree} if _is_tag(tree) else tree


def _checked(text: Any, role: str = "str") -> str:
    if type(text) is not str:
        raise _Refused(f"has a {role} of type {type(text).__qualname__}: convert it to str")
    try:
        text.isascii() or text.encode()
    except UnicodeEncodeError:
        raise _Refused(f"has a {role} with a lone surrogate: store bytes instead") from None
    return text


def _tagged_datetime(value: datetime) -> Any:
    try:
        if value.tzinfo is None or value.utcoffset() is not None:
            return {" df" if value.fold else " dt": value.isoformat()}
    except Exception as error:
        raise _Refused("has a tzinfo that fails: use datetime.timezone.utc") from error
    raise _Refused("has a tzinfo that knows no offset: use datetime.timezone.utc, or none")


def _advice(kind: type) -> str:
    if issubclass(kind, Enum):
        return "store its .value"
    if dataclasses.is_dataclass(kind):
        return "convert it with dataclasses.asdict()"
    if issubclass(kind, time):
        return "convert it with .isoformat()"
    for base in (*_TO_TAG, *_TO_TREE):
        if issubclass(kind, base):
            return f"convert it to a plain {base.__name__}"
    return f"convert it to one of {', '.join(base.__name__ for base in (*_TO_TAG, *_TO_TREE))}"


# By the exact type, since a subclass would come back as its base. And by the classes as they are
# now, since a test that freezes the time puts others under the names.
_TO_TAG: dict[type, Callable[[Any], Any]] = {
    Markup: lambda value: {" m": _checked(str(value))},
    str: _checked,
    bool: lambda value: value,
    type(None): lambda value: value,
    # Python limits the length of an int in decimal, and hexadecimal costs less.
    int: lambda value: value if -(2**63) <= value < 2**64 else {" i": hex(value)},
    float: lambda value: value if isfinite(value) else {" f": repr(value)},
    bytes: lambda value: {" b": base64.b64encode(value).decode()},
    datetime: _tagged_datetime,
    date: lambda value: {" d": value.isoformat()},
    timedelta: lambda value: {" td": [value.days, value.seconds, value.microseconds]},
    UUID: lambda value: {" u": str(value)},
    Decimal: lambda value: {" n": str(value)},
}
_TO_TREE: dict[type, Callable[[Any, list[Any]], Any]] = {
    dict: _tagged_dict,
    list: lambda _, items: items,
    tuple: lambda _, items: {" t": items},
    set: lambda _, items: {" s": sorted(items, key=orjson.dumps)},
}


def _is_deep(tree: Any) -> bool:
    level: Collection[Any] = tree.values() if type(tree) is dict else tree
    for _ in range(MAX_DEPTH - 1):
        level = get_referents(*level)
        if not level:
            return False
    return not _BRANCHES.isdisjoint(map(type, level))


def _untagged(node: Any, depth: int, *, literal: bool = False) -> Any:
    """Replace the tags in ``node``, in place; ``literal`` if it is not a tag itself."""
    pairs: Iterable[tuple[Any, Any]]
    if type(node) is list:
        pairs = enumerate(node)
    elif type(node) is not dict:
        return node
    elif literal or not _is_tag(node):
        pairs = node.items()
    else:
        [(tag, payload)] = node.items()
        shape, read = _FROM_TAG[tag]
        if type(payload) is not shape or (tag == " " and not _is_tag(payload)):
            raise TypeError
        if tag in _NESTING:
            payload = _untagged(payload, depth, literal=tag == " ")
        return read(payload)
    if depth == 0:
        raise RecursionError
    for at, item in pairs:
        if type(item) in _BRANCHES:
            node[at] = _untagged(item, depth - 1)
    return node


def _float(payload: str) -> float:
    if payload not in {"nan", "inf", "-inf"}:
        raise ValueError
    return float(payload)


def _decimal(payload: str) -> Decimal:
    value = Decimal(payload)
    # The application's decimal context may make NaN of nonsense.
    if value.is_nan() and "nan" not in payload.lower():
        raise ValueError
    return value


def _timedelta(payload: list[Any]) -> timedelta:
    if [type(part) for part in payload] != [int, int, int]:
        raise TypeError
    return timedelta(*payload)


_from_iso = datetime.fromisoformat


def _datetime(payload: str) -> datetime:
    value = _from_iso(payload)
    # Python reads an offset of less than a second as none.
    if value.tzinfo is timezone.utc and payload[-16:-6] in {"+00:00:00.", "-00:00:00."}:
        offset = timedelta(microseconds=int(payload[-16] + payload[-6:]))
        return value.replace(tzinfo=timezone(offset))
    return value


_FROM_TAG: dict[str, tuple[type, Callable[[Any], Any]]] = {
    " t": (list, tuple),
    " s": (list, set),
    " b": (str, lambda payload: base64.b64decode(payload, validate=True)),
    " i": (str, lambda payload: int(payload, 16)),
    " f": (str, _float),
    " n": (str, _decimal),
    " dt": (str, _datetime),
    " df": (str, lambda payload: _datetime(payload).replace(fold=1)),
    " d": (str, date.fromisoformat),
    " td": (list, _timedelta),
    " u": (str, UUID),
    " m": (str, Markup),
    " ": (dict, lambda payload: payload),
}
_NESTING = frozenset({" t", " s", " "})
