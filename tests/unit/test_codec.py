from __future__ import annotations

import collections
import dataclasses
import decimal
import enum
import math
import os
import subprocess
import sys
from datetime import date, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID
from zoneinfo import ZoneInfo

import orjson
import pytest
from flask.json.tag import TaggedJSONSerializer
from hypothesis import example, given
from hypothesis import strategies as st
from markupsafe import Markup

from flask_redis_session.errors import UnreadableValue, UnstorableValue
from flask_redis_session.request import codec
from flask_redis_session.request.codec import MAX_DEPTH, bases, decode, encode, kinds, tags
from tests.support.effort import unhurried
from tests.support.values import form, json_scalars, json_values, values

AWARE = datetime(2030, 1, 2, 3, 4, 5, 678901, timezone(timedelta(hours=-3, minutes=-30)))
NAIVE = AWARE.replace(tzinfo=None)
SECOND = NAIVE.replace(fold=1)


class Color(enum.Enum):
    RED = "red"


class Level(enum.IntEnum):
    LOW = 1


class Word(str, enum.Enum):
    YES = "yes"


class Point(NamedTuple):
    x: int
    y: int


@dataclasses.dataclass
class Account:
    name: str = "Ann"


@dataclasses.dataclass(frozen=True)
class Fixed:
    name: str = "Ann"


class Broken:
    def __html__(self) -> str:
        raise ZeroDivisionError


class FrozenClock(datetime):
    """What a library that freezes the time puts in the place of datetime."""


class FrozenDay(date):
    """What a library that freezes the time puts in the place of date."""


def subclass_of(base: type) -> Any:
    """Return a subclass that adds nothing."""
    return type(f"My{base.__name__}", (base,), {})


@unhurried
@given(values)
def test_value_and_types_come_back(value: Any) -> None:
    """Whatever can be stored comes back with its value and its exact type, at any depth."""
    expected = form(value)

    actual = form(decode(encode("key", value)))

    assert expected == actual


@unhurried
@given(values)
def test_encoding_is_stable(value: Any) -> None:
    """A value that was read and not changed has the text that it was read from."""
    expected = encode("key", value)

    actual = encode("key", decode(expected))

    assert expected == actual


