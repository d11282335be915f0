"""The settings of an application, checked when it starts."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal

from .client.given import check_client, client_or_url
from .client.replicas import replicas_to_wait_for
from .client.url import check_url
from .defaults import DEFAULT_URL, DEFAULTS
from .errors import SettingError
from .request.rule import Rule, merged
from .request.user import FLASK_LOGIN, PLAIN, UserKeys
from .storage.kept import LONGEST_KEPT
from .storage.record import LONGEST
from .storage.surrogates import is_utf8

if TYPE_CHECKING:
    from flask import Request

    from .moving.settings import ImportSettings

#: Returns the user agent and the address to keep of a sign-in; ``None``: keep neither.
DeviceInfo = Callable[["Request"], "tuple[str | None, str | None] | None"]

#: Where Flask keeps its flash messages.
FLASHES = "_flashes"

_SURROGATE = "holds a lone surrogate; remove it."
_NO_APPLICATION = (
    "No application is known, nor are its settings: sessions are looked for under the prefix %r. "
    "Call init_app(app), work inside app.app_context(), or give prefix= to say that it is right."
)

log = logging.getLogger("flask_redis_session")


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings of one application.

    :param redis: the client, or ``None`` if ``url`` names the server.
    :param url: the server, or ``None`` if ``redis`` is the client.
    :param prefix: ``SESSION_KEY_PREFIX``.
    :param user_keys: ``SESSION_USER_KEY``, as a tuple; ``None``: Flask-Login's, or ``user_id``.
    :param user_lookup: ``SESSION_USER_LOOKUP``.
    :param permanent: ``SESSION_PERMANENT``.
    :param lifetime: ``SESSION_LIFETIME`` in seconds.
    :param absolute: ``SESSION_ABSOLUTE_LIFETIME`` in seconds.
    :param touch_interval: ``SESSION_TOUCH_INTERVAL`` in seconds.
    :param max_per_user: ``SESSION_MAX_PER_USER``.
    :param device_info: ``SESSION_DEVICE_INFO``.
    :param load: ``SESSION_LOAD``.
    :param merge: ``SESSION_MERGE``: the keys that are merged, flash messages among them, each with
        its rule.
    :param revoke_wait: ``SESSION_REVOKE_WAIT``: replicas, milliseconds.
    :param keep: ``SESSION_KEEP`` in bytes.
    :param keep_stale: ``SESSION_KEEP_STALE`` in seconds.
    :param imports: ``SESSION_IMPORT`` and what is beside it.
    """

    redis: Any
    url: str | None
    prefix: str
    user_keys: tuple[str, ...] | None
    user_lookup: Callable[[str], object] | None
    permanent: bool
    lifetime: float
    absolute: float | None
    touch_interval: float
    max_per_user: int | None
    device_info: bool | DeviceInfo
    load: Literal["auto", "all"]
    merge: Mapping[str, Rule]
    revoke_wait: tuple[int, int] | None
    keep: int
    keep_stale: float
    imports: ImportSettings | None


def read_settings(config: Mapping[str, Any], *, redis: Any, prefix: str | None) -> Settings:
    """Read an application's settings and check them.

    :param config: ``app.config``.
    :param redis: a client given to the interface, which rules over the configuration's.
    :param prefix: a prefix given to the interface, which rules over the configuration's.
    :raises SettingError: if one is ill-typed or contradicts another.
    """
    client, url = _server(config, redis)
    user_keys = _user_keys(_get(config, "SESSION_USER_KEY"))
    settings = Settings(
        redis=client,
        url=url,
        prefix=_prefix(config, prefix),
        user_keys=user_keys,
        user_lookup=_user_lookup(_get(config, "SESSION_USER_LOOKUP")),
        permanent=_flag(config, "SESSION_PERMANENT"),
        lifetime=_seconds(config, "SESSION_LIFETIME"),
        absolute=optional_seconds(config, "SESSION_ABSOLUTE_LIFETIME"),
        touch_interval=_touch_interval(config),
        max_per_user=_max_per_user(_get(config, "SESSION_MAX_PER_USER")),
        device_info=_device_info(_get(config, "SESSION_DEVICE_INFO")),
        load=_load(_get(config, "SESSION_LOAD")),
        merge=_merge(_get(config, "SESSION_MERGE"), user_keys),
        revoke_wait=replicas_to_wait_for(_get(config, "SESSION_REVOKE_WAIT"), client, url),
        keep=_keep(_get(config, "SESSION_KEEP"), url),
        keep_stale=_keep_stale(config),
        imports=_imports(config, prefix),
    )
    if "PERMANENT_SESSION_LIFETIME" in config:
        _seconds(config, "PERMANENT_SESSION_LIFETIME")
    return settings


