"""The README as an index shows it: outside of the repository a relative link is dead."""

from __future__ import annotations

import re
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface

#: A picture, alone or as the text of a link, or a link: its text and its target.
_IMAGE = re.compile(r"!\[([^\]]*)\]\((?!https?://)([^)\s]+)\)\n*")
_LINK = re.compile(r"(?<!!)\[([^\]]+)\]\((?!https?://)([^)\s]+)\)")


def for_index(readme: str, source: str | None, version: str) -> str:
    """Return the README with links that work everywhere.

    :param source: the repository's address; ``None``: links become their text, pictures go.
    :param version: the version that is built; links lead to its tag.
    """
    if source is None:
        return _LINK.sub(r"\1", _IMAGE.sub("", readme))
    base = source.rstrip("/")
    readme = _IMAGE.sub(
        lambda found: f"![{found[1]}]({base}/raw/v{version}/{found[2]})\n\n", readme
    )
    return _LINK.sub(lambda found: f"[{found[1]}]({base}/blob/v{version}/{found[2]})", readme)


class IndexReadme(MetadataHookInterface):
    """Gives the build its ``readme``."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Fill in ``readme``, which pyproject.toml calls dynamic."""
        with open(f"{self.root}/README.md", encoding="utf-8") as file:  # noqa: PTH123
            readme = file.read()
        source = metadata.get("urls", {}).get("Source")
        metadata["readme"] = {
            "content-type": "text/markdown",
            "text": for_index(readme, source, metadata["version"]),
        }
