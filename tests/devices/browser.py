"""A real browser for the tests: Debian's Chromium, driven by Playwright."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from werkzeug.serving import WSGIRequestHandler, make_server

from tests.support.servers import HOST, Missing

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication
    from playwright.sync_api import Browser, Page, ViewportSize

#: The narrowest telephone that counts, and a screen.
PHONE: ViewportSize = {"width": 360, "height": 740}
SCREEN: ViewportSize = {"width": 1280, "height": 800}


@contextmanager
def chromium() -> Iterator[Browser]:
    """Start Chromium, and end it when the block is left.

    :raises Missing: where it or Playwright is not on this machine.
    """
    try:
        from playwright.sync_api import sync_playwright
    except ModuleNotFoundError:
        raise Missing("no playwright: pip install playwright") from None
    program = shutil.which("chromium")
    if program is None:
        raise Missing("no chromium: apt-get install chromium")
    with sync_playwright() as playwright:
        # As root, in a container, there is no sandbox to be had.
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        try:
            yield browser
        finally:
            browser.close()


class _Quiet(WSGIRequestHandler):
    def log(self, type: str, message: str, *args: Any) -> None:  # noqa: A002
        pass


@contextmanager
def serving(app: WSGIApplication, host: str = HOST) -> Iterator[str]:
    """Serve an application while the block runs; gives its address.

    :param app: the application.
    :param host: under which name; another one is another site to the browser.
    """
    server = make_server(HOST, 0, app, threaded=True, request_handler=_Quiet)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://{host}:{server.port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def violations(page: Page) -> list[str]:
    """Return what axe finds wrong with the accessibility of a page: the rule, and where.

    :raises Missing: where axe is not on this machine.
    """
    try:
        from axe_playwright_python.sync_playwright import Axe  # type: ignore[import-untyped]
    except ModuleNotFoundError:
        raise Missing("no axe: pip install axe-playwright-python") from None
    found: dict[str, Any] = Axe().run(page).response
    return [
        f"{violation['id']}: {node['html']}"
        for violation in found["violations"]
        for node in violation["nodes"]
    ]


def overflow(page: Page) -> int:
    """Return by how many pixels a page is wider than its window."""
    width: int = page.evaluate(
        "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    )
    return width
