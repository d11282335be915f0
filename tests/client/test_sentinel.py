"""A primary, its replica and three sentinels: a failover under load, and confirmed revocations."""

from __future__ import annotations

import time
from urllib.parse import quote

import pytest
from redis.sentinel import Sentinel

from flask_redis_session import RevocationUnconfirmed
from flask_redis_session.client.commands import Commands
from flask_redis_session.client.url import connect
from tests.client.test_clients import everything
from tests.client.test_tls_acl import rules
from tests.support.figures import figure
from tests.support.load import Load
from tests.support.servers import HOST, SentinelSet, wait_until
from tests.support.webapp import Site, session


class SentinelSite(Site):
    """A site whose client is made from the sentinels' URL."""

    def __init__(self, sentinels, url=None, **config):
        super().__init__(sentinels, SESSION_REDIS_URL=url or sentinels.url, **config)


@pytest.mark.timeout(120)
@pytest.mark.parametrize("coordinated", [(), ("COORDINATED",)], ids=["plain", "coordinated"])
def test_planned_failover(sentinels, coordinated):
    """A primary that is well is demoted; coordinated, as Valkey 9 can, that loses nothing."""
    site = SentinelSite(sentinels)
    with Load(site, 4) as load:
        load.run(1)
        before = time.monotonic()
        old = sentinels.primary
        sentinels.sentinels[0].ask("SENTINEL", "FAILOVER", sentinels.service, *coordinated)
        wait_until(lambda: sentinels.primary is not old, "the sentinels name another primary")
        load.served("sessions go on with the new primary")
        wait_until(lambda: b"role:slave" in old.ask("INFO", "replication"), "the old one follows")
        load.run(0.5)
        load.served("sessions go on though the old primary follows")

    assert [] == load.wrong
    # What the old one takes until it follows is gone, unless the two agree on a moment.
    assert 0 == load.lost(**({} if coordinated else {"until": before}))
    figure(
        f"Sentinel, planned {coordinated}",
        f"{load.gap:.1f} s without service, {load.refused} times 503, "
        f"{load.lost()} of {len(load.times)} acknowledged writes lost",
    )


@pytest.mark.timeout(120)
@pytest.mark.parametrize("kind", ["idle", "in use"])
def test_new_primary_is_used_soon(sentinels, kind):
    """A worker leaves the old primary within seconds, though that still answers everything."""
    way = Commands(lambda: connect(sentinels.url))
    assert sentinels.primary.port == port_of(way)
    used = way._client.connection_pool.get_connection() if kind == "in use" else None
    port_of(way)
    old = sentinels.primary
    sentinels.sentinels[0].ask("SENTINEL", "FAILOVER", sentinels.service)
    wait_until(lambda: sentinels.primary is not old, "the sentinels name another primary")
    began = time.monotonic()
    wait_until(lambda: port_of(way) == sentinels.primary.port, "the worker uses it", 3)
    figure("Sentinel, the new primary is used", f"after {time.monotonic() - began:.1f} s")
    if used is not None:
        way._client.connection_pool.release(used)

        assert {sentinels.primary.port} == {port_of(way) for _ in range(10)}


def port_of(way):
    """Return the port of the server that answers."""
    return way.call(("INFO", "server"))["tcp_port"]


def test_a_sentinel_is_asked_once_a_second(sentinels, monkeypatch):
    """A worker that is busy asks about once a second."""
    asked, discover = [], Sentinel.discover_master

    def discovering(sentinel, service):
        asked.append(service)
        return discover(sentinel, service)

    monkeypatch.setattr(Sentinel, "discover_master", discovering)
    way = Commands(lambda: connect(sentinels.url))
    began = time.monotonic()
    while time.monotonic() - began < 3.5:
        port_of(way)

    assert 4 == len(asked)


def test_no_request_waits_for_sentinels_that_hang(sentinels):
    """With all sentinels hanging, those who use the primary do not notice."""
    way = Commands(lambda: connect(sentinels.url))
    port_of(way)
    for each in sentinels.sentinels:
        each.pause()
    longest, began = 0.0, time.monotonic()
    while time.monotonic() - began < 3:
        before = time.monotonic()
        port_of(way)
        longest = max(longest, time.monotonic() - before)
    for each in sentinels.sentinels:
        each.resume()

    # Who asked them would wait for each, a second in all.
    assert longest < 0.8


