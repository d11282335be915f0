"""The examples of the guides, and the application that they take for granted."""

from __future__ import annotations

import re
import secrets
import textwrap
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

import flask

from flask_redis_session import RedisSessionInterface
from tests.support.clients import shared_client

if TYPE_CHECKING:
    from flask.testing import FlaskClient

ROOT = Path(__file__).parents[2]


def blocks(page: str, language: str = "python") -> list[str]:
    """Return the examples of a page in a language."""
    text = (ROOT / page).read_text("utf-8")
    found = re.findall(rf"^( *)```{language}\n(.*?)^ *```", text, re.DOTALL | re.MULTILINE)
    return [textwrap.dedent(code) for _, code in found]


@dataclass
class User:
    """Somebody who signs in."""

    id: int


@dataclass
class Shop:
    """An application on a server, and what the examples of the guides take for granted."""

    app: flask.Flask
    sessions: RedisSessionInterface
    mails: list[tuple[str, str]] = field(default_factory=list)

    def names(self) -> dict[str, Any]:
        """Return the names that the examples use."""
        return {
            "app": self.app,
            "sessions": self.sessions,
            "session": flask.session,
            "user": User(23),
            "password_changed_at": datetime.now(timezone.utc),
            "find_user": lambda name, password: User(23) if password == "good" else None,
            "set_password": lambda user_id, new: None,
            "is_admin": lambda user_id: user_id == 1,
            "send_mail": lambda user_id, text: self.mails.append((user_id, text)),
            "new_code": lambda: f"{secrets.randbelow(10**6):06}",
        }

    def run(self, *codes: str) -> None:
        """Run examples one after another."""
        names = self.names()
        with self.app.app_context():
            for code in codes:
                exec(code, names)  # noqa: S102

    def browser(self, agent: str = "Firefox") -> FlaskClient:
        """Return a browser of its own."""
        client = self.app.test_client()
        client.environ_base["HTTP_USER_AGENT"] = agent
        return client


def open_shop(server: Any, **config: Any) -> Shop:
    """Return an application on a server, which shows at ``/who`` who is signed in."""
    app = flask.Flask("shop")
    app.config.update(config, SESSION_REDIS=shared_client(server))
    app.testing = True
    sessions = RedisSessionInterface()
    sessions.init_app(app)
    app.add_url_rule("/who", "who", view_func=lambda: str(flask.session.get("user_id")))
    return Shop(app, sessions)


def sign_in(browser: FlaskClient, **more: str) -> None:
    """Sign a browser in, with further fields of the form."""
    browser.post("/sign-in", data={"name": "ann", "password": "good", **more})


def who(browser: FlaskClient) -> str:
    """Return who is signed in."""
    return browser.get("/who").text
