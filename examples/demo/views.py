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

# Flask types its session as any session; this one can do more.
session = cast("RedisSession", any_session)

site = Blueprint("site", __name__)

P = ParamSpec("P")

TEAS = {
    "assam": ("Assam, second flush", 7),
    "sencha": ("Sencha from Uji", 9),
    "lapsang": ("Lapsang souchong", 8),
}

WEIGHTS_AT_ONCE = 200
MOST_WEIGHTS = 1_000

#: How much of a session its page shows.
_VALUES = 10
_FIELDS = 20


def signed_in(view: Callable[P, str | Response]) -> Callable[P, str | Response]:
    """Let only somebody who is signed in see this page."""

    @wraps(view)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> str | Response:
        if whose_page() is None:
            return redirect(url_for("site.sign_in_form", done=_why_not_signed_in()))
        return view(*args, **kwargs)

    return guarded


def whose_page() -> people.Person | None:
    """Whoever is signed in; the layout shows their name."""
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
            "sign_in.html", people=people.PEOPLE, chosen=chosen, problem="This is another password."
        )
        return page, 422
    session.clear()
    session["user_id"] = person.id  # the library gives the session a new secret by itself
    forgery.renew()
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
        weights=session.get("weights", 0),
        weights_at_once=WEIGHTS_AT_ONCE,
        most_weights=MOST_WEIGHTS,
    )


@site.post("/cart")
@signed_in
def add_to_cart() -> Response:
    tea = request.form.get("tea", "")
    if tea not in TEAS:
        abort(404, "There is no such tea.")
    cart = session.setdefault("cart", {})
    cart[tea] = cart.get(tea, 0) + 1  # a nested change: nothing else needs to be said
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


@site.post("/weight")
@signed_in
def add_weight() -> Response:
    there = session.get("weights", 0)
    wanted = min(there + WEIGHTS_AT_ONCE, MOST_WEIGHTS)
    for number in range(there, wanted):
        session[f"weight_{number:03}"] = secrets.token_hex(512)
    session["weights"] = wanted
    return redirect(url_for("site.desk", done="weight"))


@site.post("/weight/drop")
@signed_in
def drop_weight() -> Response:
    for number in range(session.pop("weights", 0)):
        session.pop(f"weight_{number:03}", None)
    return redirect(url_for("site.desk", done="weight-dropped"))


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


@site.get("/untouched")
def untouched() -> str:
    return render_template("untouched.html")
