"""Whatever the fields of a session hold: never a 500, and a list and a revocation still work."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from flask_redis_session.storage.record import mark
from flask_redis_session.storage.token import Token
from tests.support.effort import effort
from tests.support.webapp import Site, session

SID = "A" * 22
SECRET = "b" * 43
PROOF = Token(SID, SECRET).proof
NAMES = [
    *(b"@born", b"@seen", b"@idle", b"@user", f"@secret:{PROOF}".encode()),
    *(b"user_id", b"a", b"@agent", b"@ip"),
]

contents = st.binary(max_size=30) | st.sampled_from(
    [
        *(b"true", b"nan", b"1e400", b"-1", b"9" * 40, b'{" zz":1}', b'{" t":[{" x":1}]}', b"\xff"),
        *(b"0", b"1.5", b'"23"', b'"\\ud800"', b"[" * 500, b""),
    ]
)
held = st.dictionaries(st.sampled_from(NAMES) | st.binary(max_size=4), contents, max_size=4)
views = (
    lambda: [session[key] for key in ("a", "user_id") if key in session],
    lambda: [dict(session), session.created_at, session.last_seen_at, session.expires_at],
    lambda: session.update(x=1),
    lambda: [session.user_sessions(), session.update(_user_id="42")],
)


@pytest.fixture
def site(valkey):
    """A site on Valkey."""
    return Site(valkey)


@effort(100)
@given(held, st.binary(max_size=30))
@example({b"a": b"true", b"@agent": b'{" zz":1}', b"@born": b"nan"}, b"")
@example(dict.fromkeys(NAMES, b"1e400"), b"x")
def test_any_fields(site, held, member):
    """Whatever the fields of a session hold, requests are served; a list and an end are too."""
    site.redis.flushdb()
    now, name = str(site.redis.time()[0]), f"session:{SID}"
    fields = dict(zip(NAMES, (now, now, 3600, 23, mark(PROOF), 23), strict=False)) | held
    site.redis.hset(name, mapping=fields)
    site.redis.expire(name, 60)
    site.redis.zadd("session:user:23", {SID: int(now), member: 1})

    for view in views:
        browser = site.browser()
        browser.cookie = f"{SID}.{SECRET}"
        assert 200 == browser.visit(view).status

    with site.app.app_context():
        site.interface.list_sessions("23")
        site.interface.revoke_sessions("23")
        assert [] == site.interface.list_sessions("23")