def settings_alone(redis: Any, prefix: str | None) -> Settings:
    """Return the settings of an interface that knows no application.

    :param redis: the client that was given to the interface, if one was.
    :param prefix: the prefix that was given to it.
    :raises RuntimeError: if it was given no client.
    """
    if redis is None:
        raise RuntimeError(
            "These sessions know no application yet: call init_app(app), "
            "or work inside app.app_context()."
        )
    settings = read_settings({}, redis=redis, prefix=prefix)
    if prefix is None:
        # Under another prefix than the application's there is nothing to end, and a revocation
        # would seem to have worked.
        log.warning(_NO_APPLICATION, settings.prefix)
    return settings


def _get(config: Mapping[str, Any], name: str) -> Any:
    return config.get(name, DEFAULTS.get(name))


def _imports(config: Mapping[str, Any], prefix: str | None) -> ImportSettings | None:
    if _get(config, "SESSION_IMPORT") is None:
        return None
    # Most applications have nothing to carry over.
    from .moving.settings import read_import  # noqa: PLC0415

    lifetime = optional_seconds(config, "PERMANENT_SESSION_LIFETIME") or 0.0
    return read_import(config, _prefix(config, prefix), client_or_url, lifetime=lifetime)


def _server(config: Mapping[str, Any], redis: Any) -> tuple[Any, str | None]:
    client = config.get("SESSION_REDIS") if redis is None else redis
    url = config.get("SESSION_REDIS_URL")
    name = "SESSION_REDIS" if redis is None else "redis"
    if isinstance(client, (str, bytes)):
        problem = "expects a client; a URL goes into SESSION_REDIS_URL."
        raise SettingError(name, problem)
    if client is None:
        if url is not None and not isinstance(url, str):
            raise SettingError("SESSION_REDIS_URL", f"expects a str, not {type(url).__qualname__}.")
        url = DEFAULT_URL if url is None else url
        check_url(url)
        return None, url
    check_client(name, client)
    if redis is None and url is not None:
        problem = "is set as well as SESSION_REDIS; remove one of them."
        raise SettingError("SESSION_REDIS_URL", problem)
    return client, None


def _prefix(config: Mapping[str, Any], given: Any) -> str:
    name = "SESSION_KEY_PREFIX" if given is None else "prefix"
    value = _get(config, name) if given is None else given
    if not isinstance(value, str) or not value:
        raise SettingError(name, f"expects a str that is not empty, not {value!r}.")
    if not is_utf8(value):
        raise SettingError(name, _SURROGATE)
    return value


def _user_keys(value: Any) -> tuple[str, ...] | None:
    if value is None:
        return None
    name = "SESSION_USER_KEY"
    keys = (value,) if isinstance(value, str) else value
    if (
        not isinstance(keys, (tuple, list))
        or not keys
        or not all(isinstance(key, str) and key for key in keys)
    ):
        problem = f"expects a session key, a tuple of them or None, not {value!r}."
        raise SettingError(name, problem)
    for key in keys:
        if not is_utf8(key):
            raise SettingError(name, _SURROGATE)
        if not all(key.split(".")):
            problem = f'a dot stands between the parts of a path, as in "user.sub"; not so {key!r}.'
            raise SettingError(name, problem)
    return tuple(keys)


def _user_lookup(value: Any) -> Callable[[str], object] | None:
    if value is None or callable(value):
        return value  # type: ignore[no-any-return]
    problem = f"expects a callable that takes what is typed and returns an id, not {value!r}."
    raise SettingError("SESSION_USER_LOOKUP", problem)


def _flag(config: Mapping[str, Any], name: str) -> bool:
    value = _get(config, name)
    if not isinstance(value, bool):
        raise SettingError(name, f"expects True or False, not {value!r}.")
    return value


