"""``flask sessions revoke`` and ``revoke-all``, and how points in time are written."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from flask_login import LoginManager

from flask_redis_session.admin.cli.times import parse_when
from flask_redis_session.admin.keyspace import KeySpace
from flask_redis_session.login import remember_by_session
from flask_redis_session.signals import session_ended
from tests.admin.test_cli import KINDS, client_on
from tests.support.commandline import SHOP, make, on_a_terminal, run
from tests.support.servers import Server
from tests.support.webapp import Site, session

SID = "A" * 22

DURABLE = ("--appendonly", "yes", "--appendfsync", "always")


@pytest.fixture
def site(valkey):
    """A site on Valkey."""
    return Site(valkey)


def live(*browsers):
    """Tell which of the browsers are signed in."""
    return [bool(browser.twin().read()) for browser in browsers]


class TestRevoke:
    """``revoke USER``."""

    def test_all(self, site):
        """All sessions of the user end, and nobody else's."""
        browsers, other = site.browsers(23, 3), site.browsers(24, 1)
        outcome = run(site.app, "revoke", 23, "--yes")

        assert "Ended 3 sessions of user '23'.\n" == outcome.out
        assert [False] * 3 == live(*browsers)
        assert [True] == live(*other)
        assert "session:user:23" not in site.names()

    def test_json(self, site):
        """For scripts it is one object."""
        site.browsers(23, 3)

        assert {"user_id": "23", "ended": 3, "complete": True} == run(
            site.app, "revoke", 23, "--yes", "--json"
        ).json

    @pytest.mark.parametrize("option", [[], ["--before", "1d"], ["--only", SID], ["--keep", SID]])
    def test_none(self, site, option):
        """There may be nothing to end; that is no error, and nothing is asked."""
        such = "such session" if option else "session"

        assert f"User '23' has no {such}.\n" == run(site.app, "revoke", 23, *option).out
        assert 0 == run(site.app, "revoke", 23, *option, "--json").json["ended"]

    @pytest.mark.parametrize(
        ("name", "field"),
        [("--before", "@seen"), ("--created-before", "@born"), ("--signed-in-before", "@signed")],
    )
    def test_before(self, site, name, field):
        """Only those that were last seen, created or signed in to before a point in time end."""
        old, new = site.browsers(23, 2)
        site.age(old.sid, 3600, field, user_id=23)
        two_hours_ago = datetime.now(timezone.utc) - timedelta(hours=2)

        assert "no such session" in run(site.app, "revoke", 23, name, "2h").out
        assert "no such session" in run(site.app, "revoke", 23, name, f"{two_hours_ago}").out
        assert "Ended 1 session of" in run(site.app, "revoke", 23, name, "30m").out
        assert [False, True] == live(old, new)

    def test_before_is_by_the_clock_of_redis(self, site, monkeypatch):
        """How long ago something was is by the clock of Redis, not by this machine's."""
        site.browsers(23, 2)
        monkeypatch.setattr("time.time", lambda: 4e9)

        assert "no such session" in run(site.app, "revoke", 23, "--before", "1h", "--yes").out

    def test_only_and_keep(self, site):
        """Sids say which end, or which do not."""
        browsers = site.browsers(23, 4)
        first, second, third, _ = (browser.sid for browser in browsers)
        run(site.app, "revoke", 23, "--only", first, "--only", SID, "--yes")
        assert [False, True, True, True] == live(*browsers)

        run(site.app, "revoke", 23, "--keep", second, "--keep", third, "--yes")
        assert [False, True, True, False] == live(*browsers)

    def test_somebody_elses_sid(self, site):
        """A sid of somebody else ends nothing."""
        other, *_ = site.browsers(24, 1)

        assert "no such session" in run(site.app, "revoke", 23, "--only", other.sid).out
        assert [True] == live(other)

    def test_dry_run(self, site):
        """A dry run ends nothing and shows what would end, by the same rules."""
        old, new, kept = site.browsers(23, 3)
        for browser in (old, kept):
            site.age(browser.sid, 3600, user_id=23)
        rules = ["--before", "30m", "--keep", kept.sid, "--dry-run"]
        outcome = run(site.app, "revoke", 23, *rules)

        assert old.sid == outcome.lines[1].split()[0]
        assert "Would end 1 session of user '23'." == outcome.lines[-1]
        assert [old.sid] == [
            each["sid"] for each in run(site.app, "revoke", 23, *rules, "--json").json
        ]
        assert [True] * 3 == live(old, new, kept)

    @pytest.mark.parametrize("command", [("revoke", 23), ("revoke-all",)])
    def test_remember_cookies(self, valkey, command):
        """In an application with Flask-Login's remember cookies it says that they are left."""
        notes = []
        for remembers in (None, False, True):
            site = Site(valkey, SESSION_USER_KEY="_user_id")
            if remembers is not None:
                LoginManager(site.app)
            if remembers:
                remember_by_session(site.app)
            site.browser().set(_user_id=23)
            notes.append(run(site.app, *command, "--yes").error)

        assert ["", True, ""] == [notes[0], "remember_by_session" in notes[1], notes[2]]

    def test_signals(self, site):
        """The application hears of each session that ended."""
        browsers = site.browsers(23, 2)
        heard = []
        with session_ended.connected_to(lambda app, **about: heard.append((app, about))):
            run(site.app, "revoke", 23, "--yes")

        assert {browser.sid for browser in browsers} == {about["sid"] for _, about in heard}
        assert [site.app, site.app] == [app for app, _ in heard]
        assert {("23", "revoked")} == {(about["user_id"], about["reason"]) for _, about in heard}


