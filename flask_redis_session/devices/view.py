"""What the templates see under the name ``devices``."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from flask import current_app

from flask_redis_session.remember_cookie import keeps_remember_cookie
from flask_redis_session.storage.record import SessionInfo

from . import csrf
from .agents import Agent, agent_of
from .ago import Ago, ago
from .layout import layout_name
from .options import Options, address
from .visitor import Page


@dataclass(frozen=True, slots=True)
class Notice:
    """What the visitor has just done.

    :param what: ``one``, ``others`` or ``unused``.
    :param ended: how many sessions it ended.
    """

    what: str
    ended: int


@dataclass(frozen=True, slots=True)
class View:
    """What a template shows. Each template uses a part of it.

    :param options: the options of the blueprint.
    :param page: the sessions to show.
    :param token: the token that a form must carry.
    :param notice: what the visitor has just done.
    :param problem: what went wrong, a kind of :func:`~.answers.problem`.
    :param ended: how many sessions were ended before the failure.
    :param everywhere: whether all sessions of the user were ended; ``None``: not known.
    """

    options: Options
    page: Page | None = None
    token: str = ""
    notice: Notice | None = None
    problem: str | None = None
    ended: int = 0
    everywhere: bool | None = False

    @property
    def base_template(self) -> str:
        return self.options.base_template

    @property
    def layout(self) -> str:
        return layout_name(self.options)

    @property
    def token_field(self) -> str:
        return csrf.FIELD

    @property
    def sign_in_url(self) -> str | None:
        """The URL of the sign-in; ``None`` if it is not known."""
        target = self.options.sign_in
        return address(target) if isinstance(target, str) else None

    @property
    def may_return(self) -> bool:
        """Whether a device may sign itself in again, by a remember cookie of Flask-Login's."""
        return keeps_remember_cookie(current_app)

    def agent(self, info: SessionInfo) -> Agent:
        """Return the browser and the system of a session.

        :param info: the session.
        """
        return agent_of(info.user_agent)

    def ago(self, when: datetime) -> Ago | None:
        """Return how long ago a time was when the list was made.

        :param when: the time.
        """
        return ago(when, self.page.now) if self.page else None
