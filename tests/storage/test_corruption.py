"""Each field damaged in each way, and what a request, a list and the doctor make of it.

Never a 500; what was not damaged is still there; and the doctor finds what no request mends.
"""

from __future__ import annotations

import logging
import re
from collections import Counter
from datetime import timedelta

import pytest

from flask_redis_session.admin.doctor import IN_FLIGHT, Doctor
from flask_redis_session.admin.keyspace import KeySpace
from flask_redis_session.devices import blueprint
from flask_redis_session.storage.token import digest, is_sid
from tests.support.webapp import Site, each, session

LONG_AGO = IN_FLIGHT + 100

FIELDS = ["@born", "@seen", "@idle", "@secret", "@user", "@agent", "@permanent", "user_id", "a"]
DAMAGES = {
    "missing": None,
    "empty": b"",
    "not UTF-8": b"\xff\xfe",
    "markup": b'"<script>alert(1)</script>"',
    "NaN": b"nan",
    "infinity": b"inf",
    "beyond a float": b"1e400",
    "negative": b"-1",
    "31 digits": b"9" * 31,
    "true": b"true",
    "a dict": b'{"a": 1}',
    "a float": b"1.5",
    "unknown tag": b'{" zz": 1}',
    "5,000 digits": b'{" i":"0x' + b"f" * 5000 + b'"}',
    "open": b'{"a": 1',
    "40 KB": b"x" * 40_000,
}


def times() -> list[object]:
    """Return everything that the session says of itself, and of its user's others."""
    about = [session.created_at, session.last_seen_at, session.expires_at]
    return [*about, session.sid, session.new, *session.user_sessions()]


# What a request does without a change of what it does not name.
USES = {
    "read": lambda: dict(session),
    "times": times,
    "blind set": lambda: session.update(x=1),
    "read and set": each(lambda: session.get("b"), lambda: session.update(x=1)),
    "nested": lambda: session.get("b", []).append(2),
    "permanent": lambda: setattr(session, "permanent", True),
    "regenerate": lambda: session.regenerate(),
    "flask-login": lambda: session.update(_user_id="42"),
    "sign in": lambda: session.update(user_id=42),
    "sign out": lambda: session.pop("user_id", None),
}
ENDS = {
    "clear": lambda: session.clear(),
    "end others": lambda: session.clear_user_sessions(keep_current=True),
    "end unused": lambda: session.clear_user_sessions(before=timedelta(days=30)),
    "end all": lambda: session.clear_user_sessions(),
}


class Patient:
    """A signed-in session to be damaged, with others beside it that must come to no harm."""

    def __init__(self, server):
        self.site = Site(server, SESSION_USER_KEY=("user_id", "_user_id"))
        self.site.app.register_blueprint(blueprint())
        self.redis = self.site.redis
        self.browser = self.site.browser()
        self.browser.sign_in(23, a=1, b=[1])
        self.same, self.other = self.site.browser(), self.site.browser()
        self.same.sign_in(23, a=2)
        self.other.sign_in(24, a=3)
        for each_, user in ((self.browser, 23), (self.same, 23), (self.other, 24)):
            self.site.age(each_.sid, LONG_AGO, "@born", "@seen", user_id=user)
        self.key = self.site.key(self.browser.sid)
        self.cookie = self.browser.cookie

    def field(self, name):
        """Return the field of the hash."""
        return f"@secret:{digest(self.browser.secret)}" if name == "@secret" else name

    def damage(self, name, value):
        """Damage a field, and remember all."""
        if value is None:
            self.redis.hdel(self.key, self.field(name))
        else:
            self.redis.hset(self.key, self.field(name), value)
        self.keep()

    def keep(self):
        """Remember what Redis holds."""
        self.held = {
            name: (self.redis.pttl(name), self.redis.dump(name)) for name in self.redis.keys("*")
        }
        self.before = self.hash() if self.redis.type(self.key) == b"hash" else {}
        self.beside = self.others()

    def again(self):
        """Put all back; return a browser that has the cookie."""
        self.redis.flushdb()
        for name, (ttl, dump) in self.held.items():
            self.redis.restore(name, max(ttl, 0), dump)
        twin = self.site.browser()
        twin.cookie = self.cookie
        return twin

    def hash(self):
        """Return the damaged session."""
        return self.redis.hgetall(self.key)

    def others(self):
        """Return the content of the sessions beside it."""
        return [
            {name: value for name, value in self.site.hash(each.sid).items() if name != b"@seen"}
            for each in (self.same, self.other)
        ]

    def content(self, *but):
        """Return what the damaged session holds of the user's, without these fields."""
        return {
            name: value
            for name, value in self.hash().items()
            if name.decode("latin-1") not in {"@seen", "@idle", *but}
            and not name.startswith(b"@secret:")
        }


