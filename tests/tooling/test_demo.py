"""The demo, run as a person would run it."""

from __future__ import annotations

import email.message
import http.cookiejar
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
IPHONE = (
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 "
    "(KHTML, like Gecko) Version/18.5 Mobile/15E148 Safari/604.1"
)
MIRA = {"person": "23", "password": "marmalade"}


class Demo:
    """A demo that runs as a process of its own."""

    def __init__(self, *arguments: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, str(ROOT / "examples" / "demo"), *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            start_new_session=True,  # else it would share a server with its brothers
        )
        self.address = self._address()

    def _address(self) -> str:
        assert self.process.stdout
        for line in self.process.stdout:
            if found := re.search(r"http://[\d.]+:\d+", line):
                return found[0]
        raise AssertionError(self.process.communicate()[1])

    def end(self, signum: int) -> tuple[int, str]:
        """Send it this signal; its exit code, and what it had to complain of."""
        self.process.send_signal(signum)
        _, complaints = self.process.communicate(timeout=20)
        return self.process.returncode, complaints

    def kill(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            try:
                self.process.communicate(timeout=20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.communicate()


class Browser:
    """A browser with cookies of its own, at the demo."""

    def __init__(self, demo: Demo, user_agent: str = "Mozilla/5.0 (X11; Linux) Firefox/140.0"):
        self._address = demo.address
        self._cookies = http.cookiejar.CookieJar()
        self._opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPCookieProcessor(self._cookies)
        )
        self._opener.addheaders = [("User-Agent", user_agent)]
        self.path = ""
        self.status = 0
        self.page = ""
        self.headers = email.message.Message()

    def get(self, path: str) -> str:
        return self._open(path, None)

    def post(self, path: str, **form: str) -> str:
        """Send a form with the token of the page that is open."""
        for name, token in re.findall(r'name="(csrf|devices_token)" value="([^"]+)"', self.page):
            form.setdefault(name, token)
        return self._open(path, urllib.parse.urlencode(form).encode())

    def sign_in(self, **who: str) -> str:
        self.get("/sign-in")
        return self.post("/sign-in", **who)

    def sign_in_alone(self, **who: str) -> str:
        """Sign in, and end what other tests have left of this person."""
        self.sign_in(**who)
        self.get("/devices")
        return self.post("/devices/end-others")

    def cookie(self) -> str | None:
        found = [each.value for each in self._cookies if each.name == "demo_session"]
        return found[0] if found else None

    def _open(self, path: str, form: bytes | None) -> str:
        try:
            response = self._opener.open(self._address + path, form, timeout=10)
        except urllib.error.HTTPError as error:
            response = error
        with response:
            self.status = response.status
            self.headers = response.headers
            self.path = urllib.parse.urlsplit(response.url).path
            self.page = response.read().decode()
        return self.page


def _processes_of(path: str) -> list[str]:
    """The commands that run with this path among their arguments."""
    listing = subprocess.run(
        ["ps", "-A", "-ww", "-o", "args="], capture_output=True, text=True, check=True
    )
    return [command for command in listing.stdout.splitlines() if path in command]


def _left_running(path: str) -> list[str]:
    """Which of these still run, after they had a moment to end."""
    deadline = time.monotonic() + 5
    while (left := _processes_of(path)) and time.monotonic() < deadline:
        time.sleep(0.05)
    return left


def _reading(page: str, label: str) -> dict[str, str]:
    """What the meter of this page says under this label, by the name of the figure."""
    section = page.partition(f"<h3>{label}")[2].partition("</section>")[0]
    return {
        name.rstrip("s") if name.startswith("round") else name.replace("fields", "field"): value
        for name, value in re.findall(r"<dt>([^<]+)</dt><dd>([^<]+)</dd>", section)
    }


def _sids(page: str) -> list[str]:
    return re.findall(r'action="/devices/([^/"]+)/end"', page)


@contextmanager
def running(*arguments: str) -> Iterator[Demo]:
    """A demo with these arguments, ended when the block is left."""
    demo = Demo(*arguments)
    try:
        yield demo
    finally:
        demo.kill()


@pytest.fixture(scope="module")
def demo() -> Iterator[Demo]:
    """One demo for the tests of this file."""
    with running("--port", "0") as demo:
        yield demo


def test_signs_in_with_the_right_password_only(demo: Demo) -> None:
    """Another password leaves one at the form; the right one opens the site."""
    browser = Browser(demo)
    browser.sign_in(person="23", password="pebble")

    assert (422, "/sign-in") == (browser.status, browser.path)
    assert "Wrong password." in browser.page

    browser.sign_in(**MIRA)

    assert (200, "/") == (browser.status, browser.path)
    assert "Mira Holt" in browser.page


def test_fills_in_the_passwords(demo: Demo) -> None:
    """Each person's form holds their password, so one click signs in."""
    page = Browser(demo).get("/sign-in")
    forms = re.findall(
        r'name="person" value="(\d+)".*?name="password".*?value="(\w+)"', page, re.DOTALL
    )

    assert [("23", "marmalade"), ("42", "pebble"), ("77", "lantern")] == forms


def test_the_first_page_of_the_first_visitor() -> None:
    """The very first page costs less than 1 KB each way, beside the 400 KB of a whole session."""
    with running("--port", "0") as demo:
        browser = Browser(demo)
        page = browser.sign_in(person="77", password="lantern")
        reading = _reading(page, "This page")
        whole = re.findall(r">GET /</code></th>.*<td>([^<]+)</td></tr>", page)[0]

        assert ("1", "0") == (reading["round trip"], reading["field written"])
        assert re.fullmatch(r"\d+ B", reading["sent"])
        assert re.fullmatch(r"\d+ B", reading["received"])
        assert re.fullmatch(r"4\d\d KB", whole)

        assert 9 == len(_sids(browser.get("/devices")))
        assert 1 == browser.page.count("This device")
        # When she signed in on the first of the others.
        assert "6 days ago" in browser.page


def test_an_almost_empty_session_is_cheaper_whole(demo: Demo) -> None:
    """If the session is small, the meter says that to save all of it moves fewer bytes."""
    browser = Browser(demo)
    browser.sign_in(**MIRA)
    browser.post("/smaller")

    assert "fewer bytes" not in browser.page

    browser.post("/note", note="Milk in first.")

    assert "To load and save all of it would take fewer bytes" in browser.page


def test_a_sign_in_renews_the_cookie(demo: Demo) -> None:
    """The cookie from before the sign-in is not the one after it."""
    browser = Browser(demo)
    browser.get("/sign-in")
    before = browser.cookie()
    browser.sign_in(**MIRA)

    assert before
    assert before != browser.cookie()


def test_refuses_a_form_without_its_token(demo: Demo) -> None:
    """A POST that does not carry the token of the session changes nothing."""
    browser = Browser(demo)
    browser.sign_in(**MIRA)
    browser.post("/note", note="forged", csrf="guessed")

    assert 400 == browser.status
    assert "forged" not in browser.get("/session")


def test_one_browser_ends_another(demo: Demo) -> None:
    """Two browsers of one person see both, and one can sign out the other."""
    here, there = Browser(demo), Browser(demo, IPHONE)
    here.sign_in_alone(person="42", password="pebble")
    there.sign_in(person="42", password="pebble")
    page = here.get("/devices")

    assert "Firefox on Linux" in page
    assert "Safari on iPhone" in page
    assert 1 == page.count("This device")

    mine, sid = _sids(page)
    here.post(f"/devices/{sid}/end")

    assert "That device is signed out." in here.page
    assert [mine] == _sids(here.page)

    there.get("/")

    assert "/sign-in" == there.path
    assert "Your session has ended" in there.page


def test_nobody_ends_a_device_of_somebody_else(demo: Demo) -> None:
    """The id of another person's session, sent by hand, ends nothing."""
    mira, jonas, jonas_too = Browser(demo), Browser(demo), Browser(demo)
    mira.sign_in(**MIRA)
    jonas.sign_in_alone(person="42", password="pebble")
    jonas_too.sign_in(person="42", password="pebble")
    sid = _sids(jonas_too.get("/devices"))[0]
    mira.get("/devices")
    mira.post(f"/devices/{sid}/end")

    assert 404 == mira.status
    assert sid in _sids(jonas_too.get("/devices"))


def test_ends_the_others(demo: Demo) -> None:
    """To sign out the others leaves this browser in, and no other."""
    here, *others = [Browser(demo) for _ in range(3)]
    here.sign_in_alone(person="77", password="lantern")
    for other in others:
        other.sign_in(person="77", password="lantern")
    here.get("/devices")
    here.post("/devices/end-others")

    assert "Signed out everywhere else: 2 devices." in here.page
    assert ["/sign-in", "/sign-in"] == [other.get("/") and other.path for other in others]


def test_ends_all(demo: Demo) -> None:
    """To log out everywhere ends the browser that asks as well."""
    here, there = Browser(demo), Browser(demo)
    for browser in (here, there):
        browser.sign_in(person="77", password="lantern")
    here.get("/devices")
    here.post("/devices/end-all")

    assert "/devices/signed-out" == here.path
    assert "Every device that was signed in will ask you" in here.page
    assert "What it cost Redis" in here.page
    assert "Such a store has no list of your other devices." in here.page

    there.get("/")

    assert "/sign-in" == there.path


def test_a_page_that_leaves_the_session_alone_costs_nothing(demo: Demo) -> None:
    """The meter reads zero on a page that does not touch the session."""
    browser = Browser(demo)
    browser.sign_in(**MIRA)
    page = browser.get("/public")
    expected = {"round trip": "0", "field written": "0", "sent": "0 B", "received": "0 B"}

    assert expected == _reading(page, "This page")


def test_a_note_costs_one_field_in_a_heavy_session(demo: Demo) -> None:
    """With 200 keys more in the session, to change the note moves the note, and no KB of others."""
    browser = Browser(demo)
    browser.sign_in(**MIRA)
    browser.post("/larger")
    browser.post("/note", note="Milk in first.")
    browser.post("/note", note="Milk in last.")
    reading = _reading(browser.page, "Your last change")

    assert "1" == reading["field written"]
    assert re.fullmatch(r"\d+ B", reading["sent"])
    assert re.fullmatch(r"\d+ B", reading["received"])
    assert "Milk in last." in browser.page


def test_no_page_holds_the_secret(demo: Demo) -> None:
    """The page that shows what Redis holds has the public id, but not the secret."""
    browser = Browser(demo)
    browser.sign_in(**MIRA)
    page = browser.get("/session")
    sid, secret = (browser.cookie() or "").split(".")[:2]

    assert sid in page
    assert secret not in page
    assert "HGETALL session:" in page


def test_private_pages_are_not_to_be_kept(demo: Demo) -> None:
    """No cache may keep a page of the site."""
    browser = Browser(demo)
    browser.sign_in(**MIRA)

    assert "no-store" == browser.headers["Cache-Control"]


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_ends_cleanly(signum: int) -> None:
    """Ctrl-C or a SIGTERM ends it with exit code 0, no complaint and no server left."""
    with running("--port", "0") as demo:
        browser = Browser(demo)
        browser.sign_in(**MIRA)
        [server] = re.findall(r"redis-cli -s ([^<]+)<", browser.get("/session"))

        assert _processes_of(server)

        assert (0, "") == demo.end(signum)
        assert [] == _left_running(server)


def test_takes_the_next_free_port() -> None:
    """A port that is taken is passed over."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with running("--port", str(port)) as demo:
            actual = int(demo.address.rpartition(":")[2])

            assert port < actual <= port + 99


def test_says_that_redis_does_not_answer() -> None:
    """If the Redis that it is given does not answer, it ends at once and says so in one line."""
    run = subprocess.run(
        [sys.executable, str(ROOT / "examples" / "demo"), "--redis-url", "redis://127.0.0.1:1"],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )

    assert 1 == run.returncode
    assert "The Redis of --redis-url does not answer." == run.stderr.splitlines()[-1]


def test_the_minimal_app_logs_out_all_devices() -> None:
    """The least app there is ends both sessions of a user by one request of one of them."""
    script = """\
from minimal import app

here, there = app.test_client(), app.test_client()
here.post("/sign-in/23")
there.post("/sign-in/23")
print(here.post("/log-out-all-my-devices").text, end="")
print(there.post("/log-out-all-my-devices").text, end="")
"""
    run = subprocess.run(
        [sys.executable, "-c", script],
        cwd=ROOT / "examples",
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "FLASK_SESSION_REDIS_URL": "embedded://",
        },
        capture_output=True,
        text=True,
        start_new_session=True,
    )

    assert ("Ended: 2\nEnded: 0\n", "") == (run.stdout, run.stderr)
