"""What is told of each request to whoever listens: a line at DEBUG, and ``session_saved``."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import flask
import pytest

from flask_redis_session import figures
from flask_redis_session.client.meter import METER, Meter
from flask_redis_session.figures import SessionFigures
from flask_redis_session.signals import save_refused, session_saved
from tests.support.webapp import Site, each, load_scripts, session


@contextmanager
def heard(sender: Any = None) -> Iterator[list[Any]]:
    """Collect the arguments of each ``session_saved``."""
    said: list[Any] = []

    def receive(app: Any, **arguments: Any) -> None:
        said.append(arguments)

    with session_saved.connected_to(receive, *([] if sender is None else [sender])):
        yield said


def short(said: Any) -> tuple[Any, ...]:
    """What was done, without what it cost."""
    told: SessionFigures = said["figures"]
    return told.result, told.loaded, told.written, told.skipped, told.round_trips


@pytest.fixture
def site(valkey: Any) -> Site:
    """A site that has its scripts in the server, and a connection."""
    site = Site(valkey)
    load_scripts(site.redis)
    site.browser().set(a=1)
    return site


def test_each_kind_of_request(site: Site) -> None:
    """Each request that used its session is told once, with what it did."""
    browser = site.browser()

    def views() -> None:
        browser.visit(lambda: session.update(a=1, b=2))
        browser.visit(lambda: session["a"])
        browser.visit(lambda: session.update(c=session["a"]))
        browser.visit(lambda: session.update(a=1))
        browser.visit(lambda: session.increment("n"))
        browser.visit(lambda: session.take("n"))
        browser.visit(lambda: session.pop("c"))
        browser.visit(lambda: session.clear())

    with heard() as said:
        views()

    assert [
        ("written", 0, 2, 0, 1),
        ("read", 2, 0, 2, 1),
        ("written", 2, 1, 2, 2),
        ("written", 0, 1, 0, 1),
        ("written", 0, 1, 0, 1),
        ("written", 0, 1, 0, 1),
        ("written", 3, 1, 2, 2),
        ("ended", 0, 0, 0, 1),
    ] == [short(each) for each in said]
    assert 1 == len({each["sid"] for each in said})
    assert all(each["figures"].seconds > 0 for each in said)


@pytest.mark.one_server("a cluster counts on several nodes")
@pytest.mark.parametrize(
    "view",
    [
        lambda: session["a"],
        lambda: session.update(b=session["a"] * 50),
        lambda: session.update(user_id=23),
        lambda: session.user_sessions("nobody"),
        lambda: session.increment("n"),
    ],
)
def test_what_it_cost(valkey: Any, view: Any) -> None:
    """Bytes and round trips are those that the server counts, to the byte."""
    site = Site(None, SESSION_REDIS_URL=valkey.url)
    load_scripts(valkey.client())
    browser = site.browser()
    browser.set(a="text of some length: é")

    with heard() as said, valkey.cost() as cost:
        browser.visit(view)

    (told,) = [each["figures"] for each in said]
    assert (cost.round_trips, cost.bytes_in, cost.bytes_out) == (
        told.round_trips,
        told.bytes_sent,
        told.bytes_received,
    )


def test_requests_without_their_session(site: Site) -> None:
    """Of a request that does not use its session nothing is told."""
    browser = site.browser()
    browser.set(a=1)

    with heard() as said:
        browser.visit()
        browser.visit(status=200)

    assert [] == said


def test_nothing_was_asked(site: Site) -> None:
    """A session that is used, and that nobody has, is told with no sid."""
    with heard() as said:
        site.browser().visit(lambda: session.get("a"))

    assert [(None, ("read", 0, 0, 0, 0))] == [(each["sid"], short(each)) for each in said]


def test_refused(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    """The figures of a refused save say so; the warning says the endpoint and the user."""
    browser = site.browser()
    browser.sign_in(23)
    sid = browser.sid
    refusals = []

    def note(app: Any, **what: Any) -> None:
        refusals.append((what["user_id"], what["reason"]))

    with heard() as said, save_refused.connected_to(note):
        browser.visit(lambda: _revoked_meanwhile(site, sid))

    assert ["refused"] == [each["figures"].result for each in said]
    assert [("23", "gone")] == refusals
    told = (
        "The changes of a request were not saved: session {} is gone; endpoint 'page', user '23'."
    )
    assert [told.format(sid)] == caplog.messages


def _revoked_meanwhile(site: Site, sid: str) -> None:
    """Read the session, let somebody else end it, and write."""
    assert "23" == str(session["user_id"])
    site.redis.delete(site.key(sid))
    session["a"] = 2


def test_redis_fails(fragile: Any) -> None:
    """A request for which Redis fails is told as failed, with the time that it waited."""
    site = Site(None, SESSION_REDIS_URL=f"{fragile.url}?socket_timeout=0.1")
    browser = site.browser()
    browser.set(a=1)
    fragile.pause()
    try:
        with heard() as said:
            browser.visit(lambda: session.update(a=2), status=503)
    finally:
        fragile.resume()

    assert ["failed"] == [each["figures"].result for each in said]
    assert said[0]["figures"].seconds >= 0.1


def test_line_at_debug(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    """At DEBUG each request that used its session has one line, with the same figures."""
    browser = site.browser()
    caplog.set_level(logging.DEBUG, logger="flask_redis_session")
    with heard() as said:
        browser.set(a=1)
        browser.visit()
        browser.visit(lambda: session["a"])

    lines = [record for record in caplog.records if record.levelno == logging.DEBUG]
    assert 2 == len(lines) == len(said)
    for record, told in zip(lines, said, strict=True):
        found = told["figures"]
        pattern = (
            rf"Session {browser.sid} was {found.result}: keys loaded {found.loaded}, "
            rf"written {found.written}, skipped {found.skipped}; bytes sent {found.bytes_sent}, "
            rf"received {found.bytes_received}; round trips {found.round_trips} in [\d.]+ ms; "
            r"endpoint 'page'\."
        )
        assert re.fullmatch(pattern, record.getMessage())


def test_nothing_is_counted_if_nobody_listens(
    site: Site, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Without a listener nothing is made that could count."""
    made = []
    real = Meter
    monkeypatch.setattr(figures, "Meter", lambda *how: made.append(1) or real(*how))
    browser = site.browser()

    def visits() -> list[int]:
        browser.set(a=1)
        browser.read()
        return [made.pop() for _ in [*made]]

    caplog.set_level(logging.INFO, logger="flask_redis_session")
    assert [] == visits()
    # Of another application's requests.
    with heard(flask.Flask("another")):
        assert [] == visits()
    with heard(site.app) as said:
        assert [1, 1] == visits()
    assert 2 == len(said)


