from __future__ import annotations

import time
from datetime import datetime, timedelta, timezone
from typing import Any

import flask
import pytest
from werkzeug.test import EnvironBuilder

from flask_redis_session.request.codec import decode
from tests.moving.old import SOURCES, NewSite, OldSite, new_cookie, until
from tests.support.webapp import each, session

pytestmark = [
    pytest.mark.filterwarnings("ignore:SESSION_IMPORT"),
    pytest.mark.one_server("Flask-Session keeps its sessions on one server"),
]


@pytest.fixture(params=["flask-session", "cookie"])
def old(request, server):
    """An application with old sessions of each kind."""
    return OldSite(server if request.param == "flask-session" else None)


@pytest.fixture
def site(server, old):
    """The application that it becomes."""
    return NewSite(server)


class TestCarriedOver:
    def test_content(self, old, site):
        """The first request is served with what the old session held, and so is the next."""
        browser = site.comes(old.cookie(user_id=23, cart=[{"sku": 1}], step=2))

        assert {"user_id": 23, "cart": [{"sku": 1}], "step": 2} == browser.read()
        assert {"user_id": 23, "cart": [{"sku": 1}], "step": 2} == browser.read()
        assert [browser.sid] == site.sessions() == site.index(23)

    def test_values_of_flask(self, server):
        """What Flask's own cookie keeps of types is kept."""
        held: Any = {
            "pair": (1, 2),
            "raw": b"\xff",
            "at": datetime(2026, 1, 2, tzinfo=timezone.utc),
        }
        browser = NewSite(server).comes(OldSite().cookie(**held))

        assert held == browser.read()

    @pytest.mark.parametrize("permanent", [True, False])
    def test_permanence(self, old, site, permanent):
        """A permanent session stays permanent, and another one does not become so."""
        browser = site.comes(old.cookie(user_id=23, permanent=permanent))
        answer = browser.visit(lambda: session.permanent)

        assert permanent is answer.value
        assert permanent == ("Expires" in answer.cookie.flags)
        assert ("2678400" if permanent else "86400") == site.hash(browser.sid)[b"@idle"].decode()
        assert b"_permanent" not in site.hash(browser.sid)

    def test_old_one_ends(self, server):
        """Flask-Session's key goes when the new session is there."""
        old, site = OldSite(server), NewSite(server)
        cookie = old.cookie(user_id=23)
        assert site.redis.exists(f"session:{cookie}")
        site.comes(cookie).read()

        assert not site.redis.exists(f"session:{cookie}")

    @pytest.mark.parametrize(
        "view",
        [
            lambda: session.get("step"),
            lambda: session.update(more=1),
            lambda: session.permanent,
            lambda: session.sid,
            lambda: session.increment("step"),
            lambda: session.take("step"),
            lambda: session.new,
            lambda: session.user_sessions(),
        ],
        ids=["read", "write", "permanent", "sid", "increment", "take", "new", "list"],
    )
    def test_any_use(self, old, site, view):
        """However the request uses its session, it is the old one, and the browser gets it."""
        browser = site.comes(old.cookie(user_id=23, step=1))
        answer = browser.visit(view)

        assert answer.cookie is not None
        assert "no-store" in answer.headers["Cache-Control"]
        assert 23 == browser.read()["user_id"]
        assert [browser.sid] == site.sessions()

    def test_write_keeps_the_rest(self, old, site):
        """A request that only writes writes into what was carried over."""
        browser = site.comes(old.cookie(user_id=23, step=1))
        browser.set(more=2)

        assert {"user_id": 23, "step": 1, "more": 2} == browser.read()

    def test_sign_out_at_once(self, old, site):
        """If the first request signs out, the session is over, and the cookie goes."""
        browser = site.comes(cookie := old.cookie(user_id=23))
        answer = browser.visit(lambda: session.clear())

        assert "" == new_cookie(answer)
        assert [] == site.sessions()
        site.age_marks(60)
        assert {} == site.comes(cookie).read()

    def test_sign_in_at_once(self, old, site):
        """If somebody else signs in by the first request, the session is theirs."""
        browser = site.comes(old.cookie(user_id=23, cart=[1]))
        browser.visit(lambda: session.update(user_id=24))

        assert {"user_id": 24, "cart": [1]} == browser.read()
        assert ([], [browser.sid]) == (site.index(23), site.index(24))

    def test_unused(self, old, site):
        """A request that does not use its session asks Redis nothing, and carries nothing over."""
        site.comes(old.cookie(user_id=23)).read()
        browser = site.comes(old.cookie(user_id=24))
        with site.server.cost() as cost:
            answer = browser.visit()

        assert 0 == cost.calls
        assert None is answer.cookie
        assert [] == site.index(24)
        assert 24 == browser.read()["user_id"]

    def test_round_trips(self, server):
        """What it costs, once: of Flask-Session's and of a cookie."""
        site = NewSite(server)
        site.comes(OldSite(server).cookie(user_id=1)).read()
        costs = []
        for cookie in (OldSite(server).cookie(user_id=23), OldSite().cookie(user_id=23)):
            browser = site.comes(cookie)
            with site.server.cost() as cost:
                browser.read()
            costs.append(cost.round_trips)
            with site.server.cost() as cost:
                browser.read()
            costs.append(cost.round_trips)

        # read, marks, claim, create, marks, follow, end, load, is the cookie still good
        assert [9, 1, 7, 1] == costs

    def test_our_cookie_counts(self, old, site):
        """Beside a cookie of ours an old one is not looked at, be ours dead or alive."""
        mine = site.browser()
        mine.set(step=9)
        other = NewSite(site.server, SESSION_IMPORT_COOKIE_NAME="old")
        for ours in (mine.cookie, mine.cookie[:-1] + ("A" if mine.cookie[-1] != "A" else "E")):
            browser = other.comes(old.cookie(user_id=23))
            browser.cookie = ours
            assert 23 != browser.visit(lambda: session.get("user_id")).value

    def test_signal(self, old, site):
        """The session that is stored is told of; nobody has signed in."""
        from flask_redis_session.signals import session_created, user_bound

        told = []
        with (
            session_created.connected_to(lambda _, **args: told.append(args["user_id"])),
            user_bound.connected_to(lambda _, **args: told.append("bound")),
        ):
            site.comes(old.cookie(user_id=23)).read()

        assert ["23"] == told


