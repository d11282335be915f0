from __future__ import annotations

import sys
from datetime import datetime, timedelta, timezone
from types import SimpleNamespace

import flask
import pytest
import redis
import redis.asyncio
import redis.sentinel
import valkey
import valkey.asyncio

from flask_redis_session import RedisSessionInterface, SettingError, merged
from flask_redis_session.defaults import DEFAULTS
from flask_redis_session.moving import settings as moving_settings
from flask_redis_session.settings import read_settings
from tests.support.clients import application_client
from tests.support.commandline import run
from tests.support.servers import HOST
from tests.support.webapp import Site


def settings_of(redis=None, prefix=None, **config):
    """Read the settings of an application that has these."""
    app = flask.Flask("app")
    app.config.update(config)
    return read_settings(app.config, redis=redis, prefix=prefix)


def refused(**config):
    """Return the error that an application with these settings starts with."""
    app = flask.Flask("app")
    app.config.update(config)
    with pytest.raises(SettingError) as caught:
        RedisSessionInterface().init_app(app)
    return caught.value


def test_defaults():
    """Without a setting, sessions are as the documentation says."""
    settings = settings_of()

    assert (None, "redis://localhost:6379/0") == (settings.redis, settings.url)
    assert "session:" == settings.prefix
    assert None is settings.user_keys
    assert not settings.permanent
    assert 86400.0 == settings.lifetime
    assert None is settings.absolute
    assert 60.0 == settings.touch_interval
    assert None is settings.max_per_user
    assert settings.device_info is True
    assert "auto" == settings.load
    assert None is settings.revoke_wait
    assert (0, 1.0) == (settings.keep, settings.keep_stale)
    assert {"_flashes": merged} == settings.merge


def test_defaults_may_be_written_down():
    """To set every setting to its default changes nothing."""
    assert settings_of() == settings_of(**DEFAULTS)


def test_values_that_are_taken():
    """Each setting takes the types that it is documented with."""

    def device(request):
        return None

    settings = settings_of(
        SESSION_REDIS_URL="redis://example.org/3",
        SESSION_KEY_PREFIX="app:",
        SESSION_USER_KEY="uid",
        SESSION_PERMANENT=True,
        SESSION_LIFETIME=3600,
        SESSION_ABSOLUTE_LIFETIME=timedelta(hours=12),
        SESSION_TOUCH_INTERVAL=0.5,
        SESSION_MAX_PER_USER=3,
        SESSION_DEVICE_INFO=device,
        SESSION_LOAD="all",
        SESSION_REVOKE_WAIT=[1, 100],
        SESSION_KEEP=2**20,
        SESSION_KEEP_STALE=timedelta(seconds=2),
    )

    assert (None, "redis://example.org/3") == (settings.redis, settings.url)
    assert "app:" == settings.prefix
    assert ("uid",) == settings.user_keys
    assert settings.permanent
    assert 3600.0 == settings.lifetime
    assert 43200.0 == settings.absolute
    assert 0.5 == settings.touch_interval
    assert 3 == settings.max_per_user
    assert device is settings.device_info
    assert "all" == settings.load
    assert (1, 100) == settings.revoke_wait
    assert (2**20, 2.0) == (settings.keep, settings.keep_stale)


