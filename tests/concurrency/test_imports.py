"""Requests that bring the same old cookie, and revocations, in every order of their commands."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations_with_replacement
from typing import Any

import pytest
from redis.backoff import NoBackoff
from redis.retry import Retry

from flask_redis_session.moving import flask_session as flask_session_module
from flask_redis_session.moving.marks import Marks
from flask_redis_session.moving.mover import Mover
from flask_redis_session.storage import revocation as revocation_module
from flask_redis_session.storage import session_hash as hashes_module
from flask_redis_session.storage import user_index as index_module
from tests.concurrency.interleaving import READING, GatedRedis, Options, Run, Step, explore
from tests.moving.old import NewSite, OldSite
from tests.support.commandline import run as run_command
from tests.support.servers import Server
from tests.support.webapp import load_scripts, session

pytestmark = [
    pytest.mark.one_server("puts the commands to one server in order"),
    pytest.mark.filterwarnings("ignore:SESSION_IMPORT"),
    pytest.mark.timeout(600),
]

REDUCED = Options(reduced=True)
#: One command of a run is not carried out, or its reply does not arrive.
FAULTY = Options(fates=("ok", "cut", "lost"), faults=1, reduced=True)

Act = Callable[["Worker"], object]


class Worker:
    """A process of the application, which serves one request of a run, or calls a revocation."""

    def __init__(self, server: Server) -> None:
        client: Any = GatedRedis(port=server.port, retry=Retry(NoBackoff(), 0))
        self.site = NewSite(server, redis=client)
        mover = self.site.backend.mover
        assert mover is not None
        mover.pause = self._let_time_pass
        self.cookie = ""
        #: What the response set, what it was, and what the session said of its user.
        self.got: str | None = None
        self.status = 0
        self.seen: object = None
        self.ended: int | None = None

    def _let_time_pass(self, _: float) -> None:
        # Whoever waits does so for a second: longer than a claim lasts that nothing follows.
        for name, text in self.site.marks().items():
            if text.startswith("claimed"):
                words = text.split()
                older = " ".join([*words[:3], f"{float(words[3]) - 1.1:.3f}"])
                self.site.redis.set(f"session:old:{name}", older, keepttl=True)

    def request(self, view: Callable[[], object]) -> None:
        """Send a request with the old cookie."""
        client = self.site.app.test_client()
        client.set_cookie("session", self.cookie)
        values: list[Any] = []
        environ = {"tests.view": view, "tests.values": values}
        response = client.get("/", environ_overrides=environ)
        self.status = response.status_code
        self.seen = values[-1] if values else None
        cookie = client.get_cookie("session")
        self.got = None if cookie is None or cookie.value == self.cookie else cookie.value


def read(worker: Worker) -> None:
    """Read whose session it is."""
    worker.request(lambda: session.get("user_id"))


def write(worker: Worker) -> None:
    """Write without reading."""
    worker.request(lambda: session.update(note=1))


def sign_in(worker: Worker) -> None:
    """Sign in as somebody else, as a victim does in whose browser the cookie was planted."""
    worker.request(lambda: session.update(user_id=24))


def sign_out(worker: Worker) -> None:
    """Sign out."""
    worker.request(lambda: session.clear())


def revoke(worker: Worker) -> None:
    """End every session of user 23."""
    worker.ended = worker.site.interface.revoke_sessions(23)


def command(worker: Worker) -> None:
    """Carry all of Flask-Session's over."""
    run_command(worker.site.app, "import")


def joined() -> object:
    """Read whose session it is, in a request that comes later."""
    return session.get("user_id")