class TestConfirmation:
    """More than one session does not end without a yes."""

    def test_no_terminal(self, site):
        """If there is no terminal to ask, it is refused, and what helps is said."""
        browsers = site.browsers(23, 2)
        for arguments in (["revoke", 23], ["revoke-all"]):
            outcome = run(site.app, *arguments, "--json", status=1)

            assert "more than one session" in outcome.json["error"]
            assert "more than one session" in outcome.error
            assert "--yes" in outcome.error
        assert [True, True] == live(*browsers)

    def test_one(self, site):
        """One session may end without."""
        site.browsers(23, 2)
        (first, *_) = site.index(23)

        assert 1 == run(site.app, "revoke", 23, "--only", first, "--json").json["ended"]
        assert 1 == run(site.app, "revoke-all", "--json").json["ended"]

    @pytest.mark.parametrize("arguments", [["revoke", "23"], ["revoke-all"]])
    @pytest.mark.parametrize("answer", ["y", "n"])
    def test_terminal(self, valkey, tmp_path, arguments, answer):
        """On a terminal it asks, and shows with a bar how far it is."""
        browsers = Site(valkey).browsers(23, 3)
        (tmp_path / "shop.py").write_text(SHOP % valkey.url)
        status, screen = on_a_terminal(tmp_path, *arguments, keys=f"{answer}\n")
        whose = "of user '23'" if arguments == ["revoke", "23"] else "of all users"

        assert f"End 3 sessions {whose}? [y/N]: " in screen
        if answer == "y":
            assert 0 == status
            assert "Ending  [####################################]" in screen
            assert f"Ended 3 sessions {whose}." in screen
            assert [False] * 3 == live(*browsers)
        else:
            assert 1 == status
            assert "Aborted!" in screen
            assert [True] * 3 == live(*browsers)


