"""When Redis fails: revocations, the way back, and how long it is waited for (guarantee 10)."""

from __future__ import annotations

import logging
import socket
import threading
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from flask_redis_session import RevocationIncomplete, StoreUnavailable
from flask_redis_session.signals import session_created, session_ended
from tests.support.clients import LIBRARIES, application_client
from tests.support.servers import HOST, Cluster, Server, wait_until
from tests.support.webapp import _VALUES, _VIEW, Site, each, session


@pytest.fixture
def site(fragile, hasty_client):
    """A site on a server that a test may stop and pause."""
    return Site(fragile, redis=hasty_client)


@pytest.fixture
def browser(site):
    """A browser that is signed in."""
    browser = site.browser()
    browser.sign_in(23, a=1)
    return browser


def store(server, names):
    """Store sessions of one user, all of them seen at the same time."""
    with server.client() as client:
        now = client.time()[0] - 1
        pipeline = client.pipeline(transaction=False)
        for name in names:
            pipeline.hset(f"session:{name}", mapping={"@born": now, "@seen": now, "@user": 23})
        pipeline.zadd("session:user:23", dict.fromkeys(names, now))
        pipeline.execute()


class TestRevocation:
    """A revocation that fails says so."""

    def test_raises(self, site, browser, fail):
        """Nobody is told that sessions were ended when they were not."""
        fail()

        with pytest.raises(RevocationIncomplete) as caught:
            site.interface.revoke_sessions(23)
        with pytest.raises(StoreUnavailable):
            site.interface.list_sessions(23)

        assert 0 == caught.value.ended
        assert 503 == caught.value.code
        assert None is not caught.value.__cause__

    @pytest.mark.parametrize("library", LIBRARIES)
    def test_on_the_way(self, fragile, library):
        """It tells how many were ended until then, and a second call ends the rest."""
        # A busy machine may take longer than the other tests' clients wait to end a page of them.
        client = application_client(fragile, library=library, socket_timeout=1)
        site = Site(fragile, redis=client)
        store(fragile, [f"{at:022}" for at in range(5000)])

        def fail(_, **__):
            fragile.pause()

        with session_ended.connected_to(fail), pytest.raises(RevocationIncomplete) as caught:
            site.interface.revoke_sessions(23)
        fragile.resume()
        ended = caught.value.ended

        assert 0 < ended < 5000
        assert 5000 - ended == site.interface.revoke_sessions(23)
        assert set() == site.names()
        client.close()

    @pytest.mark.parametrize("rules", [{}, {"keep": "0" * 22}, {"created_before": timedelta(0)}])
    def test_replaced(self, rules):
        """A server that was replaced on the way, and has the index in another order, ends all."""
        with Server("valkey9", "--appendonly", "yes") as server:
            site = Site(server, SESSION_REDIS_URL=server.url)
            names = [f"{at:022}" for at in range(10_000)]
            store(server, names)
            pages: list[Any] = []

            def restart(_, sid, **__):
                if not pages:
                    server.restart()
                pages.append(sid)

            with session_ended.connected_to(restart):
                site.interface.revoke_sessions(23, **rules)
            site.close()

            spared = {site.key(rules["keep"]).encode()} if "keep" in rules else set()
            assert spared == {name for name in server.ask("KEYS", "*") if b":user:" not in name}

    def test_in_a_view(self, site, browser, fail):
        """In a view it is a 503, and the current session is not taken to have ended."""
        answer = browser.visit(
            each(lambda: session["a"], fail, lambda: session.clear_user_sessions()), status=503
        )

        assert [] == answer.cookies


