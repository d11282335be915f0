"""The answers: a page for people, or JSON for a program."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from flask import Response, jsonify, make_response, redirect, render_template, request, url_for

from flask_redis_session.storage.record import SessionInfo

from . import csrf
from .agents import agent_of
from .options import Options
from .view import Notice, View
from .visitor import Page

_PROBLEMS = {
    "nobody": (401, "Nobody is signed in."),
    "stale": (400, f"The token is missing or out of date; send it in the header {csrf.HEADER}."),
    "unknown": (404, "You have no session with this sid; it may have ended already."),
    "no-page": (404, "There is no such page."),
    "incomplete": (
        503,
        "Redis failed before all sessions were ended; send the request once more for the rest.",
    ),
}


def wants_json() -> bool:
    """Tell whether the client prefers JSON to a page."""
    offered = ["text/html", "application/json"]
    return request.accept_mimetypes.best_match(offered) == "application/json"


def listing(options: Options, page: Page, token: str, notice: Notice | None) -> Response:
    """Answer with one page of the list.

    :param options: the options of the blueprint.
    :param page: the page.
    :param token: the token that a change must carry.
    :param notice: what the visitor has just done.
    """
    if not wants_json():
        return _html("devices", View(options, page=page, token=token, notice=notice))
    following = url_for(".listing", page=page.number + 1) if page.has_more else None
    sessions = [_as_json(info) for info in page.sessions]
    return jsonify(sessions=sessions, page=page.number, next=following, token=token)


def ended(count: int, where: str, *, signed_out: bool = False) -> Response:
    """Answer that sessions were ended.

    :param count: how many.
    :param where: the URL to which a browser is sent.
    :param signed_out: whether the current session is one of them.
    """
    if wants_json():
        return jsonify(ended=count, signed_out=signed_out)
    return make_response(redirect(where, 303))


def problem(options: Options, kind: str, *, ended: int | None = None) -> Response:
    """Answer that a request could not be served.

    :param options: the options of the blueprint.
    :param kind: ``nobody``, ``stale``, ``unknown``, ``no-page`` or ``incomplete``.
    :param ended: how many sessions were ended before the failure.
    """
    status, message = _PROBLEMS[kind]
    if wants_json():
        count = {} if ended is None else {"ended": ended}
        response = jsonify(error=kind, message=message, **count)
    else:
        response = _html("problem", View(options, problem=kind, ended=ended or 0))
    response.status_code = status
    return response


def signed_out(options: Options, *, everywhere: bool | None) -> Response:
    """Answer that the visitor is signed out.

    :param options: the options of the blueprint.
    :param everywhere: whether all sessions of the user were ended; ``None``: not known.
    """
    return _html("signed_out", View(options, everywhere=everywhere))


def _html(name: str, view: View) -> Response:
    return make_response(render_template(f"flask_redis_session/{name}.html", devices=view))


def _as_json(info: SessionInfo) -> dict[str, Any]:
    agent = agent_of(info.user_agent)
    return {
        "sid": info.sid,
        "current": info.current,
        "device": str(agent),
        "browser": agent.browser,
        "system": agent.system,
        "user_agent": info.user_agent,
        "address": info.ip_address,
        "created_at": _iso(info.created_at),
        "signed_in_at": _iso(info.signed_in_at),
        "last_seen_at": _iso(info.last_seen_at),
        "expires_at": _iso(info.expires_at),
    }


def _iso(when: datetime | None) -> str | None:
    return when.isoformat() if when else None
