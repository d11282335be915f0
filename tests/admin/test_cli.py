"""``flask sessions``: how it is called, ``list``, ``show`` and ``count``."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import flask
import pytest
import redis as redis_library
import valkey as valkey_library

from flask_redis_session import RedisSessionInterface
from flask_redis_session.admin.cli import sessions
from flask_redis_session.storage.token import digest
from tests.support.commandline import make, run
from tests.support.servers import HOST
from tests.support.webapp import Site, session

#: Users' ids that a careless key, pattern or command line would trip over.
ODD_USERS = ["23", "a:b", "a b", "ünï-☃", "*", "u?[x]\\", "'\"", "--yes"]

SID = "A" * 22


@pytest.fixture
def site(valkey):
    """A site on Valkey."""
    return Site(valkey)


@contextmanager
def client_on(kind, valkey, cluster):
    """Yield a client of a kind, and close it."""
    port = cluster.nodes[0].port if "cluster" in kind else valkey.port
    kinds: dict[str, tuple[Any, dict[str, Any]]] = {
        "redis": (redis_library.Redis, {}),
        "redis-decoded": (redis_library.Redis, {"decode_responses": True, "protocol": 3}),
        "valkey": (valkey_library.Valkey, {}),
        "redis-cluster": (redis_library.RedisCluster, {"decode_responses": True}),
        "valkey-cluster": (valkey_library.ValkeyCluster, {}),
    }
    cls, options = kinds[kind]
    client = cls(host=HOST, port=port, **options)
    try:
        yield client
    finally:
        client.close()


KINDS = ["redis", "redis-decoded", "valkey", "redis-cluster", "valkey-cluster"]


class TestHelp:
    """The help alone is enough to begin with."""

    @pytest.mark.parametrize("arguments", [[], *([name] for name in sessions.commands)])
    def test_exists(self, site, arguments):
        """The group and each command explain themselves, with no application and no Redis."""
        outcome = run(flask.Flask("other"), *arguments, "--help")

        assert "Usage: " in outcome.out
        assert "--help" in outcome.out

    def test_lists_the_commands(self):
        """The group says in a line what each command does, and which exit codes there are."""
        out = run(flask.Flask("other"), "--help").out

        assert 4 == sum(f"\n    {code}  " in out for code in range(4))
        for name, command in sessions.commands.items():
            line = next(line for line in out.splitlines() if line.startswith(f"  {name} "))
            assert command.get_short_help_str(100) in line


class TestApplication:
    """Which application is meant."""

    def test_without_these_sessions(self):
        """An application with other sessions is told what to do."""
        outcome = run(flask.Flask("other"), "count", status=2)

        assert "SecureCookieSessionInterface" in outcome.error
        assert "app.session_interface = RedisSessionInterface()" in outcome.error

    def test_with_a_wrong_setting(self, site):
        """A wrong setting is named, without a traceback."""
        site.app.config["SESSION_LOAD"] = "lazy"

        assert "Error: SESSION_LOAD: " in run(site.app, "count", status=2).error

    def test_own_prefix(self, valkey):
        """Only the sessions of this application are found."""
        Site(valkey, prefix="other:").browsers(23, 2)
        site = Site(valkey, prefix="mine:")
        site.browsers(23, 1)

        assert {"sessions": 1, "users": 1, "anonymous": 0} == run(site.app, "count", "--json").json
        assert 1 == len(run(site.app, "list", 23, "--json").json)

    def test_prefix_is_no_pattern(self, valkey):
        """A prefix with the characters of a pattern matches itself alone."""
        for prefix in ("ax:", "a[x]:", "a\\x:"):
            Site(valkey, prefix=prefix).browsers(23, 1)
        for prefix in ("a*:", "a?:", "a[x]:", "a\\x:"):
            site = Site(valkey, prefix=prefix)
            site.browsers(23, 1)

            assert run(site.app, "count", "--json").json["sessions"] in (1, 2)
            assert f"under '{prefix}': nothing" in run(site.app, "doctor").out

    def test_in_a_process(self, valkey, tmp_path):
        """``flask --app … sessions`` works wherever the library is installed, with no code."""
        (tmp_path / "shop.py").write_text(
            "import flask, flask_redis_session\n"
            "app = flask.Flask(__name__)\n"
            f"app.config['SESSION_REDIS_URL'] = {valkey.url!r}\n"
            "app.session_interface = flask_redis_session.RedisSessionInterface()\n"
        )
        browser, *_ = Site(valkey).browsers("ü b", 1)

        listed = flask_command(tmp_path, "list", "ü b")
        usage = flask_command(tmp_path, "list")
        count = flask_command(tmp_path, "count", "--json")

        assert (0, 0, 2) == (listed.returncode, count.returncode, usage.returncode)
        assert browser.sid in listed.stdout
        assert "Usage: flask sessions list" in usage.stderr
        assert {"sessions": 1, "users": 1, "anonymous": 0} == json.loads(count.stdout)
        assert "" == count.stderr


def flask_command(folder, *arguments):
    """Call ``flask --app shop sessions`` in a folder."""
    program = Path(sys.executable).with_name("flask")
    return subprocess.run(
        [program, "--app", "shop", "sessions", *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONUTF8": "1"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        encoding="utf-8",
    )


class TestList:
    """``list USER``."""

    def test_order(self, site):
        """The session that was seen last comes first."""
        browsers = site.browsers(23, 3)
        for at, browser in enumerate(browsers):
            site.age(browser.sid, 10 * at, user_id=23)
        heading, *rows = run(site.app, "list", 23).lines

        assert heading.startswith("SID")
        assert [browser.sid for browser in browsers] == [row.split()[0] for row in rows]

    def test_json(self, site):
        """For scripts, each session is an object; times are in UTC."""
        browser = site.browser()
        browser.sign_in(23)
        (found,) = run(site.app, "list", 23, "--json").json
        created = datetime.fromisoformat(found["created_at"])

        assert (browser.sid, "23") == (found["sid"], found["user_id"])
        assert created.utcoffset() == timezone.utc.utcoffset(None)
        assert found["created_at"] == found["signed_in_at"]
        assert found["user_agent"].startswith("Werkzeug")
        assert "127.0.0.1" == found["ip_address"]

    @pytest.mark.parametrize("user_id", ODD_USERS)
    def test_odd_users(self, site, user_id):
        """A user's id may be any text, and is meant literally."""
        others = [other for other in ODD_USERS if other != user_id]
        for other in others:
            site.browsers(other, 1)
        browser, *_ = site.browsers(user_id, 1)

        (found,) = run(site.app, "list", "--json", "--", user_id).json
        assert (browser.sid, user_id) == (found["sid"], found["user_id"])
        assert 1 == run(site.app, "revoke", "--json", "--", user_id).json["ended"]
        assert len(others) == run(site.app, "count", "--json").json["sessions"]

    def test_nobody(self, site):
        """A user without a session is no error."""
        assert "User '23' has no session.\n" == run(site.app, "list", 23).out
        assert [] == run(site.app, "list", 23, "--json").json

    @pytest.mark.parametrize("user_id", ["", "\udcff"])
    def test_no_user(self, site, user_id):
        """What can be nobody's id is a mistake."""
        assert "Invalid value for 'USER'" in run(site.app, "list", user_id, status=2).error

    def test_pages(self, site):
        """50 are shown, and how to see more is said; options page through the others."""
        made = make(site.redis, 23, 60)
        first = run(site.app, "list", 23)
        pages = [run(site.app, "list", 23, "--limit", 40, "--offset", n).lines for n in (0, 40, 80)]

        assert 51 == len(first.lines)
        assert "and 10 more; --limit and --offset show them.\n" == first.error
        assert set(made) == {row.split()[0] for page in pages[:2] for row in page[1:]}
        assert ["User '23' has no session beyond that offset."] == pages[2]

    def test_hostile_device(self, site):
        """What a browser said of itself cannot steer the terminal."""
        site.browser().visit(
            lambda: session.update(user_id=23), headers={"User-Agent": "\x1b[2J\x9b31m\u202eevil"}
        )
        out = run(site.app, "list", 23).out

        assert out.replace("\n", "").isprintable()
        assert "\\x1b[2J" in out