@unhurried
@given(json_values)
@example({" t": [1], "more": 2})
def test_plain_json_is_as_orjson_writes_it(value: Any) -> None:
    """A value of JSON's types is the text that orjson makes of it, unless it looks like a tag."""
    looks_like_tag = isinstance(value, dict) and [name[:1] for name in value] == [" "]
    expected = orjson.dumps({" ": value} if looks_like_tag else value)

    actual = encode("key", value)

    if b'{" ' not in expected:
        assert expected == actual


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ((1, (2,), []), b'{" t":[1,{" t":[2]},[]]}'),
        ((), b'{" t":[]}'),
        ({"b", "a", 1}, b'{" s":["a","b",1]}'),
        (set(), b'{" s":[]}'),
        (b"\x00\xff", b'{" b":"AP8="}'),
        (2**64, b'{" i":"0x10000000000000000"}'),
        (-(2**63) - 1, b'{" i":"-0x8000000000000001"}'),
        (2**64 - 1, b"18446744073709551615"),
        (-(2**63), b"-9223372036854775808"),
        (math.nan, b'{" f":"nan"}'),
        (-math.inf, b'{" f":"-inf"}'),
        (-0.0, b"-0.0"),
        (Decimal("1.10"), b'{" n":"1.10"}'),
        (AWARE, b'{" dt":"2030-01-02T03:04:05.678901-03:30"}'),
        (NAIVE.replace(microsecond=0), b'{" dt":"2030-01-02T03:04:05"}'),
        (
            NAIVE.replace(tzinfo=timezone(timedelta(microseconds=-1))),
            b'{" dt":"2030-01-02T03:04:05.678901-00:00:00.000001"}',
        ),
        (SECOND, b'{" df":"2030-01-02T03:04:05.678901"}'),
        (date(2030, 1, 2), b'{" d":"2030-01-02"}'),
        (timedelta(-1, 2, 3), b'{" td":[-1,2,3]}'),
        (UUID(int=1), b'{" u":"00000000-0000-0000-0000-000000000001"}'),
        (Markup("<b>"), b'{" m":"<b>"}'),
        ({1: "a", None: {}}, b'{" k":[1,"a",null,{}]}'),
        ({"1": 1, 1.5: (), (True,): 2}, b'{" k":["1",1,1.5,{" t":[]},{" t":[true]},2]}'),
        ([{1: {2: 3}}], b'{" v":[{" k":[1,{" k":[2,3]}]}]}'),
        ({2**64: 1}, b'{" k":[{" i":"0x10000000000000000"},1]}'),
        ({Markup("a"): 1}, b'{" k":[{" m":"a"},1]}'),
        ("a\ud800\u00e4\\", b'{" e":"a\\\\ud800\xc3\xa4\\\\\\\\"}'),
        ("\ud83d\ude00", b'{" e":"\\\\ud83d\\\\ude00"}'),
        ({"\udfff": 1, "a": 2}, b'{" k":[{" e":"\\\\udfff"},1,"a",2]}'),
        (Markup("\ud800"), b'{" me":"\\\\ud800"}'),
        ({" t": [1]}, b'{" ":{" t":[1]}}'),
        ({" ": {" ": 1}}, b'{" ":{" ":{" ":{" ":1}}}}'),
        ([{" t": [1]}], b'[{" t":[1]}]'),
        ([{" t": [1]}, (1,)], b'{" v":[{" ":{" t":[1]}},{" t":[1]}]}'),
        ({"at": date(2030, 1, 2)}, b'{" v":{"at":{" d":"2030-01-02"}}}'),
        ({"at": {" d": "2030-01-02"}}, b'{"at":{" d":"2030-01-02"}}'),
        ([None, math.inf], b'{" v":[null,{" f":"inf"}]}'),
        (["null", 1.5, None], b'["null",1.5,null]'),
        ("\u00e4\u0000\u2028", b'"\xc3\xa4\\u0000\xe2\x80\xa8"'),
    ],
)
def test_text_is_the_documented_one(value: Any, text: bytes) -> None:
    """The text of each type is the documented one, which other languages may read and write."""
    expected = (text, form(value))

    actual = (encode("key", value), form(decode(text)))

    assert expected == actual


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (b' { " t" : [ 1 ] } ', (1,)),
        (b'{"\\u0020t":[1]}', (1,)),
        (b'{" v":{"a":{" t":[1]}}, " x":1}', {" v": {"a": {" t": [1]}}, " x": 1}),
        (b'{" v":1}', 1),
        (b'{" k":["a",1,"b",2]}', {"a": 1, "b": 2}),
        (b'{" k":[]}', {}),
        (b'{" k":[1,"a",true,"b"]}', {1: "b"}),
        (b'{" e":"a"}', "a"),
        (b'{" u":"00000000-0000-0000-0000-00000000000A"}', UUID(int=10)),
        (b'{" n":"1e3"}', Decimal("1E+3")),
        (b'{" dt":"2030-01-02 03:04:05.678"}', NAIVE.replace(microsecond=678000)),
    ],
)
def test_other_writers_spelling_is_read(text: bytes, value: Any) -> None:
    """A text that another program wrote is read by what it says, not by how it is spelled."""
    expected = form(value)

    actual = form(decode(text))

    assert expected == actual


