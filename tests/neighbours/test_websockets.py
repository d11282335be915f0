"""Flask-SocketIO on a real server, by WebSocket and by long polling; and a bare WebSocket."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import flask
import pytest

from flask_redis_session import session
from tests.neighbours.browsing import Shop
from tests.support.servers import wait_until

simple_websocket = pytest.importorskip("simple_websocket")
socketio = pytest.importorskip("socketio")

pytestmark = pytest.mark.one_server("the sessions of one application")

SECURITY = (Path(__file__).parents[2] / "docs" / "security.md").read_text("utf-8")


class WebSocket:
    """A client that speaks Socket.IO over a WebSocket from the beginning.

    :param home: the address of the site.
    :param cookie: what the browser has.
    """

    def __init__(self, home: str, cookie: str) -> None:
        url = home.replace("http://", "ws://") + "/socket.io/?EIO=4&transport=websocket"
        headers = {"Cookie": f"session={cookie}"} if cookie else None
        self._socket = simple_websocket.Client(url, headers=headers)
        # Before anything is read: simple-websocket shows what comes with the handshake only once
        # more has come.
        self._socket.send("40")
        self._expect("0")
        self._expect("40")

    def _expect(self, kind: str) -> str:
        """Return what follows this kind of packet; the server's questions are answered."""
        while True:
            packet = self._socket.receive(timeout=20)
            assert packet is not None
            if packet == "2":
                self._socket.send("3")
            elif packet.startswith("44"):
                raise ConnectionRefusedError(packet)
            elif packet.startswith(kind):
                return str(packet[len(kind) :])

    def call(self, event: str, values: Any) -> Any:
        """Send an event and return what its handler did."""
        self._socket.send(f"421{json.dumps([event, values])}")
        (returned,) = json.loads(self._expect("431"))
        return returned

    @property
    def is_open(self) -> bool:
        """Whether the server has not closed it; nothing else may have been sent."""
        packet = self._socket.receive(timeout=0)
        assert packet in (None, "41")
        return packet is None

    def close(self) -> None:
        with suppress(simple_websocket.ConnectionClosed):
            self._socket.close()


class Polling:
    """Python-socketio's own client, which asks again and again.

    :param home: the address of the site.
    :param cookie: what the browser has.
    """

    def __init__(self, home: str, cookie: str) -> None:
        self._client = socketio.Client(reconnection=False, handle_sigint=False)
        headers = {"Cookie": f"session={cookie}"} if cookie else {}
        self._client.connect(home, headers=headers, transports=["polling"], wait_timeout=20)

    def call(self, event: str, values: Any) -> Any:
        """Send an event and return what its handler did."""
        return self._client.call(event, values, timeout=20)

    @property
    def is_open(self) -> bool:
        """Whether the server has not closed it."""
        return bool(self._client.connected)

    def close(self) -> None:
        self._client.disconnect()


@contextmanager
def connected(way: type[Any], device: Any) -> Iterator[Any]:
    """Connect a browser."""
    client = way(device.home, device.cookie)
    try:
        yield client
    finally:
        client.close()


@pytest.fixture(params=[WebSocket, Polling])
def way(request: pytest.FixtureRequest) -> Any:
    """How events reach the server."""
    return request.param


@pytest.fixture
def shop(valkey: Any) -> Any:
    """An application in which people sign in, by a view or by an event."""
    shop = Shop(valkey)

    @shop.app.get("/sign-in/<name>")
    def sign_in(name: str) -> str:
        session["user_id"] = name
        return name

    @shop.app.get("/visit")
    def visit() -> str:
        session["seen"] = True
        return "welcome"

    @shop.app.get("/all")
    def everything() -> Any:
        return dict(session)

    @shop.app.get("/elsewhere")
    def elsewhere() -> str:
        return f"ended {session.clear_user_sessions(keep_current=True)}"

    return shop


@pytest.fixture
def sockets(shop: Any) -> Any:
    """Flask-SocketIO, which leaves the sessions to us."""
    library = pytest.importorskip("flask_socketio")
    sockets = library.SocketIO(shop.app, manage_session=False, async_mode="threading")

    @sockets.on("set")  # type: ignore[untyped-decorator]
    def on_set(values: Any) -> list[str]:
        session.update(values)
        return sorted(session)

    return sockets


