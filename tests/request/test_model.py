"""Over any requests, a session holds what a plain dict would that went through the same."""

from __future__ import annotations

from collections.abc import Callable, Iterable, MutableMapping
from copy import deepcopy
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from flask_redis_session import UnstorableValue
from flask_redis_session.request.codec import decode
from flask_redis_session.storage.record import key_of
from tests.support.effort import EFFORT, effort
from tests.support.values import form, hashable_scalars, nested
from tests.support.webapp import Site, is_grave, session

if TYPE_CHECKING:
    from tests.support.servers import Server

Mapping = MutableMapping[str, Any]
#: Something that is done to a session and to a dict, and is to have the same result.
Step = tuple[Callable[..., Any], tuple[Any, ...]]

KEYS = ["a", "b", "", " t", "@", "@born", "鍵", "\0", "ballast", "\ud800", "@\\ud800"]
PATHS = ["/", "/first", "/second"]
USERS = [23, "23", "ann:1", "@", "é"]


class Held(int):
    """Stands for a key that there is, by its number, where there is one."""


held = st.integers(0, 20).map(Held)
new = st.sampled_from(KEYS) | st.text(st.characters(), max_size=3)
keys = held | st.sampled_from(KEYS[:2]) | new
containers = (
    st.lists(hashable_scalars, max_size=2)
    | st.dictionaries(st.text(max_size=2), hashable_scalars, max_size=2)
    | st.sets(hashable_scalars, max_size=2)
    | st.lists(st.lists(hashable_scalars, max_size=2), min_size=1, max_size=2)
)
values = nested(5) | containers | st.tuples(containers, containers)
changeable = containers
items = st.dictionaries(new, values, max_size=3)
bad = st.sampled_from([object(), 1j, frozenset(), {1j: 2}, bytearray(), range(2)])


# --------------------------------------------------------------------------- what names its keys


def assign(mapping: Mapping, key: str, value: Any) -> None:
    """Assign a key."""
    mapping[key] = value


def delete(mapping: Mapping, key: str) -> None:
    """Delete a key."""
    del mapping[key]


def assign_and_change(mapping: Mapping, key: str, value: Any, more: Any) -> None:
    """Assign a value, and change it later in the request."""
    mapping[key] = value
    grow(value, more)


def share(mapping: Mapping, key: str, other: str) -> None:
    """Put the same object under another key."""
    mapping[other] = mapping[key]


def merge(mapping: Mapping, other: dict[str, Any]) -> None:
    """Unite the mapping with another, in place."""
    mapping |= other  # type: ignore[operator]


def share_new(mapping: Mapping, key: str, other: str, value: Any, more: Any) -> None:
    """Put a new object under two keys, and change it by way of one."""
    mapping[key] = mapping[other] = value
    grow(mapping[key], more)


def change(mapping: Mapping, key: str, way: list[int], more: Any) -> None:
    """Change a value at any depth, without assigning it."""
    found = mapping[key]
    for turn in [*way, None]:
        if isinstance(found, (list, dict, set)) and (turn is None or not found):
            grow(found, more)
            return
        parts = [*found.values()] if isinstance(found, dict) else found
        if turn is None or not isinstance(parts, (list, tuple)) or not parts:
            return
        found = parts[turn % len(parts)]


def grow(container: Any, more: Any) -> None:
    """Change a container: the first change adds, another one may take away."""
    if isinstance(container, set):
        container ^= {more}
    elif isinstance(container, list):
        if len(container) > 3:
            container.reverse()
            container.pop()
        else:
            container.insert(0, more)
    elif "grown" in container:
        container.clear()
    else:
        container["grown"] = more


