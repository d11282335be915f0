from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from flask_redis_session import RedisSessionInterface
from flask_redis_session.signals import session_ended
from tests.devices.site import Person, fill, make_app, text_of, token_in
from tests.support.clients import application_client
from tests.support.servers import HOST, Server, wait_until

if TYPE_CHECKING:
    import flask

#: So many that a revocation has several pages.
MANY = 12_000


@contextmanager
def _hanging_after(app: flask.Flask, server: Server, count: int) -> Iterator[None]:
    """Let Redis hang as soon as so many sessions have ended, until the block is left."""
    ended: list[str] = []

    def note(sender: object, sid: str, **_: Any) -> None:
        ended.append(sid)
        if len(ended) == count:
            server.pause()

    with session_ended.connected_to(note, app):
        try:
            yield
        finally:
            server.resume()


def _app(server: Server, **options: Any) -> flask.Flask:
    app = make_app(server, **options)
    # A client that gives up soon, as those made from SESSION_REDIS_URL do.
    client = application_client(server, socket_timeout=1)
    app.session_interface = RedisSessionInterface(redis=client)
    return app


def _alive(server: Server) -> int:
    """Return how many of the many are alive."""
    return len(set(server.client().scan_iter(f"session:{'0' * 16}*", count=10_000)))


@pytest.mark.parametrize("action", ["end-others", "end-all"])
@pytest.mark.parametrize("layout", [None, "base.html"])
@pytest.mark.one_server("lets the one server hang")
def test_redis_hangs_on_the_way(server: Server, action: str, layout: str | None) -> None:
    """The page says how many were ended; the visitor is still in and can end the rest."""
    app = _app(server, base_template=layout)
    here = Person(app, 23)
    fill(server, 23, MANY)
    token = here.token()
    with _hanging_after(app, server, 1):
        response = here.post(action, devices_token=token, status=503)
    left = server.client().zcard("session:user:23")
    [ended] = re.findall(r"(\d+) devices are signed out; then", text_of(response.text))

    assert "1" == response.headers["Retry-After"]
    assert "no-store" == response.headers["Cache-Control"]
    assert 0 < int(ended) < MANY
    assert here.is_in

    assert MANY == int(ended) + _alive(server)
    assert _alive(server) < left

    here.post(action, devices_token=token)

    assert 0 == _alive(server)
    assert (action == "end-others") == here.is_in


@pytest.mark.one_server("lets the one server hang")
def test_redis_hangs_on_the_way_in_json(valkey: Server) -> None:
    """A program is told the number, and what to do, in JSON."""
    app = _app(valkey)
    here = Person(app, 23)
    fill(valkey, 23, MANY)
    headers = {"X-Devices-Token": here.json()["token"]}
    with _hanging_after(app, valkey, 1):
        answer = here.json("/devices/end-all", method="POST", headers=headers, status=503)

    assert "incomplete" == answer["error"]
    assert 0 < answer["ended"] < MANY
    assert "once more" in answer["message"]


@pytest.mark.one_server("lets the one server hang")
def test_a_layout_that_needs_the_session(valkey: Server) -> None:
    """If the app's layout fails because Redis does, the answer is still the 503."""
    layout = "{{ session.user_sessions() | count }}{% block content %}{% endblock %}"
    app = _app(valkey, templates={"needy.html": layout}, base_template="needy.html")
    here = Person(app, 23)
    fill(valkey, 23, MANY)
    token = here.token()
    with _hanging_after(app, valkey, 1):
        response = here.post("end-all", devices_token=token, status=503)

    assert "1" == response.headers["Retry-After"]
    assert re.search(r"Redis failed after \d+ sessions", response.text)


@pytest.mark.one_server("lets the one server hang")
def test_redis_is_gone(valkey: Server) -> None:
    """With no Redis the list and every change are a 503 with ``Retry-After``."""
    app = _app(valkey)
    here = Person(app, 23)
    token = here.token()
    cookie = here.client.get_cookie("session")
    valkey.pause()
    try:
        responses = [here.open(status=503)]
        actions = ("end-others", "end-unused", "end-all", f"{here.sid}/end")
        responses += [here.post(each, devices_token=token, status=503) for each in actions]
    finally:
        valkey.resume()

    assert {"1"} == {response.headers["Retry-After"] for response in responses}
    assert cookie == here.client.get_cookie("session")
    assert here.is_in


@pytest.mark.one_server("lets the one server hang")
def test_an_answer_of_the_apps_own(valkey: Server) -> None:
    """An app's handler for 503 answers for the page as it does for any other."""
    app = _app(valkey)
    app.register_error_handler(503, lambda _: ("Back soon", 503))
    here = Person(app, 23)
    valkey.pause()
    try:
        text = here.open(status=503).text
    finally:
        valkey.resume()

    assert "Back soon" == text


def test_a_token_that_could_not_be_stored(valkey: Server) -> None:
    """A page whose token did not reach Redis is not shown, so no form of it can be out of date."""
    app = _app(valkey)
    here = Person(app, 23)
    client = valkey.client()
    client.config_set("maxmemory", 1)
    try:
        here.open(status=503)
    finally:
        client.config_set("maxmemory", 0)

    assert token_in(here.open().text) == here.token()


@pytest.mark.one_server("SESSION_REVOKE_WAIT is refused on a cluster")
@pytest.mark.parametrize("action", ["own", "end-all"])
def test_replicas_are_waited_for(fragile: Server, action: str) -> None:
    """SESSION_REVOKE_WAIT holds as well if the current session is the one that is ended."""
    with Server(None, "--replicaof", HOST, str(fragile.port)) as replica:
        in_step = b"master_link_status:up"
        wait_until(lambda: in_step in replica.ask("INFO", "replication"), "the replica is in step")
        app = make_app(fragile)
        app.config["SESSION_REVOKE_WAIT"] = (1, 20_000)
        app.session_interface = RedisSessionInterface(
            redis=application_client(fragile, socket_timeout=30)
        )
        here, there = Person(app, 23), Person(app, 23)
        sid = here.sid
        here.post(f"{sid}/end" if action == "own" else action)

        # It has been there when the answer came: no more is waited for now.
        assert not replica.ask("HEXISTS", f"session:{sid}", "@born")
        assert there.is_in == (action == "own")

        app.config["SESSION_REVOKE_WAIT"] = (1, 50)
        app.session_interface = RedisSessionInterface(redis=application_client(fragile))
        app.extensions.clear()
        here = Person(app, 23)
        sid, token = here.sid, here.token()
        wait_until(lambda: replica.ask("EXISTS", f"session:{sid}"), "the replica has it")
        replica.pause()
        refused = here.post(
            f"{sid}/end" if action == "own" else action, devices_token=token, status=503
        )

        assert "1" == refused.headers["Retry-After"]
        assert not here.is_in
