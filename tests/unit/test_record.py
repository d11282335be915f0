from __future__ import annotations

import dataclasses
from datetime import datetime, timezone
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import flask_redis_session
from flask_redis_session import SessionInfo
from flask_redis_session.storage.record import (
    Changes,
    Record,
    expiry,
    field_of,
    key_of,
    lifetime,
    mark,
    moment,
    number,
    standing_of,
    text,
)
from tests.support.effort import unhurried


@unhurried
@given(st.text(st.characters() | st.sampled_from("@\\ud8\ud800")))
def test_every_key_has_a_field_of_its_own(key):
    """A key comes back from its field, and no field of a user's is one of ours."""
    field = field_of(key)

    assert key == key_of(field)
    assert not field.startswith((b"@born", b"@secret:", b"@user"))


PROOF = "a" * 43
LIVE = mark(PROOF)


@pytest.mark.parametrize(
    ("field", "key"),
    [
        (b"user_id", "user_id"),
        (b"", ""),
        (b"@@", "@"),
        (b"@@born", "@born"),
        (b"@@@", "@@"),
        (b"a@b", "a@b"),
        ("ü".encode(), "ü"),
        (b"\\ud800", "\\ud800"),
        (rb"@@\\ud800", "\ud800"),
        (rb"@@\a\ud83d\ude00", "a\ud83d\ude00"),
        (rb"@@\@\udfff\\n", "@\udfff\\n"),
        (rb"@@\@\\ud800", r"@\ud800"),
        (rb"@@@\ud800", r"@@\ud800"),
    ],
)
def test_field_of(field, key):
    """A field is the key itself.

    An @ goes before one that begins with @. One that UTF-8 cannot write, or that would look like
    one, is escaped.
    """
    assert field == field_of(key)
    assert key == key_of(field)


@pytest.mark.parametrize(
    "field",
    [
        *(b"@", b"@born", b"@secret:x", b"@new", b"\xff", b"@@\xff"),
        *(b"@@\\", b"@@\\a", b"@@\\\\", b"@@\\\\n", b"@@\\\\ud7ff", b"@@\\\xff", b"@@\\@a"),
    ],
)
def test_fields_that_are_no_keys(field):
    """Our own fields, those of a later version and damaged ones are no keys of the user's."""
    assert None is key_of(field)


@pytest.mark.parametrize(
    ("expected", "value"),
    [
        (1764000000.123, b"1764000000.123"),
        (0.0, b"0"),
        *[(None, value) for value in (None, b"", b"x", b"\xff", b"nan", b"inf", b"-inf", b"1e999")],
        *[(None, value) for value in (b"0x10", b"1 2", b" 1", b"1\n", b"-1", b"+1", b"1e3")],
        *[(None, value) for value in (b"1.", b".5", b"1.2.3", b"9" * 400, b"1_0", "١".encode())],
    ],
)
def test_number(expected, value):
    """A number is read; one that is damaged, signed or not finite reads as absent."""
    assert expected == number(value)


@pytest.mark.parametrize(
    ("expected", "seconds"),
    [
        (datetime(2025, 11, 24, 16, 0, tzinfo=timezone.utc), 1764000000.0),
        (datetime(1970, 1, 1, tzinfo=timezone.utc), 0.0),
        *[(None, seconds) for seconds in (None, 1e20, -1e20, 1e308, float("nan"), float("inf"))],
    ],
)
def test_moment(expected, seconds):
    """A moment is aware and in UTC; what no calendar knows is absent."""
    assert expected == moment(seconds)


@pytest.mark.parametrize(
    ("expected", "value"), [(None, None), ("ü", "ü".encode()), ("a\ufffdb", b"a\xffb")]
)
def test_text(expected, value):
    """A text that is not UTF-8 is shown with replacements."""
    assert expected == text(value)


@pytest.mark.parametrize(
    ("expected", "born", "secret"),
    [
        ("live", b"900", LIVE),
        ("gone", None, LIVE),
        ("gone", b"", LIVE),
        ("gone", b"x", LIVE),
        ("gone", b"nan", LIVE),
        ("gone", None, None),
        ("rotated", b"900", b"1000"),
        ("rotated", b"900", b"970"),
        ("rotated", b"900", b"1030"),
        ("unknown", b"900", b"969.9"),
        ("unknown", b"900", b"1030.1"),
        ("unknown", b"900", None),
        ("unknown", b"900", b""),
        ("unknown", b"900", b"0.0"),
        ("unknown", b"900", b"00"),
        ("unknown", b"900", b" 0"),
        ("unknown", b"900", b"x"),
        ("unknown", b"900", b"nan"),
        ("unknown", b"900", b"\xff"),
    ],
)
def test_standing(expected, born, secret):
    """A cookie opens a session that exists, by a secret with its mark; else it says why not."""
    assert expected == standing_of(born, secret, PROOF, 1000.0)


@pytest.mark.parametrize(
    ("expected", "born", "seen", "idle", "absolute"),
    [
        (160.0, 10.0, 100.0, 60.0, None),
        (160.0, 10.0, 100.0, 60.0, 1000.0),
        (130.0, 10.0, 100.0, 60.0, 120.0),
        (160.0, None, 100.0, 60.0, 120.0),
        (None, 10.0, None, 60.0, 120.0),
        (None, 10.0, 100.0, None, 120.0),
    ],
)
def test_expiry(expected, born, seen, idle, absolute):
    """A session ends by the nearer of its idle and its absolute lifetime."""
    assert expected == expiry(born, seen, idle, absolute)


def test_record_reads_its_fields():
    """A record tells its times and its user, and leaves out what is damaged."""
    record = Record("live", {b"@born": b"1.5", b"@seen": b"2", b"@idle": b"x", b"@user": b"23"})

    assert (1.5, 2.0, None, "23") == (record.born, record.seen, record.idle, record.user)
    assert (None, None) == (Record("gone").born, Record("gone").user)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        (b"86400", 86400.0),
        (b"0.001", 0.001),
        (b"3155760000", 3155760000.0),
        (b"0", None),
        (b"0.0009", None),
        (b"3155760000.1", None),
        (b"9" * 32, None),
        (b"x", None),
        (None, None),
    ],
)
def test_lifetime(text, seconds):
    """A lifetime that no session can have is none."""
    assert seconds == lifetime(text)


def test_scripts_read_numbers_alike():
    """All scripts that read a number share one function for it."""
    texts = [
        script.read_text("utf-8")
        for script in Path(flask_redis_session.__file__).parent.rglob("*.lua")
    ]

    assert 1 == sum(text.count("local function number(") for text in texts)
    assert 0 == sum(text.count("function number(") for text in texts) - 1


def test_changes_are_true_where_there_are_some():
    """Setting, deleting and wiping are changes, and nothing else is."""
    assert not Changes()
    assert Changes(sets={b"a": b"1"})
    assert Changes(deletes=[b"a"])
    assert Changes(wipe=True)


def test_session_info_is_frozen():
    """What is told of a session cannot be changed."""
    now = datetime.now(timezone.utc)
    info = SessionInfo("sid", "23", now, now, now, now)

    assert not info.current
    with pytest.raises(dataclasses.FrozenInstanceError):
        info.current = True  # type: ignore[misc]
