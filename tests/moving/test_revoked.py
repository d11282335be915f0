from __future__ import annotations

import time
from datetime import timedelta

import pytest

from flask_redis_session import RevocationUnconfirmed
from tests.moving.old import NewSite, OldSite, until
from tests.support.commandline import run
from tests.support.webapp import session

pytestmark = [
    pytest.mark.filterwarnings("ignore:SESSION_IMPORT"),
    pytest.mark.one_server("Flask-Session keeps its sessions on one server"),
]

DAY = timedelta(days=1)


@pytest.fixture
def site(server):
    """An application that carries old sessions over."""
    return NewSite(server)


def signed(ago=0.0, **values):
    """Return a cookie of Flask's own that was signed so many seconds ago."""
    old = OldSite()
    serializer = old.serializer
    signer = serializer.make_signer(serializer.salt)
    signer.get_timestamp = lambda: int(type(signer).get_timestamp(signer) - ago)
    return signer.sign(serializer.dump_payload({"user_id": 23, **values})).decode()


def opens(site, cookie):
    """Tell whether an old cookie opens a session."""
    return site.comes(cookie).read() != {}


# Who ends which sessions, how far back, and whether a cookie signed so long ago still comes over.
REVOCATIONS = {
    "all": (lambda site: site.interface.revoke_sessions(23), 5, False),
    "keep": (lambda site: site.interface.revoke_sessions(23, keep="A" * 22), 5, False),
    "signed in before": (
        lambda site: site.interface.revoke_sessions(23, signed_in_before=DAY * 300),
        5,
        False,
    ),
    "before": (lambda site: site.interface.revoke_sessions(23, before=DAY), 90_000, False),
    "before, younger": (lambda site: site.interface.revoke_sessions(23, before=DAY), 80_000, True),
    "created before": (
        lambda site: site.interface.revoke_sessions(23, created_before=DAY),
        90_000,
        False,
    ),
    "created before, younger": (
        lambda site: site.interface.revoke_sessions(23, created_before=DAY),
        80_000,
        True,
    ),
    "command": (lambda site: run(site.app, "revoke", "23", "--yes"), 5, False),
    "all users": (lambda site: run(site.app, "revoke-all", "--yes"), 5, False),
    "another user's": (lambda site: site.interface.revoke_sessions(24), 5, True),
    "one device": (lambda site: site.interface.revoke_sessions(23, only="A" * 22), 5, True),
    "in the future": (lambda site: site.interface.revoke_sessions(23, before=-DAY), 5, False),
}


@pytest.mark.parametrize("name", REVOCATIONS)
def test_signed_cookie(site, name):
    """A signed cookie from before a revocation of its user's sessions imports nothing."""
    revoke, ago, comes = REVOCATIONS[name]
    cookie = signed(ago)
    revoke(site)

    assert comes is opens(site, cookie)
    assert comes is bool(site.sessions())


@pytest.mark.parametrize("name", REVOCATIONS)
def test_flask_session(site, server, name):
    """No session of Flask-Session's does after any of them: its age is not known."""
    revoke, _, _ = REVOCATIONS[name]
    cookie = OldSite(server).cookie(user_id=23)
    revoke(site)

    assert (name in ("another user's", "one device")) is opens(site, cookie)


def test_younger_cookie(site):
    """A cookie that was signed after the revocation comes over."""
    site.interface.revoke_sessions(23)
    site.redis.set("session:old:user:23", f"{time.time() - 5:.3f}", keepttl=True)

    assert opens(site, signed())
    assert not opens(site, signed(9))


def test_marks_only_move_forward(site):
    """A later revocation with an earlier time takes nothing back."""
    cookie = signed(100)
    site.interface.revoke_sessions(23)
    site.interface.revoke_sessions(23, before=DAY)

    assert not opens(site, cookie)


def test_no_mark_lies_in_the_future(site):
    """A revocation with a time to come refuses only what was signed before it."""
    site.interface.revoke_sessions(23, before=-DAY)

    assert float(site.marks()["user:23"]) <= time.time() + 1


