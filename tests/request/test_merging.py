"""One key that parallel requests change: flash messages, and what ``SESSION_MERGE`` names."""

from __future__ import annotations

import logging
from threading import Barrier, Thread

import flask
import pytest

import flask_redis_session
from flask_redis_session.request import conflict as conflict_module
from flask_redis_session.storage.commit import Committed
from flask_redis_session.storage.session_hash import SessionHashes
from tests.support.webapp import Site, load_scripts, real_session, session

LOADS = pytest.mark.parametrize("load", ["all", "auto"])


@pytest.fixture
def make_site(server):
    """Return a function that makes a site with some settings, and its scripts in the server."""

    def make(**config):
        site = Site(server, **config)
        load_scripts(site.redis)
        return site

    return make


@pytest.fixture
def browser(make_site):
    """A browser with a session."""
    browser = make_site().browser()
    browser.set(theme="dark")
    return browser


def shown(browser):
    """Return the flash messages that a page shows."""
    return browser.visit(flask.get_flashed_messages).value


def between(browser, read, meanwhile, write):
    """Send a request that does something between what it reads and what it writes."""

    def view():
        read()
        meanwhile(browser.twin())
        return write()

    return browser.visit(view)


class TestFlash:
    """A message is neither lost nor shown twice."""

    def test_two_messages(self, browser):
        """Each of two requests adds one: both are shown."""
        flash = lambda text: lambda: flask.flash(text)  # noqa: E731
        between(browser, flash("one"), lambda twin: twin.visit(flash("two")), lambda: None)

        assert ["two", "one"] == shown(browser)
        assert [] == shown(browser)

    def test_shown_meanwhile(self, browser):
        """What another request has shown does not come back with a new message."""
        browser.visit(lambda: flask.flash("old"))
        between(browser, lambda: flask.flash("new"), shown, lambda: None)

        assert ["new"] == shown(browser)

    def test_read_is_what_counts(self, browser):
        """A page that has read the messages takes away those, and no other."""
        browser.visit(lambda: flask.flash("old"))
        seen: list[object] = []
        between(
            browser,
            lambda: seen.extend(flask.get_flashed_messages()),
            lambda twin: twin.visit(lambda: flask.flash("new")),
            lambda: None,
        )

        assert (["old"], ["new"]) == (seen, shown(browser))

    def test_equal_messages_are_one(self, browser):
        """Two requests that say the same at once say it once."""
        say = lambda: flask.flash("Saved.")  # noqa: E731
        between(browser, say, lambda twin: twin.visit(say), lambda: None)

        assert ["Saved."] == shown(browser)

    def test_sixteen_requests(self, browser):
        """Of many messages at once none is lost, and each is shown once."""
        barrier = Barrier(16)

        def come(number):
            twin = browser.twin()

            def view():
                session.get("_flashes")
                barrier.wait()
                flask.flash(f"{number}")

            twin.visit(view)

        run([(come, number) for number in range(16)])

        assert {f"{number}" for number in range(16)} == {*shown(browser)}

    def test_can_be_turned_off(self, make_site):
        """``{"_flashes": None}`` leaves the last write."""
        browser = make_site(SESSION_MERGE={"_flashes": None}).browser()
        browser.set(theme="dark")
        flash = lambda text: lambda: flask.flash(text)  # noqa: E731
        between(browser, flash("one"), lambda twin: twin.visit(flash("two")), lambda: None)

        assert ["one"] == shown(browser)

    def test_a_session_that_ended_stays_so(self, browser):
        """A message revives no session."""
        browser.sign_in(23)
        flash = lambda: flask.flash("one")  # noqa: E731
        between(browser, flash, lambda twin: twin.visit(session.clear), lambda: None)

        assert {} == browser.read()

    def test_a_sign_in_merges(self, browser):
        """A commit that rotates the secret merges as any other does."""
        add = lambda: flask.flash("two")  # noqa: E731
        sign_in = lambda: session.__setitem__("user_id", 23)  # noqa: E731
        between(browser, lambda: flask.flash("one"), lambda twin: twin.visit(add), sign_in)

        assert 23 == browser.read()["user_id"]
        assert ["two", "one"] == shown(browser)

    def test_clear_takes_all(self, browser):
        """``clear()`` removes what others add meanwhile, too: nobody gets past it."""
        add = lambda twin: twin.visit(lambda: flask.flash("two"))  # noqa: E731

        def clear():
            session.clear()
            flask.flash("Bye.")

        between(browser, lambda: session.get("_flashes"), add, clear)

        assert ["Bye."] == shown(browser)


