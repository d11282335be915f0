"""What becomes of a request's session: the table in docs/architecture.md, line by line."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import pytest

from flask_redis_session.request.draft import Draft, Origin, Phase, Terms
from flask_redis_session.request.outcome import (
    Commit,
    Create,
    Outcome,
    Reply,
    Step,
    Touch,
    Touched,
    Written,
)
from flask_redis_session.request.rule import merged
from flask_redis_session.request.save import judge, plan, save
from flask_redis_session.storage.commit import Committed
from flask_redis_session.storage.record import USER, Binding, Changes, Record
from flask_redis_session.storage.token import Token, new_token

PAGE = Path(__file__).parents[2] / "docs" / "architecture.md"
TERMS = Terms(permanent=1000.0, passing=100.0)
SET = Changes({b"a": b"1"})
LOADED = {b"@born": b"1", b"cart": b"[]", b"gone": b"2", b"a": b"0"}
#: What a sign-in into a session of its own takes along of what was loaded.
ALL_OF_IT = {b"cart": b"[]", b"a": b"1", b"user_id": b"23"}


class Row(NamedTuple):
    """A line of the table."""

    phase: str
    request: str
    answer: str
    data: str
    cookie: str
    signals: str


def _rows() -> list[Row]:
    lines = PAGE.read_text("utf-8").splitlines()
    start = lines.index("| phase | the request | Redis answers | its data | the cookie | signals |")
    rows = []
    for line in lines[start + 2 :]:
        if not line.startswith("|"):
            break
        rows.append(Row(*(cell.strip() for cell in line.strip("|").split("|"))))
    return rows


ROWS = _rows()
REQUESTS: dict[str, dict[str, Any]] = {
    "writes nothing": {},
    "removes everything": {"changes": Changes(wipe=True)},
    "took its last key": {"changes": Changes(spent=True)},
    "sets a key": {"changes": SET},
    "changes a merged key": {
        "changes": Changes({b"a": b"1", b"log": b"[0,1]"}, guards={b"log": b"[0]"}),
        "rules": {"log": merged},
    },
    "signs in, and changes a merged key": {
        "changes": Changes({b"user_id": b"23", b"log": b"[0,1]"}, guards={b"log": b"[0]"}),
        "rules": {"log": merged},
        "binding": Binding("23"),
    },
    "rotates": {"rotates": True},
    "confirms its user": {"rotates": True, "confirms": True},
    "becomes permanent": {"permanent": True},
    "assigns a lifetime": {"own": 50.0},
    "signs in": {
        "changes": Changes({b"a": b"1", b"user_id": b"23"}),
        "binding": Binding("23"),
        "origin": Origin(loaded=LOADED, dropped={b"gone"}),
    },
    "says again who signed in": {
        "changes": Changes({b"a": b"1", b"user_id": b"23"}, wipe=True),
        "binding": Binding("23"),
    },
    "signs out": {"changes": Changes({}, [b"user_id"]), "binding": Binding(None)},
}


def drafted(row: Row) -> Draft:
    """Return what a request of a line wants."""
    words = row.phase.split(", ")
    phase: Phase = words[0]  # type: ignore[assignment]
    permanent = "permanent" in words
    token = None if phase in ("new", "gone") else new_token(permanent)
    before = {USER: b"23"} if row.request in HAD_A_USER else {}
    draft = Draft(
        TERMS,
        phase,
        token,
        token or (new_token(permanent) if "ended" in words or phase == "gone" else None),
        Record("live", before) if phase == "live" else None,
        origin=Origin(loaded=LOADED),
        permanent=permanent,
        is_late="late" in words,
        is_undeliverable="upgraded" in words,
    )
    return draft._replace(**REQUESTS[row.request])


#: The requests of a session that has a user.
HAD_A_USER = ("signs out", "says again who signed in", "confirms its user")


class Server:
    """Answers as a line says, and stores what it is sent in a new session.

    :param row: the line.
    """

    def __init__(self, row: Row) -> None:
        self.row = row
        self.sent: list[Step] = []

    def send(self, step: Step) -> Reply:
        """Return the reply to a step."""
        self.sent.append(step)
        if isinstance(step, Touch):
            return Touched(self.row.answer == "alive")
        if isinstance(step, Create):
            return Written(step, new_token(step.permanent), Committed("saved", b"9", b"9"))
        before = "23" if self.row.request in HAD_A_USER else None
        token = step.token.rotated() if step.rotates else step.token
        # After a conflict the next commit gets the next answer.
        answers = self.row.answer.split(", ")
        what: Any = answers[len(self.sent) - 1]
        if what == "conflict":
            return Written(step, token, Committed(what, stored={b"log": b"[0,2]"}))
        return Written(step, token, Committed(what, b"9", b"1", b"2", b"100", before))


def data_of(row: Row, sent: list[Step], outcome: Outcome) -> str:
    """Return what became of a request's data, in the words of the table."""
    created = [step for step in sent if isinstance(step, Create)]
    if created:
        whole = dict(created[0].changes.sets) == ALL_OF_IT
        return "with all it had loaded in a new session" if whole else "in a new session"
    if any(event.name == "save_refused" for event in outcome.events):
        return "dropped"
    if outcome.written is not None:
        was_merged = outcome.written.sets.get(b"log") == b"[0,2,1]"
        return "written, merged" if was_merged else "written"
    return "removed" if row.answer == "ended" else "–"


