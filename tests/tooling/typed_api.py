"""What type checkers make of the public interface, used as an application does; nothing is run."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any
from uuid import UUID

import flask
import redis
from typing_extensions import assert_type

from flask_redis_session import (
    RedisSession,
    RedisSessionInterface,
    RevocationIncomplete,
    RevocationUnconfirmed,
    SessionError,
    SessionInfo,
    SettingError,
    StoreUnavailable,
    UnreadableValue,
    UnstorableValue,
    WrongType,
    register_type,
    session,
)
from flask_redis_session.device import private_device
from flask_redis_session.devices import blueprint
from flask_redis_session.signals import save_refused, session_created, session_ended, user_bound

if TYPE_CHECKING:
    from flask.sessions import SessionMixin

app = flask.Flask(__name__)
client = redis.Redis()
app.session_interface = RedisSessionInterface()
app.session_interface = RedisSessionInterface(client)
app.session_interface = RedisSessionInterface(redis=client, prefix="session:")
sessions = RedisSessionInterface()
sessions.init_app(app)

app.config["SESSION_DEVICE_INFO"] = private_device
app.register_blueprint(blueprint(base_template="base.html", page_size=20, sign_in="login"))


def create_app() -> flask.Flask:
    """Make an application, as a factory does; `sessions` is the handle for the rest of it."""
    made = flask.Flask(__name__)
    sessions.init_app(made)
    return made


class OwnInterface(RedisSessionInterface):
    """An interface of the application's own."""

    def should_set_cookie(self, app: flask.Flask, session: SessionMixin) -> bool:
        """Decide."""
        return session.modified and super().should_set_cookie(app, session)


register_type(
    complex, "complex", lambda value: [value.real, value.imag], lambda made: complex(*made)
)
register_type(complex, 1, list, complex)  # type: ignore[arg-type]

assert_type(session, RedisSession)
mixin: SessionMixin = session
sessions.regenerate(session)
session["cart"] = [1]
session |= {"a": 1}
del session["a"]
assert_type(session["cart"], Any)
assert_type(session.sid, str)
assert_type(session.new, bool)
assert_type(session.modified, bool)
assert_type(session.permanent, bool)
assert_type(session.created_at, datetime | None)
assert_type(session.signed_in_at, datetime | None)
assert_type(session.last_seen_at, datetime | None)
assert_type(session.expires_at, datetime | None)
session.modified = True
session.permanent = True
session.regenerate()
session.confirm()
plain: dict[str, Any] = session.copy()
plain = session | {"b": 2}
plain = {"b": 2} | session

assert_type(session.clear_user_sessions(), int)
session.clear_user_sessions(23)
session.clear_user_sessions(user_id="mira", before=timedelta(days=30))
session.clear_user_sessions(UUID(int=1), before=datetime.now(timezone.utc), keep_current=True)
session.clear_user_sessions(before=1764000000, keep_current=True)
assert_type(session.user_sessions(), list[SessionInfo])
assert_type(session.user_sessions(23), list[SessionInfo])

assert_type(sessions.list_sessions(23), list[SessionInfo])
sessions.list_sessions("mira", limit=10, offset=20)
assert_type(sessions.revoke_sessions(23), int)
sessions.revoke_sessions(23, only="sid", keep=["sid"])
sessions.revoke_sessions(23, only={"sid"}, keep=("sid",))
sessions.revoke_sessions(23, before=timedelta(1), created_before=datetime.now(timezone.utc))
sessions.revoke_sessions(23, before=1764000000.5)
sessions.revoke_sessions(23, signed_in_before=timedelta(1))

info = sessions.list_sessions(23)[0]
assert_type(info.sid, str)
assert_type(info.user_id, str)
assert_type(info.created_at, datetime)
assert_type(info.signed_in_at, datetime | None)
assert_type(info.last_seen_at, datetime)
assert_type(info.expires_at, datetime)
assert_type(info.user_agent, str | None)
assert_type(info.ip_address, str | None)
assert_type(info.current, bool)

try:
    session["a"] = object()
except UnstorableValue as unstorable:
    assert_type(unstorable.key, object)
except SettingError as setting:
    assert_type(setting.setting, str)
except RevocationUnconfirmed as unconfirmed:
    assert_type(unconfirmed.ended, int)
    assert_type(unconfirmed.replicas, int)
except RevocationIncomplete as incomplete:
    assert_type(incomplete.ended, int)
except WrongType as wrong:
    assert_type(wrong.key, str)
except (StoreUnavailable, UnreadableValue, SessionError):
    pass


@session_ended.connect
def ended(sender: flask.Flask, *, sid: str, user_id: str | None, reason: str) -> None:
    """Listen."""


for signal in (save_refused, session_created, session_ended, user_bound):
    signal.connect(ended)


@app.errorhandler(StoreUnavailable)
def unavailable(error: StoreUnavailable) -> tuple[str, int]:
    """Answer."""
    return error.description or "", 503


# What is wrong must be found: each ignore below is an error that is expected.
info.current = True  # type: ignore[misc]
session.sid = "x"  # type: ignore[misc]
session[1] = 1  # type: ignore[index]
session.clear_user_sessions(23, timedelta(1))  # type: ignore[call-arg]
session.clear_user_sessions(before="yesterday")  # type: ignore[arg-type]
sessions.revoke_sessions()  # type: ignore[call-arg]
sessions.revoke_sessions(23, before="yesterday")  # type: ignore[arg-type]
RedisSessionInterface(client, "session:", 1)  # type: ignore[call-arg]
