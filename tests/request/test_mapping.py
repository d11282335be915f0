"""A session is a dict: what Python's own dict does is what is expected of it."""

from __future__ import annotations

import copy
import enum
import json
import threading
from copy import deepcopy
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flask_redis_session import UnstorableValue
from flask_redis_session.request.codec import decode
from flask_redis_session.request.mapping import TrackedMapping
from flask_redis_session.storage.record import key_of
from tests.support.webapp import Site, each, real_session, session

KEYS = ["", " ", "@", "@@", "@born", "@user", "@secret:x", "a", "b", "a.b", "ü", "鍵", "a\n", "\0"]

keys = st.one_of(
    st.sampled_from(KEYS),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=5),
).filter(lambda key: key not in ("user_id", "_user_id"))

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(allow_nan=False),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=5),
    st.binary(max_size=5),
    st.dates(),
)
values = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(keys, inner, max_size=3),
        st.tuples(inner, inner),
    ),
    max_leaves=5,
)
items = st.dictionaries(keys, values, max_size=3)


def pop(mapping, key):
    """Pop a key; whether there was one is part of the result."""
    try:
        return mapping.pop(key)
    except KeyError:
        return KeyError


def read(mapping, key):
    """Read a key; whether there was one is part of the result."""
    try:
        return mapping[key]
    except KeyError:
        return KeyError


def delete(mapping, key):
    """Delete a key; whether there was one is part of the result."""
    try:
        del mapping[key]
    except KeyError:
        return KeyError


def assign(mapping, key, value):
    """Assign a key."""
    mapping[key] = value


def merge(mapping, other):
    """Unite the mapping with another, in place."""
    mapping |= other


def grow(mapping, key, value):
    """Change a value deep inside, where it can be."""
    inner = mapping.get(key)
    if isinstance(inner, tuple):
        inner = inner[0]
    if isinstance(inner, list):
        inner.append(value)
    elif isinstance(inner, dict):
        inner["grown"] = value


# Each returns the same from a dict and from a session that holds the same.
steps = st.one_of(
    st.tuples(st.just(assign), keys, values),
    st.tuples(st.just(delete), keys),
    st.tuples(st.just(pop), keys),
    st.tuples(st.just(read), keys),
    st.tuples(st.just(grow), keys, scalars),
    st.tuples(st.just(merge), items),
    st.tuples(st.just(lambda mapping, key: mapping.pop(key, 5)), keys),
    st.tuples(st.just(lambda mapping, key: mapping.get(key)), keys),
    st.tuples(st.just(lambda mapping, key: key in mapping), keys),
    st.tuples(st.just(lambda mapping, key, value: mapping.setdefault(key, value)), keys, values),
    st.tuples(st.just(lambda mapping, other: mapping.update(other)), items),
    st.tuples(st.just(lambda mapping, other: mapping.update(other.items())), items),
    st.tuples(st.just(lambda mapping, other: mapping.update(**{**other, "a": 1})), items),
    st.tuples(st.just(lambda mapping, other: mapping | other), items),
    st.tuples(st.just(lambda mapping, other: other | mapping), items),
    st.tuples(st.just(lambda mapping, other: mapping == other), items),
    st.tuples(st.just(lambda mapping: mapping.clear())),
    st.tuples(st.just(lambda mapping: mapping.copy())),
    st.tuples(st.just(lambda mapping: dict(mapping))),
    st.tuples(st.just(lambda mapping: len(mapping))),
    st.tuples(st.just(lambda mapping: bool(mapping))),
    st.tuples(st.just(lambda mapping: set(mapping.keys()))),
    st.tuples(st.just(lambda mapping: sorted(map(repr, mapping.values())))),
)


@pytest.mark.parametrize("load", ["all", "auto"])
@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(requests=st.lists(st.lists(steps, max_size=6), min_size=1, max_size=4))
def test_like_a_dict(valkey, load, requests):
    """Over several requests, a session answers like a dict that went through the same."""
    site = Site(valkey, SESSION_LOAD=load)
    browser = site.browser()
    model: dict[str, Any] = {}
    for request in requests:

        def view(request=request):
            for step, *arguments in request:
                expected = step(model, *arguments)

                assert expected == step(session, *deepcopy(arguments))

        browser.visit(view)

        assert model == browser.twin().read() if model else browser.cookie is None
        if model:
            stored = {key_of(field) for field in site.hash(browser.sid)} - {None}

            assert set(model) == stored