def _seconds(config: Mapping[str, Any], name: str, *, least: float = 0.001) -> float:
    value = _get(config, name)
    if isinstance(value, timedelta):
        seconds = value.total_seconds()
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        seconds = float(value)
    else:
        problem = f"expects a timedelta or a number of seconds, not {value!r}."
        raise SettingError(name, problem)
    # Not "seconds < least": NaN is no number of seconds either.
    if not least <= seconds <= LONGEST:
        kind = "a positive time" if least else "0 or a positive time"
        problem = f"expects {kind} of at most 100 years, not {value!r}."
        raise SettingError(name, problem)
    return seconds


def optional_seconds(config: Mapping[str, Any], name: str) -> float | None:
    """Return a time among the settings in seconds; ``None`` if it is not set.

    :param config: ``app.config``.
    :param name: the setting.
    :raises SettingError: if it is no time, or not a positive one of at most 100 years.
    """
    return None if _get(config, name) is None else _seconds(config, name)


def _touch_interval(config: Mapping[str, Any]) -> float:
    name = "SESSION_TOUCH_INTERVAL"
    interval = _seconds(config, name, least=0)
    for lifetime in ("SESSION_LIFETIME", "PERMANENT_SESSION_LIFETIME"):
        # If only the lifetime is set, and short, the interval gives way by itself.
        if name in config and lifetime in config and interval >= _seconds(config, lifetime):
            problem = f"must be shorter than {lifetime}, or sessions in use would expire."
            raise SettingError(name, problem)
    return interval


def _max_per_user(value: Any) -> int | None:
    if value is None or (isinstance(value, int) and not isinstance(value, bool) and value > 0):
        return value
    raise SettingError("SESSION_MAX_PER_USER", f"expects an int of 1 or more, not {value!r}.")


def _device_info(value: Any) -> bool | DeviceInfo:
    if isinstance(value, bool) or callable(value):
        return value  # type: ignore[no-any-return]
    problem = f"expects True, False or a callable that takes the request, not {value!r}."
    raise SettingError("SESSION_DEVICE_INFO", problem)


def _load(value: Any) -> Literal["auto", "all"]:
    if value in ("auto", "all"):
        return value  # type: ignore[no-any-return]
    raise SettingError("SESSION_LOAD", f'expects "auto" or "all", not {value!r}.')


def _merge(value: Any, user_keys: tuple[str, ...] | None) -> dict[str, Rule]:
    name = "SESSION_MERGE"
    if isinstance(value, Mapping):
        pairs = [*value.items()]
    elif isinstance(value, (list, tuple, set, frozenset)):
        pairs = [(key, merged) for key in value]
    else:
        problem = f"expects a list of session keys, or a dict with a rule for each, not {value!r}."
        raise SettingError(name, problem)
    # Whether the application has Flask-Login is not known yet.
    owners = [*FLASK_LOGIN.roots, *PLAIN.roots] if user_keys is None else UserKeys(user_keys).roots
    rules: dict[str, Rule] = {FLASHES: merged}
    for key, rule in pairs:
        if not isinstance(key, str) or not is_utf8(key):
            raise SettingError(name, f"expects session keys, which are texts, not {key!r}.")
        if key in owners:
            raise SettingError(name, f"holds {key!r}, which says whose a session is; remove it.")
        if rule is None:
            rules.pop(key, None)
        elif callable(rule):
            rules[key] = rule
        else:
            raise SettingError(name, f"expects rule(base, mine, theirs) or None for {key!r}.")
    return rules


def _keep(value: Any, url: str | None) -> int:
    name = "SESSION_KEEP"
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise SettingError(name, f"expects a number of bytes, or 0 for none, not {value!r}.")
    if value and url is None:
        problem = "needs a connection of its own: give SESSION_REDIS_URL in the place of a client."
        raise SettingError(name, problem)
    if value and "+cluster://" in (url or ""):
        raise SettingError(name, "does not work in a cluster, not yet.")
    return value


def _keep_stale(config: Mapping[str, Any]) -> float:
    name = "SESSION_KEEP_STALE"
    seconds = _seconds(config, name)
    if seconds > LONGEST_KEPT:
        # Nothing is kept for longer, so that it would mean nothing.
        raise SettingError(name, f"expects at most {LONGEST_KEPT:.0f} seconds, not {seconds!r}.")
    return seconds