class TestShow:
    """``show SID``."""

    @pytest.fixture
    def browser(self, site):
        """A browser that is signed in and has a cart."""
        browser = site.browser()
        browser.sign_in("ü 1", cart=[{"sku": 1}])
        browser.visit(lambda: session.update({"@at": "x", "": 1}))
        return browser

    def test_keys_and_sizes(self, site, browser):
        """The user, the times and the keys with their sizes are shown, and no value."""
        out = run(site.app, "show", browser.sid).out

        assert "user       'ü 1'" in out
        assert "holds      4 keys, 21 bytes" in out
        assert "       11  cart\n" in out
        assert "        3  @at\n" in out
        assert "sku" not in out

    def test_values(self, site, browser):
        """Values are shown where that is asked for, as Redis holds them."""
        assert '11  cart = [{"sku":1}]\n' in run(site.app, "show", browser.sid, "--values").out

    def test_lone_surrogate(self, site, browser):
        """A key that UTF-8 cannot write is shown in a form that a terminal can."""
        browser.visit(lambda: session.update({"\ud800": 1}))

        assert "        1  \\ud800\n" in run(site.app, "show", browser.sid).out
        keys = run(site.app, "show", browser.sid, "--json").json["keys"]
        assert {"key": "\ud800", "bytes": 1} in keys

    def test_json(self, site, browser):
        """For scripts it is one object."""
        without = run(site.app, "show", browser.sid, "--json").json
        found = run(site.app, "show", browser.sid, "--json", "--values").json

        assert {"key": "cart", "bytes": 11} in without["keys"]
        assert {"key": "cart", "bytes": 11, "value": '[{"sku":1}]'} in found["keys"]
        assert "ü 1" == found["user_id"]

    def test_anonymous(self, site):
        """A session need not be anybody's."""
        browser = site.browser()
        browser.set(a=1)

        assert None is run(site.app, "show", browser.sid, "--json").json["user_id"]
        assert "user       nobody\n" in run(site.app, "show", browser.sid).out

    @pytest.mark.parametrize("sid", ["-" + "a" * 21, "--" + "a" * 20, "--values" + "a" * 14])
    def test_dash(self, site, browser, sid):
        """A sid may begin with a dash, and is no option then."""
        site.redis.hset(site.key(sid), mapping=site.hash(browser.sid))

        assert sid == run(site.app, "show", sid, "--json").json["sid"]

    def test_damaged_lifetime(self, site):
        """A lifetime that no session can have is shown as not known."""
        browser = site.browser()
        browser.sign_in(23)
        site.redis.hset(site.key(browser.sid), "@idle", "9" * 32)

        assert "may idle   -\n" in run(site.app, "show", browser.sid).out
        assert None is run(site.app, "show", browser.sid, "--json").json["idle_seconds"]

    @pytest.mark.parametrize("kind", ["nothing", "string", "no session"])
    def test_unknown(self, site, kind):
        """A sid of no session is said to be that, whatever is in its place."""
        if kind == "string":
            site.redis.set(site.key(SID), "x")
        elif kind == "no session":
            site.redis.hset(site.key(SID), "a", "1")

        assert f"Error: There is no session {SID}.\n" == run(site.app, "show", SID, status=1).error

    @pytest.mark.parametrize("sid", ["", "x", "A" * 21, "A" * 23, "A" * 21 + "*", "A" * 21 + "é"])
    def test_malformed(self, site, sid):
        """What has not the form of a sid is a mistake."""
        assert "a sid has 22 letters" in run(site.app, "show", sid, status=2).error

    def test_cookie(self, site, browser):
        """A whole cookie in the place of a sid is not shown again, and said to be a leak."""
        outcome = run(site.app, "show", browser.cookie, status=2)

        assert "this is a whole cookie" in outcome.error
        assert browser.secret not in outcome.out + outcome.error

    def test_large(self, site):
        """Without values, a session of 1 MB costs its names and sizes."""
        browser = site.browser()
        browser.visit(lambda: session.update({f"key{n}": "x" * 1000 for n in range(1000)}))
        with site.server.cost() as cost:
            run(site.app, "show", browser.sid)

        assert cost.bytes_out < 60_000
        assert "hgetall" not in cost.commands

    def test_very_many_keys(self, site):
        """Of very many keys the names are asked for in pages."""
        browser = site.browser()
        browser.set(a=1)
        for first in range(0, 12_000, 4000):
            fields = {f"k{n}": "1" for n in range(first, first + 4000)}
            site.redis.hset(site.key(browser.sid), mapping=fields)
        with site.server.cost() as cost:
            found = run(site.app, "show", browser.sid, "--json").json

        assert 12_001 == len(found["keys"])
        assert "hkeys" not in cost.commands


