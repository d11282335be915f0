"""The options of the page, checked when the blueprint is made."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from flask import url_for

from flask_redis_session.errors import SettingError

if TYPE_CHECKING:
    from flask.typing import ResponseReturnValue

#: An endpoint, or a URL. Only a URL has a slash in it.
Target = str

#: The layout if the application gives none.
OWN_PAGE = "flask_redis_session/page.html"

_BLOCK = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_DIRECTIVE = re.compile(r"\*|[A-Za-z]+")


@dataclass(frozen=True, slots=True)
class Options:
    """The options of one blueprint; :func:`~.pages.blueprint` describes them."""

    name: str
    url_prefix: str
    base_template: str
    content_block: str
    title_block: str | None
    page_size: int
    unused_days: int
    sign_in: Target | Callable[[], ResponseReturnValue] | None
    signed_out: Target | None
    clear_site_data: tuple[str, ...]

    def __post_init__(self) -> None:
        _expect("name", self.name, _is_blueprint, "a text without a dot")
        _expect("url_prefix", self.url_prefix, _is_path, "a path such as /devices")
        _expect("base_template", self.base_template, _is_name, "the name of a template")
        _expect("content_block", self.content_block, _is_block, "the name of a block of yours")
        if self.title_block is not None:
            _expect(
                "title_block", self.title_block, _is_block, "the name of a block of yours, or None"
            )
            if self.title_block == self.content_block:
                raise SettingError(
                    "title_block", "is the content_block too; give another, or None."
                )
        _expect("page_size", self.page_size, _is_size, "a number from 1 to 1000")
        _expect("unused_days", self.unused_days, _is_days, "a number of days from 1 to 36500")
        if self.sign_in is not None:
            _expect("sign_in", self.sign_in, _is_way_in, "an endpoint, a URL or a function")
        if self.signed_out is not None:
            _expect("signed_out", self.signed_out, _is_name, "an endpoint or a URL")


def directives(value: Any) -> tuple[str, ...]:
    """Return the directives of ``Clear-Site-Data`` for an option.

    :param value: ``True``: cache, cookies and storage; ``False``: none; or a list of directives.
    :raises SettingError: if it is anything else.
    """
    if isinstance(value, bool):
        return ("cache", "cookies", "storage") if value else ()
    if not isinstance(value, (tuple, list)) or not all(
        isinstance(each, str) and _DIRECTIVE.fullmatch(each) for each in value
    ):
        problem = f'expects True, False or directives as in ["cookies"], not {value!r}.'
        raise SettingError("clear_site_data", problem)
    return tuple(value)


def address(target: Target) -> str:
    """Return the URL of an endpoint; return a URL unchanged.

    :param target: the endpoint or the URL.
    """
    return target if "/" in target else url_for(target)


def _expect(name: str, value: Any, is_right: Callable[[Any], bool], what: str) -> None:
    if not is_right(value):
        raise SettingError(name, f"expects {what}, not {value!r}.")


def _is_path(value: Any) -> bool:
    return isinstance(value, str) and value.startswith("/") and "//" not in value


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and bool(value)


def _is_way_in(value: Any) -> bool:
    return callable(value) or _is_name(value)


def _is_blueprint(value: Any) -> bool:
    return _is_name(value) and "." not in value


def _is_block(value: Any) -> bool:
    # The page's own blocks lie inside of it.
    return (
        isinstance(value, str)
        and _BLOCK.fullmatch(value) is not None
        and not value.startswith("devices_")
    )


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _is_days(value: Any) -> bool:
    # More than that lies before the first date that Python knows, sooner or later.
    return _is_count(value) and bool(value <= 36_500)


def _is_size(value: Any) -> bool:
    return _is_count(value) and bool(value <= 1000)
