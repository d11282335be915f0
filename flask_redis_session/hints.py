"""What an application is told of settings that mean nothing: misspelt ones, and Flask-Session's."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from datetime import datetime, timezone
from difflib import get_close_matches
from functools import lru_cache
from typing import Any

from .defaults import DEFAULTS

#: What stands in the place of a setting of Flask-Session's that means nothing here.
_INSTEAD = {
    "SESSION_USE_SIGNER": "a cookie has 256 random bits, and Redis has only their hash",
    "SESSION_SERIALIZATION_FORMAT": "each value is JSON",
    "SESSION_ID_LENGTH": "its length is fixed",
    "SESSION_CLEANUP_N_REQUESTS": "Redis lets sessions expire",
}
#: How the settings of Flask-Session's other stores begin.
_STORES = (
    "SESSION_CACHELIB",
    "SESSION_DYNAMODB",
    "SESSION_FILE_",
    "SESSION_MEMCACHED",
    "SESSION_MONGODB",
    "SESSION_SQLALCHEMY",
)
_ONLY_REDIS = "sessions are in Redis, which SESSION_REDIS or SESSION_REDIS_URL names"

# Names that resemble ours and are meant: Flask's own, Flask-Login's and Flask-Session's.
_FOREIGN = {
    "PERMANENT_SESSION_LIFETIME",
    "SESSION_COOKIE_NAME",
    "SESSION_COOKIE_DOMAIN",
    "SESSION_COOKIE_PATH",
    "SESSION_COOKIE_HTTPONLY",
    "SESSION_COOKIE_SECURE",
    "SESSION_COOKIE_PARTITIONED",
    "SESSION_COOKIE_SAMESITE",
    "SESSION_REFRESH_EACH_REQUEST",
    "SESSION_PROTECTION",
    "SESSION_TYPE",
    *_INSTEAD,
}


def give_hints(config: Mapping[str, Any]) -> None:
    """Warn of each setting in the configuration that means nothing here.

    :param config: ``app.config``.
    """
    for hint in (*_near_misses(config), *_of_flask_session(config), *_of_imports(config)):
        warnings.warn(hint, stacklevel=2)


def _of_imports(config: Mapping[str, Any]) -> Iterator[str]:
    """Yield what an application has to know that carries old sessions over."""
    sources = config.get("SESSION_IMPORT")
    if not isinstance(sources, Mapping):
        for name in DEFAULTS:
            if name.startswith("SESSION_IMPORT_") and config.get(name) not in (None, False):
                yield f"{name} means nothing without SESSION_IMPORT, remove it."
        return
    now = datetime.now(timezone.utc)
    over = [
        source
        for source, until in sources.items()
        if isinstance(until, datetime) and until.utcoffset() is not None and until <= now
    ]
    for source in over:
        yield f"SESSION_IMPORT: {source!r} ended at {sources[source]}, remove it."
    if len(over) < len(sources):
        yield (
            "SESSION_IMPORT: let Redis evict nothing while old sessions are carried over "
            "(maxmemory-policy noeviction). If it evicts a mark, a spent cookie opens again."
        )


@lru_cache(maxsize=1024)
def _resembles(name: str) -> tuple[str, ...]:
    """Return the setting that a name looks like, if any; a test suite asks for each application."""
    return tuple(get_close_matches(name, [*DEFAULTS, *_FOREIGN], n=1, cutoff=0.88))


def _near_misses(config: Mapping[str, Any]) -> Iterator[str]:
    """Yield a hint for each name that looks like a misspelt setting."""
    for name in config:
        if name in DEFAULTS or name in _FOREIGN or not name.isupper():
            continue
        for meant in _resembles(name):
            yield f"{name} is no setting; did you mean {meant}?"


def _of_flask_session(config: Mapping[str, Any]) -> Iterator[str]:
    """Yield a hint for each setting of Flask-Session's that means nothing here."""
    kind, imports = config.get("SESSION_TYPE"), config.get("SESSION_IMPORT") or ()
    if kind is not None:
        is_redis = str(kind).lower() == "redis"
        why = "it is always Redis" if is_redis else f"nothing is kept in {kind!r}: {_ONLY_REDIS}"
        yield f"SESSION_TYPE means nothing to flask-redis-session, remove it; {why}."
    for name, value in config.items():
        if name == "SESSION_USE_SIGNER" and "flask-session" in imports:
            # It says how the old cookies are proved.
            continue
        if value is not None and (name in _INSTEAD or name.startswith(_STORES)):
            why = _INSTEAD.get(name, _ONLY_REDIS)
            yield f"{name} means nothing to flask-redis-session, remove it; {why}."
