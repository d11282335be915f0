"""What ``make fuzz`` feeds bytes to: everything of this package that reads bytes from outside.

A target returns where all is well, and raises where it is not. It gets any bytes.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import datetime, timedelta
from functools import cache
from typing import Any, NamedTuple

import redis
from flask import Flask, Request, Response, session

from flask_redis_session import RedisSessionInterface, register_type
from flask_redis_session.admin.cli.output import plain
from flask_redis_session.admin.cli.times import parse_when
from flask_redis_session.application import ApplicationBackend
from flask_redis_session.client.url import check_url
from flask_redis_session.device import LONGEST, clipped, shorten
from flask_redis_session.devices.agents import agent_of
from flask_redis_session.devices.csrf import KEY, is_genuine
from flask_redis_session.devices.options import Options, directives
from flask_redis_session.devices.pages import _page_number
from flask_redis_session.errors import SettingError, UnreadableValue, UnstorableValue
from flask_redis_session.request.codec import decode, encode
from flask_redis_session.settings import read_settings
from flask_redis_session.storage.record import (
    Record,
    expiry,
    field_of,
    key_of,
    mark,
    moment,
    number,
    standing_of,
    text,
)
from flask_redis_session.storage.token import digest, is_sid, parse_cookie
from tests.load.structure import Pair, Structure, form

SID = "A" * 22
PROOF = "a" * 43
SECRET = "b" * 43
_TAGS = (
    *("t", "s", "k", "b", "e", "i", "f", "n", "dt", "df", "d", "td", "u", "m", "me", "x", "", "v"),
)
register_type(Pair, "pair", lambda pair: (pair.left, pair.right), lambda made: Pair(*made))


class Target(NamedTuple):
    """Something to fuzz.

    :param run: takes any bytes.
    :param seeds: bytes to begin with.
    :param server: whether it needs one, at ``FUZZ_REDIS_PORT``.
    """

    run: Callable[[bytes], None]
    seeds: tuple[bytes, ...]
    server: bool = False


def token(data: bytes) -> None:
    """A cookie's value is a token whose cookie is that value, or none at all."""
    value = data.decode("latin-1")
    found = parse_cookie(value)
    if found is not None:
        assert value == found.cookie()
        assert is_sid(found.sid)
        assert is_sid(found.proof[:22])
    assert not is_sid(value) or 22 == len(value)


def reading(data: bytes) -> None:
    """A stored text is read or unreadable; what is read can be written, and reads the same."""
    try:
        value = decode(data)
    except UnreadableValue:
        return
    written = encode("key", value)
    again = decode(written)

    assert form(value) == form(again)
    assert written == encode("key", again)


def writing(data: bytes) -> None:
    """A value comes back with its exact types, or cannot be stored."""
    value = Structure(data).value()
    try:
        written = encode("key", value)
    except UnstorableValue:
        return
    again = decode(written)

    assert form(value) == form(again)
    assert written == encode("key", again)


def record(data: bytes) -> None:
    """Whatever the fields of a hash hold, it is judged, and told as times and texts."""
    parts = (data.split(b"\n") + [b""] * 6)[:6]
    born, seen, idle, user, secret, name = parts
    fields = {b"@born": born, b"@seen": seen, b"@idle": idle, b"@user": user}
    judged = standing_of(born, secret, PROOF, 1e9)
    held = Record(judged, fields)

    assert judged in ("live", "gone", "rotated", "unknown")
    assert (judged == "live") == (number(born) is not None and secret == mark(PROOF))
    for part in parts:
        found = number(part)
        assert found is None or 0 <= found < 1e33
        at = moment(found)
        assert at is None or at.utcoffset() == timedelta(0)
        (text(part) or "").encode()
    moment(expiry(held.born, held.seen, held.idle, 3600.0))
    key = key_of(name)
    assert key is None or name == field_of(key)


def url(data: bytes) -> None:
    """A text as ``SESSION_REDIS_URL`` is accepted, or the error of a setting."""
    given = data.decode("utf-8", "surrogateescape")
    if given.strip().startswith("embedded:///"):
        return  # it would make directories
    config = {"SESSION_REDIS_URL": given, "SESSION_REVOKE_WAIT": (1, 500)}
    with suppress(SettingError):
        check_url(given)
    with suppress(SettingError):
        read_settings(config, redis=None, prefix=given[:9] or None)


def device(data: bytes) -> None:
    """A user agent and an address are kept short, told by a name, and printed harmlessly."""
    agent, _, address = data.decode("latin-1").partition("\n")
    kept = clipped(agent) or ""

    assert len(kept) <= LONGEST
    kept.encode()
    str(agent_of(kept)).encode()
    shown = plain(agent)
    assert shown.isprintable()
    network = shorten(address)
    assert network is None or "/" in network