def run(calls):
    """Do several things at once."""
    threads = [Thread(target=do, args=args) for do, *args in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


class TestNamed:
    """Keys that ``SESSION_MERGE`` names."""

    def append(self, number):
        """Return a view that appends to the cart."""
        return lambda: session.setdefault("cart", []).append(number)

    @LOADS
    @pytest.mark.parametrize("merge", [["cart"], ("cart",), {"cart": flask_redis_session.merged}])
    def test_both_are_there(self, make_site, merge, load):
        """Additions of two requests to one list are both there."""
        browser = make_site(SESSION_MERGE=merge, SESSION_LOAD=load).browser()
        browser.set(cart=[0])
        between(
            browser,
            self.append(1),
            lambda twin: twin.visit(self.append(2)),
            lambda: session["cart"],
        )

        assert [0, 2, 1] == browser.read()["cart"]

    def test_a_key_like_ours(self, make_site):
        """A key whose name is escaped in Redis is merged, too."""
        browser = make_site(SESSION_MERGE=["@user"]).browser()
        browser.set(**{"@user": [0]})
        add = lambda number: lambda: session["@user"].append(number)  # noqa: E731
        between(browser, add(1), lambda twin: twin.visit(add(2)), lambda: None)

        assert [0, 2, 1] == browser.read()["@user"]

    def test_other_keys_are_not(self, browser):
        """On a key that is not named the last write wins."""
        browser.set(cart=[0])
        between(browser, self.append(1), lambda twin: twin.visit(self.append(2)), lambda: None)

        assert [0, 1] == browser.read()["cart"]

    @LOADS
    @pytest.mark.parametrize("large", [False, True], ids=["small", "large"])
    def test_unread_is_overwritten(self, make_site, load, large):
        """What the request did not read it assigns, whatever was loaded along."""
        browser = make_site(SESSION_MERGE=["cart"], SESSION_LOAD=load).browser()
        browser.set(theme="dark", big="x" * 50_000 if large else "")
        for _ in range(2):
            browser.set(cart=[0])
            between(
                browser,
                lambda: session["theme"],
                lambda twin: twin.visit(self.append(2)),
                lambda: session.__setitem__("cart", []),
            )

            assert [] == browser.read()["cart"]

    @LOADS
    def test_read_by_iteration(self, make_site, load):
        """Of more keys than a plan remembers each was read."""
        browser = make_site(SESSION_MERGE=["cart"], SESSION_LOAD=load).browser()
        browser.set(**{f"a{n}": n for n in range(100)}, cart=[0])

        def assign():
            session["cart"] = [*session["cart"], 1]

        between(browser, lambda: dict(session), lambda twin: twin.visit(self.append(2)), assign)

        assert [0, 2, 1] == browser.read()["cart"]

    @LOADS
    def test_read_as_absent(self, make_site, load):
        """That there was nothing is read as well, also if another load finds something later."""
        browser = make_site(SESSION_MERGE=["cart"], SESSION_LOAD=load).browser()
        browser.set(theme="dark", big="x" * 50_000)
        # From the second time on "auto" loads by name.
        for number in range(2, 5):
            browser.visit(lambda: session.pop("cart", None))

            def later(number=number):
                session["cart"].append(number + 10)
                return dict(session)

            between(
                browser,
                self.append(1),
                lambda twin, number=number: twin.visit(self.append(number)),
                later,
            )

            assert [number, 1, number + 10] == browser.read()["cart"]

    def test_the_session_shows_what_is_stored(self, make_site):
        """After a merge the value in the session is the merged one: a second save keeps it."""
        site = make_site(SESSION_MERGE=["cart"])
        browser = site.browser()
        browser.set(cart=[0])
        held = []

        def view():
            self.append(1)()
            held.append(real_session())
            browser.twin().visit(self.append(2))

        browser.visit(view)

        assert [0, 2, 1] == held[0]["cart"]
        held[0]["cart"].append(3)
        browser.twin().visit(self.append(4))
        site.interface.save_session(site.app, held[0], flask.Response())

        assert [0, 2, 1, 4, 3] == browser.read()["cart"]

    @pytest.mark.parametrize(
        ("first", "second", "expected"),
        [
            (lambda: session["cart"].append(1), lambda: session["cart"].remove(1), [0]),
            (
                lambda: (session["cart"], session.clear(), session.update(theme="light")),
                lambda: session.update(cart=[0, 1]),
                [0, 1],
            ),
        ],
        ids=["what was written", "what was cleared"],
    )
    def test_a_second_save_is_based_on_the_first(self, make_site, first, second, expected):
        """What the request wrote, or cleared, is what its second save is based on."""
        site = make_site(SESSION_MERGE=["cart"])
        browser = site.browser()
        browser.set(cart=[0], theme="dark")

        def view():
            first()
            site.interface.save_session(site.app, real_session(), flask.Response())
            second()

        browser.visit(view)

        assert expected == browser.read()["cart"]

    def test_deleted_by_one(self, make_site):
        """Who empties a cart takes away what was seen in it."""
        browser = make_site(SESSION_MERGE=["cart"]).browser()
        browser.set(cart={"pen": 1}, theme="dark")
        add = lambda twin: twin.visit(lambda: session["cart"].update(ink=1))  # noqa: E731
        between(browser, lambda: session.pop("cart"), add, lambda: None)

        assert {"ink": 1} == browser.read()["cart"]

    def test_taken(self, make_site):
        """What ``take`` returned is read: what comes into its place since is merged."""
        browser = make_site(SESSION_MERGE=["cart"]).browser()
        browser.set(cart=[0], theme="dark")
        between(
            browser,
            lambda: session.take("cart"),
            lambda twin: twin.visit(self.append(2)),
            lambda: session.__setitem__("cart", [1]),
        )

        assert [2, 1] == browser.read()["cart"]

    def test_damage(self, make_site):
        """What cannot be read counts as nothing, and is not merged with."""
        site = make_site(SESSION_MERGE=["cart"])
        browser = site.browser()
        browser.set(cart=[0], theme="dark")
        damage = lambda _: site.redis.hset(site.key(browser.sid), "cart", "[1")  # noqa: E731
        between(browser, self.append(1), damage, lambda: None)

        assert [1] == browser.read()["cart"]


class TestOwnRule:
    """A rule of the application's own."""

    def test_is_asked(self, make_site):
        """It gets what was read, what was made of it and what is stored, and says what is."""
        told = []

        def rule(base, mine, theirs):
            told.append((base, mine, theirs))
            return [*theirs, *mine][-2:]

        browser = make_site(SESSION_MERGE={"recent": rule}).browser()
        browser.set(recent=[1, 2])
        change = lambda value: lambda: session.update(recent=[*session["recent"], value])  # noqa: E731
        between(browser, change(3), lambda twin: twin.visit(change(4)), lambda: None)

        assert [([1, 2], [1, 2, 3], [1, 2, 4])] == told
        assert [2, 3] == browser.read()["recent"]

    def test_none_removes(self, make_site):
        """If it returns ``None``, the key goes."""
        browser = make_site(SESSION_MERGE={"recent": lambda *_: None}).browser()
        browser.set(recent=[1], theme="dark")
        change = lambda: session["recent"].append(len(session["recent"]))  # noqa: E731
        between(
            browser,
            change,
            lambda twin: twin.visit(lambda: session.update(recent=[7])),
            lambda: None,
        )

        assert {"theme": "dark"} == browser.read()

    def test_none_that_was_stored_stays(self, make_site):
        """``None`` stands for the value of the side that had it: here ``None``, and not nothing."""
        browser = make_site(SESSION_MERGE={"recent": lambda base, mine, theirs: mine}).browser()
        browser.set(recent=1, theme="dark")
        between(
            browser,
            lambda: session["recent"],
            lambda twin: twin.visit(lambda: session.update(recent=7)),
            lambda: session.update(recent=None),
        )

        assert {"recent": None, "theme": "dark"} == browser.read()

    @pytest.mark.parametrize("fails", [lambda *_: 1 / 0, lambda *_: object()])
    def test_failure(self, make_site, fails):
        """What it raises goes through, as does an unstorable value; nothing is written."""
        site = make_site(SESSION_MERGE={"recent": fails}, PROPAGATE_EXCEPTIONS=True)
        browser = site.browser()
        browser.set(recent=[1])
        change = lambda: session["recent"].append(2)  # noqa: E731

        with pytest.raises((ZeroDivisionError, TypeError)):
            between(
                browser,
                lambda: (change(), session.__setitem__("other", 1)),
                lambda twin: twin.visit(lambda: session.update(recent=[7])),
                lambda: None,
            )

        assert {"recent": [7]} == browser.read()


class TestBounds:
    """A merge ends, and fails no request."""

    def test_round_trips(self, make_site, server):
        """None more without a conflict, and one for each conflict."""
        site = make_site(SESSION_MERGE=["cart"])
        browser = site.browser()
        browser.set(cart=[0])
        append = lambda number: lambda: session["cart"].append(number)  # noqa: E731
        with server.cost() as without:
            browser.visit(append(1))
        with server.cost() as other:
            browser.twin().visit(append(2))
        with server.cost() as conflict:
            between(browser, append(3), lambda twin: twin.visit(append(4)), lambda: None)

        assert 2 == without.round_trips
        assert 1 == conflict.round_trips - without.round_trips - other.round_trips

    def test_a_reply_to_another_commit(self, make_site, monkeypatch):
        """A conflict of other keys than those that were guarded is a broken connection: 503."""
        browser = make_site(SESSION_MERGE=["cart"]).browser()
        browser.set(cart=[0])
        conflict = Committed("conflict", stored={b"other": b"[1]"})
        monkeypatch.setattr(SessionHashes, "commit", lambda *_, **__: conflict)

        browser.visit(lambda: session["cart"].append(1), status=503)

    def test_gives_up(self, make_site, monkeypatch, caplog):
        """If each try meets a conflict, the last write wins at last, with a warning."""
        monkeypatch.setattr(conflict_module, "PAUSE", 0.0)
        # A busy machine may need longer for so many tries than a second.
        monkeypatch.setattr(conflict_module, "LONGEST", 60.0)
        calls = []

        def rule(base, mine, theirs):
            calls.append(theirs)
            # Another request writes before this one's next try.
            twins[0].visit(lambda: session.__setitem__("cart", [len(calls)]))
            return [*theirs, *mine]

        twins = []
        site = make_site(SESSION_MERGE={"cart": rule})
        browser = site.browser()
        browser.set(cart=[0])
        twins.append(browser.twin())
        with caplog.at_level(logging.WARNING, "flask_redis_session"):
            between(
                browser,
                lambda: session["cart"].append(-1),
                lambda twin: twin.visit(lambda: session.__setitem__("cart", [-2])),
                lambda: None,
            )

        assert conflict_module.MOST_TRIES == len(calls)
        assert [len(calls) - 1, 0, -1] == browser.read()["cart"]
        assert "'cart'" in caplog.text

    def test_time(self, make_site, monkeypatch):
        """So it does when a second is over."""
        monkeypatch.setattr(conflict_module, "LONGEST", -1.0)
        browser = make_site(SESSION_MERGE=["cart"]).browser()
        browser.set(cart=[0])
        append = lambda number: lambda: session["cart"].append(number)  # noqa: E731
        between(browser, append(1), lambda twin: twin.visit(append(2)), lambda: None)

        assert [0, 2, 1] == browser.read()["cart"]

    @pytest.mark.parametrize(("writers", "each"), [(16, 20), (64, 1)])
    def test_many_writers(self, make_site, writers, each, monkeypatch):
        """Nothing is lost of what many append to one list, as long as the tries last."""
        # How many tries a second holds depends on the machine; what comes after it is tested above.
        monkeypatch.setattr(conflict_module, "LONGEST", 60.0)
        monkeypatch.setattr(conflict_module, "MOST_TRIES", 10_000)
        browser = make_site(SESSION_MERGE=["log"]).browser()
        browser.set(log=[])

        def write(writer):
            twin = browser.twin()
            for number in range(each):
                twin.visit(lambda number=number: session["log"].append([writer, number]))

        run([(write, writer) for writer in range(writers)])

        assert sorted([w, n] for w in range(writers) for n in range(each)) == sorted(
            browser.read()["log"]
        )
