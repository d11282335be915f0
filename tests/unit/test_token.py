from __future__ import annotations

import base64
import copy
import hashlib
import json
import pickle
import re

import pytest

from flask_redis_session.storage.token import Token, digest, is_sid, new_token, parse_cookie

SID = "A" * 22
SECRET = "b" * 43


def unpadded(text: str) -> bytes:
    """Decode base64url without its padding."""
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def secret_of(token: Token) -> str:
    """Return the secret that a token keeps to itself."""
    return token.cookie().split(".")[1]


def test_new_token_is_long():
    """The sid has 128 bits, the secret 256."""
    token = new_token(permanent=False)

    assert 16 == len(unpadded(token.sid))
    assert 32 == len(unpadded(secret_of(token)))


def test_new_tokens_differ():
    """No two tokens share a sid or a secret."""
    tokens = [new_token(permanent=False) for _ in range(100)]

    assert 100 == len({token.sid for token in tokens})
    assert 100 == len({token.proof for token in tokens})


@pytest.mark.parametrize(("permanent", "own"), [(False, None), (True, None), (True, 99.5)])
def test_cookie_round_trip(permanent, own):
    """A token is read back from its own cookie."""
    token = new_token(permanent).lasting(permanent, own)

    assert token == parse_cookie(token.cookie())


def test_cookie_says_permanent():
    """The cookie of a permanent session ends in .p, the other ends with the secret."""
    token = Token(SID, SECRET)

    assert f"{SID}.{SECRET}" == token.cookie()
    assert f"{SID}.{SECRET}.p" == token.lasting(True, None).cookie()
    assert f"{SID}.{SECRET}.p100" == token.lasting(True, 99.5).cookie()
    assert f"{SID}.{SECRET}" == token.lasting(False, 99.5).cookie()


@pytest.mark.parametrize(
    "value",
    [
        "",
        ".",
        "..",
        SID,
        SECRET,
        f"{SID}.",
        f".{SECRET}",
        f"{SID}{SECRET}",
        f"{SID}:{SECRET}",
        f"{SID[1:]}.{SECRET}",
        f"{SID}A.{SECRET}",
        f"{SID}.{SECRET[1:]}",
        f"{SID}.{SECRET}b",
        f"{SID}.{SECRET}.",
        f"{SID}.{SECRET}.P",
        f"{SID}.{SECRET}.pp",
        f"{SID}.{SECRET}.p.p",
        f"{SID}.{SECRET}..p",
        f"{SID}.{SECRET}\n",
        f"{SID}.{SECRET}.p\n",
        f"\n{SID}.{SECRET}",
        f" {SID}.{SECRET}",
        f"{SID}.{SECRET} ",
        f"{SID[1:]}+.{SECRET}",
        f"{SID[1:]}/.{SECRET}",
        f"{SID[1:]}=.{SECRET}",
        f"{SID[1:]}:.{SECRET}",
        f"{SID[1:]}*.{SECRET}",
        f"{SID[1:]}\0.{SECRET}",
        f"{SID[1:]}ä.{SECRET}",
        f"{SID[1:]}\uff21.{SECRET}",  # A in full width
        f"{SID[1:]}\u0661.{SECRET}",  # an Arabic digit
        f"{SID}.{SECRET[1:]}\udc80",
        "A" * 5000,
        f"{SID}.{SECRET}" * 50,
    ],
)
def test_malformed(value):
    """What has not exactly the form of a cookie is none."""
    assert None is parse_cookie(value)


def test_rotated():
    """A rotated token has another secret, and all else is the same."""
    token = Token(SID, SECRET, permanent=True)

    rotated = token.rotated()

    assert SECRET != secret_of(rotated)
    assert (token.sid, token.permanent) == (rotated.sid, rotated.permanent)
    assert rotated == parse_cookie(rotated.cookie())


def test_digest():
    """The digest is SHA-256 of the secret in base64url, short enough for a compact hash."""
    expected = hashlib.sha256(SECRET.encode()).digest()

    assert expected == unpadded(digest(SECRET))
    assert re.fullmatch(r"[A-Za-z0-9_-]{43}", digest(SECRET))
    assert 64 >= len("@secret:" + digest(SECRET))


@pytest.mark.parametrize("show", [repr, str, "{}".format, "{!r}".format, "%s".__mod__])
def test_secret_is_never_shown(show):
    """A token can be shown without its secret."""
    token = new_token(permanent=True)

    assert f"<Token {token.sid}>" == show((token,) if show == "%s".__mod__ else token)


@pytest.mark.parametrize("give_away", [iter, list, vars, json.dumps, pickle.dumps, copy.copy, dict])
def test_secret_is_never_given_away(give_away):
    """A token is no container, and cannot be copied out of its process."""
    with pytest.raises(TypeError):
        give_away(new_token(permanent=True))


@pytest.mark.parametrize(
    ("expected", "value"),
    [
        (True, SID),
        (True, "Az09_-" + "A" * 16),
        (False, ""),
        (False, SID[1:]),
        (False, SID + "A"),
        (False, SID + "\n"),
        (False, SID[1:] + "*"),
        (False, SID[1:] + "ä"),
    ],
)
def test_is_sid(expected, value):
    """A sid has 22 characters of base64url."""
    assert expected == is_sid(value)


def test_equals_nothing_else():
    """A token is a token, and no text is one."""
    token = new_token(permanent=False)

    assert token != token.cookie()
