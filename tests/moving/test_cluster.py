from __future__ import annotations

import msgspec
import pytest

from tests.moving.old import NewSite, OldSite
from tests.support.commandline import run
from tests.support.webapp import session

pytestmark = pytest.mark.filterwarnings("ignore:SESSION_IMPORT")


def test_every_step(cluster):
    """In a cluster each step of an import works on one slot."""
    site = NewSite(cluster)
    text = msgspec.msgpack.encode({"user_id": 23, "cart": [1]})
    for n in range(12):
        cluster.client().set(f"session:{n:043}", text, ex=1000)
    site.redis = cluster.client()
    browsers = [site.comes(f"{n:043}") for n in range(6)]
    browsers += [site.comes(OldSite().cookie(user_id=23, n=n)) for n in range(6)]
    twins = [site.comes(f"{n:043}") for n in range(6)]

    assert [23] * 18 == [each.read()["user_id"] for each in (*browsers, *twins)]
    assert ["Carried over 6 sessions."] == run(site.app, "import").lines
    later = site.comes(f"{11:043}")
    away = site.comes(OldSite().cookie(user_id=23, n=-1))
    assert [1] == later.read()["cart"]
    assert 18 == later.visit(lambda: session.clear_user_sessions()).value
    assert {} == away.read()
    assert [{}] * 12 == [each.read() for each in browsers]
