"""A revocation that loses a reply: it raises, announces nothing that is not so, and can be run again."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from flask_redis_session import RevocationIncomplete, session_ended
from flask_redis_session.client.url import connect
from tests.failure.proxy import Proxy
from tests.support.clients import LIBRARIES, application_client
from tests.support.servers import HOST, wait_until
from tests.support.webapp import Site, load_scripts, session

COUNT = 5


@pytest.fixture
def site(valkey: Any) -> Any:
    """A site whose client goes through a proxy; the server has all scripts."""
    with Proxy(valkey.port) as proxy:
        site: Any = Site(valkey, SESSION_REDIS_URL=proxy.url)
        load_scripts(site.redis)
        site.proxy = proxy
        yield site
        site.close()


def replies_of(site: Any, revoke: Any) -> int:
    """Return how many bytes come back for a revocation of so many sessions."""
    site.browsers(23, COUNT)
    before = site.proxy.passed["replies"]
    assert COUNT == revoke(site)
    return int(site.proxy.passed["replies"] - before)


def everywhere(site: Any) -> int:
    """Revoke all sessions of a user."""
    return int(site.interface.revoke_sessions(23))


def some(site: Any) -> int:
    """Revoke sessions by their sids."""
    return int(site.interface.revoke_sessions(23, only=site.index(23)))


@pytest.mark.one_server("the bytes of one connection")
@pytest.mark.parametrize("revoke", [everywhere, some])
def test_cut_at_each_byte(site: Any, revoke: Any) -> None:
    """Wherever the replies end: what was announced has ended, and the rest does the next time."""
    incomplete = 0
    for after in range(1, replies_of(site, revoke)):
        site.browsers(23, COUNT)
        heard: list[str] = []

        def hear(_: Any, sid: str, heard: list[str] = heard, **__: Any) -> None:
            heard.append(sid)

        # Two in a row, so that what may be sent again is lost too.
        site.proxy.cut("replies", after, 2)
        with session_ended.connected_to(hear):
            try:
                ended = revoke(site)
            except RevocationIncomplete as failure:
                incomplete += 1
                ended = failure.ended
        site.proxy.mend()

        assert ended == len(heard)
        assert not any(site.redis.exists(site.key(sid)) for sid in heard)
        everywhere(site)
        assert set() == site.names(), after

    assert incomplete > 20


@pytest.mark.one_server("the bytes of one connection")
def test_carried_out(site: Any) -> None:
    """If all ended and only the replies are lost, it raises, and does not say that none ended."""
    browsers = site.browsers(23, COUNT)
    wanted = {site.key(browser.sid) for browser in browsers}
    whole = site.proxy.passed["replies"]
    site.interface.list_sessions(24)
    page = site.proxy.passed["replies"] - whole

    # Its first reply is the page of the index, its second that of the scripts.
    site.proxy.cut("replies", 60 * COUNT + page, 1)
    with pytest.raises(RevocationIncomplete):
        everywhere(site)

    assert not any(site.redis.exists(key) for key in wanted)
    assert 0 == everywhere(site)
    assert set() == site.names()


@pytest.mark.one_server("the bytes of one connection")
def test_in_a_request(site: Any) -> None:
    """Who logs out everywhere and loses the reply gets 503, and is signed out when they retry."""
    first, *_ = site.browsers(23, COUNT)
    site.interface.list_sessions(24)
    first.read()
    site.proxy.cut("replies", 500, 1)
    first.visit(lambda: session.clear_user_sessions(), status=503)
    first.visit(lambda: session.clear_user_sessions())

    assert "user_id" not in first.read()
    assert set() == site.names()


@pytest.mark.parametrize("revoke", [everywhere, some])
def test_cluster(cluster: Any, revoke: Any) -> None:
    """In a cluster, each node's part is sent once too."""
    node = cluster.nodes[0]
    with Proxy(node.port) as proxy:
        node.ask("CONFIG", "SET", "cluster-announce-port", proxy.port)
        others = [each for each in cluster.nodes if each is not node]
        known = lambda port: all(  # noqa: E731
            str(port) in str(each.ask("CLUSTER", "NODES")) for each in others
        )
        wait_until(lambda: known(proxy.port), "the others know the proxy")
        site: Any = Site(cluster, SESSION_REDIS_URL=f"redis+cluster://{HOST}:{others[0].port}")
        load_scripts(site.redis)
        incomplete = 0
        for after in range(1, 400, 13):
            site.browsers(23, 12)
            heard: list[str] = []

            def hear(_: Any, sid: str, heard: list[str] = heard, **__: Any) -> None:
                heard.append(sid)

            proxy.cut("replies", after, 2)
            with session_ended.connected_to(hear):
                try:
                    ended = revoke(site)
                except RevocationIncomplete as failure:
                    incomplete += 1
                    ended = failure.ended
            proxy.mend()

            assert ended == len(heard)
            assert not any(site.redis.exists(site.key(sid)) for sid in heard)
            everywhere(site)
            assert set() == site.names(), after
        node.ask("CONFIG", "SET", "cluster-announce-port", 0)
        wait_until(lambda: known(node.port), "the others know the node")

    assert incomplete > 5


@pytest.mark.one_server("the bytes of one connection")
@pytest.mark.parametrize("library", LIBRARIES)
def test_client_of_the_application(valkey: Any, library: str) -> None:
    """A client of the application's own may send it twice: then the count is too small.

    Nothing stays alive.
    """
    with Proxy(valkey.port) as proxy:
        retry = SimpleNamespace(again=__import__(f"{library}.retry", fromlist=["Retry"]))
        backoff = __import__(f"{library}.backoff", fromlist=["NoBackoff"])
        client = application_client(
            valkey,
            library=library,
            port=proxy.port,
            retry=retry.again.Retry(backoff.NoBackoff(), 3),
        )
        site = Site(valkey, redis=client)
        load_scripts(site.redis)
        site.browsers(23, COUNT)
        proxy.cut("replies", 60 * COUNT, 1)
        ended = everywhere(site)

        assert 0 <= ended <= COUNT
        assert set() == site.names()
