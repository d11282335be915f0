"""A token in the session, which keeps other sites from sending our forms."""

from __future__ import annotations

import hmac
import secrets
from typing import TYPE_CHECKING

from flask import abort, redirect, request, session, url_for
from markupsafe import Markup

if TYPE_CHECKING:
    from werkzeug.wrappers import Response

FIELD = "csrf"


def renew() -> None:
    """Make a new token, so that a token from before the sign-in is worth nothing after it."""
    session[FIELD] = secrets.token_urlsafe(18)


def hidden_field() -> Markup:
    """Return the token as a hidden input for a form."""
    if FIELD not in session:
        renew()
    return Markup('<input type="hidden" name="{}" value="{}">').format(FIELD, session[FIELD])


def check() -> Response | None:
    """Refuse a POST whose form does not carry the token of the session."""
    if request.method != "POST" or request.blueprint == "devices":  # that page checks its own token
        return None
    if FIELD not in session:  # "not session" would load all of it
        return redirect(url_for("site.sign_in_form", done="ended"))
    expected = str(session[FIELD]).encode()
    actual = request.form.get(FIELD, "").encode()
    if not hmac.compare_digest(expected, actual):
        abort(400, "This form is out of date. Open the page again and repeat what you did.")
    return None
