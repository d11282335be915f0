"""What ``SESSION_IMPORT`` says, and the settings beside it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from importlib.util import find_spec
from typing import Any

from flask_redis_session.errors import SettingError

#: The sources, as ``SESSION_IMPORT`` names them.
FLASK_SESSION = "flask-session"
COOKIE = "cookie"

NAME = "SESSION_IMPORT"


@dataclass(frozen=True, slots=True)
class ImportSettings:
    """Which sessions are carried over, from where, and for how long.

    :param until: for each source, after which moment it is refused, in epoch seconds.
    :param cookie: the old cookie's name; ``None``: that of the sessions here.
    :param redis: a client of the server that Flask-Session used; ``None``: see ``url``.
    :param url: that server; ``None``: the one that these sessions use, unless ``redis`` is given.
    :param prefix: of the keys that Flask-Session wrote.
    :param keeps_old: whether Flask-Session's key and the old cookie are left alone.
    :param is_signed: whether Flask-Session's cookie is signed.
    :param lifetime: how long an old session lives without a visit, in seconds.
    """

    until: Mapping[str, float]
    cookie: str | None
    redis: Any
    url: str | None
    prefix: str
    keeps_old: bool
    is_signed: bool
    lifetime: float

    def marked_until(self, source: str) -> float:
        """Return until when the marks of a source stay, in epoch seconds.

        Its end may be put off to a later one. Then no old cookie may come to life again whose mark
        ended before.
        """
        return self.until[source] + self.lifetime

    @property
    def last(self) -> float:
        """Until when the marks of users stay, in epoch seconds."""
        return max(map(self.marked_until, self.until))


def read_import(
    config: Mapping[str, Any],
    prefix: str,
    place: Callable[[str, Any], tuple[Any, str | None]],
    *,
    lifetime: float,
) -> ImportSettings:
    """Read what an application says of sessions that are carried over, and check it.

    :param config: ``app.config``, with a ``SESSION_IMPORT``.
    :param prefix: the prefix of the sessions here, which is the old one too by default.
    :param place: checks a client or a URL, and tells which of the two it is.
    :param lifetime: how long a permanent session lives without a visit, in seconds.
    :raises SettingError: if something is ill-typed or contradicts another setting.
    """
    until = _until(config[NAME])
    cookie = _text(config, "SESSION_IMPORT_COOKIE_NAME")
    keeps_old = config.get("SESSION_IMPORT_KEEP_OLD", False)
    if not isinstance(keeps_old, bool):
        problem = f"expects True or False, not {keeps_old!r}."
        raise SettingError("SESSION_IMPORT_KEEP_OLD", problem)
    ours = config.get("SESSION_COOKIE_NAME", "session")
    if keeps_old and cookie in (None, ours):
        problem = (
            "needs a new name for the new cookie: set SESSION_COOKIE_NAME to it, and "
            "SESSION_IMPORT_COOKIE_NAME to the old one. Under one name, the old workers would "
            "replace the new cookie, and send its secret to Redis as a key."
        )
        raise SettingError("SESSION_IMPORT_KEEP_OLD", problem)
    is_signed = FLASK_SESSION in until and bool(config.get("SESSION_USE_SIGNER"))
    if not config.get("SECRET_KEY") and (COOKIE in until or is_signed):
        problem = "needs the SECRET_KEY that the old cookies were signed with; set it before."
        raise SettingError(NAME, problem)
    if FLASK_SESSION in until and find_spec("msgspec") is None:
        problem = "needs msgspec to read them: pip install flask-redis-session[import]"
        raise SettingError(NAME, problem)
    server = config.get("SESSION_IMPORT_REDIS")
    redis, url = (None, None) if server is None else place("SESSION_IMPORT_REDIS", server)
    return ImportSettings(
        until=until,
        cookie=cookie,
        redis=redis,
        url=url,
        prefix=_text(config, "SESSION_IMPORT_PREFIX") or prefix,
        keeps_old=keeps_old,
        is_signed=is_signed,
        lifetime=lifetime,
    )


def _until(value: Any) -> Mapping[str, float]:
    sources = f"{FLASK_SESSION!r}, {COOKIE!r}"
    if not isinstance(value, Mapping) or not value:
        problem = f"expects a dict of {sources} or both, each with a time, not {value!r}."
        raise SettingError(NAME, problem)
    for source, until in value.items():
        if source not in (FLASK_SESSION, COOKIE):
            raise SettingError(NAME, f"there is no source {source!r}; there are {sources}.")
        if not isinstance(until, datetime) or until.utcoffset() is None:
            problem = (
                f"{source!r} expects the moment after which these are refused, as a datetime with "
                f"its zone: datetime(2030, 1, 31, tzinfo=timezone.utc). It is {until!r}."
            )
            raise SettingError(NAME, problem)
    return {source: until.timestamp() for source, until in value.items()}


def _text(config: Mapping[str, Any], name: str) -> str | None:
    value = config.get(name)
    if value is None:
        return None
    if not isinstance(value, str) or not value or not value.isprintable():
        raise SettingError(name, f"expects a str that is not empty, not {value!r}.")
    return value