class TestRecovery:
    @pytest.mark.parametrize(
        ("fail", "mend"),
        [(Server.pause, Server.resume), (Server.kill, Server.start)],
        ids=["hanging", "killed"],
    )
    def test_without_a_restart(self, fragile, site, browser, fail, mend):
        """Once Redis answers again, so does the application."""
        fail(fragile)
        browser.visit(lambda: session["a"], status=503)
        mend(fragile)

        other = site.browser()
        other.set(b=1)

        assert {"b": 1} == other.read()
        if mend is Server.resume:
            assert {"user_id": 23, "a": 1} == browser.read()

    def test_logged_once(self, fragile, browser, caplog):
        """An outage is logged once when it begins and once when it is over, each time anew."""
        caplog.set_level(logging.WARNING, "flask_redis_session")

        for outage in (1, 2):
            fragile.pause()
            for view in (lambda: session["a"], lambda: session.update(a=2)):
                browser.visit(view, status=503)
            browser.visit()
            fragile.resume()
            wait_until(
                partial(_logged, browser, caplog, 2 * outage),
                "the end is logged",
            )
            browser.read()

            assert ["ERROR", "WARNING"] * outage == [each.levelname for each in caplog.records]

    @pytest.mark.parametrize("over", ["pool", "maxclients"])
    def test_some_connections_work(self, fragile, over, caplog):
        """If some connections work and others do not, the log has one line, and one at the end."""
        query = "?max_connections=2" if over == "pool" else ""
        site = Site(fragile, SESSION_REDIS_URL=f"{fragile.url}{query}")
        browsers = site.browsers(23, 8)
        caplog.set_level(logging.WARNING, "flask_redis_session")
        with fragile.client() as administrator:
            if over == "maxclients":
                administrator.config_set("maxclients", 4)
            statuses = _visited_at_once(browsers, lambda so_far: so_far.count(503) >= 100)
            began = [(each.levelname, each.message) for each in caplog.records]
            administrator.config_set("maxclients", 10_000)

        assert 200 in statuses
        assert ["ERROR"] == [level for level, _ in began]
        text = {"pool": "MaxConnectionsError: Too many conn", "maxclients": "max number of clients"}
        assert text[over] in began[0][1]
        wait_until(lambda: browsers[0].read() and len(caplog.records) > 1, "the end is logged")
        assert ["ERROR", "WARNING"] == [each.levelname for each in caplog.records]
        site.close()

    def test_one_node_away(self, caplog):
        """In a cluster the log says the same: once when a node fails, once when none does."""
        with Cluster() as cluster:
            for node in cluster.nodes:
                node.ask("CONFIG", "SET", "cluster-require-full-coverage", "no")
            site = Site(cluster, SESSION_REDIS_URL=cluster.url)
            browsers = site.browsers(None, 12)
            gone = cluster.node_of(site.key(browsers[0].sid))
            caplog.set_level(logging.WARNING, "flask_redis_session")
            gone.pause()
            # Each of the others is served, between two failures.
            statuses = _visited_at_once(browsers, lambda so_far: so_far.count(503) >= 20)
            gone.resume()

            assert 200 in statuses
            assert ["ERROR"] == [each.levelname for each in caplog.records]
            wait_until(
                lambda: _visited_at_once(browsers[:1], len) and len(caplog.records) > 1,
                "the end is logged",
            )
            assert ["ERROR", "WARNING"] == [each.levelname for each in caplog.records]
            site.close()

    def test_late_success(self, fragile, caplog):
        """A reply from before an outage, which its thread tells of late, ends nothing."""
        caplog.set_level(logging.WARNING, "flask_redis_session")
        arrived, told = threading.Event(), threading.Event()

        class Slow(redis.Redis):
            def execute_command(self, *args, **options):
                reply = super().execute_command(*args, **options)
                if threading.current_thread().name == "slow":
                    arrived.set()
                    told.wait(10)
                return reply

        with Slow(host=HOST, port=fragile.port, retry=Retry(NoBackoff(), 0)) as client:
            site = Site(fragile, redis=client)
            browser = site.browser()
            browser.set(a=1)
            slow = threading.Thread(target=browser.twin().read, name="slow")
            slow.start()
            assert arrived.wait(10)
            fragile.kill()
            browser.visit(lambda: session["a"], status=503)
            told.set()
            slow.join()
            browser.visit(lambda: session["a"], status=503)

        assert ["ERROR"] == [record.levelname for record in caplog.records]

    def test_log_names_no_secret(self, browser, fragile, caplog):
        """What is logged of an outage holds nothing of the session."""
        fragile.pause()

        browser.visit(lambda: session.update(a="private"), status=503)

        assert browser.secret not in caplog.text
        assert "private" not in caplog.text

    def test_refused_from_the_start(self):
        """An application starts without Redis, and works once it is there."""
        server = Server()
        try:
            with application_client(server) as client:
                site = Site(server, redis=client)
                site.browser().visit(lambda: session.update(a=1), status=503)

                server.start()
                browser = site.browser()
                browser.set(a=1)

                assert {"a": 1} == browser.read()
        finally:
            server.close()

    def test_by_url(self, fragile):
        """The client that a URL makes gives up in time, and comes back."""
        site = Site(fragile, SESSION_REDIS_URL=fragile.url)
        browser = site.browser()
        browser.set(a=1)
        fragile.pause()

        browser.visit(lambda: session["a"], status=503)
        fragile.resume()

        assert {"a": 1} == browser.read()

        site.close()

    @pytest.mark.parametrize("end", [Server.kill, Server.stop], ids=["killed", "stopped"])
    def test_unix_socket(self, fragile, end):
        """A socket that was removed or is dead, and was made anew, is found again."""
        site = Site(fragile, SESSION_REDIS_URL=fragile.unix_url)
        browser = site.browser()
        browser.set(a=1)
        end(fragile)
        browser.visit(lambda: session.update(a=2), status=503)
        fragile.start()

        browser.set(a=3)

        assert {"a": 3} == browser.read()

    def test_ipv6(self):
        """A server at an address of IPv6 serves sessions, and is found again."""
        with Server("valkey9", "--bind", "::1", HOST) as server:
            site = Site(server, SESSION_REDIS_URL=f"redis://[::1]:{server.port}/0")
            browser = site.browser()
            browser.set(a=1)
            server.stop()
            browser.visit(lambda: session["a"], status=503)
            server.start()

            browser.set(a=2)

            assert {"a": 2} == browser.read()

    def test_name_that_does_not_resolve(self, fragile, monkeypatch):
        """A host whose name is not known is an outage like any other, and ends when it is."""
        site = Site(fragile, SESSION_REDIS_URL=f"redis://redis.invalid:{fragile.port}/0")
        browser = site.browser()
        browser.visit(lambda: session.update(a=1), status=503)
        resolve = socket.getaddrinfo
        monkeypatch.setattr(
            socket,
            "getaddrinfo",
            lambda host, *more: resolve(HOST if host == "redis.invalid" else host, *more),
        )

        browser.set(a=1)

        assert {"a": 1} == browser.read()

    def test_after_the_save(self, fragile, hasty_client):
        """What fails after a session was stored does not keep its cookie from the browser."""
        site = Site(fragile, redis=hasty_client, SESSION_MAX_PER_USER=1)
        site.browsers(23, 2)
        browser = site.browser()

        def fail(_, **__):
            fragile.pause()

        with session_created.connected_to(fail, site.app):
            browser.visit(lambda: session.update(user_id=23))
        fragile.resume()

        assert {"user_id": 23} == browser.read()


