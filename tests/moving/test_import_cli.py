from __future__ import annotations

import time

import msgspec
import pytest

from flask_redis_session.moving.old_cookie import digest_of
from flask_redis_session.storage.record import moment
from tests.failure.proxy import Proxy
from tests.moving.old import NewSite, OldSite, until
from tests.support.commandline import run
from tests.support.webapp import session

pytestmark = [
    pytest.mark.filterwarnings("ignore:SESSION_IMPORT"),
    pytest.mark.one_server("Flask-Session keeps its sessions on one server"),
]


@pytest.fixture
def old(server):
    """The application with Flask-Session."""
    return OldSite(server)


@pytest.fixture
def site(server):
    """The application that it becomes."""
    return NewSite(server)


def test_moves_all(old, site):
    """All come over at once; each browser gets its session when it comes back, once."""
    cookies = [old.cookie(user_id=n % 2, n=n) for n in range(5)]
    outcome = run(site.app, "import")

    assert ["Carried over 5 sessions."] == outcome.lines
    assert (5, 3, 2) == (len(site.sessions()), len(site.index(0)), len(site.index(1)))
    assert [] == [name for name in site.names() if name[8:] in cookies]
    site.age_marks(100_000)
    browser, twin = site.comes(cookies[3]), site.comes(cookies[3])
    assert {"user_id": 1, "n": 3} == browser.read() == twin.read()
    assert browser.sid == twin.sid
    site.age_marks(31)
    assert {} == site.comes(cookies[3]).read()
    assert 5 == len(site.sessions())


def test_again(old, site):
    """To run it again changes nothing, and it goes on where it was stopped."""
    first = old.cookie(user_id=23)
    run(site.app, "import")
    marks = site.marks()
    second = old.cookie(user_id=24)
    outcome = run(site.app, "import")

    assert ["Carried over 1 session."] == outcome.lines
    assert marks.items() <= site.marks().items()
    assert [23, 24] == [site.comes(cookie).read()["user_id"] for cookie in (first, second)]


def test_again_after_a_crash(old, site):
    """If the old key was left behind, the session that it became still waits for its browser."""
    cookie = old.cookie(user_id=23)
    text, left = site.redis.get(f"session:{cookie}"), site.redis.pttl(f"session:{cookie}")
    run(site.app, "import")
    site.redis.set(f"session:{cookie}", text, px=left)
    outcome = run(site.app, "import")

    assert ["Carried over 0 sessions.", "1 had come over before."] == outcome.lines
    site.age_marks(100)
    assert {"user_id": 23} == site.comes(cookie).read()
    assert 1 == len(site.sessions())


def test_two_commands_at_once(old, site):
    """A second command does not take for a browser's what the first one has just carried over."""
    cookie = old.cookie(user_id=23)
    run(site.app, "import")
    marks = site.marks()
    claim = site.mover.marks.claim(
        digest_of(cookie), "A" * 22, time.time() + 999, permanent=False, ahead=True
    )

    assert "spent" == claim.what
    assert marks == site.marks()


def test_dry_run(old, site):
    """A dry run says what would come over, and changes nothing."""
    old.cookie(user_id=23)
    before = {name: site.redis.dump(name) for name in site.names()}
    outcome = run(site.app, "import", "--dry-run")

    assert ["Would carry over 1 session."] == outcome.lines
    assert before == {name: site.redis.dump(name) for name in site.names()}


def test_report(old, site):
    """The report says what stays behind, and why; so does JSON."""
    site.browser().sign_in(23)
    old.cookie(user_id=24)
    old.cookie(user_id=25)
    site.interface.revoke_sessions(25)
    site.redis.set(f"session:{'p' * 43}", b"\x80\x04.")
    site.redis.set(f"session:{'e' * 43}", msgspec.msgpack.encode({"_permanent": True}))
    site.redis.set("session:other:key", "x")
    told = run(site.app, "import", "--json", "--dry-run", status=1).json
    outcome = run(site.app, "import", status=1)

    assert {"moved": 1, "already": 0, "revoked": 1, "empty": 1, "unreadable": 1} == {
        name: told[name] for name in ("moved", "already", "revoked", "empty", "unreadable")
    }
    assert (True, True) == (told["dry_run"], told["complete"])
    assert "Carried over 1 session." == outcome.lines[0]
    assert 4 == len(outcome.lines)
    assert "p" * 43 not in outcome.out


def test_signed(server):
    """If the cookies are signed, the browser still has to prove it."""
    old = OldSite(server, SESSION_USE_SIGNER=True)
    site = NewSite(server, SESSION_USE_SIGNER=True)
    cookie = old.cookie(user_id=23)
    run(site.app, "import")

    assert {} == site.comes(cookie.partition(".")[0]).read()
    assert {"user_id": 23} == site.comes(cookie).read()


