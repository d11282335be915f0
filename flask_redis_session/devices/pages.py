"""The blueprint: its addresses, and the views behind them."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import cached_property, wraps
from pathlib import Path
from typing import TYPE_CHECKING, Concatenate, ParamSpec

from flask import Blueprint, Response, abort, current_app, redirect, request, url_for
from jinja2 import BaseLoader, ChoiceLoader, FileSystemLoader

from flask_redis_session.errors import (
    RevocationIncomplete,
    RevocationUnconfirmed,
    StoreUnavailable,
)
from flask_redis_session.remember_cookie import delete_remember_cookie, has_remember_cookie

from . import answers, csrf
from .layout import layout_loader
from .options import OWN_PAGE, Options, Target, address, directives
from .view import Notice
from .visitor import Visitor

if TYPE_CHECKING:
    from flask.typing import ResponseReturnValue

P = ParamSpec("P")

#: The session key in which a change leaves its notice for the next page.
_NOTICE = "_devices_notice"

_PAGE_NUMBER = re.compile(r"[1-9][0-9]{0,8}")


def blueprint(
    *,
    name: str = "devices",
    url_prefix: str = "/devices",
    base_template: str | None = None,
    content_block: str = "content",
    title_block: str | None = "title",
    page_size: int = 50,
    unused_days: int = 30,
    sign_in: Target | Callable[[], ResponseReturnValue] | None = None,
    signed_out: Target | None = None,
    clear_site_data: bool | Sequence[str] = False,
) -> Blueprint:
    """Return a blueprint with the page on which people see where they are signed in.

    :param name: the blueprint's name: ``url_for("devices.listing")`` is the page.
    :param url_prefix: where the page is.
    :param base_template: the application's layout, which the page extends; ``None``: the page
        has a layout of its own.
    :param content_block: the block of the layout that the page fills.
    :param title_block: the block of the layout for the title; ``None``: there is none.
    :param page_size: how many sessions one page shows, up to 1,000.
    :param unused_days: a session counts as unused after so many days without a visit, up to 36,500.
    :param sign_in: where to send visitors who are not signed in: an endpoint, a URL (with a
        slash in it), or a function that returns the response; ``None``: they get a 401.
    :param signed_out: where to send visitors who ended their own session: an endpoint or a URL;
        ``None``: to a page of the blueprint.
    :param clear_site_data: what the browser deletes after "sign out everywhere": ``True``: cache,
        cookies and storage; or a list of directives of ``Clear-Site-Data``.
    :raises SettingError: if an option is invalid.
    """
    options = Options(
        name=name,
        url_prefix=url_prefix,
        base_template=OWN_PAGE if base_template is None else base_template,
        content_block=content_block,
        title_block=title_block,
        page_size=page_size,
        unused_days=unused_days,
        sign_in=sign_in,
        signed_out=signed_out,
        clear_site_data=directives(clear_site_data),
    )
    return _Devices(options)


class _Devices(Blueprint):
    """The blueprint and its templates.

    :param options: the options.
    """

    def __init__(self, options: Options) -> None:
        super().__init__(
            options.name,
            __name__,
            url_prefix=options.url_prefix,
            static_folder="static",
            # At "/" the application's own files are at "/static".
            static_url_path="/devices-static",
        )
        self._options = options
        pages = _Pages(options)
        self.get("", endpoint="listing")(pages.listing)
        self.get("/signed-out", endpoint="signed_out")(pages.signed_out)
        self.post("/<sid>/end", endpoint="end")(pages.end)
        self.post("/end-others", endpoint="end_others")(pages.end_others)
        self.post("/end-unused", endpoint="end_unused")(pages.end_unused)
        self.post("/end-all", endpoint="end_all")(pages.end_all)
        for failure in (RevocationIncomplete, RevocationUnconfirmed):
            self.register_error_handler(failure, pages.incomplete)
        self.before_request(_refuse_odd_query)
        self.after_request(self._be_private)

    @cached_property
    def jinja_loader(self) -> BaseLoader:
        folder = Path(__file__).with_name("templates")
        return ChoiceLoader([FileSystemLoader(folder), layout_loader(self._options)])

    def _be_private(self, response: Response) -> Response:
        if request.endpoint is not None and not request.endpoint.endswith(".static"):
            response.headers["Cache-Control"] = "no-store"
            # In a frame, another site could trick people into pressing these buttons.
            response.headers.setdefault("X-Frame-Options", "DENY")
            response.vary.add("Accept")
        return response


def _change(
    view: Callable[Concatenate[_Pages, Visitor, P], ResponseReturnValue],
) -> Callable[Concatenate[_Pages, P], ResponseReturnValue]:
    """Run this view only for a signed-in visitor whose request carries the token."""

    @wraps(view)
    def checked(pages: _Pages, /, *args: P.args, **kwargs: P.kwargs) -> ResponseReturnValue:
        visitor = Visitor.of_request()
        if visitor is None:
            return pages.signed_out_already()
        if not csrf.is_genuine(request, visitor.session, visitor.user):
            return answers.problem(pages.options, "stale")
        return view(pages, visitor, *args, **kwargs)

    return checked


class _Pages:
    """The views.

    :param options: the options of the blueprint.
    """

    def __init__(self, options: Options) -> None:
        self.options = options

    def listing(self) -> ResponseReturnValue:
        """Show where the visitor is signed in."""
        visitor = Visitor.of_request()
        if visitor is None:
            return self.nobody()
        number = _page_number(request.args.get("page", "1"))
        if number is None:
            return answers.problem(self.options, "no-page")
        page = visitor.page(number, self.options.page_size, self.options.unused_days)
        if number > 1 and not page.sessions and not answers.wants_json():
            # All sessions on this page have ended.
            return redirect(url_for(".listing"), 303)
        token = csrf.token_of(visitor.session, visitor.user)
        return answers.listing(self.options, page, token, _notice(visitor))

    def signed_out(self) -> ResponseReturnValue:
        """Tell visitors that they are signed out."""
        if Visitor.of_request() is not None:
            return redirect(url_for(".listing"), 303)
        everywhere = None if "already" in request.args else "everywhere" in request.args
        return answers.signed_out(self.options, everywhere=everywhere)

    @_change
    def end(self, visitor: Visitor, sid: str) -> ResponseReturnValue:
        """End one session."""
        is_mine = sid == visitor.session.sid
        if not visitor.end(sid) and not is_mine:
            return answers.problem(self.options, "unknown")
        return self._signed_out(1) if is_mine else self._done(visitor, "one", 1)

    @_change
    def end_others(self, visitor: Visitor) -> ResponseReturnValue:
        """End every session but this one."""
        return self._done(visitor, "others", visitor.end_others())

    @_change
    def end_unused(self, visitor: Visitor) -> ResponseReturnValue:
        """End the sessions that were unused for ``unused_days``."""
        return self._done(visitor, "unused", visitor.end_unused(self.options.unused_days))

    @_change
    def end_all(self, visitor: Visitor) -> ResponseReturnValue:
        """End every session."""
        response = self._signed_out(visitor.end_all(), everywhere=True)
        if self.options.clear_site_data:
            # OWASP Session Management, Session Expiration: clear the client side, too.
            data = ", ".join(f'"{each}"' for each in self.options.clear_site_data)
            response.headers["Clear-Site-Data"] = data
        return response

    def incomplete(
        self, failure: RevocationIncomplete | RevocationUnconfirmed
    ) -> ResponseReturnValue:
        """Say how many sessions were ended before Redis failed."""
        try:
            response = answers.problem(self.options, "incomplete", ended=failure.ended)
        except StoreUnavailable:
            # The application's layout reads the session, and Redis fails again.
            return failure
        response.headers["Retry-After"] = str(failure.retry_after)
        return response

    def nobody(self) -> ResponseReturnValue:
        """Send visitors who are not signed in to the sign-in."""
        if answers.wants_json():
            return answers.problem(self.options, "nobody")
        if self.options.sign_in is None:
            abort(401)
        if callable(self.options.sign_in):
            return self.options.sign_in()
        return redirect(address(self.options.sign_in), 303)

    def signed_out_already(self) -> ResponseReturnValue:
        """Answer a change of somebody who was signed out before it, as by a double click."""
        name = current_app.session_interface.get_cookie_name(current_app)
        if self.options.sign_in is not None or answers.wants_json() or name not in request.cookies:
            return self.nobody()
        return redirect(url_for(".signed_out", already=1), 303)

    def _done(self, visitor: Visitor, what: str, count: int) -> Response:
        if not answers.wants_json():
            visitor.session[_NOTICE] = [what, count]
        number = _page_number(request.form.get("page", "")) or 1
        # The first page has no number in its address.
        return answers.ended(count, url_for(".listing", page=number if number > 1 else None))

    def _signed_out(self, count: int, *, everywhere: bool = False) -> Response:
        if self.options.signed_out is not None:
            where = address(self.options.signed_out)
        else:
            where = url_for(".signed_out", everywhere=1 if everywhere else None)
        response = answers.ended(count, where, signed_out=True)
        if has_remember_cookie(current_app, request):
            # It would sign this browser in again.
            delete_remember_cookie(current_app, response)
        return response


def _notice(visitor: Visitor) -> Notice | None:
    """Return the notice of the last change, and remove it from the session."""
    if answers.wants_json() or _NOTICE not in visitor.session:
        return None
    match visitor.session.pop(_NOTICE):
        case [str(what), int(ended)] if 0 <= ended < 1e9:
            return Notice(what, ended)
    # Not written by this page: show nothing.
    return None


def _refuse_odd_query() -> None:
    """Refuse a query that is not UTF-8: Werkzeug raises when it is first read."""
    try:
        _ = request.args
    except UnicodeDecodeError:
        abort(400)


def _page_number(text: str) -> int | None:
    return int(text) if _PAGE_NUMBER.fullmatch(text) else None