REFUSED = [
    (Color.RED, "is of type Color: store its .value"),
    (time(1, 2), "is of type time: convert it with .isoformat()"),
    (collections.deque([1]), "is of type deque: convert it to one of Decimal, Markup, NoneType,"),
    (1j, "is of type complex: convert it to one of"),
    (object(), "is of type object: convert it to one of"),
    (frozenset({1}), "is of type frozenset"),
    (bytearray(b"a"), "is of type bytearray"),
    (type("bool", (), {"__module__": "numpy"})(), "is of type numpy.bool: convert it to one of"),
    (memoryview(b"a"), "is of type memoryview"),
    (range(3), "is of type range"),
    (object, "is of type type"),
    (Account, "is of type type"),
    (Markup, "is of type type"),
    (len, "is of type builtin_function_or_method"),
    (..., "is of type ellipsis"),
    (orjson.Fragment(b"1"), "is of type Fragment"),
    ({1j: 2}, "has a dict key that is of type complex: convert it to one of"),
    ({Color.RED: 2}, "has a dict key that is of type Color: store its .value"),
    ({("a", (1j,)): 2}, "has a dict key that is of type complex"),
    ({frozenset(): 1}, "has a dict key that is of type frozenset"),
    ({Fixed(): 1}, "has a dict key that comes back as a dict: use a tuple"),
    ({Fixed()}, "has a set element that comes back as a dict and so can't be in a set"),
    ({(1, Fixed())}, "has a set element that comes back as a tuple"),
    (Broken(), "is of type Broken and raises ZeroDivisionError when it is read"),
    ({Broken(): 1}, "has a dict key that is of type Broken and raises ZeroDivisionError"),
]


@pytest.mark.parametrize(("value", "problem"), REFUSED)
@pytest.mark.parametrize(
    ("place", "wrap"),
    [
        ("the value ", lambda value: value),
        ("the value at [2] ", lambda value: [1, None, value, 4]),
        ("the value at ['a']['b'] ", lambda value: {"x": [], "a": {"b": value, "c": 1.5}}),
        ("the value at [1][0]['d'] ", lambda value: [[[1]], [{"d": value}]]),
        ("the value at ['at'][0][1] ", lambda value: {"a": 2**70, "at": (((), value),)}),
    ],
)
def test_other_types_are_refused(value: Any, problem: str, place: str, wrap: Any) -> None:
    """A value that Flask's session refuses too is an error: key, place, type, way out."""
    with pytest.raises(UnstorableValue) as caught:
        encode("cart", wrap(value))

    message = str(caught.value)

    assert "cart" == caught.value.key
    assert isinstance(caught.value, TypeError)
    assert message.startswith(f"session['cart']: {place}")
    assert problem in message


@pytest.mark.parametrize("value", [frozenset({1}), Color.RED, 1j, time(1)])
def test_set_elements_are_checked_too(value: Any) -> None:
    """An element of a set that can't be stored is an error that says it is in a set."""
    with pytest.raises(UnstorableValue, match=r"the value at \['a'\]\{\.\.\.\} is of type"):
        encode("key", {"a": {value}})


def test_place_of_the_value_is_cut() -> None:
    """The error for a value that is deep inside another names the outer part of the way."""
    value: Any = 1j
    for level in range(20):
        value = [value] if level % 2 else {"a": value}

    with pytest.raises(UnstorableValue) as caught:
        encode("key", value)

    assert "the value at " + "[0]['a']" * 4 + "... is of type complex" in str(caught.value)


class NoOffset(tzinfo):
    def utcoffset(self, _: datetime | None) -> None:
        return None

    dst = tzname = utcoffset


def test_zone_that_fails_is_refused() -> None:
    """A datetime whose zone can't be asked for its offset is refused, and the cause is named."""
    value = datetime(2030, 1, 2, tzinfo=tzinfo())  # type: ignore[abstract]

    with pytest.raises(UnstorableValue, match="has a tzinfo that fails") as caught:
        encode("key", [value])

    assert isinstance(caught.value.__cause__, NotImplementedError)


def test_zone_without_an_offset_is_the_local_one() -> None:
    """A datetime whose zone knows no offset comes back at the instant that Flask takes it for."""
    value = datetime(2030, 1, 2, 3, 4, 5, 6, tzinfo=NoOffset())
    flask = TaggedJSONSerializer()
    expected = flask.loads(flask.dumps(value)).replace(microsecond=6)

    actual = decode(encode("key", value))

    assert form(expected) == form(actual)


