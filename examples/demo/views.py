"""The pages, and what can be done on them."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, ParamSpec, cast

from flask import (
    Blueprint,
    abort,
    current_app,
    g,
    redirect,
    render_template,
    request,
    url_for,
)
from flask import session as any_session

import forgery
import people
from held import Observer, as_text

if TYPE_CHECKING:
    from werkzeug.wrappers import Response

    from flask_redis_session import RedisSession

# To a type checker, Flask's session lacks what this library adds.
session = cast("RedisSession", any_session)

site = Blueprint("site", __name__)

P = ParamSpec("P")

TEAS = {
    "assam": ("Assam, second flush", 7),
    "sencha": ("Sencha from Uji", 9),
    "lapsang": ("Lapsang souchong", 8),
}

#: How many keys of 1 KB a session starts with. One click adds as many again.
START_SIZE = 200
LARGEST = 1_000

#: How many keys and fields the page about the session shows.
_VALUES = 10
_FIELDS = 20


def signed_in(view: Callable[P, str | Response]) -> Callable[P, str | Response]:
    """Show this page only to people who are signed in."""

    @wraps(view)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> str | Response:
        if whose_page() is None:
            return redirect(url_for("site.sign_in_form", done=_why_not_signed_in()))
        return view(*args, **kwargs)

    return guarded


def whose_page() -> people.Person | None:
    """Return who is signed in, and let the layout show their name."""
    g.person = person = people.find(session.get("user_id"))
    return person


def _why_not_signed_in() -> str | None:
    had_a_cookie = current_app.config["SESSION_COOKIE_NAME"] in request.cookies
    return "ended" if had_a_cookie and forgery.FIELD not in session else None


@site.get("/sign-in")
def sign_in_form() -> str | Response:
    if people.find(session.get("user_id")):
        return redirect(url_for("site.desk"))
    return render_template("sign_in.html", people=people.PEOPLE, chosen=None)


@site.post("/sign-in")
def sign_in() -> str | Response | tuple[str, int]:
    chosen = request.form.get("person", type=int)
    person = people.authenticate(chosen, request.form.get("password", "").strip())
    if person is None:
        page = render_template(
            "sign_in.html", people=people.PEOPLE, chosen=chosen, problem="Wrong password."
        )
        return page, 422
    session.clear()
    session["user_id"] = person.id  # the library then gives the cookie a new secret
    forgery.renew()
    _grow(START_SIZE)
    return redirect(url_for("site.desk", done="signed-in"))


@site.post("/sign-out")
def sign_out() -> Response:
    session.clear()
    return redirect(url_for("site.sign_in_form", done="signed-out"))


@site.get("/")
@signed_in
def desk() -> str:
    cart = session.get("cart", {})
    return render_template(
        "desk.html",
        teas=TEAS,
        cart=cart,
        total=sum(TEAS[tea][1] * count for tea, count in cart.items()),
        note=session.get("note", ""),
        visited=session.get("visited", 0),
        step=START_SIZE,
        largest=LARGEST,
    )


@site.post("/cart")
@signed_in
def add_to_cart() -> Response:
    tea = request.form.get("tea", "")
    if tea not in TEAS:
        abort(404, "There is no such tea.")
    cart = session.setdefault("cart", {})
    cart[tea] = cart.get(tea, 0) + 1  # the library notices the nested change
    return redirect(url_for("site.desk", done="cart"))


@site.post("/cart/empty")
@signed_in
def empty_cart() -> Response:
    session.pop("cart", None)
    return redirect(url_for("site.desk", done="cart-emptied"))


@site.post("/note")
@signed_in
def change_note() -> Response:
    session["note"] = request.form.get("note", "")[:500]
    return redirect(url_for("site.desk", done="note"))


@site.post("/larger")
@signed_in
def make_larger() -> Response:
    _grow(min(session.get("visited", 0) + START_SIZE, LARGEST))
    return redirect(url_for("site.desk", done="larger"))


@site.post("/smaller")
@signed_in
def make_smaller() -> Response:
    for number in range(session.pop("visited", 0)):
        session.pop(f"visited_{number:03}", None)
    return redirect(url_for("site.desk", done="smaller"))


def _grow(count: int) -> None:
    """Fill the session up to so many keys of 1 KB, as if that many products had been visited."""
    for number in range(session.get("visited", 0), count):
        session[f"visited_{number:03}"] = secrets.token_hex(512)
    session["visited"] = count


@site.post("/regenerate")
@signed_in
def regenerate() -> Response:
    session.regenerate()
    return redirect(url_for("site.held", done="regenerated"))


@site.get("/session")
@signed_in
def held() -> str:
    observer: Observer = current_app.extensions["observer"]
    values = [(key, type(value).__name__, as_text(value)) for key, value in session.items()]
    values.sort()
    return render_template(
        "session.html",
        values=values[:_VALUES],
        left_out=max(0, len(values) - _VALUES),
        address=observer.address(),
        transcript=observer.transcript(session.sid or "", g.person.id, _FIELDS),
    )


@site.get("/public")
def untouched() -> str:
    return render_template("public.html")
