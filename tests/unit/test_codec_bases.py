"""Values of types that do not come back as they are: each is stored as in Flask's session."""

from __future__ import annotations

import collections
import dataclasses
import enum
import math
from collections.abc import Iterator, Mapping
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from types import MappingProxyType
from typing import Any, NamedTuple
from uuid import UUID

import pytest
from flask import flash, get_flashed_messages
from flask.json.tag import TaggedJSONSerializer
from hypothesis import given
from hypothesis import strategies as st
from markupsafe import Markup
from werkzeug.datastructures import CombinedMultiDict, ImmutableMultiDict, MultiDict
from werkzeug.local import LocalProxy

from flask_redis_session.errors import UnstorableValue
from flask_redis_session.request.codec import MAX_DEPTH, decode, encode
from tests.support.effort import effort
from tests.support.servers import Server
from tests.support.values import datetimes, form, halves
from tests.support.webapp import Site

FLASK = TaggedJSONSerializer()
AT = datetime(2030, 1, 2, 3, 4, 5, 678901, timezone(timedelta(hours=2)), fold=1)


class Level(enum.IntEnum):
    LOW = 1


class Word(str, enum.Enum):
    YES = "yes"


class Rights(enum.IntFlag):
    READ = 1
    WRITE = 2


class Point(NamedTuple):
    x: int
    y: Any


class Lazy:
    """A text that is translated when it is shown, as flask_babel.lazy_gettext() returns it."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(str(self), name)

    def __str__(self) -> str:
        return f"[{self.text}]"

    def __html__(self) -> str:
        return str(self)

    def __eq__(self, other: object) -> bool:
        return str(self) == other

    def __hash__(self) -> int:
        return hash(str(self))

    def __len__(self) -> int:
        return len(str(self))

    def __iter__(self) -> Iterator[str]:
        return iter(str(self))


class Token(dict[str, Any]):
    """A token of an OAuth library, as Authlib's OAuth2Token."""

    def __init__(self, params: dict[str, Any]) -> None:
        if params.get("expires_in"):
            params["expires_at"] = 1764000000 + int(params["expires_in"])
        super().__init__(params)

    def is_expired(self) -> bool:
        return False


class LocalClock(datetime):
    """A datetime that writes itself in a way of its own, as pandas.Timestamp."""

    def isoformat(self, *_: Any) -> str:
        return "2030-01-02T03:04:05.678901234"

    __str__ = isoformat


class Day(date):
    isoformat = __str__ = LocalClock.isoformat


@dataclasses.dataclass
class Account:
    name: str
    about: Any = None


class Named(str):
    """A str with identity of its own, and its own idea of how to write it."""

    __slots__ = ()

    def __str__(self) -> str:
        return "named"

    def __eq__(self, other: object) -> bool:
        return self is other

    def __hash__(self) -> int:
        return id(self)


class Loud(Markup):
    __slots__ = ()

    def __html__(self) -> Any:
        return "<b>loud</b>"


class Items(Mapping[Any, Any]):
    """A mapping that is no dict."""

    def __init__(self, held: dict[Any, Any]) -> None:
        self.held = held

    def __getitem__(self, key: Any) -> Any:
        return self.held[key]

    def __iter__(self) -> Iterator[Any]:
        return iter(self.held)

    def __len__(self) -> int:
        return len(self.held)


def subclass_of(base: type) -> Any:
    """Return a subclass that adds nothing."""
    return type(f"My{base.__name__}", (base,), {})


