"""SESSION_KEEP: what was loaded answers a warm GET. How old it may be: ``test_keep_bounds.py``."""

from __future__ import annotations

import time
from typing import Any

import pytest

from flask_redis_session.devices import blueprint
from flask_redis_session.storage import kept as kept_module
from flask_redis_session.storage.token import new_token, parse_cookie
from tests.support.commandline import run
from tests.support.keeping import ROOM, KeepingSite
from tests.support.servers import wait_until
from tests.support.webapp import Site, session

pytestmark = pytest.mark.one_server("SESSION_KEEP is refused in a cluster")


@pytest.fixture
def site(server):
    """A site that keeps sessions, on each server."""
    return KeepingSite(server)


def commands_of(site: Site, do: Any) -> dict[str, int]:
    """Return the commands that a server gets while something is done, but those of the beat."""
    with site.server.cost() as cost:
        do()
    return {name: count for name, count in cost.commands.items() if name not in ("hello", "time")}


def test_no_round_trip(site):
    """A warm GET or HEAD asks Redis nothing, and reads the same."""
    browser = site.visitor(a=1, cart=[{"sku": 1}])
    values = []

    assert {} == commands_of(site, lambda: values.append(browser.read()))
    assert {} == commands_of(
        site, lambda: browser.visit(lambda: values.append(dict(session)), method="HEAD")
    )
    assert [{"user_id": 23, "a": 1, "cart": [{"sku": 1}]}] * 2 == values


def test_other_methods_ask(site):
    """A POST loads from Redis, and so does an event of a WebSocket's."""
    browser = site.visitor(a=1)

    def read():
        return session["a"]

    assert {"hgetall": 1} == commands_of(site, lambda: browser.visit(read, method="POST"))
    assert {"hgetall": 1} == commands_of(
        site, lambda: browser.visit(read, headers={"Upgrade": "websocket"})
    )


def test_off(valkey):
    """Without the setting there is no line, no more commands, and no more connections."""
    site = Site(valkey, SESSION_REDIS_URL=valkey.url)
    browser = site.browser()
    browser.sign_in(23)
    browser.read()
    before = len(site.redis.client_list())

    assert {"hgetall": 3} == commands_of(site, lambda: [browser.read() for _ in range(3)])
    assert before == len(site.redis.client_list())
    assert None is site.interface._any_backend().kept


def everything_but(user_id):
    """Return a view that ends every session of a user."""
    return lambda: session.clear_user_sessions(user_id)


WRITES = {
    "set": lambda browser: browser.set(a=2),
    "get that sets": lambda browser: browser.visit(lambda: session.update(a=2)),
    "nested": lambda browser: browser.visit(lambda: session["cart"].append(2)),
    "pop": lambda browser: browser.visit(lambda: session.pop("a", None)),
    "increment": lambda browser: browser.visit(lambda: session.increment("a")),
    "take": lambda browser: browser.visit(lambda: session.take("a")),
    "permanent": lambda browser: browser.visit(lambda: setattr(session, "permanent", True)),
    "sign out": lambda browser: browser.visit(lambda: session.pop("user_id", None)),
    "another user": lambda browser: browser.sign_in(24),
    "regenerate": lambda browser: browser.visit(lambda: session.regenerate()),
    "confirm": lambda browser: browser.visit(lambda: session.confirm()),
}
ENDS = {
    "clear": lambda browser: browser.twin().visit(lambda: session.clear()),
    "all of the user's": lambda browser: browser.twin().visit(
        lambda: session.clear_user_sessions()
    ),
    "from another browser": lambda browser: browser.site.browser().visit(everything_but(23)),
    "outside": lambda browser: browser.site.interface.revoke_sessions(23),
    "only this": lambda browser: browser.site.interface.revoke_sessions(23, only=browser.sid),
    "command line": lambda browser: run(browser.site.app, "revoke", 23, "--yes"),
    "command line, all": lambda browser: run(browser.site.app, "revoke-all", "--yes"),
}


@pytest.mark.parametrize("how", WRITES)
def test_own_writes_are_seen(site, how):
    """What this process wrote is seen by the next GET, whatever wrote it."""
    browser = site.visitor(a=1, cart=[1])
    for _ in range(10):
        site.warm(browser)
        WRITES[how](browser)

        fields = site.hash(browser.sid)

        assert {key: str(value) for key, value in browser.read().items()} == {
            name.decode(): value.decode().replace(",", ", ")
            for name, value in fields.items()
            if name[:1] != b"@"
        }