def lifetime_of():
    """Return how long the session of the request lives at most from its creation."""
    known: Any = session
    return known.expires_at - known.created_at


class TestSignedIn:
    def test_not_known(self, old, site):
        """Nobody knows when the user signed in, until they confirm it."""
        browser = site.comes(old.cookie(user_id=23))

        assert None is browser.visit(lambda: session.signed_in_at).value
        assert [None] == [
            info.signed_in_at for info in site.interface._any_backend().users.list_sessions("23")
        ]
        browser.visit(lambda: session.confirm())
        assert None is not browser.visit(lambda: session.signed_in_at).value

    def test_counts_as_long_ago(self, old, site):
        """It counts as signed in before any time."""
        browser = site.comes(old.cookie(user_id=23))
        browser.read()

        assert 1 == site.interface.revoke_sessions(23, signed_in_before=timedelta(days=20_000))
        assert {} == browser.read()

    def test_freshness(self, old, site):
        """Flask-Login's freshness is over."""
        browser = site.comes(old.cookie(user_id=23, _user_id="23", _fresh=True, _id="x"))

        assert {"user_id": 23, "_user_id": "23", "_fresh": False, "_id": "x"} == browser.read()

    def test_absolute_lifetime(self, old, server):
        """The absolute lifetime counts from the import."""
        site = NewSite(server, SESSION_ABSOLUTE_LIFETIME=100)
        browser = site.comes(old.cookie(user_id=23))
        left = browser.visit(lifetime_of).value

        assert timedelta(seconds=100) == left
        site.later(101)
        assert {} == browser.read()

    def test_ends_no_other(self, old, server):
        """It ends nobody's other session, however many there may be."""
        site = NewSite(server, SESSION_MAX_PER_USER=1)
        mine = site.browser()
        mine.sign_in(23)
        site.comes(old.cookie(user_id=23)).read()
        site.comes(old.cookie(user_id=23, n=2)).read()

        assert 3 == len(site.index(23))
        assert 23 == mine.read()["user_id"]


