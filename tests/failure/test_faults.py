"""One server that fails, in every way that servers do, and what becomes of sessions meanwhile."""

from __future__ import annotations

import logging
import threading
import time

import pytest

from flask_redis_session import StoreUnavailable
from tests.support.faults import FAULTS, hanging, out_of_memory
from tests.support.figures import SOON, figure, took
from tests.support.load import AnyBrowser, Load
from tests.support.servers import Server, wait_until
from tests.support.webapp import Site, is_grave, session

#: What a request does with its session, and what that comes to at the server.
VIEWS = {
    "read": (lambda: session["a"], "reads"),
    "read all": (lambda: dict(session), "reads"),
    "list": (lambda: session.user_sessions(), "lists"),
    "blind set": (lambda: session.update(a=2), "writes"),
    "read and set": (lambda: session.update(a=session["a"] + 1), "writes"),
    "sign in": (lambda: session.update(user_id=42), "writes"),
    "regenerate": (lambda: session.regenerate(), "writes"),
    "delete": (lambda: session.pop("a"), "deletes"),
}


@pytest.fixture(scope="module", params=["valkey9", "redis7"])
def _kept(request):
    with Server(request.param, "--appendonly", "yes", "--appendfsync", "always") as server:
        yield server


@pytest.fixture
def kept(_kept):
    """A server that keeps its data over a restart, and that a test may break."""
    _kept.revive()
    _kept.flush()
    return _kept


@pytest.fixture(params=FAULTS, ids=lambda fault: fault.name)
def fault(request):
    """A way to fail."""
    return request.param


def site_of(server, options="?socket_timeout=1&socket_connect_timeout=1"):
    """Return a site whose client is made from the server's URL."""
    return Site(server, SESSION_REDIS_URL=server.url + options)


def signed_in(site):
    """Return a browser that is signed in and has been here before."""
    browser = AnyBrowser(site)
    browser.sign_in(23, a=1, cart=[1])
    browser.set(a=1)
    browser.read()
    return browser


def stored(server):
    """Return all that is stored about sessions, without when they expire."""
    with server.client() as client:
        return {
            name: client.zrange(name, 0, -1) if b":user:" in name else client.hgetall(name)
            for name in client.keys("session:*")
            if not is_grave(client, name)
        }


class TestEach:
    def test_untouched(self, kept, fault):
        """A request that does not touch its session is served at normal speed."""
        # A timeout as long as this would show.
        site = site_of(kept, "?socket_timeout=20&socket_connect_timeout=20")
        browser = signed_in(site)

        with fault.strike(kept):
            began = time.monotonic()
            answers = [browser.visit() for _ in range(100)]
            seconds = time.monotonic() - began

        assert seconds < SOON
        assert [None] * 100 == [answer.cookie for answer in answers]
        figure(f"{fault.name}, untouched", f"{seconds * 10:.1f} ms")

    def test_needed(self, kept, fault):
        """One that does gets 503 and when to try again; cookie and data stay as they are.

        The first request after the server is back is served, whatever it does.
        """
        site = site_of(kept)
        browsers = {name: signed_in(site) for name in VIEWS}
        cookies = {name: browser.cookie for name, browser in browsers.items()}
        before = stored(kept)

        with fault.strike(kept):
            for name, (view, what) in VIEWS.items():
                began = time.monotonic()
                answer = browsers[name].visit_any(view)
                assert time.monotonic() - began < SOON
                if what in fault.serves:
                    assert (name, 200) == (name, answer.status)
                    continue
                assert (name, 503, "1") == (name, answer.status, answer.headers["Retry-After"])
                assert "Set-Cookie" not in answer.headers

        if "deletes" in fault.serves:
            del before[f"session:{browsers.pop('delete').sid}".encode()]
        assert before.items() <= stored(kept).items()
        for name, browser in browsers.items():
            assert cookies[name] == browser.cookie
            browser.visit(VIEWS[name][0])

    def test_revocation(self, kept, fault):
        """A revocation ends the sessions or says that it failed, and never only seems to work."""
        site = site_of(kept)
        browser = signed_in(site)

        with fault.strike(kept):
            try:
                ended = site.interface.revoke_sessions(23)
            except StoreUnavailable:
                ended = 0

        assert {1: {}, 0: {"a": 1, "cart": [1], "user_id": 23}}[ended] == browser.read()

    @pytest.mark.soak
    def test_time(self, kept, fault):
        """By default a request that needs its session is refused within about a second."""
        site = site_of(kept, "")
        browser = signed_in(site)

        with fault.strike(kept):
            for name in ("read", "blind set"):
                began = time.monotonic()
                answer = browser.visit_any(VIEWS[name][0])
                seconds = took(began)
                assert time.monotonic() - began < 1 + SOON
                figure(f"{fault.name}, {name}", f"{answer.status} after {seconds}")
        began = time.monotonic()

        assert 1 <= browser.read()["a"]
        figure(f"{fault.name}, first request afterwards", f"200 after {took(began)}")

    def test_log(self, kept, fault, caplog):
        """An outage is logged once at its beginning and once at its end, not once per request."""
        site = site_of(kept, "?socket_timeout=0.8&socket_connect_timeout=0.8")
        browsers = [signed_in(site) for _ in range(8)]

        def many():
            threads = [threading.Thread(target=some, args=(browser,)) for browser in browsers]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()

        def some(browser):
            for name in ("read", "blind set"):
                browser.visit_any(VIEWS[name][0])

        def levels():
            return [record.levelname for record in caplog.records]

        with caplog.at_level(logging.WARNING):
            many()
            assert [] == levels()

            with fault.strike(kept):
                many()
                assert ["ERROR"] == levels()

            # What was only refused is over when it has been over for a while.
            wait_until(lambda: not many() and len(levels()) > 1, "the end of it is logged")

        assert ["ERROR", "WARNING"] == levels()


