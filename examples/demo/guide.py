"""Visits each page once when the demo starts.

A site learns from its first visitors which keys each page needs. The guide is that first visitor,
so your first page already shows what a page of a running site costs.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import forgery
from people import GUIDE

if TYPE_CHECKING:
    from flask import Flask
    from flask.testing import FlaskClient


def visit_each_page(app: Flask) -> None:
    """Sign in as the guide, use the pages and their forms, and sign out everywhere."""
    guide = app.test_client()
    _sign_in(guide)
    for path in ("/public", "/session"):
        guide.get(path)
    page = guide.get("/").text
    _send(guide, page, "/cart", tea="assam")
    _send(guide, page, "/note", note="Seen.")
    _send(guide, page, "/cart/empty")
    _send(guide, page, "/regenerate")
    devices = guide.get("/devices").text
    _send(guide, devices, "/devices/none/end")
    _send(guide, devices, "/devices/end-others")
    _send(guide, devices, "/devices/end-unused")
    guide.get("/devices")
    _send(guide, page, "/sign-out")
    _sign_in(guide)
    _send(guide, guide.get("/devices").text, "/devices/end-all")


def _sign_in(guide: FlaskClient) -> None:
    page = guide.get("/sign-in").text
    _send(guide, page, "/sign-in", person=str(GUIDE.id), password=GUIDE.password)


def _send(guide: FlaskClient, page: str, path: str, **form: str) -> None:
    """Send a form with the tokens of the page it is on."""
    tokens = re.findall(rf'name="({forgery.FIELD}|devices_token)" value="([^"]+)"', page)
    guide.post(path, data={**dict(tokens), **form})
