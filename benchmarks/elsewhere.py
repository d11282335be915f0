"""The sessions of other frameworks in Redis: the same five requests, each in its own framework.

Run by :mod:`frameworks`, in a process for each. It is told what to send, a line a time, and tells
how much of the processor each took; the floor of each is the same views over a session that is
there already and goes nowhere.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable
from http.cookies import SimpleCookie
from itertools import cycle
from time import thread_time_ns
from typing import Any

from contenders import DAY, content, text

SIZE = 20
DATA = content(3, SIZE)
SECONDS = int(DAY.total_seconds())
TEXTS = cycle([text(SIZE, "a"), text(SIZE, "b")])
USERS = cycle(range(1, 1001))
SECRET = "of a benchmark, and long enough for all of them"

#: What a view does with its session; a sign-in renews the id first, if the framework can.
VIEWS: dict[str, Callable[[Any], object]] = {
    "seed": lambda session: session.update(DATA),
    "read_one": lambda session: len(session["key0"]),
    "set_one": lambda session: session.update({"key0": next(TEXTS)}),
    "read_and_set_one": lambda session: (
        len(session["key0"]),
        session.update({"key0": next(TEXTS)}),
    ),
    "new_visitor": lambda session: session.update({"key0": next(TEXTS)}),
    "sign_in": lambda session: session.update({"user_id": next(USERS)}),
}


class Client:
    """Sends requests to an application of WSGI or ASGI and keeps its session cookie.

    :param send: sends one to a path with a cookie; returns the status and the headers.
    """

    def __init__(self, send: Callable[[str, str | None], Any]) -> None:
        self._send = send
        self.cookie: str | None = None

    async def request(self, case: str) -> float:
        """Return how many microseconds of the processor it took."""
        begin = thread_time_ns()
        status, headers = await self._send(f"/{case}", self.cookie)
        took = thread_time_ns() - begin
        assert status == 200, (case, status)
        for value in headers:
            for cookie in SimpleCookie(value).values():
                self.cookie = f"{cookie.key}={cookie.coded_value}"
        return took / 1000


def wsgi(app: Any, instead: dict[str, str] | None = None) -> Client:
    """Return a client of a WSGI application.

    :param instead: a kind of request -> the view for it, if that has another name.
    """
    from werkzeug.test import EnvironBuilder  # noqa: PLC0415

    environs = {
        f"/{case}": EnvironBuilder(f"/{(instead or {}).get(case, case)}").get_environ()
        for case in VIEWS
    }

    async def send(path: str, cookie: str | None) -> Any:
        answered: list[Any] = []

        def start_response(status: str, headers: Any, _: Any = None) -> None:
            answered.extend((status, headers))

        environ = {**environs[path], "REMOTE_ADDR": "127.0.0.1"}
        if cookie is not None:
            environ["HTTP_COOKIE"] = cookie
        parts = app(environ, start_response)
        b"".join(parts)
        if hasattr(parts, "close"):
            parts.close()
        status, headers = answered
        return int(status[:3]), [value for name, value in headers if name == "Set-Cookie"]

    return Client(send)


def asgi(app: Any) -> Client:
    """Return a client of an ASGI application."""

    async def receive() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(path: str, cookie: str | None) -> Any:
        answered: list[Any] = []

        async def hear(message: Any) -> None:
            if message["type"] == "http.response.start":
                answered.extend((message["status"], message["headers"]))

        headers = [(b"host", b"localhost")]
        if cookie is not None:
            headers.append((b"cookie", cookie.encode()))
        about = {"type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1"}
        about |= {"method": "GET", "scheme": "http", "root_path": "", "query_string": b""}
        about |= {"client": ("127.0.0.1", 1), "server": ("localhost", 80), "state": {}}
        await app(
            {**about, "path": path, "raw_path": path.encode(), "headers": headers}, receive, hear
        )
        status, sent = answered
        return status, [v.decode() for name, v in sent if name.lower() == b"set-cookie"]

    return Client(send)


class There(dict[str, Any]):
    """A session that is there already and goes nowhere."""


# --------------------------------------------------------------------------- the frameworks


def flask_session(url: str) -> dict[str, Client]:
    from contenders import flask_session as make  # noqa: PLC0415
    from contenders import floor  # noqa: PLC0415

    # Only this view of theirs renews the id.
    sessions = wsgi(make(DATA, SIZE, url), {"sign_in": "sign_in_renewed"})
    return {"floor": wsgi(floor(DATA, SIZE)), "sessions": sessions}


def ours(url: str) -> dict[str, Client]:
    from contenders import floor  # noqa: PLC0415
    from contenders import ours as make  # noqa: PLC0415

    return {"floor": wsgi(floor(DATA, SIZE)), "sessions": wsgi(make(DATA, SIZE, url))}


def django(url: str) -> dict[str, Client]:
    import django as package  # noqa: PLC0415
    from django.conf import settings  # noqa: PLC0415
    from django.core.handlers.wsgi import WSGIHandler  # noqa: PLC0415
    from django.http import HttpResponse  # noqa: PLC0415
    from django.urls import path  # noqa: PLC0415

    cache = {"BACKEND": "django.core.cache.backends.redis.RedisCache", "LOCATION": url}
    settings.configure(
        ALLOWED_HOSTS=["*"],
        CACHES={"default": cache},
        MIDDLEWARE=["elsewhere.there"],
        ROOT_URLCONF=__name__,
        SECRET_KEY=SECRET,
        SESSION_ENGINE="django.contrib.sessions.backends.cache",
        SESSION_COOKIE_AGE=SECONDS,
    )
    package.setup()

    def view(case: str) -> Any:
        def answer(request: Any) -> Any:
            if case == "sign_in" and hasattr(request.session, "cycle_key"):
                request.session.cycle_key()
            VIEWS[case](request.session)
            return HttpResponse(b"1")

        return answer

    globals()["urlpatterns"] = [path(case, view(case)) for case in VIEWS]
    sys.modules["elsewhere"] = sys.modules[__name__]
    base = WSGIHandler()
    settings.MIDDLEWARE = ["django.contrib.sessions.middleware.SessionMiddleware"]
    return {"floor": wsgi(base), "sessions": wsgi(WSGIHandler())}


def there(get_response: Any) -> Any:
    """Give a request of Django's a session that goes nowhere."""
    session = There(DATA)

    def middleware(request: Any) -> Any:
        request.session = session
        return get_response(request)

    return middleware


