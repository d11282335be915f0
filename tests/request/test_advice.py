"""What an application in production is told of its session cookie."""

from __future__ import annotations

import logging

import pytest
from flask import Flask, session

from flask_redis_session import RedisSessionInterface
from tests.support.clients import shared_client
from tests.support.servers import Server

SAFE = {"SESSION_COOKIE_SECURE": True, "SESSION_COOKIE_SAMESITE": "Lax"}


def application(server: Server, **config: object) -> Flask:
    """An application that stores a session with each request."""
    app = Flask(__name__)
    app.config.update(config)
    app.session_interface = RedisSessionInterface(redis=shared_client(server))

    @app.post("/")
    def store() -> str:
        session["a"] = 1
        return ""

    @app.post("/end")
    def end() -> str:
        session.clear()
        return ""

    return app


def advice(caplog: pytest.LogCaptureFixture, app: Flask, url: str) -> list[str]:
    """What is logged while two visitors come."""
    with caplog.at_level(logging.WARNING, logger="flask_redis_session"):
        for _ in range(2):
            app.test_client().post("/", base_url=url)
    return [message.partition("; ")[0] for message in caplog.messages]


def test_weak_cookie(valkey: Server, caplog: pytest.LogCaptureFixture) -> None:
    """A cookie without Secure and SameSite is warned of in production, once."""
    app = application(valkey)

    assert [
        "The session cookie 'session': without Secure it goes over plain HTTP",
        (
            "The session cookie 'session': without SameSite other sites' forms send it "
            "in some browsers"
        ),
    ] == advice(caplog, app, "http://example.com")


@pytest.mark.parametrize(
    ("url", "config"),
    [
        ("https://example.com", SAFE),
        ("http://localhost:5000", {}),
        ("http://127.0.0.1:5000", {}),
        ("http://[::1]:5000", {}),
        ("http://example.com", {"TESTING": True}),
        ("http://example.com", {"DEBUG": True}),
    ],
)
def test_no_advice(
    valkey: Server, caplog: pytest.LogCaptureFixture, url: str, config: dict[str, object]
) -> None:
    """A safe cookie, one's own machine, a test and a debug run are not warned of."""
    app = application(valkey, **config)

    assert [] == advice(caplog, app, url)


@pytest.mark.parametrize("host", ["evil.example", "a b", "[::1"])
def test_untrusted_host(valkey: Server, host: str) -> None:
    """A host that is not trusted is refused, as by Flask, also if a session begins."""
    app = application(valkey, TRUSTED_HOSTS=["example.com"])
    app.before_request(lambda: session.update(visits=1))

    assert 400 == app.test_client().post("/", headers={"Host": host}).status_code


def test_host_prefix(valkey: Server, caplog: pytest.LogCaptureFixture) -> None:
    """A cookie named __Host- works: it is set and deleted as browsers demand of that name."""
    app = application(valkey, SESSION_COOKIE_NAME="__Host-session", **SAFE)
    client = app.test_client()

    given = client.post("/", base_url="https://example.com").headers["Set-Cookie"]
    deleted = client.post("/end", base_url="https://example.com").headers["Set-Cookie"]

    for cookie in (given, deleted):
        name, *flags = cookie.split("; ")
        kept = {flag for flag in flags if not flag.startswith(("Expires", "Max-Age"))}

        assert "__Host-session" == name.partition("=")[0]
        assert {"Secure", "HttpOnly", "Path=/", "SameSite=Lax"} == kept

    assert [] == caplog.messages


def test_host_prefix_refused(valkey: Server, caplog: pytest.LogCaptureFixture) -> None:
    """A domain or a path, with which browsers refuse __Host-, is warned of."""
    app = application(
        valkey, SESSION_COOKIE_NAME="__Host-session", SESSION_COOKIE_PATH="/app", **SAFE
    )

    assert [
        (
            "The session cookie '__Host-session': browsers refuse __Host- with a domain or "
            "with a path other than /"
        )
    ] == advice(caplog, app, "https://example.com")