class TestOnce:
    def test_joins(self, old, site):
        """For ten seconds, requests with the old cookie share the new session."""
        cookie = old.cookie(user_id=23, cart=[])
        first, second = site.comes(cookie), site.comes(cookie)
        first.set(one=1)
        second.set(two=2)

        assert first.sid == second.sid
        assert first.secret != second.secret
        assert {"user_id": 23, "cart": [], "one": 1, "two": 2} == first.read() == second.read()
        assert [first.sid] == site.sessions() == site.index(23)

    def test_opens_nothing_after_that(self, old, site):
        """After ten seconds the old cookie opens nothing, but the new ones go on."""
        cookie = old.cookie(user_id=23)
        first = site.comes(cookie)
        first.read()
        site.age_marks(10.5)
        late = site.comes(cookie)

        assert {} == late.read()
        assert 23 == first.read()["user_id"]
        assert [first.sid] == site.sessions()

    def test_late_request_leaves_the_cookie(self, old, site):
        """A request that is a little late neither stores anything nor touches the cookie."""
        cookie = old.cookie(user_id=23)
        site.comes(cookie).read()
        site.age_marks(10.5)
        answer = site.comes(cookie).set(step=1)

        assert None is answer.cookie
        assert 1 == len(site.sessions())

    def test_spent(self, old, site):
        """Long after that, the browser gets a new session, as one without a cookie does."""
        cookie = old.cookie(user_id=23)
        site.comes(cookie).read()
        site.age_marks(31)
        browser = site.comes(cookie)

        assert None is not browser.set(step=1).cookie
        assert {"step": 1} == browser.read()
        assert 2 == len(site.sessions())

    @pytest.mark.parametrize(
        "change",
        [
            lambda: session.update(user_id=24),
            lambda: session.pop("user_id"),
            lambda: session.regenerate(),
            lambda: session.confirm(),
            lambda: session.clear(),
        ],
        ids=["other user", "signed out", "rotated", "confirmed", "ended"],
    )
    def test_not_once_it_changed(self, old, site, change):
        """Nobody joins once the session rotated, changed its user or ended."""
        cookie = old.cookie(user_id=23, step=1)
        site.comes(cookie).visit(change)
        before = site.sessions()
        joiner = site.comes(cookie)

        assert {} == joiner.read()
        assert None is joiner.set(step=2).cookie
        assert before == site.sessions()

    def test_not_once_a_websocket_signed_out(self, old, site):
        """Nor if its user went without a rotation, because no browser would get the cookie."""
        cookie = old.cookie(user_id=23, step=1)
        first = site.comes(cookie)
        first.read()
        first.visit(lambda: session.pop("user_id"), headers={"Upgrade": "websocket"})

        assert {} == site.comes(cookie).read()
        assert {"step": 1} == first.read()

    def test_not_once_it_was_revoked(self, old, site):
        """Nobody joins once the session was revoked."""
        cookie = old.cookie(user_id=23)
        site.comes(cookie).read()
        site.interface.revoke_sessions(23)

        assert {} == site.comes(cookie).read()
        assert [] == site.sessions()

    @pytest.mark.parametrize("comes_first", [True, False])
    def test_planted(self, old, site, comes_first):
        """Who planted their old cookie in a browser does not share what is signed in there."""
        planted = old.cookie(step=1)
        planter, victim = site.comes(planted), site.comes(planted)
        if comes_first:
            planter.read()
        victim.visit(each(lambda: session.get("step"), lambda: session.update(user_id=23)))

        assert "user_id" not in planter.read()
        assert "user_id" not in site.comes(planted).read()
        assert 23 == victim.read()["user_id"]

    def test_not_more_than_some(self, old, site):
        """No flood of joins fills the session with secrets."""
        cookie = old.cookie(user_id=23)
        for _ in range(70):
            site.comes(cookie).read()
        names = [name for name in site.hash(site.sessions()[0]) if b"@secret:" in name]

        assert 64 == len(names)

    def test_mark(self, old, server):
        """The mark holds the new sid, under a digest, and outlives the source."""
        ends = {"flask-session": until(hours=2), "cookie": until(hours=2)}
        site = NewSite(server, sources=ends, PERMANENT_SESSION_LIFETIME=3600)
        browser = site.comes(cookie := old.cookie(user_id=23))
        browser.read()
        ((name, text),) = site.marks().items()

        assert browser.sid == text.split()[1]
        assert 64 == len(name)
        assert cookie not in name
        assert 10790_000 < site.redis.pttl(f"session:old:{name}") <= 10801_000

    def test_put_off(self, old, server):
        """If the end of a source is put off, nothing that was spent comes to life again."""
        ends = dict.fromkeys(SOURCES, until(seconds=60))
        site = NewSite(server, sources=ends)
        used, revoked = old.cookie(user_id=23), old.cookie(user_id=24)
        browser = site.comes(used)
        browser.read()
        browser.visit(lambda: session.clear())
        site.interface.revoke_sessions(24)
        site.age_marks(60)
        site.later(61)
        site = NewSite(server, sources=dict.fromkeys(SOURCES, until(days=9)))

        assert {} == site.comes(used).read()
        assert {} == site.comes(revoked).read()

    @pytest.mark.parametrize("state", [b"claimed", b"became", b"ready"])
    @pytest.mark.parametrize("sid", [b"\xff\xfe", b"user:24", b"{x}"])
    @pytest.mark.parametrize(
        "at",
        [b"1.0", b"%d.0" % time.time(), b"9999999999.0", b"nan"],
        ids=["long ago", "now", "never", "nan"],
    )
    def test_damaged_mark(self, old, site, state, sid, at):
        """A mark that nobody wrote opens nothing and ends nothing, and is no 500."""
        cookie = old.cookie(user_id=23)
        site.browser().sign_in(24)
        site.comes(cookie).read()
        names = [name for name in site.marks() if ":" not in name]
        site.redis.set(f"session:old:{names[0]}", b"%b %b p %b" % (state, sid, at))

        assert {} == site.comes(cookie).read()
        assert 1 == len(site.index(24))

    def test_until(self, old, server):
        """After its time a source is refused."""
        cookie = old.cookie(user_id=23)
        for ahead, found in ((-1, {}), (3600, {"user_id": 23})):
            site = NewSite(
                server, sources=dict.fromkeys(("flask-session", "cookie"), until(seconds=ahead))
            )
            assert found == {k: v for k, v in site.comes(cookie).read().items() if k == "user_id"}

    def test_only_what_is_named(self, server):
        """A source that is not named is none."""
        cookies = {"flask-session": OldSite(server).cookie(a=1), "cookie": OldSite().cookie(a=1)}
        for name in cookies:
            site = NewSite(server, sources=(name,))
            (other,) = cookies.keys() - {name}
            assert {} == site.comes(cookies[other]).read()