class Stage:
    """Runs requests against each other from a state in which there is one old session."""

    def __init__(self, server: Server, kind: str) -> None:
        self.server = server
        self.redis = server.client()
        self.cookie = OldSite(server if kind == "flask-session" else None).cookie(user_id=23)
        self.key = f"session:{self.cookie}"
        self.text = self.redis.get(self.key) if kind == "flask-session" else None
        self.workers = [Worker(server) for _ in range(3)]
        self.site = NewSite(server)
        load_scripts(self.redis)
        READING.update(
            script.sha
            for script in (
                flask_session_module._TEXT,
                index_module._LIST,
                index_module._READ,
                hashes_module._PROVE,
                revocation_module._PAGE,
            )
        )

    def explore(
        self, *acts: Act, check: Callable[[list[Worker]], object], options: Options = REDUCED
    ) -> int:
        """Go through every order; return how many there were."""
        workers = self.workers[: len(acts)]

        def begin() -> Run:
            for name in self.redis.keys("*"):
                self.redis.unlink(name)
            if self.text is not None:
                self.redis.set(self.key, self.text, ex=10_000)
            for worker in workers:
                worker.cookie, worker.got, worker.status = self.cookie, None, 0
                worker.seen = worker.ended = None
            bodies = [
                (act.__name__, lambda act=act, worker=worker: act(worker))
                for act, worker in zip(acts, workers, strict=True)
            ]
            return Run(bodies, options, self.look)

        return explore(begin, lambda _: check(workers), options=options).orders

    def look(self, _: Step) -> None:
        """Check after each step that no mark lost its end."""
        for name in self.redis.keys("session:old:*"):
            assert self.redis.pttl(name) > 0

    def opens(self, cookie: str) -> object:
        """Return whose session a cookie opens, in a request of its own."""
        return self.site.comes(cookie).visit(lambda: session.get("user_id")).value

    def check_shared(self, workers: list[Worker]) -> None:
        """Check that one session came of it, which each response opens."""
        assert 200 in [worker.status for worker in workers]
        (sid,) = self.site.sessions()
        assert [sid] == self.site.index(23)
        for worker in workers:
            # One that was so slow that it was overtaken may be told to try again: it joins then.
            assert (worker.status, worker.got is None) in ((200, False), (503, True))
            worker.got = worker.got or self.site.comes(self.cookie).visit(joined).cookie.value
            assert (sid, 23) == (worker.got.split(".")[0], self.opens(worker.got))
        assert self.text is None or not self.redis.exists(self.key)
        self.site.age_marks(31)
        assert None is self.opens(self.cookie)

    def check_revoked(self, workers: list[Worker]) -> None:
        """Check that no session of the user is left, nor will one come."""
        for worker in workers:
            assert worker.status in (0, 200, 503)
            assert worker.got is None or None is self.opens(worker.got)
        assert not self.redis.exists("session:user:23")
        self.site.age_marks(31)
        assert None is self.opens(self.cookie)
        # One that wrote after the revocation has a session of nobody's.
        assert not any(b"@user" in self.site.hash(sid) for sid in self.site.sessions())

    def check_planted(self, workers: list[Worker]) -> None:
        """Check that the first worker, the victim, is signed in, and nobody else shares that."""
        victim, *others = workers
        assert (victim.status, victim.got is None) in ((200, False), (503, True))
        assert victim.got is None or 24 == self.opens(victim.got)
        for other in others:
            assert 24 != other.seen
            assert other.got is None or self.opens(other.got) in (None, 23)
        for _ in range(2):
            assert self.opens(self.cookie) in (None, 23)
            self.site.age_marks(31)

    def check_not_lost(self, workers: list[Worker]) -> None:
        """Check that the user is still signed in: by a new cookie, or by the old one."""
        cookies = [worker.got for worker in workers if worker.got is not None]
        for cookie in cookies:
            assert 23 == self.opens(cookie)
        self.site.age_marks(1.1)
        assert 23 == self.opens(self.cookie)
        sids = {sid for sid in self.site.sessions() if self.site.hash(sid).get(b"@user") == b"23"}
        assert sids >= {cookie.split(".")[0] for cookie in cookies}
        assert {*self.site.index(23)} >= sids


@pytest.fixture(name="stage", params=["flask-session", "cookie"])
def _stage(request: pytest.FixtureRequest, valkey: Server, quiet: None) -> Stage:
    return Stage(valkey, request.param)


