"""The signals, and the audit log of the documentation."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from flask import Flask, session

from flask_redis_session import RedisSessionInterface
from flask_redis_session.signals import save_refused, session_created, session_ended, user_bound
from tests.support.clients import shared_client
from tests.support.servers import Server

if TYPE_CHECKING:
    from flask.testing import FlaskClient

SIGNALS = (session_created, session_ended, user_bound, save_refused)
DOCUMENTATION = Path(__file__).parents[2] / "docs" / "signals.md"


@pytest.fixture
def app(valkey: Server) -> Flask:
    """An application whose views make a session's life."""
    app = Flask(__name__)
    app.testing = True
    app.config["SESSION_MAX_PER_USER"] = 2
    app.session_interface = RedisSessionInterface(redis=shared_client(valkey))

    @app.post("/visit")
    def visit() -> str:
        session["visited"] = True
        return ""

    @app.post("/sign-in/<user>")
    def sign_in(user: str) -> str:
        session["user_id"] = user
        return ""

    @app.post("/sign-out")
    def sign_out() -> str:
        session.pop("user_id")
        return ""

    @app.post("/end")
    def end() -> str:
        session.clear()
        return ""

    @app.post("/slow")
    def slow() -> str:
        session["answer"] = session.get("visited")
        valkey.client().delete(f"session:{session.sid}")  # type: ignore[attr-defined]
        return ""

    return app


@contextmanager
def heard() -> Iterator[list[tuple[str, dict[str, Any]]]]:
    """Collect the signals that are sent meanwhile."""
    said: list[tuple[str, dict[str, Any]]] = []
    with ExitStack() as stack:
        for signal in SIGNALS:
            receiver = _receiver(said, signal.name)
            stack.enter_context(signal.connected_to(receiver))
        yield said


def _receiver(said: list[tuple[str, dict[str, Any]]], name: str) -> Any:
    def receive(app: Flask, **what: Any) -> None:
        what.pop("session", None)
        said.append((name, what))

    return receive


def sid_of(client: FlaskClient) -> str:
    """The public id in a client's cookie."""
    cookie = client.get_cookie("session")
    assert cookie is not None
    return cookie.value.partition(".")[0]


def test_a_life(app: Flask) -> None:
    """Creation, sign-in, change of user, sign-out and end are announced, once each."""
    client = app.test_client()

    with heard() as said:
        client.post("/visit")
        sid = sid_of(client)
        client.post("/sign-in/a")
        client.post("/sign-in/b")
        client.post("/sign-out")
        client.post("/end")

    expected = [
        ("session-created", {"sid": sid, "user_id": None}),
        ("user-bound", {"sid": sid, "user_id": "a", "previous": None}),
        ("user-bound", {"sid": sid, "user_id": "b", "previous": "a"}),
        ("user-bound", {"sid": sid, "user_id": None, "previous": "b"}),
        ("session-ended", {"sid": sid, "user_id": None, "reason": "signed out"}),
    ]

    assert expected == said


def test_revoked_and_replaced(app: Flask, valkey: Server) -> None:
    """A session that a newer sign-in replaced is told from one that was revoked."""
    clients = [app.test_client() for _ in range(3)]
    for client in clients[:2]:
        client.post("/sign-in/a")
    first, second = map(sid_of, clients[:2])
    # Both may have been seen in the same millisecond.
    valkey.client().zincrby("session:user:a", -1, first)

    with heard() as said:
        clients[2].post("/sign-in/a")
        interface = app.session_interface
        assert isinstance(interface, RedisSessionInterface)
        interface.revoke_sessions("a", only=second)

    ended = [what for name, what in said if name == "session-ended"]

    assert [
        {"sid": first, "user_id": "a", "reason": "replaced"},
        {"sid": second, "user_id": "a", "reason": "revoked"},
    ] == ended


def test_refused(app: Flask) -> None:
    """A save that found its session gone is announced as refused, and the session as ended."""
    client = app.test_client()
    client.post("/visit")
    sid = sid_of(client)

    with heard() as said:
        client.post("/slow")

    assert [
        ("save-refused", {"sid": sid, "user_id": None, "reason": "gone"}),
        ("session-ended", {"sid": sid, "user_id": None, "reason": "gone"}),
    ] == said


def test_audit_log_of_the_documentation(app: Flask, caplog: pytest.LogCaptureFixture) -> None:
    """The audit log that the documentation shows logs a sign-in as it says."""
    code = re.search(r"```python\n(.*?)```", DOCUMENTATION.read_text("utf-8"), re.DOTALL)
    assert code is not None
    before = {signal: dict(signal.receivers) for signal in SIGNALS}
    client = app.test_client()
    try:
        exec(code[1], {})  # noqa: S102 - it is the documentation's
        with caplog.at_level(logging.INFO, logger="audit"):
            client.post("/sign-in/23")
    finally:
        for signal in SIGNALS:
            for key in [key for key in signal.receivers if key not in before[signal]]:
                signal.disconnect(signal.receivers[key])

    assert [
        f"user-bound {{'sid': '{sid_of(client)}', 'user_id': '23', 'previous': None}}"
    ] == caplog.messages
