"""Types that an application registers: a value of one comes back, or is an error of the reader."""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, NamedTuple

import pytest

from flask_redis_session import register_type
from flask_redis_session.errors import UnreadableValue, UnstorableValue
from flask_redis_session.request.codec import MAX_DEPTH, decode, encode, registration


class Money(NamedTuple):
    amount: Decimal
    currency: str


class Euros(Money):
    __slots__ = ()


class Color(enum.Enum):
    RED = "red"


@dataclass(frozen=True)
class Box:
    content: Any


MONEY = Money(Decimal("1.10"), "EUR")


@pytest.fixture(autouse=True)
def _registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registration, "_BY_NAME", {})
    monkeypatch.setattr(registration, "_BY_TYPE", {})
    register_type(Money, "money", lambda money: [*money], lambda made: Money(*made))
    register_type(Color, "color", lambda color: color.value, Color)
    register_type(Box, "box", lambda box: {"content": box.content}, lambda made: Box(**made))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (MONEY, b'{" x":["money",[{" n":"1.10"},"EUR"]]}'),
        (Color.RED, b'{" x":["color","red"]}'),
        ([Color.RED], b'{" v":[{" x":["color","red"]}]}'),
        ({Color.RED: 1}, b'{" k":[{" x":["color","red"]},1]}'),
        ({Color.RED, 1}, b'{" s":[1,{" x":["color","red"]}]}'),
        (Box(Box({" t": [1]})), b'{" x":["box",{"content":%b}]}'),
        (Box(({1: 2}, {MONEY})), b'{" x":["box",{"content":%b}]}'),
    ],
)
def test_value_comes_back(value: Any, text: bytes) -> None:
    """A value of a registered type comes back, wherever it is, and its text is readable."""
    inner = encode("key", value.content) if isinstance(value, Box) else b""
    expected = (text.replace(b"%b", inner), value, type(value))

    written = encode("key", value)
    actual = decode(written)

    assert expected == (written, actual, type(actual))
    assert written == encode("key", actual)


def test_payload_is_stored_as_its_base() -> None:
    """What to_json returns is stored as any value is: a subclass as its base."""
    register_type(bytearray, "array", lambda array: Point(*array), lambda made: bytearray(made))

    text = encode("key", bytearray(b"\1\2"))

    assert b'{" x":["array",{" t":[1,2]}]}' == text
    assert bytearray(b"\1\2") == decode(text)


class Point(NamedTuple):
    x: int
    y: int


def test_subclass_is_stored_as_the_registered_base() -> None:
    """A registration counts for subclasses, and goes before the rules for other types."""
    text = encode("key", [Euros(Decimal(1), "EUR"), {"a": Euros(Decimal(2), "EUR")}])

    actual = decode(text)

    assert Money is type(actual[0])
    assert Money is type(actual[1]["a"])


def test_value_is_kept_inside_other_types() -> None:
    """A value of a registered type is found inside values that are stored as their base."""
    expected = (MONEY, {Color.RED: [Box(1)]})

    actual = decode(encode("key", Point(MONEY, {Color.RED: [Box(1)]})))  # type: ignore[arg-type]

    assert expected == actual
    assert tuple is type(actual)


def test_depth_is_limited() -> None:
    """Values of registered types are stored as deep as any other, and no deeper."""
    value: Any = 1
    for _ in range(MAX_DEPTH // 2):
        value = Box(value)
    too_deep = b'{" x":["box",{"content":' * 51 + b"1" + b"}]}" * 51

    assert value == decode(encode("key", value))
    with pytest.raises(UnstorableValue, match="more than 100 levels deep"):
        encode("key", Box(value))
    with pytest.raises(UnreadableValue):
        decode(too_deep)


def test_type_that_returns_itself_is_refused() -> None:
    """A to_json that returns a value of its own type ends in an error."""
    register_type(Point, "point", lambda point: point, lambda made: made)

    with pytest.raises(UnstorableValue, match="contains itself"):
        encode("key", Point(1, 2))


def test_failing_to_json_is_refused() -> None:
    """If to_json fails, or returns what can't be stored, the error says where."""
    register_type(Point, "point", lambda point: point.x.missing, lambda made: made)  # type: ignore[attr-defined]

    with pytest.raises(UnstorableValue, match=r"at \['a'\]\(point\) is of type Point, whose") as e:
        encode("key", {"a": Point(1, 2)})
    assert isinstance(e.value.__cause__, AttributeError)
    with pytest.raises(UnstorableValue, match=r"at \[0\]\(box\)\['content'\] is of type complex"):
        encode("key", [Box(1j)])


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (b'{" x":["shape",1]}', "a value of a type 'shape' that is not registered"),
        (b'{" v":[1,{" x":["shape",1]}]}', "a value of a type 'shape' that is not registered"),
        (b'{" x":["a secret",1]}', "a value of a type that is not registered"),
        (b'{" x":["color","secret"]}', "the from_json of the type 'color' raised ValueError"),
        (b'{" x":["money",[1]]}', "the from_json of the type 'money' raised TypeError"),
        (b'{" s":[{" x":["box",{"content":[]}]}]}', "an unknown or malformed tag"),
    ],
)
def test_value_that_no_type_reads_is_unreadable(text: bytes, problem: str) -> None:
    """An unknown name and a from_json that fails are an UnreadableValue; the text stays private."""
    with pytest.raises(UnreadableValue) as caught:
        decode(text)

    assert problem == str(caught.value)
    assert caught.value.__context__ is None


def test_second_registration_replaces_the_functions() -> None:
    """An application factory may run twice: the type and name are the same, the last one counts."""
    register_type(Color, "color", lambda color: color.value.upper(), lambda made: Color.RED)

    text = encode("key", Color.RED)

    assert b'{" x":["color","RED"]}' == text
    assert Color.RED is decode(text)


@pytest.mark.parametrize(
    ("error", "problem", "arguments"),
    [
        (TypeError, "'Point' is not a class", ("Point", "point", list, list)),
        (TypeError, "to_json and from_json of 'point' must", (Point, "point", None, list)),
        (TypeError, "to_json and from_json of 'point' must", (Point, "point", list, 1)),
        (ValueError, "the name '' is not 1 to 64 letters", (Point, "", list, list)),
        (ValueError, "the name 'a b' is not", (Point, "a b", list, list)),
        (ValueError, "is not 1 to 64", (Point, "a" * 65, list, list)),
        (ValueError, "is not 1 to 64", (Point, "\u00e4", list, list)),
        (ValueError, "is not 1 to 64", (Point, "a\n", list, list)),
        (ValueError, "the name 1 is not", (Point, 1, list, list)),
        (ValueError, "Money is registered as 'money' already", (Point, "money", list, list)),
        (ValueError, "Money is registered as 'money' already", (Money, "cash", list, list)),
        (ValueError, "dict itself can't be registered", (dict, "dict", list, list)),
        (ValueError, "str itself can't be registered", (str, "str", list, list)),
        (ValueError, "object itself can't be registered", (object, "any", list, list)),
    ],
)
def test_bad_registrations_are_errors(error: Any, problem: str, arguments: Any) -> None:
    """What can't be registered is an error that says why, and registers nothing."""
    with pytest.raises(error, match=f"register_type: .*{re.escape(problem)}"):
        register_type(*arguments)

    assert registration.registration_of(Point) is None
