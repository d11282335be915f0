"""Flask's contract for sessions, as Flask's own tests hold it."""

from __future__ import annotations

import pytest

from tests.tooling import flask_suite, foreign


@pytest.mark.timeout(300)
def test_flask_suite():
    """Flask's own tests pass with these sessions, but for those that presuppose a signed cookie."""
    try:
        foreign.sources("flask")
    except foreign.Unavailable as unavailable:
        pytest.skip(str(unavailable))

    outcome = flask_suite.run()

    assert [] == flask_suite.unexpected(outcome), outcome.output
    # Fewer would mean that the tests were not found.
    assert 450 < outcome.passed