def test_user_keys_may_be_a_list():
    """A configuration read from JSON has lists where Python would have tuples."""
    assert ("a", "b") == settings_of(SESSION_USER_KEY=["a", "b"]).user_keys


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *[("SESSION_REDIS", value) for value in ("redis://localhost", b"redis://", 5, object())],
        ("SESSION_REDIS", redis.ConnectionPool()),
        ("SESSION_REDIS", redis.Redis),
        ("SESSION_REDIS_URL", ""),
        ("SESSION_REDIS_URL", 5),
        ("SESSION_REDIS_URL", b"redis://localhost"),
        ("SESSION_REDIS_URL", "localhost:6379"),
        ("SESSION_REDIS_URL", "http://localhost"),
        *[("SESSION_KEY_PREFIX", value) for value in ("", None, b"session:", 5, "\ud800")],
        *[
            ("SESSION_USER_KEY", value)
            for value in ("", (), list[str](), 5, b"id", ("a", 5), ("",))
        ],
        *[("SESSION_USER_KEY", value) for value in ({"a"}, {"a": "b"}, ("a", None))],
        *[("SESSION_USER_KEY", value) for value in (".", ".sub", "user.", "user..sub", "\ud800")],
        *[("SESSION_USER_LOOKUP", value) for value in ("find", 5, {"ann": 1})],
        *[("SESSION_PERMANENT", value) for value in (None, 0, 1, "no", "False")],
        *[
            (name, value)
            for name in ("SESSION_LIFETIME", "PERMANENT_SESSION_LIFETIME")
            for value in (None, 0, -1, "86400", True, timedelta(0), timedelta(days=-1))
        ],
        *[("SESSION_LIFETIME", value) for value in (float("nan"), float("inf"), float("-inf"))],
        *[("SESSION_ABSOLUTE_LIFETIME", value) for value in (0, -1, "1 d", False, timedelta(0))],
        ("SESSION_ABSOLUTE_LIFETIME", float("inf")),
        *[("SESSION_TOUCH_INTERVAL", value) for value in (None, -1, "60", True, float("nan"))],
        *[("SESSION_MAX_PER_USER", value) for value in (0, -1, 1.5, "3", True)],
        *[("SESSION_DEVICE_INFO", value) for value in (None, 0, 1, "yes", ("agent", "ip"))],
        *[("SESSION_LOAD", value) for value in (None, "", "lazy", True, ["all"])],
        *[("SESSION_REVOKE_WAIT", value) for value in (1, "1", (1,), (1, 2, 3), (0, 1), (1, 0))],
        *[("SESSION_KEEP", value) for value in (-1, 1.5, "1", True, None)],
        *[("SESSION_KEEP_STALE", value) for value in (0, -1, "1", None, 60.5, timedelta(hours=1))],
        *[("SESSION_REVOKE_WAIT", value) for value in ((True, 1), (1, 0.5), {1: 2}, ("1", "2"))],
    ],
)
def test_ill_typed(name, value):
    """A value of the wrong type fails at start, with an error that names the setting."""
    error = refused(**{name: value})

    assert name == error.setting
    assert str(error).startswith(f"{name}: ")


def test_setting_error_is_a_value_error():
    """What catches ValueError at the start of an application catches these errors."""
    assert isinstance(refused(SESSION_LOAD="x"), ValueError)


def test_two_servers():
    """A client and a URL contradict each other."""
    assert (
        "SESSION_REDIS_URL"
        == refused(SESSION_REDIS=redis.Redis(), SESSION_REDIS_URL="redis://localhost").setting
    )


def test_wait_in_a_cluster(cluster):
    """A cluster has no one primary whose replicas could be waited for."""
    error = refused(SESSION_REVOKE_WAIT=(1, 100), SESSION_REDIS_URL=cluster.url)
    client = application_client(cluster)

    assert "SESSION_REVOKE_WAIT" == error.setting
    assert (
        "SESSION_REVOKE_WAIT" == refused(SESSION_REVOKE_WAIT=(1, 100), SESSION_REDIS=client).setting
    )

    client.close()


@pytest.mark.parametrize("url", ["embedded://", "unix:///run/redis.sock", "rediss://a", None])
def test_keep_with_a_url(url):
    """What makes a client from a URL can keep sessions; the default is a URL too."""
    assert 5 == settings_of(SESSION_REDIS_URL=url, SESSION_KEEP=5).keep


def test_keep_without_a_url():
    """A client of the application's has no connection to spare; a cluster has several servers."""
    cluster = "redis+cluster://a:1,b:2"

    assert "SESSION_KEEP" == refused(SESSION_KEEP=5, SESSION_REDIS=redis.Redis()).setting
    assert "not yet" in str(refused(SESSION_KEEP=5, SESSION_REDIS_URL=cluster))


