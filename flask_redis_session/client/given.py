"""A client that an application gives, or the URL of a server."""

from __future__ import annotations

from inspect import iscoroutinefunction
from typing import Any

from flask_redis_session.errors import SettingError

from .url import check_url


def client_or_url(name: str, value: Any) -> tuple[Any, str | None]:
    """Return what a setting holds, as a client or as a URL; the other one is ``None``.

    :param name: the setting.
    :param value: what it holds.
    :raises SettingError: if it is neither.
    """
    if not isinstance(value, str):
        check_client(name, value)
        return value, None
    try:
        check_url(value)
    except SettingError as error:
        raise SettingError(name, str(error).removeprefix(f"{error.setting}: ")) from None
    return None, value


def check_client(name: str, client: Any) -> None:
    """Check that something is a client that sessions can use.

    :param name: the setting that holds it.
    :param client: what it holds.
    :raises SettingError: if it is not; the message says what to write.
    """
    if isinstance(client, type):
        raise SettingError(name, f"expects a client, not its class: {client.__name__}().")
    if not callable(getattr(client, "execute_command", None)):
        problem = f"expects a client such as redis.Redis(), not {type(client).__qualname__}."
        if hasattr(client, "master_for"):
            problem += " Of Sentinels, give the primary's client: sentinel.master_for(service)."
        raise SettingError(name, problem)
    if iscoroutinefunction(client.execute_command):
        raise SettingError(name, "expects a synchronous client; Flask's sessions are not async.")
    if hasattr(client, "command_stack"):
        raise SettingError(name, "expects a client, not a pipeline of one.")
