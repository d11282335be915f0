"""Every kind of client that the design names, from the first cookie to the last."""

from __future__ import annotations

from contextlib import closing
from datetime import timedelta

import pytest
import redis
import valkey as valkey_library

from tests.support.clients import application_client
from tests.support.servers import HOST, SentinelSet
from tests.support.webapp import Browser, Site, client_of, names_in, session, sids


def everything(site):
    """Do with sessions whatever there is to do with them; ``site`` may lack a server."""
    text = "ü\ud7ff\U0001f600\0"
    browser = Browser(site)
    browser.visit(lambda: session.update({"cart": [1], text: {"bytes": b"\xff", "text": text}}))
    browser.visit(lambda: session["cart"].append(2))
    assert {"cart": [1, 2], text: {"bytes": b"\xff", "text": text}} == browser.read()
    browser.visit(lambda: session.pop(text))

    planted = browser.twin()
    browser.sign_in("mira:ü")
    assert {} == planted.read()
    assert None is planted.set(a=1).cookie
    assert {"cart": [1, 2], "user_id": "mira:ü"} == browser.read()

    others = [Browser(site) for _ in range(3)]
    for other in others:
        other.sign_in("mira:ü")
    infos = browser.visit(lambda: session.user_sessions()).value
    assert {browser.sid, *(other.sid for other in others)} == set(sids(infos))
    assert [browser.sid] == [info.sid for info in infos if info.current]
    assert 2 == len(site.interface.list_sessions("mira:ü", limit=2))

    assert 1 == site.interface.revoke_sessions("mira:ü", only=others[0].sid)
    assert 0 == site.interface.revoke_sessions("mira:ü", before=timedelta(days=1))
    assert 2 == browser.visit(lambda: session.clear_user_sessions(keep_current=True)).value
    assert [{}, {}, {}] == [other.read() for other in others]

    browser.visit(lambda: session.regenerate())
    assert 1 == browser.visit(lambda: session.clear_user_sessions()).value
    assert None is browser.cookie

    last = Browser(site)
    last.sign_in(42)
    last.visit(lambda: setattr(session, "permanent", True))
    last.visit()
    last.sign_in(43)
    last.visit(lambda: session.pop("user_id"))
    assert None is last.cookie
    assert [] == site.interface.list_sessions(42) + site.interface.list_sessions(43)


@pytest.mark.parametrize("decode_responses", [False, True])
@pytest.mark.parametrize("protocol", [2, 3])
@pytest.mark.parametrize("kind", [redis.Redis, valkey_library.Valkey], ids=["redis", "valkey"])
@pytest.mark.one_server("makes the client of one server itself")
def test_client(server, kind, protocol, decode_responses):
    """The two libraries, the two protocols, and replies decoded or not."""
    client = kind(host=HOST, port=server.port, protocol=protocol, decode_responses=decode_responses)

    site = Site(server, redis=client)
    everything(site)

    assert set() == site.names()
    client.close()


@pytest.mark.parametrize("decode_responses", [False, True])
@pytest.mark.parametrize("protocol", [2, 3])
@pytest.mark.parametrize("library", ["redis", "valkey"])
def test_cluster(cluster, library, protocol, decode_responses):
    """A cluster, where no command, script or transaction may need two slots (guarantee 9)."""
    kind = redis.RedisCluster if library == "redis" else valkey_library.ValkeyCluster
    options = {"protocol": protocol, "decode_responses": decode_responses}
    with closing(kind(host=HOST, port=cluster.nodes[0].port, **options)) as client:
        everything(Site(cluster.nodes[0], redis=client))

        assert set() == set[str]().union(*(names_in(client_of(node)) for node in cluster.nodes))


def test_cluster_by_url(cluster):
    """A cluster that only its URL names."""
    with closing(Site(cluster.nodes[0], SESSION_REDIS_URL=cluster.url)) as site:
        everything(site)


def test_cluster_slots(cluster):
    """Sessions and indexes lie on all nodes, wherever their names put them."""
    client = application_client(cluster)
    site = Site(cluster.nodes[0], redis=client)

    for user_id in range(20):
        Browser(site).sign_in(user_id)

    assert all(client_of(node).dbsize() for node in cluster.nodes)
    assert [1] * 20 == [site.interface.revoke_sessions(user_id) for user_id in range(20)]
    client.close()


def test_sentinel():
    """A primary that Sentinels know, by a client and by a URL."""
    with SentinelSet(down_after=60_000) as sentinels:
        client = application_client(sentinels)
        everything(Site(sentinels.primary, redis=client))
        client.close()

        with closing(Site(sentinels.primary, SESSION_REDIS_URL=sentinels.url)) as site:
            everything(site)


def test_url(server):
    """A server that only its URL names."""
    with closing(Site(server, SESSION_REDIS_URL=server.url)) as site:
        everything(site)


@pytest.mark.one_server("makes the client of one server itself")
def test_client_of_ones_own(valkey):
    """A client whose class the application made itself is one of its library's."""

    class Own(redis.Redis):
        pass

    client = Own(host=HOST, port=valkey.port)

    everything(Site(valkey, redis=client))

    client.close()


@pytest.mark.one_server("about the clients of one server")
def test_chosen(valkey, pytestconfig):
    """Sites have the client and the server that the command line chooses, if none is named."""
    chosen = pytestconfig.option
    client = Site(valkey).client
    options = client.connection_pool.connection_kwargs

    assert chosen.client == type(client).__module__.partition(".")[0]
    assert chosen.decode_responses is options["decode_responses"]
    assert chosen.protocol in (None, options.get("protocol"))
    assert valkey.name == ("valkey9" if chosen.servers == "all" else chosen.servers.split(",")[0])