@pytest.mark.parametrize("permanent", [True, False])
def test_lives_as_long(old, site, permanent):
    """Until its browser comes back, a session lives as long as the old one would have."""
    cookie = old.cookie(user_id=23, permanent=permanent)
    site.redis.expire(f"session:{cookie}", 500_000)
    run(site.app, "import")
    (sid,) = site.sessions()
    left = site.redis.ttl(f"session:{sid}")
    index = site.redis.pttl("session:user:23")

    assert 499_000 < left <= 500_000
    assert index >= site.redis.pttl(f"session:{sid}")
    site.age(sid, 100)
    site.comes(cookie).read()
    assert (site.redis.ttl(f"session:{sid}") > 600_000) is permanent


def test_absolute_lifetime(old, server):
    """No session outlives its absolute lifetime by that."""
    site = NewSite(server, SESSION_ABSOLUTE_LIFETIME=100_000)
    old.cookie(user_id=23)
    run(site.app, "import")
    (sid,) = site.sessions()

    assert site.redis.ttl(f"session:{sid}") <= 100_000


def test_revoked_after_it(old, site):
    """What came over can be listed and ended before its browser comes back."""
    cookie = old.cookie(user_id=23)
    run(site.app, "import")
    (info,) = site.interface.list_sessions(23)

    assert (None, None) == (info.signed_in_at, info.user_agent)
    assert moment(0) < info.created_at
    assert 1 == site.interface.revoke_sessions(23)
    assert {} == site.comes(cookie).read()


def test_nobody_joins_after_a_change(old, site):
    """The planter's cookie does not open a session in which somebody signed in."""
    cookie = old.cookie(step=1)
    run(site.app, "import")
    site.comes(cookie).visit(lambda: session.update(user_id=23))

    assert {} == site.comes(cookie).read()


@pytest.mark.parametrize(
    ("config", "told"),
    [
        ({"SESSION_IMPORT": None}, "nothing to carry over"),
        ({"sources": ("cookie",)}, "nothing to carry over"),
        ({"sources": {"flask-session": until(seconds=-1)}}, "is over"),
        (
            {
                "SESSION_IMPORT_KEEP_OLD": True,
                "SESSION_IMPORT_COOKIE_NAME": "old",
                "SESSION_COOKIE_NAME": "new",
            },
            "SESSION_IMPORT_KEEP_OLD",
        ),
    ],
)
def test_refused(valkey, config, told):
    """It says why there is nothing that it can do."""
    assert told in run(NewSite(valkey, **config).app, "import", status=2).error


def test_many(old, site, server):
    """It goes through any number of keys page by page, among others' keys."""
    pipeline = site.redis.pipeline(transaction=False)
    for n in range(1_200):
        pipeline.set(f"session:{n:043}", msgspec.msgpack.encode({"user_id": n % 100}), ex=1000)
        pipeline.set(f"elsewhere:{n}", "x")
    pipeline.execute()

    assert ["Carried over 1,200 sessions."] == run(site.app, "import").lines
    assert 1_200 == len(site.sessions())
    assert 12 == len(site.index(7))


def test_redis_fails(old, fragile):
    """If Redis fails on the way, it says how far it came, and to run it again."""
    site = NewSite(fragile)
    OldSite(fragile).cookie(user_id=23)
    fragile.client().config_set("maxmemory", 1)
    try:
        outcome = run(site.app, "import", status=3)
    finally:
        fragile.client().config_set("maxmemory", 0)

    assert "Run it again" in outcome.out
    site.age_marks(2)
    assert ["Carried over 1 session."] == run(site.app, "import").lines


@pytest.mark.parametrize("after", [0, 400, 1000, 2000])
def test_redis_fails_json(valkey, after):
    """With --json there is one JSON text, which says how far it came, and why it stopped."""
    for user in range(5):
        OldSite(valkey).cookie(user_id=user)
    with Proxy(valkey.port) as proxy:
        site = NewSite(valkey, SESSION_REDIS_URL=proxy.url)
        proxy.cut("requests", after, times=9)
        told = run(site.app, "import", "--json", status=3).json
        site.close()

    assert told["error"]
    assert after == 0 or told["complete"] is False


def test_doctor(old, site):
    """The doctor takes no mark for a key of another layout, and deletes no old session."""
    cookie = old.cookie(user_id=23)
    other = old.cookie(user_id=24)
    site.comes(cookie).read()
    site.interface.revoke_sessions(25)
    outcome = run(site.app, "doctor", "--json", status=1).json

    assert ["other-layout"] == [found["kind"] for found in outcome["findings"]]
    assert "SESSION_IMPORT" in run(site.app, "doctor", "--fix", "--delete-others", status=2).error
    assert {"user_id": 24} == site.comes(other).read()
