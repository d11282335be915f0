"""What the options of a URL say, and the one error for all that is wrong with a URL."""

from __future__ import annotations

from difflib import get_close_matches
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import unquote, unquote_plus

from redis.connection import URL_QUERY_ARGUMENT_PARSERS
from redis.credentials import UsernamePasswordCredentialProvider
from redis.exceptions import RedisError

from flask_redis_session.errors import SettingError

SETTING = "SESSION_REDIS_URL"

_FILES = {"ssl_ca_certs", "ssl_ca_path", "ssl_certfile", "ssl_keyfile"}
_TEXTS = {"ssl_ca_data", "ssl_cert_reqs", "ssl_ciphers", "ssl_password", "username", "password"}
_TEXTS |= {"client_name", "lib_name", "lib_version", "protocol"}
_CERT_REQS = ("required", "optional", "none")
_SENTINEL_TEXTS = {"sentinel_username", "sentinel_password"}

#: Of the options that redis-py converts: a list of classes has no form in a URL, and ``timeout``
#: is for another kind of pool.
_NO_OPTIONS = {"retry_on_error", "timeout"}
_MAY_BE_0 = {"db", "health_check_interval"}

#: The greatest value of an option: redis-py's own default for ``max_connections``. As a timeout it
#: is 68 years; the operating system refuses one that is much longer, when it is first used.
MOST = 2**31


class Hidden(str):
    """A text that is not shown among the options of a connection."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "'***'"

    def __str__(self) -> str:
        return "***"

    def __format__(self, spec: str) -> str:
        return "***"


def refuse(problem: str) -> NoReturn:
    """Refuse the URL.

    :param problem: what is wrong and what to write.
    :raises SettingError: always.
    """
    # Nothing of the URL is repeated: in a malformed one, any part may be part of a password.
    # For the same reason, no parser's error is shown with this one.
    raise SettingError(SETTING, problem) from None


def options_of(query: str, *, sentinel: bool) -> dict[str, Any]:
    """Return the options that the part after the ``?`` names, checked and converted.

    :param query: that part.
    :param sentinel: whether it may name those of sentinels.
    :raises SettingError: if one is unknown or has a value that it cannot have.
    """
    options: dict[str, Any] = {}
    parsers: dict[str, Any] = URL_QUERY_ARGUMENT_PARSERS
    known = (set(parsers) - _NO_OPTIONS) | _TEXTS | _FILES
    if sentinel:
        known |= _SENTINEL_TEXTS
    for pair in filter(None, query.split("&")):
        name, _, text = (unquote_plus(part) for part in pair.partition("="))
        if name not in known:
            near = get_close_matches(name, known, 1) or sorted(known)
            refuse(f"an option after ? is unknown; known is: {', '.join(near)}")
        try:
            value = parsers.get(name, str)(text)
        except (TypeError, ValueError):
            refuse(f"the option {name} has a value of the wrong type")
        if isinstance(value, int | float) and not (
            0 < value <= MOST or (value == 0 and (value is False or name in _MAY_BE_0))
        ):
            refuse(f"the option {name} is out of range")
        if name == "ssl_cert_reqs" and value not in _CERT_REQS:
            refuse(f"the option {name} has one of the values {', '.join(_CERT_REQS)}")
        if name in _FILES and not _exists(value):
            refuse(f"the option {name} names a file that does not exist")
        options[name] = Hidden(value) if name == "ssl_password" else value
    return options


def _exists(path: str) -> bool:
    try:
        return Path(path).exists()
    except OSError:
        # It is too long to be a file's name, or in a directory that is closed to us.
        return False


def credentials(login: str, options: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Take user and password out of the options, to where no ``repr`` of a pool shows them.

    :param login: ``USER:PASSWORD`` before the ``@`` of the URL; the options count if it is empty.
    :param prefix: what the names of the two options begin with.
    """
    user, _, password = (unquote(part) for part in login.partition(":"))
    user = user or options.pop(f"{prefix}username", "")
    password = password or options.pop(f"{prefix}password", "")
    provider = UsernamePasswordCredentialProvider(user, password)
    return {"credential_provider": provider} if user or password else {}


def check_connection(connection: Any, options: dict[str, Any]) -> None:
    """Make a connection without connecting, so that an option that it refuses shows at once.

    :raises SettingError: if it refuses one.
    """
    try:
        connection(**{name: options[name] for name in options if name != "max_connections"})
    except TypeError:
        refuse("an option after ? does not go with this scheme; ssl_... is for rediss:// alone")
    except (RedisError, ValueError):
        refuse("an option after ? has a value that redis-py refuses")