@pytest.mark.timeout(120)
def test_password_and_tls(certificates):
    """Servers and sentinels that want a password and certificates are reached by one URL."""
    certificate, key = certificates.client
    with SentinelSet("redis7", password="a-password", tls=certificates) as sentinels:
        hosts = ",".join(f"{HOST}:{sentinel.port}" for sentinel in sentinels.sentinels)
        options = f"?ssl_ca_certs={quote(str(certificates.authority))}"
        options += f"&ssl_certfile={quote(str(certificate))}&ssl_keyfile={quote(str(key))}"
        url = f"rediss+sentinel://:a-password@{hosts}/{sentinels.service}{options}"
        site = Site(sentinels.primary, SESSION_REDIS_URL=f"{url}&sentinel_password=a-password")
        everything(site)
        browser = site.browser()
        browser.set(a=1)

        # Without the one for the sentinels, it is refused.
        other = Site(sentinels.primary, SESSION_REDIS_URL=url).browser()
        other.visit(lambda: session.update(a=1), status=503)


@pytest.mark.timeout(120)
@pytest.mark.parametrize("how", ["kill", "pause"])
def test_failover(sentinels, how):
    """With the primary gone, sessions go on with the one that the sentinels choose."""
    site = SentinelSite(sentinels)
    with Load(site, 4) as load:
        load.run(1)
        before = time.monotonic()
        old = sentinels.primary
        getattr(old, how)()
        load.served("sessions go on")
        wait_until(lambda: sentinels.primary is not old, "the sentinels name another primary")
        load.served("sessions go on with the new primary")
        load.run(0.5)
        # As a replica of the new one: what it took alone is gone.
        old.resume() if how == "pause" else old.start()
        load.run(1)
        load.served("sessions go on though the old primary is back")

    assert [] == load.wrong
    # Replication is asynchronous: only what was acknowledged just before may be missing.
    assert 0 == load.lost(until=before - 0.5)
    lost = load.lost()
    figure(
        f"Sentinel, {how}",
        f"{load.gap:.1f} s without service, {load.refused} times 503, "
        f"{lost} of {len(load.times)} acknowledged writes lost",
    )


@pytest.mark.timeout(120)
class TestCutOff:
    """A primary that the sentinels cannot reach any more, but the workers can, for good."""

    @pytest.fixture
    def url(self, sentinels):
        """The sentinels, for workers with a user of their own."""
        for server in sentinels.servers:
            server.ask("ACL", "SETUSER", "worker", "on", ">at-work", "~*", "+@all")
        return sentinels.url.replace("://", "://worker:at-work@")

    def new_primary(self, sentinels, workers=()):
        """Cut the primary off, and return it once the sentinels name another one."""
        old = sentinels.primary
        sentinels.cut_off(old)

        def another():
            # Meanwhile they have work.
            for worker in workers:
                port_of(worker)
            return sentinels.primary is not old

        wait_until(another, "the sentinels name another primary", 30)
        return old

    def test_one_primary_for_all(self, sentinels, url):
        """Busy workers leave it within a second or two, and so agree with one that begins now."""
        workers = [Commands(lambda: connect(url)) for _ in range(3)]
        assert {sentinels.primary.port} == {port_of(worker) for worker in workers}
        old = self.new_primary(sentinels, workers)
        began = time.monotonic()
        new = sentinels.primary.port
        wait_until(lambda: {new} == {port_of(worker) for worker in workers}, "all use it", 3)
        figure("Sentinel, cut off: workers disagree", f"for {time.monotonic() - began:.1f} s")

        sentinels.wait_ready()
        workers.append(Commands(lambda: connect(url)))
        assert {new} == {port_of(worker) for _ in range(20) for worker in workers}
        # Nobody has told it: whoever still asked it would be answered.
        assert b"role:master" in old.ask("INFO", "replication")

    def test_sessions(self, sentinels, url):
        """People stay signed in, in each worker; who signs out then is signed out in all."""
        sites = [SentinelSite(sentinels, url) for _ in range(2)]
        browser, other = (sites[0].browser() for _ in range(2))
        for each in (browser, other):
            each.sign_in(23)
        wait_until(lambda: len(_members(sentinels.replica, 23)) == 2, "the replica has both")
        elsewhere = sites[1].browser()
        elsewhere.cookie = browser.cookie
        assert 23 == elsewhere.read()["user_id"]
        self.new_primary(sentinels)
        new = sentinels.primary
        for site in sites:
            wait_until(lambda: port_of(way_of(site)) == new.port, "it is used", 3)  # noqa: B023

        assert 23 == browser.read()["user_id"]
        assert 23 == elsewhere.read()["user_id"]
        other.visit(lambda: session.clear_user_sessions())
        assert [{}, {}, {}] == [each.read() for each in (browser, elsewhere, other)]

    def test_writes(self, sentinels, url):
        """With ``min-replicas-to-write`` it refuses, and sessions go on with the new one."""
        site = SentinelSite(sentinels, url)
        sentinels.primary.ask("CONFIG", "SET", "min-replicas-to-write", "1")
        with Load(site, 4) as load:
            load.run(1)
            before = time.monotonic()
            old = self.new_primary(sentinels)
            load.served("sessions go on with the new primary", seconds=20)
            load.run(0.5)

        assert [] == load.wrong
        assert 0 == load.lost(until=before - 0.5)
        assert b"role:master" in old.ask("INFO", "replication")
        figure(
            "Sentinel, cut off with min-replicas-to-write",
            f"{load.gap:.1f} s without service, {load.refused} times 503, "
            f"{load.lost()} of {len(load.times)} acknowledged writes lost",
        )


