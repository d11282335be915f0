"""TLS with certificates on both sides, and a user of Redis who may do no more than is needed."""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

import pytest

from flask_redis_session import StoreUnavailable
from tests.client.test_clients import everything
from tests.support.commandline import run
from tests.support.keeping import KeepingSite
from tests.support.servers import HOST, Server, wait_until
from tests.support.webapp import Browser, Site, session

DOCUMENT = Path(__file__).parents[2] / "docs" / "reliability.md"


def rules(user):
    """Return the rules of a user as docs/reliability.md prints them."""
    text = DOCUMENT.read_text("utf-8")
    found = re.search(rf"^ACL SETUSER {user} ((?:.*\\\n)*.*)$", text, re.MULTILINE)
    assert found
    return found[1].replace("\\\n", " ").split()


COMMANDS = [rule for rule in rules("sessions") if rule.startswith("+")]


FURTHER = [rule for rule in rules("sessions-admin") if rule not in rules("sessions")]


@pytest.fixture(scope="module")
def _secured(tmp_path_factory):
    with Server("redis7") as server:
        yield server


@pytest.fixture
def secured(_secured):
    """A server with no user but the default one yet."""
    _secured.flush()
    return _secured


def site_as(server, user, given):
    """Return a site that logs in as a user with these rules."""
    server.ask("ACL", "SETUSER", user, "reset", *given)
    server.ask("ACL", "LOG", "RESET")
    url = f"redis://{user}:a-long-password@{HOST}:{server.port}"
    return Site(server, SESSION_REDIS_URL=url)


def refusals(server):
    """Return the commands that some user was refused."""
    return {entry[entry.index(b"object") + 1].decode() for entry in server.ask("ACL", "LOG")}


def odd(site):
    """Do with sessions what :func:`everything` leaves out."""
    browser = Browser(site)
    browser.visit(lambda: session.update({f"key{i}": "x" * 200 for i in range(120)}, user_id=7))
    browser.visit(lambda: session.pop("key0"))
    browser.visit(lambda: session.regenerate())
    browser.visit(lambda: (session.clear(), session.update(user_id=8)))
    site.redis.script_flush()
    browser.set(a=1)
    # What is no session of ours at the name of an index.
    site.redis.set("session:user:9", "x")
    browser.visit(lambda: session.update(user_id=9), status=503)


def test_tls(certificates):
    """rediss:// with certificates on both sides serves sessions; without one's own it does not."""
    certificate, key = certificates.client
    with Server("redis7", tls=certificates) as server:
        url = f"rediss://{HOST}:{server.port}?ssl_ca_certs={quote(str(certificates.authority))}"
        mutual = f"{url}&ssl_certfile={quote(str(certificate))}&ssl_keyfile={quote(str(key))}"

        everything(Site(server, SESSION_REDIS_URL=mutual))
        Browser(Site(server, SESSION_REDIS_URL=url)).visit(lambda: session.update(a=1), status=503)


def test_suffices(secured):
    """The user that the documentation prints may do everything, and tries nothing else."""
    site = site_as(secured, "sessions", rules("sessions"))

    everything(site)
    odd(site)

    assert [] == secured.ask("ACL", "LOG")


@pytest.mark.parametrize("command", COMMANDS)
def test_needed(secured, command):
    """Without any one of its commands, that user is refused something."""
    site = site_as(secured, "sessions", [*rules("sessions"), f"-{command[1:]}"])

    with suppress(AssertionError, StoreUnavailable, KeyError, AttributeError):
        everything(site)
        odd(site)

    assert command[1:] in refusals(secured)


def keeping_site_as(server, given):
    """Return a site that keeps sessions, for a user with these rules."""
    server.ask("ACL", "SETUSER", "sessions", "reset", *given)
    server.ask("ACL", "LOG", "RESET")
    return KeepingSite(server, f"redis://sessions:a-long-password@{HOST}:{server.port}")


def further(setting):
    """Return what docs/reliability.md adds for a setting."""
    row = re.search(
        rf"^\| \[?`{setting}`.*\|\s*`(.*)` \|$", DOCUMENT.read_text("utf-8"), re.MULTILINE
    )
    assert row
    return row[1].replace("\\", "").split()


def test_suffices_to_keep(secured):
    """With what the documentation adds for it, sessions are kept, and nothing else is tried."""
    site = keeping_site_as(secured, [*rules("sessions"), *further("SESSION_KEEP")])
    browser = site.visitor(a=1)
    everything(site)

    assert site.believes(browser) or site.line is not None
    assert [] == secured.ask("ACL", "LOG")


def test_needed_to_keep(secured):
    """Without that, sessions go on, and nothing is kept."""
    site = keeping_site_as(secured, rules("sessions"))
    browser = site.browser()
    browser.set(a=1)
    wait_until(lambda: browser.read() and refusals(secured), "it was tried")

    assert {"client|tracking"} == refusals(secured)
    assert None is site.line


def test_nothing_else(secured):
    """That user reaches no key but those of sessions."""
    site = site_as(secured, "sessions", rules("sessions"))
    Browser(site).set(a=1)

    other = Site(secured, prefix="shop:", SESSION_REDIS_URL=site.app.config["SESSION_REDIS_URL"])
    Browser(other).visit(lambda: session.update(a=1), status=503)


def administer(site):
    """Let ``flask sessions`` do all that it does."""
    browser = Browser(site)
    # So many that they are shown piece by piece.
    browser.visit(lambda: session.update({f"key{i}": 1 for i in range(10_001)}, user_id=23))
    site.redis.zadd("session:user:23", {"A" * 22: 1})
    site.redis.zadd("session:user:24", {"A" * 22: 1})
    site.redis.persist(f"session:{browser.sid}")
    site.redis.persist("session:user:23")

    run(site.app, "list", 23)
    run(site.app, "show", browser.sid)
    run(site.app, "count")
    run(site.app, "doctor", status=1)
    run(site.app, "doctor", "--fix")
    run(site.app, "revoke", 23, "--yes")
    run(site.app, "revoke-all", "--yes")


def test_administration(secured):
    """The user that the documentation prints for ``flask sessions`` may do all that it does."""
    site = site_as(secured, "sessions-admin", rules("sessions-admin"))

    administer(site)

    assert [] == secured.ask("ACL", "LOG")


@pytest.mark.parametrize("command", FURTHER)
def test_needed_for_administration(secured, command):
    """Without any one of its further commands, that user is refused something."""
    site = site_as(secured, "sessions-admin", [*rules("sessions-admin"), f"-{command[1:]}"])

    with suppress(AssertionError):
        administer(site)

    assert command[1:] in refusals(secured)