@pytest.mark.parametrize("row", ROWS, ids=[", ".join(row[:3]) for row in ROWS])
def test_the_table_is_true(row: Row) -> None:
    """Data, cookie and signals are what the page says."""
    draft, server = drafted(row), Server(row)
    outcome = save(draft, server.send)
    signals = ", ".join(event.name for event in outcome.events) or "–"

    assert row[3:] == (data_of(row, server.sent, outcome), outcome.cookie, signals)
    assert (row.answer == "–") == (not server.sent)


def test_the_table_is_whole() -> None:
    """Each phase meets each kind of request and each answer that it can get."""
    named = {(row.phase.partition(",")[0], row.request, row.answer) for row in ROWS}
    for phase in ("unproved", "live"):
        assert {"saved", "gone", "rotated", "unknown"} <= {
            answer for at, request, answer in named if (at, request) == (phase, "sets a key")
        }
    for phase in ("new", "rotated", "gone"):
        assert {"writes nothing", "sets a key", "signs in"} <= {
            request for at, request, _ in named if at == phase
        }
    assert {*REQUESTS} == {row.request for row in ROWS}


@pytest.mark.parametrize("phase", ["unproved", "live", "rotated"])
def test_nothing_is_written_if_the_application_says_so(phase: Phase) -> None:
    """An empty draft sends no write, whatever the cookie is."""
    cookie = new_token(permanent=False)
    step = plan(Draft(TERMS, phase, cookie, cookie))

    assert not isinstance(step, (Create, Commit))


def test_a_cookie_that_is_owed_is_handed_out_at_the_second_save() -> None:
    """If a receiver of a signal raises, Flask saves again: the browser must get its secret then."""
    sent = new_token(permanent=False)
    token = sent.rotated()
    draft = Draft(TERMS, "live", token, sent, Record("live"), changes=SET)
    step = plan(draft)

    assert isinstance(step, Commit)
    committed = judge(draft, Written(step, token, Committed("saved", b"9", b"1")))
    unchanged = plan(Draft(TERMS, "unproved", token, sent))
    assert ["fresh", "fresh"] == [committed.cookie, unchanged.cookie]  # type: ignore[union-attr]


def test_a_blind_save_that_finds_nothing_takes_over_what_a_new_session_has() -> None:
    """A cookie that opens nothing says nothing of the new session's permanence either."""
    cookie = Token("s" * 22, "x" * 43, permanent=True)
    draft = Draft(
        TERMS,
        "unproved",
        cookie,
        cookie,
        changes=SET,
        permanent=True,
        permanent_anew=False,
    )
    sent = Server(Row("", "", "gone", "", "", ""))
    outcome = save(draft, sent.send)

    assert outcome.token is not None
    assert (False, 100.0) == (outcome.token.permanent, sent.sent[-1].lifetime.idle)