@pytest.mark.parametrize("lifetime", ["SESSION_LIFETIME", "PERMANENT_SESSION_LIFETIME"])
def test_touch_interval_and_lifetime(lifetime):
    """Sessions that are touched too seldom to stay alive are a contradiction."""
    error = refused(**{"SESSION_TOUCH_INTERVAL": 60, lifetime: 60})

    assert "SESSION_TOUCH_INTERVAL" == error.setting
    assert lifetime in str(error)


def test_short_lifetime_alone():
    """A lifetime below the default touch interval is no contradiction: nobody set that."""
    assert 10.0 == settings_of(SESSION_LIFETIME=10).lifetime


def test_arguments_rule_over_the_configuration():
    """What is given to the interface wins over what app.config says, a URL included."""
    client = redis.Redis()

    settings = settings_of(
        redis=client,
        prefix="mine:",
        SESSION_REDIS_URL="redis://example.org",
        SESSION_REDIS=redis.Redis(),
        SESSION_KEY_PREFIX="theirs:",
    )

    assert client is settings.redis
    assert None is settings.url
    assert "mine:" == settings.prefix


@pytest.mark.parametrize("value", ["redis://localhost", 5])
def test_wrong_argument(value):
    """An error in an argument names the argument."""
    with pytest.raises(SettingError) as caught:
        RedisSessionInterface(redis=value).init_app(flask.Flask("app"))

    assert "redis" == caught.value.setting


@pytest.mark.parametrize("value", ["", b"session:", "\ud800"])
def test_wrong_prefix_argument(value):
    """An error in the prefix that is given as an argument names the prefix."""
    with pytest.raises(SettingError) as caught:
        RedisSessionInterface(prefix=value).init_app(flask.Flask("app"))

    assert "prefix" == caught.value.setting


def test_assigned_interface_checks_at_the_first_request():
    """If the interface is only assigned, its settings are read by the first request."""
    app = flask.Flask("app")
    app.config["SESSION_LOAD"] = "lazy"
    app.testing = True
    app.session_interface = RedisSessionInterface()

    with pytest.raises(SettingError):
        app.test_client().get("/")


class TestClients:
    @pytest.mark.parametrize(
        "client",
        [
            redis.Redis(),
            redis.Redis(decode_responses=True),
            redis.Redis(protocol=3),
            redis.StrictRedis(),
            redis.sentinel.Sentinel([(HOST, 1)]).master_for("sessions"),
            valkey.Valkey(),
            valkey.Valkey(decode_responses=True),
            valkey.sentinel.Sentinel([(HOST, 1)]).master_for("sessions"),
        ],
    )
    @pytest.mark.parametrize("given", ["argument", "setting"])
    def test_taken(self, client, given):
        """Each client is used as it is, never replaced by another."""
        if given == "argument":
            settings = settings_of(redis=client)
        else:
            settings = settings_of(SESSION_REDIS=client)

        assert client is settings.redis

    @pytest.mark.parametrize("library", [redis, valkey])
    def test_cluster(self, cluster, library):
        """A cluster's client is used as it is."""
        kind = library.RedisCluster if library is redis else library.ValkeyCluster
        client = kind(host=HOST, port=cluster.nodes[0].port)

        assert client is settings_of(SESSION_REDIS=client).redis

        client.close()

    @pytest.mark.parametrize(
        "client",
        [
            redis.asyncio.Redis(),
            redis.asyncio.RedisCluster(host=HOST),
            type("Own", (redis.asyncio.Redis,), {})(),
            redis.asyncio.sentinel.Sentinel([(HOST, 1)]).master_for("sessions"),
            valkey.asyncio.Valkey(),
            valkey.asyncio.ValkeyCluster(host=HOST),
        ],
    )
    def test_asyncio(self, client):
        """A client of asyncio is refused: Flask's sessions are opened and saved without await."""
        assert "SESSION_REDIS" == refused(SESSION_REDIS=client).setting