class TestTimeout:
    def test_settable(self, kept):
        """How long a hanging server is waited for is set in the URL."""
        seconds = []
        for timeout in (1, 3):
            site = site_of(kept, f"?socket_timeout={timeout}")
            browser = signed_in(site)
            with hanging(kept):
                began = time.monotonic()
                browser.visit(VIEWS["read"][0], status=503)
                seconds.append(time.monotonic() - began)

        assert seconds[0] < 2.9 < seconds[1] < 3 + SOON

    def test_permanent(self, kept):
        """Without their sessions, requests of permanent ones wait once for a server that hangs."""
        site = site_of(kept, "")
        site.app.config["SESSION_PERMANENT"] = True
        browsers = [AnyBrowser(site) for _ in range(10)]
        for browser in browsers:
            browser.visit(
                lambda: session.update(a=1, permanent=setattr(session, "permanent", True))
            )

        with hanging(kept):
            began = time.monotonic()
            for browser in browsers:
                browser.visit()
            seconds = took(began)

        assert time.monotonic() - began < 5
        figure("hanging, 10 untouched requests of permanent sessions", seconds)


class TestKilled:
    @pytest.mark.parametrize(
        "kills",
        [
            4,
            pytest.param(40, marks=[pytest.mark.soak, pytest.mark.timeout(600)]),
        ],
    )
    def test_while_saving(self, kept, kills):
        """With the AOF synced at each write, a crash costs nothing that was acknowledged."""
        site = site_of(kept, "")
        with Load(site, 4) as load:
            for _ in range(kills):
                load.run(0.3)
                kept.kill()
                kept.start()
                load.served("everybody is served after the crash")

        assert [] == load.wrong
        assert 0 == load.lost()
        written = len(load.times)
        figure(f"{kills} crashes", f"{written} acknowledged, {load.refused} refused, 0 lost")
        for account in load.accounts:
            user_id = account.browser.read()["user_id"]
            assert [account.browser.sid] == site.index(user_id)

    def test_while_signing_in(self, kept):
        """Whoever was handed a cookie is signed in after a crash, and listed."""
        site = site_of(kept)
        browsers = [AnyBrowser(site) for _ in range(4)]
        signed = []
        stop = threading.Event()

        def sign_in(name):
            number = 0
            while not stop.is_set():
                number += 1
                browser = AnyBrowser(site)
                user_id = f"{name}-{number}"
                answer = browser.visit_any(lambda: session.update(user_id=user_id))  # noqa: B023
                assert (answer.status == 200) == (browser.cookie is not None)
                if browser.cookie is not None:
                    signed.append((user_id, browser))

        threads = [threading.Thread(target=sign_in, args=(at,)) for at, _ in enumerate(browsers)]
        for thread in threads:
            thread.start()
        time.sleep(0.5)
        kept.kill()
        stop.set()
        for thread in threads:
            thread.join()
        kept.start()

        assert signed
        for user_id, browser in signed:
            assert {"user_id": user_id} == browser.read()
            assert [browser.sid] == site.index(user_id)


