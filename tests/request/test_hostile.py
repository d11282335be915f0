"""Cookies from hell: never a 500, nothing stored, nobody let in (guarantee 8)."""

from __future__ import annotations

import logging

import pytest

from tests.support.webapp import each, real_session, session, site_with_victim

SID = "A" * 22
SECRET = "b" * 43

MALFORMED = {
    "empty": "",
    "a dot": ".",
    "sid alone": SID,
    "sid and dot": f"{SID}.",
    "secret alone": f".{SECRET}",
    "no dot": SID + SECRET,
    "short sid": f"{SID[1:]}.{SECRET}",
    "long sid": f"{SID}A.{SECRET}",
    "short secret": f"{SID}.{SECRET[1:]}",
    "long secret": f"{SID}.{SECRET}b",
    "three parts": f"{SID}.{SECRET}.{SECRET}",
    "dot at the end": f"{SID}.{SECRET}.",
    "P": f"{SID}.{SECRET}.P",
    "p twice": f"{SID}.{SECRET}.p.p",
    "colon": f"user:{SID[5:]}.{SECRET}",
    "star": f"{'*' * 22}.{SECRET}",
    "braces": f"{{{SID[2:]}}}.{SECRET}",
    "slash": f"../{SID[3:]}.{SECRET}",
    "standard base64": f"{SID[2:]}+/.{SECRET}",
    "padding": f"{SID[2:]}==.{SECRET}",
    "percent": f"%0d%0a{SID[6:]}.{SECRET}",
    "backslash": f"\\{SID[1:]}.{SECRET}",
    "umlaut": f"ä{SID[1:]}.{SECRET}",
    "latin-1": f"\xff{SID[1:]}.{SECRET}",
    "5 KB": "A" * 5000,
    "5 KB of dots": "." * 5000,
    "many": f"{SID}.{SECRET}" * 70,
    "json": '{"user_id": 23}',
    "flask's own": "eyJ1c2VyX2lkIjoyM30.aBcDeF.GhIjKlMnOpQrStUvWxYz0123456",
    "uuid": "0b1c2d3e-4f50-6172-8394-a5b6c7d8e9f0",
}
UNKNOWN = {
    "unknown": f"{SID}.{SECRET}",
    "unknown and permanent": f"{SID}.{SECRET}.p",
    "quoted": f'"{SID}.{SECRET}"',
    "hyphens": f"{'-' * 22}.{'_' * 43}",
}


@pytest.fixture
def site(valkey):
    """A site where somebody is signed in."""
    return site_with_victim(valkey)


@pytest.mark.parametrize("cookie", MALFORMED.values(), ids=MALFORMED)
class TestMalformed:
    def test_nobody(self, site, cookie):
        """What has not the form of a cookie opens nothing, and Redis is not asked about it."""
        with site.server.cost() as cost:
            answer = site.send(f"session={cookie}", lambda: (dict(session), session.sid))

        held, sid = answer.value

        assert {} == held
        assert sid not in cookie
        assert [] == answer.cookies
        assert 0 == cost.calls

    def test_sign_in(self, site, cookie):
        """Who signs in with it gets a session of their own, with a fresh sid and secret."""
        answer = site.send(f"session={cookie}", lambda: session.update(user_id=42))
        sid, secret = answer.cookie.value.split(".")

        assert sid not in cookie
        assert secret not in cookie
        assert [sid] == site.index(42)
        assert {"cart": [1], "user_id": 23} == site.victim.read()


@pytest.mark.parametrize("cookie", UNKNOWN.values(), ids=UNKNOWN)
@pytest.mark.parametrize(
    "view",
    [
        lambda: None,
        lambda: dict(session),
        lambda: session.update(a=1),
        lambda: session.update(user_id=42),
        each(lambda: session.get("a"), lambda: session.update(a=1)),
        lambda: session.clear(),
        lambda: session.regenerate(),
        lambda: setattr(session, "permanent", True),
        lambda: session.clear_user_sessions(),
    ],
    ids=[
        *("untouched", "read", "blind set", "sign in", "read and set", "clear", "regenerate"),
        *("permanent", "end all"),
    ],
)
def test_never_adopted(site, cookie, view):
    """A cookie that has the form and is unknown is never adopted."""
    before = site.names()

    answer = site.send(f"session={cookie}", view)

    assert site.key(SID) not in site.names()
    assert site.key("-" * 22) not in site.names()
    if answer.cookie is None or not answer.cookie.value:
        assert before == site.names()
    else:
        assert answer.cookie.value.split(".")[0] != cookie.split(".")[0]