class TestRevokeAll:
    """``revoke-all``."""

    @pytest.mark.parametrize("kind", KINDS)
    @pytest.mark.one_server("names the kinds of servers itself")
    def test_kinds_of_clients(self, valkey, cluster, kind):
        """Every user's sessions end, whatever Redis is; their indexes go with them."""
        server = cluster if "cluster" in kind else valkey
        with client_on(kind, valkey, cluster) as client:
            site = Site(server, redis=client)
            site.browsers(1, 3)
            site.browsers("b:c *", 2)
            visitor = site.browser()
            visitor.set(cart=1)
            outcome = run(site.app, "revoke-all", "--yes")

            assert "Ended 5 sessions of all users.\n" == outcome.out
            assert {"cart": 1} == visitor.read()
            assert 1 == run(site.app, "count", "--json").json["sessions"]
            assert [] == site.interface.list_sessions(1)

    def test_anonymous(self, site):
        """The sessions of nobody end too if that is asked for."""
        site.browsers(1, 2)
        visitor = site.browser()
        visitor.set(cart=1)

        assert {"would_end": 3} == run(
            site.app, "revoke-all", "--anonymous", "--dry-run", "--json"
        ).json
        assert "Ended 3 sessions of everybody.\n" == (
            run(site.app, "revoke-all", "--anonymous", "--yes").out
        )
        assert set() == site.names()

    def test_limits(self, site):
        """The limits are those of ``revoke``."""
        old, older, kept, new = site.browsers(23, 4)
        site.age(old.sid, 3600)
        site.age(older.sid, 3600, "@seen", "@born")
        site.age(kept.sid, 3600, "@seen", "@born")
        rules = ["--before", "30m", "--created-before", "30m", "--keep", kept.sid]

        assert "Would end 1 session of all users.\n" == (
            run(site.app, "revoke-all", *rules, "--dry-run").out
        )
        assert {"ended": 1, "complete": True} == run(site.app, "revoke-all", *rules, "--json").json
        assert [True, False, True, True] == live(old, older, kept, new)

    def test_signed_in_before(self, site):
        """Whoever signed in before a point in time is signed out, and nobody else."""
        old, new = site.browsers(23, 2)
        site.age(old.sid, 3600, "@signed")

        rules = ["--signed-in-before", "30m"]
        assert {"would_end": 1} == run(site.app, "revoke-all", *rules, "--dry-run", "--json").json
        assert 1 == run(site.app, "revoke-all", *rules, "--json").json["ended"]
        assert [False, True] == live(old, new)

    def test_signed_in_before_of_nobody(self, site):
        """Nobody signed in to an anonymous session: the two options together are a mistake."""
        site.browser().set(a=1)
        rules = ["--anonymous", "--signed-in-before", "30m"]

        assert "leave one of the two out" in run(site.app, "revoke-all", *rules, status=2).error
        assert 1 == len(site.names())

    def test_not_in_the_index(self, site):
        """A session that fell out of its index ends all the same, and so where it is no set."""
        lost, *_ = site.browsers(23, 1)
        blocked, *_ = site.browsers(24, 1)
        site.redis.delete("session:user:23", "session:user:24")
        site.redis.set("session:user:24", "x")
        run(site.app, "revoke-all", "--yes")

        assert [False, False] == live(lost, blocked)

    def test_others_keys(self, site):
        """Keys under other prefixes, and others' under this one, stay."""
        Site(site.server, prefix="other:").browsers(23, 1)
        Site(site.server, prefix="session:b:").browsers(23, 1)
        site.redis.set("session:" + "x" * 43, "x")
        site.redis.hset("session:" + "x" * 22, "name", "x")
        before = site.names()
        site.browsers(23, 2)
        run(site.app, "revoke-all", "--anonymous", "--yes")

        assert before == site.names()

    def test_signed_in_meanwhile(self, site, monkeypatch):
        """Who signs in between the look at a session and its end is signed out too."""
        visitor = site.browser()
        visitor.set(cart=1)
        together = type(site.interface._backend_of(site.app).redis).together

        def sign_in_before_the_end(server, commands):
            if commands and commands[0][0] == "EVALSHA" and not signed_in:
                signed_in.append(True)
                visitor.sign_in(23)
            return together(server, commands)

        signed_in: list[Any] = []
        site.send("", lambda: None)
        monkeypatch.setattr(
            "flask_redis_session.client.commands.Commands.together", sign_in_before_the_end
        )
        run(site.app, "revoke-all", "--anonymous", "--yes")
        monkeypatch.undo()

        assert [True] == signed_in
        assert [False] == live(visitor)

    def test_signals(self, site):
        """The application hears of each session that ended, and whose it was."""
        site.browsers(23, 1)
        site.browsers(24, 1)
        heard = []
        with session_ended.connected_to(lambda app, **about: heard.append(about)):
            run(site.app, "revoke-all", "--yes")

        assert {("23", "revoked"), ("24", "revoked")} == {
            (about["user_id"], about["reason"]) for about in heard
        }


class TestRedisFailsOnTheWay:
    """What was ended stays ended, it is said how much, and to run it again ends the rest."""

    COUNT = 5000

    @pytest.mark.parametrize("arguments", [["revoke", "23"], ["revoke-all"]])
    def test_killed(self, arguments):
        """The server is killed between two pages."""
        with Server(None, *DURABLE) as server:
            site = Site(server)
            make(site.redis, 23, self.COUNT)
            killed: list[Any] = []

            def kill(app, **about):
                if not killed:
                    killed.append(about["sid"])
                    server.kill()

            with session_ended.connected_to(kill):
                failed = run(site.app, *arguments, "--yes", "--json", status=3)
            ended = failed.json["ended"]

            assert 0 < ended < self.COUNT
            assert not failed.json["complete"]
            assert f"Redis failed after {ended:,} sessions had been ended: " in failed.error
            assert "Run it again to end the rest." in failed.error

            server.start()
            assert self.COUNT - ended == run(site.app, "count", "--json").json["sessions"]
            again = run(site.app, *arguments, "--yes", "--json").json
            assert self.COUNT - ended == again["ended"]
            assert again["complete"]
            assert 0 == site.redis.dbsize()

    def test_replaced(self):
        """A server that was replaced between two pages has its keys in another order: it fails."""
        with Server(None, *DURABLE) as server:
            site = Site(server, SESSION_REDIS_URL=server.url)
            make(site.redis, 23, self.COUNT)
            restarted: list[Any] = []

            def restart(app, **about):
                if not restarted:
                    restarted.append(about["sid"])
                    server.restart()

            with session_ended.connected_to(restart):
                failed = run(site.app, "revoke-all", "--yes", status=3)
            site.close()

            assert "The server was replaced meanwhile" in failed.error

    def test_interrupted(self, site):
        """Ctrl-C stops it, and it is said how many had been ended."""
        make(site.redis, 23, self.COUNT)
        pages = []

        def interrupt(app, **about):
            pages.append(about["sid"])
            if len(pages) > self.COUNT / 2:
                raise KeyboardInterrupt

        with session_ended.connected_to(interrupt):
            outcome = run(site.app, "revoke", 23, "--yes", status=1)

        assert "Stopped after " in outcome.error
        assert "Run it again to end the rest." in outcome.error

    @pytest.mark.one_server("SESSION_REVOKE_WAIT is refused on a cluster")
    def test_unconfirmed(self, valkey):
        """If replicas are to have it and do not, that is said."""
        site = Site(valkey, SESSION_REVOKE_WAIT=(1, 10))
        site.browsers(23, 2)
        for arguments in (["revoke", 23], ["revoke-all"]):
            make(site.redis, 23, 2)
            outcome = run(site.app, *arguments, "--yes", status=3)

            assert "only 0 replicas confirmed it in time" in outcome.error


