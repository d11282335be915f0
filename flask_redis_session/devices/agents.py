"""Reads the browser, the system and the kind of a device from a User-Agent header."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

try:
    from ua_parser import parse
except ModuleNotFoundError as missing:
    raise ModuleNotFoundError(
        'The devices page needs ua-parser: pip install "flask-redis-session[devices]"',
        name=missing.name,
    ) from missing

Kind = Literal["computer", "phone", "tablet", "unknown"]

# Common names for the variants that ua-parser tells apart.
_BROWSERS = {
    "Chrome Mobile": "Chrome",
    "Chrome Mobile WebView": "An app",
    "Chrome Mobile iOS": "Chrome",
    "Edge Mobile": "Edge",
    "Firefox Mobile": "Firefox",
    "Firefox iOS": "Firefox",
    "HeadlessChrome": "Chrome",
    "Mobile Safari": "Safari",
    "Mobile Safari UI/WKWebView": "An app",
    "Opera Mobile": "Opera",
    "Opera Touch": "Opera",
}
_SYSTEMS = {"Chrome OS": "ChromeOS", "Mac OS X": "macOS"}
_COMPUTERS = {"ChromeOS", "FreeBSD", "Linux", "OpenBSD", "Windows", "macOS"}
_LINUXES = {
    "Arch Linux",
    "CentOS",
    "Debian",
    "Fedora",
    "Gentoo",
    "Mint",
    "Red Hat",
    "SUSE",
    "Ubuntu",
}
_TABLETS = {"iPad", "Generic Tablet"}


@dataclass(frozen=True, slots=True)
class Agent:
    """A browser and the system it runs on; ``None`` if unknown.

    :param browser: such as ``Firefox``.
    :param system: the operating system, or a device such as ``iPhone``.
    :param kind: the picture to draw.
    """

    browser: str | None = None
    system: str | None = None
    kind: Kind = "unknown"

    def __str__(self) -> str:
        return " on ".join(filter(None, (self.browser, self.system))) or "Unknown device"


def agent_of(header: str | None) -> Agent:
    """Return the browser and the system that a User-Agent header names.

    :param header: the header, as the browser sent it at the sign-in.
    """
    if not header:
        return Agent()
    found = parse(header)
    browser = found.user_agent.family if found.user_agent else None
    system = found.os.family if found.os else None
    device = found.device.family if found.device else ""
    brand = (found.device.brand or "") if found.device else ""
    system = _SYSTEMS.get(system or "", system)
    return Agent(
        browser=_BROWSERS.get(browser or "", browser),
        system=device if device in ("iPhone", "iPad") else system,
        kind=_kind(system, device, brand),
    )


def _kind(system: str | None, device: str, brand: str) -> Kind:
    if device in _TABLETS or brand.endswith("_Tablet"):
        return "tablet"
    if system in ("Android", "iOS"):
        return "phone"
    return "computer" if system in _COMPUTERS or system in _LINUXES else "unknown"
