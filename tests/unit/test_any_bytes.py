"""Any bytes from outside are read or refused, and nothing else (what needs no server).

Cookies, stored values and URLs have such tests in ``test_cookie.py``, ``test_codec.py`` and
``test_any_url.py``, damaged hashes in ``test_any_fields.py``.
"""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any

from flask import Request
from hypothesis import example, given
from hypothesis import strategies as st

from flask_redis_session.admin.cli.output import plain
from flask_redis_session.admin.cli.times import parse_when
from flask_redis_session.application import ApplicationBackend
from flask_redis_session.device import LONGEST, clipped, shorten
from flask_redis_session.devices.agents import agent_of
from flask_redis_session.devices.csrf import KEY, is_genuine
from flask_redis_session.devices.options import Options, directives
from flask_redis_session.devices.pages import _page_number
from flask_redis_session.errors import SettingError
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
from tests.support.effort import effort, unhurried
from tests.support.values import values

PROOF = "a" * 43

#: What a field of Redis's holds that was written by us, or nearly so.
fields = st.binary(max_size=40) | st.sampled_from(
    [
        *(b"", b"0", b"1764000000.123", b"86400", b"-1", b"1e9", b"1e400", b"nan", b"inf", b" 1"),
        *(
            b"sAAAAAAAA",
            mark(PROOF),
            b"1_0",
            b"9" * 31,
            b"9" * 5000,
            b"\xff",
            b"23",
            b"@@a",
            b"@secret:x",
            "٣".encode(),
        ),
    ]
)


PROOF = "a" * 43


@effort(500)
@given(st.tuples(*[fields] * 6))
@example((b"1764000000.123", b"1764000000", b"86400", b"23", mark(PROOF), b"@@a"))
@example((b"\xff", b"1e9", b"", b"", b"", b""))
def test_record(parts: tuple[bytes, ...]) -> None:
    """Whatever the fields of a hash hold, it is judged, and told as times and texts."""
    born, seen, idle, user, secret, name = parts
    held_by_redis = {b"@born": born, b"@seen": seen, b"@idle": idle, b"@user": user}
    judged = standing_of(born, secret, PROOF, 1e9)
    held = Record(judged, held_by_redis)

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


#: A header as a WSGI server hands it over: each character is one byte.
headers = st.binary(max_size=300).map(lambda data: data.decode("latin-1"))
agents = headers | st.lists(
    st.sampled_from(
        [
            *("Mozilla/5.0 ", "(X11; Linux x86_64; rv:128.0) ", "Gecko/20100101 ", "Firefox/128.0"),
            *("(iPhone; CPU iPhone OS 17_5 like Mac OS X) ", "Safari/604.1 ", "Android 1", "(;"),
            *("<script>", "\0", "\x1b[2J", "\r\n", "x" * 300, "\xff"),
        ]
    ),
    max_size=6,
).map("".join)
addresses = (
    headers
    | st.ip_addresses().map(str)
    | st.sampled_from(["::ffff:1.2.3.4", "fe80::1%eth0", "1.2.3.4%x", "192.0.2.1:80", "[::1]"])
)


@effort(300)
@given(agents, addresses)
def test_device(agent: str, address: str) -> None:
    """A user agent and an address are kept short, told by a name, and printed harmlessly."""
    kept = clipped(agent) or ""

    assert len(kept) <= LONGEST
    kept.encode()
    str(agent_of(kept)).encode()
    assert plain(agent).isprintable()
    network = shorten(address)
    assert network is None or "/" in network


TOKEN = b"secret-of-this-one"
parts = st.binary(max_size=60) | st.sampled_from(
    [
        *(b"devices_token=", TOKEN, b"&", b"page=2", b"page=", b"9" * 30, b"%ff", b"%00", b";"),
        *(b"application/x-www-form-urlencoded", b"multipart/form-data; boundary=x", b"--x\r\n"),
        *(b"Content-Disposition: form-data; name=devices_token\r\n\r\n", b"--x--\r\n", b"\r\n"),
    ]
)
pieces = st.lists(parts, max_size=5).map(b"".join)