def form_of_devices(data: bytes) -> None:
    """A form of the devices page is genuine with the session's token, and by nothing else."""
    kind, _, rest = data.partition(b"\n")
    header, _, body = rest.partition(b"\n")
    environ = {
        "REQUEST_METHOD": "POST",
        "CONTENT_TYPE": kind.decode("latin-1") or "application/x-www-form-urlencoded",
        "CONTENT_LENGTH": str(len(body)),
        "QUERY_STRING": header.decode("latin-1"),
        "HTTP_X_DEVICES_TOKEN": header.decode("latin-1"),
        "wsgi.input": _Body(body),
    }
    request: Any = Request(environ)
    held: Any = {KEY: "secret-of-this-one 23"}

    assert not is_genuine(request, held, "23") or b"secret-of-this-one" in data.replace(b"%", b"")
    assert not is_genuine(request, held, "24")
    if not any(byte > 127 for byte in header):
        # Werkzeug fails at others; the blueprint answers them with 400 before its views.
        shown = _page_number(request.args.get("page", ""))
        assert shown is None or 0 < shown < 10**9


def options(data: bytes) -> None:
    """Options of the devices page are right, or the error of a setting."""
    words = data.decode("utf-8", "replace").split("\n")
    source = Structure(data)
    with suppress(SettingError):
        Options(*(words * 9)[:4], *(source.value() for _ in range(5)))  # type: ignore[arg-type]
    with suppress(SettingError):
        directives(source.value())


def times(data: bytes) -> None:
    """A time on the command line is a time, or none."""
    try:
        at = parse_when(data.decode("utf-8", "surrogateescape"))
    except (ValueError, OverflowError):
        return
    if isinstance(at, datetime) and at.utcoffset() is None:
        return
    found = _sessions().epoch("before", at)
    assert found is not None
    assert abs(found) < 1e15


# --------------------------------------------------------------------------- with a server


def cookie(data: bytes) -> None:
    """A ``Cookie`` header opens nothing, is never adopted, and no Redis is asked if malformed."""
    header = data.decode("latin-1")
    client, app = _client(), _app()
    keys, asked = client.dbsize(), client.count
    browser = app.test_client(use_cookies=False)
    response = browser.get("/", environ_overrides={"HTTP_COOKIE": header})

    assert 200 == response.status_code
    assert "{}" == response.text
    assert "Set-Cookie" not in response.headers
    if not _may_be_well_formed(header):
        assert asked == client.count, header
    assert keys == client.dbsize()


def fields(data: bytes) -> None:
    """Whatever the fields of a session hold, requests are served; a list and an end are too."""
    client, app = _client(), _app()
    client.flushdb()
    name = f"session:{SID}"
    now = str(client.time()[0])
    held: dict[bytes, bytes] = {
        b"@born": now.encode(),
        b"@seen": now.encode(),
        b"@idle": b"3600",
        b"@user": b"23",
        f"@secret:{digest(SECRET)}".encode(): mark(digest(SECRET)),
        b"user_id": b"23",
    }
    names = [*held, b"a", b"@agent", b"@ip"]
    for part in data.split(b"\xfe"):
        held[names[part[0] % len(names)] if part[:1] < b"\x20" and part else part[:4]] = part[1:]
    client.hset(name, mapping=held)
    client.expire(name, 60)
    client.zadd("session:user:23", {SID: int(now), data[:30]: 1})
    browser = app.test_client(use_cookies=False)
    for path in ("/", "/all", "/write", "/user"):
        response = browser.get(path, headers={"Cookie": f"session={SID}.{SECRET}"})
        assert 200 == response.status_code, path
    interface = app.session_interface
    assert isinstance(interface, RedisSessionInterface)
    interface.list_sessions("23")
    interface.revoke_sessions("23")
    assert [] == interface.list_sessions("23")


def _may_be_well_formed(header: str) -> bool:
    """Tell whether anything in a header has the form of a cookie of ours, quoted or not."""
    words = re.split(r'[\s;="]+', header)
    return "\\" in header or any(map(parse_cookie, words))


class _Body:
    def __init__(self, body: bytes) -> None:
        self._left = body

    def read(self, size: int = -1) -> bytes:
        size = len(self._left) if size < 0 else size
        part, self._left = self._left[:size], self._left[size:]
        return part

    def readline(self, size: int = -1) -> bytes:
        return self.read(size)


