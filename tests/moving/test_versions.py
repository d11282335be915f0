from __future__ import annotations

from datetime import datetime, timezone

import pytest

from tests.moving.old import NewSite, Writer
from tests.support.webapp import session

pytestmark = [
    pytest.mark.filterwarnings("ignore:SESSION_IMPORT"),
    pytest.mark.one_server("Flask-Session keeps its sessions on one server"),
    pytest.mark.timeout(180),
]

RICH = {
    "user_id": 23,
    "cart": [{"sku": "Ä-1", "count": 2}, {"sku": "B", "count": 1}],
    "seen": {"at": 1.5, "of": None},
    "when": datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone.utc),
    "pair": [1, 2],
    "big": 2**60,
    "flag": True,
    "@odd": "key",
}


@pytest.mark.parametrize("form", ["msgpack", "json"])
@pytest.mark.parametrize("use_signer", [False, True])
def test_every_version(flask_session_folder, request, valkey, form, use_signer):
    """What each version of Flask-Session's wrote, in either form, signed or not, comes over."""
    signer = {"SESSION_USE_SIGNER": use_signer}
    prefix = {"SESSION_KEY_PREFIX": "shop:"} if form == "json" else {}
    writer = Writer(
        flask_session_folder, valkey, SESSION_SERIALIZATION_FORMAT=form, **signer, **prefix
    )
    written = writer.write()
    expected = RICH if form == "msgpack" else {**RICH, "when": "2026-01-02T03:04:05Z"}
    old_prefix = {"SESSION_IMPORT_PREFIX": "shop:"} if prefix else {}
    site = NewSite(valkey, **signer, **old_prefix)
    browser = site.comes(written["cookie"])

    assert written["version"] in request.node.callspec.id
    assert ("." in written["cookie"]) is use_signer
    assert expected == browser.read()
    assert {f"session:{browser.sid}", "session:user:23"} == {
        name for name in site.names() if ":old:" not in name
    }


@pytest.mark.parametrize("permanent", [True, False, None])
def test_permanence(flask_session_folder, valkey, permanent):
    """A session is as permanent as it was; with Flask-Session it is by default."""
    written = Writer(flask_session_folder, valkey).write(permanent=permanent, content="plain")
    site = NewSite(valkey)
    browser = site.comes(written["cookie"])

    assert (permanent is not False) is browser.visit(lambda: session.permanent).value
    assert {"user_id": "ann", "step": 1} == browser.read()


@pytest.mark.parametrize("length", [8, 64])
def test_lengths(flask_session_folder, valkey, length):
    """An id may have another length: ``SESSION_ID_LENGTH``."""
    written = Writer(flask_session_folder, valkey, SESSION_ID_LENGTH=length).write()

    assert 23 == NewSite(valkey).comes(written["cookie"]).read()["user_id"]