class TestCount:
    """``count``."""

    @pytest.mark.parametrize("kind", KINDS)
    @pytest.mark.one_server("names the kinds of servers itself")
    def test_kinds_of_clients(self, valkey, cluster, kind):
        """Sessions, users who have some, and anonymous ones, whatever Redis is."""
        server = cluster if "cluster" in kind else valkey
        with client_on(kind, valkey, cluster) as client:
            site = Site(server, redis=client)
            site.browsers(1, 3)
            site.browsers("b:c", 1)
            for _ in range(2):
                site.browser().set(a=1)

            assert (
                '{"sessions": 6, "users": 2, "anonymous": 2}\n'
                == run(site.app, "count", "--json").out
            )
            assert "6  sessions\n" in run(site.app, "count").out

    def test_dead(self, site):
        """A user whose sessions have expired has none; one of whose newest has, still has."""
        gone = site.browsers(1, 1)
        newest, *_ = site.browsers(2, 2)
        site.age(newest.sid, -10, user_id=2)
        site.expire(gone[0].sid, newest.sid)

        assert {"sessions": 1, "users": 1, "anonymous": 0} == run(site.app, "count", "--json").json

    def test_others(self, site):
        """What is no session is not counted."""
        site.redis.hset(site.key(SID), "a", "1")
        site.redis.set(site.key("B" * 22), "x")
        site.redis.set(site.key("user:5"), "x")
        site.redis.zadd(b"session:user:\xff", {"x": 1})

        assert {"sessions": 0, "users": 0, "anonymous": 0} == run(site.app, "count", "--json").json


