"""A site whose pages the tests bring along, and the browsers that visit it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, cast

import flask

from flask_redis_session import RedisSession, RedisSessionInterface
from flask_redis_session.client.script import SCRIPTS
from tests.support.clients import shared_client

if TYPE_CHECKING:
    from werkzeug.test import TestResponse

    from tests.support.servers import Server

#: ``flask.session``, as these sessions' users know it.
session = cast("RedisSession", flask.session)


def real_session() -> RedisSession:
    """Return the session of this request itself, without Flask's proxy."""
    proxy: Any = flask.session
    return cast("RedisSession", proxy._get_current_object())


View = Callable[[], Any]

_VIEW = "tests.view"
_VALUES = "tests.values"


@dataclass(frozen=True)
class SetCookie:
    """A ``Set-Cookie`` header: what the browser is told to keep."""

    name: str
    value: str
    flags: Mapping[str, str]

    @classmethod
    def parse(cls, header: str) -> SetCookie:
        """Take a header apart."""
        pair, *flags = header.split("; ")
        name, _, value = pair.partition("=")
        return cls(name, value, dict(flag.partition("=")[::2] for flag in flags))


class Answer:
    """What a browser got, and what the view had returned."""

    def __init__(self, response: TestResponse, value: Any) -> None:
        self.response = response
        self.status = response.status_code
        self.headers = response.headers
        self.value = value

    @property
    def cookies(self) -> list[SetCookie]:
        """Every cookie that is set or deleted."""
        return [SetCookie.parse(header) for header in self.headers.getlist("Set-Cookie")]

    @property
    def cookie(self) -> Any:
        """The session's cookie, a :class:`SetCookie`; ``None`` if it is neither set nor deleted."""
        found = [cookie for cookie in self.cookies if cookie.name == "session"]
        assert len(found) <= 1
        return found[0] if found else None


class Browser:
    """A browser with cookies of its own."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.client = site.app.test_client()

    def visit(self, view: View = lambda: None, *, status: int = 200, **options: Any) -> Answer:
        """Send a request that this view answers; its result is the ``value`` of the answer."""
        values: list[Any] = []
        environ = {_VIEW: view, _VALUES: values, **options.pop("environ_overrides", {})}
        path = options.pop("path", "/")
        response = self.client.open(path, environ_overrides=environ, **options)
        answer = Answer(response, values[-1] if values else None)

        assert status == answer.status
        return answer

    def set(self, **values: Any) -> Answer:
        """Assign these keys of the session without reading any."""

        def assign() -> None:
            for key, value in values.items():
                session[key] = value

        return self.visit(assign)

    def sign_in(self, user_id: object, **values: Any) -> Answer:
        """Sign in as a view does that knows the password was right."""
        return self.set(user_id=user_id, **values)

    def read(self) -> dict[str, Any]:
        """Return what the session holds."""
        return cast("dict[str, Any]", self.visit(lambda: dict(session)).value)

    @property
    def cookie(self) -> Any:
        """The value of the session's cookie; ``None`` if there is none."""
        cookie = self.client.get_cookie("session")
        return None if cookie is None else cookie.value

    @cookie.setter
    def cookie(self, value: str) -> None:
        self.client.set_cookie("session", value)

    @property
    def sid(self) -> str:
        """The public part of the cookie."""
        assert self.cookie is not None
        return str(self.cookie.split(".")[0])

    @property
    def secret(self) -> str:
        """The secret part of the cookie."""
        assert self.cookie is not None
        return str(self.cookie.split(".")[1])

    def twin(self) -> Browser:
        """Return a browser with the same cookie: a thief, or a request that is under way."""
        twin = Browser(self.site)
        assert self.cookie is not None
        twin.cookie = self.cookie
        return twin


