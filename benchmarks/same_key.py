"""What becomes of one key that parallel requests change: ``python -m benchmarks.same_key``."""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import Barrier, Thread

import flask

from flask_redis_session import RedisSessionInterface, session

#: How long a view takes between its check and its end, in seconds.
WORK = 0.02
ALLOWED = 3
#: So many writers append so often each.
WRITERS, EACH = 16, 20

app = flask.Flask(__name__)
app.config["SESSION_REDIS_URL"] = "embedded://"
app.config["SESSION_MERGE"] = ["merged"]
RedisSessionInterface().init_app(app)
_judged: list[bool] = []
_accepted: list[bool] = []


def _assigned() -> bool:
    """Count a try by an assignment; return whether there were too many."""
    if session["tries"] >= ALLOWED:
        return True
    session["tries"] += 1
    return False


WAYS: dict[str, tuple[Callable[[], bool], Callable[[], object]]] = {
    "assigned and popped": (_assigned, lambda: session.pop("otp", None)),
    "increment and take": (
        lambda: session.increment("tries") > ALLOWED,
        lambda: session.take("otp"),
    ),
}


@app.get("/begin")
def begin() -> str:
    """Begin a session with a count and a one-time code."""
    session.update(tries=0, otp="4711")
    return ""


@app.get("/guess/<way>")
def guess(way: str) -> tuple[str, int]:
    """Judge a guess, unless there were too many."""
    if WAYS[way][0]():
        return "", 429
    time.sleep(WORK)
    _judged.append(True)
    return "", 200


@app.get("/code/<way>")
def code(way: str) -> str:
    """Accept a code once."""
    found = WAYS[way][1]()
    time.sleep(WORK)
    if found is not None:
        _accepted.append(True)
    return ""


def send(path: str, count: int) -> None:
    """Send so many requests of a new session at once."""
    browser = app.test_client()
    browser.get("/begin")
    cookie = browser.get_cookie("session")
    assert cookie is not None
    together = Barrier(count)

    def come() -> None:
        visitor = app.test_client()
        visitor.set_cookie("session", cookie.value)
        together.wait()
        visitor.get(path)

    threads = [Thread(target=come) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


@app.get("/write/<key>/<int:number>")
def write(key: str, number: int) -> str:
    """Append to a list."""
    session.setdefault(key, []).append(number)
    return ""


@app.get("/count/<key>")
def count(key: str) -> str:
    """Tell how long a list is."""
    return str(len(session[key]))


def append(key: str) -> int:
    """Let the writers append to one list, and return how much of it is lost."""
    browser = app.test_client()
    browser.get("/begin")
    cookie = browser.get_cookie("session")
    assert cookie is not None

    def come(writer: int) -> None:
        visitor = app.test_client()
        visitor.set_cookie("session", cookie.value)
        for number in range(EACH):
            visitor.get(f"/write/{key}/{writer * EACH + number}")

    threads = [Thread(target=come, args=[writer]) for writer in range(WRITERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return WRITERS * EACH - int(browser.get(f"/count/{key}").text)


def main() -> None:
    """Print a line for each way."""
    for way in WAYS:
        _judged.clear()
        _accepted.clear()
        send(f"/guess/{way}", 60)
        send(f"/code/{way}", 3)
        print(f"{way}: {len(_judged)} guesses judged, code accepted {len(_accepted)} times")
    for key, named in (("list", "not named in"), ("merged", "named in")):
        print(f"{named} SESSION_MERGE: {append(key)} of {WRITERS * EACH} lost")


if __name__ == "__main__":
    main()
