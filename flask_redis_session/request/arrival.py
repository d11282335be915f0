"""What became of an old session, which a request brought the cookie of."""

from __future__ import annotations

from typing import Literal, NamedTuple

from flask_redis_session.storage.token import Token


class Arrival(NamedTuple):
    """What an old cookie came to.

    :param phase: *unproved*: a session that the token opens. *rotated*: its session was carried
        over a moment ago, and this request may not use it. *gone*: the cookie opens nothing.
    :param token: the new cookie, or one that opens nothing.
    :param is_new: whether this request stored the session.
    :param user: whose it is then, as text; ``None``: nobody's.
    """

    phase: Literal["unproved", "rotated", "gone"]
    token: Token | None
    is_new: bool = False
    user: str | None = None


#: An old cookie opens nothing.
NOTHING = Arrival("gone", None)
