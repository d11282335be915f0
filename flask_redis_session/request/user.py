"""Whose a session is."""

from __future__ import annotations

from uuid import UUID

from flask_redis_session.errors import UnstorableValue


def user_text(key: str, value: object) -> str:
    """Return a user's id as the text that names their index.

    :param key: under which it was found, for the error.
    :param value: the id.
    :raises UnstorableValue: where its type is not that of an id.
    """
    if isinstance(value, bool) or not isinstance(value, (str, int, UUID)):
        problem = f"a user's id must be a str, an int or a UUID, not {type(value).__name__}."
        raise UnstorableValue(key, problem)
    try:
        text = str(value)
        text.encode()
    except UnicodeEncodeError:
        raise UnstorableValue(key, "a user's id must not hold a lone surrogate.") from None
    except ValueError:
        # Python writes no int of more than some thousand digits.
        raise UnstorableValue(key, "a user's id must not be so long a number.") from None
    return text