ways = st.lists(st.integers(0, 3), max_size=4)
BY_KEY: list[st.SearchStrategy[Step]] = [
    st.tuples(st.just(assign), st.tuples(keys, values)),
    st.tuples(st.just(delete), st.tuples(keys)),
    st.tuples(st.just(assign_and_change), st.tuples(keys, changeable, hashable_scalars)),
    st.tuples(st.just(change), st.tuples(held, ways, hashable_scalars)),
    st.tuples(st.just(change), st.tuples(held, ways, hashable_scalars)),
    st.tuples(st.just(lambda mapping, key: mapping[key]), st.tuples(keys)),
    st.tuples(st.just(lambda mapping, key: mapping.get(key)), st.tuples(keys)),
    st.tuples(st.just(lambda mapping, key: key in mapping), st.tuples(keys)),
    st.tuples(st.just(lambda mapping, key: mapping.pop(key)), st.tuples(keys)),
    st.tuples(st.just(lambda mapping, key: mapping.pop(key, 5)), st.tuples(keys)),
    st.tuples(
        st.just(lambda mapping, key, value: mapping.setdefault(key, value)),
        st.tuples(keys, values),
    ),
]
OF_ALL: list[st.SearchStrategy[Step]] = [
    st.tuples(st.just(share), st.tuples(held, new)),
    st.tuples(st.just(share_new), st.tuples(new, new, changeable, hashable_scalars)),
    st.tuples(st.just(lambda mapping, other: mapping.update(other)), st.tuples(items)),
    st.tuples(st.just(lambda mapping, other: mapping.update(other.items(), a=1)), st.tuples(items)),
    st.tuples(st.just(merge), st.tuples(items)),
    st.tuples(st.just(lambda mapping, other: listed(mapping | other)), st.tuples(items)),
    st.tuples(st.just(lambda mapping, other: listed(other | mapping)), st.tuples(items)),
    st.tuples(st.just(lambda mapping: listed(mapping.copy())), st.tuples()),
    st.tuples(st.just(lambda mapping: listed({k: mapping[k] for k in mapping})), st.tuples()),
    st.tuples(st.just(lambda mapping: listed(dict(mapping.items()))), st.tuples()),
    st.tuples(st.just(lambda mapping: sorted(mapping.keys())), st.tuples()),
    st.tuples(st.just(lambda mapping: len(mapping)), st.tuples()),
    st.tuples(st.just(lambda mapping: bool(mapping)), st.tuples()),
    st.tuples(st.just(lambda mapping: mapping.clear()), st.tuples()),
]


@st.composite
def some(draw: st.DrawFn, kinds: str) -> Any:
    """Draw some steps, or items; of a strategy that is named, Hypothesis needs no long text."""
    return draw(SOME[kinds])


SOME: dict[str, st.SearchStrategy[Any]] = {
    "by key": st.lists(st.one_of(BY_KEY), max_size=5),
    "any": st.lists(st.one_of([*BY_KEY, *BY_KEY, *OF_ALL]), max_size=6),
    "items": items,
}


def listed(mapping: Any) -> list[Any]:
    """Return the items of a mapping in an order that does not depend on how Redis keeps them."""
    return sorted(([key, repr(form(value))] for key, value in mapping.items()), key=repr)


def result(step: Callable[..., Any], mapping: Mapping, arguments: Iterable[Any]) -> Any:
    """Return what a step comes to, in a form that can be compared."""
    try:
        return form(step(mapping, *deepcopy(arguments)))
    except KeyError as error:
        return KeyError, error.args