@pytest.mark.parametrize("text", [b"", b"x", b"\xff\xfe", b"nan", b"-inf", b"0x10", b"9" * 400])
def test_damaged_mark(server, text):
    """Of a damaged mark nobody knows the time: no older session of the user comes over."""
    site = NewSite(server)
    site.redis.set("session:old:user:23", text)

    assert not opens(site, signed())
    assert not opens(site, OldSite(server).cookie(user_id=23))


def test_marks_outlive_the_import(server):
    """The mark of a user outlives the last source by the lifetime of an old session."""
    sources = {"flask-session": until(hours=1), "cookie": until(hours=2)}
    site = NewSite(server, sources=sources, PERMANENT_SESSION_LIFETIME=3600)
    site.interface.revoke_sessions(23)

    assert 10790_000 < site.redis.pttl("session:old:user:23") <= 10801_000


def test_no_mark_without_an_import(server):
    """Without an import, a revocation leaves none."""
    site = NewSite(server, SESSION_IMPORT=None)
    site.browsers(23, 1)
    site.interface.revoke_sessions(23)

    assert set() == site.names()


def test_nobody(site):
    """Sessions of nobody are ended by ``revoke-all --anonymous`` alone."""
    cookies = [OldSite().cookie(cart=[n]) for n in range(2)]
    run(site.app, "revoke-all", "--yes")
    assert opens(site, cookies[0])
    run(site.app, "revoke-all", "--anonymous", "--yes")

    assert not opens(site, cookies[1])


def test_log_out_everywhere(site, server):
    """A user who logs out everywhere ends each device for good, those that were away included."""
    here = site.comes(OldSite(server).cookie(user_id=23))
    away = [OldSite(server).cookie(user_id=23), signed(5)]
    assert 1 == here.visit(lambda: session.clear_user_sessions()).value

    assert [False, False] == [opens(site, cookie) for cookie in away]
    assert {} == here.read()


def test_keep_current(site):
    """The session that stays can still be joined by a request that came at the same time."""
    cookie = signed(5)
    here, parallel = site.comes(cookie), site.comes(cookie)
    here.visit(lambda: session.clear_user_sessions(keep_current=True))

    assert 23 == parallel.read()["user_id"]
    assert here.sid == parallel.sid
    assert not opens(site, signed(60))


def test_sign_out_is_no_revocation(site, server):
    """A sign-out leaves the user's other devices alone, and its own old cookie opens nothing."""
    mine, others = signed(5), [signed(9), OldSite(server).cookie(user_id=23)]
    here = site.comes(mine)
    here.read()
    here.visit(lambda: session.clear())
    site.age_marks(31)

    assert not opens(site, mine)
    assert [True, True] == [opens(site, cookie) for cookie in others]


def test_surplus_is_no_revocation(server):
    """Nor does ``SESSION_MAX_PER_USER`` refuse what has not come over yet."""
    site = NewSite(server, SESSION_MAX_PER_USER=1)
    cookie = signed(5)
    site.browsers(23, 3)

    assert opens(site, cookie)


def test_devices_page_marks(site):
    """To end one device from the page ends no other; to end the others ends those that are away."""
    cookie = signed(5)
    first, second = site.browsers(23, 2)
    sid = second.sid
    first.visit(lambda: site.interface.revoke_sessions(23, only=sid))
    assert [] == [name for name in site.marks() if name.startswith("user")]
    first.visit(lambda: session.clear_user_sessions(keep_current=True))

    assert not opens(site, cookie)


def test_replicas(valkey):
    """The mark counts as a part of the revocation that replicas must have."""
    site = NewSite(valkey, SESSION_REVOKE_WAIT=(1, 50))

    with pytest.raises(RevocationUnconfirmed):
        site.interface.revoke_sessions(23)
    assert ["user:23"] == [*site.marks()]


def test_round_trips(site):
    """The mark costs a revocation one round trip."""
    site.browsers(23, 2)
    site.interface.revoke_sessions(23)
    site.browsers(23, 2)
    with site.server.cost() as cost:
        site.interface.revoke_sessions(23)

    assert 4 == cost.round_trips
