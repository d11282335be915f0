"""A client may send a pipeline twice, if the answer was lost: the second time changes nothing
(guarantee 3).
"""

from __future__ import annotations

import pytest

from tests.support.webapp import Site, each, session

READS = {"hgetall", "hmget", "zscan", "zscore", "zrevrange"}


def snapshot(site):
    """Return what is stored, without the time that tells when it was seen."""
    return {
        name: sorted(site.redis.zrange(name, 0, -1))
        if site.redis.type(name) == b"zset"
        else {
            field: value for field, value in site.redis.hgetall(name).items() if field != b"@seen"
        }
        for name in site.names()
    }


@pytest.mark.parametrize(
    ("before", "view"),
    [
        ({}, lambda: session.update(a=1)),
        ({}, lambda: session.update(user_id=23, a=1)),
        ({"a": 1}, lambda: session.update(a=2, b=3)),
        ({"a": 1, "b": 2}, lambda: session.pop("b")),
        ({"a": 1}, lambda: session.pop("a")),
        ({"a": 1}, lambda: session.update(user_id=23)),
        ({"a": 1, "user_id": 23}, lambda: session.update(user_id=42, a=2)),
        ({"a": 1, "user_id": 23}, lambda: session.pop("user_id")),
        ({"a": 1, "user_id": 23}, lambda: session.regenerate()),
        ({"a": 1, "user_id": 23}, lambda: session.clear()),
        ({"a": 1, "user_id": 23}, each(lambda: session.clear(), lambda: session.update(b=2))),
        ({"a": 1, "user_id": 23}, lambda: session.clear_user_sessions()),
        ({"a": 1, "user_id": 23}, lambda: session.clear_user_sessions(keep_current=True)),
    ],
    ids=[
        *("create", "create and sign in", "set", "delete", "delete the last key", "sign in"),
        *("change user", "sign out", "rotate", "clear", "clear and set", "end all", "end others"),
    ],
)
@pytest.mark.parametrize("whole", [True, False], ids=["whole", "each"])
def test_sent_twice(server, before, view, whole):
    """What a request sends can be sent again, as a whole or each command by itself."""
    site = Site(server)
    site.browsers(23, 2)
    browser = site.browser()
    if before:
        browser.visit(lambda: session.update(before))
    with server.cost() as cost:
        browser.visit(view)
    expected = snapshot(site)
    commands = [(sent.name, *sent.arguments) for sent in cost.sent if sent.name not in READS]

    for command in commands:
        server.ask(*command)
        if not whole:
            server.ask(*command)

    assert commands
    assert expected == snapshot(site)
    if browser.cookie is not None:
        assert browser.read()


@pytest.mark.parametrize("before", [{}, {"a": 1}], ids=["creation", "rotation"])
def test_reply_of_the_second_time(server, before):
    """A creation and a rotation that are sent twice are told twice that they were saved."""
    site = Site(server)
    browser = site.browser()
    if before:
        browser.set(**before)
    with server.cost() as cost:
        browser.sign_in(23)
    *_, script = (
        sent for sent in cost.sent if site.key(browser.sid).encode() in sent.arguments[2:3]
    )

    assert b"saved" == server.ask(script.name, *script.arguments)[0]
    assert {**before, "user_id": 23} == browser.read()
