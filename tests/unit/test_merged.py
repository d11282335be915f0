"""The built-in rule of ``SESSION_MERGE``: properties of ``merged``."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flask_redis_session import UnstorableValue, merged
from flask_redis_session.request.codec import encode

SCALARS = st.one_of(
    st.none(), st.booleans(), st.sampled_from([0, 1, 2, 1.0, 0.0]), st.sampled_from("ab")
)
#: Few different ones, so that they meet.
ITEMS = st.one_of(
    SCALARS, st.tuples(SCALARS), st.lists(SCALARS, max_size=1), st.just({"a": 1}), st.just({1})
)
VALUES: st.SearchStrategy[Any] = st.recursive(
    st.one_of(SCALARS, st.lists(ITEMS, max_size=5), st.sets(SCALARS, max_size=4)),
    lambda inner: st.one_of(
        st.dictionaries(st.sampled_from(["a", "b", 1, 1.0, True, None]), inner, max_size=4),
        st.lists(inner, max_size=4).map(tuple),
    ),
    max_leaves=8,
)
SETS = st.sets(st.integers(0, 9))
LISTS = st.lists(st.integers(0, 5), max_size=8)


def text(value: object) -> bytes:
    """Return the text by which values are equal."""
    return encode("", value)


class TestAnyValues:
    """What holds whatever the values are."""

    @given(VALUES, VALUES)
    def test_one_change_is_that_change(self, base: Any, change: Any) -> None:
        """If one side changed nothing, the result is the other one's."""
        assert text(change) == text(merged(base, change, base)) == text(merged(base, base, change))

    @given(VALUES, VALUES)
    def test_the_same_change_twice_is_one(self, base: Any, change: Any) -> None:
        """A commit that is sent twice changes nothing the second time."""
        assert text(change) == text(merged(base, change, change))

    @given(SETS, SETS, SETS)
    def test_once_more_changes_nothing(self, base: Any, mine: Any, theirs: Any) -> None:
        """To merge into what was merged already changes nothing."""
        once = merged(base, mine, theirs)

        assert text(once) == text(merged(base, mine, once))
        assert once == (theirs | (mine - base)) - (base - mine)

    @given(VALUES, VALUES, VALUES)
    def test_is_pure(self, base: Any, mine: Any, theirs: Any) -> None:
        """It changes no argument, returns the same each time, and what can be stored."""
        before = [text(each) for each in (base, mine, theirs)]
        found = text(merged(base, mine, theirs))

        assert before == [text(each) for each in (base, mine, theirs)]
        assert found == text(merged(deepcopy(base), deepcopy(mine), deepcopy(theirs)))

    @given(VALUES, VALUES, VALUES)
    def test_shares_nothing(self, base: Any, mine: Any, theirs: Any) -> None:
        """No list, dict or set in the result is one of the arguments'."""
        theirs_ = {id(each) for each in _parts([base, mine, theirs])}

        assert not theirs_ & {id(each) for each in _parts([merged(base, mine, theirs)])}


def _parts(values: list[Any]) -> list[Any]:
    """Return everything inside that can change."""
    found: list[Any] = []
    for value in values:
        if isinstance(value, (list, dict, set)):
            found.append(value)
        inner = value.values() if isinstance(value, dict) else value
        if isinstance(value, (list, dict, tuple)):
            found += _parts(list(inner))
    return found


class TestLists:
    """What holds of lists: of how often each element is there."""

    @given(LISTS, LISTS, LISTS)
    def test_additions_stay_and_deletions_take(
        self, base: list[int], mine: list[int], theirs: list[int]
    ) -> None:
        """Each change counts; the same change of both sides is one."""
        found = merged(base, mine, theirs)
        for item in {*base, *mine, *theirs}:
            was, here, there = (each.count(item) for each in (base, mine, theirs))
            if (here - was) * (there - was) > 0:
                expected = max(here, there) if here > was else min(here, there)
            else:
                expected = here + there - was
            assert expected == found.count(item)

    @given(LISTS, LISTS)
    def test_disjoint_additions(self, base: list[int], added: list[int]) -> None:
        """Theirs keeps its order, and mine follows in its own."""
        ours = [item + 100 for item in added]
        others = [item + 200 for item in added]

        assert base + others + ours == merged(base, base + ours, base + others)

    @given(LISTS)
    def test_tuples(self, items: list[int]) -> None:
        """Tuples are merged as lists are."""
        assert (*items, 8, 9) == merged((*items,), (*items, 9), (*items, 8))


