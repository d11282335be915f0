"""How Sphinx builds the site: `make docs`."""

from __future__ import annotations

import sys
from importlib.metadata import version as version_of
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

project = "flask-redis-session"
author = "flask-redis-session contributors"
project_copyright = author
release = version_of("flask-redis-session")
version = ".".join(release.split(".")[:2])

extensions = [
    "myst_parser",
    "pallets_sphinx_themes",
    "sphinx.ext.autodoc",
    "sphinx_click",
    "repository_links",
    "settings_reference",
]
exclude_patterns = ["_build"]
suppress_warnings = [
    # Two domains of the theme's, for other projects, do not know how MyST asks.
    "myst.domains",
]

# Each heading can be linked to as GitHub does it: `page.md#its-words`.
myst_heading_anchors = 4
myst_enable_extensions = ["colon_fence", "deflist"]

autodoc_typehints = "description"
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True

# `--app` would become a dash, and the quotes of an example curly.
smartquotes = False

html_theme = "flask"
html_title = project
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_copyright = False
html_show_sourcelink = False
templates_path = ["_templates"]
html_sidebars = {"**": ["searchbox.html", "pages.html"]}
# The banner would ask an index on the web which version is the last one.
version_banner = False
