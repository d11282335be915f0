"""Sites that keep what they loaded, and how a test tells what they keep."""

from __future__ import annotations

from typing import Any

from flask_redis_session.storage.token import parse_cookie
from tests.support.servers import wait_until
from tests.support.webapp import Browser, Site

#: Room for everything that a test loads.
ROOM = 2**22


class KeepingSite(Site):
    """A site that keeps sessions.

    :param server: where its sessions are.
    :param url: how it gets there; ``None``: straight.
    """

    def __init__(self, server: Any, url: str | None = None, **config: Any) -> None:
        config = {"SESSION_KEEP": ROOM, **config}
        # No client is needed beside the one that the URL makes.
        super().__init__(server, redis=object(), SESSION_REDIS_URL=url or server.url, **config)

    @property
    def kept(self) -> Any:
        """What it keeps."""
        return self.interface._any_backend().kept

    @property
    def line(self) -> Any:
        """The line that it hears changes on, if there is one."""
        return self.kept.listener.line

    def believes(self, browser: Browser) -> bool:
        """Tell whether a GET of this browser would be answered without Redis now."""
        token = parse_cookie(browser.cookie)
        assert token is not None
        return self.kept.believed(token, lambda: None) is not None

    def warm(self, *browsers: Browser) -> None:
        """Let the site keep the sessions of browsers."""

        def is_warm() -> bool:
            for browser in browsers:
                browser.read()
            return all(self.believes(browser) for browser in browsers)

        wait_until(is_warm, "the sessions are kept", 10)

    def visitor(self, **values: Any) -> Browser:
        """Return a browser that is signed in and whose session is kept."""
        browser = self.browser()
        browser.sign_in(23, **values)
        self.warm(browser)
        return browser