class TestClaim:
    def claimed(self, old, site, *, age=0.0):
        """Return a cookie whose session somebody has claimed, and then died."""
        mover = site.mover
        cookie = old.cookie(user_id=23)
        with site.app.test_request_context(headers={"Cookie": f"session={cookie}"}):
            (found,) = mover.cookies(flask.request, "session")
            proof = found.proof(site.app, is_signed=False)
        claim = mover.marks.claim(proof.digest, "A" * 22, time.time() + 999, permanent=False)
        assert "yours" == claim.what
        site.age_marks(age)
        return cookie

    def test_taken_over(self, old, site):
        """A claim that nothing followed within a second is taken over."""
        cookie = self.claimed(old, site, age=1.1)
        browser = site.comes(cookie)

        assert 23 == browser.read()["user_id"]
        assert "A" * 22 != browser.sid

    def test_waits(self, old, site):
        """Until then a request waits for it."""
        cookie = self.claimed(old, site)
        waits = []

        def pause(seconds):
            waits.append(seconds)
            site.age_marks(1.1)

        site.mover.pause = pause

        assert 23 == site.comes(cookie).read()["user_id"]
        assert 1 == len(waits)

    def test_ends_what_was_left_behind(self, old, site):
        """What the claim that was given up had stored already is ended."""
        cookie = self.claimed(old, site, age=1.1)
        site.redis.hset("session:" + "A" * 22, mapping={"@born": "1", "@user": "23"})
        browser = site.comes(cookie)
        browser.read()

        assert [browser.sid] == site.sessions()

    def test_in_vain(self, old, site):
        """If it takes too long, the request is refused and the browser keeps its cookie."""
        cookie = self.claimed(old, site)
        site.mover.pause = lambda seconds: None
        browser = site.comes(cookie)
        answer = browser.visit(lambda: session.get("user_id"), status=503)

        assert None is answer.cookie
        site.age_marks(1.1)
        assert 23 == browser.read()["user_id"]