@pytest.mark.parametrize("fold", [0, 1])
def test_zone_becomes_its_offset(fold: int) -> None:
    """A datetime in a named zone comes back at the same instant, with its offset then."""
    value = datetime(2025, 10, 26, 2, 30, tzinfo=ZoneInfo("Europe/Berlin"), fold=fold)
    expected = (value.timestamp(), value.utcoffset())

    read = decode(encode("key", value))

    assert expected == (read.timestamp(), read.utcoffset())


def test_integers_have_no_limit() -> None:
    """An int with more digits than Python turns into decimal text comes back."""
    expected = -(10**10_000)

    actual = decode(encode("key", [expected]))

    assert [expected] == actual


def nested(depth: int, wrap: Any, core: Any) -> Any:
    """Wrap a core as many times."""
    value = core
    for _ in range(depth):
        value = wrap(value)
    return value


WRAPS = [
    lambda value: [value],
    lambda value: {"a": value},
    lambda value: {" a": value},
    lambda value: (value,),
    lambda value: [(1.5, None), value],
    lambda value: {1: value},
    lambda value: {(None, 1.5): value, "a": 1},
]


@pytest.mark.parametrize("wrap", WRAPS)
@pytest.mark.parametrize("core", [1, timedelta(1), SECOND, b"x" * 300])
def test_nesting_up_to_the_limit_comes_back(wrap: Any, core: Any) -> None:
    """A value that is nested as deep as is allowed comes back, whatever it is nested in."""
    value = nested(MAX_DEPTH - 1, wrap, [core])
    expected = form(value)

    actual = form(decode(encode("key", value)))

    assert expected == actual


@pytest.mark.parametrize("wrap", WRAPS)
@pytest.mark.parametrize("core", [1, [], {}, (), set(), timedelta(1), "x" * 300])
@pytest.mark.parametrize("more", [1, 2, 160, 1_000, 100_000])
def test_deeper_nesting_is_refused(wrap: Any, core: Any, more: int) -> None:
    """A value that is nested deeper is refused, also when it is too deep for Python's own stack."""
    empty = isinstance(core, (list, dict, tuple, set))
    value = nested(MAX_DEPTH - empty + more, wrap, core)

    with pytest.raises(UnstorableValue, match=r"is more than 100 levels deep, or contains itself"):
        encode("key", value)
    while isinstance(value, (list, dict, tuple)) and value:
        # Python 3.10 can't free so deep a tuple at once.
        value = next(iter(value.values())) if isinstance(value, dict) else value[-1]


@pytest.mark.parametrize("make", [list, dict, lambda: [1, 2.5, [(1,)]]])
def test_cycles_are_refused(make: Any) -> None:
    """A value that contains itself is refused, also if it does so twice."""
    value = make()
    if isinstance(value, dict):
        value |= {"a": value, "b": value}
    else:
        value += [value, value]

    with pytest.raises(UnstorableValue, match="contains itself"):
        encode("key", value)


def test_shared_parts_are_written_out() -> None:
    """A list that is in many places is in each of them when it comes back."""
    value: Any = [1]
    for _ in range(12):
        value = [value, value]
    expected = orjson.dumps(value)

    text = encode("key", value)

    assert expected == text
    assert value == decode(text)


def test_deepest_value_leaves_room_on_the_stack() -> None:
    """The deepest value can be stored and read from far up Python's stack."""
    value = nested(MAX_DEPTH, lambda part: (part,), 1)

    def deep(frames: int) -> Any:
        return deep(frames - 1) if frames else decode(encode("key", value))

    assert value == deep(500)


def among_many(mixed: Any) -> Any:
    """Return a large value of JSON's types with another one deep inside."""
    value: Any = [{"id": number, "tags": ["a", 1.5, None]} for number in range(5_000)]
    value[4_321]["tags"] = ["a", {"b": [mixed]}]
    return value


@pytest.mark.parametrize("mixed", [(), UUID(int=1), math.nan, -math.inf, 2**64, {1: 2}, "\ud800"])
def test_one_among_many_is_kept(mixed: Any) -> None:
    """A single value that orjson alone would change comes back from among many plain ones."""
    expected = form(among_many(mixed))

    actual = form(decode(encode("key", among_many(mixed))))

    assert expected == actual


