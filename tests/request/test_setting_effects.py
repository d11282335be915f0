"""What each setting does. Which values are refused: ``test_settings.py``."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import Any

import pytest
from flask import Flask

from flask_redis_session import RedisSessionInterface, RevocationUnconfirmed, SettingError
from flask_redis_session.signals import user_bound
from tests.moving.old import NewSite, OldSite
from tests.request.test_applications import view_of
from tests.request.test_loading import LARGE
from tests.request.test_loading import cost_of as cost_and_value_of
from tests.request.test_round_trips import cost_of, warm, writes
from tests.request.test_session_times import moments
from tests.support.clients import application_client
from tests.support.keeping import KeepingSite
from tests.support.servers import HOST, Server, wait_until
from tests.support.webapp import Site, each, make_app, session, sids

SAFARI = "Mozilla/5.0 (iPhone) Safari/604.1"


@pytest.fixture
def site(valkey):
    """A site on Valkey."""
    return Site(valkey)


class TestRedisUrl:
    """SESSION_REDIS, SESSION_REDIS_URL: where the sessions are (URLs: client/test_connect.py)."""

    def test_no_connection_at_start(self):
        """Redis is first asked when a session is first used, not at the start."""
        app = make_app(SESSION_REDIS_URL="redis://127.0.0.1:1/0")
        RedisSessionInterface().init_app(app)

        assert (
            200 == app.test_client().get("/", environ_overrides=view_of(lambda: None)).status_code
        )


class TestKeyPrefix:
    """SESSION_KEY_PREFIX: how each name in Redis begins."""

    def test_assigned(self, valkey):
        """To assign the interface is enough, and so is a prefix as an argument."""
        site = Site(valkey, prefix="mine:")
        browser = site.browser()

        browser.sign_in(23)

        assert {f"mine:{browser.sid}", "mine:user:23"} == site.names()

    def test_two_applications(self, valkey):
        """Two applications may share an interface; each has its own settings."""
        first = Site(valkey, SESSION_KEY_PREFIX="a:")
        second = make_app(first.interface, SESSION_KEY_PREFIX="b:", SESSION_LIFETIME=50)
        browser = first.browser()
        browser.sign_in(23)
        other = first.browser()
        other.client = second.test_client()
        other.sign_in(23)

        assert {f"a:{browser.sid}", "a:user:23", f"b:{other.sid}", "b:user:23"} == first.names()
        assert first.redis.pttl(f"b:{other.sid}") <= 50_000
        with first.app.app_context():
            assert browser.sid == first.interface.list_sessions(23)[0].sid
        with second.app_context():
            assert other.sid == first.interface.list_sessions(23)[0].sid


class TestUserKey:
    """SESSION_USER_KEY: the key under which the user is."""

    def test_key_of_ones_own(self, valkey):
        """SESSION_USER_KEY says which key it is; then user_id is a key like any other."""
        site = Site(valkey, SESSION_USER_KEY="account")
        browser = site.browser()

        browser.set(account=23, user_id=42)

        assert [browser.sid] == site.index(23)
        assert [] == site.index(42)

    def test_several_keys_of_ones_own(self, valkey):
        """SESSION_USER_KEY may name several keys, in the order in which they count."""
        site = Site(valkey, SESSION_USER_KEY=("a", "b"))
        browser = site.browser()
        browser.set(b=2)

        assert [browser.sid] == site.index(2)

        browser.set(a=1)

        assert ([browser.sid], []) == (site.index(1), site.index(2))


class TestPermanent:
    """SESSION_PERMANENT: new sessions start permanent."""

    def test_starts_permanent(self, valkey):
        """SESSION_PERMANENT is what new sessions start with, and no more."""
        browser = Site(valkey, SESSION_PERMANENT=True).browser()

        assert browser.visit(each(lambda: session.update(a=1), lambda: session.permanent)).value

        browser.visit(lambda: setattr(session, "permanent", False))

        assert not browser.visit(lambda: session.permanent).value


class TestLifetime:
    """SESSION_LIFETIME, PERMANENT_SESSION_LIFETIME: how long a session lives unused."""

    def test_idle(self, valkey):
        """A session that is used lives on, and one that is not ends."""
        site = Site(valkey, SESSION_LIFETIME=100)
        browser = site.browser()
        browser.set(a=1)
        site.age(browser.sid, 90)
        site.redis.pexpire(site.key(browser.sid), 10_000)

        browser.read()

        assert 90_000 < site.redis.pttl(site.key(browser.sid)) <= 100_000

    def test_permanent(self, valkey):
        """A permanent session ends after PERMANENT_SESSION_LIFETIME."""
        site = Site(valkey, PERMANENT_SESSION_LIFETIME=timedelta(days=3))
        browser = site.browser()
        browser.set(a=1)

        browser.visit(lambda: setattr(session, "permanent", True))
        _, seen, expires = browser.visit(moments).value

        assert timedelta(days=3) == expires - seen

        browser.visit(lambda: setattr(session, "permanent", False))
        _, seen, expires = browser.visit(moments).value

        assert timedelta(days=1) == expires - seen

    def test_lifetime_of_flask(self, valkey):
        """app.permanent_session_lifetime counts as it is when a session is saved."""
        site = Site(valkey)
        site.app.permanent_session_lifetime = timedelta(seconds=500)
        browser = site.browser()

        browser.visit(
            each(lambda: session.update(a=1), lambda: setattr(session, "permanent", True))
        )

        assert 400_000 < site.redis.pttl(site.key(browser.sid)) <= 500_000


class TestAbsoluteLifetime:
    """SESSION_ABSOLUTE_LIFETIME: no session outlives it."""

    def test_absolute(self, valkey):
        """No session outlives its absolute lifetime, however late it was seen."""
        site = Site(valkey, SESSION_ABSOLUTE_LIFETIME=1000, SESSION_LIFETIME=900)
        browser = site.browser()
        browser.set(a=1)
        site.age(browser.sid, 800, "@born")

        browser.set(a=2)
        created, seen, expires = browser.visit(moments).value

        assert 1000 == (expires - created).total_seconds()
        assert expires < seen + timedelta(seconds=900)
        # PEXPIRETIME came with Redis 7.0.
        seconds, microseconds = site.redis.time()
        left = site.redis.pttl(site.key(browser.sid))
        assert seconds * 1000 + microseconds // 1000 + left <= expires.timestamp() * 1000

    def test_absolute_end(self, valkey):
        """After its absolute lifetime a session is gone, be Redis late in forgetting it or not."""
        site = Site(valkey, SESSION_ABSOLUTE_LIFETIME=1000)
        browser = site.browser()
        browser.set(a=1)
        site.age(browser.sid, 1001, "@born")

        assert {} == browser.read()
        assert browser.visit(lambda: session.new).value

        browser.set(b=1)

        assert {"b": 1} == browser.read()

    def test_absolute_end_ends_the_hash(self, valkey):
        """A write after the absolute lifetime removes the hash and goes into a new session."""
        site = Site(valkey, SESSION_ABSOLUTE_LIFETIME=1000)
        browser = site.browser()
        browser.set(a=1)
        sid = browser.sid
        site.age(sid, 1001, "@born")

        browser.set(b=1)

        assert sid != browser.sid
        assert {site.key(browser.sid)} == site.names()


class TestTouchInterval:
    """SESSION_TOUCH_INTERVAL: how often a request that only reads touches its session."""

    def test_touch_interval_setting(self, server):
        """SESSION_TOUCH_INTERVAL says how often that is."""
        site = Site(server, SESSION_TOUCH_INTERVAL=1000)
        warm(site)
        browser = site.browser()
        browser.set(a=1)
        site.later(990)

        assert set() == writes(cost_of(browser, lambda: session["a"]))

        site.later(20)

        assert {"hset", "pexpireat"} == writes(cost_of(browser, lambda: session["a"]))

    def test_short_lifetime(self, server):
        """A session whose life is shorter than the interval is touched at half of it."""
        site = Site(server, SESSION_LIFETIME=20)
        warm(site)
        browser = site.browser()
        browser.set(a=1)
        site.later(5)

        assert set() == writes(cost_of(browser, lambda: session["a"]))

        site.later(7)

        assert {"hset", "pexpireat"} == writes(cost_of(browser, lambda: session["a"]))


class TestMaxPerUser:
    """SESSION_MAX_PER_USER: how many sessions a user has. Signals: test_signals.py."""

    def test_two_sign_ins_at_once_with_a_limit(self, valkey: Server) -> None:
        """Of two sign-ins at once, one stays if SESSION_MAX_PER_USER allows one."""
        app = Flask(__name__)
        app.config["SESSION_MAX_PER_USER"] = 1
        app.session_interface = RedisSessionInterface(redis=valkey.client())

        @app.post("/sign-in")
        def sign_in() -> str:
            session["user_id"] = 23
            return ""

        @app.get("/user")
        def user() -> str:
            return str(session.get("user_id"))

        first, second = app.test_client(), app.test_client()

        def between(*_: Any, **__: Any) -> None:
            # The first is signed in, and has not looked yet at who else is.
            user_bound.disconnect(between)
            second.post("/sign-in")

        with user_bound.connected_to(between):
            first.post("/sign-in")

        assert [each.get("/user").text for each in (first, second)] == ["None", "23"]

    @pytest.mark.parametrize("fields", [("@seen", "@born", "@signed"), ("@born",)])
    def test_clock_was_set_back(self, valkey: Server, fields: tuple[str, ...]) -> None:
        """What was seen in the future arrived before any sign-in of now."""
        site = Site(valkey, SESSION_MAX_PER_USER=1)
        old, newer, newest = (site.browser() for _ in range(3))
        old.sign_in(23)
        site.age(old.sid, -3600, *fields, user_id=23)

        newer.sign_in(23)
        assert [newer.sid] == sids(site.interface.list_sessions(23))

        newest.sign_in(23)
        assert [newest.sid] == sids(site.interface.list_sessions(23))


class TestDeviceInfo:
    """SESSION_DEVICE_INFO: what is kept of the browser that signs in."""

    def signed_in(self, valkey, **config):
        """Sign in with a browser of this name and return what is known of it."""
        browser = Site(valkey, **config).browser()
        browser.visit(
            lambda: session.update(user_id=23),
            headers={"User-Agent": SAFARI},
            environ_overrides={"REMOTE_ADDR": "192.0.2.7"},
        )
        (info,) = browser.site.interface.list_sessions(23)
        return info.user_agent, info.ip_address, set(browser.site.hash(browser.sid))

    def test_on(self, valkey):
        """By default the user agent and the address of the sign-in are kept."""
        agent, address, _ = self.signed_in(valkey)

        assert (SAFARI, "192.0.2.7") == (agent, address)

    def test_off(self, valkey):
        """With False neither is kept, not even as an empty field."""
        agent, address, fields = self.signed_in(valkey, SESSION_DEVICE_INFO=False)

        assert (None, None) == (agent, address)
        assert not {b"@agent", b"@ip"} & fields

    def test_callable(self, valkey):
        """A callable decides what is kept of the request."""
        agent, address, _ = self.signed_in(
            valkey,
            SESSION_DEVICE_INFO=lambda request: ("a phone", request.remote_addr[:6] + "0.0"),
        )

        assert ("a phone", "192.0.0.0") == (agent, address)

    @pytest.mark.parametrize("decision", [None, (None, None)])
    def test_callable_that_keeps_nothing(self, valkey, decision):
        """A callable may decide to keep neither."""
        agent, address, fields = self.signed_in(valkey, SESSION_DEVICE_INFO=lambda _: decision)

        assert (None, None) == (agent, address)
        assert not {b"@agent", b"@ip"} & fields

    def test_hostile(self, site):
        """What a browser says of itself is kept short and readable, whatever it is."""
        browser = site.browser()

        browser.visit(
            lambda: session.update(user_id=23), headers={"User-Agent": "x" * 10_000 + "\xff"}
        )
        (info,) = site.interface.list_sessions(23)

        assert "x" * 256 == info.user_agent

    def test_of_the_sign_in(self, site):
        """It is the sign-in that counts, not a later request; the next sign-in replaces it."""
        browser = site.browser()
        browser.visit(lambda: session.update(user_id=23), headers={"User-Agent": SAFARI})

        browser.visit(lambda: session.update(a=1), headers={"User-Agent": "Firefox"})
        before = site.interface.list_sessions(23)[0].user_agent
        browser.visit(lambda: session.update(user_id=42), headers={"User-Agent": "Firefox"})
        after = site.interface.list_sessions(42)[0].user_agent

        assert (SAFARI, "Firefox") == (before, after)

    @pytest.mark.parametrize(
        "kept", ["Firefox", (lambda: 5, "::1"), ("Firefox",), ("a", "b", "c"), 5]
    )
    def test_device_info_of_another_form(self, valkey, kept):
        """What a callable returns that is not two texts is an error that names the setting."""
        site = Site(valkey, SESSION_DEVICE_INFO=lambda _: kept, PROPAGATE_EXCEPTIONS=True)

        with pytest.raises(SettingError, match="SESSION_DEVICE_INFO"):
            site.browser().sign_in(23)

        assert set() == site.names()


class TestMerge:
    """SESSION_MERGE: changes of one key by parallel requests are merged (test_merging.py)."""

    def test_named(self, server):
        """Of the keys that it names nothing is lost."""
        browser = Site(server, SESSION_MERGE=["cart"]).browser()
        browser.set(cart=[], other=[])

        def view():
            session["cart"].append(1)
            session["other"].append(1)
            browser.twin().visit(lambda: [session[key].append(2) for key in ("cart", "other")])

        browser.visit(view)

        assert ([2, 1], [1]) == (browser.read()["cart"], browser.read()["other"])


class TestLoad:
    """SESSION_LOAD: all of a session, or what the endpoint uses (test_loading.py)."""

    def test_all(self, server):
        """With SESSION_LOAD = "all" every load is one HGETALL."""
        browser = Site(server, SESSION_LOAD="all").browser()
        browser.set(**LARGE)
        browser.visit(lambda: session["key1"])

        cost, _ = cost_and_value_of(browser, lambda: session["key1"])

        assert ["hgetall"] == cost.names


class TestRevokeWait:
    """SESSION_REVOKE_WAIT: a revocation waits until replicas have it."""

    @pytest.fixture
    def pair(self, fragile):
        """A server, and a replica of it that is in step."""
        with Server(None, "--replicaof", HOST, str(fragile.port)) as replica:
            wait_until(
                lambda: b"master_link_status:up" in replica.ask("INFO", "replication"),
                "the replica is in step",
            )
            yield fragile, replica

    def test_confirmed(self, pair):
        """With the replica in step, the sessions are gone there too."""
        primary, replica = pair
        client = application_client(primary, socket_timeout=20)
        site = Site(primary, redis=client, SESSION_REVOKE_WAIT=(1, 10_000))
        site.browsers(23, 3)
        browser = site.browser()
        browser.sign_in(23)

        assert 3 == browser.visit(lambda: session.clear_user_sessions(keep_current=True)).value

        names = {f"session:{browser.sid}".encode(), b"session:user:23"}

        assert names == set(replica.ask("KEYS", "*"))

    def test_unconfirmed(self, pair):
        """If the replica hangs, the sessions are ended and the call says what it could not."""
        primary, replica = pair
        site = Site(primary, SESSION_REVOKE_WAIT=(1, 50))
        site.browsers(23, 3)
        replica.pause()

        with pytest.raises(RevocationUnconfirmed) as caught, site.app.app_context():
            site.interface.revoke_sessions(23)

        assert (3, 0) == (caught.value.ended, caught.value.replicas)
        assert set() == site.names()

    def test_nothing_to_confirm(self, fragile, hasty_client):
        """If no session was ended, nothing is waited for."""
        site = Site(fragile, redis=hasty_client, SESSION_REVOKE_WAIT=(1, 50))

        with site.app.app_context():
            assert 0 == site.interface.revoke_sessions(23)

    def test_lost_script(self, fragile):
        """What no replica confirmed is not taken for confirmed because of an earlier WAIT."""
        with Server(None, "--replicaof", HOST, str(fragile.port)) as replica:
            wait_until(lambda: b"state=online" in fragile.ask("INFO", "replication"), "it follows")
            site = Site(fragile, SESSION_REVOKE_WAIT=(1, 300))
            (browser,) = site.browsers(23, 1)
            server = site.app.extensions["flask_redis_session"][1].redis
            pipelined = server._pipelined

            def flushed(client, commands):
                if any(command[0] == "WAIT" for command in commands):
                    fragile.ask("SCRIPT", "FLUSH")
                return pipelined(client, commands)

            server._pipelined = flushed
            # All that was written before is there.
            site.client.execute_command("WAIT", 1, 10_000)
            replica.pause()
            with pytest.raises(RevocationUnconfirmed):
                site.interface.revoke_sessions(23)

        assert {} == browser.read()


@pytest.mark.one_server("SESSION_KEEP is refused in a cluster")
class TestKeep:
    """SESSION_KEEP: how many bytes of sessions a process keeps."""

    def test_room(self, valkey):
        """A warm GET asks nothing if there is room for its session, else it asks as ever."""
        for room, count in ((1_000_000, 0), (2_000, 3)):
            site = KeepingSite(valkey, SESSION_KEEP=room)
            browser, small = site.browser(), site.browser()
            browser.set(a="x" * 1000)
            small.set(a=1)
            wait_until(lambda: small.read() and site.line is not None, "it listens")  # noqa: B023
            for _ in range(3):
                browser.read()
            with valkey.cost() as cost:
                for _ in range(3):
                    browser.read()

            assert count == cost.commands.get("hgetall", 0)


@pytest.mark.one_server("SESSION_KEEP is refused in a cluster")
class TestKeepStale:
    """SESSION_KEEP_STALE: for how long what was heard is believed."""

    @pytest.mark.parametrize(("stale", "is_believed"), [(0.2, False), (5.0, True)])
    def test_bound(self, valkey, stale, is_believed):
        """A process that heard nothing for as long asks Redis."""
        site = KeepingSite(valkey, SESSION_KEEP_STALE=stale)
        browser = site.visitor(a=1)
        time.sleep(0.3)

        assert is_believed == site.believes(browser)


@pytest.mark.filterwarnings("ignore:SESSION_IMPORT")
@pytest.mark.one_server("Flask-Session keeps its sessions on one server")
class TestImport:
    """SESSION_IMPORT and what is beside it (more in moving/)."""

    def test_carries_over(self, valkey):
        """Without it an old session is nothing; with it, it is carried over."""
        cookie = OldSite(valkey).cookie(user_id=23)
        plain = NewSite(valkey, SESSION_IMPORT=None)

        assert {} == plain.comes(cookie).read()
        assert {"user_id": 23} == NewSite(valkey).comes(cookie).read()

    def test_place(self, valkey):
        """The name of the cookie, the Redis and the prefix say where the old ones are."""
        old = OldSite(valkey, SESSION_COOKIE_NAME="shop", SESSION_KEY_PREFIX="shop:")
        cookie = old.cookie(user_id=23)
        place = {
            "SESSION_IMPORT_COOKIE_NAME": "shop",
            "SESSION_IMPORT_PREFIX": "shop:",
            "SESSION_IMPORT_REDIS": valkey.client(),
        }
        for missing in place:
            rest = {name: value for name, value in place.items() if name != missing}
            if missing != "SESSION_IMPORT_REDIS":
                site = NewSite(valkey, **rest)
                assert {} == site.send(f"shop={cookie}", lambda: dict(session)).value

        assert {"user_id": 23} == NewSite(valkey, **place).comes(cookie).read()
        assert not valkey.client().exists(f"shop:{cookie}")

    def test_keep_old(self, valkey):
        """``SESSION_IMPORT_KEEP_OLD`` leaves the old session where it is."""
        names = {"SESSION_COOKIE_NAME": "new", "SESSION_IMPORT_COOKIE_NAME": "session"}
        cookie = OldSite(valkey).cookie(user_id=23)
        site = NewSite(valkey, SESSION_IMPORT_KEEP_OLD=True, **names)

        assert {"user_id": 23} == site.comes(cookie).read()
        assert valkey.client().exists(f"session:{cookie}")
