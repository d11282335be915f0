"""A browser and a system out of a User-Agent header: enough for a list of devices."""

from __future__ import annotations

import re

# The first that matches counts: Edge also says Chrome, and Chrome also says Safari.
_BROWSERS = (
    ("Edge", r"Edg(?:A|iOS)?/(\d+)"),
    ("Opera", r"OPR/(\d+)"),
    ("Samsung Internet", r"SamsungBrowser/(\d+)"),
    ("Firefox", r"(?:Firefox|FxiOS)/(\d+)"),
    ("Chrome", r"(?:Headless)?(?:Chrome|CriOS)/(\d+)"),
    ("Safari", r"Version/(\d+)[\d.]* .*Safari/"),
    ("curl", r"^curl/(\d+)"),
    ("Python", r"^Python-urllib/(\d+)"),
)
_SYSTEMS = (
    ("iPhone", r"iPhone"),
    ("iPad", r"iPad"),
    ("Android", r"Android"),
    ("ChromeOS", r"CrOS"),
    ("Windows", r"Windows"),
    ("macOS", r"Mac OS X|Macintosh"),
    ("Linux", r"Linux|X11"),
)


def browser(user_agent: str) -> str | None:
    """The browser and its major version, as in ``Firefox 140``."""
    for name, pattern in _BROWSERS:
        if match := re.search(pattern, user_agent):
            return f"{name} {match[1]}"
    return None


def system(user_agent: str) -> str | None:
    """The operating system or the kind of device, as in ``Linux``."""
    for name, pattern in _SYSTEMS:
        if re.search(pattern, user_agent):
            return name
    return None


def is_handheld(user_agent: str | None) -> bool:
    """Whether to draw a telephone rather than a screen."""
    return system(user_agent or "") in {"iPhone", "iPad", "Android"}


def describe(user_agent: str | None) -> str:
    """What a person would call this device, as in ``Firefox 140 on Linux``."""
    parts = [part for part in (browser(user_agent or ""), system(user_agent or "")) if part]
    return " on ".join(parts) or "Unknown browser"