def way_of(site):
    """Return the way to Redis of a site."""
    return site.interface._backend_of(site.app).redis


def _members(server, user):
    return server.ask("ZRANGE", f"session:user:{user}", 0, -1)


@pytest.mark.timeout(120)
class TestRevokeWait:
    def test_confirmed(self, sentinels):
        """A revocation that returns is on the replica, and so outlives the primary."""
        site = SentinelSite(sentinels, SESSION_REVOKE_WAIT=(1, 500))
        browsers = site.browsers(23, 3)

        began = time.monotonic()
        assert 3 == site.interface.revoke_sessions(23)
        figure("confirmed revocation", f"{(time.monotonic() - began) * 1000:.1f} ms")
        old = sentinels.primary
        old.kill()
        wait_until(lambda: sentinels.primary is not old, "the sentinels name another primary")

        wait_until(lambda: not _fails(browsers[0]), "the new primary answers")
        assert [{}, {}, {}] == [browser.read() for browser in browsers]

    def test_unconfirmed(self, sentinels):
        """Without its replica it ends the sessions, and says that no replica has confirmed it."""
        site = SentinelSite(sentinels, SESSION_REVOKE_WAIT=(1, 500))
        browsers = site.browsers(23, 3)
        sentinels.replica.pause()

        with pytest.raises(RevocationUnconfirmed) as caught:
            site.interface.revoke_sessions(23)

        assert (3, 0) == (caught.value.ended, caught.value.replicas)
        assert [{}, {}, {}] == [browser.read() for browser in browsers]

    def test_in_a_request(self, sentinels):
        """A request that could not have its revocation confirmed is a 503."""
        site = SentinelSite(sentinels, SESSION_REVOKE_WAIT=(1, 300))
        browser, other = site.browsers(23, 2)
        sentinels.replica.pause()

        browser.visit(lambda: session.clear_user_sessions(keep_current=True), status=503)

        assert {} == other.read()


def _fails(browser):
    try:
        browser.read()
    except AssertionError:
        return True
    return False


def test_acl(sentinels):
    """The users of the documentation suffice, for the servers and for the sentinels."""
    for server in sentinels.servers:
        server.ask(
            "ACL", "SETUSER", "sessions", "reset", *rules("sessions"), "+wait", "+script|load"
        )
    for sentinel in sentinels.sentinels:
        given = ["on", ">guide", "-@all", "+sentinel|masters"]
        sentinel.ask("ACL", "SETUSER", "guide", "reset", *given)
    url = sentinels.url.replace("://", "://sessions:a-long-password@")
    url += "?sentinel_username=guide&sentinel_password=guide"

    everything(Site(sentinels, SESSION_REDIS_URL=url, SESSION_REVOKE_WAIT=(1, 500)))