FORM = MultiDict([("a", "1"), ("a", "2"), ("b", "3")])
TOKEN = {"access_token": "x", "expires_in": 3600}
# What is given, what comes back, whether Flask's session takes it.
STORED: list[tuple[Any, Any, bool]] = [
    (Token(TOKEN), {**TOKEN, "expires_at": 1764003600}, True),
    ({"google": [Token(TOKEN)]}, {"google": [{**TOKEN, "expires_at": 1764003600}]}, True),
    (collections.OrderedDict(b=1, a=(2,)), {"b": 1, "a": (2,)}, True),
    (collections.Counter("aab"), {"a": 2, "b": 1}, True),
    (collections.defaultdict(list, a=[{1}]), {"a": [{1}]}, False),
    (FORM, {"a": "1", "b": "3"}, True),
    (ImmutableMultiDict(FORM), {"a": "1", "b": "3"}, True),
    (CombinedMultiDict([FORM, MultiDict([("c", "4")])]), {"a": "1", "b": "3", "c": "4"}, True),
    (MappingProxyType({"a": 1}), {"a": 1}, False),
    (collections.ChainMap({"a": 1}, {"a": 2, "b": 3}), {"a": 1, "b": 3}, False),
    (Items({1: Items({})}), {1: {}}, False),
    (subclass_of(list)([1, Point(2, 3)]), [1, (2, 3)], True),
    (Point(1, Point(2, [Level.LOW])), (1, (2, [1])), True),
    (subclass_of(set)([Level.LOW, "a"]), {1, "a"}, False),
    ({Point(1, "a"), Word.YES}, {(1, "a"), "yes"}, False),
    (Word.YES, "yes", True),
    (Named("a"), "a", True),
    (subclass_of(str)("\ud800"), "\ud800", True),
    (Level.LOW, 1, True),
    (Rights.READ | Rights.WRITE, 3, True),
    (subclass_of(int)(2**70), 2**70, True),
    (subclass_of(float)(1.5), 1.5, True),
    (subclass_of(float)("nan"), math.nan, True),
    (subclass_of(bytes)(b"\xff"), b"\xff", True),
    (Lazy("Saved"), Markup("[Saved]"), True),
    ([("message", Lazy("<b>"))], [("message", Markup("[<b>]"))], True),
    (Loud("quiet"), Markup("<b>loud</b>"), True),
    (LocalClock.fromisoformat(AT.isoformat()), AT.replace(fold=0), True),
    (LocalClock(2030, 1, 2, 3, 4, 5, 678901), AT.replace(tzinfo=None, fold=0), True),
    (Day(2030, 1, 2), date(2030, 1, 2), True),
    (date(2030, 1, 2), date(2030, 1, 2), True),
    (subclass_of(timedelta)(-1, 2, 3), timedelta(-1, 2, 3), False),
    (subclass_of(UUID)(int=1), UUID(int=1), True),
    (subclass_of(Decimal)("1.10"), Decimal("1.10"), True),
    (subclass_of(Decimal)("-sNaN12"), Decimal("-sNaN12"), True),
    (Account("Ann", (Account("Bo"),)), {"name": "Ann", "about": (vars(Account("Bo")),)}, True),
    ([Account("Ann")], [{"name": "Ann", "about": None}], True),
    ({1: "a", None: 2, False: 3, 2.5: 4}, {1: "a", None: 2, False: 3, 2.5: 4}, True),
    ({Word.YES: 1, Named("a"): 2}, {"yes": 1, "a": 2}, True),
    ({Level.LOW: {Rights.READ: 2}}, {1: {1: 2}}, True),
    ({Named("a"): 1, Named("a"): 2}, {"a": 2}, True),
    ({Lazy("a"): 1}, {Markup("[a]"): 1}, False),
    ({Point(1, 2): 1}, {(1, 2): 1}, False),
    ({Named("a"), Named("a")}, {"a"}, False),
    (collections.OrderedDict({" t": [1]}), {" t": [1]}, True),
    ([collections.OrderedDict({" t": [1]})], [{" t": [1]}], True),
    (LocalProxy(lambda: {"a": [1]}), {"a": [1]}, True),
    (LocalProxy(lambda: [Level.LOW]), [1], True),
    (LocalProxy(lambda: UUID(int=1)), UUID(int=1), True),
    (LocalProxy(lambda: AT), AT, True),
    (LocalProxy(lambda: Decimal("-Infinity")), Decimal("-Infinity"), True),
]


