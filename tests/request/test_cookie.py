"""Any ``Cookie`` header: never a 500, never adopted, and never another's session."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flask_redis_session.storage.token import Token, is_sid, new_token, parse_cookie
from tests.support.effort import effort, unhurried
from tests.support.webapp import load_scripts, session, site_with_victim

ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
SID = "A" * 22
SECRET = "b" * 43

#: What is a cookie, or off by one character.
NEARLY = re.compile(
    r"[A-Za-z0-9_-]{21,22}\.[A-Za-z0-9_-]{43,44}(\.p[0-9]{0,11}|\.|p|\n)?", re.ASCII
)
#: Texts as a WSGI server hands bytes over: each character is one byte.
bytes_ = st.binary(max_size=80).map(lambda data: data.decode("latin-1"))
pieces = bytes_ | st.sampled_from(
    [
        *("", ";", "; ", ",", "=", '"', "\\", "\\054", "%2e", ".", "..", ".p", "\0", "\r\n", " "),
        *("session", "session=", "Session=", "xsession=", "__Host-session=", "$Version=1"),
        *(SID, SECRET, f"{SID}.{SECRET}", "é", "\xff", "A" * 5000, "session=" * 500),
    ]
)
headers = bytes_ | st.lists(pieces, max_size=8).map("".join)
views = st.sampled_from(
    [
        lambda: None,
        lambda: dict(session),
        lambda: session.update(a=1),
        lambda: session.update(user_id=42),
        lambda: session.clear(),
        lambda: session.regenerate(),
        lambda: setattr(session, "permanent", True),
        lambda: session.clear_user_sessions(),
    ]
)


@pytest.fixture
def site(valkey):
    """A site where somebody is signed in."""
    return site_with_victim(valkey)


@unhurried
@given(st.text() | st.from_regex(NEARLY, fullmatch=True))
def test_parsed_or_none(value):
    """A text is a token whose cookie is that very text, or none; in ASCII alone."""
    token = parse_cookie(value)

    if token is None:
        assert (
            re.fullmatch(r"[A-Za-z0-9_-]{22}\.[A-Za-z0-9_-]{43}(\.p([1-9][0-9]{0,9})?)?", value)
            is None
        )
    else:
        assert value == token.cookie()
        assert is_sid(token.sid)


@unhurried
@given(st.text(ALPHABET, min_size=22, max_size=22), st.text(ALPHABET, min_size=43, max_size=43))
def test_every_token_is_read(sid, secret):
    """Every token of the alphabet comes back from its cookie, permanent or not."""
    for permanent in (False, True):
        token = Token(sid, secret, permanent)

        assert token == parse_cookie(token.cookie())


@pytest.mark.one_server("counts one server's commands")
@effort(150)
@given(headers, views)
def test_any_header(site, header, view):
    """Whatever a header holds, it opens nothing; what is malformed costs no command."""
    words = re.split(r'[\s;="]+', header)
    is_malformed = "\\" not in header and not any(map(parse_cookie, words))
    before = site.hash(site.victim.sid)
    asked = site.redis.info("commandstats").get("cmdstat_hgetall", {}).get("calls", 0)

    answer = site.send("", view, environ_overrides={"HTTP_COOKIE": header})

    assert answer.value in ({}, None, 0)
    assert before == site.hash(site.victim.sid)
    assert not site.redis.exists(site.key(SID))
    if is_malformed:
        # One is the look at the victim's.
        now = site.redis.info("commandstats")["cmdstat_hgetall"]["calls"]
        assert asked + 1 == now
    if answer.cookie is not None and answer.cookie.value:
        assert answer.cookie.value.split(".")[0] not in header


changes = st.sampled_from(
    [
        lambda cookie, at, char: cookie[:at] + char + cookie[at + 1 :],
        lambda cookie, at, char: cookie[:at] + char + cookie[at:],
        lambda cookie, at, _: cookie[:at] + cookie[at + 1 :],
        lambda cookie, at, _: cookie[:at],
        lambda cookie, at, _: cookie[:at] + cookie[at:].swapcase(),
        lambda cookie, at, char: cookie[:at] + f"%{ord(char):02x}" + cookie[at:],
        lambda cookie, at, char: cookie[at:] + char + cookie[:at],
    ]
)
places = st.tuples(
    st.integers(0, 65), st.sampled_from([*ALPHABET, "\0", " ", "é", ".", "=", "/", "+"])
)


@effort(150)
@given(changes, places, st.sampled_from(["session={}", 'session="{}"']), views)
def test_changed_cookie(site, change, place, form, view):
    """A cookie in which one thing is changed opens nothing, unless it still is that cookie."""
    cookie = site.victim.cookie
    changed = change(cookie, *place)
    before = site.hash(site.victim.sid)
    if {*changed.strip(' "').split(";")} & {cookie, f"{cookie}.p"}:
        return
    environ = {"HTTP_COOKIE": form.format(changed)}

    answer = site.send("", view, environ_overrides=environ)

    assert answer.value in ({}, None, 0)
    assert before == site.hash(site.victim.sid)
    assert [site.victim.sid] == site.index(23)


@pytest.mark.parametrize("first", ["{}", "{}x", "x", '"', f"{SID}.{SECRET}", ""])
@pytest.mark.parametrize("between", ["; ", ";", " ; ", "; a=b; "])
def test_several_cookies(site, first, between):
    """Of several cookies of the name, one counts for all requests: none is put together of two."""
    cookie = site.victim.cookie
    header = f"session={first.format(cookie)}{between}session={cookie}"

    answers = [
        site.send("", lambda: dict(session), environ_overrides={"HTTP_COOKIE": header}).value
        for _ in range(2)
    ]

    assert answers[0] == answers[1]
    assert answers[0] in ({}, {"user_id": 23, "cart": [1]})


class TestSeveralCookies:
    """A browser sends several cookies of one name if other paths or domains set one."""

    FOREIGN = ("eyJhIjoxfQ.aaaaaa.bbbbbbbbbbbbbbbbbbb", "", "an-id-of-another-library", '"quoted"')

    @pytest.mark.parametrize("foreign", FOREIGN)
    @pytest.mark.parametrize("order", ["first", "last"])
    def test_of_another_form(self, site, foreign, order):
        """A cookie that has not our form does not count, wherever it stands."""
        browser = site.browser()
        browser.set(a=1)
        both = [f"session={foreign}", f"session={browser.cookie}"]

        answer = site.send(
            "; ".join(both if order == "first" else both[::-1]), lambda: session["a"]
        )

        assert 1 == answer.value

    @pytest.mark.one_server("a cluster takes a round trip per node")
    @pytest.mark.parametrize("at", [0, 1, 2])
    def test_the_live_one_counts(self, site, at):
        """Of three of our form the one that opens a session is taken, in one round trip more."""
        browser = site.browser()
        browser.set(a=1)
        cookies = [new_token(permanent=True).cookie(), new_token(permanent=False).cookie()]
        cookies.insert(at, browser.cookie)
        load_scripts(site.redis)

        with site.server.cost() as cost:
            answer = site.send(
                "; ".join(f"session={each}" for each in cookies), lambda: session["a"]
            )

        assert 1 == answer.value
        assert 2 == cost.round_trips

    @pytest.mark.one_server("a cluster takes a round trip per node")
    def test_the_fourth_is_not_looked_at(self, site):
        """Forged cookies cost little, however many there are."""
        browser = site.browser()
        browser.set(a=1)
        forged = [new_token(permanent=False).cookie() for _ in range(50)]
        load_scripts(site.redis)

        with site.server.cost() as cost:
            answer = site.send(
                "; ".join(f"session={each}" for each in [*forged, browser.cookie]),
                lambda: session.get("a"),
            )

        assert None is answer.value
        assert 3 == cost.round_trips

    def test_one_that_was_rotated_away_counts_before_an_unknown_one(self, site):
        """A request with a dead cookie of ours sets no new one beside it."""
        browser = site.browser()
        browser.set(a=1)
        old = browser.cookie
        browser.visit(lambda: session.regenerate())

        answer = site.send(
            f"session={new_token(permanent=False).cookie()}; session={old}",
            lambda: session.update(b=2),
        )

        assert None is answer.cookie
        assert {"a": 1} == browser.read()

    def test_nothing_is_written_blind(self, site):
        """What is set goes into the live session, although nothing of it was read."""
        browser = site.browser()
        browser.set(a=1)

        answer = site.send(
            f"session={new_token(permanent=True).cookie()}; session={browser.cookie}",
            lambda: session.update(b=2),
        )

        assert None is answer.cookie
        assert {"a": 1, "b": 2} == browser.read()

    def test_a_sign_in_helps(self, site):
        """Whoever signs in with such cookies is signed in afterwards."""
        browser = site.browser()
        browser.set(a=1)
        dead = new_token(permanent=False).cookie()

        answer = site.send(
            f"session={dead}; session={browser.cookie}", lambda: session.update(user_id=23)
        )
        again = site.send(f"session={dead}; session={answer.cookie.value}", lambda: dict(session))

        assert {"a": 1, "user_id": 23} == again.value
