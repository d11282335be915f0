"""The session of the current request, typed as what it is."""

from __future__ import annotations

from typing import cast

import flask

from .request.session import RedisSession

#: ``flask.session``.
session = cast("RedisSession", flask.session)
