"""The command ``flask sessions``: see and end sessions from the command line."""

from __future__ import annotations

from .doctor import doctor
from .group import SessionsGroup
from .import_ import import_
from .look import count, list_, show
from .revoke import revoke, revoke_all
from .users import users

sessions = SessionsGroup(
    "sessions",
    short_help="See and end the sessions of users.",
    help="""See and end the sessions that this application keeps in Redis.

    As for every flask command, --app or FLASK_APP names the application:

    \b
      flask --app shop sessions count

    USER is a user's id: what the application put into session["user_id"], or Flask-Login into
    session["_user_id"]. If the application has a SESSION_USER_LOOKUP, USER is what that takes,
    such as an e-mail address; --id says that it is an id all the same. Write two dashes before what
    begins with a dash:

    \b
      flask sessions list -- -5

    SID is a session's public id, which 'list' shows. It lets nobody in.

    No command holds up Redis or needs much memory, even with a million sessions. On a terminal,
    a long command shows a progress bar.

    \b
    Examples:
      flask sessions users                   who is signed in
      flask sessions list 23                 where user 23 is signed in
      flask sessions revoke 23               sign user 23 out everywhere
      flask sessions revoke 23 --before 30d  only sessions not seen for 30 days
      flask sessions revoke-all              sign everybody out
      flask sessions doctor                  is anything broken?
      flask sessions import                  carry Flask-Session's sessions over
    """,
    epilog="""\b
    Exit codes:
      0  done, or there was nothing to do
      1  no such session or user, not confirmed, the doctor left something broken, or an
         old session cannot be read
      2  a mistake in the command line or in the application's settings
      3  Redis failed; the sessions that had been ended by then stay ended
    """,
)

for command in (list_, users, show, revoke, revoke_all, count, doctor, import_):
    sessions.add_command(command)
