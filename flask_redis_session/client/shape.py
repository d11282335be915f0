"""What the reply to a command looks like, so that the reply to another one is not taken for it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

#: What is raised if a reply is read that has another form.
UNREADABLE = (TypeError, ValueError, IndexError, AttributeError, KeyError)


def _is_number(_: Sequence[Any], reply: Any) -> bool:
    return isinstance(reply, int)


def _is_score(_: Sequence[Any], reply: Any) -> bool:
    # As the protocol has it, and the client.
    return reply is None or isinstance(reply, float | int | bytes)


def _is_text(_: Sequence[Any], reply: Any) -> bool:
    return isinstance(reply, bytes | str)


def _is_list(_: Sequence[Any], reply: Any) -> bool:
    return isinstance(reply, list)


def _is_pair(_: Sequence[Any], reply: Any) -> bool:
    return isinstance(reply, list | tuple) and len(reply) == 2


def _has_each_field(command: Sequence[Any], reply: Any) -> bool:
    return isinstance(reply, list) and len(reply) == len(command) - 2


def _is_page(command: Sequence[Any], reply: Any) -> bool:
    """Tell whether it is a cursor, and what was found."""
    if not _is_pair(command, reply):
        return False
    return isinstance(reply[0], int) and isinstance(reply[1], list | dict)


_FORMS: dict[str, Callable[[Sequence[Any], Any], bool]] = {
    **dict.fromkeys(("DBSIZE", "HLEN", "HSTRLEN", "PTTL", "WAIT", "ZCARD", "ZCOUNT"), _is_number),
    **dict.fromkeys(("HSCAN", "SCAN", "ZSCAN"), _is_page),
    **dict.fromkeys(("HKEYS", "zrevrange"), _is_list),
    **dict.fromkeys(("CLUSTER", "TYPE"), _is_text),
    "TIME": _is_pair,
    "ZSCORE": _is_score,
    "hmget": _has_each_field,
}


def is_odd(command: Sequence[Any], reply: Any) -> bool:
    """Tell whether a reply cannot be the one to its command, by its form.

    The replies of scripts are not looked at: each of them shows what it answers for.

    :param command: the command.
    :param reply: what the client made of the reply.
    """
    fits = _FORMS.get(command[0])
    return fits is not None and not fits(command, reply)
