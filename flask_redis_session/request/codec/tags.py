"""Values with their types <-> what JSON can hold: the tags.

A tag is an object with exactly one key, and that key begins with a space:

======  ==================================  ======================================================
key     payload                             value
======  ==================================  ======================================================
" t"    list                                tuple
" s"    list, sorted by the elements' text  set
" k"    list: key, value, key, value, ...   dict with a key that is no string, or an escaped one
" b"    string: base64, padded              bytes
" e"    string, escaped                     str with a lone surrogate
" i"    string: hexadecimal, "-0x1f"        int that does not fit in 64 bits
" f"    string: "nan", "inf" or "-inf"      float that JSON does not have
" n"    string, as Python's str() gives it  Decimal
" dt"   string: ISO 8601                    datetime; the offset is kept, the zone's name is not
" df"   string: ISO 8601                    the same with fold=1: the second of two equal times
" d"    string: ISO 8601                    date
" td"   list: days, seconds, microseconds   timedelta
" u"    string: with hyphens                UUID
" m"    string                              Markup
" me"   string, escaped                     Markup with a lone surrogate
" x"    list: name, payload                 value of a type that the application registered
" "     object that looks like a tag        that object, as a dict
" v"    list or object                      the same, with tags in it; only outermost
======  ==================================  ======================================================

``storage/surrogates.py`` says what an escaped string is.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from itertools import chain, repeat
from math import isfinite
from typing import Any
from uuid import UUID

import orjson
from markupsafe import Markup

from flask_redis_session.storage.surrogates import escaped, is_utf8, unescaped

from .bases import based
from .kinds import JSON_BRANCHES
from .refusal import Refused, TooDeep
from .registration import Registration, registration_of, revived


class Unlike(Exception):
    """A part is of a type that does not come back as it is; its base may be storable."""


def is_tag(value: Any) -> bool:
    """Tell whether a value looks like a tag: a dict with one key, which begins with a space."""
    return type(value) is dict and len(value) == 1 and next(iter(value))[:1] == " "


def tagged(value: Any, depth: int) -> Any:
    """Build what orjson is to write.

    :param value: a value of kept or registered types throughout.
    :param depth: how many levels there may still be.
    :raises Unlike: if a part is of another type.
    :raises Refused: if a part can't be stored.
    """
    kind = type(value)
    if kind in _TO_TAG:
        return _TO_TAG[kind](value)
    if kind not in _TO_TREE:
        registration = registration_of(kind)
        if registration is None:
            raise Unlike
        return _tagged_registered(registration, value, depth)
    if depth == 0:
        raise TooDeep
    names = _names(value, depth - 1) if kind is dict else None
    items: list[Any] = []
    try:
        children = value if names is None else value.values()
        items.extend(map(tagged, children, repeat(depth - 1)))
    except Refused as refused:
        at = len(items) if names is None else names[len(items)]
        refused.place.append("{...}" if kind is set else f"[{at!r}]")
        raise
    return _TO_TREE[kind](names, items)


def _names(value: dict[Any, Any], depth: int) -> list[Any]:
    return [name if type(name) is str and name.isascii() else tagged(name, depth) for name in value]


def _tagged_dict(names: Any, items: list[Any]) -> Any:
    if set(map(type, names)) <= {str}:
        tree = dict(zip(names, items, strict=True))
        return {" ": tree} if is_tag(tree) else tree
    return {" k": [*chain.from_iterable(zip(names, items, strict=True))]}


def _tagged_registered(registration: Registration, value: Any, depth: int) -> Any:
    if depth == 0:
        raise TooDeep
    try:
        payload = based(registration.payload(value), depth - 1)
        return {" x": [registration.name, tagged(payload, depth - 1)]}
    except Refused as refused:
        refused.place.append(f"({registration.name})")
        raise


def _tagged_str(text: str) -> Any:
    return text if is_utf8(text) else {" e": escaped(text)}


def _tagged_markup(value: Markup) -> Any:
    text = str(value)
    return {" m": text} if is_utf8(text) else {" me": escaped(text)}


def _tagged_datetime(value: datetime) -> Any:
    try:
        if value.tzinfo is not None and value.utcoffset() is None:
            # As Flask does it: the time is one of this machine's zone.
            value = value.astimezone(timezone.utc)
        return {" df" if value.fold else " dt": value.isoformat()}
    except Exception as error:
        raise Refused("has a tzinfo that fails: use datetime.timezone.utc") from error


# By the exact type, since what is read back is of it. And by the classes as they are now, since a
# test that freezes the time puts others under the names.
_TO_TAG: dict[type, Callable[[Any], Any]] = {
    Markup: _tagged_markup,
    str: _tagged_str,
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


def untagged(node: Any, depth: int, *, literal: bool = False) -> Any:
    """Replace the tags in what was read, in place.

    :param node: what orjson read.
    :param depth: how many levels there may still be.
    :param literal: whether the outermost is an object that only looks like a tag.
    """
    pairs: Iterable[tuple[Any, Any]]
    if type(node) is list:
        pairs = enumerate(node)
    elif type(node) is not dict:
        return node
    elif literal or not is_tag(node):
        pairs = node.items()
    else:
        [(tag, payload)] = node.items()
        shape, read = _FROM_TAG[tag]
        if type(payload) is not shape or (tag == " " and not is_tag(payload)):
            raise TypeError
        if tag in _NESTING:
            payload = untagged(payload, depth, literal=tag == " ")
        return read(payload)
    if depth == 0:
        raise RecursionError
    for at, item in pairs:
        if type(item) in JSON_BRANCHES:
            node[at] = untagged(item, depth - 1)
    return node


def _pairs(payload: list[Any]) -> dict[Any, Any]:
    return dict(zip(payload[::2], payload[1::2], strict=True))


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
    " k": (list, _pairs),
    " e": (str, unescaped),
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
    " me": (str, lambda payload: Markup(unescaped(payload))),  # noqa: S704 (it was one)
    " x": (list, revived),
    " ": (dict, lambda payload: payload),
}
_NESTING = frozenset({" t", " s", " k", " x", " "})
