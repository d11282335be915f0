"""What the applications of this folder are asked through."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

from tests.neighbours.browsing import Device, served

if TYPE_CHECKING:
    import flask


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let the libraries say what they will change one day: that is not what is tested."""
    for item in items:
        if "neighbours" in item.nodeid:
            item.add_marker(pytest.mark.filterwarnings("default"))
            item.add_marker(pytest.mark.timeout(120))


@pytest.fixture
def provider(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of an OpenID Connect provider."""
    pytest.importorskip("authlib")
    from tests.neighbours.provider import Provider

    # OAuth is for HTTPS. Both ends are on this machine.
    monkeypatch.setenv("AUTHLIB_INSECURE_TRANSPORT", "1")
    monkeypatch.setenv("OAUTHLIB_INSECURE_TRANSPORT", "1")
    with served(Provider().app, "127.0.0.1") as address:
        yield address


@pytest.fixture
def devices() -> Iterator[Callable[[flask.Flask], Any]]:
    """Serve an application, and give what makes devices that visit it."""
    with ExitStack() as stack:

        def serve(app: flask.Flask) -> Callable[[], Device]:
            home = stack.enter_context(served(app))
            return lambda: Device(home)

        yield serve
