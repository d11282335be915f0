"""Which commands are sent once more."""

from __future__ import annotations

from typing import Any

from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as LostConnection
from redis.exceptions import ResponseError
from redis.retry import Retry


class RetryLost(Retry):
    """Tries once more if the server had closed the connection.

    Not if no answer came in time, nor if the server answered with a refusal: those are kinds of
    ``ConnectionError`` of their own, such as a wrong password or a server that loads.
    """

    def __init__(self) -> None:
        super().__init__(NoBackoff(), 1)
        self._lost: set[type[Exception]] = {LostConnection}

    def update_supported_errors(self, specified_errors: Any) -> None:
        super().update_supported_errors(specified_errors)
        self._lost.update(specified_errors)

    def call_with_retry(self, do: Any, fail: Any, *_: Any, **options: Any) -> Any:
        failures = 0
        while True:
            try:
                return do()
            except BaseException as error:  # noqa: PERF203
                failures += 1
                # An exchange that stopped before its reply leaves that on the way. If the
                # connection were kept, the next command would take it for its own, with another
                # session in it. Anything may stop it, such as a signal handler that raises.
                if type(error) in self._lost or not isinstance(error, ResponseError):
                    fail(error, failures) if options.get("with_failure_count") else fail(error)
                if type(error) not in self._lost or failures > 1:
                    raise


class ReplyLost(LostConnection):
    """The connection was lost, and the command is not sent again: it may have been carried out."""
