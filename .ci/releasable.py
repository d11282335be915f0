"""Say what a release still lacks, and fail: `python .ci/releasable.py v1.2.3`."""

from __future__ import annotations

import re
import sys
from pathlib import Path

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[1]


def lacks(root: Path, tag: str) -> list[str]:
    """Return what has to be done before the package may be published under this tag."""
    project = tomllib.loads((root / "pyproject.toml").read_text("utf-8"))["project"]
    version = project["version"]
    found = []
    if tag != f"v{version}":
        found.append(f"The tag is {tag}, and the version in pyproject.toml {version}.")
    if not str(project.get("urls", {}).get("Source", "")).startswith("https://"):
        found.append("[project.urls] in pyproject.toml has no Source, the repository's address.")
    if not re.search(r"https://|\S+@\S+\.\S+", (root / "SECURITY.md").read_text("utf-8")):
        found.append("SECURITY.md has no contact: an e-mail address, or one that takes reports.")
    changes = (root / "CHANGELOG.md").read_text("utf-8")
    if f"## [{version}]" not in changes:
        found.append(f"CHANGELOG.md has no heading of {version}.")
    return found


if __name__ == "__main__":
    problems = lacks(ROOT, sys.argv[1])
    print("\n".join(problems) or "It can be published.")
    sys.exit(bool(problems))