@pytest.mark.parametrize(
    ("base", "mine", "theirs", "expected"),
    [
        # 1, True and 1.0 are three, and so are a tuple and a list.
        ([1], [1, True], [1, 1.0], [1, 1.0, True]),
        ([], [(1,)], [[1]], [[1], (1,)]),
        ([1], [], [1, True], [True]),
        ({"a": 1}, {"a": True}, {"a": 1, "b": 1}, {"a": True, "b": 1}),
        ({1: "a"}, {}, {1: "a", "b": 2}, {"b": 2}),
        # None is no value: what is not there is empty.
        (None, ["a"], ["b"], ["b", "a"]),
        (["a"], None, ["a", "b"], ["b"]),
        (["a"], ["a", "b"], None, ["b"]),
        (["a", "b"], None, ["b"], None),
        ({"a": 1}, None, {"a": 1, "b": 1}, {"b": 1}),
        ({1}, None, {1, 2}, {2}),
        (["a"], None, None, None),
        (1, None, 2, 2),
        (1, 2, None, 2),
        # Sets and dicts.
        ({1, 2}, {2, 3}, {1, 2, 4}, {2, 3, 4}),
        ({"a": 1, "b": 1}, {"a": 2, "b": 1}, {"a": 1, "b": 3}, {"a": 2, "b": 3}),
        ({"a": 1}, {"a": 2}, {"a": 3}, {"a": 2}),
        # A key that one side removed and the other one changed stays.
        ({"a": 1}, {}, {"a": 2, "b": 1}, {"a": 2, "b": 1}),
        ({"a": 1}, {"a": 2}, {}, {"a": 2}),
        ({"a": [1]}, {"a": [1, 2]}, {"a": [1, 3]}, {"a": [1, 3, 2]}),
        ({"a": {"b": 1}}, {"a": {"b": 1, "c": 1}}, {"a": {"b": 2}}, {"a": {"b": 2, "c": 1}}),
        ({"a": None}, {"a": None, "b": 1}, {"a": 1}, {"a": 1, "b": 1}),
        # Kinds that differ, and values that are neither.
        ([1], {"a": 1}, [1, 2], {"a": 1}),
        ((1,), [1, 2], [1, 3], [1, 3, 2]),
        ("a", "b", "c", "b"),
    ],
)
def test_examples(base: Any, mine: Any, theirs: Any, expected: Any) -> None:
    """What the documentation says."""
    assert text(expected) == text(merged(base, mine, theirs))


def test_what_it_is_not_for() -> None:
    """Two changes of one dict come to one that neither of them made: so nothing is merged unasked.

    One request raises the role, another one switches the tenant.
    """
    was = {"tenant": 1, "role": "user"}
    found = merged(was, {"tenant": 1, "role": "admin"}, {"tenant": 2, "role": "user"})

    assert {"tenant": 2, "role": "admin"} == found


def test_order_of_the_seen() -> None:
    """Of equal elements the first ones were seen, and go."""
    assert ["b", "a"] == merged(["a"], [], ["a", "b", "a"])


def test_unstorable() -> None:
    """What has no form in Redis is refused."""
    with pytest.raises(UnstorableValue):
        merged([], [object()], [1])


def test_is_linear(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each element is written as text once: twice as many are twice as much to do."""
    from flask_redis_session.request import rule

    counts = []
    for size in (1000, 2000):
        calls: list[int] = []

        def counted(key: str, value: object, calls: list[int] = calls) -> bytes:
            calls.append(1)
            return encode(key, value)

        monkeypatch.setattr(rule, "encode", counted)
        base = [*range(size)]
        merged(base, [*base[1:], -1], [*base[:-1], -2])
        counts.append(len(calls))

    assert counts[1] - counts[0] == 3 * 1000
