"""SESSION_KEEP: how old at most what a warm GET reads may be, whatever breaks."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.failure.proxy import Proxy
from tests.support.figures import figure
from tests.support.keeping import KeepingSite
from tests.support.servers import HOST, Server, wait_until
from tests.support.webapp import session

ROOT = Path(__file__).parents[2]

#: The bound of these sites, in seconds.
STALE = 1.0

pytestmark = pytest.mark.one_server("SESSION_KEEP is refused in a cluster")


@pytest.fixture
def own(server):
    """A server of the same kind, which the test may break."""
    with Server(server.name) as own:
        yield own


def sees(browser, value=1):
    """Tell whether a GET reads this value; that Redis fails is no answer."""
    try:
        return browser.visit(lambda: session.get("a")).value == value
    except AssertionError:
        return False


def last_seen(browser, since, seconds, value=1):
    """Return when the last GET began that read a value, in seconds since a moment."""
    last = 0.0
    while (begins := time.monotonic()) < since + seconds:
        if sees(browser, value):
            last = begins - since
    return last


def begins_anew(site, browser):
    """Check that nothing is read of a session that is gone, and that the next one is kept."""
    assert not sees(browser)

    again = site.visitor(a=2)

    assert sees(again, 2)


def killed(site, *kind):
    """Kill connections of a site, those that listen or those that do not."""
    for client in site.redis.client_list():
        listens = "t" in client["flags"]
        if client["id"] != str(site.redis.client_id()) and listens == ("listener" in kind):
            site.redis.client_kill_filter(_id=client["id"])


def test_frozen_network(server):
    """If nothing comes through any more, what is ended elsewhere is read for the bound at most."""
    with Proxy(server.port) as proxy:
        site = KeepingSite(server, proxy.url)
        browser = site.visitor(a=1)
        proxy.drops = "replies"
        ended = time.monotonic()
        site.redis.delete(site.key(browser.sid))
        last = last_seen(browser, ended, 2.5)
        proxy.drops = None

    figure(f"SESSION_KEEP, network frozen, {server.name}", f"read for {last * 1000:.0f} ms")
    assert 0.3 < last <= STALE


def test_frozen_for_the_listener_alone(server):
    """If only the line hangs, Redis is asked after the bound, and another line is opened."""
    with Proxy(server.port) as proxy:
        site = KeepingSite(server, proxy.url)
        browser = site.visitor(a=1)
        # The replies on the line are held back, and those to loads too, but shorter than a timeout.
        proxy.delays["replies"] = 0.6
        ended = time.monotonic()
        site.redis.delete(site.key(browser.sid))
        last = last_seen(browser, ended, 2.5)

    assert last <= STALE


def test_stopped_server(own):
    """If Redis hangs, what was loaded is read for the bound at most."""
    site = KeepingSite(own)
    browser = site.visitor(a=1)
    own.pause()
    last = last_seen(browser, time.monotonic(), 2.5)
    own.resume()

    figure(f"SESSION_KEEP, server stopped, {own.name}", f"read for {last * 1000:.0f} ms")
    assert 0.3 < last <= STALE

    site.warm(browser)


@pytest.mark.parametrize("bound", [0.3, 3.0])
def test_another_bound(own, bound):
    """The setting is the bound."""
    site = KeepingSite(own, SESSION_KEEP_STALE=bound)
    browser = site.visitor(a=1)
    own.pause()
    last = last_seen(browser, time.monotonic(), bound + 1)
    own.resume()

    assert bound * 0.5 < last <= bound


@pytest.mark.parametrize("how", ["restart", "crash"])
def test_restart(own, how):
    """A server that has started anew knows of no session, and nothing else is read."""
    site = KeepingSite(own)
    browser = site.visitor(a=1)
    if how == "crash":
        own.kill()
        own.start()
    else:
        own.restart()

    begins_anew(site, browser)


def test_listener_killed(server):
    """If the line is cut, nothing is read of what was kept."""
    site = KeepingSite(server)
    browser = site.visitor(a=1)
    killed(site, "listener")
    site.redis.delete(site.key(browser.sid))

    begins_anew(site, browser)


def test_data_connections_killed(server):
    """If the other connections are cut, the line goes on and tells of changes."""
    site = KeepingSite(server)
    browser = site.visitor(a=1)
    line = site.line
    killed(site)
    site.redis.hset(site.key(browser.sid), "a", "2")
    wait_until(lambda: sees(browser, 2), "the change is seen", STALE)

    site.warm(browser)

    assert line is site.line


def test_demoted(own):
    """A server that is told to follow another one is left within the bound, without a write."""
    site = KeepingSite(own)
    browser = site.visitor(a=1)
    own.ask("REPLICAOF", HOST, "1")
    since = time.monotonic()
    while site.believes(browser):
        assert time.monotonic() - since <= STALE + 0.1
    last = time.monotonic() - since

    figure(f"SESSION_KEEP, demoted, {own.name}", f"read for {last * 1000:.0f} ms")
    for _ in range(20):
        browser.read()
        time.sleep(0.05)

    assert not site.believes(browser)


def test_readonly(own):
    """If a write is refused because the server is a replica, everything is dropped at once."""
    site = KeepingSite(own)
    browser, other = site.visitor(a=1), site.visitor(a=1)
    own.ask("REPLICAOF", HOST, "1")
    other.visit(lambda: session.update(a=2), status=503)

    assert not site.believes(browser)


def test_another_peer(server):
    """If a connection reaches another server, everything is dropped."""
    site = KeepingSite(server)
    browser = site.visitor(a=1)
    line = site.line
    site.kept.listener._reached((HOST, 1))

    assert not site.believes(browser)
    assert line.is_lost

    # A line that is opened now reaches another one than the data do.
    wait_until(lambda: browser.read() and site.line is None, "no line stays", 3)


def test_dropped_while_a_write_is_under_way(server):
    """From the moment that a write is sent, its session is asked of Redis."""
    with Proxy(server.port) as proxy:
        site = KeepingSite(server, proxy.url)
        browser = site.visitor(a=1)
        # So that the server has the script.
        browser.set(a=1)
        site.warm(browser)
        proxy.delays["replies"] = 0.4
        writer = threading.Thread(target=lambda: browser.twin().set(a=2))
        writer.start()
        wait_until(lambda: site.hash(browser.sid)[b"a"] == b"2", "it is written", 0.3)

        assert not site.believes(browser)

        writer.join()


@pytest.mark.timeout(120)
@pytest.mark.parametrize("how", ["planned", "cut off"])
def test_failover(sentinels, how):
    """A process of which nothing but warm GETs is wanted leaves the old primary too."""
    for each in sentinels.servers:
        each.ask("ACL", "SETUSER", "worker", "on", ">at-work", "~*", "&*", "+@all")
    site = KeepingSite(sentinels, sentinels.url.replace("://", "://worker:at-work@"))
    old = sentinels.primary
    site.redis = old.client(username="worker", password="at-work")
    browser = site.visitor(a=1)
    new = sentinels.replica
    wait_until(lambda: new.ask("EXISTS", site.key(browser.sid)), "the replica has it")
    if how == "planned":
        sentinels.sentinels[0].ask("SENTINEL", "FAILOVER", sentinels.service)
    else:
        sentinels.cut_off(old)
    stop = threading.Event()

    def go_on():
        while not stop.is_set():
            sees(browser)
            time.sleep(0.001)

    thread = threading.Thread(target=go_on)
    thread.start()
    try:
        wait_until(lambda: sentinels.primary is new, "the sentinels name the other one", 30)
        wait_until(lambda: b"role:master" in new.ask("INFO", "replication"), "it is one")
    finally:
        stop.set()
        thread.join()
    # Whoever asks a sentinel now ends the session there.
    new.ask("DEL", site.key(browser.sid))
    last = last_seen(browser, time.monotonic(), 4)

    figure(f"SESSION_KEEP, failover, {how}", f"read for {last * 1000:.0f} ms")
    assert last <= STALE + 0.5


def test_tls(certificates):
    """With TLS it is the same, also what comes in pieces."""
    with Server("redis7", tls=certificates) as server:
        certificate, key = certificates.client
        url = f"rediss://{HOST}:{server.port}?ssl_ca_certs={quote(str(certificates.authority))}"
        url += f"&ssl_certfile={quote(str(certificate))}&ssl_keyfile={quote(str(key))}"
        site = KeepingSite(server, url)
        browser = site.visitor(a=1, b="x" * 100_000)

        assert 100_000 == len(browser.read()["b"])

        for value in range(2, 30):
            site.redis.hset(site.key(browser.sid), "a", value)
            wait_until(lambda: sees(browser, value), "the change is seen", STALE)  # noqa: B023
            site.warm(browser)
        server.pause()
        last = last_seen(browser, time.monotonic(), 2, 29)
        server.resume()

        assert 0.3 < last <= STALE


def test_unix_socket(server):
    """At a unix socket it is the same."""
    site = KeepingSite(server, server.unix_url)
    browser = site.visitor(a=1)
    site.redis.hset(site.key(browser.sid), "a", 2)

    wait_until(lambda: sees(browser, 2), "the change is seen", STALE)


def test_embedded():
    """With the embedded server it is the same."""
    site = KeepingSite(None, "embedded://")
    browser = site.browser()
    browser.sign_in(23, a=1)
    site.warm(browser)
    browser.set(a=2)

    assert sees(browser, 2)


CHILD = """
import os, sys, threading, time
from tests.support.keeping import KeepingSite

