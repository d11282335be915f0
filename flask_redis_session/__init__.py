"""Server-side sessions for Flask: one Redis hash each, written by what changed."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .current import session as session
    from .errors import RevocationIncomplete as RevocationIncomplete
    from .errors import RevocationUnconfirmed as RevocationUnconfirmed
    from .errors import SessionError as SessionError
    from .errors import SettingError as SettingError
    from .errors import StoreUnavailable as StoreUnavailable
    from .errors import UnreadableValue as UnreadableValue
    from .errors import UnstorableValue as UnstorableValue
    from .errors import WrongType as WrongType
    from .interface import RedisSessionInterface as RedisSessionInterface
    from .request.codec.registration import register_type as register_type
    from .request.rule import merged as merged
    from .request.session import RedisSession as RedisSession
    from .storage.record import SessionInfo as SessionInfo

#: The module of each public name. It is imported when the name is first used: the plugin for pytest
#: is loaded in every run, and must import neither Flask nor redis-py for that.
_MODULES = {
    "RedisSession": "request.session",
    "RedisSessionInterface": "interface",
    "RevocationIncomplete": "errors",
    "RevocationUnconfirmed": "errors",
    "SessionError": "errors",
    "SessionInfo": "storage.record",
    "SettingError": "errors",
    "StoreUnavailable": "errors",
    "UnreadableValue": "errors",
    "UnstorableValue": "errors",
    "WrongType": "errors",
    "merged": "request.rule",
    "register_type": "request.codec.registration",
    "session": "current",
}

__all__ = [
    "RedisSession",
    "RedisSessionInterface",
    "RevocationIncomplete",
    "RevocationUnconfirmed",
    "SessionError",
    "SessionInfo",
    "SettingError",
    "StoreUnavailable",
    "UnreadableValue",
    "UnstorableValue",
    "WrongType",
    "merged",
    "register_type",
    "session",
]

if not TYPE_CHECKING:
    # Type checkers would take any name for one of this module's.

    def __getattr__(name: str) -> object:
        if name not in _MODULES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        found = getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
        globals()[name] = found
        return found

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
