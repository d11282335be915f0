"""Texts with lone surrogates, which UTF-8 cannot write, as texts that it can.

In an escaped text, a lone surrogate is a backslash, ``u`` and four hexadecimal digits, and a
backslash is two.
"""

from __future__ import annotations

import re


def is_utf8(text: str) -> bool:
    """Tell whether UTF-8 can write a text.

    :param text: any text.
    """
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def escaped(text: str) -> str:
    """Return a text in a form that UTF-8 can write.

    :param text: any text.
    """
    # What has no UTF-8 form is exactly a lone surrogate.
    return text.replace("\\", "\\\\").encode("utf-8", "backslashreplace").decode()


def unescaped(text: str) -> str:
    """Return the text that was escaped.

    :param text: what :func:`escaped` returned.
    :raises ValueError: if a backslash in it begins no escape.
    """
    return _find_escapes(_unescaped_one, text)


def _unescaped_one(escape: re.Match[str]) -> str:
    if escape[0] == "\\\\":
        return "\\"
    if escape[1] is None:
        raise ValueError("a backslash that begins no escape")
    return chr(int(escape[1], 16))


_find_escapes = re.compile(r"\\(?:\\|u(d[89a-f][0-9a-f]{2}))?").sub