def test_every_server(server):
    """All of it works on every version of Redis and on Valkey."""
    site = Site(server)
    made = make(site.redis, 23, 2500)
    big = {f"k{n}": "1" for n in range(4000)}
    for _ in range(3):
        site.redis.hset(site.key(made[0]), mapping=big)
        big = {f"{key}x": "1" for key in big}
    gone, endless, lost = made[1:4]
    site.redis.delete(site.key(gone))
    site.redis.persist(site.key(endless))
    site.redis.hincrbyfloat(site.key(lost), "@born", -1000)
    site.redis.zrem("session:user:23", lost)

    assert 2499 == run(site.app, "count", "--json").json["sessions"]
    assert 12_001 == len(run(site.app, "show", made[0], "--json").json["keys"])
    assert 3 == run(site.app, "doctor", "--fix", "--json").json["mended"]
    assert 0 == run(site.app, "doctor", "--json").json["found"]
    assert 1 == run(site.app, "revoke", 23, "--only", lost, "--json").json["ended"]
    assert 2498 == run(site.app, "revoke-all", "--yes", "--json").json["ended"]
    assert 0 == site.redis.dbsize()


class TestNothingLeaks:
    """No output holds a secret or what Redis holds of one."""

    def test_secrets(self, site):
        """Neither a session's secret nor its digest, nor another library's key, is shown."""
        browser = site.browser()
        browser.sign_in(23, cart=[1])
        browser.visit(lambda: session.regenerate())
        foreign = "f" * 43
        site.redis.set(site.key(foreign), "x")
        site.redis.zadd(site.key("user:23"), {browser.cookie: 1})
        outputs = [
            run(site.app, *arguments, *json_flag, status=status)
            for arguments, status in (
                (["list", 23], 0),
                (["show", browser.sid], 0),
                (["show", browser.sid, "--values"], 0),
                (["count"], 0),
                (["revoke", 23, "--dry-run"], 0),
                (["revoke-all", "--dry-run"], 0),
                (["doctor"], 1),
            )
            for json_flag in ([], ["--json"])
        ]
        text = "".join(output.out + output.error for output in outputs)

        assert browser.sid in text
        for secret in (browser.secret, digest(browser.secret), "@secret", foreign):
            assert secret not in text


class TestRedisFails:
    """What is said when Redis does not answer."""

    @pytest.mark.parametrize(
        "arguments",
        [
            ["list", 23],
            ["show", SID],
            ["count"],
            ["revoke", 23, "--yes"],
            ["revoke-all", "--yes"],
            ["doctor"],
        ],
        ids=lambda arguments: arguments[0],
    )
    def test_down(self, arguments):
        """Each command says why, in a line, and exits with 3."""
        app = flask.Flask("app")
        app.config["SESSION_REDIS_URL"] = f"redis://{HOST}:1"
        RedisSessionInterface().init_app(app)
        outcome = run(app, *arguments, status=3)

        assert "" == outcome.out
        assert outcome.error.startswith("Error: Redis failed: ")
        assert outcome.error.endswith(f" connecting to {HOST}:1. Connection refused.\n")

    def test_wrong_type(self, site):
        """A key that blocks the way is named."""
        site.redis.set(site.key("user:23"), "x")

        assert (
            "Error: Redis failed: The key 'session:user:23' in Redis has another type; "
            "delete or rename it.\n" == run(site.app, "list", 23, status=3).error
        )

    def test_quiet_log(self, valkey, tmp_path):
        """What the log says of requests is not repeated on the terminal."""
        (tmp_path / "shop.py").write_text(
            "import flask, flask_redis_session\n"
            "app = flask.Flask(__name__)\n"
            "app.config['SESSION_REDIS_URL'] = 'redis://127.0.0.1:1'\n"
            "app.session_interface = flask_redis_session.RedisSessionInterface()\n"
        )
        failed = flask_command(tmp_path, "count")

        assert 3 == failed.returncode
        assert 1 == failed.stderr.count("\n")
