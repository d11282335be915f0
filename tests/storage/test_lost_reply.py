"""A revocation that loses a reply: it raises, announces nothing wrong, and can be run again."""

from __future__ import annotations

from contextlib import suppress
from importlib import import_module
from typing import Any

import pytest

from flask_redis_session import RevocationIncomplete
from flask_redis_session.signals import session_ended
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


def everywhere(site: Any, user: int = 23) -> int:
    """Revoke all sessions of a user."""
    return int(site.interface.revoke_sessions(user))


def some(site: Any, user: int = 23) -> int:
    """Revoke sessions by their sids."""
    return int(site.interface.revoke_sessions(user, only=site.index(user)))


@pytest.mark.one_server("the bytes of one connection")
@pytest.mark.parametrize("revoke", [everywhere, some])
def test_cut_at_each_byte(site: Any, revoke: Any) -> None:
    """Wherever the replies end: what was announced has ended, and the rest does the next time."""
    incomplete = carried_out = 0
    for after in range(1, replies_of(site, revoke)):
        keys = [site.key(browser.sid) for browser in site.browsers(23, COUNT)]
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
                carried_out += not (ended or site.redis.exists(*keys))
        site.proxy.mend()

        assert ended == len(heard)
        assert not any(site.redis.exists(site.key(sid)) for sid in heard)
        everywhere(site)
        assert set() == site.names(), after

    assert incomplete > 20
    # They had all ended, and nobody was told that there were none.
    assert carried_out > 20


@pytest.mark.one_server("the bytes of one connection")
def test_in_a_request(site: Any) -> None:
    """Who logs out everywhere and loses a reply gets 503, and once more signs them out."""
    refused = 0
    for after in range(10, 2000, 45):
        first, *_ = site.browsers(23, COUNT)
        site.proxy.cut("replies", after, 2)
        try:
            first.visit(lambda: session.clear_user_sessions())
        except AssertionError:
            refused += 1
        site.proxy.mend()
        first.visit(lambda: session.clear_user_sessions())

        assert "user_id" not in first.read(), after
        # Dead members may be left.
        assert site.names() <= {"session:user:23"}

    assert refused > 5


@pytest.mark.parametrize("revoke", [everywhere, some])
def test_cluster(cluster: Any, revoke: Any) -> None:
    """In a cluster, each node's part is sent once too."""
    node = cluster.nodes[0]
    # Its index is on another node, so that only scripts are met.
    user = next(n for n in range(99) if cluster.node_of(f"session:user:{n}") is not node)
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
        for after in range(1, 400, 9):
            site.browsers(user, 12)
            heard: list[str] = []

            def hear(_: Any, sid: str, heard: list[str] = heard, **__: Any) -> None:
                heard.append(sid)

            proxy.cut("replies", after, 2)
            with session_ended.connected_to(hear):
                try:
                    ended = revoke(site, user)
                except RevocationIncomplete as failure:
                    incomplete += 1
                    ended = failure.ended
            proxy.mend()

            assert ended == len(heard)
            assert not any(site.redis.exists(site.key(sid)) for sid in heard)
            everywhere(site, user)
            assert set() == site.names(), after
        node.ask("CONFIG", "SET", "cluster-announce-port", 0)
        wait_until(lambda: known(node.port), "the others know the node")

    assert incomplete >= 1


@pytest.mark.one_server("the bytes of one connection")
@pytest.mark.parametrize("library", LIBRARIES)
def test_client_of_the_application(valkey: Any, library: str) -> None:
    """A client of the application's own may send it twice: then the count may be too small."""
    with Proxy(valkey.port) as proxy:
        retry: Any = import_module(f"{library}.retry")
        backoff: Any = import_module(f"{library}.backoff")
        tries = retry.Retry(backoff.NoBackoff(), 3)
        client = application_client(valkey, library=library, port=proxy.port, retry=tries)
        site = Site(valkey, redis=client)
        load_scripts(site.redis)
        sids = [browser.sid for browser in site.browsers(23, COUNT)]
        # After the page of the index, among the replies of the scripts.
        proxy.cut("replies", 60 * COUNT, 1)
        ended = 0
        with suppress(RevocationIncomplete):
            ended = everywhere(site)

        assert ended < COUNT
        assert not any(site.redis.exists(site.key(sid)) for sid in sids)
