"""``flask sessions … --json`` if Redis fails: one JSON text that says so, and the exit code 3."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from tests.support.commandline import make, run
from tests.support.servers import HOST, Server
from tests.support.webapp import Site, load_scripts


class Striking(redis.Redis):
    """A client that lets something happen before a command of a name is sent."""

    name = ""
    strike: Callable[[], object]

    def execute_command(self, *args, **options):
        if args[0] == self.name:
            self.name = ""
            self.strike()
        return super().execute_command(*args, **options)


def striking(server, name, strike):
    """Return such a client, which waits for a server that hangs for a moment only."""
    client = Striking(HOST, server.port, socket_timeout=0.3, retry=Retry(NoBackoff(), 0))
    client.name, client.strike = name, strike
    return client


def broken(site):
    """Let the doctor find something in the first index that it looks at, and in others."""
    for user in range(3):
        made = make(site.redis, user, 2)
        site.redis.delete(site.key(made[0]))


class TestDoctor:
    """The doctor, which has printed the beginning of its text when Redis fails."""

    @pytest.mark.one_server("the server is killed")
    @pytest.mark.parametrize("how", [Server.kill, Server.pause], ids=["killed", "hanging"])
    @pytest.mark.parametrize("options", [[], ["--fix"]])
    @pytest.mark.parametrize("name", ["TIME", "DBSIZE", "INFO", "SCAN", "ZCARD", "ZSCAN"])
    def test_on_the_way(self, fragile, name, options, how):
        """Whichever command meets the failure, what was found until then is there, and why."""
        broken(Site(fragile))
        site = Site(fragile, redis=striking(fragile, name, lambda: how(fragile)))
        failed = run(site.app, "doctor", "--json", *options, status=3)

        assert failed.json["error"]
        assert "Redis failed: " in failed.error
        if name not in ("TIME", "DBSIZE"):
            assert failed.json["complete"] is False
            assert failed.json["found"] == len(failed.json["findings"])

    @pytest.mark.one_server("a user of one server")
    @pytest.mark.parametrize(
        "command", ["time", "dbsize", "info", "scan", "type", "zcard", "zscan", "hmget", "pttl"]
    )
    def test_not_permitted(self, valkey, command):
        """So it is if a command is not permitted."""
        broken(Site(valkey))
        valkey.ask("ACL", "SETUSER", "half", "reset", "on", "nopass", "~*", "+@all", f"-{command}")
        url = valkey.url.replace("://", "://half:any@")
        failed = run(Site(valkey, SESSION_REDIS_URL=url).app, "doctor", "--json", status=3)
        valkey.ask("ACL", "DELUSER", "half")

        assert "permission" in failed.json["error"]

    def test_node_of_a_cluster(self, cluster):
        """So it is if one node of a cluster is away."""
        broken(Site(cluster))
        site = Site(cluster, SESSION_REDIS_URL=cluster.url)
        run(site.app, "count")
        cluster.nodes[1].kill()
        failed = run(site.app, "doctor", "--json", status=3)

        assert failed.json["error"]
        assert not failed.json.get("complete")

    def test_well(self, valkey):
        """A text that is whole says so."""
        site = Site(valkey)
        broken(site)
        found = run(site.app, "doctor", "--json", status=1).json

        assert (3, True) == (found["found"], found["complete"])
        assert "error" not in found


@pytest.mark.one_server("the server is killed")
class TestOthers:
    """The other commands."""

    @pytest.mark.parametrize(
        "arguments", [["count"], ["users"], ["list", 0], ["show", "A" * 22], ["revoke", 0]]
    )
    def test_at_once(self, fragile, arguments):
        """If Redis is not there, that is all that the text says."""
        site = Site(fragile, SESSION_REDIS_URL=fragile.url)
        fragile.kill()

        assert ["error"] == [*run(site.app, *arguments, "--json", status=3).json]

    @pytest.mark.parametrize(
        "arguments", [["list", 23, "--limit", 5000], ["revoke", 23, "--dry-run"]]
    )
    def test_in_an_array(self, fragile, arguments):
        """The last item of an array is no session and says why the others are missing."""
        site = Site(fragile)
        make(site.redis, 23, 1200)
        load_scripts(site.redis)
        pages = 0

        def strike():
            nonlocal pages
            pages += 1
            client.name = "EVALSHA"
            if pages == 2:
                fragile.kill()

        client = striking(fragile, "EVALSHA", strike)
        *found, last = run(Site(fragile, redis=client).app, *arguments, "--json", status=3).json

        assert 500 == len(found)
        assert ["error"] == [*last]

    @pytest.mark.parametrize("arguments", [["revoke", 23], ["revoke-all"]])
    def test_revocation(self, fragile, arguments):
        """A revocation that stopped says why."""
        make(Site(fragile).redis, 23, 10)
        client = striking(fragile, "SCAN" if "-all" in arguments[0] else "EVALSHA", fragile.kill)
        failed = run(Site(fragile, redis=client).app, *arguments, "--yes", "--json", status=3)

        assert (0, False) == (failed.json["ended"], failed.json["complete"])
        assert failed.json["error"]


class TestRefused:
    """What does not exist, or was not confirmed."""

    @pytest.mark.parametrize(
        "arguments", [["show", "A" * 22], ["revoke", "23"], ["list", "nobody"]], ids="-".join
    )
    def test_json(self, valkey, arguments):
        """There is one JSON text, which says why, and the exit code is 1."""
        site = Site(valkey, SESSION_USER_LOOKUP={"23": 23}.get)
        make(site.redis, 23, 2)
        told = run(site.app, *arguments, "--json", status=1)

        assert told.json["error"].splitlines()[0] in told.error

    @pytest.mark.one_server("the client that fails is one server's")
    def test_terminal(self, valkey):
        """What a failure says does not control the terminal, whoever wrote it."""
        site = Site(valkey, redis=striking(valkey, "TIME", raises_escapes))
        told = run(site.app, "count", status=3)

        assert "\x1b" not in told.error
        assert "Redis failed: \\x1b]0;x\\x07" in told.error
        assert "\x1b]0;x\x07" in run_again(site).json["error"]


def raises_escapes() -> None:
    """Raise what a server says that wants to control a terminal."""
    raise redis.ResponseError("\x1b]0;x\x07")


def run_again(site):
    """Ask once more, for JSON."""
    site.client.name = "TIME"
    return run(site.app, "count", "--json", status=3)