class TestGuessed:
    """Another's sid with another secret."""

    def guesses(self, victim):
        """Return what a thief may try who knows the sid but not the secret."""
        sid, secret = victim.sid, victim.secret
        flipped = secret[:-1] + ("A" if secret[-1] != "A" else "B")
        return [
            f"{sid}.{SECRET}",
            f"{sid}.{SECRET}.p",
            f"{sid}.{flipped}",
            f"{sid}.{secret.swapcase()}",
            f"{sid}.{secret[1:]}{secret[0]}",
            f"{sid}.{secret[:-1]}",
            sid,
        ]

    @pytest.mark.parametrize("number", range(7))
    @pytest.mark.parametrize(
        "view",
        [
            lambda: None,
            lambda: dict(session),
            lambda: session.update(cart=[], user_id=23),
            lambda: session.update(b=1),
            each(lambda: session.get("cart"), lambda: session.update(cart=[])),
            lambda: session.clear(),
            lambda: session.pop("cart", None),
            lambda: session.regenerate(),
            lambda: setattr(session, "permanent", True),
            lambda: session.clear_user_sessions(),
        ],
        ids=[
            *("untouched", "read", "sign in", "blind set", "read and set", "clear", "pop"),
            *("regenerate", "permanent", "end all"),
        ],
    )
    def test_opens_nothing(self, site, number, view):
        """A guessed secret neither reads nor changes the session, nor ends it."""
        before = site.hash(site.victim.sid)
        cookie = self.guesses(site.victim)[number]

        answer = site.send(f"session={cookie}", view)

        assert answer.value in (None, {}, 0)
        assert before == site.hash(site.victim.sid)
        assert site.victim.sid in site.index(23)
        if answer.cookie is not None and answer.cookie.value:
            assert site.victim.sid not in answer.cookie.value

    def test_digest_is_no_secret(self, site):
        """What a dump of Redis holds does not open a session."""
        (field,) = (name for name in site.hash(site.victim.sid) if name.startswith(b"@secret:"))
        digest = field.decode().removeprefix("@secret:")

        answer = site.send(f"session={site.victim.sid}.{digest}", lambda: dict(session))

        assert {} == answer.value

    def test_sid_of_an_index(self, site):
        """No cookie leads to a user's index or any other key."""
        site.redis.hset("session:" + "x" * 22, mapping={"user_id": "23"})

        answer = site.send(f"session={'x' * 22}.{SECRET}", lambda: dict(session))

        assert {} == answer.value


class TestSecret:
    """The secret is in the browser's cookie, and nowhere else."""

    def test_nowhere(self, site, caplog):
        """It is not in MONITOR, not in Redis, not in a repr, not in a list, not in a log."""
        caplog.set_level(logging.DEBUG)
        browser = site.browser()
        secrets = set()
        shown = []

        def show():
            held = real_session()
            shown.extend([repr(held), str(held), repr(vars(held)), repr(session.user_sessions())])

        with site.server.cost() as cost:
            for view in (
                lambda: session.update(cart=[1]),
                lambda: session.update(user_id=42),
                show,
                lambda: setattr(session, "permanent", True),
                lambda: session.regenerate(),
                show,
            ):
                browser.visit(view)
                secrets.add(browser.secret)
            twin = browser.twin()
            browser.visit(lambda: session.regenerate())
            secrets.add(browser.secret)
            twin.set(late=True)
            shown.append(repr(site.interface.list_sessions(42)))
            held = site.redis.hgetall(site.key(browser.sid))
            browser.visit(lambda: session.clear_user_sessions())
            twin.set(later=True)
        sent = [word for each in [*cost.sent, *cost.scripted] for word in each.arguments]

        assert 4 == len(secrets)
        for secret in secrets:
            assert not [word for word in sent if secret.encode() in word]
            assert not [word for word in (*held, *held.values()) if secret.encode() in word]
            assert not [text for text in shown if secret in text]
            assert secret not in caplog.text

    def test_in_no_error(self, site, caplog):
        """It is in no error page and no traceback of a failing save either."""
        browser = site.victim

        answer = browser.visit(lambda: session.update(bad=object()), status=500)

        assert browser.secret not in answer.response.text
        assert browser.secret not in caplog.text
