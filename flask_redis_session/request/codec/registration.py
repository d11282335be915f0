"""The types that an application has registered, and how their values become JSON and back."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from flask_redis_session.errors import UnreadableValue

from .kinds import KEPT
from .refusal import Refused

_T = TypeVar("_T")

_match_name = re.compile(r"[A-Za-z0-9_.:-]{1,64}").fullmatch


@dataclass(frozen=True)
class Registration:
    """One registered type."""

    cls: type
    name: str
    to_json: Callable[[Any], Any]
    from_json: Callable[[Any], Any]

    def payload(self, value: Any) -> Any:
        """Return what the application makes of a value.

        :raises Refused: if the application's function fails.
        """
        try:
            return self.to_json(value)
        except Exception as error:
            problem = f"is of type {type(value).__qualname__}, whose to_json raises"
            raise Refused(f"{problem} {type(error).__name__}") from error


_BY_NAME: dict[str, Registration] = {}
_BY_TYPE: dict[type, Registration] = {}


def register_type(
    cls: type[_T], name: str, to_json: Callable[[_T], Any], from_json: Callable[[Any], _T]
) -> None:
    """Store values of a type of the application's own, in every session of this process.

    Call it where the type is defined. It counts for subclasses as well, and it goes before the rule
    that a subclass is stored as its base. To register a type again replaces its functions.

    :param cls: the type.
    :param name: what Redis holds in its place: 1 to 64 letters, digits or ``_ . : -``. Keep it: a
        stored value whose name is not registered counts as absent.
    :param to_json: takes a value and returns anything that a session may hold.
    :param from_json: takes what ``to_json`` returned and returns the value. If it raises, the
        stored value counts as absent.
    :raises TypeError: if ``cls`` is no class, or one of the functions can't be called.
    :raises ValueError: if the name is malformed or another type's, if the type has another name,
        or if sessions store it by themselves.
    """
    if not isinstance(cls, type):
        raise TypeError(f"register_type: {cls!r} is not a class.")
    if not all(map(callable, (to_json, from_json))):
        raise TypeError(f"register_type: to_json and from_json of {name!r} must be callable.")
    if cls in KEPT or cls is object:
        raise ValueError(f"register_type: {cls.__name__} itself can't be registered.")
    if not _is_name(name):
        raise ValueError(
            f"register_type: the name {name!r} is not 1 to 64 letters, digits or '_.:-'."
        )
    for other in (_BY_NAME.get(name), _BY_TYPE.get(cls)):
        if other and (other.cls, other.name) != (cls, name):
            raise ValueError(
                f"register_type: {other.cls.__qualname__} is registered as {other.name!r} already."
            )
    _BY_NAME[name] = _BY_TYPE[cls] = Registration(cls, name, to_json, from_json)


def _is_name(name: Any) -> bool:
    return isinstance(name, str) and _match_name(name) is not None


def registration_of(kind: type) -> Registration | None:
    """Return the registration of a type, or of the nearest of its bases that has one."""
    if not _BY_TYPE:
        return None
    return next((_BY_TYPE[base] for base in kind.__mro__ if base in _BY_TYPE), None)


def revived(payload: list[Any]) -> Any:
    """Read what is stored for a value of a registered type.

    :param payload: the name of the type, and what its ``to_json`` returned.
    :raises UnreadableValue: if no type has the name, or if its ``from_json`` fails.
    """
    [name, made] = payload
    registration = _BY_NAME.get(name)
    if registration is None:
        # Only what can be a name is repeated: any other text may be private.
        named = f" {name!r}" if _is_name(name) else ""
        raise UnreadableValue(f"a value of a type{named} that is not registered")
    try:
        return registration.from_json(made)
    except Exception as error:  # noqa: BLE001 (a stored value is never an error of the request)
        # Its message may repeat the text.
        problem = f"the from_json of the type {name!r} raised {type(error).__name__}"
    raise UnreadableValue(problem)
