"""Values of every type that a session stores, and how to compare them exactly."""

from __future__ import annotations

from datetime import timedelta, timezone
from decimal import Decimal
from typing import Any

from hypothesis import strategies as st
from markupsafe import Markup

DAY = timedelta(hours=24) - timedelta(microseconds=1)
FRACTION = timedelta(seconds=1) - timedelta(microseconds=1)
offsets = st.timedeltas(-DAY, DAY) | st.timedeltas(-FRACTION, FRACTION)
datetimes = st.builds(
    lambda at, zone, fold: at.replace(tzinfo=zone, fold=fold),
    st.datetimes(),
    st.none() | st.just(timezone.utc) | st.builds(timezone, offsets),
    st.sampled_from([0, 1]),
)
# Of what an escape is made of, and of halves of a pair.
halves = st.text(st.sampled_from("\\ud8\u00e4\ud800\udfff\ud83d\ude00"), max_size=6)
json_scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20)
)
hashable_scalars = (
    json_scalars
    | st.integers()
    | st.integers(2**64, 2**300)
    | st.floats()
    | st.binary(max_size=20)
    | datetimes
    | st.dates()
    | st.timedeltas()
    | st.uuids()
    | st.decimals(allow_nan=False)
    | st.just(Decimal("NaN"))
    | halves
    | (st.text(max_size=20) | halves).map(Markup)
)
scalars = hashable_scalars | st.decimals() | st.sampled_from([Decimal("sNaN12"), Decimal("-NaN")])
hashables = st.recursive(hashable_scalars, lambda part: st.lists(part, max_size=4).map(tuple))
names = st.text(max_size=8) | st.sampled_from(["", " ", "  ", " t", " v", " dt", " x"])
json_values = st.recursive(
    json_scalars,
    lambda part: st.lists(part, max_size=5) | st.dictionaries(names, part, max_size=4),
    max_leaves=30,
)


def nested(leaves: int) -> st.SearchStrategy[Any]:
    """Return values of every type, in one another.

    :param leaves: how many parts without parts one has, about.
    """
    return st.recursive(
        scalars | st.sets(hashables, max_size=5),
        lambda part: (
            st.lists(part, max_size=5)
            | st.lists(part, max_size=4).map(tuple)
            | st.dictionaries(names, part, max_size=3)
            | st.dictionaries(names | hashables, part, max_size=3)
        ),
        max_leaves=leaves,
    )


values = nested(30)


def form(value: Any) -> Any:
    """Return what tells two values apart that ``==`` takes for equal, and joins NaN with NaN."""
    kind = type(value)
    if kind is dict:
        return kind, [(form(name), form(item)) for name, item in value.items()]
    if kind in {list, tuple}:
        return kind, [form(item) for item in value]
    if kind is set:
        return kind, sorted(repr(form(item)) for item in value)
    # An int may have more digits than Python writes.
    return kind, hex(value) if kind is int else repr(value)