@pytest.mark.parametrize("mixed", [Color.RED, Account, 1j, orjson.Fragment(b"1"), frozenset({1})])
def test_one_among_many_is_refused(mixed: Any) -> None:
    """A single value that can't be stored is found among many, and the error says where."""
    with pytest.raises(UnstorableValue) as caught:
        encode("key", among_many(mixed))

    assert "the value at [4321]['tags'][1]['b'][0] is of type" in str(caught.value)


def test_encode_leaves_the_value_alone() -> None:
    """Encoding changes nothing in the value, and decoding shares nothing with an earlier result."""
    value = {"a": [(1, {"b"})], " ": {" t": [b"x"]}}
    expected = form(value)
    text = encode("key", value)

    first, second = decode(text), decode(text)
    first["a"].append(1)

    assert expected == form(value)
    assert expected == form(second)


SET_PROGRAM = """
from datetime import date, timedelta
from decimal import Decimal
from flask_redis_session.request.codec import encode
words = [f"word {n}" for n in range(50)]
value = {*words, *((word, b"x") for word in words), date(2030, 1, 2), Decimal(2), None, 1.5, 2**80}
print(encode("key", [value, {"in": (value,)}]).decode())
"""


def test_sets_are_written_the_same_by_every_process() -> None:
    """The text of a set does not depend on the order in which a process holds it."""
    texts = {
        subprocess.run(
            [sys.executable, "-c", SET_PROGRAM],
            env={**os.environ, "PYTHONHASHSEED": str(seed)},
            cwd=Path(__file__).parents[2],
            capture_output=True,
            check=True,
        ).stdout
        for seed in range(5)
    }

    assert 1 == len(texts)
    assert 105 == len(decode(texts.pop())[0])


def read_or_refuse(text: bytes) -> Any:
    """Decode; whatever is read can be encoded, and reads the same again."""
    try:
        value = decode(text)
    except UnreadableValue:
        return UnreadableValue
    assert form(value) == form(decode(encode("key", value)))
    return value


@unhurried
@given(st.binary())
def test_bytes_are_read_or_unreadable(text: bytes) -> None:
    """Any bytes are either read, or an UnreadableValue and no other error."""
    read_or_refuse(text)


TAGS = [
    *(" t", " s", " k", " b", " e", " i", " f", " n", " dt", " df", " d", " td", " u", " m", " me"),
    *(" ", " v", " x", " zz"),
]
payloads = (
    st.sampled_from(
        [
            "2030-01-02",
            "2030-01-02T03:04:05+00:00",
            "0001-01-01T00:00:00+23:59",
            "9999-12-31T23:59:59.999999-23:59",
            "24:00",
            "+25:00",
            "nan",
            "sNaN",
            "-0x8000000000000000",
            "1E+999999999999999999",
            "1E-9999999999999999999",
            "AP8=",
            [1, 2, 3],
            [10**9, 0, 0],
            [-(2**63), 2**63, 2**64 - 1],
            [1, 2.5, True],
            [1, 2, True, 3],
            ["pair", [1, 2]],
            "\\ud800\\\\\\udfff",
            [1e308, 1e308, 1e308],
        ]
    )
    | json_values
)


@unhurried
@given(
    st.recursive(
        st.dictionaries(st.sampled_from(TAGS), payloads, min_size=1, max_size=1),
        lambda part: (
            st.lists(part | json_scalars, max_size=4)
            | st.dictionaries(st.sampled_from([*TAGS, "a"]), part, min_size=1, max_size=2)
        ),
        max_leaves=20,
    )
)
def test_any_tags_are_read_or_unreadable(tree: Any) -> None:
    """Tags with any payload are either read, or an UnreadableValue and no other error."""
    read_or_refuse(orjson.dumps(tree))
    read_or_refuse(orjson.dumps({" v": tree}))


