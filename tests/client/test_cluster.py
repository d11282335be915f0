"""A cluster of three primaries: every flow, failover, slots on the move, and one slot a command."""

from __future__ import annotations

import importlib
import threading
import time
from functools import partial
from typing import Any

import pytest
import redis
from redis.crc import key_slot

from flask_redis_session.admin.keyspace import KeySpace
from flask_redis_session.client.pools import close_idle
from flask_redis_session.signals import session_ended
from tests.client.test_clients import everything
from tests.client.test_tls_acl import administer, rules
from tests.support.clients import LIBRARIES
from tests.support.commandline import make, run
from tests.support.figures import figure
from tests.support.load import AnyBrowser, Load
from tests.support.servers import HOST, Cluster, wait_until
from tests.support.webapp import Browser, Site, load_scripts, session

#: Which of a command's arguments are keys; of a script, as its first argument says.
KEYS = {
    **dict.fromkeys(["hgetall", "hmget", "zcount", "zrange", "zrevrange", "zscore", "zrem"], 1),
    **dict.fromkeys(
        ["hget", "hset", "hdel", "hkeys", "hlen", "pexpireat", "pexpire", "pttl", "unlink"], 1
    ),
    **dict.fromkeys(["zadd", "zcard"], 1),
    **dict.fromkeys(["time", "cluster", "command", "readonly", "asking", "info"], 0),
}


def _leads(cluster, node):
    return node in cluster.primaries


@pytest.fixture(params=["client", "url"])
def site(request, cluster):
    """A site on a cluster, by a client of the user's and by a URL."""
    if request.param == "client":
        return Site(cluster)
    return Site(cluster, SESSION_REDIS_URL=patient(cluster))


@pytest.fixture
def replicated():
    """A cluster of three primaries with a replica each, which a test may break."""
    with Cluster(replicas=1, node_timeout=1500) as cluster:
        yield cluster


def patient(cluster):
    """Return the URL of a cluster for tests that are not about a node that hangs."""
    return f"{cluster.url}?socket_timeout=5&socket_connect_timeout=5"


def keys_of(sent):
    """Return the keys of a command."""
    if sent.name in ("evalsha", "eval"):
        return sent.arguments[2 : 2 + int(sent.arguments[1])]
    return sent.arguments[: KEYS[sent.name]]


def test_flows(site):
    """Whatever there is to do with sessions can be done on a cluster."""
    everything(site)


def test_one_slot(site, cluster):
    """No command, and nothing that a script calls, needs two slots (guarantee 9)."""
    with cluster.cost() as cost:
        everything(site)

    commands = [*cost.sent, *cost.scripted]
    assert {"evalsha", "hgetall", "zrange", "unlink", "zadd"} <= {sent.name for sent in commands}
    for sent in commands:
        assert len({key_slot(key) for key in keys_of(sent)}) <= 1, sent
    assert not {"multi", "exec", "wait"} & {sent.name for sent in commands}


def test_partial_load(site, cluster):
    """Of a large session an endpoint loads what it uses there too."""
    browser = Browser(site)
    browser.visit(lambda: session.update({f"key{i}": "x" * 1000 for i in range(1000)}))
    for _ in range(3):
        browser.visit(lambda: session["key5"])

    with cluster.cost() as cost:
        browser.visit(lambda: session["key5"])

    assert ["hmget"] == cost.names
    assert cost.bytes_out < 3000


def test_round_trips(site, cluster):
    """To list and to end a user's sessions takes no more than one round trip more per node."""
    site.browsers(23, 60)
    site.interface.revoke_sessions(23)
    browsers = site.browsers(23, 60)
    nodes = {cluster.node_of(site.key(browser.sid)).port for browser in browsers}
    assert 3 == len(nodes)
    site.interface.list_sessions(23)

    with cluster.cost() as listing:
        assert 60 == len(site.interface.list_sessions(23))
    with cluster.cost() as ending:
        assert 60 == site.interface.revoke_sessions(23)

    assert listing.round_trips <= 1 + 3
    assert ending.round_trips <= 2 + 3
    assert [{}] * 60 == [browser.read() for browser in browsers]


@pytest.mark.parametrize("before", [{}, {"a": 1}, {"user_id": 42}, {"user_id": 23}])
def test_round_trips_of_a_sign_in(site, cluster, before):
    """A sign-in takes no more than one round trip more, as session and index are apart."""
    load_scripts(site.redis)
    browser = Browser(site)
    if before:
        browser.set(**before)

    with cluster.cost() as cost:
        browser.sign_in(23)

    assert cost.round_trips <= 3 + 1


