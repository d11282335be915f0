from __future__ import annotations

import os
import re
from collections.abc import Iterator
from itertools import product
from typing import TYPE_CHECKING, Any, Literal

import flask
import pytest

from tests.devices.browser import PHONE, SCREEN, chromium, overflow, serving, violations
from tests.devices.site import EDGE, IPAD, IPHONE, Person, age, fill, make_app
from tests.tooling.test_demo import running

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

    from tests.support.servers import Server

pytestmark = pytest.mark.one_server("is about what a browser shows, which Redis does not alter")

LAYOUTS = [None, "base.html"]
LIST = "Where you’re signed in"
SCHEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")
EVERYWHERE = re.compile("^Sign out everywhere$")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One Chromium for the tests of this file; each test opens contexts of its own."""
    with chromium() as browser:
        yield browser


@pytest.fixture(params=LAYOUTS, ids=["own", "layout"])
def site(request: pytest.FixtureRequest, valkey: Server) -> Iterator[Site]:
    """The site, served: once with a page that stands for itself, once with a layout."""
    app = make_app(valkey, base_template=request.param, sign_in="/sign-in", page_size=4)
    with serving(app) as address:
        yield Site(app, valkey, address)


class Site:
    """The site as a browser reaches it.

    :param app: the site.
    :param server: where its sessions are.
    :param address: its origin.
    """

    def __init__(self, app: flask.Flask, server: Server, address: str) -> None:
        self.app = app
        self.server = server
        self.address = address

    def open(self, browser: Browser, user: object = 23, **context: Any) -> Page:
        """Sign in with a browser of its own, and open the list."""
        page = browser.new_context(**context).new_page()
        page.set_default_timeout(10_000)
        page.goto(f"{self.address}/sign-in")
        page.get_by_label("Who?").fill(str(user))
        _click(page, "Sign in")
        page.goto(f"{self.address}/devices")
        return page

    def people(self) -> None:
        """Sign in with other devices, some of them long ago."""
        agents = (IPHONE, IPAD, EDGE, "curl/8.5", "x" * 256)
        for days, agent in enumerate(agents):
            person = Person(self.app, 23, agent, "2001:db8:85a3:1234:5678:8a2e:370:7334")
            age(self.server, 23, person.sid, 12 * 86_400 * days + 100)


def _is_in(page: Page, site: Site) -> bool:
    page.goto(f"{site.address}/")
    return "Hello" in page.content()


def _click(page: Page, name: str | re.Pattern[str]) -> None:
    """Press the first button of this name, and wait for the page that comes of it."""
    with page.expect_navigation():
        page.get_by_role("button", name=name).first.click()


class TestActions:
    def test_one_browser_ends_another(self, browser: Browser, site: Site) -> None:
        """Of two browsers of one user, one ends the other, which is out at its next click."""
        here = site.open(browser)
        there = site.open(browser, user_agent=IPHONE)
        here.reload()
        _click(here, "Sign out Safari on iPhone")

        assert "That device is signed out." == here.get_by_role("status").inner_text()
        assert f"That device is signed out. {LIST}" in here.title()
        assert 0 == here.get_by_text("Safari on iPhone").count()

        _click(there, "Sign out")

        assert f"{site.address}/sign-in" == there.url
        assert _is_in(here, site)
        assert not _is_in(there, site)

    def test_ends_all(self, browser: Browser, site: Site) -> None:
        """To sign out everywhere ends this browser and every other."""
        here, there = site.open(browser), site.open(browser)
        here.reload()
        _click(here, EVERYWHERE)

        assert "You’re signed out" == here.get_by_role("heading").inner_text()
        assert [False, False] == [_is_in(page, site) for page in (here, there)]

        here.goto(f"{site.address}/devices")

        assert f"{site.address}/sign-in" == here.url

    def test_without_javascript(self, browser: Browser, site: Site) -> None:
        """Everything works without a script."""
        site.people()
        here = site.open(browser, java_script_enabled=False)
        _click(here, "Sign out devices unused for 30 days")

        assert (
            "Signed out: 2 devices unused for 30 days." == here.get_by_role("status").inner_text()
        )

        _click(here, "Sign out everywhere else")

        assert "Signed out everywhere else: 3 devices." == here.get_by_role("status").inner_text()

    def test_the_back_button_shows_no_list_of_the_past(self, browser: Browser, site: Site) -> None:
        """Whoever goes back after signing out everywhere does not see the list again."""
        site.people()
        here = site.open(browser)
        _click(here, EVERYWHERE)
        here.evaluate("history.back()")
        here.wait_for_url(f"{site.address}/sign-in")

        assert LIST not in here.content()

    def test_with_the_keyboard_alone(self, browser: Browser, site: Site) -> None:
        """Tab reaches every button in the order of the page, each is seen, and Enter presses it."""
        site.people()
        here = site.open(browser)
        reached: list[str] = []
        for _ in range(20):
            here.keyboard.press("Tab")
            focused = here.locator(":focus")
            if focused.count() == 0:
                break
            if focused.evaluate("e => e.tagName") == "BUTTON":
                reached.append(" ".join(focused.inner_text().split()))
                outline = focused.evaluate("e => getComputedStyle(e).outlineWidth")

                assert "3px" == outline

        assert 4 + 3 == len(reached)
        assert re.match("Sign out Chrome on Linux, 127.0.0.1, active just now", reached[0])
        assert re.match("Sign out Safari on iPhone, 2001:.*, active 1 minute ago", reached[1])

        here.reload()
        for _ in range(20):
            here.keyboard.press("Tab")
            if "Safari on iPhone" in here.locator(":focus").inner_text():
                break
        with here.expect_navigation():
            here.keyboard.press("Enter")

        assert "That device is signed out." == here.get_by_role("status").inner_text()


class TestForgery:
    @pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
    @pytest.mark.parametrize("action", ["end-all", "end-others"])
    def test_by_a_form_of_another_site(
        self, browser: Browser, site: Site, host: str, action: str
    ) -> None:
        """A form elsewhere that posts to the page is refused, though the cookie comes along.

        ``localhost`` is another site to the browser. To 127.0.0.1 on another port goes even a
        cookie that is ``SameSite=Strict``, as it does to a subdomain.
        """
        evil = flask.Flask("evil")
        evil.add_url_rule(
            "/",
            "form",
            lambda: (
                f'<form method="post" action="{site.address}/devices/{action}">'
                '<input name="devices_token" value="guessed"><button>Win!</button></form>'
            ),
        )
        here = site.open(browser)
        there = site.open(browser)
        sent: list[str | None] = []
        here.on(
            "request",
            lambda request: (
                sent.append(request.all_headers().get("cookie"))
                if request.method == "POST"
                else None
            ),
        )
        with serving(evil, host) as address:
            here.goto(address)
            _click(here, "Win!")

        assert "This form is out of date" == here.get_by_role("heading").inner_text()
        assert sent
        assert "session=" in (sent[0] or "")
        assert [True, True] == [_is_in(page, site) for page in (here, there)]

    def test_in_a_frame(self, browser: Browser, site: Site) -> None:
        """Another site cannot show the page in a frame, to catch clicks on its buttons."""
        evil = flask.Flask("evil")
        frame = f'<iframe src="{site.address}/devices"></iframe>'
        evil.add_url_rule("/", "frame", lambda: frame)
        here = site.open(browser)
        with serving(evil) as address:
            here.goto(address)
            here.wait_for_load_state("networkidle")
            texts = [frame.evaluate("document.body.innerText") for frame in here.frames]

        assert not any(LIST in text for text in texts)


def _list(page: Page, site: Site) -> None:
    site.people()
    page.reload()


def _second_page(page: Page, site: Site) -> None:
    fill(site.server, 23, 9)
    page.goto(f"{site.address}/devices?page=2")


def _alone(page: Page, site: Site) -> None:
    pass


def _after_an_action(page: Page, site: Site) -> None:
    site.people()
    page.reload()
    _click(page, "Sign out everywhere else")


def _problem(page: Page, site: Site) -> None:
    page.goto(f"{site.address}/devices?page=x")


def _signed_out(page: Page, site: Site) -> None:
    _click(page, EVERYWHERE)


STATES = [_list, _second_page, _alone, _after_an_action, _problem, _signed_out]


@pytest.mark.parametrize("state", STATES, ids=lambda state: state.__name__[1:])
def test_looks(browser: Browser, site: Site, state: Any) -> None:
    """No page has an accessibility violation or is wider than its window, by day or by night.

    With ``DEVICES_SCREENSHOTS=folder`` it leaves a picture of each there.
    """
    page = site.open(browser)
    state(page, site)
    is_own = page.locator(".frs-page").count() == 1
    for size, scheme in product((PHONE, SCREEN), SCHEMES):
        page.set_viewport_size(size)
        page.emulate_media(color_scheme=scheme)
        if folder := os.environ.get("DEVICES_SCREENSHOTS"):
            layout = "own" if is_own else "layout"
            name = f"{state.__name__[1:]}-{size['width']}-{scheme}-{layout}.png"
            page.screenshot(path=f"{folder}/{name}", full_page=True)

        assert [] == violations(page)
        assert 0 >= overflow(page)

        ground = _brightness(page, "document.body", "backgroundColor")
        ink = _brightness(page, "document.querySelector('h1')", "color")

        assert (scheme == "dark") == (ground < ink)


def _brightness(page: Page, element: str, colour: str) -> float:
    text = page.evaluate(f"getComputedStyle({element}).{colour}")
    return sum(float(number) for number in re.findall(r"[\d.]+", text)[:3])


def test_the_demo(browser: Browser) -> None:
    """The demo shows the page in its own layout and colours, with no violation and no overflow.

    On a screen its buttons are in one row: two, because none of these devices is unused.
    """
    with running("--port", "0") as demo:
        page = browser.new_page(reduced_motion="reduce")
        page.set_default_timeout(10_000)
        page.goto(f"{demo.address}/sign-in")
        _click(page, "Sign in as Tamsin Okoro")
        page.get_by_role("link", name="Devices").click()
        for size, scheme in product((PHONE, SCREEN), SCHEMES):
            page.set_viewport_size(size)
            page.emulate_media(color_scheme=scheme)

            assert LIST == page.locator("h1").inner_text()
            assert [] == violations(page)
            assert 0 >= overflow(page)

        buttons = page.locator(".frs-actions button")
        tops = buttons.evaluate_all("all => all.map(each => each.getBoundingClientRect().top)")

        assert (2, 1) == (len(tops), len(set(tops)))


def test_times_on_hover(browser: Browser, site: Site) -> None:
    """The exact time is what a pointer that rests on "3 minutes ago" shows."""
    site.people()
    page = site.open(browser)
    moment = page.locator("dl time").nth(2)

    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC", moment.get_attribute("title") or "")
    assert re.fullmatch(
        r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", moment.get_attribute("datetime") or ""
    )