def test_a_request_that_came_to_no_end(site: Site) -> None:
    """What one request left is not counted for the next one."""
    browser = site.browser()
    browser.set(a=1)
    with heard() as said:
        with site.app.test_request_context(headers={"Cookie": f"session={browser.cookie}"}):
            assert 1 == session["a"]
        browser.read()
    browser.read()

    assert [1] == [each["figures"].round_trips for each in said]


def test_what_is_left_is_dropped(site: Site) -> None:
    """If nobody listens any more, the next request drops what such a one left."""
    browser = site.browser()
    browser.set(a=1)
    with heard(), site.app.test_request_context(headers={"Cookie": f"session={browser.cookie}"}):
        assert 1 == session["a"]
    assert METER.get() is not None
    browser.read()

    assert METER.get() is None


@pytest.mark.parametrize("again", [1, 3])
def test_an_unfinished_request_inside_another(site: Site, again: int) -> None:
    """What a view asks inside a context that it pushes is not told, but all that it asks itself."""
    outer, inner = site.browser(), site.browser()
    outer.set(a=0)
    inner.set(b=1)

    def view() -> None:
        assert 0 == session["a"]
        for _ in range(again):
            with site.app.test_request_context(headers={"Cookie": f"session={inner.cookie}"}):
                assert 1 == session["b"]
        session["a"] = 1

    with heard() as said:
        outer.visit(view)

    assert [("written", 1, 1, 0, 2)] == [short(each) for each in said]
    assert [outer.sid] == [each["sid"] for each in said]
    assert METER.get() is None


def test_a_request_inside_another(site: Site) -> None:
    """A test client in a view has figures of its own, and takes nothing of the outer request's."""
    outer, inner = site.browser(), site.browser()
    inner.set(b=1)
    with heard() as said:
        outer.visit(each(lambda: session.update(a=1), inner.read, lambda: session.increment("n")))

    assert [("read", 1, 0, 1, 1), ("written", 0, 2, 0, 1)] == [short(each) for each in said]


def test_a_request_of_another_application_inside(site: Site, valkey: Any) -> None:
    """Nobody listens to the inner request: it is not told, and the outer one is."""
    other = Site(valkey, prefix="other:")
    inner = other.browser()
    inner.set(b=1)
    with heard(site.app) as said:
        site.browser().visit(each(lambda: session.update(a=1), inner.read))

    assert [("written", 0, 1, 0, 1)] == [short(each) for each in said]


def test_a_client_changes_a_session(site: Site) -> None:
    """A test client's transaction counts what it asks, also outside of its context."""
    browser = site.browser()
    browser.set(a=1)
    with heard() as said, browser.client.session_transaction() as held:
        held["b"] = held["a"] + 1

    assert [("written", 1, 1, 1, 2)] == [short(each) for each in said]


def test_a_client_changes_a_session_inside_a_request(site: Site) -> None:
    """A test client's transaction counts what it asks while it goes on, and the view the rest."""
    outer, inner = site.browser(), site.browser()
    inner.set(b=1)

    def view() -> None:
        session["a"] = 1
        with inner.client.session_transaction() as of_inner:
            of_inner["b"] = 2

    with heard() as said:
        outer.visit(view)

    assert [inner.sid, outer.sid] == [each["sid"] for each in said]
    assert ["written", "written"] == [each["figures"].result for each in said]


def test_in_threads(site: Site) -> None:
    """Requests of several threads at once are each told with their own figures."""
    browsers = [site.browser() for _ in range(8)]
    with heard() as said, ThreadPoolExecutor(8) as pool:
        list(
            pool.map(
                lambda n: [browsers[n].set(**{f"k{i}": i for i in range(n + 1)}) for _ in "ab"],
                range(8),
            )
        )

    assert sorted(2 * [n + 1 for n in range(8)]) == sorted(each["figures"].written for each in said)
    assert {1} == {each["figures"].round_trips for each in said}


def test_a_reply_without_a_command():
    """A reply that was not asked for counts its bytes, and no time."""
    meter = Meter(lambda: None, lambda: True)
    meter.hears([b"four"])

    assert (0.0, len("$4\r\nfour\r\n")) == (meter.seconds, meter.bytes_received)
