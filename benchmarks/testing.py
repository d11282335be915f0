"""What a test costs that has sessions of its own, beside one with Flask's own cookie sessions.

Run it as `python benchmarks/testing.py`. A test signs a client in and asks for one page. The two
sides take turns; what is shown is the median of each, in milliseconds.
"""

from __future__ import annotations

import sys
from pathlib import Path
from statistics import median
from time import perf_counter

from flask import Flask, session

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from flask_redis_session import RedisSessionInterface
from flask_redis_session.client.url import connect
from flask_redis_session.testing import isolated, own_server, sign_in

TESTS = 500
#: Milliseconds that a test may cost more.
BAR = 5.0


def make() -> Flask:
    app = Flask("bench")
    app.secret_key = "for Flask's own"

    @app.get("/")
    def page() -> str:
        return str(session["user_id"])

    return app


def main() -> None:
    plain, ours = make(), make()
    RedisSessionInterface().init_app(ours)

    def with_flask() -> None:
        client = plain.test_client()
        with client.session_transaction() as held:
            held["user_id"] = 23
        assert client.get("/").text == "23"

    with own_server() as url:
        redis = connect(url)

        def with_ours() -> None:
            with isolated(ours, redis):
                client = ours.test_client()
                sign_in(client, 23)
                assert client.get("/").text == "23"

        found: dict[str, list[float]] = {"Flask's own": [], "these": []}
        for _ in range(TESTS):
            for name, test in (("Flask's own", with_flask), ("these", with_ours)):
                began = perf_counter()
                test()
                found[name].append((perf_counter() - began) * 1000)
        redis.close()
    for name, each in found.items():
        print(f"{name:12} {median(each):6.2f} ms")
    more = median(found["these"]) - median(found["Flask's own"])
    print(f"{'more':12} {more:6.2f} ms (at most {BAR}): {'met' if more < BAR else 'MISSED'}")


if __name__ == "__main__":
    main()
