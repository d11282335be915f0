"""A network that drops, delays, cuts and duplicates what goes between a site and its server."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.failure.proxy import Proxy
from tests.support.figures import SOON, figure, took
from tests.support.load import AnyBrowser
from tests.support.webapp import Site, load_scripts, session

pytestmark = pytest.mark.one_server("is about the way to one server")


@pytest.fixture
def proxy(valkey):
    """A proxy before a server."""
    with Proxy(valkey.port) as proxy:
        yield proxy


@pytest.fixture
def site(valkey, proxy):
    """A site that reaches its server by way of the proxy."""
    return Site(valkey, SESSION_REDIS_URL=proxy.url + "?socket_timeout=1")


@pytest.fixture
def patient(valkey, proxy):
    """A site that waits for a slow machine, where it is not the waiting that is tested."""
    return Site(valkey, SESSION_REDIS_URL=proxy.url + "?socket_timeout=10")


def visitor(site, **values):
    """Return a browser with a session."""
    browser = AnyBrowser(site)
    browser.set(a=1, **values)
    return browser


@pytest.mark.parametrize("way", ["requests", "replies"])
def test_dropped(site, proxy, way):
    """What is swallowed is waited for once; then everything is as before."""
    browser = visitor(site)
    cookie = browser.cookie
    load_scripts(site.redis)

    views = [lambda: session.update(a=2), lambda: session["a"]]
    proxy.drops = way
    began = time.monotonic()
    answers = [browser.visit_any(view) for view in views]
    browser.visit()
    assert time.monotonic() - began < SOON
    proxy.mend()

    assert [503, 503] == [answer.status for answer in answers]
    assert cookie == browser.cookie
    # Whether it was written, only the server knows.
    assert {"requests": {"a": 1}, "replies": {"a": 2}}[way] == browser.read()


def test_delayed(patient, proxy):
    """What comes late, but in time, is waited for."""
    browser = visitor(patient)
    proxy.delays = {"replies": 0.1}

    browser.set(a=2)

    assert {"a": 2} == browser.read()


def test_too_late(site, proxy):
    """A reply that comes too late is never taken for the reply to another request."""
    browsers = [visitor(site, name=f"name{number}") for number in range(8)]
    wrong, refused = [], []

    def read(number):
        for _ in range(20):
            answer = browsers[number].visit_any(lambda: session["name"])
            if answer.status == 503:
                refused.append(number)
            elif answer.value != f"name{number}":
                wrong.append(answer.value)

    threads = [threading.Thread(target=read, args=(number,)) for number in range(8)]
    proxy.delays = {"replies": 1.1}
    for thread in threads:
        thread.start()
    time.sleep(2.5)
    proxy.mend()
    for thread in threads:
        thread.join()

    assert refused
    assert [] == wrong


@pytest.mark.parametrize("step", [11, pytest.param(1, marks=pytest.mark.soak)])
@pytest.mark.parametrize("way", ["requests", "replies"])
def test_cut_once(patient, proxy, way, step):
    """A sign-in whose connection is cut at any byte is served by a second connection."""
    browser = visitor(patient)
    before = proxy.passed[way]
    browser.sign_in("before")
    length = proxy.passed[way] - before

    cuts = range(0, length, step)
    for cut in cuts:
        browser = visitor(patient)
        planted = browser.twin()
        proxy.cut(way, cut)
        browser.sign_in(cut)
        proxy.mend()

        assert {"a": 1, "user_id": cut} == browser.read()
        assert [browser.sid] == patient.index(cut)
        assert {} == planted.read()
    assert len(cuts) + 1 == len([name for name in patient.names() if ":user:" not in name])
    figure(f"sign-in cut in its {way}", f"at {len(cuts)} of {length} bytes, each served")


@pytest.mark.parametrize("step", [11, pytest.param(1, marks=pytest.mark.soak)])
@pytest.mark.parametrize("way", ["requests", "replies"])
def test_cut_always(patient, proxy, way, step):
    """A save whose connections are all cut is a 503, and is there in whole or not at all."""
    browser = visitor(patient, b=1)
    before = proxy.passed[way]
    browser.set(a=0, b=0)
    length = proxy.passed[way] - before

    kept = 0
    for cut in range(0, length, step):
        held = browser.read()
        proxy.cut(way, cut, times=2)
        answer = browser.visit_any(lambda: session.update(a=cut + 1, b=cut + 1))  # noqa: B023
        proxy.mend()
        after = browser.read()
        assert answer.cookie is None
        assert after["a"] == after["b"]
        assert after == {"a": cut + 1, "b": cut + 1} or (answer.status, after) == (503, held)
        kept += after == held
    figure(f"save cut twice in its {way}", f"of {len(range(0, length, step))}, {kept} not done")


def test_duplicated(patient, proxy):
    """What reaches the server twice changes nothing the second time."""
    proxy.duplicates = True
    browser = visitor(patient)
    planted = browser.twin()
    others = [AnyBrowser(patient) for _ in range(3)]

    browser.sign_in(23)
    browser.set(a=2)
    for other in others:
        other.sign_in(23)
    browser.visit(lambda: session.regenerate())

    assert {"a": 2, "user_id": 23} == browser.read()
    assert {} == planted.read()
    assert {browser.sid, *(other.sid for other in others)} == set(patient.index(23))
    assert 3 == browser.visit(lambda: session.clear_user_sessions(keep_current=True)).value
    browser.visit(lambda: session.clear())
    assert set() == patient.names()


@pytest.mark.parametrize("view", [lambda: session["a"], lambda: session.update(user_id=42)])
def test_forgotten(site, proxy, view):
    """Connections that a firewall forgot cost one request; after it none of them is used."""
    browsers = [visitor(site) for _ in range(4)]

    def all_at_once(view):
        proxy.delays = {"replies": 0.1}
        with ThreadPoolExecutor(4) as threads:
            answers = [*threads.map(lambda browser: browser.visit_any(view), browsers)]
        proxy.mend()
        return [answer.status for answer in answers]

    assert [200] * 4 == all_at_once(lambda: session["a"])

    proxy.forget()
    browsers[0].visit(view, status=503)

    assert [200] * 4 == all_at_once(view)


def test_time(site, proxy):
    """A network that swallows everything costs a request its timeout, once."""
    browser = visitor(site)
    proxy.drops = "requests"
    began = time.monotonic()

    browser.visit(lambda: session["a"], status=503)

    assert 0.9 < time.monotonic() - began < SOON
    figure("dropped, socket_timeout=1", f"503 after {took(began)}")