@pytest.mark.parametrize("how", ENDS)
def test_own_ends_are_seen(site, how):
    """A session that this process ended is not read again, whatever ended it."""
    for _ in range(5):
        browser = site.visitor(a=1)
        twin = browser.twin()
        ENDS[how](browser)

        assert {} == twin.read()


def test_old_cookie_after_rotation(site):
    """Once the secret has rotated, the old cookie reads nothing, also if the session is kept."""
    browser = site.visitor(a=1)
    old = browser.twin()
    browser.visit(lambda: session.regenerate())

    assert {} == old.read()

    site.warm(browser)

    assert {} == old.read()
    assert not site.believes(old)
    assert site.believes(browser)


def test_wrong_secret(site):
    """Who knows the public id alone reads nothing of what is kept."""
    browser = site.visitor(a=1)
    thief = browser.twin()
    thief.cookie = new_token(permanent=False, sid=browser.sid).cookie()

    assert {} == thief.read()
    assert not site.believes(thief)


def test_two_applications(site):
    """Two applications of one process see each other's writes at once."""
    other = KeepingSite(site.server)
    browser = site.visitor(a=1)
    there = other.browser()
    there.cookie = browser.cookie
    other.warm(there)
    for value in range(50):
        browser.set(a=value)

        assert value == there.read()["a"]

        other.warm(there)


@pytest.mark.parametrize("how", ["hset", "delete", "pexpire", "flushdb", "rename"])
def test_foreign_writes_are_seen(site, how):
    """What somebody else does to a session is seen as soon as Redis has said so."""
    browser = site.visitor(a=1)
    key = site.key(browser.sid)
    {
        "hset": lambda: site.redis.hset(key, "a", "2"),
        "delete": lambda: site.redis.delete(key),
        "pexpire": lambda: site.redis.pexpire(key, 1),
        "flushdb": lambda: site.redis.flushdb(),
        "rename": lambda: site.redis.rename(key, "elsewhere"),
    }[how]()

    wait_until(lambda: browser.read().get("a") != 1, "the change is seen", 0.9)


def test_some_fields(site):
    """A large session is kept by the fields that endpoints use, and those are put together."""
    browser = site.browser()
    browser.set(**{f"key{number}": "x" * 1000 for number in range(100)})

    def read(*keys):
        return lambda: [session[key] for key in keys]

    for _ in range(10):
        browser.visit(read("key1", "key2"), path="two")
        browser.visit(read("key3"), path="three")
    wait_until(
        lambda: (
            {} == commands_of(site, lambda: browser.visit(read("key1", "key2"), path="two"))
            and {} == commands_of(site, lambda: browser.visit(read("key3"), path="three"))
        ),
        "both are kept",
    )

    assert commands_of(site, lambda: browser.visit(read("key1", "key5"), path="two"))
    assert ["x" * 1000] == browser.visit(read("key3"), path="three").value


def test_whole_large_session(site):
    """If all of a large session is kept, a request gets the fields that it uses."""
    browser = site.browser()
    browser.set(**{f"key{number}": "x" for number in range(500)})
    site.warm(browser)

    assert 500 == len(browser.read())
    token = parse_cookie(browser.cookie)
    record, fields = site.kept.believed(token, lambda: (b"key7", b"nothing"))
    assert (b"key7", b"nothing") == fields
    assert {b"key7": b'"x"'} == {k: v for k, v in record.fields.items() if k[:1] != b"@"}
    assert "x" == browser.visit(lambda: session["key7"]).value
    assert None is browser.visit(lambda: session.get("nothing")).value
    assert {} == commands_of(site, lambda: browser.visit(lambda: session["key499"]))


def test_many_fields(site):
    """Of a session with very many fields nothing is kept: another browser's GET would read them."""
    browser = site.browser()
    browser.set(**{f"key{number}": "x" for number in range(1100)})
    other = site.visitor()
    for _ in range(3):
        assert 1100 == len(browser.read())

    assert not site.believes(browser)
    assert site.believes(other)