class TestCookie:
    def test_other_name(self, old, server):
        """The old cookie is deleted, also if its name is another."""
        old.app.config["SESSION_COOKIE_NAME"] = "old"
        site = NewSite(server, SESSION_IMPORT_COOKIE_NAME="old")
        answer = site.comes(old.cookie(user_id=23)).visit(lambda: session["user_id"])
        cookies = {cookie.name: cookie for cookie in answer.cookies}

        assert {"old", "session"} == {*cookies}
        assert ("", "0") == (cookies["old"].value, cookies["old"].flags["Max-Age"])
        assert None is not new_cookie(answer)

    def test_what_is_no_old_session_stays(self, server):
        """A cookie of the old name that opens nothing is left alone: it may be another's."""
        site = NewSite(server, SESSION_IMPORT_COOKIE_NAME="old")

        assert [] == site.comes("not-an-id-of-ours").visit(lambda: session.get("a")).cookies

    def test_keep_old(self, old, server):
        """While a deployment is half-way, key and cookie stay; they are carried over once."""
        old.app.config["SESSION_COOKIE_NAME"] = "old"
        site = NewSite(
            server,
            SESSION_IMPORT_COOKIE_NAME="old",
            SESSION_COOKIE_NAME="new",
            SESSION_IMPORT_KEEP_OLD=True,
        )
        cookie = old.cookie(user_id=23)
        answer = site.comes(cookie).visit(lambda: session["user_id"])

        assert ["new"] == [each.name for each in answer.cookies]
        assert 23 == old.read(cookie)["user_id"]
        site.age_marks(31)
        assert {} == site.comes(cookie).read()

    def test_several(self, old, site):
        """Of several cookies of the name, the first that is a session counts."""
        good = old.cookie(user_id=23)
        header = f"session={'x' * 43}; session={good}"

        assert 23 == site.send(header, lambda: session.get("user_id")).value

    @pytest.mark.parametrize("wanted", [True, False])
    def test_should_set_cookie(self, old, site, wanted, monkeypatch):
        """The browser gets the new cookie whatever a subclass says: the old one is spent."""
        kind = type("Own", (type(site.interface),), {"should_set_cookie": lambda *_: wanted})
        site.interface.__class__ = kind
        browser = site.comes(old.cookie(user_id=23))
        browser.read()

        assert 23 == browser.read()["user_id"]

    def test_websocket(self, old, site):
        """Nothing is carried over if no browser would get the new cookie."""
        browser = site.comes(old.cookie(user_id=23))
        seen = browser.visit(lambda: session.get("user_id"), headers={"Upgrade": "websocket"})

        assert None is seen.value
        assert [] == site.sessions()
        assert 23 == browser.read()["user_id"]

    def test_stream(self, old, site):
        """Nor if the response has begun when the session is first used."""

        def view():
            def stream():
                yield repr(session.get("user_id"))

            return flask.Response(flask.stream_with_context(stream()))

        browser = site.comes(old.cookie(user_id=23))
        answer = browser.visit(view)

        assert "None" == answer.response.text
        assert [] == site.sessions()
        assert 23 == browser.read()["user_id"]

    def test_after_request(self, old, site):
        """It is carried over if the session is first used in an ``after_request``."""

        @site.app.after_request
        def tell(response):
            response.headers["X-User"] = str(session.get("user_id"))
            return response

        browser = site.comes(old.cookie(user_id=23))
        answer = browser.visit()

        assert "23" == answer.headers["X-User"]
        assert answer.cookie is not None

    def test_modified_false(self, old, site):
        """A session that the view said is unmodified is carried over if it was read."""

        def view():
            session.get("user_id")
            session.modified = False

        browser = site.comes(old.cookie(user_id=23))
        browser.visit(view)

        assert 23 == browser.read()["user_id"]