class Site:
    """An application with these sessions, on a server of the tests.

    :param server: where its sessions are; ``None``: at a client that no server answers.
    :param redis: the client that the sessions use; ``None``: one of the kind that is tested.
    :param config: settings of the application; a URL among them takes the client's place.
    """

    def __init__(
        self, server: Any, *, redis: Any = None, prefix: str | None = None, **config: Any
    ) -> None:
        self.server = server
        #: For a look at what is stored.
        self.redis: Any = client_of(server) if server is not None else None
        #: What the sessions use.
        self.client: Any = redis
        if redis is None and server is not None:
            self.client = shared_client(server)
        if "SESSION_REDIS_URL" in config:
            self.interface = RedisSessionInterface(prefix=prefix)
            self.app = make_app(**config)
            self.interface.init_app(self.app)
        else:
            self.interface = RedisSessionInterface(redis=self.client, prefix=prefix)
            self.app = make_app(self.interface, **config)

    def browser(self) -> Browser:
        """Return a browser that has never been here."""
        return Browser(self)

    def browsers(self, user_id: object, count: int) -> list[Browser]:
        """Return browsers that are signed in, the first of them first."""
        browsers = [self.browser() for _ in range(count)]
        for browser in browsers:
            browser.sign_in(user_id)
        return browsers

    def send(self, cookie: str, view: View = lambda: None, **options: Any) -> Answer:
        """Send a request with this ``Cookie`` header, as it is."""
        browser = self.browser()
        browser.client = self.app.test_client(use_cookies=False)
        return browser.visit(view, headers={"Cookie": cookie}, **options)

    def key(self, sid: str) -> str:
        """Return the name of a session's hash."""
        return f"session:{sid}"

    def hash(self, sid: str) -> dict[bytes, bytes]:
        """Return a session as Redis holds it."""
        return cast("dict[bytes, bytes]", self.redis.hgetall(self.key(sid)))

    def names(self) -> set[str]:
        """Return the name of every key in Redis, but of what holds the tombstones of a sign-out."""
        return names_in(self.redis)

    def index(self, user_id: object) -> list[str]:
        """Return the members of a user's index, last seen first."""
        members = self.redis.zrevrange(f"session:user:{user_id}", 0, -1)
        return [member.decode() for member in members]

    def age(self, sid: str, seconds: float, *fields: str, user_id: object = None) -> None:
        """Let a session have been seen (and if ``@born`` is named, created) earlier."""
        for field in fields or ("@seen",):
            self.redis.hincrbyfloat(self.key(sid), field, -seconds)
        if user_id is not None:
            self.redis.zincrby(f"session:user:{user_id}", -seconds, sid)

    def later(self, seconds: float) -> None:
        """Let so much time pass, as far as what is stored can tell."""
        for name in self.redis.keys("*"):
            if self.redis.type(name) == b"zset":
                for member in self.redis.zrange(name, 0, -1):
                    self.redis.zincrby(name, -seconds, member)
            elif self.redis.type(name) == b"hash":
                for field, value in self.redis.hgetall(name).items():
                    if field in (b"@born", b"@seen", b"@signed") or (
                        b"@secret:" in field and value[:1] != b"s"
                    ):
                        self.redis.hincrbyfloat(name, field, -seconds)
            self.redis.pexpire(name, max(0, self.redis.pttl(name) - int(seconds * 1000)))

    def close(self) -> None:
        """Close the client that these sessions made from a URL."""
        self.interface._any_backend().redis._client.close()

    def expire(self, *sids: str) -> None:
        """Let the hashes of these sessions expire."""
        for sid in sids:
            assert self.redis.pexpire(self.key(sid), 0)


def names_in(redis: Any) -> set[str]:
    """Return the name of every key, but of what holds the tombstones of a sign-out."""
    return {key.decode() for key in redis.keys("*") if not is_grave(redis, key)}


def is_grave(redis: Any, key: bytes) -> bool:
    """Tell whether a key holds tombstones and nothing else."""
    if redis.type(key) != b"hash":
        return False
    fields = redis.hgetall(key).items()
    return all(name[:8] == b"@secret:" and value[:1] != b"s" for name, value in fields)


@cache
def client_of(server: Server) -> Any:
    """Return the client with which the tests look at what is stored: redis-py's."""
    return server.client()


def load_scripts(redis: Any) -> None:
    """Let the server, or each primary of a cluster, have the library's scripts."""
    for script in SCRIPTS.values():
        redis.script_load(script.text)


def make_app(interface: RedisSessionInterface | None = None, **config: Any) -> flask.Flask:
    """Make an application in which each request brings the view along that answers it."""
    app = flask.Flask("webapp")
    app.config.update(config)
    if interface is not None:
        app.session_interface = interface

    @app.route("/", methods=["GET", "POST"])
    @app.route("/<path:path>", methods=["GET", "POST"])
    def page(path: str = "") -> Any:
        environ = flask.request.environ
        value = environ[_VIEW]()
        environ[_VALUES].append(value)
        return value if isinstance(value, flask.Response) else "served"

    return app


def each(*views: View) -> View:
    """Return a view that does these things one after another and returns the last's result."""

    def view() -> Any:
        return [each() for each in views][-1]

    return view


def site_with_victim(server: Server) -> Any:
    """Return a site where somebody is signed in, whose browser is its ``victim``."""
    site: Any = Site(server)
    site.victim = site.browser()
    site.victim.sign_in(23, cart=[1])
    return site


def sids(infos: Iterable[Any]) -> list[str]:
    """Return the sids of some :class:`~flask_redis_session.SessionInfo`."""
    return [info.sid for info in infos]