site = KeepingSite(None, sys.argv[1])
browser = site.visitor(a=1)
line = site.line
held = threading.Event()

def hold():
    with line._lock:
        held.set()
        time.sleep(1)

threading.Thread(target=hold).start()
held.wait()
child = os.fork()
if child == 0:
    try:
        assert 1 == browser.read()["a"]
        assert site.line is not line
        site.warm(browser)
        browser.set(a=2)
        assert 2 == browser.read()["a"]
        print("child ok", flush=True)
        os._exit(0)
    finally:
        os._exit(1)
assert os.waitpid(child, 0)[1] == 0
time.sleep(1)
assert 2 == browser.read()["a"]
site.warm(browser)
assert not line.is_lost
print("parent ok", flush=True)
"""

GREENLETS = """
from gevent import monkey
monkey.patch_all()
import sys, threading, time
import gevent
from tests.support.keeping import KeepingSite

site = KeepingSite(None, sys.argv[1])
browsers = [site.visitor(a=0) for _ in range(8)]

def work(browser):
    for value in range(100):
        browser.set(a=value)
        for _ in range(5):
            assert value == browser.read()["a"]
            gevent.sleep(0)

gevent.joinall([gevent.spawn(work, each) for each in browsers], raise_error=True)
site.warm(*browsers)
print("ok", flush=True)
"""


def run_alone(script, url):
    """Run a script in a process of its own, and return what it says."""
    done = subprocess.run(
        [sys.executable, "-c", script, url],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert 0 == done.returncode, done.stderr
    return done.stdout.split("\n")


def test_fork(server):
    """A child has a line of its own, also if a thread of the parent's held the other's lock."""
    assert ["child ok", "parent ok", ""] == run_alone(CHILD, server.url)


def test_greenlets(server):
    """Under gevent own writes are seen, and sessions are kept."""
    assert ["ok", ""] == run_alone(GREENLETS, server.url)


def test_eight_threads(server):
    """With eight threads, no GET reads what was written over more than the bound before."""
    site = KeepingSite(server)
    browser = site.visitor(a=0)
    written = [(time.monotonic(), 0)]
    wrong = []
    stop = threading.Event()

    def read():
        own = browser.twin()
        while not stop.is_set():
            begins = time.monotonic()
            least = [value for at, value in [*written] if at < begins - STALE][-1:]
            found = own.read().get("a")
            if least and (found is None or found < least[0]):
                wrong.append((found, least))

    threads = [threading.Thread(target=read) for _ in range(8)]
    for each in threads:
        each.start()
    for value in range(1, 60):
        site.redis.hset(site.key(browser.sid), "a", value)
        written.append((time.monotonic(), value))
        time.sleep(0.05)
    stop.set()
    for each in threads:
        each.join()

    assert [] == wrong
    wait_until(lambda: sees(browser, 59), "the last is seen", STALE)


def test_idle_under_foreign_writes(server):
    """A process that slept while others wrote a lot reads what they wrote, and is not held up."""
    site = KeepingSite(server)
    browsers = [site.browser() for _ in range(100)]
    for browser in browsers:
        browser.sign_in(23, a=0)
    site.warm(*browsers)
    with site.redis.pipeline(transaction=False) as pipe:
        for turn in range(1000):
            for browser in browsers:
                pipe.hset(site.key(browser.sid), "a", turn)
            pipe.execute()
    began = time.monotonic()

    assert [999] * 100 == [browser.read()["a"] for browser in browsers]
    assert time.monotonic() - began < 3


def test_full_tracking_table(own):
    """If Redis can track few keys only, it says so of the others, and those are loaded anew."""
    own.ask("CONFIG", "SET", "tracking-table-max-keys", 5)
    site = KeepingSite(own)
    browsers = [site.browser() for _ in range(30)]
    for browser in browsers:
        browser.sign_in(23, a=1)
    for _ in range(3):
        assert all(sees(browser) for browser in browsers)
        time.sleep(0.05)
    for browser in browsers:
        site.redis.hset(site.key(browser.sid), "a", 2)

    wait_until(lambda: all(sees(browser, 2) for browser in browsers), "all is seen", STALE)


def commands_renamed(name):
    """Return the argument by which a server does not know a command."""
    return ("--rename-command", name, "")


@pytest.mark.parametrize("refused", ["CLIENT", "HELLO"])
def test_refused(server, caplog, refused):
    """If Redis refuses, one warning says what to grant, and everything goes on as without."""
    arguments = commands_renamed("HELLO") if refused == "HELLO" else ()
    with Server(server.name, *arguments, password="a-long-password") as own:
        url = own.url
        if refused != "HELLO":
            own.ask("ACL", "SETUSER", "app", "on", ">a-long-password", "~*", "+@all", "-client")
            url = url.replace("://:", "://app:")
        site = KeepingSite(own, url)
        browser = site.browser()
        with caplog.at_level(logging.DEBUG):
            browser.sign_in(23, a=1)
            for _ in range(20):
                assert sees(browser)
                time.sleep(0.02)
        text = [each.getMessage() for each in caplog.records if "SESSION_KEEP" in each.getMessage()]

        assert 1 == len(text)
        assert "Grant the user CLIENT TRACKING and TIME" in text[0]
        assert "a-long-password" not in caplog.text
        assert None is site.line


def test_no_request_waits_for_the_line(server):
    """While a line cannot be opened, GETs take no longer than without it."""
    with Proxy(server.port) as proxy:
        site = KeepingSite(server, proxy.url)
        browser = site.browser()
        browser.sign_in(23, a=1)
        proxy.delays["replies"] = 0.05
        began = time.monotonic()
        browser.read()

        assert time.monotonic() - began < 0.2
