"""The devices on which Tamsin is signed in already. They are made up, as she is."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple, cast

from flask import Flask, session

from flask_redis_session import RedisSessionInterface

if TYPE_CHECKING:
    from flask_redis_session import RedisSession
    from held import Observer

TAMSIN = 77

_MINUTE, _HOUR, _DAY = 60, 3_600, 86_400
_WEBKIT = "AppleWebKit/605.1.15 (KHTML, like Gecko)"
_BLINK = "AppleWebKit/537.36 (KHTML, like Gecko) Chrome/138.0.0.0"


class Device(NamedTuple):
    """A device and its sign-in.

    :param agent: the ``User-Agent`` of its browser.
    :param address: its IP address, from the ranges for documentation.
    :param seen: how many seconds before the start of the demo it was last seen.
    :param born: how many seconds before the start of the demo it signed in.
    """

    agent: str
    address: str
    seen: int
    born: int


DEVICES = (
    Device(
        f"Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) {_WEBKIT} Version/18.5 "
        "Mobile/15E148 Safari/604.1",
        "2001:db8:85a3::8a2e:370:7334",
        3 * _MINUTE,
        6 * _DAY,
    ),
    Device(
        f"Mozilla/5.0 (Windows NT 10.0; Win64; x64) {_BLINK} Safari/537.36 Edg/138.0.0.0",
        "198.51.100.17",
        41 * _MINUTE,
        9 * _DAY,
    ),
    Device(
        f"Mozilla/5.0 (iPad; CPU OS 17_5 like Mac OS X) {_WEBKIT} Version/17.5 "
        "Mobile/15E148 Safari/604.1",
        "203.0.113.80",
        2 * _HOUR,
        40 * _DAY,
    ),
    Device(
        f"Mozilla/5.0 (Linux; Android 10; K) {_BLINK} Mobile Safari/537.36",
        "203.0.113.81",
        5 * _HOUR,
        2 * _DAY,
    ),
    Device(
        f"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) {_WEBKIT} Version/18.5 Safari/605.1.15",
        "203.0.113.80",
        7 * _HOUR,
        70 * _DAY,
    ),
    Device(
        "Mozilla/5.0 (X11; Ubuntu; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
        "198.51.100.17",
        12 * _HOUR,
        3 * _DAY,
    ),
    Device(
        f"Mozilla/5.0 (X11; CrOS x86_64 14541.0.0) {_BLINK} Safari/537.36",
        "192.0.2.44",
        15 * _HOUR,
        21 * _DAY,
    ),
    Device(
        f"Mozilla/5.0 (Windows NT 10.0; Win64; x64) {_BLINK} Safari/537.36 OPR/121.0.0.0",
        "192.0.2.45",
        20 * _HOUR,
        5 * _DAY,
    ),
)


def sign_in_elsewhere(app: Flask) -> None:
    """Sign Tamsin in on the devices that are missing from her list."""
    sessions = cast("RedisSessionInterface", app.session_interface)
    missing = len(DEVICES) - len(sessions.list_sessions(TAMSIN))
    for device in DEVICES[: max(0, missing)]:
        sid = _sign_in(app, device)
        _date_back(app.extensions["observer"], sid, device)


def _sign_in(app: Flask, device: Device) -> str:
    with app.test_request_context(
        headers={"User-Agent": device.agent}, environ_base={"REMOTE_ADDR": device.address}
    ):
        session["user_id"] = TAMSIN
        ours = cast("RedisSession", session)
        app.session_interface.save_session(app, ours, app.response_class())
        return str(ours.sid)


def _date_back(observer: Observer, sid: str, device: Device) -> None:
    now = time.time()
    observer.set_times(sid, TAMSIN, born=now - device.born, seen=now - device.seen)