def _logged(browser, caplog, count):
    """Read, and tell whether so many records are logged by now."""
    return browser.read() and len(caplog.records) == count


def _visited_at_once(browsers, enough):
    """Let browsers read their sessions again and again; return the statuses."""
    statuses: list[Any] = []

    def visit(browser):
        environ = {_VIEW: lambda: session.get("user_id"), _VALUES: []}
        while not enough(statuses):
            statuses.append(browser.client.open("/", environ_overrides=environ).status_code)

    threads = [threading.Thread(target=visit, args=(browser,)) for browser in browsers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return statuses


@contextmanager
def deaf():
    """A server that takes connections and never says a word; it knows how many there were."""
    met = []
    with socket.create_server((HOST, 0)) as listener:

        def listen():
            try:
                while True:
                    met.append(listener.accept()[0])
            except OSError:
                pass

        thread = threading.Thread(target=listen)
        thread.start()
        yield listener.getsockname()[1], met
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()
    for connection in met:
        connection.close()


class TestWaits:
    """A server that hangs is waited for once per request, and that only by those that need it."""

    COOKIE = "A" * 22 + "." + "b" * 43

    @pytest.fixture
    def deaf(self):
        """A site on a server that never answers, and the connections that it has met."""
        with deaf() as (port, met):
            options: dict[str, Any] = {"socket_timeout": 0.05, "retry": Retry(NoBackoff(), 0)}
            with redis.Redis(HOST, port, **options) as client:
                yield Site(None, redis=client), met

    def test_once_per_request(self, deaf):
        """A view that asks again and again waits once, and so does the save after it."""
        site, met = deaf

        def view():
            for _ in range(5):
                with pytest.raises(StoreUnavailable):
                    session["a"]
            session["a"] = 1

        site.send(f"session={self.COOKIE}", view, status=503)

        assert 1 == len(met)

    def test_permanent_untouched(self, deaf):
        """Requests that do without a permanent session wait once among several."""
        site, met = deaf

        for number in range(5):
            site.send(f"session={'B' * 21}{number}.{'b' * 43}.p")

        assert 1 == len(met)


class TestOutOfMemory:
    """What a server without memory still takes, in one round trip with what it refuses."""

    @pytest.fixture
    def site(self, fragile):
        """A site whose index is due for a touch with each request."""
        return Site(fragile, SESSION_TOUCH_INTERVAL=0)

    @contextmanager
    def full(self, fragile):
        """Let the server have no memory left."""
        fragile.ask("CONFIG", "SET", "maxmemory-policy", "noeviction")
        fragile.ask("CONFIG", "SET", "maxmemory", 1)
        try:
            yield
        finally:
            fragile.ask("CONFIG", "SET", "maxmemory", 0)

    def test_delete_a_key(self, site, fragile):
        """A key goes, together with the touch of the index, and the answer says so."""
        (browser,) = site.browsers(23, 1)
        browser.set(cart=[1])

        with self.full(fragile):
            browser.visit(lambda: session.pop("cart"))

        assert {"user_id": 23} == browser.read()

    def test_longer_life(self, site, fragile):
        """The index outlives a session that becomes permanent while a key goes."""
        (browser,) = site.browsers(23, 1)
        browser.set(cart=[1])

        with self.full(fragile):
            browser.visit(lambda: (setattr(session, "permanent", True), session.pop("cart")))

        names = (site.key(browser.sid), "session:user:23")
        hash_, index = (site.redis.pttl(name) for name in names)
        assert 0 < hash_ <= index

    def test_sign_in_with_a_dead_cookie(self, site, fragile):
        """A sign-in that can't prove its session leaves it alone, whatever else is refused."""
        victim = site.browser()
        victim.set(cart=[1])
        planted = victim.twin()
        full = self.full(fragile)

        def view():
            session["user_id"] = 42
            victim.sign_in(23)
            full.__enter__()

        planted.visit(view, status=503)
        full.__exit__(None, None, None)

        assert {"cart": [1], "user_id": 23} == victim.read()
