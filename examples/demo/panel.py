"""Puts the meter into a page as soon as the cost of the page itself is known."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from flask import Response, current_app, request

from ledger import BROWSER_COOKIE, RECORD, Browser, Record

if TYPE_CHECKING:
    from jinja2 import Template

_METER_GOES_HERE = "<!-- meter -->"


def show_meter(response: Response) -> Response:
    """Give the browser its cookie, and the page its meter."""
    if RECORD not in request.environ:
        return response
    browser, record = request.environ[RECORD]
    if browser.is_new:
        response.set_cookie(BROWSER_COOKIE, browser.id, httponly=True, samesite="Lax")
    if response.mimetype == "text/html" and response.is_sequence:
        _make_room(response, browser, record)
    return response


def _make_room(response: Response, browser: Browser, record: Record) -> None:
    before, mark, after = response.get_data(as_text=True).partition(_METER_GOES_HERE)
    if mark:
        template = current_app.jinja_env.get_template("_meter.html")
        response.response = _body(before, template, browser, record, after)
        response.headers.pop("Content-Length", None)


def _body(
    before: str, template: Template, browser: Browser, record: Record, after: str
) -> Iterator[str]:
    """Yield the page in parts. They are sent after the session is saved, so its cost is known."""
    yield before
    records = list(browser.records)
    yield template.render(shown=_shown(records, record), record=record, records=records)
    yield after


def _shown(records: list[Record], record: Record) -> Record:
    """Return the request to show in detail: the change that led to this page, or the page itself.

    A sign-in is not shown in detail. It creates the session, so any store writes all of it.
    """
    previous = records[records.index(record) + 1 :][:1]
    if not previous:
        return record
    [change] = previous
    led_here = change.is_change and change.is_redirect and not change.wrote_everything
    return change if led_here else record
