"""The own tests of other projects for Flask, with Flask's sessions and then with these.

``python -m tests.tooling.neighbours`` takes the source distributions of the versions that are
installed and exits 0 if no test failed with these sessions that passed with Flask's own, but for
those that are named here, each with what it presupposes. ``--quick`` leaves out what takes more
than a minute.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from tests.tooling import foreign


@dataclass(frozen=True)
class Neighbour:
    """A project whose tests are run.

    :param package: its name.
    :param arguments: which of its tests, and further arguments for pytest.
    :param needs: what only its tests need, each with its version.
    :param may_fail: the tests that may fail with these sessions, each with what it presupposes.
    :param at_least: how many pass: fewer would mean that they were not found.
    :param is_quick: whether both runs take less than a minute.
    """

    package: str
    arguments: Sequence[str]
    at_least: int
    needs: Sequence[str] = ()
    may_fail: Mapping[str, str] = field(default_factory=dict)
    is_quick: bool = True


#: What is of no concern here: warnings of a project's about what it uses itself, its coverage.
PLAIN = ("-o", "addopts=", "-W", "ignore", "--timeout", "60")
#: Tests of Flask-Admin's that want another database or a cloud.
ELSEWHERE = (
    *("fileadmin/test_fileadmin.py", "fileadmin/test_fileadmin_azure.py"),
    *("fileadmin/test_fileadmin_s3.py", "geoa", "mongoengine", "peeweemodel", "pymongo"),
    "sqla/test_postgres.py",
)

NEIGHBOURS = [
    Neighbour("flask-login", [*PLAIN, "tests"], 110, ["semantic-version==2.10.0"]),
    Neighbour("flask-wtf", [*PLAIN, "tests"], 80),
    Neighbour("flask-oidc", [*PLAIN, "tests"], 40, ["responses==0.26.3"]),
    Neighbour(
        "flask-socketio",
        [*PLAIN, "test_socketio.py"],
        40,
        may_fail={
            "test_unmanaged_session": "that an event cannot change the session, since it is in the "
            "cookie",
        },
    ),
    Neighbour(
        "flask-admin",
        [
            *PLAIN,
            *(f"--ignore=flask_admin/tests/{name}" for name in ELSEWHERE),
            "flask_admin/tests",
        ],
        100,
        ["arrow==1.4.0", "beautifulsoup4==4.15.0", "soupsieve==4.1.3"],
        is_quick=False,
    ),
    Neighbour(
        "flask-appbuilder",
        [
            *PLAIN,
            *("tests/test_mvc.py", "tests/test_mvc_oauth.py", "tests/test_detached_user.py"),
            *("tests/test_menu.py", "tests/test_security_signals.py"),
        ],
        60,
        ["hiro==1.1.1", "parameterized==0.9.0"],
        is_quick=False,
    ),
    Neighbour(
        "flask-security",
        [
            *PLAIN,
            *("tests/test_basic.py", "tests/test_csrf.py", "tests/test_changeable.py"),
            *(
                "tests/test_recoverable.py",
                "tests/test_passwordless.py",
                "tests/test_two_factor.py",
            ),
        ],
        150,
        ["flask-mail==0.10.0", "freezegun==1.5.5"],
        may_fail={
            "test_no_cache_control": "that a response that sets the cookie may be kept",
        },
        is_quick=False,
    ),
]


def check(neighbour: Neighbour) -> list[str]:
    """Run a neighbour's tests twice, print what came of it, and return what must not be.

    :param neighbour: whose tests.
    """
    folder = foreign.sources(neighbour.package)
    extras = foreign.extras(neighbour.package, neighbour.needs)
    before = foreign.run(folder, neighbour.arguments, baseline=True, extras=extras)
    after = foreign.run(folder, neighbour.arguments, extras=extras)
    print(f"{folder.name}: {before.passed} passed and {len(before.failed)} failed with Flask's own")
    print(f"  {after.passed} passed and {len(after.failed)} failed with flask-redis-session")
    failed = after.unexpected(neighbour.may_fail)
    wrong = [f"{neighbour.package}: {name}" for name in failed if name not in before.failed]
    for name in after.failed:
        if reason := neighbour.may_fail.get(foreign.short(name)):
            print(f"  {name}: expected, it presupposes {reason}")
    if after.passed < neighbour.at_least:
        wrong.append(f"{neighbour.package}: only {after.passed} passed")
    if wrong:
        print(after.output)
    sys.stdout.flush()
    return wrong


def main() -> int:
    """Run the tests of all neighbours, or of some, and say what failed."""
    parser = argparse.ArgumentParser(description="Run other projects' tests on these sessions.")
    parser.add_argument("--quick", action="store_true", help="those that take less than a minute")
    parser.add_argument("packages", nargs="*", help="those of these packages (default: all)")
    options = parser.parse_args()
    wrong: list[str] = []
    for neighbour in NEIGHBOURS:
        is_named = not options.packages or neighbour.package in options.packages
        if is_named and (neighbour.is_quick or not options.quick):
            wrong += check(neighbour)
    for name in wrong:
        print(f"UNEXPECTED {name}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
