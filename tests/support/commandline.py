"""``flask sessions`` as the tests call it, and sessions in numbers that no browser makes."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

from flask_redis_session.admin.cli import sessions
from flask_redis_session.storage.record import mark
from flask_redis_session.storage.token import new_token

if TYPE_CHECKING:
    import flask


class Outcome:
    """What a command came to."""

    def __init__(self, result: Any) -> None:
        self.out: str = result.stdout
        self.error: str = result.stderr

    @property
    def json(self) -> Any:
        """What it printed, which is one JSON text."""
        return json.loads(self.out)

    @property
    def lines(self) -> list[str]:
        """The lines that it printed."""
        return self.out.splitlines()


def run(app: flask.Flask, *arguments: object, status: int = 0) -> Outcome:
    """Call ``flask sessions`` with these arguments, where there is no terminal."""
    result = app.test_cli_runner().invoke(sessions, [str(each) for each in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception

    assert status == result.exit_code, result.output
    return Outcome(result)


def make(
    redis: Any, user_id: object, count: int, *, life: int = 3600, prefix: str = "session:"
) -> list[str]:
    """Store so many sessions of a user as the library would, and return their sids."""
    now = time.time()
    made: list[str] = []
    for first in range(0, count, 10_000):
        pipeline = redis.pipeline(transaction=False)
        seen = {}
        for _ in range(min(10_000, count - first)):
            token = new_token(permanent=False)
            seen[token.sid] = now
            fields = {
                "@born": f"{now:.3f}",
                "@seen": f"{now:.3f}",
                "@idle": str(life),
                f"@secret:{token.proof}": mark(token.proof),
                "user_id": json.dumps(str(user_id)),
            }
            if user_id is not None:
                fields["@user"] = str(user_id)
            pipeline.hset(f"{prefix}{token.sid}", mapping=fields)
            pipeline.expire(f"{prefix}{token.sid}", life)
        if user_id is not None:
            pipeline.zadd(f"{prefix}user:{user_id}", seen)
            pipeline.expire(f"{prefix}user:{user_id}", life + 60)
        pipeline.execute()
        made += seen
    return made
