"""A double click: the second request finds done what it was to do."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import flask
import pytest

from flask_redis_session.signals import save_refused
from tests.devices.site import Person, bare_app, fill, make_app, setting, text_of

if TYPE_CHECKING:
    from tests.support.servers import Cluster, Server


def twice(app: flask.Flask, person: Person, path: str, **form: str) -> list[Any]:
    """Send a form twice at once: the first is answered while the second has loaded its session."""
    loaded, answered = threading.Event(), threading.Event()
    cookie = person.client.get_cookie("session")
    assert cookie is not None
    slow = app.test_client()
    slow.set_cookie("session", cookie.value)

    def hold(*_: object, **__: object) -> None:
        if "X-Slow" in flask.request.headers:
            dict(flask.session)
            loaded.set()
            answered.wait(20)

    answers: list[Any] = []

    def second() -> None:
        with flask.request_started.connected_to(hold, app):
            answers.append(slow.post(path, data=form, headers={"X-Slow": "1"}))

    thread = threading.Thread(target=second)
    thread.start()
    loaded.wait(20)
    first = person.client.post(path, data=form)
    answered.set()
    thread.join(20)
    # A browser takes over the cookies of both, the second one's last, and follows the second.
    for header in answers[0].headers.getlist("Set-Cookie"):
        person.client.set_cookie("session", header.partition("=")[2].partition(";")[0])
    return [first, answers[0]]


@pytest.mark.parametrize("action", ["end-all", "own"])
@pytest.mark.parametrize("at_once", [True, False])
def test_signed_out(server: Server | Cluster, action: str, at_once: bool) -> None:
    """They are signed out, and see that, without an error, and nothing is logged of it."""
    app = make_app(server)
    here = Person(app, 23)
    fill(server, 23, 3)
    token, path = here.token(), f"/devices/{action if action == 'end-all' else f'{here.sid}/end'}"
    refused: list[Any] = []

    def hear(*_: Any, **about: Any) -> None:
        refused.append(about)

    with save_refused.connected_to(hear, app):
        if at_once:
            _, second = twice(app, here, path, devices_token=token)
        else:
            twin = app.test_client()
            cookie = here.client.get_cookie("session")
            assert cookie is not None
            twin.set_cookie("session", cookie.value)
            here.client.post(path, data={"devices_token": token})
            second = twin.post(path, data={"devices_token": token})
    page = text_of(here.open(second.location).text)

    assert 303 == second.status_code
    assert "You’re signed out" in page
    assert ("Your other devices stay signed in" in page) <= (action == "own")
    assert not here.is_in
    assert [] == second.headers.getlist("Set-Cookie")
    assert [] == refused
    if action == "end-all":
        assert [] == [*server.client().scan_iter("session:0*")]


def test_sign_in_page(server: Server | Cluster) -> None:
    """An application with a sign-in of its own shows that to the second click."""
    app = make_app(server, sign_in="/sign-in")
    here = Person(app, 23)
    token = here.token()
    cookie = here.client.get_cookie("session")
    here.post("end-all", devices_token=token)
    assert cookie is not None
    here.client.set_cookie("session", cookie.value)

    assert "/sign-in" == here.post("end-all", devices_token=token).location


def test_view_of_the_application(server: Server | Cluster) -> None:
    """With ``clear_user_sessions()``, the second view sees nobody, and leaves the next cookie."""
    app = bare_app(server)

    def log_out_everywhere() -> str:
        session: Any = flask.session
        session.clear_user_sessions()
        flask.flash("Signed out everywhere.")
        return f"{flask.session.get('user_id', 'nobody')}"

    app.post("/out")(log_out_everywhere)
    app.get("/set")(setting(cart=1))
    here = Person(app, 23)
    first, second = twice(app, here, "/out")

    assert ["nobody"] * 2 == [first.text, second.text]
    assert [] == second.headers.getlist("Set-Cookie")
    assert not here.is_in