def test_refused_index(site, caplog):
    """A sign-in whose index is refused is not carried out: nothing is sent after the refusal."""
    browser = site.browser()
    browser.set(a=1)
    site.redis.set("session:user:23", "no index")

    browser.visit(lambda: session.update(user_id=23, a=2), status=503)

    assert {"a": 1} == browser.read()
    assert "session:user:23" in caplog.text


def test_refused_touch(site):
    """A save stands though the touch of its index, which is sent first, is refused."""
    browser = site.browser()
    browser.sign_in(23, a=1)
    site.redis.set("session:user:23", "no index")

    browser.visit(lambda: (setattr(session, "permanent", True), session.update(a=2)))

    assert {"user_id": 23, "a": 2} == browser.read()


def test_failover(replicated):
    """With a primary gone, what fails meanwhile is a 503; then its replica goes on."""
    site = Site(replicated, SESSION_REDIS_URL=replicated.url)
    with Load(site, 6) as load:
        load.run(1)
        before = time.monotonic()
        old = replicated.node_of(site.key(load.accounts[0].browser.sid))
        old.kill()
        load.served("sessions go on")
        load.run(0.5)
        gap = load.gap
        old.start()
        load.run(1)
        load.served("sessions go on though the old primary is back")

    assert [] == load.wrong
    # Replication is asynchronous: only what was acknowledged just before may be missing.
    assert 0 == load.lost(until=before - 0.5)
    figure(
        "cluster, a primary killed",
        f"{gap:.1f} s without service, {load.refused} times 503, "
        f"{load.lost()} of {len(load.times)} acknowledged writes lost",
    )


def test_planned_failover(replicated):
    """A new primary that lacks the scripts gets them by itself, and refuses nobody."""
    site = Site(replicated, SESSION_REDIS_URL=replicated.url)
    # So many that each node has one.
    browsers = [AnyBrowser(site) for _ in range(40)]
    for browser in browsers:
        browser.sign_in(23, a=1)
    new = replicated.replicas
    for node in new:
        node.ask("SCRIPT", "FLUSH")
        node.ask("CLUSTER", "FAILOVER")
        # One after another: of two elections at once, one may fail.
        wait_until(partial(_leads, replicated, node), "the replica takes over")
    replicated.wait_ready()

    for browser in browsers:
        browser.set(a=2)

    assert [{"a": 2, "user_id": 23}] * 40 == [browser.read() for browser in browsers]
    assert all(b"cmdstat_eval:" in node.ask("INFO", "commandstats") for node in new)


def open_slot(slot, source, target):
    """Let a slot be on the move, with none of its keys moved yet."""
    target.ask("CLUSTER", "SETSLOT", slot, "IMPORTING", source.ask("CLUSTER", "MYID"))
    source.ask("CLUSTER", "SETSLOT", slot, "MIGRATING", target.ask("CLUSTER", "MYID"))


def move(cluster, slot, source, target, *, ends=True):
    """Move a slot key by key, as the cluster tools do; the end is that all nodes know of it."""
    open_slot(slot, source, target)
    time.sleep(0.02)
    while keys := source.ask("CLUSTER", "GETKEYSINSLOT", slot, 1):
        source.ask("MIGRATE", HOST, target.port, "", 0, 5000, "KEYS", *keys)
        time.sleep(0.02)
    for node in (target, source, *cluster.nodes) if ends else ():
        node.ask("CLUSTER", "SETSLOT", slot, "NODE", target.ask("CLUSTER", "MYID"))