@pytest.fixture
def patient(valkey):
    """A session to be damaged."""
    return Patient(valkey)


def is_number(value):
    """Tell what docs/layout.md says: digits, and perhaps a point and digits."""
    return bool(value and len(value) <= 32 and re.fullmatch(rb"[0-9]+(\.[0-9]+)?", value))


def opens(field, value):
    """Tell whether a session with this damage still opens."""
    if field == "@born":
        return is_number(value)
    return field != "@secret"


@pytest.fixture(params=DAMAGES)
def damage(request):
    """A way to damage a field."""
    return DAMAGES[request.param]


@pytest.mark.parametrize("field", FIELDS)
def test_field(patient, field, damage, caplog):
    """No request fails, nothing else is lost, and the doctor neither fails nor does harm."""
    patient.damage(field, damage)
    is_open = opens(field, damage)

    for name, use in USES.items():
        twin = patient.again()
        answer = twin.visit(use)
        changed = {"b", "x", "_user_id", "user_id", "@user", "@agent", "@ip", "@signed", field}
        changed |= {"@permanent"} if name == "permanent" else set()

        assert patient.beside == patient.others(), name
        if not is_open:
            # It counts as no session, and is left for the doctor.
            assert patient.before == patient.hash(), name
            value = answer.value
            if isinstance(value, list):
                # The sid of a session that is not stored yet is a new one.
                sid = value.pop(3)
                assert sid != patient.browser.sid
                assert is_sid(sid)
            assert value in ({}, None, [None, None, None, True])
            continue
        kept = {k: v for k, v in patient.before.items() if k.decode() not in changed}
        kept = {k: v for k, v in kept.items() if not k.startswith((b"@secret", b"@seen", b"@idle"))}

        assert kept == patient.content(*changed), name
        assert twin.sid == patient.browser.sid
        assert 1 == twin.read().get("a") or field == "a"

    if field == "user_id" and damage is not None:
        # A text and an integer are ids, whoever's they are.
        assert ("'user_id' cannot be read" in caplog.text) == (damage[:1] not in (b'"', b"-"))

    for name, use in ENDS.items():
        patient.again().visit(use)
        if name != "end others":
            assert patient.beside[1] == patient.others()[1], name

    for headers in ({}, {"Accept": "application/json"}):
        page = patient.again().client.get("/devices", headers=headers)

        assert page.status_code in (200, 401)
        assert b"<script>alert" not in page.data or headers

    site = patient.site
    patient.again()
    listed = {info.sid for info in site.interface.list_sessions(23)}

    assert patient.same.sid in listed
    assert (patient.browser.sid in listed) == ((is_open or field == "@secret") and field != "@user")
    site.interface.revoke_sessions(23, before=timedelta(days=300))

    assert patient.beside == patient.others()

    # No damage helps a session to outlive a revocation of all that were not seen since.
    patient.again()
    site.interface.revoke_sessions(23, before=timedelta(seconds=-1))
    if field != "@user" and not (field == "@seen" and is_number(damage)):
        assert not patient.hash()

    # What a doctor mends opens as it opened before.
    patient.again()
    patient.redis.persist(patient.key)
    found = examined(site, mends=True)

    # 1.5 is a number: this session should have ended long ago.
    is_over = field in ("@seen", "@idle") and damage == b"1.5"

    assert bool(patient.hash()) == (is_open and not is_over)
    if is_open and not is_over:
        twin = patient.again()
        patient.redis.persist(patient.key)
        examined(site, mends=True)
        assert 0 < patient.redis.pttl(patient.key) <= 86_400_000
        assert {**twin.read(), field: 1} == {**patient.again().read(), field: 1}
    assert found["no-session"] == (not is_open)
    assert found["no-expiry"] == is_open
    if field == "@user":
        assert found["unindexed"] == (damage is not None)
        assert 1 == found["stray-member"]


def examined(site, *, mends=False):
    """Return how much of each kind the doctor finds."""
    with site.app.app_context():
        doctor = Doctor(site.interface._any_backend(), mends=mends)
        return Counter(finding.kind for step in doctor.steps() for finding in step.findings)


MEMBERS = {
    "not UTF-8": b"\xff",
    "empty": b"",
    "no sid": b"no sid",
    "its own index": b"user:23",
    "another's index": b"user:24",
    "another's session": None,
    "40 KB": b"x" * 40_000,
    "a whole cookie": b"A" * 22 + b"." + b"b" * 43,
}