def flask_takes(value: Any) -> bool:
    """Tell whether Flask's own session takes a value."""
    try:
        FLASK.dumps(value)
    except Exception:  # noqa: BLE001 (a value that it does not take fails in any way)
        return False
    return True


@pytest.mark.parametrize(("value", "stored", "taken"), STORED)
def test_value_is_stored_as_its_base(value: Any, stored: Any, taken: bool) -> None:
    """A value of another type comes back as what it stands for, whether or not Flask takes it."""
    expected = (form(stored), taken)

    actual = (form(decode(encode("key", value))), flask_takes(value))

    assert expected == actual


@pytest.mark.parametrize(("value", "stored", "_"), STORED)
@pytest.mark.parametrize("wrap", [lambda value: value, lambda value: {"a": [1, (value,)]}])
def test_text_is_that_of_the_base(value: Any, stored: Any, _: bool, wrap: Any) -> None:
    """The text is the one of the base: what was read and not changed is no change."""
    expected = encode("key", wrap(stored))

    actual = encode("key", wrap(value))

    assert expected == actual
    assert expected == encode("key", decode(actual))


def test_numpy_float_is_stored_as_float() -> None:
    """A numpy.float64, which is a subclass of float, comes back as a float."""
    numpy = pytest.importorskip("numpy")
    expected = form([1.5, {2.5: math.inf}])

    actual = form(decode(encode("key", [numpy.float64(1.5), {numpy.float64(2.5): numpy.inf}])))

    assert expected == actual


def test_value_is_left_alone() -> None:
    """What is stored as its base is not changed by that."""
    value = collections.OrderedDict(a=Point(1, [Token(TOKEN)]))

    encode("key", value)

    assert collections.OrderedDict is type(value)
    assert Point is type(value["a"])
    assert Token is type(value["a"].y[0])


class Failing:
    def __html__(self) -> str:
        raise LookupError("no language")


class Unread(dict[str, Any]):
    def items(self) -> Any:
        raise LookupError("no items")


@pytest.mark.parametrize("value", [Failing(), Unread()])
def test_failing_method_is_the_cause(value: Any) -> None:
    """If a method of a value fails, the error says where, and its cause is what failed."""
    with pytest.raises(UnstorableValue, match=r"\['a'\]\[1\] is of type .* LookupError") as caught:
        encode("key", {"a": [1, value]})

    assert isinstance(caught.value.__cause__, LookupError)


def test_place_is_named_in_other_types_too() -> None:
    """The error names the way through subclasses, mappings, dataclasses and keys of any type."""
    value = Account("Ann", Items({1: collections.OrderedDict(b=Point(1, 1j))}))

    with pytest.raises(UnstorableValue) as caught:
        encode("key", value)

    assert "the value at ['about'][1]['b'][1] is of type complex" in str(caught.value)


WRAPS = [
    lambda value: Point(1, value),
    lambda value: Items({1: value}),
    lambda value: Account("Ann", value),
    lambda value: collections.OrderedDict({" t": value}),
]


@pytest.mark.parametrize("wrap", WRAPS)
def test_depth_is_limited_for_all_of_them(wrap: Any) -> None:
    """A value of other types is stored as deep as any other, and no deeper."""
    value: Any = Level.LOW
    for _ in range(MAX_DEPTH):
        value = wrap(value)

    text = encode("key", value)

    assert text == encode("key", decode(text))
    with pytest.raises(UnstorableValue, match="more than 100 levels deep"):
        encode("key", wrap(value))


def test_cycles_are_refused() -> None:
    """A value of another type that contains itself is refused."""
    value: Any = collections.OrderedDict()
    value |= {"a": value, "b": value}
    account = Account("Ann")
    account.about = [account, account]

    for each in (value, account):
        with pytest.raises(UnstorableValue, match="contains itself"):
            encode("key", each)