class TestTimes:
    """How a point in time is written."""

    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("45s", timedelta(seconds=45)),
            ("30m", timedelta(minutes=30)),
            ("12h", timedelta(hours=12)),
            ("7d", timedelta(days=7)),
            ("2w", timedelta(weeks=2)),
            ("0d", timedelta(0)),
            ("2026-01-01T00:00Z", datetime(2026, 1, 1, tzinfo=timezone.utc)),
            ("2026-01-01t00:00z", datetime(2026, 1, 1, tzinfo=timezone.utc)),
            ("2026-01-01 00:00:30Z", datetime(2026, 1, 1, 0, 0, 30, tzinfo=timezone.utc)),
            (
                "2026-01-01T00:00+01:00",
                datetime(2026, 1, 1, tzinfo=timezone(timedelta(hours=1))),
            ),
        ],
    )
    def test_forms(self, text, expected):
        """So long ago, or ISO 8601 with a zone."""
        assert expected == parse_when(text)

    @pytest.mark.parametrize(
        "text",
        [
            "yesterday",
            "",
            "7",
            "d",
            "-7d",
            "7 d",
            "7D",
            "1.5d",
            "7d7h",
            "٧d",
            "999999999w",
            "1764000000",
            "2026-01-01",
            "2026-01-01T00:00",
            "2026-13-01T00:00Z",
            "2026-01-01T00:00Europe/Berlin",
        ],
    )
    @pytest.mark.parametrize("command", [["revoke", "23"], ["revoke-all"]])
    def test_mistakes(self, site, command, text):
        """What is no point in time, or does not say its zone, ends nothing and shows the forms."""
        site.browsers(23, 1)
        outcome = run(site.app, *command, "--before", text, status=2)

        assert "Invalid value for '--before'" in outcome.error
        for form in ("45s", "30m", "12h", "7d", "2w", "2026-01-01T00:00Z", "+01:00"):
            assert form in outcome.error
        assert 1 == len(site.index(23))

    def test_far_away(self, site):
        """However long ago something was, it can be said."""
        site.browsers(23, 1)
        for text in ("99999999d", "0001-01-01T00:00Z"):
            assert "no such session" in run(site.app, "revoke", 23, "--before", text).out
        assert "Ended 1 " in run(site.app, "revoke", 23, "--before", "9999-12-31T23:59Z").out


def test_cart_stays(site):
    """Nothing of this touches a session that it does not end."""
    browser = site.browser()
    browser.sign_in(24, cart=[1])
    browser.visit(lambda: session["cart"].append(2))
    before = site.hash(browser.sid)
    run(site.app, "revoke", 23, "--yes")

    assert before == site.hash(browser.sid)


def test_signed_in_between_the_look_and_the_end(valkey, monkeypatch):
    """``revoke-all`` looks again at a session whose user changed after it was looked at."""
    site = Site(valkey)
    (browser,) = site.browsers(23, 1)
    look = KeySpace._selected
    looks: list[int] = []

    def then_change(self, *arguments):
        found = look(self, *arguments)
        if found and not looks:
            browser.sign_in(24)
        # In a cluster, a look at another node finds none.
        looks.extend([len(found)] * bool(found))
        return found

    monkeypatch.setattr(KeySpace, "_selected", then_change)

    assert 1 == run(site.app, "revoke-all", "--yes", "--json").json["ended"]
    assert [1, 1] == looks
    assert [False] == live(browser)
