"""Every setting: its default, its type or unit in brackets, and what it does."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

DEFAULT_URL = "redis://localhost:6379/0"
DEFAULT_PREFIX = "session:"

#: Every setting, with its default. The reference on the site is made from these comments.
DEFAULTS: dict[str, Any] = {
    #: [client] What speaks redis-py's interface: `redis.Redis`, `redis.RedisCluster`, a Sentinel's
    #: primary, `valkey.Valkey`, with `decode_responses` on or off. It is used as it is. Not
    #: together with `SESSION_REDIS_URL`.
    "SESSION_REDIS": None,
    #: [URL] The server: `redis://`, `rediss://`, `unix://`, `redis+sentinel://h1:p,h2:p/service`,
    #: `redis+cluster://h1:p,h2:p`, `embedded://` or `embedded:///dir`. `None`:
    #: `redis://localhost:6379/0`.
    "SESSION_REDIS_URL": None,
    #: [str] What each key in Redis begins with. Applications that share a Redis need one each.
    "SESSION_KEY_PREFIX": DEFAULT_PREFIX,
    #: [key, or a tuple of keys] The session key that holds the user's id. `None`: `_user_id` if the
    #: application has Flask-Login, else `user_id`. `"user.sub"` is what is under `sub` in the dict
    #: under `user`. If there are several, the first one that holds an id names the user; a change
    #: of any of them rotates the secret.
    "SESSION_USER_KEY": None,
    #: [callable] For the command line: takes what an operator types, such as an e-mail address, and
    #: returns the user's id, or `None` if there is no such user.
    "SESSION_USER_LOOKUP": None,
    #: [bool] Whether new sessions start permanent.
    "SESSION_PERMANENT": False,
    #: [timedelta or seconds] How long a session that is not permanent lives without a visit. For
    #: permanent sessions it is Flask's `PERMANENT_SESSION_LIFETIME`. If you make it shorter, that
    #: applies to existing sessions too, from their next touch; if longer, to new ones only.
    "SESSION_LIFETIME": timedelta(days=1),
    #: [timedelta or seconds] How long a session lives at most, however busy it is. It counts from
    #: the sign-in or from `session.confirm()`. If nobody is signed in, it counts from the creation
    #: or the last sign-out.
    "SESSION_ABSOLUTE_LIFETIME": None,
    #: [timedelta or seconds] A request that only reads moves the expiry and "last seen" at most
    #: this often.
    "SESSION_TOUCH_INTERVAL": 60,
    #: [int] How many sessions a user may have. A further sign-in ends the one that was seen longest
    #: ago.
    "SESSION_MAX_PER_USER": None,
    #: [bool or callable] Whether to keep the user agent and the address of the sign-in. A callable
    #: takes the request and returns both.
    "SESSION_DEVICE_INFO": True,
    #: ["auto" or "all"] `"all"`: always load the whole session. `"auto"`: of a large session load
    #: only the fields that this endpoint uses.
    "SESSION_LOAD": "auto",
    #: [list of names, or dict of rules] Keys whose changes by parallel requests are merged: a list
    #: of names, or `{name: rule(base, mine, theirs)}`. Flash messages are merged in any case.
    "SESSION_MERGE": (),
    #: [(replicas, milliseconds)] A revocation waits until so many replicas have it, or raises
    #: `RevocationUnconfirmed`. Not in a cluster.
    "SESSION_REVOKE_WAIT": None,
    #: [int, in bytes] How much of loaded sessions a process keeps, to answer a warm GET without
    #: Redis. 0: nothing. Only with `SESSION_REDIS_URL`, and not in a cluster yet.
    "SESSION_KEEP": 0,
    #: [timedelta or seconds] How old at most what a warm GET reads may be, at most a minute. Only
    #: with `SESSION_KEEP`.
    "SESSION_KEEP_STALE": 1.0,
    #: [dict] Old sessions to carry over, once each: `{"flask-session": until, "cookie": until}`.
    #: After `until`, an aware `datetime`, that source is refused.
    "SESSION_IMPORT": None,
    #: [str] The name of the old cookie. `None`: as here.
    "SESSION_IMPORT_COOKIE_NAME": None,
    #: [client or URL] The Redis of Flask-Session's sessions. `None`: as here.
    "SESSION_IMPORT_REDIS": None,
    #: [str] The prefix of Flask-Session's keys. `None`: as here.
    "SESSION_IMPORT_PREFIX": None,
    #: [bool] `True`: leave Flask-Session's key and the old cookie alone, while a deployment is
    #: half-way.
    "SESSION_IMPORT_KEEP_OLD": False,
}