@pytest.mark.parametrize(
    "acts",
    [*combinations_with_replacement((read, write), 2)],
    ids=["two read", "one writes", "two write"],
)
def test_first_requests(stage: Stage, acts: tuple[Act, ...]) -> None:
    """First requests at once share one session, also if one is so slow that it is overtaken."""
    assert stage.explore(*acts, check=stage.check_shared) > 10


@pytest.mark.parametrize("act", [read, write], ids=["read", "write"])
def test_revocation(stage: Stage, act: Act) -> None:
    """However a revocation and a first request meet, no session of the user is left."""
    assert stage.explore(act, revoke, check=stage.check_revoked) > 5


@pytest.mark.parametrize("act", [read, write], ids=["read", "write"])
def test_planter(stage: Stage, act: Act) -> None:
    """However a planter's request and the victim's sign-in meet, the planter is not signed in."""
    assert stage.explore(sign_in, act, check=stage.check_planted) > 10


def test_sign_out(stage: Stage) -> None:
    """Who signs out is signed out, unless another request overtook it as a whole."""

    def check(workers: list[Worker]) -> None:
        assert 200 in [worker.status for worker in workers]
        assert len(stage.site.sessions()) <= 1
        stage.site.age_marks(31)
        assert None is stage.opens(stage.cookie)

    assert stage.explore(sign_out, read, check=check) > 10


@pytest.mark.parametrize("act", [read, write], ids=["read", "write"])
def test_faults(stage: Stage, act: Act) -> None:
    """If a command or its reply is lost on the way, the user stays signed in."""
    assert stage.explore(act, check=stage.check_not_lost, options=FAULTY) > 10


def test_command(valkey: Server) -> None:
    """The command and a first request carry a session over once, and its browser gets it."""
    stage = Stage(valkey, "flask-session")

    def check(workers: list[Worker]) -> None:
        first, _ = workers
        (sid,) = stage.site.sessions()
        assert [sid] == stage.site.index(23)
        assert 23 == first.seen
        assert first.got is not None
        assert (sid, 23) == (first.got.split(".")[0], stage.opens(first.got))

    assert stage.explore(read, command, check=check) > 10


@pytest.mark.soak
@pytest.mark.parametrize(
    "acts", [(read, read, revoke), (read, read, read)], ids=["two, revoke", "three"]
)
def test_three(stage: Stage, acts: tuple[Act, ...]) -> None:
    """The same with three at once."""
    check = stage.check_revoked if revoke in acts else stage.check_shared
    assert stage.explore(*acts, check=check) > 100


# --------------------------------------------------------------------------- broken on purpose


def test_notices_a_missed_revocation(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the mark of a user were read only before the session is stored, an order shows it."""
    asked: dict[int, int] = {}
    real = Marks.is_revoked

    def once(marks: Marks, user: str | None, signed_at: float | None) -> bool:
        asked[id(marks)] = asked.get(id(marks), 0) + 1
        return asked[id(marks)] % 2 == 1 and real(marks, user, signed_at)

    monkeypatch.setattr(Marks, "is_revoked", once)
    with pytest.raises(AssertionError):
        stage.explore(read, revoke, check=stage.check_revoked)


def test_notices_two_imports(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """If a claim that was taken over still counted, an order would leave two sessions."""
    real = Marks.follow
    monkeypatch.setattr(Marks, "follow", lambda *args, **kwargs: real(*args, **kwargs) or True)
    with pytest.raises(AssertionError):
        stage.explore(read, read, check=stage.check_shared)


def test_notices_a_dead_cookie(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """If a slow first request handed out its cookie unasked, the victim would be signed out."""
    monkeypatch.setattr(Mover, "opens", lambda *_: True)

    def check(workers: list[Worker]) -> None:
        assert workers[1].got is None or stage.opens(workers[1].got) is not None

    with pytest.raises(AssertionError):
        stage.explore(sign_in, read, check=check)
