"""The page in an application that has Flask-Login's remember cookies."""

from __future__ import annotations

import re

import pytest
from flask_login import LoginManager

from flask_redis_session.devices import blueprint
from flask_redis_session.login import remember_by_session
from tests.support.servers import Server
from tests.support.webapp import Site

PROMISE = "will ask you to sign in again"
WARNING = "can sign itself in again"


def devices_site(server: Server, kind: str) -> Site:
    """Return a site with the page.

    :param kind: ``plain``; ``keeps``: with remember cookies; ``remembers``: by its sessions.
    """
    site = Site(server, SECRET_KEY="x", SESSION_USER_KEY="_user_id")
    site.app.register_blueprint(blueprint())
    if kind != "plain":
        LoginManager(site.app).user_loader(lambda name: None)
    if kind == "remembers":
        remember_by_session(site.app)
    return site


@pytest.mark.parametrize("kind", ["plain", "keeps", "remembers"])
def test_promises(valkey: Server, kind: str) -> None:
    """It promises no more than it can hold."""
    site = devices_site(valkey, kind)
    browser = site.browser()
    browser.set(_user_id="23")
    page = browser.client.get("/devices").text
    said = browser.client.get("/devices/signed-out?everywhere=1")
    out = site.browser().client.get("/devices/signed-out?everywhere=1").text

    assert (kind == "keeps") == (WARNING in page) == (WARNING in out)
    assert (kind == "keeps") != (PROMISE in out)
    assert 303 == said.status_code


@pytest.mark.parametrize("kind", ["plain", "keeps"])
@pytest.mark.parametrize("end", ["end-all", "one"])
def test_deletes_the_cookie(valkey: Server, end: str, kind: str) -> None:
    """Who ends their own session keeps no cookie that would sign the browser in again."""
    site = devices_site(valkey, kind)
    browser = site.browser()
    browser.set(_user_id="23")
    browser.client.set_cookie("remember_token", "23|x")
    found = re.search(r'name="devices_token" value="([^"]+)"', browser.client.get("/devices").text)
    assert found is not None
    path = "/devices/end-all" if end == "end-all" else f"/devices/{browser.sid}/end"
    browser.client.post(path, data={"devices_token": found[1]})

    assert browser.client.get_cookie("remember_token") is None
    assert browser.cookie is None


def test_keeps_it_if_others_end(valkey: Server) -> None:
    """Who ends another session stays remembered."""
    site = devices_site(valkey, "keeps")
    browser, other = site.browser(), site.browser()
    for each in (browser, other):
        each.set(_user_id="23")
    browser.client.set_cookie("remember_token", "23|x")
    found = re.search(r'name="devices_token" value="([^"]+)"', browser.client.get("/devices").text)
    assert found is not None
    browser.client.post("/devices/end-others", data={"devices_token": found[1]})

    assert browser.client.get_cookie("remember_token") is not None
    assert 1 == len(site.interface.list_sessions("23"))
