from __future__ import annotations

import subprocess
import sys

import pytest

from flask_redis_session.devices.agents import Agent, agent_of
from tests.devices.site import EDGE, FIREFOX, IPAD, IPHONE

_CHROME = "AppleWebKit/537.36 (KHTML, like Gecko) Chrome/138.0.0.0"
_WEBKIT = "AppleWebKit/605.1.15 (KHTML, like Gecko)"
_IOS = f"Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) {_WEBKIT}"


@pytest.mark.parametrize(
    ("header", "name", "kind"),
    [
        (FIREFOX, "Firefox on Linux", "computer"),
        (IPHONE, "Safari on iPhone", "phone"),
        (IPAD, "Safari on iPad", "tablet"),
        (EDGE, "Edge on Windows", "computer"),
        (
            "Mozilla/5.0 (X11; Ubuntu; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
            "Firefox on Ubuntu",
            "computer",
        ),
        (
            f"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) {_WEBKIT} Version/18.5 Safari/605",
            "Safari on macOS",
            "computer",
        ),
        (
            f"Mozilla/5.0 (X11; CrOS x86_64 14541.0.0) {_CHROME} Safari/537.36",
            "Chrome on ChromeOS",
            "computer",
        ),
        (
            f"Mozilla/5.0 (Windows NT 10.0; Win64; x64) {_CHROME} Safari/537.36 OPR/121.0.0.0",
            "Opera on Windows",
            "computer",
        ),
        (
            f"Mozilla/5.0 (Linux; Android 10; K) {_CHROME} Mobile Safari/537.36",
            "Chrome on Android",
            "phone",
        ),
        (
            f"Mozilla/5.0 (Linux; Android 10; K) {_CHROME} Safari/537.36",
            "Chrome on Android",
            "tablet",
        ),
        (
            "Mozilla/5.0 (Android 15; Mobile; rv:140.0) Gecko/140.0 Firefox/140.0",
            "Firefox on Android",
            "phone",
        ),
        (
            "Mozilla/5.0 (Android 15; Tablet; rv:140.0) Gecko/140.0 Firefox/140.0",
            "Firefox on Android",
            "tablet",
        ),
        (f"{_IOS} CriOS/138.0.7204.119 Mobile/15E148 Safari/604.1", "Chrome on iPhone", "phone"),
        (f"{_IOS} FxiOS/140.0 Mobile/15E148 Safari/605.1.15", "Firefox on iPhone", "phone"),
        (f"{_IOS} Mobile/15E148 Instagram 380.0", "An app on iPhone", "phone"),
        ("curl/8.5.0", "curl", "unknown"),
        ("MyTool/1.0", "Unknown device", "unknown"),
        ("<script>alert(1)</script>", "Unknown device", "unknown"),
        ("\ud83d\udc1b\x00 %s {{ 7 * 7 }}", "Unknown device", "unknown"),
        ("", "Unknown device", "unknown"),
        (None, "Unknown device", "unknown"),
    ],
)
def test_names(header: str | None, name: str, kind: str) -> None:
    """A User-Agent header is named as people name the device, and gets the picture of its kind."""
    agent = agent_of(header)

    assert name == str(agent)
    assert kind == agent.kind


@pytest.mark.parametrize("unit", ["(;", "Mozilla/5.0 (", "x" * 40 + " ", "Android 1" * 3])
def test_is_not_held_up(unit: str) -> None:
    """The longest header that is kept is read at once, however it is made up."""
    header = (unit * 256)[:256]

    assert isinstance(agent_of(header), Agent)


def test_says_what_to_install() -> None:
    """Without ua-parser the import fails with an error that says which extra to install."""
    script = "import sys; sys.modules['ua_parser'] = None; import flask_redis_session.devices"
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)

    assert 'pip install "flask-redis-session[devices]"' in run.stderr.splitlines()[-1]


def test_the_core_does_without() -> None:
    """To import the library and to use it imports neither the page nor ua-parser."""
    script = """\
import sys
from flask import Flask
from flask_redis_session import RedisSessionInterface
app = Flask("app")
RedisSessionInterface().init_app(app)
print([name for name in sys.modules if "devices" in name or "ua_parser" in name])
"""
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)

    assert ("[]\n", "") == (run.stdout, run.stderr)