def test_abstract():
    """A tracked mapping is nothing without what loads it."""
    with pytest.raises(NotImplementedError):
        TrackedMapping()["a"]


def test_readable_in_redis(valkey):
    """A key's field is the key, its value is JSON; a key that begins with @ is escaped."""
    site = Site(valkey)
    browser = site.browser()

    browser.visit(lambda: session.update({"cart": [{"sku": 1}], "@born": 5, "@": 6, "ü": "ä"}))
    stored = site.hash(browser.sid)

    assert [{"sku": 1}] == json.loads(stored[b"cart"])
    assert b"5" == stored[b"@@born"]
    assert b"6" == stored[b"@@"]
    assert '"ä"'.encode() == stored["ü".encode()]
    assert float(stored[b"@born"]) > 1e9


def test_popitem(valkey):
    """The last item goes, as with a dict; an empty session has none."""
    browser = Site(valkey).browser()
    browser.set(a=1, b=2, c=3)

    def view():
        last = list(session.items())[-1]
        return last == session.popitem(), len(session)

    assert (True, 2) == browser.visit(view).value
    assert 2 == len(browser.read())

    def empty():
        session.popitem()
        session.popitem()
        with pytest.raises(KeyError, match="empty"):
            session.popitem()

    browser.visit(empty)

    assert None is browser.cookie


def test_copy_is_a_dict(valkey):
    """A copy and a union are plain dicts, and to change them changes no session."""
    browser = Site(valkey).browser()
    browser.set(a=1)

    def view():
        session.copy()["b"] = 2
        (session | {})["c"] = 3
        ({} | session)["d"] = 4
        return type(session.copy()), type(session | {}), type({} | session)

    assert (dict, dict, dict) == browser.visit(view).value
    assert {"a": 1} == browser.read()


@pytest.mark.parametrize("other", [5, None, [("a", 1)]])
def test_union_with_what_is_no_mapping(valkey, other):
    """A session unites with mappings alone, as a dict does."""

    def view():
        with pytest.raises(TypeError):
            session | other
        with pytest.raises(TypeError):
            other | session

    Site(valkey).browser().visit(view)


def test_update_in_place_keeps_the_session(valkey):
    """|= takes what update() takes and leaves the session the session."""
    browser = Site(valkey).browser()

    def view():
        mine = before = real_session()
        mine |= [("a", 1)]
        return mine is before

    assert browser.visit(view).value
    assert {"a": 1} == browser.read()


def test_equality(valkey):
    """A session equals a mapping with the same items, and nothing else."""
    browser = Site(valkey).browser()
    browser.set(a=[1])

    def view():
        return session == {"a": [1]}, session == {"a": [2]}, session == [("a", [1])]  # type: ignore[comparison-overlap]

    assert (True, False, False) == browser.visit(view).value


def test_order_of_a_request(valkey):
    """What a request adds is listed after what was there, in the order in which it was added."""
    browser = Site(valkey).browser()
    browser.set(b=1)

    assert ["b", "z", "a"] == browser.visit(
        each(lambda: session.update(z=1, a=2), lambda: list(session))
    ).value


@pytest.mark.parametrize("read", ["", "b", "z"])
def test_views_agree(valkey, read):
    """keys(), values() and items() have the same order, whatever was read or set before."""
    browser = Site(valkey).browser()
    browser.set(a=1, b=[2], c=3)

    def view():
        session.get(read)
        session["z"] = 26
        del session["a"]
        views = [*session.keys()], [*session.values()], [*session.items()]
        session["b"].append(2)
        return views, [*session.values()], session.copy()

    (keys, values, items), later, copied = browser.visit(view).value
    assert keys == ["b", "c", "z"]
    assert items == [*zip(keys, values, strict=True)] == [*copied.items()]
    assert later == [[2, 2], 3, 26]


