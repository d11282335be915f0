"""Loading of a large session only what an endpoint uses."""

from __future__ import annotations

import threading
from functools import partial
from typing import Any

import pytest

from flask_redis_session.request.loading import (
    FORGOTTEN,
    MOST_ENDPOINTS,
    MOST_FIELDS,
    PROBATION,
    WASTE,
    LoadPlan,
    LoadPlans,
)
from tests.support.webapp import Site, each, session

LARGE = {f"key{number}": "x" * 1000 for number in range(1000)}


def _read(*keys):
    return [session[key] for key in keys]


@pytest.fixture
def site(server):
    """A site with a browser whose session holds 1,000 keys of 1 KB."""
    site: Any = Site(server)
    site.visitor = site.browser()
    site.visitor.set(**LARGE)
    return site


def cost_of(browser, view, **options):
    """Visit and return what it cost."""
    with browser.site.server.cost() as cost:
        answer = browser.visit(view, **options)
    return cost, answer.value


class TestRequests:
    def test_warm_read(self, site):
        """A warm read of one key of a 1 MB session brings back at most 2 KB, in one HMGET."""
        site.visitor.visit(lambda: session["key1"])

        cost, value = cost_of(site.visitor, lambda: session["key1"])

        assert "x" * 1000 == value
        assert ["hmget"] == cost.names
        assert 1 == cost.round_trips
        assert cost.bytes_out <= 2048

    def test_key_with_a_lone_surrogate(self, site):
        """A key that UTF-8 cannot write is asked for by its name like any other."""
        browser = site.visitor
        browser.set(**{"\ud800": {"a": "\ud800"}})
        browser.visit(lambda: session["\ud800"])

        cost, value = cost_of(browser, lambda: session["\ud800"])

        assert {"a": "\ud800"} == value
        assert ["hmget"] == cost.names
        assert cost.bytes_out <= 1024

    def test_small(self, server):
        """A small session is always loaded whole."""
        browser = Site(server).browser()
        browser.set(a=1, b=2, c=3)
        for _ in range(3):
            cost, _ = cost_of(browser, lambda: session["a"])

            assert ["hgetall"] == cost.names

    def test_unforeseen(self, site):
        """A key that was not foreseen costs one more round trip, once."""
        browser = site.visitor
        for _ in range(3):
            browser.visit(lambda: session["key1"])

        both = [cost_of(browser, lambda: (session["key1"], session["key2"]))[0] for _ in range(2)]

        assert [["hmget", "hmget"], ["hmget"]] == [cost.names for cost in both]

    def test_another_each_time(self, site):
        """A view that reads another key each time asks for that one alone."""
        site.visitor.visit(lambda: session["key0"])
        costs = [
            cost_of(site.visitor, partial(_read, key))[0]
            for key in list(LARGE)[1 : 2 * MOST_FIELDS]
        ]

        assert {("hmget",)} == {tuple(cost.names) for cost in costs}
        assert max(cost.bytes_out for cost in costs) <= 2048

    def test_another_each_time_beside_the_same(self, site):
        """One that reads such a key beside those that it always reads asks for few in vain."""
        *_, cost = [
            cost_of(site.visitor, partial(_read, "key0", "key1", key))[0]
            for key in list(LARGE)[10 : 10 + MOST_FIELDS]
        ]

        assert ["hmget", "hmget"] == cost.names
        assert {b"key0", b"key1"} <= {*cost.sent[0].arguments}
        assert cost.bytes_out < 1100 * (3 + PROBATION)

    def test_absent(self, site):
        """A key that is not there is asked for with the others, not again and again."""
        browser = site.visitor
        browser.visit(lambda: (session["key1"], session.get("flash")))

        cost, value = cost_of(browser, lambda: (session["key1"], session.get("flash")))

        assert ["hmget"] == cost.names
        assert ("x" * 1000, None) == value

    def test_many_unforeseen(self, site):
        """After three loads a request that wants yet another key gets everything."""
        browser = site.visitor
        browser.visit(lambda: session["key1"])

        cost, _ = cost_of(browser, lambda: [session[f"key{n}"] for n in range(1, 20)])

        assert ["hmget", "hmget", "hmget", "hgetall"] == cost.names

    def test_iterates(self, site):
        """To iterate loads the rest, and nothing is missing or out of date."""
        browser = site.visitor
        browser.visit(lambda: session["key1"])

        def view():
            session["key1"] += "y"
            session["new"] = 1
            del session["key2"]
            return dict(session)

        _, value = cost_of(browser, view)

        expected = {**LARGE, "key1": "x" * 1000 + "y", "new": 1}
        del expected["key2"]

        assert expected == value
        assert expected == browser.read()

    def test_nested(self, site):
        """A nested change in a part that was loaded is noticed and written alone."""
        browser = site.visitor
        browser.set(cart=[1])
        for _ in range(2):
            browser.visit(lambda: session["cart"])

        cost, _ = cost_of(browser, lambda: session["cart"].append(2))

        assert ["hmget", "evalsha"] == cost.names
        assert cost.bytes_in < 1000
        assert [1, 2] == browser.visit(lambda: session["cart"]).value

    def test_sign_in(self, site):
        """A sign-in knows whose the session was though hardly anything of it was loaded."""
        browser = site.visitor
        browser.visit(lambda: session["key1"])
        browser.sign_in(5)
        browser.sign_in(6)

        assert [[], [browser.sid]] == [site.index(5), site.index(6)]
        assert len(LARGE) + 1 == len(browser.read())

    def test_two_endpoints(self, server):
        """What one endpoint uses is asked for by that endpoint only."""
        site = Site(server)
        endpoint, _ = site.app.url_map.bind("").match("/")
        view = site.app.view_functions[endpoint]
        site.app.add_url_rule("/other", "other", view)
        browser = site.browser()
        browser.set(**LARGE)
        for path, key in [("/", "key1"), ("/other", "key2")] * 2:
            browser.visit(partial(_read, key), path=path)

        cost, _ = cost_of(browser, lambda: session["key1"], path="/")

        assert b"key1" in cost.sent[0].arguments
        assert b"key2" not in cost.sent[0].arguments


