"""What a value of a type that does not come back as it is, is stored as.

The rules are those of Flask's own session: a subclass as its base, a mapping as its items, an
object with ``__html__`` as Markup, a dataclass as a dict.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from typing import Any
from uuid import UUID

from markupsafe import Markup

from .kinds import FROZEN, KEPT
from .refusal import Refused, TooDeep
from .registration import registration_of


def based(value: Any, depth: int) -> Any:
    """Build what a value is stored as: of types that come back as they are, and registered ones.

    :param value: any value; it is not changed.
    :param depth: how many levels there may still be.
    :raises Refused: if there is nothing that it could be stored as.
    """
    kind = type(value)
    if kind not in KEPT:
        if registration_of(kind):
            return value
        value = _opened(value)
        kind = type(value)
    if kind in FROZEN:
        return value
    if depth == 0:
        raise TooDeep
    if kind is dict:
        found = {}
        for name, item in value.items():
            key = _based_key(name, depth - 1)
            found[key] = _part(item, depth - 1, f"[{key!r}]")
        return found
    if kind is set:
        return {_based_element(item, depth - 1) for item in value}
    return kind([_part(item, depth - 1, f"[{at}]") for at, item in enumerate(value)])


def _part(value: Any, depth: int, place: str) -> Any:
    try:
        return based(value, depth)
    except Refused as refused:
        refused.place.append(place)
        raise


def _based_element(value: Any, depth: int) -> Any:
    element = _part(value, depth, "{...}")
    if not _is_hashable(element):
        raise Refused(
            f"has a set element that comes back as a {type(element).__name__} and so can't be in "
            "a set: store a list"
        )
    return element


def _based_key(value: Any, depth: int) -> Any:
    try:
        key = based(value, depth)
    except Refused as refused:
        refused.reason = f"has a dict key that {refused.reason}"
        refused.place.clear()
        raise
    if not _is_hashable(key):
        raise Refused(f"has a dict key that comes back as a {type(key).__name__}: use a tuple")
    return key


def _is_hashable(value: Any) -> bool:
    try:
        hash(value)
    except TypeError:
        return False
    return True


def _opened(value: Any) -> Any:
    """Return the value of a kept type that a value of another type stands for, one level of it.

    Most of this runs the methods of the application's types, which may fail in any way.
    """
    kind = type(value)
    try:
        for base, build in _BEFORE_HTML:
            if isinstance(value, base):
                return build(base, value)
        is_class = isinstance(value, type)
        if not is_class and callable(getattr(value, "__html__", None)):
            return Markup(str(value.__html__()))  # noqa: S704 (it says that it is HTML)
        for base, build in _AFTER_HTML:
            if isinstance(value, base):
                return build(base, value)
        if not is_class and dataclasses.is_dataclass(value):
            return {each.name: getattr(value, each.name) for each in dataclasses.fields(value)}
        if isinstance(value, Mapping):
            return dict(value.items())
    except Exception as error:
        problem = f"is of type {kind.__qualname__} and raises {type(error).__name__}"
        raise Refused(f"{problem} when it is read") from error
    raise Refused(f"is of type {_name(kind)}: {_advice(kind)}")


def _name(kind: type) -> str:
    # There is a numpy.bool.
    alike = kind.__name__ in {base.__name__ for base in KEPT}
    return f"{kind.__module__}.{kind.__qualname__}" if alike else kind.__qualname__


def _advice(kind: type) -> str:
    if issubclass(kind, Enum):
        return "store its .value"
    if issubclass(kind, time):
        return "convert it with .isoformat()"
    names = ", ".join(sorted(base.__name__ for base in KEPT))
    return f"convert it to one of {names}, or use register_type()"


# In the order in which Flask looks. A builder takes the base from here: a test that freezes the
# time puts other classes under the names.
_Builder = Callable[[Any, Any], Any]
_BEFORE_HTML: tuple[tuple[type, _Builder], ...] = (
    # Not by dict(): werkzeug's MultiDict holds lists, and gives the first of each as its item.
    (dict, lambda base, value: base(value.items())),
    (tuple, lambda base, value: base(value)),
    (list, lambda base, value: base(value)),
    (bytes, lambda base, value: base(memoryview(value))),
)
_AFTER_HTML: tuple[tuple[type, _Builder], ...] = (
    (UUID, lambda base, value: base(int=value.int)),
    (
        datetime,
        lambda base, value: base(
            *(value.year, value.month, value.day, value.hour, value.minute, value.second),
            value.microsecond,
            value.tzinfo,
            fold=value.fold,
        ),
    ),
    # Not by str() or int(): an Enum and a lazy string have their own idea of these.
    (str, lambda base, value: base.__str__(value)),
    (int, lambda base, value: base.__index__(value)),
    (float, lambda base, value: base.__float__(value)),
    (date, lambda base, value: base(value.year, value.month, value.day)),
    (Decimal, lambda base, value: base(value.as_tuple())),
    (timedelta, lambda base, value: base(value.days, value.seconds, value.microseconds)),
    (set, lambda base, value: base(value)),
)