def test_migration(cluster):
    """Slots that move under load lose no acknowledged write, and refuse only as announced."""
    site = Site(cluster, SESSION_REDIS_URL=patient(cluster))
    signed: list[Any] = []
    wrong: list[Any] = []
    stop = threading.Event()

    def sign_in():
        while not stop.is_set():
            browser = AnyBrowser(site)
            answer = browser.visit_any(lambda: session.update(user_id="crowd"))
            (signed if answer.status == 200 else wrong).append((answer.status, browser))
            site.interface.list_sessions("crowd", limit=5)
            time.sleep(0.01)

    newcomers = threading.Thread(target=sign_in)
    with Load(site, 6) as load:
        newcomers.start()
        names = [site.key(account.browser.sid) for account in load.accounts]
        names += [f"session:user:user{at}" for at in range(6)] + ["session:user:crowd"]
        moves = 0
        for _ in range(3):
            for name in names:
                source = cluster.node_of(name)
                target = cluster.nodes[(cluster.nodes.index(source) + 1) % 3]
                move(cluster, key_slot(name.encode()), source, target)
                moves += 1
        stop.set()
        newcomers.join()

    assert [] == load.wrong
    assert 0 == load.lost()
    assert [] == [status for status, _ in wrong if status != 503]
    assert [] == [browser for _, browser in signed if browser.read() != {"user_id": "crowd"}]
    listed = {info.sid for info in site.interface.list_sessions("crowd")}
    assert {browser.sid for _, browser in signed} <= listed
    figure(
        f"{moves} slots moved",
        f"{load.refused + len(wrong)} times 503, 0 of {len(load.times)} acknowledged writes lost",
    )


@pytest.mark.parametrize("ends", [True, False], ids=["moved", "on the move"])
def test_index_moves(cluster, ends):
    """An index that another node has on the way, in another order, is ended to its end."""
    site = Site(cluster, SESSION_REDIS_URL=patient(cluster))
    make(site.redis, 23, 12_000)
    index = "session:user:23"
    source = cluster.node_of(index)
    target = cluster.nodes[(cluster.nodes.index(source) + 1) % 3]
    moved: list[Any] = []

    def move_index(_, **__):
        if not moved:
            moved.append(move(cluster, key_slot(index.encode()), source, target, ends=ends))

    with session_ended.connected_to(move_index):
        assert 12_000 == site.interface.revoke_sessions(23)

    assert 1 == len(moved)
    assert 0 == sum(node.ask("DBSIZE") for node in cluster.nodes)
    if not ends:
        move(cluster, key_slot(index.encode()), source, target)


@pytest.mark.parametrize("ends", [True, False], ids=["moved", "on the move"])
@pytest.mark.parametrize("command", [["revoke-all", "--yes"], ["count"], ["doctor"]], ids=" ".join)
def test_slots_move_meanwhile(cluster, monkeypatch, command, ends):
    """If keys go to a node that was looked through already, ``flask sessions`` says so."""
    site = Site(cluster, SESSION_REDIS_URL=patient(cluster))
    make(site.redis, None, 90)
    victims = make(site.redis, 23, 90)
    pages = KeySpace.pages
    moved: list[Any] = []

    def pages_and_a_move(survey):
        for page in pages(survey):
            yield page
            if page.sids and not moved:
                target = cluster.node_of(site.key(page.sids[0]))
                victim = next(sid for sid in victims if cluster.node_of(site.key(sid)) != target)
                slot, source = (
                    key_slot(site.key(victim).encode()),
                    cluster.node_of(site.key(victim)),
                )
                move(cluster, slot, source, target, ends=ends)
                moved.append((slot, source, target))

    monkeypatch.setattr(KeySpace, "pages", pages_and_a_move)
    outcome = run(site.app, *command, status=3)
    monkeypatch.undo()

    assert "Slots of the cluster are on the move or without a node" in outcome.error
    # A second run is a whole one, also if the move has not come to its end.
    run(site.app, *command)
    if command[0] == "revoke-all":
        assert [] == [sid for sid in victims if site.redis.exists(site.key(sid))]
    if not ends:
        move(cluster, *moved[0])


def test_slot_on_the_move(cluster, monkeypatch):
    """Of a slot that was on the move from the beginning, no key is missed, whenever it moves."""
    site = Site(cluster, SESSION_REDIS_URL=patient(cluster))
    victims = make(site.redis, 23, 90)
    Browser(site).visit()
    # The one that would be the first to be looked at.
    port = site.interface._any_backend().redis._open().get_primaries()[0].port
    target = next(node for node in cluster.nodes if node.port == port)
    victim = next(sid for sid in victims if cluster.node_of(site.key(sid)) != target)
    slot, source = key_slot(site.key(victim).encode()), cluster.node_of(site.key(victim))
    open_slot(slot, source, target)
    pages = KeySpace.pages

    def pages_and_a_move(survey):
        for number, page in enumerate(pages(survey)):
            yield page
            if number == 0:
                move(cluster, slot, source, target, ends=False)

    monkeypatch.setattr(KeySpace, "pages", pages_and_a_move)
    run(site.app, "revoke-all", "--yes")
    monkeypatch.undo()

    assert [] == [sid for sid in victims if site.redis.exists(site.key(sid))]
    move(cluster, slot, source, target)


