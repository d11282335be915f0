"""Flask's own tests, run with these sessions in every app that sets none of its own.

``python -m tests.tooling.flask_suite`` takes the source distribution of the installed Flask, which
holds its tests, and exits 0 if none failed but those of :data:`MAY_FAIL`. With ``--baseline``
the same tests run with Flask's own sessions.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import sys
from collections.abc import Sequence

from tests.tooling import foreign

#: The tests that may fail, each with what it presupposes.
MAY_FAIL = {
    "test_missing_session": "that a session without SECRET_KEY cannot be written",
    "test_session_secret_key_fallbacks": "that a cookie is signed with SECRET_KEY",
    "test_session_transactions_no_null_sessions": "that there is no session without SECRET_KEY",
}
#: The tests that fail with Flask's own sessions too.
FAIL_ANYWAY = {
    "test_bad_environ_raises_bad_request": "a Werkzeug that refuses a host it cannot encode",
}


def run(*, baseline: bool = False, arguments: Sequence[str] = ()) -> foreign.Outcome:
    """Run Flask's tests in a process of their own.

    :param baseline: with Flask's own sessions instead of these.
    :param arguments: further ones for pytest.
    """
    folder = foreign.sources("flask")
    settings = ["-c", "pyproject.toml"]
    return foreign.run(folder, [*settings, *arguments, "tests"], baseline=baseline)


def unexpected(outcome: foreign.Outcome, *, baseline: bool = False) -> list[str]:
    """Return the tests that failed and must not.

    :param outcome: of a run.
    :param baseline: whether it was with Flask's own sessions.
    """
    return outcome.unexpected(set(FAIL_ANYWAY) if baseline else {*FAIL_ANYWAY, *MAY_FAIL})


def main() -> int:
    """Run the tests and say which failed."""
    parser = argparse.ArgumentParser(description="Run Flask's own tests on these sessions.")
    parser.add_argument("--baseline", action="store_true", help="on Flask's own sessions instead")
    parser.add_argument("--verbose", action="store_true", help="show what pytest printed")
    parser.add_argument("arguments", nargs="*", help="further arguments for pytest, after --")
    options = parser.parse_args()

    outcome = run(baseline=options.baseline, arguments=options.arguments)
    wrong = unexpected(outcome, baseline=options.baseline)
    if options.verbose or wrong:
        print(outcome.output)

    whose = "Flask's own sessions" if options.baseline else "flask-redis-session"
    print(f"Flask {importlib.metadata.version('flask')}'s tests on {whose}:")
    print(f"{outcome.passed} passed, {len(outcome.failed)} failed, {outcome.skipped} skipped")
    for name in outcome.failed:
        known = {**MAY_FAIL, **FAIL_ANYWAY}.get(foreign.short(name))
        why = "UNEXPECTED" if name in wrong else f"expected: it presupposes {known}"
        print(f"  {name}: {why}")
    return 1 if wrong or not outcome.passed else 0


if __name__ == "__main__":
    sys.exit(main())