class Requests(RuleBasedStateMachine):
    """One browser's requests, and the dict that they all amount to."""

    server: Server
    load: str

    def __init__(self) -> None:
        super().__init__()
        self.site = Site(
            self.server, SESSION_LOAD=self.load, SESSION_USER_KEY=("user_id", "_user_id")
        )
        self.site.redis.flushdb()
        for path in PATHS[1:]:
            view = self.site.app.view_functions["page"]
            self.site.app.add_url_rule(path, endpoint=path, view_func=view)
        self.browser = self.site.browser()
        self.model: dict[str, Any] = {}

    def take(self, steps: Iterable[Step]) -> None:
        """Take steps in a request, and with the dict."""
        for step, given in steps:
            arguments = [self.named(part) for part in given]
            expected = result(step, self.model, arguments)

            assert expected == result(step, session, arguments)

    def named(self, part: Any) -> Any:
        """Return the key that an argument stands for; another argument as it is."""
        if type(part) is not Held:
            return part
        # Whose the session is is another rule's business: not every value is an id.
        there = sorted(self.model.keys() - {"user_id", "_user_id"})
        return there[part % len(there)] if there else "a"

    def close(self) -> None:
        """End a request: what was one object under two keys is two from now on."""
        self.model = {key: deepcopy(value) for key, value in self.model.items()}

    @initialize(heavy=st.booleans())
    def fill(self, heavy: bool) -> None:
        """Have so much in the session that SESSION_LOAD = "auto" loads only parts of it."""
        if heavy:
            self.serve("/", [(assign, ("ballast", "x" * 6000))], looks=False)

    @rule(path=st.sampled_from(PATHS), steps=some("any"), looks=st.booleans())
    def serve(self, path: str, steps: list[Step], looks: bool) -> None:
        """Serve a request."""

        def view() -> None:
            self.take(steps)
            if looks:
                assert listed(self.model) == listed(session)

        self.browser.visit(view, path=path)
        self.close()

    @rule(path=st.sampled_from(PATHS), other=some("items"))
    def write_blindly(self, path: str, other: dict[str, Any]) -> None:
        """Serve a request that reads nothing."""
        self.browser.visit(lambda: session.update(deepcopy(other)), path=path)
        self.model.update(deepcopy(other))

    @rule()
    def pop_item(self) -> None:
        """Take the last item."""

        def view() -> None:
            if not session:
                return
            last = list(session)[-1]
            key, value = session.popitem()
            assert last == key
            assert form(value) == form(self.model.pop(key))

        self.browser.visit(view)

    @rule(steps=some("any"), key=new, value=bad, deep=st.booleans(), path=st.sampled_from(PATHS))
    def refuse(self, steps: list[Step], key: str, value: Any, deep: bool, path: str) -> None:
        """Serve a request that leaves a value that cannot be stored: nothing is written."""
        before = self.stored()
        model = deepcopy(self.model)

        def view() -> None:
            self.take(steps)
            session[key] = [{"a": value}] if deep else value
            with pytest.raises(UnstorableValue) as caught:
                session._changes()
            assert key == caught.value.key

        self.browser.visit(view, status=500, path=path)
        self.model = model

        assert before == self.stored()

    @rule(
        user=st.sampled_from(USERS), key=st.sampled_from(["user_id", "_user_id"]), steps=some("any")
    )
    def sign_in(self, user: Any, key: str, steps: list[Step]) -> None:
        """Serve a request that signs in: its old cookie is dead if somebody else was."""
        before, whose = self.browser.cookie, self.user()
        self.serve("/", [*steps, (assign, (key, user))], looks=False)
        if before is not None and whose != self.user():
            thief = self.site.browser()
            thief.cookie = before

            assert {} == thief.read()

    @rule(steps=some("by key"), permanent=st.booleans())
    def regenerate(self, steps: list[Step], permanent: bool) -> None:
        """Serve a request that changes the secret, and for how long the cookie lives."""

        def view() -> None:
            self.take(steps)
            session.permanent = permanent
            session.regenerate()

        old = self.browser.cookie
        self.browser.visit(view)
        self.close()
        if old is not None:
            thief = self.site.browser()
            thief.cookie = old

            assert {} == thief.read()

    @rule(
        outer=some("by key"),
        inner=some("by key"),
        later=some("by key"),
        split=st.sets(st.sampled_from(KEYS)),
    )
    def interleave(
        self, outer: list[Step], inner: list[Step], later: list[Step], split: set[str]
    ) -> None:
        """Serve two requests at once that use other keys: nothing of either is lost."""
        self.serve("/", [(assign, ("anchor", 1))], looks=False)
        twin = self.browser.twin()

        def view() -> None:
            self.take(among(outer, sorted(split)))
            twin.visit(lambda: self.take(among(inner, sorted({*KEYS} - split))), path="/second")
            self.take(among(later, sorted(split)))

        self.browser.visit(view, path="/first")
        self.close()

    @invariant()
    def same(self) -> None:
        """What Redis holds is the dict; the session opens for its cookie, and has an expiry."""
        if not self.model:
            assert self.browser.cookie is None
            assert {} == self.stored()
            return
        held = self.site.hash(self.browser.sid)
        names = {name: key for name in held if (key := key_of(name)) is not None}
        fields = {key: decode(held[name]) for name, key in names.items()}

        assert listed(self.model) == listed(fields)
        assert [self.site.key(self.browser.sid).encode()] == [*self.stored()]
        assert 0 < self.site.redis.pttl(self.site.key(self.browser.sid))

    @invariant()
    def indexed(self) -> None:
        """The session is in the index of its user, and in no other."""
        for user in {str(user) for user in USERS}:
            members = [self.browser.sid] if self.user() == user else []

            assert members == self.site.index(user)

    def user(self) -> str | None:
        """Return whose the session is."""
        held = [self.model.get(key) for key in ("user_id", "_user_id")]
        return next((str(user) for user in held if user is not None), None)

    def stored(self) -> dict[bytes, bytes]:
        """Return every session that Redis holds."""
        names = self.site.redis.keys("session:" + "?" * 22)
        redis = self.site.redis
        return {name: redis.dump(name) for name in names if not is_grave(redis, name)}


def among(steps: Iterable[Step], keys: list[str]) -> list[Step]:
    """Return steps with their keys among these."""
    if not keys:
        return []
    numbered = [
        (do, int(key) if type(key) is Held else sum(map(ord, key)), rest)
        for do, (key, *rest) in steps
    ]
    return [(do, (keys[number % len(keys)], *rest)) for do, number, rest in numbered]


@pytest.mark.timeout(300 * EFFORT)
@pytest.mark.parametrize("load", ["all", "auto"])
def test_like_a_dict(valkey, load, monkeypatch):
    """Over any requests, one by one and two at once, a session is the dict that it should be."""
    # Refused values are 500s: thousands of tracebacks.
    monkeypatch.setattr(Site(valkey).app.logger, "disabled", True)
    machine = type("Machine", (Requests,), {"server": valkey, "load": load})

    run_state_machine_as_test(machine, settings=settings(effort(40), stateful_step_count=15))
