"""What a request wants of its session at its end, as one value that never changes again.

A session is in one of five phases. It begins as *new* or *unproved*; only Redis moves it on.

========== ============================================ =====================================
phase      what is known                                may become
========== ============================================ =====================================
new        the browser has no session                   live (stored for the first time)
unproved   it sent a cookie that Redis was not asked of live, rotated, gone, new
live       the cookie opens the session                 new (this request ended it)
rotated    the cookie's secret was rotated away lately  live (a sign-in gets its own session)
gone       the cookie opens nothing                     live (stored as a new session)
========== ============================================ =====================================
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from types import MappingProxyType
from typing import Literal, NamedTuple

from flask_redis_session.storage.commit import Lifetime, Meaning
from flask_redis_session.storage.record import Binding, Changes, Record
from flask_redis_session.storage.token import Token

from .rule import Rule

Phase = Literal["new", "unproved", "live", "rotated", "gone"]

#: The changes of a request that changed nothing.
NOTHING = Changes()


class Terms(NamedTuple):
    """What the settings say of every session at the moment of a save.

    :param permanent: the idle lifetime of a permanent session, in seconds.
    :param passing: the idle lifetime of any other session, in seconds.
    :param refreshes: whether a permanent session's cookie is sent again with every response.
    """

    permanent: float
    passing: float
    refreshes: bool = True

    def lifetime(self, permanent: bool, rule: Meaning = "lower") -> Lifetime:
        """Return how long a session may be idle.

        :param permanent: whether it is permanent.
        :param rule: what this means for the lifetime that it has.
        """
        return Lifetime(self.permanent if permanent else self.passing, rule, permanent)


class Origin(NamedTuple):
    """What a sign-in came from, in case its cookie turns out to open nothing.

    :param holder: who the user's keys said it was when it was loaded. That is not the one of the
        record if ``SESSION_USER_KEY`` was another one then.
    :param loaded: the fields that were loaded, as Redis holds them.
    :param dropped: those of them that the request deleted, or that cannot be read.
    :param assigned: the fields that the request assigned, also to what they were.
    """

    holder: str | None = None
    loaded: Mapping[bytes, bytes] = MappingProxyType({})
    dropped: Collection[bytes] = ()
    assigned: Collection[bytes] = ()


class Draft(NamedTuple):
    """What a request wants of its session.

    :param terms: what the settings say.
    :param phase: what is known of the session.
    :param token: the cookie; ``None`` if there is none, or if it opens nothing.
    :param sent: the cookie as the browser has it.
    :param record: what was loaded; ``None`` unless the session is *live*.
    :param changes: what to write. It is empty if the application said ``modified = False``.
    :param binding: whose the session becomes; ``None`` if it stays whose it is.
    :param origin: what a sign-in came from; empty unless it is one.
    :param rules: how the keys are merged whose changes have a guard.
    :param sid: the public id that the request was told of a session that is not stored yet.
    :param permanent: whether the session is to be permanent.
    :param permanent_anew: the same, if the cookie turns out to open nothing.
    :param own: the idle lifetime that the session is to have whatever the settings say, in seconds;
        ``None``: there is none, or it is not known.
    :param rotates: whether the application asked for a fresh secret.
    :param confirms: whether the user has just proved who they are.
    :param forced: whether to write even if nothing changed (``modified = True``).
    :param is_late: whether the request ran for longer than a tombstone lives.
    :param is_undeliverable: whether no browser gets what this response says of the cookie.
    """

    terms: Terms
    phase: Phase
    token: Token | None = None
    sent: Token | None = None
    record: Record | None = None
    changes: Changes = NOTHING
    binding: Binding | None = None
    origin: Origin = Origin()
    rules: Mapping[str, Rule] = MappingProxyType({})
    sid: str | None = None
    permanent: bool = False
    permanent_anew: bool = False
    own: float | None = None
    rotates: bool = False
    confirms: bool = False
    forced: bool = False
    is_late: bool = False
    is_undeliverable: bool = False

    @property
    def signs_in(self) -> bool:
        """Whether the session gets a user, even if it is the same one after ``clear()``."""
        return self.binding is not None and self.binding.user is not None

    @property
    def owes_cookie(self) -> bool:
        """Whether an earlier save of this request wrote a secret that no response has sent."""
        return self.token is not None and self.token is not self.sent

    @property
    def clears(self) -> bool:
        """Whether the request ended the session that the browser's cookie opened."""
        return self.phase == "new" and self.sent is not None

    @property
    def turns(self) -> bool:
        """Whether the session becomes permanent, or no longer is."""
        return self.token is not None and self.permanent != self.token.permanent

    @property
    def assigns(self) -> bool:
        """Whether the session gets a lifetime of its own, another one, or none any more."""
        return self.record is not None and self.own != self.record.own

    @property
    def lifetime(self) -> Lifetime:
        """How long the session may be idle, and what that means for the lifetime that it has."""
        if self.signs_in or self.assigns:
            # Another request may have turned it, of which this one knows nothing.
            kind = self.permanent if self.signs_in or self.turns or self.rotates else None
            if self.own is None:
                return self.terms.lifetime(self.permanent, "reset")._replace(permanent=kind)
            # Also if a sign-in finds it: its place in the index lives no longer than this one.
            return Lifetime(self.own, "assign", kind)
        # Not its own one: it has that, unless another request has put it back meanwhile.
        return self.terms.lifetime(self.permanent, "set" if self.turns else "lower")