class Body:
    """The body of a request as a WSGI server hands it over."""

    def __init__(self, body: bytes) -> None:
        self._left = body

    def read(self, size: int = -1) -> bytes:
        size = len(self._left) if size < 0 else size
        part, self._left = self._left[:size], self._left[size:]
        return part

    def readline(self, size: int = -1) -> bytes:
        return self.read(size)


@effort(500)
@given(pieces, pieces, pieces)
@example(b"", b"page=2", b"devices_token=" + TOKEN)
@example(b"", TOKEN, b"")
@example(b"", b"page=" + b"9" * 30, b"")
def test_form(kind: bytes, header: bytes, body: bytes) -> None:
    """A form of the devices page is genuine with the session's token, and by nothing else."""
    environ = {
        "REQUEST_METHOD": "POST",
        "CONTENT_TYPE": kind.decode("latin-1") or "application/x-www-form-urlencoded",
        "CONTENT_LENGTH": str(len(body)),
        "QUERY_STRING": header.decode("latin-1"),
        "HTTP_X_DEVICES_TOKEN": header.decode("latin-1"),
        "wsgi.input": Body(body),
    }
    request: Any = Request(environ)
    held: Any = {KEY: f"{TOKEN.decode()} 23"}
    sent = b"\n".join([kind, header, body]).replace(b"%", b"")

    assert not is_genuine(request, held, "23") or TOKEN in sent
    assert not is_genuine(request, held, "24")
    if not any(byte > 127 for byte in header):
        # Werkzeug fails at others; the blueprint answers them with 400 before its views.
        shown = _page_number(request.args.get("page", ""))
        assert shown is None or 0 < shown < 10**9


def test_form_with_the_token_is_genuine() -> None:
    """The forms above would be genuine if all was right with them."""
    body = b"devices_token=" + TOKEN
    environ = {
        "REQUEST_METHOD": "POST",
        "CONTENT_TYPE": "application/x-www-form-urlencoded",
        "CONTENT_LENGTH": str(len(body)),
        "wsgi.input": Body(body),
    }
    held: Any = {KEY: f"{TOKEN.decode()} 23"}

    assert is_genuine(Request(environ), held, "23")


words = st.text(max_size=12) | st.sampled_from(["/devices", "base.html", "content", "title", "/"])


@unhurried
@given(st.lists(words, min_size=5, max_size=5), st.lists(values, min_size=5, max_size=5))
def test_options(texts: list[str], others: list[Any]) -> None:
    """Options of the devices page are right, or the error of a setting."""
    with suppress(SettingError):
        given_as: list[Any] = [*texts, *others]
        Options(*given_as)
    with suppress(SettingError):
        directives(others[0])


times = (
    st.text(max_size=30)
    | st.datetimes().map(lambda at: at.isoformat())
    | st.builds("{}{}".format, st.integers(-(10**12), 10**12), st.sampled_from("smhdwy "))
    | st.builds(
        "{}{}".format, st.datetimes().map(lambda at: at.isoformat()), st.sampled_from("Zz+-")
    )
    | st.sampled_from(["7d", "999999999w", "2026-01-01T00:00Z", "2026-W01-1T00:00+23:59", "\udcff"])
)
_BACKEND = ApplicationBackend(read_settings({}, redis=None, prefix=None))


@effort(500)
@given(times)
def test_times(given_text: str) -> None:
    """A time on the command line is a time, or none."""
    try:
        at = parse_when(given_text)
    except (ValueError, OverflowError):
        return
    if isinstance(at, datetime) and at.utcoffset() is None:
        return
    found = _BACKEND.users.epoch("before", at)
    assert found is not None
    assert abs(found) < 1e15