def pyramid(url: str) -> dict[str, Client]:
    from pyramid.config import Configurator  # noqa: PLC0415
    from pyramid.response import Response  # noqa: PLC0415
    from pyramid_session_redis import RedisSessionFactory  # noqa: PLC0415

    def view(case: str) -> Any:
        def answer(request: Any) -> Any:
            session = request.session
            if case == "sign_in" and hasattr(session, "invalidate"):
                # It has no other way to renew the id.
                content = dict(session)
                session.invalidate()
                session.update(content)
            VIEWS[case](session)
            return Response(b"1")

        return answer

    def made(factory: Any) -> Client:
        config = Configurator(session_factory=factory)
        for case in VIEWS:
            config.add_route(case, f"/{case}")
            config.add_view(view(case), route_name=case)
        return wsgi(config.make_wsgi_app())

    session = There(DATA)
    factory = RedisSessionFactory(SECRET, redis_url=url, timeout=SECONDS)
    return {"floor": made(lambda _: session), "sessions": made(factory)}


def starsessions(url: str) -> dict[str, Client]:
    from starlette.applications import Starlette  # noqa: PLC0415
    from starlette.middleware import Middleware  # noqa: PLC0415
    from starlette.responses import Response  # noqa: PLC0415
    from starlette.routing import Route  # noqa: PLC0415
    from starsessions import (  # noqa: PLC0415
        SessionAutoloadMiddleware,
        SessionMiddleware,
        regenerate_session_id,
    )
    from starsessions.stores.redis import RedisStore  # noqa: PLC0415

    def made(*middleware: Any, renews: bool) -> Client:
        def view(case: str) -> Any:
            async def answer(request: Any) -> Any:
                if case == "sign_in" and renews:
                    regenerate_session_id(request)
                VIEWS[case](request.session)
                return Response(b"1")

            return answer

        routes = [Route(f"/{case}", view(case)) for case in VIEWS]
        return asgi(Starlette(routes=routes, middleware=middleware))

    store = Middleware(
        SessionMiddleware, store=RedisStore(url), lifetime=SECONDS, cookie_https_only=False
    )
    return {
        "floor": made(Middleware(_Inserted), renews=False),
        "sessions": made(store, Middleware(SessionAutoloadMiddleware), renews=True),
    }


class _Inserted:
    """Gives a request of ASGI a session that goes nowhere."""

    def __init__(self, app: Any) -> None:
        self.app = app
        self._session = There(DATA)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        scope["session"] = self._session
        await self.app(scope, receive, send)


def litestar(url: str) -> dict[str, Client]:
    from litestar import Litestar, Request, get  # noqa: PLC0415
    from litestar.middleware.session.server_side import ServerSideSessionConfig  # noqa: PLC0415
    from litestar.stores.redis import RedisStore  # noqa: PLC0415

    def view(case: str) -> Any:
        async def answer(request: Request[Any, Any, Any]) -> str:
            VIEWS[case](request.session)
            return "1"

        answer.__annotations__.update({"request": Request, "return": str})
        return get(f"/{case}", name=case)(answer)

    def made(middleware: Any, **options: Any) -> Client:
        handlers = [view(case) for case in VIEWS]
        return asgi(Litestar(handlers, middleware=[middleware], openapi_config=None, **options))

    config = ServerSideSessionConfig(max_age=SECONDS)
    stores = {"sessions": RedisStore.with_client(url)}
    return {"floor": made(_Inserted), "sessions": made(config.middleware, stores=stores)}


#: A framework's package -> what makes the two applications.
FRAMEWORKS: dict[str, Callable[[str], dict[str, Client]]] = {
    "flask_redis_session": ours,
    "flask_session": flask_session,
    "django": django,
    "pyramid_session_redis": pyramid,
    "starsessions": starsessions,
    "litestar": litestar,
}


async def serve(clients: dict[str, Client]) -> None:
    """Do what each line says: who sends how many requests of which kind."""
    for line in sys.stdin:
        side, case, count = json.loads(line)
        client, times = clients[side], []
        for _ in range(count):
            if case == "sign_in":
                client.cookie = None
                await client.request("seed")
            elif case in ("new_visitor", "seed"):
                client.cookie = None
            times.append(await client.request(case))
        print(json.dumps(times), flush=True)


if __name__ == "__main__":
    asyncio.run(serve(FRAMEWORKS[sys.argv[1]](sys.argv[2])))
