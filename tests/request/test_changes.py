"""What is written is what changed (guarantee 4)."""

from __future__ import annotations

from datetime import date, timedelta

import pytest

from tests.support.webapp import Site, each, session


@pytest.fixture
def site(valkey):
    """A site on Valkey."""
    return Site(valkey)


@pytest.fixture
def browser(site):
    """A browser whose session holds values of many types."""
    browser = site.browser()
    browser.visit(
        lambda: session.update(
            name="mira",
            cart=[{"sku": 1, "tags": ["a"]}],
            pair=([1], 2),
            seen={1, 2},
            day=date(2030, 1, 2),
            span=timedelta(days=1),
            half=0.5,
        )
    )
    return browser


def written(site, browser, view):
    """Return the fields that a view's changes set, other than our own."""
    with site.server.cost() as cost:
        browser.visit(view)
    sets = [sent.arguments[1::2] for sent in cost.scripted if sent.name == "hset"]
    return {field.decode() for fields in sets for field in fields if field[:1] != b"@"}


def commits(site, browser, view):
    """Return how often a view's changes reach the script."""
    with site.server.cost() as cost:
        browser.visit(view)
    return cost.commands.get("evalsha", 0)


@pytest.mark.parametrize(
    "view",
    [
        lambda: session.update(name="mira"),
        lambda: session.update(session.copy()),
        lambda: session.setdefault("name", "nobody"),
        lambda: session.update(cart=[{"sku": 1, "tags": ["a"]}]),
        lambda: session.update(seen={2, 1}),
        lambda: session.update(day=date(2030, 1, 2)),
        lambda: session["cart"][0].update(sku=1),
        lambda: (session["cart"].append(1), session["cart"].pop()),
        lambda: session.pop("nothing", None),
        lambda: (session.update(new=1), session.pop("new")),
        lambda: session.get("cart"),
        lambda: dict(session),
    ],
)
def test_nothing(site, browser, view):
    """Setting a loaded key to what it was writes nothing, nor does looking at it."""

    def loaded():
        dict(session)
        view()

    assert 0 == commits(site, browser, loaded)


@pytest.mark.parametrize(
    ("field", "view"),
    [
        ("cart", lambda: session["cart"].append(2)),
        ("cart", lambda: session["cart"][0].update(sku=2)),
        ("cart", lambda: session["cart"][0]["tags"].append("b")),
        ("cart", lambda: session.get("cart", []).clear()),
        ("cart", lambda: next(iter(session.values())) and session["cart"].pop()),
        ("pair", lambda: session["pair"][0].append(3)),
        ("seen", lambda: session["seen"].add(3)),
        ("name", lambda: session.update(name="MIRA")),
        ("half", lambda: session.update(half=1)),
        ("new", lambda: session.setdefault("new", []).append(1)),
    ],
)
def test_one(site, browser, field, view):
    """Only the key that changed is written, however deep inside it the change is."""
    before = browser.read()

    assert {field} == written(site, browser, view)
    assert before != browser.read()


def test_type_is_a_change(site, browser):
    """Values that are equal but of another type are different values."""
    browser.visit(lambda: session.update(number=1))

    assert {"number"} == written(
        site, browser, lambda: session["number"] and session.update(number=True)
    )
    assert browser.read()["number"] is True


def test_deleted(site, browser):
    """A deleted key leaves no field, not even an empty one."""
    browser.visit(lambda: session.pop("name"))

    assert b"name" not in site.hash(browser.sid)


def test_deleted_and_set_again(browser):
    """A key that was deleted and set in one request has the value that it was set to."""

    def view():
        del session["name"]
        session["name"] = "leo"
        session["day"] = 1
        del session["day"]

    browser.visit(view)
    content = browser.read()

    assert "leo" == content["name"]
    assert "day" not in content


@pytest.mark.parametrize("space", [b" ", b"\n  "])
def test_white_space(site, browser, space):
    """JSON that another program wrote with other white space is no change."""
    text = b'[%s{"sku":%s1,"tags": [ "a" ]} ]' % (space, space)
    site.redis.hset(site.key(browser.sid), "cart", text)

    def view():
        session["cart"][0]["tags"].append("b")
        session["cart"][0]["tags"].pop()

    assert 0 == commits(site, browser, view)
    assert text == site.hash(browser.sid)[b"cart"]


def test_cleared(site, browser):
    """clear() removes also what was never loaded; what is set after it stays."""
    browser.visit(each(lambda: session.clear(), lambda: session.update(name="mira")))

    assert {"name": "mira"} == browser.read()
    assert {b"name"} == {name for name in site.hash(browser.sid) if name[:1] != b"@"}


@pytest.mark.parametrize(
    "look",
    [lambda: session.sid, lambda: session.new, lambda: session.created_at],
    ids=["sid", "new", "created_at"],
)
def test_cleared_stays_cleared(browser, look):
    """What was cleared does not come back because the session is looked at afterwards."""

    def view():
        session.clear()
        look()
        before = dict(session)
        session["name"] = "mira"
        return before, dict(session)

    assert ({}, {"name": "mira"}) == browser.visit(view).value
    assert {"name": "mira"} == browser.read()


def test_blind_set(browser):
    """Setting a key that was never read keeps all others."""
    content = browser.read()

    browser.visit(lambda: session.update(name="leo"))

    assert {**content, "name": "leo"} == browser.read()


def test_other_requests_change(site):
    """What another request changed between two loads is not changed back by looking at it."""
    browser = site.browser()
    browser.set(cart=[1], blob="x" * 1_000_000)
    for _ in range(3):
        browser.visit(lambda: session["cart"])
    other = browser.twin()

    def view():
        before = session["cart"]
        other.set(cart=[2])
        return before, len(dict(session))

    assert ([1], 2) == browser.visit(view).value
    assert [2] == browser.read()["cart"]