def test_stored_base_is_no_change(valkey: Server) -> None:
    """Libraries' values pass from one request to the next, and reading them writes nothing."""
    site = Site(valkey)
    browser = site.browser()
    browser.visit(lambda: flash(Lazy("Saved")))  # type: ignore[arg-type]
    browser.set(token=Token(TOKEN), form=FORM, seen={23: [Level.LOW]})
    flashed = browser.visit(get_flashed_messages).value
    before = site.hash(browser.sid)

    actual = browser.read()

    assert [Markup("[Saved]")] == flashed
    assert Markup is type(flashed[0])
    assert {
        "token": {**TOKEN, "expires_at": 1764003600},
        "form": {"a": "1", "b": "3"},
        "seen": {23: [1]},
    } == actual
    assert before == site.hash(browser.sid)
    assert b'{" k":[23,[1]]}' == before[b"seen"]


# --------------------------------------------------------------------------- beside Flask's own

leaves = (
    st.none()
    | st.booleans()
    | st.integers(-(2**80), 2**80)
    | st.floats()
    | st.text(max_size=8)
    | halves
    | st.binary(max_size=8)
    | (st.text(max_size=8) | halves).map(Markup)
    | st.uuids()
    | datetimes
    | st.dates()
    | st.decimals()
    | st.sampled_from([Level.LOW, Word.YES, Rights.READ, Lazy("a"), Loud("a"), Day(2030, 1, 2)])
    | st.integers(-9, 9).map(subclass_of(int))
    | st.floats().map(subclass_of(float))
    | (st.text(max_size=8) | halves).map(subclass_of(str))
    | st.binary(max_size=8).map(subclass_of(bytes))
    # What Flask's session refuses.
    | st.sampled_from([object(), 1j, timedelta(1), frozenset(), bytearray()])
)
keys = (
    st.none()
    | st.booleans()
    | st.integers(-9, 9)
    | st.floats()
    | st.text(max_size=4)
    | halves
    | st.sampled_from([" t", " di", " d", " k", " x", " "])
    | st.sampled_from([Level.LOW, Word.YES, Markup("a"), subclass_of(str)("a"), Point(1, 2)])
)


def parts(part: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Return what holds others."""
    lists = st.lists(part, max_size=4)
    dicts = st.dictionaries(keys, part, max_size=3)
    return (
        lists
        | lists.map(tuple)
        | lists.map(subclass_of(list))
        | st.builds(Point, part, part)
        | dicts
        | dicts.map(collections.OrderedDict)
        | dicts.map(MultiDict)
        | st.builds(Account, st.text(max_size=4), part)
    )


flask_values = st.recursive(leaves, parts, max_leaves=12)


def comes_back(given: Any, actual: Any) -> bool:
    """Tell whether a value came back as it went in, as a base of it, or as from Flask's session."""
    if dataclasses.is_dataclass(given):
        given = {"name": given.name, "about": given.about}  # type: ignore[union-attr]
    if isinstance(given, dict):
        items = [*given.items()]
        return (
            type(actual) is dict
            and len(items) == len(actual)
            and comes_back([*map(list, items)], [*map(list, actual.items())])
        )
    if isinstance(given, (list, tuple)):
        return (
            type(actual) is (list if isinstance(given, list) else tuple)
            and len(given) == len(actual)
            and all(comes_back(*pair) for pair in zip(given, actual, strict=True))
        )
    flask = FLASK.loads(FLASK.dumps(given))
    return form(actual) in (form(given), form(flask)) or (
        type(actual) in (date, int, str) and isinstance(given, type(actual)) and given == actual
    )


@effort(400)
@given(flask_values)
def test_what_flask_takes_is_taken(value: Any) -> None:
    """What Flask's session takes is taken, and comes back as it went in or as from Flask's."""
    if not flask_takes(value):
        return

    text = encode("key", value)
    actual = decode(text)

    assert comes_back(value, actual)
    assert text == encode("key", actual)