@unhurried
@given(values, st.data())
def test_damaged_texts_are_read_or_unreadable(value: Any, data: st.DataObject) -> None:
    """A text with a byte changed or its end cut off is read, or an UnreadableValue."""
    text = encode("key", value)
    at = data.draw(st.integers(0, len(text) - 1))

    read_or_refuse(text[:at])
    read_or_refuse(text[:at] + data.draw(st.binary(max_size=2)) + text[at + 1 :])


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b" ",
        b"\xff",
        b'"\xed\xa0\x80"',
        b'"\\ud800"',
        b"NaN",
        b"1e999",
        b"9" * 5_000,
        b"1 2",
        b'{"a":}',
        b"\x80\x04K\x01.",
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b'{" t":[' * 100_000,
        b"[" * 101 + b"]" * 101,
        b"[" * 500 + b"]" * 500,
        b"[" * 1_024 + b"]" * 1_024,
        b'{"a":' * 101 + b"1" + b"}" * 101,
        b'{" t":[' * 101 + b"]}" * 101,
        b'{" t":[' * 500 + b"]}" * 500,
        b'{" v":' * 500 + b"[]" + b"}" * 500,
        b'{" ":' * 500 + b"[]" + b"}" * 500,
        b'{" zz":1}',
        b'{" x":1}',
        b'{" x":[]}',
        b'{" x":["unheard-of"]}',
        b'{" x":["unheard-of",1]}',
        b'{" x":["unheard-of",1,2]}',
        b'{" x":[["unheard-of"],1]}',
        b'{" x":[{" t":["unheard-of"]},1]}',
        b'{" x":{"unheard-of":1}}',
        b'{" k":1}',
        b'{" k":{}}',
        b'{" k":[1]}',
        b'{" k":[1,2,3]}',
        b'{" k":[[],1]}',
        b'{" k":[{},1]}',
        b'{" k":[{" k":[1,2]},1]}',
        b'{" k":[{" t":[[]]},1]}',
        b'{" k":[{" n":"sNaN"},1]}',
        b'{" k":[1,{" zz":1}]}',
        b'{" k":[1,' * 101 + b"1" + b"]}" * 101,
        b'{" k":[1,' * 500 + b"1" + b"]}" * 500,
        b'{" k":[{" t":[' * 100 + b"1" + b"]},1]}" * 100,
        b'{" x":["a",' * 500 + b"1" + b"]}" * 500,
        b'{" e":1}',
        b'{" e":"\\\\"}',
        b'{" e":"\\\\n"}',
        b'{" e":"\\\\u"}',
        b'{" e":"\\\\u0041"}',
        b'{" e":"\\\\ud8"}',
        b'{" e":"\\\\uD800"}',
        b'{" e":"\\\\\\\\\\\\"}',
        b'{" e":"\\ud800"}',
        b'{" me":1}',
        b'{" me":"\\\\x"}',
        b'{" t":1}',
        b'{" t":{}}',
        b'{" t":null}',
        b'{" t":[{" x":1}]}',
        b'{" s":[[]]}',
        b'{" s":[{}]}',
        b'{" s":[{" t":[[]]}]}',
        b'{" s":[{" s":[]}]}',
        b'{" s":[{" n":"sNaN"}]}',
        b'{" b":"A"}',
        b'{" b":"AP 8="}',
        b'{" b":"\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4"}',
        b'{" b":1}',
        b'{" i":""}',
        b'{" i":"0xg"}',
        b'{" i":12}',
        b'{" f":"1.5"}',
        b'{" f":"NaN"}',
        b'{" f":1.5}',
        b'{" n":"one"}',
        b'{" n":1.5}',
        b'{" dt":"2030-02-30T00:00:00"}',
        b'{" dt":"2030-01-02T00:00:00+99:00"}',
        b'{" dt":"10000-01-01T00:00:00"}',
        b'{" dt":"today"}',
        b'{" dt":1}',
        b'{" df":["2030-01-02T00:00:00",1]}',
        b'{" d":"2030-00-01"}',
        b'{" d":20300102}',
        b'{" td":[1]}',
        b'{" td":[1,2,3,4]}',
        b'{" td":[1000000000,0,0]}',
        b'{" td":[18446744073709551615,0,0]}',
        b'{" td":[1.5,0,0]}',
        b'{" td":[true,0,0]}',
        b'{" td":["1",0,0]}',
        b'{" u":"1"}',
        b'{" u":1}',
        b'{" m":1}',
        b'{" ":1}',
        b'{" ":{}}',
        b'{" ":{"a":1}}',
        b'{" ":{" a":1,"b":2}}',
        b'{" v":{" v":[]}}',
        b'{" v":{"a":{" v":[]}}}',
    ],
)
def test_damage_is_unreadable(text: bytes) -> None:
    """Damage of any kind is an UnreadableValue."""
    with pytest.raises(UnreadableValue):
        decode(text)


