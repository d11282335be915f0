"""The servers that the tests stand on, and the meter that counts what a request costs."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import redis

from tests.support.servers import (
    PROGRAMS,
    Cluster,
    Cost,
    NotReady,
    Sent,
    SentinelSet,
    Server,
    wait_until,
)

ROOT = Path(__file__).parents[2]

# The wheel with Redis 6.2 exists for CPython 3.11 only.
HERE_KNOWN = [name for name in PROGRAMS if name != "redis62" or sys.version_info[:2] == (3, 11)]

on_each = pytest.mark.parametrize("server", HERE_KNOWN, indirect=True)


def exists(pid: int) -> bool:
    """Whether a process runs; one that is dead and not yet reaped does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


class TestProcess:
    @pytest.mark.parametrize(
        ("server", "version"),
        [
            (name, version)
            for name, version in {
                "valkey9": "9.",
                "redis7": "7.0.",
                "redis62": "6.2.",
                "redis82": "8.2.",
            }.items()
            if name in HERE_KNOWN
        ],
        indirect=["server"],
    )
    def test_names(self, server, version):
        """A server is of the version that its name says."""
        info = server.client().info("server")

        assert (info.get("valkey_version") or info["redis_version"]).startswith(version)

    def test_fixture_starts_empty(self, server):
        """Two tests share a process, but neither keys nor scripts nor statistics."""
        assert 0 == server.client().dbsize()
        assert [False] == server.client().script_exists(b"0" * 40)

    @pytest.mark.parametrize("paused", [False, True])
    @pytest.mark.parametrize("thread", [False, True])
    def test_dies_with_the_run(self, paused, thread):
        """A server is gone within seconds after its run was killed, and so is its folder."""
        script = f"""
import sys, threading
sys.path.insert(0, {str(ROOT)!r})
from tests.support.servers import Server
server = Server("valkey9")
if {thread}:
    starter = threading.Thread(target=server.start)
    starter.start()
    starter.join()
else:
    server.start()
if {paused}:
    server.pause()
print(server.pid, server.folder, flush=True)
sys.stdin.read()
"""
        with subprocess.Popen(
            [sys.executable, "-c", script],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as run:
            assert run.stdout is not None
            pid, folder = run.stdout.readline().split()
            time.sleep(0.5)
            assert exists(int(pid))

            run.kill()

        wait_until(lambda: not exists(int(pid)), "the server is gone", 5)
        wait_until(lambda: not Path(folder).exists(), "its folder is gone", 5)

    def test_dies_though_a_fork_of_the_run_lives(self):
        """A process that the run forked does not keep the run's servers alive."""
        script = f"""
import os, sys, time
sys.path.insert(0, {str(ROOT)!r})
from tests.support.servers import Server
server = Server("valkey9").start()
child = os.fork()
if not child:
    time.sleep(60)
print(server.pid, child, flush=True)
sys.stdin.read()
"""
        with subprocess.Popen(
            [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as run:
            assert run.stdout is not None
            pid, child = map(int, run.stdout.readline().split())
            run.kill()
            try:
                wait_until(lambda: not exists(pid), "the server is gone", 5)
                assert exists(child)
            finally:
                os.kill(child, signal.SIGKILL)

    @pytest.mark.one_server("lets the one server hang")
    def test_pause(self, valkey):
        """A paused server takes a connection and answers nothing until it goes on."""
        client = valkey.client(socket_timeout=0.2)
        valkey.pause()
        try:
            with pytest.raises(redis.TimeoutError):
                client.ping()
        finally:
            valkey.resume()

        assert valkey.client().ping()

    def test_restart(self):
        """A restarted server has its port and folder again, and what it was told to keep."""
        with Server("valkey9", "--appendonly", "yes", "--appendfsync", "always") as server:
            client = server.client()
            client.set("kept", 1)
            url = server.url
            server.kill()
            with pytest.raises(redis.ConnectionError):
                client.ping()

            server.start()

            assert url == server.url
            assert b"1" == server.client().get("kept")

            server.restart()

            assert b"1" == server.client().get("kept")

    def test_revive(self, servers):
        """What one test does to a shared server is undone for the next."""
        servers.get("valkey9").kill()
        assert servers.get("valkey9").client().ping()

        servers.get("valkey9").pause()
        assert servers.get("valkey9").client().ping()

    def test_password(self):
        """A password is part of the addresses and of the client."""
        with Server("valkey9", password="open-sesame") as server:
            assert server.client().ping()
            assert redis.Redis.from_url(server.url).ping()
            assert redis.Redis.from_url(server.unix_url).ping()
            with pytest.raises(redis.AuthenticationError):
                server.client(password=None).ping()

    def test_refused_argument(self):
        """A server that does not start says why."""
        with pytest.raises(NotReady, match="no-such-option"):
            Server("valkey9", "--no-such-option", "yes").start()

    def test_tls(self, certificates):
        """A server with certificates wants one of its client, and nothing else."""
        with Server("redis7", tls=certificates) as server:
            assert server.url.startswith("rediss://")
            assert server.client().ping()
            with pytest.raises(redis.ConnectionError):
                server.client(ssl_certfile=None, ssl_keyfile=None).ping()
            with pytest.raises(redis.ConnectionError):
                server.client(ssl=False).ping()

            client = server.client(protocol=2)
            client.ping()
            with server.cost() as cost:
                client.get("a")

            assert {"get": 1} == cost.commands
            assert (20, 5) == (cost.bytes_in, cost.bytes_out)


class TestCost:
    @on_each
    def test_nothing(self, server):
        """An empty block costs nothing at all."""
        for _ in range(3):
            with server.cost() as cost:
                pass

            assert Cost() == cost

    @on_each
    def test_one_command(self, server):
        """A command costs its bytes on the wire, one read and one round trip."""
        client = server.client(protocol=2)
        client.ping()

        with server.cost() as cost:
            client.get("a")

        assert {"get": 1} == cost.commands
        assert 1 == cost.calls
        assert ["get"] == cost.names
        assert (b"a",) == cost.sent[0].arguments
        assert len(b"*2\r\n$3\r\nGET\r\n$1\r\na\r\n") == cost.bytes_in
        assert len(b"$-1\r\n") == cost.bytes_out
        assert 1 == cost.reads
        assert 1 == cost.round_trips

    @on_each
    def test_script(self, server):
        """What a script calls is told apart from what a client sent."""
        client = server.client()
        client.ping()

        with server.cost() as cost:
            client.eval("redis.call('SET', KEYS[1], ARGV[1])", 1, "a", b'\x00\n"\\\xff')

        assert {"eval": 1, "set": 1} == cost.commands
        assert ["eval"] == cost.names
        assert [Sent("set", (b"a", b'\x00\n"\\\xff'), "lua")] == cost.scripted

    @on_each
    def test_pipeline(self, server):
        """A pipeline is one round trip, a transaction is what it holds between multi and exec."""
        client = server.client()
        client.ping()

        with server.cost() as cost:
            with client.pipeline(transaction=True) as pipeline:
                pipeline.set("a", 1).get("a").execute()
            with client.pipeline(transaction=False) as pipeline:
                pipeline.set("b", 1).get("b").execute()

        assert ["multi", "set", "get", "exec", "set", "get"] == cost.names
        assert 2 == cost.reads
        assert 2 == cost.round_trips

    @on_each
    def test_megabytes(self, server):
        """Much data is counted to the byte, though MONITOR repeats it."""
        client = server.client()
        client.ping()

        with server.cost() as cost:
            client.set("a", "x" * 3_000_000)
            client.get("a")

        assert 3_000_032 + 20 == cost.bytes_in
        assert len(b"+OK\r\n") + 3_000_012 == cost.bytes_out
        assert 2 == cost.round_trips

    @pytest.mark.one_server("is about the meter of one server")
    def test_long_pipeline(self, valkey):
        """A pipeline that redis-py cuts into several writes is one round trip all the same."""
        client = valkey.client()
        client.ping()

        with valkey.cost() as cost, client.pipeline(transaction=False) as pipeline:
            for at in range(100):
                pipeline.set(at, "x" * 1000)
            pipeline.execute()

        assert {"set": 100} == cost.commands
        assert 1 == cost.round_trips

    @pytest.mark.parametrize("protocol", [2, 3])
    @pytest.mark.one_server("is about the meter of one server")
    def test_handshake(self, valkey, protocol):
        """To open a connection is no command and no round trip of the block."""
        client = valkey.client(db=1, protocol=protocol)

        with valkey.cost() as cost:
            client.get("a")

        assert {"get": 1} == cost.commands
        assert ["get"] == cost.names
        assert 1 == cost.round_trips

    @pytest.mark.one_server("is about the meter of one server")
    def test_valkey_client(self, valkey):
        """A client of valkey-py is counted as one of redis-py is."""
        client = pytest.importorskip("valkey").Valkey(port=valkey.port)
        client.ping()

        with valkey.cost() as cost:
            client.get("a")

        assert 1 == cost.round_trips
        client.close()

    @pytest.mark.one_server("is about the meter of one server")
    def test_unix_socket(self, valkey):
        """A client that comes over the socket is counted too."""
        client = redis.Redis.from_url(valkey.unix_url)
        client.ping()

        with valkey.cost() as cost:
            client.get("a")

        assert {"get": 1} == cost.commands
        assert 20 == cost.bytes_in
        assert 1 == cost.round_trips

    def test_threads(self, valkey):
        """What threads send within the block belongs to it."""
        client = valkey.client()

        with valkey.cost() as cost:
            threads = [threading.Thread(target=client.get, args=["a"]) for _ in range(8)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()

        assert {"get": 8} == cost.commands
        assert 8 == cost.round_trips

    def test_exception(self, valkey):
        """An exception leaves the block as it is, and the server can be measured again."""
        with pytest.raises(ZeroDivisionError), valkey.cost():
            _ = 1 / 0

        with valkey.cost() as cost:
            pass

        assert Cost() == cost
        assert "_waiting" not in redis.Connection.read_response.__qualname__


class TestCluster:
    def test_keys_everywhere(self, cluster):
        """The fixture's cluster takes keys on each node and starts empty."""
        client = cluster.client()
        assert 0 == sum(node.client().dbsize() for node in cluster.nodes)

        for at in range(100):
            client.set(at, at)

        assert 100 == sum(node.client().dbsize() for node in cluster.nodes)
        assert all(node.client().dbsize() for node in cluster.nodes)
        assert 1 == cluster.node_of("7").client().exists("7")

    def test_cost(self, cluster):
        """What a block costs is added up over the nodes."""
        client = cluster.client()
        for key in "abcdef":
            client.get(key)

        with cluster.cost() as cost:
            for key in "abcdef":
                client.get(key)

        assert {"get": 6} == cost.commands
        assert 120 == cost.bytes_in
        assert 6 == cost.round_trips

    def test_failover(self):
        """A replica follows a primary that was killed, and the old one comes back as a replica."""
        with Cluster("valkey9", replicas=1, node_timeout=1000) as cluster:
            first = cluster.nodes[0]
            first.kill()
            wait_until(lambda: len(cluster.primaries) == 3, "a replica took over", 30)
            cluster.wait_ready()

            first.start()
            wait_until(lambda: first in cluster.replicas, "the old primary is a replica", 30)
            cluster.wait_ready()

            assert cluster.client().set("a", 1)


def test_sentinel():
    """Sentinels make the replica the primary when that one is killed."""
    with SentinelSet() as sentinels:
        client = sentinels.client()
        client.set("a", 1)
        primary, replica = sentinels.primary, sentinels.replica
        wait_until(lambda: replica.client().exists("a"), "the replica has it")

        primary.kill()
        wait_until(lambda: sentinels.primary is replica, "the replica took over", 30)
        sentinels.wait_ready()

        assert b"1" == sentinels.client().get("a")


class TestSkips:
    @pytest.fixture
    def run(self, tmp_path):
        """Run a file that skips in every way, under the conftest of these tests."""

        def run(**environment: str) -> str:
            (tmp_path / "test_here.py").write_text(
                "import pytest\n"
                "from tests.support.servers import Missing\n"
                "def test_plain(): pytest.skip('a reason')\n"
                "@pytest.mark.skip(reason='a reason')\n"
                "def test_mark(): pass\n"
                "@pytest.fixture\n"
                "def program(): raise Missing('a reason')\n"
                "def test_fixture(program): pass\n"
                "def test_missing(): raise Missing('a reason')\n"
                "@pytest.mark.xfail(reason='known')\n"
                "def test_xfail(): assert False\n"
            )
            (tmp_path / "test_file.py").write_text(
                "import pytest\npytest.skip('a reason', allow_module_level=True)\n"
            )
            run = subprocess.run(
                [
                    *(sys.executable, "-m", "pytest", "-rs"),
                    *("-p", "tests.conftest", "-p", "no:cacheprovider"),
                ],
                cwd=tmp_path,
                env={
                    **{k: v for k, v in os.environ.items() if not k.startswith("PYTEST_")},
                    "PYTHONPATH": str(ROOT),
                    "REQUIRE_ALL": "",
                    **environment,
                },
                capture_output=True,
                text=True,
            )
            return run.stdout

        return run

    def test_skip(self, run):
        """A skip is shown with its reason."""
        output = run()

        assert "5 skipped, 1 xfailed" in output.splitlines()[-1]
        assert "a reason" in output

    def test_require_all(self, run):
        """If all is required a skip is a failure; a known failure is not."""
        last = run(REQUIRE_ALL="1", PYTEST_ADDOPTS="--continue-on-collection-errors")

        assert "skipped" not in last.splitlines()[-1]
        assert "2 failed, 1 xfailed, 3 errors" in last.splitlines()[-1]