def test_each_request_has_values_of_its_own(site):
    """What a view changes and does not save is not seen by the next."""
    browser = site.visitor(cart=[1])

    def spoil():
        session["cart"].append("spoilt")
        session.modified = False

    browser.visit(spoil)

    assert site.believes(browser)
    assert [1] == browser.read()["cart"]


def test_refused_write(site):
    """A GET that reads what has ended elsewhere cannot write it."""
    browser = site.visitor(a=1)
    twin = browser.twin()

    def view():
        value = session["a"]
        site.redis.delete(site.key(browser.sid))
        session["a"] = value + 1

    twin.visit(view)

    assert not site.redis.exists(site.key(browser.sid))


@pytest.mark.parametrize("absolute", [None, 3])
def test_about_to_end(server, absolute):
    """In the last second of a lifetime Redis is asked, and a touch that is due is sent."""
    idle = 86400 if absolute else 3
    site = KeepingSite(server, SESSION_LIFETIME=idle, SESSION_ABSOLUTE_LIFETIME=absolute)
    browser = site.visitor(a=1)
    token = browser.cookie
    time.sleep(2.1)
    browser.cookie = token

    assert commands_of(site, browser.read)


def test_not_for_longer_than_a_minute(site, monkeypatch):
    """What no bound covers is over after a minute: Redis is asked then."""
    monkeypatch.setattr(kept_module, "LONGEST_KEPT", 0.3)
    browser = site.visitor(a=1)
    time.sleep(0.31)

    assert {"hgetall": 2} == commands_of(site, browser.read)


def test_touch(server):
    """A warm GET sends the touch that is due."""
    site = KeepingSite(server, SESSION_TOUCH_INTERVAL=0.3)
    browser = site.visitor(a=1)
    seen = site.hash(browser.sid)[b"@seen"]
    time.sleep(0.35)
    browser.read()

    assert seen < site.hash(browser.sid)[b"@seen"]


def test_room(server):
    """What is kept takes no more than the setting says; the least recently used goes first."""
    site = KeepingSite(server, SESSION_KEEP=20_000)
    browsers = [site.browser() for _ in range(30)]
    for browser in browsers:
        browser.set(a="x" * 100)
        browser.read()
    site.warm(browsers[-1])

    assert 0 < site.line.told.shelf.size <= 20_000
    assert not site.believes(browsers[0])


def test_too_large(server):
    """A session of more than an eighth of the room is not asked for on the line."""
    site = KeepingSite(server, SESSION_KEEP=20_000)
    large, small = site.browser(), site.browser()
    large.set(a="x" * 3000)
    small.set(a=1)
    site.warm(small)

    assert {"hgetall": 5} == commands_of(site, lambda: [large.read() for _ in range(5)])


def test_session_of_several_cookies(site):
    """Of several cookies the one that counts is asked for, and read as ever."""
    browser = site.visitor(a=1)
    other = new_token(permanent=False).cookie()
    cookies = f"session={other}; session={browser.cookie}"

    assert [1, 1] == [site.send(cookies, lambda: session["a"]).value for _ in range(2)]


def test_devices_page_asks(site):
    """The page of one's devices shows nothing by what is kept."""
    site.app.register_blueprint(blueprint())
    browser = site.visitor()

    assert commands_of(site, lambda: browser.client.get("/devices"))
    site.redis.delete(site.key(browser.sid))

    assert 200 != browser.client.get("/devices").status_code


def test_nothing_shows(site):
    """Nothing that is kept shows what it holds, nor the digest of a secret."""
    browser = site.visitor(a="private")
    line = site.line
    browser.read()
    shown = repr([site.kept, line, line.told, line.told.shelf, line.told.shelf.take(browser.sid)])

    assert "private" not in shown
    assert "@secret" not in shown


def test_ordinary_life(site):
    """A crowd of visits with everything on reads what was written, whatever was kept."""
    browsers = [site.browser() for _ in range(5)]
    counts = dict.fromkeys(range(5), 0)
    for turn in range(200):
        who = turn * 7 % 5
        if turn % 3 == 0:
            counts[who] += 1
            browsers[who].set(n=counts[who])
        assert counts[who] == browsers[who].read().get("n", 0)

    assert site.line is not None
    assert site.line.told.shelf.size < ROOM