@pytest.mark.parametrize(
    "text",
    [
        b'{" dt":"secret"}',
        b'{" d":"secret"}',
        b'{" i":"secret"}',
        b'{" n":"secret"}',
        b'{" u":"secret"}',
        b'{" secret":1}',
        b'{" s":[["secret"]]}',
        b'{" k":[["secret"],1]}',
        b'{" e":"secret\\\\"}',
        b'{" x":["a secret",1]}',
        b'{" x":["unheard-of","secret"]}',
        b'{"secret"}',
        b'"secret\xff"',
        b"[secret]",
    ],
)
def test_error_keeps_the_text_to_itself(text: bytes) -> None:
    """The error for a damaged text, and what it was raised from, do not repeat the text."""
    with pytest.raises(UnreadableValue) as caught:
        decode(text)

    assert "secret" not in str(caught.value)
    assert caught.value.__context__ is None


@pytest.mark.parametrize("depth", [1, 2, MAX_DEPTH])
def test_decoder_reads_as_deep_as_the_encoder_writes(depth: int) -> None:
    """Lists in lists are read up to the same depth as they are written, also with a long text."""
    expected: Any = nested(depth - 1, lambda value: [value], ["x" * 300])

    actual = decode(orjson.dumps(expected))

    assert expected == actual


def test_decimal_does_not_depend_on_the_context() -> None:
    """A Decimal comes back exactly, and nonsense is unreadable, whatever the decimal context."""
    expected = Decimal("1." + "1" * 50)

    with decimal.localcontext() as context:
        context.prec = 3
        context.traps[decimal.InvalidOperation] = False
        actual = decode(encode("key", expected))
        with pytest.raises(UnreadableValue):
            decode(b'{" n":"nonsense"}')

    assert form(expected) == form(actual)


def test_frozen_time_changes_no_type(monkeypatch: pytest.MonkeyPatch) -> None:
    """Under a test that freezes the time, what is stored and read is of the real types."""
    expected = [AWARE, SECOND, date(2030, 1, 2)]
    for module in (bases, kinds, tags):
        monkeypatch.setattr(module, "datetime", FrozenClock)
        monkeypatch.setattr(module, "date", FrozenDay, raising=True)
    given = [FrozenClock.fromisoformat(AWARE.isoformat()), SECOND, FrozenDay(2030, 1, 2)]

    actual = decode(encode("key", given))

    assert form(expected) == form(actual)


FROZEN: list[Any] = [
    *("a", 1, 1.5, True, None, b"a", AWARE, date(2030, 1, 2)),
    *(timedelta(1), UUID(int=1), Decimal(1), Markup("a")),
]
CHANGEABLE: list[Any] = [[], {}, set(), (), bytearray(), subclass_of(str)("a")]


@pytest.mark.parametrize(
    ("expected", "value"),
    [*((True, value) for value in FROZEN), *((False, value) for value in CHANGEABLE)],
)
def test_frozen_values_are_known(expected: bool, value: Any) -> None:
    """Exactly the values that can't change in place, nor hold one that can, are frozen."""
    actual = type(value) in codec.FROZEN

    assert expected is actual