class TestMeanwhile:
    def test_not_signed_out_by_a_slow_first_request(self, old, site):
        """If a parallel request signed in, a slower one does not hand out its dead cookie."""
        cookie = old.cookie(step=1)
        fast, slow = site.comes(cookie), site.comes(cookie)

        def view():
            session.get("step")
            fast.visit(lambda: session.update(user_id=23))

        answer = slow.visit(view)

        assert None is answer.cookie
        assert 23 == fast.read()["user_id"]

    def test_refused_save(self, old, site):
        """Nor if its own save is refused for that."""
        cookie = old.cookie(step=1)
        fast, slow = site.comes(cookie), site.comes(cookie)

        def view():
            session["step"] = 2
            fast.visit(lambda: session.update(user_id=23))

        answer = slow.visit(each(lambda: session.get("step"), view))

        assert None is answer.cookie
        assert 23 == fast.read()["user_id"]


class TestFailure:
    def test_503_hands_out_the_cookie(self, old, fragile):
        """If Redis fails after the import, the 503 brings the new cookie: the old one is spent."""
        if old.app.config.get("SESSION_TYPE"):
            old = OldSite(fragile)
        site = NewSite(fragile)
        browser = site.comes(old.cookie(user_id=23))

        def view():
            session.get("user_id")
            fragile.kill()
            session["step"] = 1

        answer = browser.visit(view, status=503)
        fragile.revive()

        assert answer.cookie is not None

    def test_503_leaves_the_old_cookie(self, fragile):
        """If Redis fails before, the browser keeps what it has."""
        cookie = OldSite().cookie(user_id=23)
        site = NewSite(fragile)
        browser = site.comes(cookie)
        fragile.kill()
        answer = browser.visit(lambda: session.get("user_id"), status=503)
        fragile.revive()

        assert None is answer.cookie
        assert 23 == browser.read()["user_id"]

    def test_no_request(self, old, site):
        """The interface opens a session that comes over without a request context, too."""
        request = site.app.request_class(
            EnvironBuilder(headers=[("Cookie", f"session={old.cookie(user_id=23)}")]).get_environ()
        )
        opened = site.interface.open_session(site.app, request)

        assert 23 == opened["user_id"]

    def test_undone_if_the_index_is_refused(self, old, server):
        """Without its place in the index nothing is carried over; the next request tries again."""
        site = NewSite(server)
        server.client().set("session:user:23", "not an index")
        browser = site.comes(old.cookie(user_id=23))
        browser.visit(lambda: session.get("user_id"), status=503)
        assert [] == site.sessions()
        server.client().delete("session:user:23")
        site.age_marks(1.1)

        assert 23 == browser.read()["user_id"]

    def test_values_are_stored_as_ours(self, old, site):
        """What was carried over is in the documented layout."""
        browser = site.comes(old.cookie(user_id=23, cart=[1]))
        browser.read()
        fields = site.hash(browser.sid)

        assert (b"23", [1]) == (fields[b"@user"], decode(fields[b"cart"]))
