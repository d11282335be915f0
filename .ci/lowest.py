"""Print the lowest version of each dependency that pyproject.toml allows, for `pip install`."""

from __future__ import annotations

import re
import sys
from pathlib import Path

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


def lowest(pyproject: str) -> list[str]:
    """Return ``name==version`` of each dependency, those of the extras for users included.

    :raises ValueError: if one has no lower bound.
    """
    project = tomllib.loads(pyproject)["project"]
    extras = project["optional-dependencies"]
    pins = []
    for wanted in [
        *project["dependencies"],
        *extras["embedded"],
        *extras["devices"],
        *extras["import"],
    ]:
        found = re.match(r"([\w-]+)>=([\d.]+)", wanted)
        if found is None:
            raise ValueError(f"{wanted} has no lower bound")
        pins.append(f"{found[1]}=={found[2]}")
    return pins


if __name__ == "__main__":
    print(*lowest((Path(__file__).parents[1] / "pyproject.toml").read_text("utf-8")))