def test_ended_session(shop: Any, sockets: Any, devices: Any, way: Any) -> None:
    """Events after the end of a session leave nothing, sign-ins among them."""
    device = devices(shop.app)()
    device.visit("/sign-in/ann")
    with connected(way, device) as client:
        assert ["b", "user_id"] == client.call("set", {"b": 0})
        assert 1 == shop.interface.revoke_sessions("ann")
        for number in range(5):
            assert ["b"] == client.call("set", {"b": number})
            assert ["user_id"] == client.call("set", {"user_id": "ann"})

    assert [] == shop.redis.keys("*")
    assert [] == shop.interface.list_sessions("ann")


def test_no_session(shop: Any, sockets: Any, devices: Any, way: Any) -> None:
    """Nor do they leave anything if the browser has none."""
    with connected(way, devices(shop.app)()) as client:
        for values in ({"b": 1}, {"user_id": "ann"}) * 5:
            client.call("set", values)

    assert [] == shop.redis.keys("*")


def test_sign_in(shop: Any, sockets: Any, devices: Any, way: Any) -> None:
    """A sign-in by an event leaves no device, and the browser keeps the session that it has."""
    device = devices(shop.app)()
    device.visit("/visit")
    with connected(way, device) as client:
        client.call("set", {"user_id": "ann"})

    assert [] == shop.interface.list_sessions("ann")
    assert 1 == len(shop.redis.keys("*"))
    assert {"seen": True} == json.loads(device.visit("/all").text)


def test_live_session(shop: Any, sockets: Any, devices: Any, way: Any) -> None:
    """What events put into a live session is there for the next event and the next request."""
    device = devices(shop.app)()
    device.visit("/sign-in/ann")
    with connected(way, device) as client:
        client.call("set", {"a": 1})
        assert ["a", "b", "user_id"] == client.call("set", {"b": 2})

    assert {"user_id": "ann", "a": 1, "b": 2} == json.loads(device.visit("/all").text)
    assert 1 == len(shop.interface.list_sessions("ann"))


def test_recipe(shop: Any, sockets: Any, devices: Any, way: Any) -> None:
    """What ``docs/security.md`` prints closes the connections of a session that ends, no others."""
    text = SECURITY.partition("\n## WebSockets\n")[2].partition("\n## ")[0]
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    exec(compile(code, "docs/security.md", "exec"), {"app": shop.app, "sockets": sockets})  # noqa: S102
    device = devices(shop.app)
    laptop, phone, stranger = device(), device(), device()
    for one, name in ((laptop, "ann"), (phone, "ann"), (stranger, "bob")):
        one.visit(f"/sign-in/{name}")

    with (
        connected(way, laptop) as at_laptop,
        connected(way, phone) as at_phone,
        connected(way, phone) as again_at_phone,
        connected(way, stranger) as at_stranger,
    ):
        assert "ended 1" == laptop.visit("/elsewhere").text
        wait_until(lambda: not at_phone.is_open, "the phone's connection is closed")
        wait_until(lambda: not again_at_phone.is_open, "and its other one")
        with pytest.raises((ConnectionRefusedError, socketio.exceptions.ConnectionError)):
            way(phone.home, phone.cookie)
        assert ["a", "user_id"] == at_laptop.call("set", {"a": 1})
        assert ["a", "user_id"] == at_stranger.call("set", {"a": 1})
        stranger.visit("/sign-in/carl")
        wait_until(lambda: not at_stranger.is_open, "another user has taken the session")
        assert at_laptop.is_open


@pytest.mark.parametrize("ended", [True, False])
def test_bare_websocket(shop: Any, devices: Any, ended: bool) -> None:
    """A view that upgrades its request saves into a live session, and creates none."""
    saved = []

    @shop.app.route("/socket", websocket=True)  # type: ignore[untyped-decorator]
    def talk() -> str:
        socket = simple_websocket.Server.accept(flask.request.environ)
        if socket.receive(timeout=20) == "write":
            session["a"] = 1
        socket.close()
        return ""

    @shop.app.teardown_request  # type: ignore[untyped-decorator]
    def note(_: object) -> None:
        saved.append(flask.request.path)

    device = devices(shop.app)()
    device.visit("/visit")
    url = device.home.replace("http://", "ws://") + "/socket"
    client = simple_websocket.Client(url, headers={"Cookie": f"session={device.cookie}"})
    if ended:
        shop.redis.flushdb()
    client.send("write")
    wait_until(lambda: "/socket" in saved, "the request has ended")
    with suppress(simple_websocket.ConnectionClosed):
        client.close()

    if ended:
        assert [] == shop.redis.keys("*")
    else:
        assert {"seen": True, "a": 1} == json.loads(device.visit("/all").text)