class _Counting(redis.Redis):
    """A client that counts what it is asked."""

    count = 0

    def execute_command(self, *args: Any, **options: Any) -> Any:
        self.count += 1
        return super().execute_command(*args, **options)  # type: ignore[no-untyped-call]


@cache
def _client() -> Any:
    return _Counting(port=int(os.environ["FUZZ_REDIS_PORT"]))


@cache
def _sessions() -> ApplicationBackend:
    return ApplicationBackend(read_settings({}, redis=None, prefix=None))


@cache
def _app() -> Flask:
    app = Flask("fuzz")
    app.config["PROPAGATE_EXCEPTIONS"] = True
    app.session_interface = RedisSessionInterface(redis=_client())

    @app.get("/")
    def read() -> Response:
        return Response(repr({key: session[key] for key in ("a", "user_id") if key in session}))

    @app.get("/all")
    def all_() -> Response:
        held: Any = session
        about = (held.created_at, held.last_seen_at, held.expires_at, held.sid, held.new)
        return Response(repr((dict(session), about)))

    @app.get("/write")
    def write() -> str:
        session["x"] = 1
        return "written"

    @app.get("/user")
    def user() -> str:
        held: Any = session
        held.user_sessions()
        session["_user_id"] = "42"
        return "signed in"

    return app


def canary(data: bytes) -> None:
    """A target that fails, for a test of the fuzzing itself."""
    if data[:1] == b"F" and data[1:2] == b"Z":
        raise AssertionError("found")


_COOKIE = f"session={SID}.{SECRET}".encode()
TARGETS: Mapping[str, Target] = {
    "token": Target(token, (f"{SID}.{SECRET}".encode(), f"{SID}.{SECRET}.p".encode(), b"a.b")),
    "reading": Target(
        reading,
        (
            b'{"a":[1,2.5,null,true,"x"]}',
            b'[[[[{"a":{}}]]]]',
            b'{" n":"1E+999999999"}',
            b'{" dt":"2030-01-02T03:04:05.678901-03:30"}',
            b'{" td":[-1,2,3]}',
            b'{" b":"AP8="}',
            b'{" u":"00000000-0000-0000-0000-000000000001"}',
            b'{" k":[1,"a",{" t":[null]},{" k":[{" e":"\\\\ud800"},2]}]}',
            b'{" x":["pair",{" t":[1,{" x":["pair",[2,3]]}]}]}',
            b'{" s":[{" x":["pair",[1,2]]}]}',
            b'{" me":"\\\\ud83d\\\\ude00\\\\\\\\"}',
            *(f'{{" v":[{{" {tag}":["1"]}},{{" {tag}":"1"}}]}}'.encode() for tag in _TAGS),
        ),
    ),
    "writing": Target(writing, tuple(bytes([kind, *range(40)]) for kind in range(18))),
    "record": Target(
        record, (b"1764000000.123\n1764000000\n86400\n23\n0\n@@a", b"\xff\n1e9\n\n\n\n")
    ),
    "url": Target(
        url,
        (
            b"redis://user:p%40ss@host:6379/0?socket_timeout=0.5&max_connections=9",
            b"rediss://[::1]:6379?ssl_cert_reqs=none&ssl_check_hostname=false",
            b"redis+sentinel://a:1,b:2/service/0?sentinel_username=x",
            b"redis+cluster://a:1,b:2?protocol=3",
            b"unix:///run/redis.sock?db=1",
        ),
    ),
    "device": Target(
        device,
        (
            b"Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0\n192.0.2.1",
            b"Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) Safari\n::ffff:1.2.3.4",
            b"<script>\nfe80::1%eth0",
        ),
    ),
    "form": Target(
        form_of_devices,
        (
            b"\npage=2\ndevices_token=secret-of-this-one",
            b"multipart/form-data; boundary=x\n\n--x\r\nContent-Disposition: form-data; name=a\r\n",
        ),
    ),
    "options": Target(options, (b"/devices\nbase.html\ncontent\ntitle", b"\x01\x02\x03")),
    "times": Target(times, (b"7d", b"999999999w", b"2026-01-01T00:00Z", b"2026-W01-1T00:00+23:59")),
    "cookie": Target(
        cookie,
        (
            _COOKIE,
            _COOKIE + b".p",
            b'session="' + _COOKIE[8:] + b'"; a=b',
            _COOKIE * 2,
            b"session=",
        ),
        server=True,
    ),
    "fields": Target(
        fields,
        (
            *(bytes([field]) + b"1e400" for field in range(9)),
            b'\x05true\xfe\x06{" zz":1}\xfe\x00nan',
        ),
        server=True,
    ),
}
CANARY = Target(canary, (b"A",))