@pytest.mark.parametrize("score", ["now", "inf", "-inf", 0, 1e300])
@pytest.mark.parametrize("name", MEMBERS)
def test_member(patient, name, score):
    """A member of an index that is no session of the user's hides none, and is found."""
    site, member = patient.site, MEMBERS[name]
    is_session = member is None
    member = patient.other.sid.encode() if is_session else member
    score = patient.redis.time()[0] if score == "now" else score
    patient.redis.zadd("session:user:23", {member: score})
    patient.keep()
    sids = {patient.browser.sid, patient.same.sid}
    kinds = {"dead-member": 1}
    if is_session:
        # Of a session of somebody else's that was put in just now, more may come.
        kinds = {"stray-member": 1} if score in ("-inf", 0) else {}

    patient.again()
    assert examined(site) == kinds
    examined(site, mends=True)
    assert not examined(site)

    for listed in (
        site.interface.list_sessions(23),
        patient.again().visit(lambda: session.user_sessions()).value,
    ):
        assert sids == {info.sid for info in listed}
    if not is_session:
        # A list forgets what has no session.
        assert sids == set(site.index(23))

    page = patient.again().client.get("/devices", headers={"Accept": "application/json"})
    assert sids == {each["sid"] for each in page.json["sessions"]}

    patient.again()
    assert 2 == site.interface.revoke_sessions(23)
    assert [] == site.interface.list_sessions(23)
    assert patient.redis.exists(site.key(patient.other.sid))


@pytest.mark.parametrize("limit", [None, 1, 50])
@pytest.mark.parametrize("mask", ["{}", "\udcff{}"])
def test_many_members(patient, limit, mask):
    """A page is found behind many members that are none, also if they are no text."""
    site = patient.site
    names = [mask.format(number).encode("utf-8", "surrogateescape") for number in range(1100)]
    patient.redis.zadd("session:user:23", dict.fromkeys(names, 1e12))

    listed = site.interface.list_sessions(23, limit=limit)

    assert limit == 1 or 2 == len(listed)
    assert site.interface.list_sessions(23)
    assert 2 == patient.redis.zcard("session:user:23")


OTHERS = {
    "string": lambda redis, key: redis.set(key, "x"),
    "list": lambda redis, key: redis.lpush(key, "x"),
    "set": lambda redis, key: redis.sadd(key, "x"),
    "zset": lambda redis, key: redis.zadd(key, {"x": 1}),
    "stream": lambda redis, key: redis.xadd(key, {"a": 1}),
}


@pytest.mark.one_server("goes through one server in one step")
@pytest.mark.parametrize("kind", OTHERS)
def test_type(patient, kind, caplog):
    """A key of another type in the place of one session hides no other, and is found."""
    site = patient.site
    patient.redis.delete(patient.key)
    OTHERS[kind](patient.redis, patient.key)
    patient.keep()

    for name, use in {**USES, **ENDS}.items():
        patient.again().visit(use)

        assert patient.held[patient.key.encode()][1] == patient.redis.dump(patient.key), name

    patient.again()
    assert {"dead-member": 1, "other-layout": 1} == examined(site)
    with caplog.at_level(logging.ERROR):
        assert [patient.same.sid] == [info.sid for info in site.interface.list_sessions(23)]
    assert patient.key in caplog.text

    patient.again()
    twin = site.browser()
    twin.cookie = patient.same.cookie
    page = twin.client.get("/devices", headers={"Accept": "application/json"})
    assert [patient.same.sid] == [each["sid"] for each in page.json["sessions"]]

    patient.again()
    assert [(2, 2, 0)] == [tuple(step) for step in counted(site)]
    assert 1 == site.interface.revoke_sessions(23)
    assert patient.redis.exists(patient.key)


def counted(site):
    """Return the steps of ``flask sessions count``."""
    return KeySpace(site.interface._any_backend()).count()


@pytest.mark.parametrize(
    "text", [*DAMAGES.values(), b'["one"]', b'["one",2,3]', b'[1,"x"]', b'"ab"']
)
@pytest.mark.parametrize("key", ["_devices_notice", "_devices_token"])
def test_key_of_the_page(patient, key, text):
    """What the devices page keeps in the session may be anything."""
    if text is not None:
        patient.redis.hset(patient.key, key, text)
    pages = [patient.browser.client.get("/devices") for _ in range(2)]

    assert [200, 200] == [page.status_code for page in pages]
    assert patient.same.sid in pages[1].text


@pytest.mark.parametrize("path", ["/devices", "/devices/signed-out"])
def test_query_of_the_page(patient, path):
    """A query that is not UTF-8 is a bad request."""
    page = patient.browser.client.get(path, environ_overrides={"QUERY_STRING": "page=\xff"})

    assert 400 == page.status_code
