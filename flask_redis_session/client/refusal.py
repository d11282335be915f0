"""What a refusal of Redis's says of the connection that it came by."""

from __future__ import annotations

_ORDINARY = {"NoScriptError", "AskError", "MovedError"}
_ELSEWHERE = ("READONLY", "MASTERDOWN")
_ELSEWHERE_TYPES = {"ReadOnlyError", "MasterDownError"}


def is_doubtful(error: Exception) -> bool:
    """Tell whether a failure is a refusal after which its connection is not used again.

    Not if it is one that this package can expect and that Redis itself wrote. Any other may be from
    a proxy. It may have come in addition to the replies of Redis, and then each later reply on that
    connection would belong to the command before.

    :param error: the client's, of redis-py or valkey-py.
    """
    names = _names(error)
    # Inside a script Redis says the word somewhere in the text, elsewhere it begins with it.
    return "ResponseError" in names and not _ORDINARY & names and "WRONGTYPE" not in str(error)


def is_elsewhere(error: Exception) -> bool:
    """Tell whether a refusal means that another server is the right one now.

    :param error: the client's, of redis-py or valkey-py.
    """
    # Redis 6.2 says it in the middle of the text if a script met it.
    text = str(error)
    return bool(_ELSEWHERE_TYPES & _names(error)) or any(word in text for word in _ELSEWHERE)


def hide_arguments(error: Exception) -> None:
    """Take out of a refusal what the refused command was told: it may be private, or a secret.

    :param error: the client's, of redis-py or valkey-py.
    """
    error.args = tuple(
        word.partition(", with args beginning with")[0] if isinstance(word, str) else word
        for word in error.args
    )


def _names(error: Exception) -> set[str]:
    # The two libraries share no class.
    return {cls.__name__ for cls in type(error).__mro__}