def test_scripts_lost_under_load(kept):
    """A server that loses its scripts again and again refuses nobody."""
    site = site_of(kept, "")
    with Load(site, 4) as load:
        for _ in range(20):
            load.run(0.05)
            kept.ask("SCRIPT", "FLUSH")

    assert [] == load.wrong
    assert (0, 0) == (load.refused, load.lost())


class TestMemory:
    def test_ways_out(self, kept):
        """Without memory one can still read, sign out, and end sessions."""
        site = site_of(kept)
        browser, other = signed_in(site), signed_in(site)

        with out_of_memory(kept):
            assert 1 == browser.visit(lambda: session["a"]).value
            assert 1 == browser.visit(lambda: session.clear_user_sessions(keep_current=True)).value
            browser.visit(lambda: session.clear())

        assert None is browser.cookie
        assert [{}, {}] == [browser.read(), other.read()]
        assert {} == stored(kept)

    @pytest.mark.parametrize(
        "view",
        [
            lambda: (session.clear(), session.update(b=1)),
            lambda: (session.clear(), session.update(user_id=23, b=1)),
            lambda: (session.pop("cart"), session.update(b=1)),
            lambda: (session.pop("user_id"), session.update(b=1)),
        ],
        ids=["clear and set", "clear and sign in", "delete and set", "sign out and set"],
    )
    def test_all_or_nothing(self, kept, view):
        """A save that deletes and sets is done in whole or not at all."""
        site = site_of(kept)
        expected, browser = signed_in(site), signed_in(site)
        before = browser.read()
        expected.visit(view)
        after = expected.read()

        with out_of_memory(kept):
            answer = browser.visit_any(view)

        assert {200: after, 503: before}[answer.status] == browser.read()

    def test_between_two_commands(self, kept):
        """A sign-in for which memory ends half-way leaves no session outside its index."""
        site = site_of(kept)
        browser = AnyBrowser(site)
        browser.sign_in("warm")

        statuses = set()
        with kept.client() as client:
            for spare in range(0, 150_000, 1000):
                used = client.info("memory")["used_memory"]
                client.config_set("maxmemory", used + spare)
                answer = AnyBrowser(site).visit_any(lambda: session.update(user_id=42))
                statuses.add(answer.status)
                client.config_set("maxmemory", 0)

        hashes = {name.removeprefix(b"session:") for name in stored(kept) if b":user:" not in name}
        assert {200, 503} == statuses
        assert {browser.sid, *site.index(42)} >= {name.decode() for name in hashes}

    def test_eviction(self):
        """Whoever's session was evicted is signed out, may sign in, and is in no list."""
        policy = ["--maxmemory-policy", "allkeys-lru", "--maxmemory-samples", "10"]
        with Server("valkey9", *policy) as server:
            site = site_of(server, "")
            signed_in(site)
            used = server.client().info("memory")["used_memory"]
            server.ask("CONFIG", "SET", "maxmemory", used + 2_000_000)
            browsers = [AnyBrowser(site) for _ in range(300)]
            for number, browser in enumerate(browsers):
                browser.sign_in(number % 10, number=number, data="x" * 20_000)
            server.ask("CONFIG", "SET", "maxmemory", 0)

            held = [browser.read() for browser in browsers]
            alive = {browser.sid for browser, has in zip(browsers, held, strict=True) if has}
            evicted = [browser for browser, has in zip(browsers, held, strict=True) if not has]
            listed = {i: {each.sid for each in site.interface.list_sessions(i)} for i in range(10)}

            assert {0, 20_000} == {len(has.get("data", "")) for has in held}
            assert 10 < len(evicted) < 300
            assert set.union(*listed.values()) <= alive
            for user_id, sids in listed.items():
                # The dead are forgotten where a list meets them.
                assert sids == set(site.index(user_id))
            for browser in evicted:
                browser.sign_in("again")
                assert {"user_id": "again"} == browser.read()
            assert len(evicted) == len(site.interface.list_sessions("again"))
            figure("allkeys-lru", f"{len(evicted)} of 300 sessions evicted")

    def test_evicted_index(self, kept):
        """What may not be evicted: without its index, a session goes on and is not found."""
        site = site_of(kept)
        browser = signed_in(site)
        kept.ask("DEL", "session:user:23")

        assert 23 == browser.read()["user_id"]
        assert 0 == site.interface.revoke_sessions(23)
        assert 23 == browser.read()["user_id"]