def test_slots_both_ways(cluster):
    """If keys go both ways between two nodes, there is no order, and that is said."""
    site = Site(cluster, SESSION_REDIS_URL=patient(cluster))
    first, second, _ = cluster.nodes
    open_slot(0, first, second)
    open_slot(6000, second, first)

    outcome = run(site.app, "count", status=3)
    for node in (first, second):
        for slot in (0, 6000):
            node.ask("CLUSTER", "SETSLOT", slot, "STABLE")

    assert "Slots of the cluster are on the move" in outcome.error
    run(site.app, "count")


def test_node_is_missing(cluster):
    """With slots that nobody holds, ``flask sessions`` does not pass for having seen all."""
    site = Site(cluster, SESSION_REDIS_URL=patient(cluster))
    make(site.redis, 23, 10)
    node = cluster.nodes[0]
    for each in cluster.nodes:
        each.ask("CONFIG", "SET", "cluster-require-full-coverage", "no")
    node.ask("CLUSTER", "DELSLOTS", 0)

    outcome = run(site.app, "count", status=3)
    node.ask("CLUSTER", "ADDSLOTS", 0)

    assert "Slots of the cluster are on the move or without a node" in outcome.error
    run(site.app, "count")


def test_acl(cluster):
    """The user of the documentation, with what it adds for a cluster, suffices for one."""
    given = [*rules("sessions"), "+cluster|slots", "+command", "+asking", "+client|setinfo"]
    for node in cluster.nodes:
        node.ask("ACL", "SETUSER", "sessions", "reset", *given)
        node.ask("ACL", "LOG", "RESET")
    url = patient(cluster).replace("://", "://sessions:a-long-password@")
    site = Site(cluster, SESSION_REDIS_URL=url)

    everything(site)
    browser = Browser(site)
    browser.set(a=1)
    source = cluster.node_of(site.key(browser.sid))
    target = cluster.nodes[(cluster.nodes.index(source) + 1) % 3]
    move(cluster, key_slot(site.key(browser.sid).encode()), source, target, ends=False)
    browser.set(a=2)
    move(cluster, key_slot(site.key(browser.sid).encode()), source, target)

    assert {"a": 2} == browser.read()
    assert [] == [entry for node in cluster.nodes for entry in node.ask("ACL", "LOG")]


def test_acl_of_administration(cluster):
    """So does the one for ``flask sessions``."""
    further = ["+cluster|slots", "+command", "+asking", "+client|setinfo", "+cluster|nodes"]
    for node in cluster.nodes:
        node.ask("ACL", "SETUSER", "admin", "reset", *rules("sessions-admin"), *further)
        node.ask("ACL", "LOG", "RESET")
    url = patient(cluster).replace("://", "://admin:a-long-password@")

    administer(Site(cluster, SESSION_REDIS_URL=url))

    assert [] == [entry for node in cluster.nodes for entry in node.ask("ACL", "LOG")]


def test_one_host():
    """A URL that names one node of a cluster finds the others."""
    with Cluster() as cluster:
        site = Site(cluster, SESSION_REDIS_URL=f"redis+cluster://{HOST}:{cluster.nodes[0].port}")
        for user_id in range(20):
            Browser(site).sign_in(user_id)

        assert all(node.ask("DBSIZE") for node in cluster.nodes)
        assert isinstance(site.interface._any_backend().redis._client, redis.RedisCluster)


@pytest.mark.parametrize("library", LIBRARIES)
def test_close_idle(cluster, library):
    """Of a client of a cluster's, the idle connections to every node are closed."""
    kind = getattr(importlib.import_module(library), f"{library.capitalize()}Cluster")
    client = kind(host=HOST, port=cluster.nodes[0].port)

    def numbers():
        """Return the number that each node has given to the connection."""
        return {
            node.name: client.execute_command("CLIENT ID", target_nodes=node)
            for node in client.get_primaries()
        }

    before, again = numbers(), numbers()
    close_idle(client)
    after = numbers()
    client.close()

    assert 3 == len(before)
    assert before == again
    assert not before.items() & after.items()