class TestInterleaved:
    """Another request passes between the loads of one."""

    def between(self, site, view, meanwhile, *, status=200):
        """Run a request that reads key1, lets another pass, and goes on."""
        other = site.visitor.twin()
        for _ in range(3):
            site.visitor.visit(lambda: session["key1"])

        def held():
            session["key1"]
            meanwhile(other)
            return view()

        return site.visitor.visit(held, status=status)

    def test_ended(self, site):
        """If the session ended meanwhile the rest cannot be read, and nothing is written."""

        def view():
            session["late"] = 1
            return session.get("key2")

        clear = lambda other: other.visit(lambda: session.clear())  # noqa: E731
        answer = self.between(site, view, clear, status=503)

        assert set() == site.names()
        assert answer.cookie is None

    def test_rotated(self, site):
        """If the secret was rotated meanwhile the same, and no cookie is touched."""

        def view():
            session["late"] = 1
            return session.get("key2")

        fresh = []

        def rotate(other):
            other.visit(lambda: session.regenerate())
            fresh.append(other)

        answer = self.between(site, view, rotate, status=503)

        assert answer.cookie is None
        assert "late" not in fresh[0].read()

    def test_written(self, site):
        """Both the key of this request and that of the other are there."""

        def view():
            session["mine"] = session["key2"]

        self.between(site, view, lambda other: other.set(theirs=1))
        held = site.visitor.read()

        assert ("x" * 1000, 1) == (held["mine"], held["theirs"])


class TestPlan:
    def test_begins_with_everything(self):
        """An endpoint that has served nothing yet loads everything."""
        assert LoadPlan().fields is None

    def test_pays(self):
        """Fields are asked for by name once more than 4 KB came for nothing."""
        for waste, expected in ((WASTE, None), (WASTE + 100, (b"a",))):
            plan = LoadPlan()
            plan.learn({b"a"}, 0, {b"a": b"1", b"b": b"x" * (waste - 1)})

            assert expected == plan.fields

    def test_misses_cost(self):
        """An endpoint that never foresees what it needs goes back to loading everything."""
        plan = LoadPlan()
        plan.learn({b"a"}, 0, {b"a": b"1", b"b": b"x" * 10_000})
        for number in range(10):
            plan.learn({b"k%d" % number}, 1, None)

        assert plan.fields is None

    def test_bounded(self):
        """However many keys an endpoint uses over time, few are remembered."""
        plan = LoadPlan()
        for number in range(1000):
            plan.learn({b"%d" % number}, 0, {b"a": b"1", b"b": b"x" * 10_000_000})

            assert plan.fields is None or len(plan.fields) <= MOST_FIELDS

    def test_forgets(self):
        """A field that was not used for long is no longer asked for."""
        plan = LoadPlan()
        plan.learn({b"old"}, 0, {b"a": b"1", b"b": b"x" * 10_000})
        for _ in range(2 * FORGOTTEN):
            plan.learn({b"new"}, 0, None)

        assert (b"new",) == plan.fields

    def test_long_names(self):
        """A name that is too long to remember is not remembered."""
        plan = LoadPlan()
        plan.learn({b"n" * 1000}, 0, {b"b": b"x" * 10_000})

        assert () == plan.fields

    def test_threads(self):
        """Many threads may learn and ask at once."""
        plan, failures = LoadPlan(), []

        def run(number):
            try:
                for turn in range(2000):
                    used = {b"%d" % (number * turn % 97)}
                    plan.learn(used, turn % 2, {b"b": b"x" * 100_000} if turn % 3 else None)
                    list(plan.fields or ())
            except Exception as error:  # noqa: BLE001 - whatever it is, it is the failure
                failures.append(error)

        threads = [threading.Thread(target=run, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert [] == failures

    def test_endpoints_are_bounded(self):
        """However many endpoints there are, so many are remembered."""
        plans = LoadPlans()
        for number in range(3 * MOST_ENDPOINTS):
            plans.of(str(number))

        assert len(plans._plans) <= MOST_ENDPOINTS


class TestMeanwhile:
    """Another request acts between two loads of one."""

    @pytest.mark.parametrize("act", [lambda: session.clear(), lambda: session.regenerate()])
    def test_half_a_session(self, site, act):
        """What was not loaded yet does not read as absent: it is a 503."""
        other = site.visitor.twin()
        site.visitor.set(second_factor_missing=True)
        for _ in range(3):
            site.visitor.visit(lambda: session["key1"])
        after = []

        def view():
            assert session["key1"]
            if act is not None:
                other.visit(act)
            after.append(session.get("second_factor_missing"))

        answer = site.visitor.visit(view, status=503)

        assert not after
        assert answer.cookie is None

    def test_double_click(self, site):
        """A sign-in that needs a session of its own takes along what it would not have loaded."""
        for _ in range(3):
            browser = site.browser()
            browser.set(**LARGE)
            browser.sign_in(23)
        visitor = site.browser()
        visitor.set(cart=["book"], **LARGE)
        other = visitor.twin()

        visitor.visit(each(lambda: session.update(user_id=23), lambda: other.sign_in(23)))

        assert visitor.sid != other.sid
        assert visitor.read() == other.read() == {**LARGE, "cart": ["book"], "user_id": 23}