@pytest.mark.parametrize("key", [1, None, b"a", ("a",), 1.5, True])
def test_keys_are_strings(valkey, key):
    """A key that is no string is a TypeError where it is set, and is in no session."""
    site = Site(valkey)

    def view():
        for change in (
            lambda: session.__setitem__(key, 1),
            lambda: session.setdefault(key, 1),
            lambda: session.update({key: 1}),
        ):
            with pytest.raises(TypeError) as caught:
                change()
            assert isinstance(caught.value, UnstorableValue)
            assert key == caught.value.key
        with pytest.raises(KeyError):
            session[key]
        with pytest.raises(KeyError):
            del session[key]
        return key in session, session.get(key), session.pop(key, 7)

    assert (False, None, 7) == site.browser().visit(view).value
    assert set() == site.names()


@pytest.mark.parametrize("key", ["\ud800", "a\ud83d\ude00", "@\udfff", "@\\ud800"])
def test_key_with_a_lone_surrogate(valkey, key):
    """A key that UTF-8 cannot write is a key like any other, as in Flask's own session."""
    browser = Site(valkey).browser()
    browser.set(**{key: [1], "a": 1})

    assert [1] == browser.visit(lambda: session[key]).value
    assert {key: [1], "a": 1} == browser.read()

    browser.visit(lambda: session[key].append(2))
    assert {key: [1, 2], "a": 1} == browser.read()

    assert (True, [1, 2]) == browser.visit(lambda: (key in session, session.pop(key))).value
    assert {"a": 1} == browser.read()

    browser.set(**{key: 1})
    browser.visit(lambda: (session.clear(), session.update(b=1)))
    assert {"b": 1} == browser.read()


def test_copies_are_dicts(valkey):
    """What copy and deepcopy make is a dict, which changes nothing in the session."""
    browser = Site(valkey).browser()
    browser.set(a=[1])

    def view():
        shallow, deep = copy.copy(real_session()), copy.deepcopy(session)
        shallow["b"] = 1
        deep["a"].append(2)
        return type(shallow), type(deep)

    assert (dict, dict) == browser.visit(view).value
    assert {"a": [1]} == browser.read()


@pytest.mark.parametrize("look", [lambda: len(session), lambda: session["b"]])
def test_threads(valkey, monkeypatch, look):
    """What a thread assigns while another one of the same request is reading is there."""
    browser = Site(valkey).browser()
    browser.set(a=[1], b=[2])
    reading, assigned = threading.Event(), threading.Event()

    def slow(text):
        reading.set()
        # The other thread assigns now; or it waits for this one.
        assigned.wait(0.2)
        return decode(text)

    def view():
        mine = real_session()

        def assign():
            assert reading.wait(10)
            mine["c"] = 3
            assigned.set()

        thread = threading.Thread(target=assign)
        thread.start()
        look()
        thread.join(10)
        return dict(session)

    monkeypatch.setattr("flask_redis_session.request.mapping.decode", slow)
    value = browser.visit(view).value
    monkeypatch.undo()

    assert {"a": [1], "b": [2], "c": 3} == value == browser.read()


def test_thread_reads_while_the_session_is_saved(valkey, monkeypatch):
    """A thread that still reads when its request comes to its end reads on."""
    site = Site(valkey, SESSION_LOAD="auto")
    browser = site.browser()
    browser.set(a=1, b=2)
    hashes = site.interface._backend_of(site.app).hashes
    load, loading, saved = hashes.load, threading.Event(), threading.Event()
    read, threads = [], []

    def slow(*args):
        loading.set()
        # The request is saved now; or it waits for this thread.
        saved.wait(0.2)
        return load(*args)

    def view():
        mine = real_session()
        mine["c"] = 3
        threads.append(threading.Thread(target=lambda: read.append(mine["a"])))
        threads[0].start()
        assert loading.wait(10)

    with monkeypatch.context() as patched:
        patched.setattr(hashes, "load", slow)
        browser.visit(view)
        saved.set()
        threads[0].join(10)

    assert [1] == read
    assert {"a": 1, "b": 2, "c": 3} == browser.read()


def test_keys_of_a_class_of_their_own(valkey):
    """A key that is an enumeration's is the text that it is, also if that begins with @."""

    class Key(str, enum.Enum):
        AT = "@at"

    browser = Site(valkey).browser()
    browser.visit(lambda: session.__setitem__(Key.AT, 1))

    assert {"@at": 1} == browser.read()