class TestChangedAfterwards:
    """Settings count as they are at the first use, whatever they were at ``init_app``."""

    USES = pytest.mark.parametrize(
        "use",
        [
            lambda site: site.browser().set(a=1),
            lambda site: site.interface.list_sessions(23),
            lambda site: site.interface.revoke_sessions(23),
            lambda site: run(site.app, "list", 23),
        ],
        ids=["request", "list", "revocation", "command"],
    )

    @pytest.fixture
    def site(self, valkey):
        """A site that called ``init_app`` and was not used yet."""
        return Site(valkey, SESSION_REDIS_URL=valkey.url)

    @USES
    def test_before_first_use(self, site, use):
        """A change before the first request, list or command counts."""
        site.app.config["SESSION_KEY_PREFIX"] = "changed:"

        use(site)
        (browser,) = site.browsers(23, 1)

        assert f"changed:{browser.sid}" in site.names()
        assert not any(name.startswith("session:") for name in site.names())
        site.close()

    @USES
    def test_after_first_use(self, site, use):
        """A change after it has no effect."""
        use(site)
        site.app.config["SESSION_KEY_PREFIX"] = "changed:"

        (browser,) = site.browsers(23, 1)

        assert site.key(browser.sid) in site.names()
        site.close()

    def test_wrong(self, site):
        """A setting that is ill-typed by then is an error that names it."""
        site.app.config["SESSION_LOAD"] = "lazy"
        site.app.testing = True

        with pytest.raises(SettingError, match="SESSION_LOAD"):
            site.browser().visit()

    def test_corrected(self, site):
        """So it can be put right again."""
        site.app.config["SESSION_LOAD"] = "lazy"
        with pytest.raises(SettingError):
            site.interface.list_sessions(23)
        site.app.config["SESSION_LOAD"] = "all"

        assert [] == site.interface.list_sessions(23)
        site.close()

    @pytest.mark.one_server("makes the client of one server itself")
    def test_other_client(self, valkey):
        """A test suite may put its own client in the place of the application's."""
        site = Site(valkey, SESSION_REDIS_URL="redis://localhost:1")
        site.app.config.update(SESSION_REDIS_URL=None, SESSION_REDIS=redis.Redis(port=valkey.port))

        site.browsers(23, 1)

        assert 1 == len(site.interface.list_sessions(23))
        site.close()


FUTURE = datetime.now(timezone.utc) + timedelta(days=1)
BOTH = {"flask-session": FUTURE, "cookie": FUTURE}


