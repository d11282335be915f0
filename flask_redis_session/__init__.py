"""Server-side sessions for Flask: one Redis hash each, written by what changed."""

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