class TestImport:
    @pytest.mark.parametrize(
        ("value", "told"),
        [
            (True, "expects a dict"),
            ({}, "expects a dict"),
            (["cookie"], "expects a dict"),
            ({"redis": FUTURE}, "there is no source 'redis'"),
            ({"cookie": None}, "with its zone"),
            ({"cookie": FUTURE.replace(tzinfo=None)}, "with its zone"),
            ({"cookie": FUTURE.date()}, "with its zone"),
            ({"cookie": timedelta(days=1)}, "with its zone"),
        ],
    )
    @pytest.mark.filterwarnings("ignore:SESSION_IMPORT")
    def test_refused(self, value, told):
        """Each source has a moment after which it is refused, with a zone."""
        error = refused(SESSION_IMPORT=value, SECRET_KEY="k")

        assert ("SESSION_IMPORT", True) == (error.setting, told in str(error))

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("SESSION_IMPORT_COOKIE_NAME", ""),
            ("SESSION_IMPORT_COOKIE_NAME", 5),
            ("SESSION_IMPORT_PREFIX", ""),
            ("SESSION_IMPORT_PREFIX", b"x"),
            ("SESSION_IMPORT_PREFIX", "\ud800"),
            ("SESSION_IMPORT_REDIS", "localhost"),
            ("SESSION_IMPORT_REDIS", redis.Redis),
            ("SESSION_IMPORT_REDIS", 5),
            ("SESSION_IMPORT_KEEP_OLD", "yes"),
        ],
    )
    @pytest.mark.filterwarnings("ignore:SESSION_IMPORT")
    def test_refused_beside(self, name, value):
        """What is beside it is checked at the start, too, and the error names it."""
        error = refused(SESSION_IMPORT=BOTH, SECRET_KEY="k", **{name: value})

        assert (name, 1) == (error.setting, str(error).count("SESSION_"))

    @pytest.mark.filterwarnings("ignore:SESSION_IMPORT")
    @pytest.mark.parametrize(
        "names",
        [
            {},
            {"SESSION_IMPORT_COOKIE_NAME": "session"},
            {"SESSION_IMPORT_COOKIE_NAME": "a", "SESSION_COOKIE_NAME": "a"},
            {"SESSION_COOKIE_NAME": "new"},
        ],
    )
    def test_keep_old_needs_another_name(self, names):
        """Old workers would replace our cookie if it had the old one's name."""
        config = {"SESSION_IMPORT": BOTH, "SESSION_IMPORT_KEEP_OLD": True, "SECRET_KEY": "k"}
        error = refused(**config, **names)

        assert "SESSION_IMPORT_KEEP_OLD" == error.setting

    @pytest.mark.filterwarnings("ignore:SESSION_IMPORT")
    def test_needs_the_key(self):
        """What was signed cannot be proved without the key."""
        flask_session = {"flask-session": FUTURE}

        assert "SECRET_KEY" in str(refused(SESSION_IMPORT={"cookie": FUTURE}))
        assert "SECRET_KEY" in str(refused(SESSION_IMPORT=flask_session, SESSION_USE_SIGNER=True))
        assert settings_of(SESSION_IMPORT=flask_session).imports is not None

    @pytest.mark.filterwarnings("ignore:SESSION_IMPORT")
    def test_needs_msgspec(self, monkeypatch):
        """Without the extra the application does not start, rather than sign everybody out."""
        monkeypatch.setitem(sys.modules, "msgspec", None)
        monkeypatch.setattr(moving_settings, "find_spec", lambda name: None)

        assert "flask-redis-session[import]" in str(refused(SESSION_IMPORT=BOTH, SECRET_KEY="k"))
        assert settings_of(SESSION_IMPORT={"cookie": FUTURE}, SECRET_KEY="k").imports is not None


class TestMerge:
    """``SESSION_MERGE``: names, or a rule for each."""

    def test_taken(self):
        """Names get the built-in rule; ``None`` takes a key out, also the flash messages."""
        ruled = {"cart": max, "seen": None}

        assert {"_flashes": merged, "cart": merged} == settings_of(SESSION_MERGE=["cart"]).merge
        assert {"_flashes": merged, "cart": max} == settings_of(SESSION_MERGE=ruled).merge
        assert {} == settings_of(SESSION_MERGE={"_flashes": None}).merge
        assert {"_flashes": max} == settings_of(SESSION_MERGE={"_flashes": max}).merge

    @pytest.mark.parametrize(
        "value",
        ["cart", None, 1, [1], [None], [["cart"]], ["\ud800"], {"cart": 1}, {1: merged}, {"": "x"}],
    )
    def test_refused(self, value):
        """What is neither is an error that names the setting."""
        assert "SESSION_MERGE" in str(refused(SESSION_MERGE=value))

    @pytest.mark.parametrize(
        ("keys", "named"),
        [
            (None, "user_id"),
            (None, "_user_id"),
            ("uid", "uid"),
            ("user.sub", "user"),
            (("a", "b.c"), "b"),
        ],
    )
    @pytest.mark.parametrize("rule", [merged, None])
    def test_a_users_key(self, keys, named, rule):
        """A key that says whose the session is, or the first name of its path, is never merged."""
        error = refused(SESSION_USER_KEY=keys, SESSION_MERGE={named: rule})

        assert f"SESSION_MERGE: holds {named!r}" in str(error)


@pytest.mark.parametrize(
    ("client", "says"),
    [
        (SimpleNamespace(master_for=None), "give the primary's client"),
        (redis.Redis().pipeline(), "not a pipeline"),
    ],
)
def test_what_is_no_client(client, says):
    """A set of Sentinels, or a pipeline, is refused, and the error says what to give."""
    with pytest.raises(SettingError, match=says):
        read_settings({"SESSION_REDIS": client}, redis=None, prefix=None)
